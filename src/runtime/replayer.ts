/** Replaying a file into the log at a rate: the way to try a project, to load it, and to fill its history. */
import { appendFileSync, writeFileSync } from 'node:fs';
import type { NewRecord } from '../ports/event-bus.ts';
import type { Compiled, Project } from './project.ts';
import { paceOf } from './replay/pace.ts';
import { type BadLine, isBad, type Item, openSource, type ParquetReader, streamOf } from './replay/source.ts';

export interface ReplayOptions {
  file: string;
  stream?: string;
  /** Events per second, open loop. */
  eps?: number;
  /** Pace by event time, this many times as fast. */
  speed?: number;
  /** Moves all times so that the first event happens at this instant (epoch ms). */
  shiftTo?: number;
  /** Stop after this many rows. */
  limit?: number;
  /** Start over at the end, times moved on and ids made new, until interrupted or `limit`. */
  loop?: boolean;
  /** Only events with `from <= ts < to` (times of the file). */
  from?: number;
  to?: number;
  /** File for rows that cannot be read: line number, reason and text, one JSON object a line. */
  rejects?: string;
  /** How Parquet files are read. */
  parquet?: ParquetReader;
}

export interface ReplayProgress {
  read: number;
  published: number;
  rejected: number;
  seconds: number;
}

export interface ReplaySummary extends ReplayProgress {
  /** Events published per second. */
  eps: number;
  /** Whether the asked rate was reached within 2 %; null when none was asked for. */
  reached: boolean | null;
  /** Where rejected rows went. */
  rejects: string | null;
}

const BATCH = 1_000;
/** Rows are sent in slices of this many ms. */
const TICK_MS = 10;

/** @throws FabraError for a file that cannot feed the stream, before anything is published. */
export async function replay(project: Project, compiled: Compiled, options: ReplayOptions, onProgress: (p: ReplayProgress) => void, signal: AbortSignal): Promise<ReplaySummary> {
  const plan = streamOf(compiled.registry, options.stream);
  const source = await openSource(options.file, plan, compiled.registry, options.parquet);
  const run = new Replay(project, plan.name, options, onProgress, signal);
  let span = 0;
  for (let round = 0; !run.done; round++) {
    let oldest = Number.POSITIVE_INFINITY;
    let newest = Number.NEGATIVE_INFINITY;
    const shift = (first: number) => (options.shiftTo === undefined ? 0 : options.shiftTo - first) + round * span;
    for await (const item of source.read({ shift, suffix: round === 0 ? '' : `#${round}` })) {
      if (!isBad(item) && item.ts !== null && round === 0) [oldest, newest] = [Math.min(oldest, item.ts), Math.max(newest, item.ts)];
      await run.take(item);
      if (run.done) break;
    }
    if (!options.loop || run.read === 0) break;
    if (round === 0) span = Math.max(0, newest - oldest) + 1_000;
  }
  return run.finish();
}

class Replay {
  read = 0;
  done = false;
  private published = 0;
  private rejected = 0;
  private readonly project: Project;
  private readonly stream: string;
  private readonly options: ReplayOptions;
  private readonly onProgress: (p: ReplayProgress) => void;
  private readonly signal: AbortSignal;
  private readonly pace;
  private readonly began: number;
  private pending: NewRecord[] = [];
  private rejects: string | null = null;

  constructor(project: Project, stream: string, options: ReplayOptions, onProgress: (p: ReplayProgress) => void, signal: AbortSignal) {
    this.project = project;
    this.stream = stream;
    this.options = options;
    this.onProgress = onProgress;
    this.signal = signal;
    this.pace = paceOf(options);
    this.began = project.clock.now();
  }

  private get seconds(): number {
    return (this.project.clock.now() - this.began) / 1000;
  }

  async take(item: Item | BadLine): Promise<void> {
    if (this.signal.aborted) {
      this.done = true;
      return;
    }
    if (isBad(item)) {
      this.read++;
      return this.reject(item);
    }
    if (!this.inRange(item)) return;
    this.read++;
    if (this.pace) await this.waitUntil(this.pace.due(this.published + this.pending.length, item.ts));
    this.pending.push(item.record);
    if (this.pending.length >= BATCH) await this.send();
    if (this.options.limit !== undefined && this.read >= this.options.limit) this.done = true;
  }

  private inRange(item: Item): boolean {
    const { from, to } = this.options;
    if (from === undefined && to === undefined) return true;
    return item.ts !== null && (from === undefined || item.ts >= from) && (to === undefined || item.ts < to);
  }

  private async waitUntil(due: number): Promise<void> {
    if (due <= this.seconds) return;
    await this.send();
    while (due > this.seconds && !this.signal.aborted) await this.project.clock.sleep(Math.max(TICK_MS, Math.min((due - this.seconds) * 1000, 1_000)), this.signal);
  }

  private async send(): Promise<void> {
    if (this.pending.length === 0) return;
    const records = this.pending;
    this.pending = [];
    await this.project.bus.append(this.stream, records, this.project.clock.now());
    this.published += records.length;
    this.onProgress(this.progress());
  }

  /** A bad line never costs the good one beside it. */
  private reject(bad: BadLine): void {
    this.rejected++;
    const file = this.options.rejects ?? `${this.options.file}.rejects.ndjson`;
    const line = `${JSON.stringify(bad)}\n`;
    if (this.rejects === null) writeFileSync(file, line);
    else appendFileSync(file, line);
    this.rejects = file;
  }

  private progress(): ReplayProgress {
    return { read: this.read, published: this.published, rejected: this.rejected, seconds: this.seconds };
  }

  async finish(): Promise<ReplaySummary> {
    await this.send();
    await this.project.bus.flushed();
    const p = this.progress();
    const eps = p.seconds > 0 ? p.published / p.seconds : 0;
    const target = this.options.eps;
    // The last row is due one interval before the second is full.
    const reached = target === undefined ? null : p.seconds <= (p.published / target) * 1.02 + 0.05;
    return { ...p, eps: Math.round(eps * 10) / 10, reached, rejects: this.rejects };
  }
}
