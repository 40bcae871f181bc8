import fc from 'fast-check';
import type { Registry, StreamPlan } from '../../src/registry/types.ts';
import { type Columns, DAY, HOUR, MINUTE, SECOND } from './build.ts';
import type { Log, LogEvent } from './index.ts';
import { columns$ } from './random-values.ts';

export interface LogOptions {
  /** Steps per stream, default 60; a run of strays is one step of about a hundred events. */
  maxSteps?: number;
  /** At most so many partitions per stream, default 3. */
  partitions?: number;
  /** Runs of strays long enough to re-base, and a stray first event with a hundred far behind it. Default true. */
  strays?: boolean;
}

/** How far an event moves on from the partition's newest (or behind it). */
type Move =
  | { kind: 'ahead'; by: number }
  | { kind: 'behind'; by: number }
  /** Exactly at the lateness limit, or so many ms off it. */
  | { kind: 'latest'; off: number }
  /** Exactly at `maxAhead` past the newest, or so many ms off it. */
  | { kind: 'farthest'; off: number };

type Step =
  | { kind: 'event'; move: Move; prefix: string }
  /** Delivered again: same id and time; the same payload, another for the same keys, or another altogether. */
  | { kind: 'copy'; of: number; payload: 'same' | 'keys' | 'other' }
  /** Same id, another time. */
  | { kind: 'conflict'; of: number; move: Move }
  /** Same time, another id. */
  | { kind: 'tie'; of: number; prefix: string }
  /** Appended so long before its own time, 5 min being the limit. */
  | { kind: 'future'; ahead: number }
  | { kind: 'run'; n: number; move: Move }
  | { kind: 'rejected' };

interface PlannedStep {
  step: Step;
  type: number;
  columns: Columns;
  p: number;
  gap: number;
}

export interface StreamLogPlan {
  base: number;
  partitions: number;
  strayFirst: number;
  steps: PlannedStep[];
}
export type LogPlan = Record<string, StreamLogPlan>;

const BASES = [Date.parse('2025-01-15T11:59:58Z'), Date.parse('2025-01-15T23:50:00Z'), Date.parse('2016-02-29T12:00:00.500Z'), 0, -90_000, -5 * DAY - 1];

/** Minutes, hours or days of log: by the sizes of its steps. */
const SPANS = [
  [0, 1, 2, 500, SECOND, 10 * SECOND, 10 * SECOND + 1, MINUTE],
  [0, 1, 999, 10 * SECOND, MINUTE, 7 * MINUTE, 30 * MINUTE, 30 * MINUTE + 1],
  [0, 1, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 30 * HOUR + 1],
];
const prefix$ = fc.constantFrom('e', 'e', 'Z', 'é', '\uFFFD', '\u{1F600}');
const off$ = fc.constantFrom(-1, 0, 1);

function move$(sizes: number[]): fc.Arbitrary<Move> {
  const by = fc.oneof(fc.constantFrom(...sizes), fc.nat({ max: sizes.at(-1) as number }));
  return fc.oneof(
    { weight: 12, arbitrary: by.map(b => ({ kind: 'ahead' as const, by: b })) },
    { weight: 5, arbitrary: by.map(b => ({ kind: 'behind' as const, by: b })) },
    { weight: 2, arbitrary: off$.map(off => ({ kind: 'latest' as const, off })) },
    { weight: 1, arbitrary: off$.map(off => ({ kind: 'farthest' as const, off })) },
  );
}

function step$(sizes: number[], strays: boolean): fc.Arbitrary<Step> {
  const move = move$(sizes);
  const of = fc.nat({ max: 1000 });
  const far = fc.constantFrom(1, HOUR, 5 * DAY).map(off => ({ kind: 'farthest' as const, off }));
  return fc.oneof(
    { weight: 24, arbitrary: fc.record({ kind: fc.constant('event' as const), move, prefix: prefix$ }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('copy' as const), of, payload: fc.constantFrom('same' as const, 'keys' as const, 'other' as const) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('conflict' as const), of, move }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('tie' as const), of, prefix: prefix$ }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('future' as const), ahead: fc.constantFrom(5 * MINUTE, 5 * MINUTE + 1, DAY) }) },
    { weight: strays ? 1 : 0, arbitrary: fc.record({ kind: fc.constant('run' as const), n: fc.constantFrom(1, 60, 99, 100, 101), move: far }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'rejected' as const }) },
  );
}

function stream$(options: LogOptions): fc.Arbitrary<StreamLogPlan> {
  const strays = options.strays ?? true;
  const planned = (sizes: number[]) =>
    fc.array(fc.record({ step: step$(sizes, strays), type: fc.nat({ max: 11 }), columns: columns$, p: fc.nat({ max: 11 }), gap: fc.constantFrom(1, 1, 1, 3) }), {
      maxLength: options.maxSteps ?? 60,
      size: 'max',
    });
  return fc.record({
    base: fc.constantFrom(...BASES),
    partitions: fc.integer({ min: 1, max: options.partitions ?? 3 }),
    strayFirst: strays ? fc.constantFrom(0, 0, 0, 0, 0, 0, 99, 100, 101) : fc.constant(0),
    steps: fc.oneof(...SPANS.map(planned)),
  });
}

/** What logs are made from, whatever the registry: its limits are looked up by `logFor`. */
export function arbLogPlan(options: LogOptions = {}): fc.Arbitrary<LogPlan> {
  return fc.record({ clicks: stream$(options), pings: stream$(options) });
}

