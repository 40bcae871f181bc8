/**
 * A feature counted again from a list of events: lists, filters and sorts, no trees, no SQL. It says which of two answers is
 * right when they differ, so it shares with the engines only the last step (exact integers to a double).
 */
import { approx, nearestRank } from '../../engine/approx.ts';
import { type AggState, finishCell } from '../../engine/finish.ts';
import { sidesOf } from '../../engine/group.ts';
import { boundsOf } from '../../engine/read.ts';
import type { Cell, ColumnValue, DecodedEvent, Exact } from '../../engine/values.ts';
import { compareUtf8 } from '../../lib/text.ts';
import type { AggPlan, FilterPlan, WindowFeaturePlan } from '../../registry/types.ts';

/** An event with the stream it is of. */
export interface StreamEvent {
  stream: string;
  event: DecodedEvent;
}

export const uses = (agg: AggPlan, e: StreamEvent): boolean => agg.stream === e.stream && agg.events.includes(e.event.type);

const valueOf = (e: DecodedEvent, name: string): ColumnValue => e.columns[name] ?? null;

/** Two-valued: null is missing, a comparison with it is false. */
export function passes(f: FilterPlan | undefined, e: DecodedEvent): boolean {
  if (f === undefined) return true;
  switch (f.op) {
    case 'and':
      return f.args.every(a => passes(a, e));
    case 'or':
      return f.args.some(a => passes(a, e));
    case 'not':
      return !passes(f.arg, e);
    case 'isNull':
      return valueOf(e, f.column) === null;
    case 'in':
      return f.values.some(v => order(valueOf(e, f.column), v) === 0);
    default: {
      const c = order(valueOf(e, f.column), f.value);
      if (c === null) return false;
      return { eq: c === 0, gt: c > 0, gte: c >= 0, lt: c < 0, lte: c <= 0 }[f.op];
    }
  }
}

/** Order of a column's value and a filter's literal (numbers: scaled integers as text); null when the value is null. */
function order(v: ColumnValue, literal: string | boolean): number | null {
  if (v === null) return null;
  if (typeof v === 'number' || typeof v === 'bigint') return compare(BigInt(v), BigInt(literal));
  return compare(v, literal);
}

function compare(a: ColumnValue, b: ColumnValue): number {
  if (typeof a === 'string' && typeof b === 'string') return compareUtf8(a, b);
  const [x, y] = [BigInt(a as number | bigint | boolean), BigInt(b as number | bigint | boolean)];
  return x < y ? -1 : x > y ? 1 : 0;
}

/** `[from, to)` of the feature's frame at T; `events` are all accepted ones of its types. */
export function frameOf(f: WindowFeaturePlan, events: readonly StreamEvent[], at: number): [number, number] {
  if (f.frame.kind !== 'session') return boundsOf(f.frame, at);
  const times = events.filter(e => sidesOf(f).some(s => uses(s, e)) && e.event.ts < at).map(e => e.event.ts);
  times.sort((a, b) => b - a);
  let start: number | null = null;
  for (const ts of times) {
    if (start !== null && start - ts > f.frame.gap) break;
    start = ts;
  }
  return [start ?? at, at];
}

/** Events that one aggregate looks at: of its types, inside the frame, passing its filter, by (ts, id). */
export function contributing(agg: AggPlan, events: readonly StreamEvent[], [from, to]: [number, number]): DecodedEvent[] {
  const found = events.filter(e => uses(agg, e) && e.event.ts >= from && e.event.ts < to && passes(agg.where, e.event)).map(e => e.event);
  return found.sort((a, b) => a.ts - b.ts || compareUtf8(a.id, b.id));
}

/** The cell of a feature at T from the accepted events of its key. */
export function recount(f: WindowFeaturePlan, events: readonly StreamEvent[], at: number): Cell {
  const frame = frameOf(f, events, at);
  const sides = sidesOf(f);
  const states = sides.map(s => stateOf(s, contributing(s, events, frame)));
  const seen = events.some(e => e.event.ts < at && sides.some(s => uses(s, e)));
  return finishCell(f, states[0]!, states[1] ?? null, seen, at);
}

function stateOf(agg: AggPlan, events: readonly DecodedEvent[]): AggState {
  const newest = (list: readonly DecodedEvent[]) => list.at(-1)?.ts ?? null;
  if (agg.op === 'count' || agg.op === 'span') return { n: events.length, ts: newest(events), min: events[0]?.ts, max: events.at(-1)?.ts };
  const { name } = agg.column!;
  const keepsNull = agg.op === 'first' || agg.op === 'last' || agg.op === 'firstN' || agg.op === 'lastN';
  const kept = keepsNull ? events : events.filter(e => valueOf(e, name) !== null);
  const values = kept.map(e => valueOf(e, name));
  return { n: kept.length, ts: newest(kept), ...valueState(agg, values) };
}

const total = (values: readonly ColumnValue[], power: bigint): bigint => values.reduce((sum: bigint, v) => sum + BigInt(v as Exact) ** power, 0n);

function valueState(agg: AggPlan, values: readonly ColumnValue[]): Partial<AggState> {
  const sorted = () => [...values].sort(compare);
  switch (agg.op) {
    case 'min':
      return { v: sorted()[0] ?? null };
    case 'max':
      return { v: sorted().at(-1) ?? null };
    case 'first':
      return { v: values[0] ?? null };
    case 'last':
      return { v: values.at(-1) ?? null };
    case 'firstN':
      return { list: values.slice(0, agg.n) };
    case 'lastN':
      return { list: [...values].reverse().slice(0, agg.n) };
    case 'topK':
      return { list: top(values, agg.n ?? 1) };
    case 'countDistinct':
      return { n: new Set(values.map(identity)).size };
    case 'approxCountDistinct':
      return { n: values.length === 0 ? 0 : approx.distinct(values) };
    case 'approxPercentile':
      return { v: values.length === 0 ? null : approx.percentile(values, agg.q!) };
    case 'percentile':
      if (values.length > (agg.cap ?? 100_000)) return { error: 'CAP_EXCEEDED' };
      return { v: values.length === 0 ? null : sorted()[nearestRank(values.length, agg.q!) - 1]! };
    default:
      return { s: total(values, 1n), q: total(values, 2n) };
  }
}

const identity = (v: ColumnValue): string => (typeof v === 'string' ? `s${v}` : typeof v === 'boolean' ? `b${v}` : `n${v}`);

function top(values: readonly ColumnValue[], n: number): ColumnValue[] {
  const counts = new Map<string, { v: ColumnValue; n: number }>();
  for (const v of values) {
    const c = counts.get(identity(v));
    if (c) c.n++;
    else counts.set(identity(v), { v, n: 1 });
  }
  return [...counts.values()]
    .sort((a, b) => b.n - a.n || compare(a.v, b.v))
    .slice(0, n)
    .map(c => c.v);
}
