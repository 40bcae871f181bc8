/**
 * Handlers run beside the log: due turns are taken from their queues, one after the other of a pair (feature and key) and many
 * pairs at once, and what came of them is committed. The queues are in the store, so nothing here outlives a kill but effects.
 */
import type { TriggerUnit } from '../../engine/units.ts';
import { compareRows, compileUnits, type TableRow } from '../../engine/units.ts';
import { FabraError } from '../../lib/errors.ts';
import { splitKey } from '../../lib/text.ts';
import type { Lease, Turn, TurnOutcome, TurnQueue } from '../../ports/online-store.ts';
import type { Compiled, Project } from '../project.ts';
import { FeatureReader } from '../reader.ts';
import { type AttemptEnd, type AttemptParts, attempt, CONFLICT, STOPPED } from './attempt.ts';
import { Bell } from './bell.ts';
import { deadLetterOf } from './dead.ts';
import { reasonOf, retryAt } from './retry.ts';

/** Pairs at once. */
const PAIRS = 64;
/** Turns of a pair in one go, and for how long it goes on before what it has is committed, ms. */
const TURNS = 64;
const SLICE_MS = 100;
/** A stopping worker waits this long for running handlers, then aborts their signals. */
const GRACE_MS = 5_000;
/** Longest pause between looks at the queues: a requeued dead letter rings no bell. */
const LOOK_MS = 50;

export interface HandlerCounts {
  /** Turns done. */
  handled: number;
  /** Attempts that failed and are made again. */
  retried: number;
  /** Turns given up: now dead letters. */
  dead: number;
}

export const noHandlerCounts = (): HandlerCounts => ({ handled: 0, retried: 0, dead: 0 });

type Status = 'ok' | 'conflict' | 'fenced';

interface Done {
  turn: Turn;
  ms: number;
  end: AttemptEnd & { status: 'done' };
}

/** A pair on its way. */
interface Pair {
  queue: TurnQueue;
  version: number;
  current: TableRow | null;
  done: Done[];
  failed?: TurnOutcome['failed'];
}

interface Handed {
  pair: Pair;
  outcome: TurnOutcome;
  settled(status: Status): void;
  lost(e: unknown): void;
}

export class HandlerLoop {
  readonly counts = noHandlerCounts();
  private readonly project: Project;
  private readonly units: readonly TriggerUnit[];
  private readonly lease: Lease;
  private readonly parts: AttemptParts;
  private readonly bell = new Bell();
  private readonly busy = new Map<string, Promise<void>>();
  private handed: Handed[] = [];
  private stopping = false;
  private failure: unknown;

  constructor(project: Project, { registry, code }: Compiled, units: readonly TriggerUnit[], lease: Lease) {
    this.project = project;
    this.units = units;
    this.lease = lease;
    const reader = new FeatureReader(project, registry, code);
    const read: AttemptParts['read'] = async (feature, keys) => {
      const { cells } = await reader.read({ features: [feature], rows: [keys], at: project.clock.now() });
      return cells[0]![0]!;
    };
    this.parts = { registry, code, tables: compileUnits(registry).tables, clock: project.clock, read, running: new Set() };
  }

  /** New turns are in the queues. */
  wake(): void {
    this.bell.ring();
  }

  /** Nothing runs and nothing waits, not even for its next attempt. */
  async idle(): Promise<boolean> {
    if (this.busy.size > 0) return false;
    return Object.values(await this.project.online.waiting(this.units)).every(n => n === 0);
  }

  /** Until the signal; then running handlers get a few seconds, and what is done is committed. */
  async run(stop: AbortSignal): Promise<void> {
    stop.addEventListener('abort', () => this.bell.ring(), { once: true });
    try {
      while (!stop.aborted) {
        const pause = await this.take();
        if (this.handed.length === 0) await this.bell.wait(this.project.clock, pause);
        await this.commit();
      }
      await this.finish();
    } catch (e) {
      this.abandon(e);
      throw e;
    }
  }

  /** Starts due pairs; returns how long to wait when nothing else happens. */
  private async take(): Promise<number> {
    const room = PAIRS - this.busy.size;
    if (room === 0) return LOOK_MS;
    const { clock, online } = this.project;
    const now = clock.now();
    const { queues, nextAt } = await online.dueTurns(this.units, now, { queues: room, turns: TURNS }, new Set(this.busy.keys()));
    for (const queue of queues) this.start(queue);
    return nextAt === null ? LOOK_MS : Math.min(LOOK_MS, Math.max(1, nextAt - now));
  }

  private start(queue: TurnQueue): void {
    const name = `${queue.unit.id}\u0000${queue.key}`;
    const work = this.runPair({ queue, version: queue.version, current: queue.current, done: [] })
      .catch((e: unknown) => void (this.failure ??= e))
      .finally(() => {
        this.busy.delete(name);
        this.bell.ring();
      });
    this.busy.set(name, work);
  }