/** A log for one registry; streams and types are those of `arbRegistry`, or any other registry's. */
export function arbLog(registry: Registry, options: LogOptions = {}): fc.Arbitrary<Log> {
  return fc.record(Object.fromEntries(Object.keys(registry.streams).map(name => [name, stream$(options)]))).map(plan => logFor(registry, plan as LogPlan));
}

export function logFor(registry: Registry, plan: LogPlan): Log {
  const log: Log = {};
  for (const stream of Object.values(registry.streams)) {
    const types = Object.values(registry.events)
      .filter(e => e.stream === stream.name)
      .map(e => e.type);
    const writer = new Writer(stream, types, plan[stream.name] as StreamLogPlan);
    log[stream.name] = writer.write();
  }
  return log;
}

/** Turns steps into events; `newest` per partition is near enough to the running max to hit its limits. */
class Writer {
  private readonly out: LogEvent[] = [];
  private readonly newest = new Map<number, number>();
  private readonly offsets = new Map<number, number>();

  private readonly stream: StreamPlan;
  private readonly types: string[];
  private readonly plan: StreamLogPlan;

  constructor(stream: StreamPlan, types: string[], plan: StreamLogPlan) {
    this.stream = stream;
    this.types = types;
    this.plan = plan;
  }

  write(): LogEvent[] {
    const [first] = this.plan.steps;
    if (this.plan.strayFirst > 0 && first && this.stream.maxAhead !== null) this.strayFirst(first);
    for (const planned of this.plan.steps) this.take(planned);
    return this.out.sort((a, b) => a.p - b.p || a.o - b.o);
  }

  /** One event far ahead, then so many real ones. */
  private strayFirst(planned: PlannedStep): void {
    const far = this.plan.base + (this.stream.maxAhead ?? DAY) + this.stream.lateness + 200;
    this.add(planned, far, 'stray');
    for (let i = 0; i < this.plan.strayFirst; i += 1) this.add(planned, this.plan.base + ((i * 37) % 101), `s${i}`);
    if (this.plan.strayFirst >= 100) this.newest.set(this.partition(planned), this.plan.base + 100);
  }

  private take(planned: PlannedStep): void {
    const { step } = planned;
    const n = this.out.length;
    const id = 'prefix' in step ? `${step.prefix}${n}` : `e${n}`;
    if (step.kind === 'rejected') return this.push({ ...this.event(planned, 0, ''), type: '', columns: {}, rejected: true });
    if (step.kind === 'event') return this.add(planned, this.time(planned, step.move), id);
    if (step.kind === 'future') {
      const ts = this.time(planned, { kind: 'ahead', by: 1 });
      return this.push({ ...this.event(planned, ts, id), appended: ts - step.ahead });
    }
    if (step.kind === 'run') {
      const ts = this.time(planned, step.move);
      for (let i = 0; i < step.n; i += 1) this.push(this.event(planned, ts + ((i * 37) % 101), `r${n + i}`));
      // The partition has moved there: by re-basing, or because nothing is too far.
      if (this.stream.maxAhead === null || step.n >= 100) this.newest.set(this.partition(planned), ts + 100);
      return;
    }
    const good = this.out.filter(e => !e.rejected);
    const earlier = good[step.of % Math.max(1, good.length)];
    if (earlier === undefined) return;
    if (step.kind === 'tie') return this.add(planned, earlier.ts, id);
    if (step.kind === 'conflict') return this.add(planned, this.time(planned, step.move), earlier.id);
    const copy = this.event(planned, earlier.ts, earlier.id);
    const { user_id = null, device = null, region = null } = earlier.columns;
    if (step.payload === 'same') this.push({ ...copy, type: earlier.type, columns: earlier.columns });
    else this.push(step.payload === 'keys' ? { ...copy, columns: { ...copy.columns, user_id, device, region } } : copy);
  }

  private partition(planned: PlannedStep): number {
    return planned.p % this.plan.partitions;
  }

  private time(planned: PlannedStep, move: Move): number {
    const newest = this.newest.get(this.partition(planned)) ?? this.plan.base;
    if (move.kind === 'ahead') return newest + move.by;
    if (move.kind === 'behind') return newest - move.by;
    if (move.kind === 'latest') return newest - this.stream.lateness + move.off;
    return newest + (this.stream.maxAhead ?? HOUR) + move.off;
  }

  private event(planned: PlannedStep, ts: number, id: string): LogEvent {
    // One in twelve is of no declared type, where the stream has a type column.
    const undeclared = planned.type === 11 && this.stream.type !== null;
    const type = undeclared ? 'undeclared' : (this.types[planned.type % this.types.length] as string);
    const p = this.partition(planned);
    const o = (this.offsets.get(p) ?? -1) + planned.gap;
    return { p, o, appended: ts + 1000, ts, id, type, columns: undeclared ? {} : planned.columns };
  }

  /** An event that moves the partition on, unless it is too far ahead. */
  private add(planned: PlannedStep, ts: number, id: string): void {
    const event = this.event(planned, ts, id);
    const newest = this.newest.get(event.p);
    const far = newest !== undefined && this.stream.maxAhead !== null && ts > newest + this.stream.maxAhead;
    if (!far) this.newest.set(event.p, Math.max(newest ?? ts, ts));
    this.push(event);
  }

  private push(event: LogEvent): void {
    this.offsets.set(event.p, event.o);
    this.out.push(event);
  }
}
