/**
 * From the worker to history: rows are buffered and written in large files. History is a reader of the log like any other:
 * it has its own mark, so a kill between state and history is repaired by reading the log again from that mark.
 */
import { newAdmitState } from '../engine/admit.ts';
import type { Decoder } from '../engine/decode.ts';
import type { HistoryRow } from '../ports/offline-store.ts';
import type { Lease, Mark } from '../ports/online-store.ts';
import type { Registry, StreamPlan } from '../registry/types.ts';
import { prepare } from './batch.ts';
import { Router } from '../engine/route.ts';
import type { Project } from './project.ts';

/** Rows that make a file worth writing; about 10 MB in memory. */
const FLUSH_ROWS = 50_000;
/** Rows handed over at a time: few enough to stay young for the garbage collector. */
const STAGE_ROWS = 4_000;
/** Rows wait at most this long for a file. */
const FLUSH_MS = 60_000;
/** Newest events stay in the log after they are in history, for `events tail`. */
const KEEP_IN_LOG = 10_000;

interface Buffered {
  plan: StreamPlan;
  rows: HistoryRow[];
  /** Rows handed over and not yet written. */
  staged: number;
  mark: Mark;
  since: number;
}

export class HistoryFeed {
  private readonly project: Project;
  private readonly registry: Registry;
  private readonly lease: Lease;
  private readonly flushRows: number;
  private readonly streams = new Map<string, Buffered>();
  /** Files were written since the last look at joining them. */
  private grown = false;

  constructor(project: Project, registry: Registry, lease: Lease, flushRows = FLUSH_ROWS) {
    this.project = project;
    this.registry = registry;
    this.lease = lease;
    this.flushRows = flushRows;
  }

  /** Brings a stream's history up to the worker's position: what an earlier run committed but did not get to write. */
  async open(plan: StreamPlan, decoder: Decoder, live: Mark): Promise<void> {
    // What a failed run of this process staged and never wrote comes again from the log.
    if (this.streams.size === 0) await this.project.history.close();
    if (await this.project.history.stale(plan)) await this.redo(plan, decoder);
    let mark = await this.project.history.mark(plan.name, 0);
    this.streams.set(plan.name, { plan, rows: [], staged: 0, mark, since: this.project.clock.now() });
    const pipe = { plan, decoder, router: new Router([]), declared: new Set<string>() };
    while (mark.next < live.next) {
      const records = await this.project.bus.poll(plan.name, 0, mark.next, Math.min(5_000, live.next - mark.next));
      if (records.length === 0) break;
      const prepared = prepare(pipe, 0, records, mark);
      mark = prepared.mark;
      await this.add(plan.name, prepared.history, mark);
    }
  }

  /** The schema or the lateness changed: all rows are decoded and judged again, from the original bytes. */
  private async redo(plan: StreamPlan, decoder: Decoder): Promise<void> {
    const { history } = this.project;
    const { next } = await history.mark(plan.name, 0);
    const pipe = { plan, decoder, router: new Router([]), declared: new Set<string>() };
    const { flushRows } = this;
    let mark: Mark = { next: 0, admit: newAdmitState() };
    async function* batches(): AsyncGenerator<HistoryRow[]> {
      let rows: HistoryRow[] = [];
      for await (const records of history.scan(plan.name, 0, 0, next)) {
        const prepared = prepare(pipe, 0, records, mark);
        mark = prepared.mark;
        rows.push(...prepared.history);
        if (rows.length >= flushRows) {
          yield rows;
          rows = [];
        }
      }
      yield rows;
      mark = { ...mark, next };
    }
    await history.rewrite(plan, this.registry, batches(), () => mark, this.lease);
  }

  /** `mark` is the position behind these rows (rejected events have no row but move it). */
  async add(stream: string, rows: readonly HistoryRow[], mark: Mark): Promise<void> {
    const b = this.streams.get(stream)!;
    if (b.rows.length + b.staged === 0) b.since = this.project.clock.now();
    for (const r of rows) b.rows.push(r);
    b.mark = mark;
    if (b.rows.length + b.staged >= this.flushRows) return this.write(b);
    if (b.rows.length < STAGE_ROWS) return;
    await this.project.history.stage(b.plan, this.registry, b.rows);
    b.staged += b.rows.length;
    b.rows = [];
  }

  /** When there is nothing to read: writes rows that have waited long enough, joins small files. A worker may run for months. */
  async due(stream: string): Promise<void> {
    const b = this.streams.get(stream)!;
    if (b.rows.length + b.staged > 0 && this.project.clock.now() - b.since >= FLUSH_MS) await this.write(b);
    await this.join();
  }

  async flush(streams: readonly string[]): Promise<void> {
    for (const s of streams) await this.write(this.streams.get(s)!);
    await this.join();
  }

  private async join(): Promise<void> {
    if (!this.grown) return;
    await this.project.history.compact(this.lease, this.project.clock.now());
    this.grown = false;
  }

  private async write(b: Buffered): Promise<void> {
    const { history, bus } = this.project;
    const { next } = await history.mark(b.plan.name, 0);
    if (b.mark.next <= next) return;
    await history.write(b.plan, this.registry, 0, b.rows, b.mark, this.lease);
    b.rows = [];
    b.staged = 0;
    // State was committed before its rows came here, so the log is no longer needed below the history's mark.
    await bus.trim(b.plan.name, 0, b.mark.next - KEEP_IN_LOG);
    this.grown = true;
  }
}
