/**
 * The worker: log -> decode -> admit -> route -> commit, and history beside it. One owner moves a partition in order; a
 * commit carries the mark with the state, so a kill at any point loses and repeats nothing.
 */
import { Decoder } from '../engine/decode.ts';
import { compileGroups, type Group } from '../engine/group.ts';
import { Router } from '../engine/route.ts';
import { compileUnits, type FoldUnit, type TriggerUnit, type Units } from '../engine/units.ts';
import { FabraError, toFabraError } from '../lib/errors.ts';
import { type Counters, type Lease, type Mark, noCounters } from '../ports/online-store.ts';
import type { Registry } from '../registry/types.ts';
import { type Pipeline, type Prepared, prepare } from './batch.ts';
import { type HandlerCounts, HandlerLoop, noHandlerCounts } from './handlers/loop.ts';
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
  /** While another process works, wait for its end instead of failing WRITER_BUSY. */
  standby?: boolean;
  /** It waits. */
  onStandby?(): void;
  /** It is the one that works now. */
  onStart?(): void;
  signal: AbortSignal;
  onProgress?(p: WorkerProgress): void;
  /** While new or changed features replay the log: offset reached, and the one to reach. */
  onBackfill?(done: number, total: number): void;
}

export interface WorkerProgress {
  counters: Counters;
  handlers: HandlerCounts;
  /** Events still to read, all streams. */
  lag: number;
  /** Greatest event time so far, and the watermark behind it. */
  maxTs: number | null;
}

export interface WorkerSummary extends Counters, HandlerCounts {
  seconds: number;
  byType: Record<string, Counters>;
}

const SMALL_BATCH = 100;
const BIG_BATCH = 10_000;
/** Looks at an empty log start this short and double up to the poll interval. */
const FIRST_PAUSE = 5;
/** Between looks of a waiting worker at the one that works. */
const STANDBY_MS = 200;
/** Events read under load before folds and handled ids are settled. */
const SETTLE_EVENTS = 20_000;
/** A log that never runs dry: what is done when it does is done this often, unless there is a backlog. */
const UPKEEP_MS = 1_000;

/** Runs until the signal aborts, or until the log is read and all handlers are done with `untilIdle`. */
export async function runWorker(project: Project, compiled: Compiled, options: WorkerOptions): Promise<WorkerSummary> {
  await requireApplied(project, compiled.registry);
  const lease = await takeLease(project, options);
  if (!lease) return { ...noCounters(), ...noHandlerCounts(), seconds: 0, byType: {} };
  try {
    if (options.standby) await requireApplied(project, compiled.registry);
    options.onStart?.();
    return await new WorkerRun(project, compiled, options, lease).run();
  } finally {
    await lease.release();
  }
}

/** Null when a waiting worker was stopped. */
async function takeLease({ online, clock }: Project, { standby, onStandby, signal }: WorkerOptions): Promise<Lease | null> {
  for (let waits = false; ; waits = true) {
    try {
      return await online.lease();
    } catch (e) {
      if (!standby || toFabraError(e).code !== 'WRITER_BUSY') throw e;
    }
    if (!waits) onStandby?.();
    await clock.sleep(STANDBY_MS, signal);
    if (signal.aborted) return null;
  }
}

/** @throws FabraError NOT_APPLIED when other definitions are. */
export async function requireApplied(project: Pick<Project, 'catalog'>, registry: Registry): Promise<void> {
  const applied = await project.catalog.applied();
  if (!applied) throw new FabraError('NOT_APPLIED', 'no registry is applied yet', { hint: 'Run: fabra apply' });
  if (applied.registry.hash !== registry.hash && !sameMeaning(applied.registry, registry))
    throw new FabraError('NOT_APPLIED', 'the definitions differ from the applied registry', { hint: 'Run: fabra plan, then fabra apply' });
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
  parts: Parts;
  mark: Mark;
}

/** What moves with a mark. */
interface Parts {
  groups: readonly Group[];
  folds: readonly FoldUnit[];
  triggers: readonly TriggerUnit[];
}
type Part = Group | FoldUnit | TriggerUnit;

