/**
 * The worker: log -> decode -> admit -> route -> commit, and history beside it. One owner moves a partition in order; a
 * commit carries the mark with the state, so a kill at any point loses and repeats nothing.
 */
import { Decoder } from '../engine/decode.ts';
import { compileGroups, type Group } from '../engine/group.ts';
import { Router } from '../engine/route.ts';
import { FabraError } from '../lib/errors.ts';
import { type Counters, type Lease, type Mark, noCounters } from '../ports/online-store.ts';
import type { Registry } from '../registry/types.ts';
import { type Pipeline, type Prepared, prepare } from './batch.ts';
import { HistoryFeed } from './history-feed.ts';
import type { Compiled, Project } from './project.ts';

export interface WorkerOptions {
  /** End when the log is read to its end. */
  untilIdle?: boolean;
  /** Events a commit; when unset 100, growing to 10,000 while there is a backlog. */
  batchSize?: number;
  /** Rows that make a history file; 50,000 when unset. */
  historyRows?: number;
  /** Longest pause between looks at an empty log, ms. */
  pollMs?: number;
  signal: AbortSignal;
  onProgress?(p: WorkerProgress): void;
  /** While new or changed features replay the log: offset reached, and the one to reach. */
  onBackfill?(done: number, total: number): void;
}

export interface WorkerProgress {
  counters: Counters;
  /** Events still to read, all streams. */
  lag: number;
  /** Greatest event time so far, and the watermark behind it. */
  maxTs: number | null;
}

export interface WorkerSummary extends Counters {
  seconds: number;
  byType: Record<string, Counters>;
}

const SMALL_BATCH = 100;
const BIG_BATCH = 10_000;
/** Looks at an empty log start this short and double up to the poll interval. */
const FIRST_PAUSE = 5;

/** Runs until the signal aborts, or until the log is read with `untilIdle`. */
export async function runWorker(project: Project, compiled: Compiled, options: WorkerOptions): Promise<WorkerSummary> {
  const applied = await project.catalog.applied();
  if (!applied) throw new FabraError('NOT_APPLIED', 'no registry is applied yet', { hint: 'Run: fabra apply' });
  if (applied.registry.hash !== compiled.registry.hash && !sameMeaning(applied.registry, compiled.registry))
    throw new FabraError('NOT_APPLIED', 'the definitions differ from the applied registry', { hint: 'Run: fabra plan, then fabra apply' });
  const lease = await project.online.lease();
  const run = new WorkerRun(project, compiled, options, lease);
  try {
    return await run.run();
  } finally {
    await lease.release();
  }
}

/** Versions and descriptions may differ; what the features mean may not. */
function sameMeaning(a: Registry, b: Registry): boolean {
  const prints = (r: Registry) =>
    Object.values(r.features)
      .map(f => `${f.id}=${f.fingerprint}`)
      .sort()
      .join();
  return prints(a) === prints(b);
}

/** What runs in one stream: everything the registry says of it, and how far each part has come. */
interface Lane {
  stream: string;
  pipe: Pipeline;
  groups: Group[];
  mark: Mark;
}

class WorkerRun {
  private readonly project: Project;
  private readonly compiled: Compiled;
  private readonly options: WorkerOptions;
  private readonly lease: Lease;
  private readonly total = noCounters();
  private readonly byType: Record<string, Counters> = {};
  private readonly feed: HistoryFeed;
  private lag = 0;

  constructor(project: Project, compiled: Compiled, options: WorkerOptions, lease: Lease) {
    this.project = project;
    this.compiled = compiled;
    this.options = options;
    this.lease = lease;
    this.feed = new HistoryFeed(project, compiled.registry, lease, options.historyRows);
  }

  async run(): Promise<WorkerSummary> {
    const { clock } = this.project;
    const began = clock.now();
    const lanes = await this.openLanes();
    for (const lane of lanes) await this.catchUp(lane);
    let pause = FIRST_PAUSE;
    while (!this.options.signal.aborted) {
      let moved = 0;
      for (const lane of lanes) moved += await this.step(lane);
      this.options.onProgress?.(this.progress(lanes));
      if (moved > 0) {
        pause = FIRST_PAUSE;
        continue;
      }
      await this.idle(lanes);
      if (this.options.untilIdle) break;
      await clock.sleep(pause, this.options.signal);
      pause = Math.min(pause * 2, this.options.pollMs ?? 50);
    }
    await this.feed.flush(lanes.map(l => l.stream));
    return { ...this.total, seconds: (clock.now() - began) / 1000, byType: this.byType };
  }

  private async openLanes(): Promise<Lane[]> {
    const { registry, code } = this.compiled;
    const groups = [...compileGroups(registry).groups.values()];
    await this.project.online.adopt(groups);
    const lanes: Lane[] = [];
    for (const plan of Object.values(registry.streams)) {
      const own = groups.filter(g => g.stream === plan.name);
      const declared = new Set(
        Object.values(registry.events)
          .filter(e => e.stream === plan.name)
          .map(e => e.type),
      );
      const mark = await this.project.online.streamMark(plan.name, 0);
      const pipe: Pipeline = { plan, decoder: new Decoder(registry, plan.name, code.schemas), router: new Router(own), declared };
      await this.feed.open(plan, pipe.decoder, mark);
      lanes.push({ stream: plan.name, pipe, groups: own, mark });
    }
    return lanes;
  }

