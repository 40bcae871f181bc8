import type { ColumnValue, DecodedEvent, Value } from '../../src/engine/values.ts';
import type { AggPlan, ColumnKind, RatioPlan } from '../../src/registry/types.ts';
import { compareValues, doubleToFraction, type Fraction, finish, identity, isNumber, pow10, ratioToDouble } from './exact.ts';
import { columnOf } from './filter.ts';

/** The estimators of the approximate aggregates: not null, in (ts, id) order, values as the columns hold them. */
export interface Approx {
  distinct(values: ColumnValue[]): number;
  percentile(values: ColumnValue[], q: { num: number; den: number }): ColumnValue;
}

/** A value; `exact` is what a ratio divides, absent when it is null or not a number. */
export type Result = { value: Value; exact?: Fraction; ts: number | null } | { error: string; ts: number | null };

const KEEPS_NULLS = new Set(['first', 'last', 'firstN', 'lastN']);
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const DEFAULT_CAP = 100_000;

type Outcome = { value: Value; exact?: Fraction } | { error: string };

const integer = (n: number): Outcome => ({ value: n, exact: { num: BigInt(n), den: 1n } });
const fraction = (num: bigint, den: bigint): Outcome => ({ value: ratioToDouble(num, den), exact: { num, den } });
const NULL: Outcome = { value: null };
const OVERFLOW: Outcome = { error: 'OVERFLOW' };

/** `events`: those of the frame that pass the filter, in (ts, id) order. */
export function aggregate(agg: AggPlan, events: DecodedEvent[], approx: Approx | undefined): Result {
  const column = agg.column;
  if (agg.op === 'count') return { ...integer(events.length), ts: newest(events) };
  if (agg.op === 'span') return { ...spanOf(events), ts: newest(events) };
  if (column === undefined) throw new Error(`${agg.op} without a column`);
  const contributing = KEEPS_NULLS.has(agg.op) ? events : events.filter(e => columnOf(e, column.name) !== null);
  const values = contributing.map(e => columnOf(e, column.name));
  return { ...outcome(agg, column.kind, column.places ?? 0, values, approx), ts: newest(contributing) };
}

function newest(events: DecodedEvent[]): number | null {
  return events.at(-1)?.ts ?? null;
}

function spanOf(events: DecodedEvent[]): Outcome {
  const first = events[0];
  const last = events.at(-1);
  return first && last ? fraction(BigInt(last.ts - first.ts), 1000n) : NULL;
}

function outcome(agg: AggPlan, kind: ColumnKind, places: number, values: ColumnValue[], approx: Approx | undefined): Outcome {
  const one = (v: ColumnValue | undefined): Outcome => scalar(v ?? null, kind, places);
  const list = (vs: ColumnValue[]): Outcome => ({ value: vs.map(v => finish(v, kind, places)) });
  const ascending = () => [...values].sort(compareValues);
  switch (agg.op) {
    case 'sum':
      return sumOf(values, kind, places);
    case 'avg':
      return avgOf(values, places);
    case 'stddev':
      return stddevOf(values, places);
    case 'min':
      return one(ascending()[0]);
    case 'max':
      return one(ascending().at(-1));
    case 'countDistinct':
      return integer(new Set(values.map(identity)).size);
    case 'approxCountDistinct':
      return integer(values.length === 0 ? 0 : need(approx).distinct(values));
    case 'first':
      return one(values[0]);
    case 'last':
      return one(values.at(-1));
    case 'firstN':
      return list(values.slice(0, agg.n as number));
    case 'lastN':
      return list([...values].reverse().slice(0, agg.n as number));
    case 'topK':
      return list(topK(values, agg.n as number));
    case 'percentile':
      if (values.length > (agg.cap ?? DEFAULT_CAP)) return { error: 'CAP_EXCEEDED' };
      return one(nearestRank(ascending(), quantile(agg)));
    case 'approxPercentile':
      return one(values.length === 0 ? null : need(approx).percentile(values, quantile(agg)));
    default:
      throw new Error(`unknown aggregate ${agg.op}`);
  }
}

function need(approx: Approx | undefined): Approx {
  if (approx === undefined) throw new Error('the oracle needs its `approx` option for approximate aggregates');
  return approx;
}

function quantile(agg: AggPlan): { num: number; den: number } {
  if (agg.q === undefined) throw new Error(`${agg.op} without q`);
  return agg.q;
}

function scalar(v: ColumnValue, kind: ColumnKind, places: number): Outcome {
  const value = finish(v, kind, places);
  return isNumber(v) ? { value, exact: { num: BigInt(v), den: pow10(places) } } : { value };
}

function total(values: ColumnValue[]): bigint {
  return values.reduce((sum: bigint, v) => sum + BigInt(v as number | bigint), 0n);
}

function outsideInt64(n: bigint): boolean {
  return n < INT64_MIN || n > INT64_MAX;
}

function sumOf(values: ColumnValue[], kind: ColumnKind, places: number): Outcome {
  const sum = total(values);
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  if (outsideInt64(sum) || (kind === 'int' && (sum > limit || sum < -limit))) return OVERFLOW;
  return scalar(sum, kind, places);
}

function avgOf(values: ColumnValue[], places: number): Outcome {
  if (values.length === 0) return NULL;
  const sum = total(values);
  return outsideInt64(sum) ? OVERFLOW : fraction(sum, BigInt(values.length) * pow10(places));
}

function stddevOf(values: ColumnValue[], places: number): Outcome {
  if (values.length < 2) return NULL;
  const n = BigInt(values.length);
  const s = total(values);
  const q = values.reduce((sum: bigint, v) => sum + BigInt(v as number | bigint) ** 2n, 0n);
  const value = Math.sqrt(ratioToDouble(n * q - s * s, n * (n - 1n))) / Number(pow10(places));
  return { value, exact: doubleToFraction(value) };
}

function topK(values: ColumnValue[], k: number): ColumnValue[] {
  const counts = new Map<string, { value: ColumnValue; count: number }>();
  for (const value of values) {
    const entry = counts.get(identity(value)) ?? { value, count: 0 };
    entry.count += 1;
    counts.set(identity(value), entry);
  }
  const ranked = [...counts.values()].sort((a, b) => b.count - a.count || compareValues(a.value, b.value));
  return ranked.slice(0, k).map(entry => entry.value);
}

/** k = max(1, ceil(q * n)), the k-th smallest. */
function nearestRank(sorted: ColumnValue[], q: { num: number; den: number }): ColumnValue {
  if (sorted.length === 0) return null;
  const top = BigInt(q.num) * BigInt(sorted.length);
  const den = BigInt(q.den);
  const k = (top + den - 1n) / den;
  return sorted[Number(k < 1n ? 1n : k) - 1] as ColumnValue;
}

export function ratio(plan: RatioPlan, num: Result, den: Result): Result {
  const ts = num.ts === null ? den.ts : den.ts === null ? num.ts : Math.max(num.ts, den.ts);
  if ('error' in num) return { error: num.error, ts };
  if ('error' in den) return { error: den.error, ts };
  if (num.value === null || den.value === null) return { value: null, ts };
  if (num.exact === undefined || den.exact === undefined) throw new Error('a ratio of values that are not numbers');
  if (den.exact.num === 0n) return { value: plan.zero ?? null, ts };
  return { ...fraction(num.exact.num * den.exact.den, num.exact.den * den.exact.num), ts };
}