class WorkerRun {
  private readonly project: Project;
  private readonly compiled: Compiled;
  private readonly options: WorkerOptions;
  private readonly lease: Lease;
  private readonly total = noCounters();
  private readonly byType: Record<string, Counters> = {};
  private readonly feed: HistoryFeed;
  private readonly units: Units;
  private readonly handlers: HandlerLoop | null;
  /** Aborted by the caller's signal, and when the handlers fail. */
  private readonly stop = new AbortController();
  private lag = 0;
  private unsettled = 0;
  private keptUp = 0;

  constructor(project: Project, compiled: Compiled, options: WorkerOptions, lease: Lease) {
    this.project = project;
    this.compiled = compiled;
    this.options = options;
    this.lease = lease;
    this.feed = new HistoryFeed(project, compiled.registry, lease, options.historyRows);
    this.units = compileUnits(compiled.registry, compiled.code);
    const { triggers } = this.units;
    this.handlers = triggers.length > 0 ? new HandlerLoop(project, compiled, triggers, lease) : null;
  }

  async run(): Promise<WorkerSummary> {
    const { clock } = this.project;
    const began = clock.now();
    this.keptUp = began;
    const lanes = await this.openLanes();
    const { signal } = this.options;
    const stop = () => this.stop.abort();
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    const handlers = this.startHandlers();
    try {
      for (const lane of lanes) await this.catchUp(lane);
      await this.follow(lanes);
    } finally {
      stop();
      signal.removeEventListener('abort', stop);
      await handlers.over;
    }
    if (handlers.failure) throw handlers.failure.error;
    await this.feed.flush(lanes.map(l => l.stream));
    return { ...this.total, ...this.handled, seconds: (clock.now() - began) / 1000, byType: this.byType };
  }

  /** Beside the log: it never waits for handlers, and what they still have to do is in the store. */
  private startHandlers(): { over: Promise<void>; failure: { error: unknown } | null } {
    const running: { over: Promise<void>; failure: { error: unknown } | null } = { over: Promise.resolve(), failure: null };
    if (this.handlers)
      running.over = this.handlers.run(this.stop.signal).catch((error: unknown) => {
        running.failure = { error };
        this.stop.abort();
      });
    return running;
  }

  private get handled(): HandlerCounts {
    return this.handlers ? { ...this.handlers.counts } : noHandlerCounts();
  }

  private async follow(lanes: readonly Lane[]): Promise<void> {
    const { signal } = this.stop;
    let pause = FIRST_PAUSE;
    while (!signal.aborted) {
      let moved = 0;
      for (const lane of lanes) moved += await this.step(lane);
      this.options.onProgress?.(this.progress(lanes));
      if (moved > 0) {
        pause = FIRST_PAUSE;
        if (this.lag < BIG_BATCH && this.project.clock.now() - this.keptUp >= UPKEEP_MS) await this.idle(lanes);
        continue;
      }
      await this.idle(lanes);
      if (this.options.untilIdle && (!this.handlers || (await this.handlers.idle()))) break;
      await this.project.clock.sleep(pause, signal);
      pause = Math.min(pause * 2, this.options.pollMs ?? 50);
    }
  }

  private async openLanes(): Promise<Lane[]> {
    const { registry, code } = this.compiled;
    const groups = [...compileGroups(registry).groups.values()];
    const { folds, triggers, tables } = this.units;
    await this.project.online.adopt(groups, { folds, triggers, tables: [...tables.values()] });
    const lanes: Lane[] = [];
    for (const plan of Object.values(registry.streams)) {
      const { name } = plan;
      const reads = (u: FoldUnit | TriggerUnit) => u.streams.includes(name);
      const parts: Parts = { groups: groups.filter(g => g.stream === name), folds: folds.filter(reads), triggers: triggers.filter(reads) };
      const declared = new Set(
        Object.values(registry.events)
          .filter(e => e.stream === name)
          .map(e => e.type),
      );
      const mark = await this.project.online.streamMark(name, 0);
      const pipe: Pipeline = { plan, decoder: new Decoder(registry, name, code.schemas), router: routerOf(parts, name), declared };
      await this.feed.open(plan, pipe.decoder, mark);
      lanes.push({ stream: name, pipe, parts, mark });
    }
    return lanes;
  }

