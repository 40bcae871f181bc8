/** What `fabra/testing` drives: a private store, the real worker, and the clock of the test. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pick } from '../../engine/decode.ts';
import { compileUnits, type TriggerUnit } from '../../engine/units.ts';
import type { Cell } from '../../engine/values.ts';
import { type Clock, systemClock } from '../../lib/clock.ts';
import { FabraError } from '../../lib/errors.ts';
import { readInstant } from '../../lib/time.ts';
import { compileDefinitions } from '../../registry/compile.ts';
import type { Registry, ViewPlan } from '../../registry/types.ts';
import { FeatureAccess } from '../access.ts';
import { applyRegistry } from '../apply.ts';
import type { Compiled, Project } from '../project.ts';
import { runWorker } from '../worker.ts';
import { TestClock } from './clock.ts';

type Fields = Record<string, unknown>;
type Open = (dir: string, clock: Clock) => Promise<Project>;

interface Arrival {
  event: unknown;
  payload: Fields;
  at: number;
  id: string | undefined;
  entityId: string | number | undefined;
}
interface Given {
  feature: unknown;
  rows: Fields[];
}
type Step = Arrival | Given;

const DAY = '2025-01-15';
const NOBODY: ReadonlySet<string> = new Set();
const TIME = /^\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?$/;

export class Harness {
  private readonly open: Open;
  private readonly asked: object;
  private readonly day: string;
  private readonly clock: TestClock;
  private readonly compiled: Compiled;
  private readonly steps: Step[] = [];
  /** Values of key columns that events and rows have. */
  private readonly keys = new Map<string, Set<string>>();
  private started: Promise<{ project: Project; access: FeatureAccess; dir: string }> | null = null;
  private made = 0;

  /** @throws FabraError COMPILE_FAILED, BAD_TIME. */
  constructor(open: Open, asked: object, { day = DAY, with: more = [] }: { day?: string; with?: readonly object[] }) {
    this.open = open;
    this.asked = asked;
    this.day = day;
    const start = readInstant(day);
    if (start === null || day.length > 10) throw new FabraError('BAD_TIME', `day ${JSON.stringify(day)} is not a day`, { hint: "Write { day: '2025-01-15' }." });
    this.clock = new TestClock(start);
    const { registry, code } = compileDefinitions({ asked: (asked as { kind?: unknown }).kind === 'service' ? asked : listed(asked), more }) as Compiled;
    this.compiled = { registry: byHand(registry), code: held(code, this.clock) };
  }

  event(event: unknown, payload: Fields, time: unknown, { id, entityId }: { id?: string; entityId?: string | number }): void {
    this.steps.push({ event, payload: { ...payload }, at: this.instant(time), id, entityId });
  }

  rows(feature: unknown, rows: readonly Fields[]): void {
    this.steps.push({ feature, rows: rows.map(({ at, ...row }) => ({ ...row, timestamp: at === undefined ? this.clock.now() : this.instant(at) })) });
  }

  /** Cells at an instant, by row. */
  async read(time: unknown, keys: unknown, options: unknown): Promise<{ names: string[]; cells: Cell[][]; many: boolean }> {
    const at = this.instant(time);
    const { access } = await this.settle();
    this.clock.reach(at);
    const many = Array.isArray(keys);
    const rows = many ? keys : [keys ?? this.onlyKeys(access)];
    return { ...(await access.read(this.asked, rows, { ...(options as object), asOf: at })), many };
  }

  async deadLetters(): Promise<{ feature: string; event_type: string; event_id: string; attempts: number; error: string }[]> {
    const { project } = await this.settle();
    const letters = await project.online.deadLetters(0, 10_000);
    return letters.flatMap(({ letter: { handler, reason } }) =>
      handler ? [{ feature: handler.feature, event_type: handler.event_type, event_id: handler.event_id, attempts: handler.attempts, error: reason }] : [],
    );
  }

  async counts(): Promise<Record<'read' | 'applied' | 'late' | 'duplicate' | 'quarantined' | 'rejected', number>> {
    const { project } = await this.settle();
    const sum = { read: 0, applied: 0, late: 0, duplicate: 0, quarantined: 0, rejected: 0 };
    for (const stream of Object.keys(this.compiled.registry.streams))
      for (const counters of Object.values(await project.online.counters(stream))) for (const k of Object.keys(sum) as (keyof typeof sum)[]) sum[k] += counters[k];
    return sum;
  }

  async close(): Promise<void> {
    const started = await this.started;
    if (!started) return;
    this.started = null;
    await started.project.close();
    remove(started.dir);
  }

  private async start(): Promise<{ project: Project; access: FeatureAccess; dir: string }> {
    const dir = mkdtempSync(path.join(tmpdir(), 'fabra-test-'));
    left.add(dir);
    const project = await this.open(dir, this.clock);
    await applyRegistry(project, this.compiled, { newVersion: false, consent: false });
    return { project, access: new FeatureAccess(project, this.compiled), dir };
  }

  /** All that was given has arrived, in order, and its handlers are done. */
  private async settle(): Promise<{ project: Project; access: FeatureAccess }> {
    this.started ??= this.start();
    const { project, access } = await this.started;
    if (this.steps.length === 0) return { project, access };
    const handlers = compileUnits(this.compiled.registry).triggers;
    if (handlers.length === 0) {
      await this.take(access);
      await runWorker(project, this.compiled, { untilIdle: true, signal: new AbortController().signal });
      return { project, access };
    }
    // Handlers read other features: what they see must not hold later events, so each event is worked off before the next.
    const stop = new AbortController();
    const failed = new AbortController();
    const working = runWorker(project, this.compiled, { signal: stop.signal }).catch((e: unknown) => failed.abort(e));
    try {
      await this.take(access, () => this.quiet(project, handlers, failed.signal));
    } finally {
      stop.abort();
      await working;
    }
    failed.signal.throwIfAborted();
    return { project, access };
  }

  private async take(access: FeatureAccess, after?: () => Promise<void>): Promise<void> {
    for (let step = this.steps.shift(); step; step = this.steps.shift()) {
      if ('feature' in step) {
        await access.push(step.feature, step.rows);
        for (const row of step.rows) this.noteKeys(row);
        continue;
      }
      await this.arrive(access, step);
      await after?.();
    }
  }

  /** Until the log is read and no handler's turn waits; a turn that is to be tried again later has that time at once. */
  private async quiet({ bus, online }: Project, handlers: readonly TriggerUnit[], failed: AbortSignal): Promise<void> {
    const { clock } = this;
    const streams = Object.keys(this.compiled.registry.streams);
    for (;;) {
      failed.throwIfAborted();
      let behind = false;
      for (const stream of streams) behind ||= (await online.streamMark(stream, 0)).next < (await bus.bounds(stream, 0)).end;
      if (!behind && Object.values(await online.waiting(handlers)).every(n => n === 0)) return;
      const { queues, nextAt } = await online.dueTurns(handlers, clock.now(), { queues: 1, turns: 1 }, NOBODY);
      if (clock.busy) {
        await systemClock.sleep(1);
        continue;
      }
      if (!behind && queues.length === 0 && nextAt !== null) clock.reach(nextAt);
      clock.nudge();
      await new Promise(setImmediate);
    }
  }

  private async arrive(access: FeatureAccess, { event, payload, at, id, entityId }: Arrival): Promise<void> {
    // An event arrives just after it happened: a handler that reads as of now sees it.
    this.clock.reach(at + 1);
    const stream = (event as { stream?: { id?: unknown } } | null)?.stream;
    const named = id ?? (typeof stream?.id === 'string' && stream.id !== 'position' && pick(payload, stream.id) === undefined ? `event-${++this.made}` : undefined);
    const [result] = await access
      .publish(event, [{ payload, timestamp: at, ...(named !== undefined && { eventId: named }), ...(entityId !== undefined && { entityId }) }])
      .catch(notOfTest);
    if (!result!.ok) throw result!.error;
    this.noteKeys(payload);
    if (entityId !== undefined) for (const e of Object.values(this.compiled.registry.entities)) if (e.key.length === 1) this.noteKeys({ [e.key[0]!]: entityId });
  }

  private noteKeys(row: Fields): void {
    for (const column of new Set(Object.values(this.compiled.registry.entities).flatMap(e => e.key))) {
      const value = pick(row, column);
      if (typeof value !== 'string' && typeof value !== 'number') continue;
      this.keys.set(column, (this.keys.get(column) ?? new Set()).add(String(value)));
    }
  }

  private onlyKeys(access: FeatureAccess): Record<string, string> {
    const row: Record<string, string> = {};
    for (const column of access.keysOf(this.asked)) {
      const seen = [...(this.keys.get(column) ?? [])];
      if (seen.length !== 1)
        throw new FabraError('BAD_KEY', seen.length === 0 ? `no event has a ${column}` : `the events have several ${column}: ${seen.slice(0, 5).join(', ')}`, {
          path: column,
          hint: `Say which: .at('12:05', { ${column}: '${seen[0] ?? '…'}' }).`,
        });
      row[column] = seen[0]!;
    }
    return row;
  }

  private instant(time: unknown): number {
    const full = typeof time === 'string' && TIME.test(time) ? `${this.day}T${time.padStart(time.indexOf(':') === 1 ? time.length + 1 : 0, '0')}Z` : time;
    const ms = readInstant(full);
    if (ms === null)
      throw new FabraError('BAD_TIME', `${JSON.stringify(time)} is not a time`, { hint: "Write '12:05', '12:05:30.250', an ISO text, epoch milliseconds or a Date." });
    return ms;
  }
}