  /** Groups behind the stream's own mark (new or changed features) replay the log up to it first. */
  private async catchUp(lane: Lane): Promise<void> {
    const { online } = this.project;
    const behind: Group[] = [];
    for (const g of lane.groups) if (!(await online.groupStatus(g))!.ready) behind.push(g);
    if (behind.length === 0) return;
    const marks = await Promise.all(behind.map(async g => (await online.groupStatus(g))!.marks[0]!));
    let mark = marks.reduce((a, b) => (a.next <= b.next ? a : b));
    const together = behind.filter((_, i) => marks[i]!.next === mark.next);
    const pipe = { ...lane.pipe, router: new Router(together) };
    for await (const records of this.replayLog(lane.stream, mark.next, lane.mark.next)) {
      if (this.options.signal.aborted) return;
      const prepared = prepare(pipe, 0, records, mark);
      // The last slice carries the stream's own position, which may lie behind rejected events at its end.
      if (prepared.mark.next >= lane.mark.next || records.length === 0) prepared.mark.next = lane.mark.next;
      await this.commit(lane, together, prepared, mark.next, false);
      mark = prepared.mark;
      this.options.onBackfill?.(mark.next, lane.mark.next);
    }
    if (mark.next < lane.mark.next) {
      const prepared = prepare(pipe, 0, [], mark);
      prepared.mark.next = lane.mark.next;
      await this.commit(lane, together, prepared, mark.next, false);
    }
    if (together.length < behind.length) await this.catchUp(lane);
  }

  /**
   * The log from history as far as it goes, then from the bus. History first, because a re-decoded history knows nothing of
   * events that were rejected by older rules; state must not know more.
   */
  private async *replayLog(stream: string, from: number, to: number) {
    const { bus, history } = this.project;
    const kept = Math.min(to, (await history.mark(stream, 0)).next);
    if (from < kept) yield* history.scan(stream, 0, from, kept);
    for (let at = Math.max(from, kept); at < to; ) {
      const records = await bus.poll(stream, 0, at, Math.min(BIG_BATCH, to - at));
      if (records.length === 0) return;
      yield records;
      at = records[records.length - 1]!.offset + 1;
    }
  }

  /** One batch of one stream; returns how many events it read. */
  private async step(lane: Lane): Promise<number> {
    const { bus } = this.project;
    const records = await bus.poll(lane.stream, 0, lane.mark.next, this.options.batchSize ?? (this.lag > SMALL_BATCH ? BIG_BATCH : SMALL_BATCH));
    if (records.length === 0) return 0;
    const prepared = prepare(lane.pipe, 0, records, lane.mark);
    await this.commit(lane, lane.groups, prepared, lane.mark.next, true);
    lane.mark = prepared.mark;
    await this.feed.add(lane.stream, prepared.history, prepared.mark);
    this.lag = (await bus.bounds(lane.stream, 0)).end - lane.mark.next;
    return records.length;
  }

  private async commit(lane: Lane, groups: readonly Group[], prepared: Prepared, expect: number, live: boolean): Promise<void> {
    let counted: Record<string, Partial<Counters>> = {};
    const result = await this.project.online.commit({
      stream: lane.stream,
      partition: 0,
      lease: this.lease,
      expect,
      mark: prepared.mark,
      groups,
      live,
      updates: prepared.updates,
      dead: live ? prepared.dead : [],
      count: () => (counted = prepared.count()),
    });
    if (result.status === 'ok') return live ? this.add(counted) : undefined;
    if (result.status === 'fenced') throw new FabraError('FENCED', 'another worker took over this project', { hint: 'This one stops here; nothing was counted twice.' });
    throw new FabraError('ROLLBACK', `the store is at another position than this worker (${JSON.stringify(result)})`, {
      hint: 'Start the worker again: it continues from the store.',
      retry: true,
    });
  }

  private add(delta: Record<string, Partial<Counters>>): void {
    for (const [type, counters] of Object.entries(delta)) {
      this.byType[type] ??= noCounters();
      for (const k of Object.keys(counters) as (keyof Counters)[]) {
        this.byType[type]![k] += counters[k]!;
        this.total[k] += counters[k]!;
      }
    }
  }

  private progress(lanes: readonly Lane[]): WorkerProgress {
    const times = lanes.map(l => l.mark.admit.max).filter(t => t !== null);
    return { counters: { ...this.total }, lag: this.lag, maxTs: times.length ? Math.max(...times) : null };
  }

  /** Nothing to read: write history that is due, trim what no read needs. */
  private async idle(lanes: readonly Lane[]): Promise<void> {
    for (const lane of lanes) {
      await this.feed.due(lane.stream);
      await this.project.online.trim(this.lease, lane.groups, 1_000);
    }
  }
}