  /** What is behind the stream's own mark (new or changed features) replays the log up to it first. */
  private async catchUp(lane: Lane): Promise<void> {
    const { groups, folds, triggers } = lane.parts;
    const behind: { part: Part; mark: Mark }[] = [];
    for (const part of [...groups, ...folds, ...triggers]) {
      const { marks } = (await this.project.online.groupStatus(part, lane.stream))!;
      if (marks[0]!.next < lane.mark.next) behind.push({ part, mark: marks[0]! });
    }
    if (behind.length === 0 || this.stop.signal.aborted) return;
    const first = behind.reduce((a, b) => (a.mark.next <= b.mark.next ? a : b)).mark;
    const together = new Set(behind.filter(b => b.mark.next === first.next).map(b => b.part));
    const only = <P extends Part>(list: readonly P[]) => list.filter(p => together.has(p));
    await this.replay(lane, { groups: only(groups), folds: only(folds), triggers: only(triggers) }, first);
    if (together.size < behind.length) await this.catchUp(lane);
  }

  private async replay(lane: Lane, parts: Parts, from: Mark): Promise<void> {
    const pipe = { ...lane.pipe, router: routerOf(parts, lane.stream) };
    let mark = from;
    for await (const records of this.replayLog(lane.stream, mark.next, lane.mark.next)) {
      if (this.stop.signal.aborted) return;
      const prepared = prepare(pipe, 0, records, mark);
      // The last slice carries the stream's own position, which may lie behind rejected events at its end.
      if (prepared.mark.next >= lane.mark.next || records.length === 0) prepared.mark.next = lane.mark.next;
      await this.commit(lane, parts, prepared, mark.next, false);
      mark = prepared.mark;
      this.options.onBackfill?.(mark.next, lane.mark.next);
    }
    if (mark.next >= lane.mark.next) return;
    const prepared = prepare(pipe, 0, [], mark);
    prepared.mark.next = lane.mark.next;
    await this.commit(lane, parts, prepared, mark.next, false);
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
    await this.commit(lane, lane.parts, prepared, lane.mark.next, true);
    lane.mark = prepared.mark;
    await this.feed.add(lane.stream, prepared.history, prepared.mark);
    this.lag = (await bus.bounds(lane.stream, 0)).end - lane.mark.next;
    this.unsettled += records.length;
    if (this.unsettled >= SETTLE_EVENTS) await this.settle(SETTLE_EVENTS);
    return records.length;
  }

  private async commit(lane: Lane, parts: Parts, prepared: Prepared, expect: number, live: boolean): Promise<void> {
    let counted: Record<string, Partial<Counters>> = {};
    const result = await this.project.online.commit({
      stream: lane.stream,
      partition: 0,
      lease: this.lease,
      expect,
      mark: prepared.mark,
      ...parts,
      live,
      updates: prepared.updates,
      foldUpdates: prepared.foldUpdates,
      turns: prepared.turns,
      dead: live ? prepared.dead : [],
      count: () => (counted = prepared.count()),
    });
    if (result.status === 'ok') {
      if (prepared.turns.length > 0) this.handlers?.wake();
      return live ? this.add(counted) : undefined;
    }
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
    return { counters: { ...this.total }, handlers: this.handled, lag: this.lag, maxTs: times.length ? Math.max(...times) : null };
  }

  /** Nothing to read, or a while without that: write history that is due, trim what no read needs. */
  private async idle(lanes: readonly Lane[]): Promise<void> {
    for (const lane of lanes) {
      await this.feed.due(lane.stream);
      await this.project.online.trim(this.lease, lane.parts.groups, 1_000);
    }
    await this.settle(1_000);
    this.keptUp = this.project.clock.now();
  }

  private async settle(limit: number): Promise<void> {
    this.unsettled = 0;
    const { folds, triggers } = this.units;
    if (folds.length + triggers.length > 0) await this.project.online.settle(this.lease, folds, triggers, limit);
  }
}

const routerOf = ({ groups, folds, triggers }: Parts, stream: string): Router => new Router(groups, [...folds, ...triggers], stream);