/** The project of a test is what it named, and what that needs. */
function notOfTest(e: unknown): never {
  if (!(e instanceof FabraError) || e.code !== 'UNKNOWN_EVENT') throw e;
  throw new FabraError('UNKNOWN_EVENT', 'none of the features under test takes this event', {
    hint: 'Name one that does, or give the event itself: testFeatures([…], { with: [event] }).',
  });
}

/** Folders of tests that were not closed: they go with the process. */
const left = new Set<string>();
process.once('exit', () => left.forEach(remove));
function remove(dir: string): void {
  left.delete(dir);
  rmSync(dir, { recursive: true, force: true });
}

/** Aliases are listed in services only; what they stand for is compiled by itself. */
const listed = (asked: object): unknown[] => (Array.isArray(asked) ? asked : [asked]).map((f: { kind?: unknown; feature?: unknown }) => (f?.kind === 'alias' ? f.feature : f));

/** Rows come from the test: a view by SQL becomes one that is pushed. */
function byHand(registry: Registry): Registry {
  const views = Object.fromEntries(
    Object.entries(registry.views).map(([id, view]): [string, ViewPlan] => [
      id,
      { ...view, source: null, sql: null, params: [], time: null, created: null, materialize: true, every: null },
    ]),
  );
  return { ...registry, sources: {}, views };
}

/** The test's own code, watched: pauses are not cut short while it runs. */
function held(code: Compiled['code'], clock: TestClock): Compiled['code'] {
  return {
    ...code,
    handlers: new Map([...code.handlers].map(([id, h]) => [id, { ...h, handle: clock.held(h.handle, context => (context as { signal: AbortSignal }).signal) }])),
    derives: new Map([...code.derives].map(([id, d]) => [id, { ...d, compute: clock.held(d.compute, (_, { signal }) => signal) }])),
  };
}