  private async runPair(pair: Pair): Promise<void> {
    const { clock } = this.project;
    const { unit, key, turns } = pair.queue;
    const began = clock.now();
    const settle = async () => {
      if ((await this.handIn(pair)) !== 'ok') throw CONFLICT;
    };
    for (const turn of turns) {
      if (this.stopping || (pair.done.length > 0 && clock.now() - began > SLICE_MS)) break;
      const at = clock.now();
      const end = await attempt(this.parts, { unit, key, turn, current: pair.current, settle });
      if (end.status === 'dropped') break;
      if (end.status === 'failed') {
        pair.failed = await this.failed(pair, turn, end.error);
        break;
      }
      pair.done.push({ turn, ms: clock.now() - at, end });
      if (end.row && (!pair.current || compareRows(end.row, pair.current) > 0)) pair.current = end.row;
    }
    await this.handIn(pair);
  }

  private async failed({ queue }: Pair, turn: Turn, error: unknown): Promise<TurnOutcome['failed']> {
    const now = this.project.clock.now();
    const attempts = turn.attempts + 1;
    const reason = reasonOf(error);
    const again = retryAt(error, attempts, queue.unit.retries, now);
    const what = { seq: turn.seq, attempts, error: reason };
    if (again !== null) return { ...what, retryAt: again };
    return { ...what, dead: await deadLetterOf(this.project, queue.unit.id, queue.key, turn.event, { at: now, reason, attempts }) };
  }

  /** Gives what the pair has done to the next commit; resolves when that is over. */
  private handIn(pair: Pair): Promise<Status> {
    if (pair.done.length === 0 && !pair.failed) return Promise.resolve('ok');
    const { unit, key } = pair.queue;
    const done = pair.done.map(({ turn, end }) => ({ seq: turn.seq, row: end.row, puts: end.puts }));
    const outcome: TurnOutcome = { unit, key, version: pair.version, done, ...(pair.failed && { failed: pair.failed }) };
    const over = new Promise<Status>((settled, lost) => this.handed.push({ pair: { ...pair }, outcome, settled, lost }));
    pair.done = [];
    pair.version++;
    this.bell.ring();
    return over;
  }

  private async commit(): Promise<void> {
    // Pairs that end in the same turn of the event loop come along.
    await new Promise(setImmediate);
    if (this.failure !== undefined) throw this.failure;
    const list = this.handed;
    if (list.length === 0) return;
    this.handed = [];
    let results: Status[];
    try {
      results = await this.project.online.commitTurns(
        this.lease,
        list.map(h => h.outcome),
      );
    } catch (e) {
      for (const h of list) h.lost(e);
      throw e;
    }
    list.forEach((h, i) => {
      if (results[i] === 'ok') this.count(h.pair);
      h.settled(results[i]!);
    });
    if (results.includes('fenced')) throw new FabraError('FENCED', 'another worker took over this project', { hint: 'This one stops here; nothing was counted twice.' });
    this.project.log.log('info', { event: 'handlers_committed', pairs: list.length, ...this.counts });
  }

  private count({ queue, done, failed }: Pair): void {
    const { log } = this.project;
    const about = ({ event }: Turn) => ({
      feature: queue.unit.id,
      event_type: event.type,
      entity_id: splitKey(queue.key, queue.unit.keyColumns.length).join(','),
      event_id: event.id,
    });
    for (const { turn, ms, end } of done) {
      this.counts.handled++;
      if (log.level === 'debug') log.log('debug', { event: 'handled', ...about(turn), duration_ms: ms, features_updated: end.updated });
    }
    if (!failed) return;
    const turn = queue.turns.find(t => t.seq === failed.seq)!;
    const { attempts, error } = failed;
    if ('dead' in failed) this.counts.dead++;
    else this.counts.retried++;
    log.log('warn', { event: 'dead' in failed ? 'handler_gave_up' : 'handler_failed', ...about(turn), attempts, error });
  }

  private async finish(): Promise<void> {
    this.stopping = true;
    const over = new AbortController();
    void this.project.clock.sleep(GRACE_MS, over.signal).then(() => this.abortAll());
    while (this.busy.size > 0) {
      if (this.handed.length === 0) await this.bell.wait(this.project.clock, LOOK_MS);
      await this.commit();
    }
    over.abort();
  }

  private abortAll(): void {
    for (const a of this.parts.running) a.abort(STOPPED);
  }

  /** After a failure nothing can be committed: handlers are told, and their turns stay queued. */
  private abandon(e: unknown): void {
    this.stopping = true;
    this.abortAll();
    for (const h of this.handed.splice(0)) h.lost(e);
  }
}
