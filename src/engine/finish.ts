/**
 * From exact integers to what a reader gets: the one place that makes a double, used by the state engine and by SQL, so
 * that training and serving cannot differ in the last bit. docs/semantics.md is the contract.
 */
import { doubleToFraction, pow10, ratioToDouble, times } from '../lib/rational.ts';
import type { AggPlan, RatioPlan, WindowFeaturePlan } from '../registry/types.ts';
import { defaultOf } from './cells.ts';
import type { Cell, ColumnValue, Exact, Value } from './values.ts';

/** What an aggregate comes down to: exact integers, strings or lists, before any rounding. */
export interface AggState {
  /** Events that contributed: pass the filter and, where the aggregate skips nulls, are not null. countDistinct: distinct values. */
  n: number;
  /** Exact sum of the scaled values. */
  s?: Exact;
  /** Exact sum of their squares. */
  q?: bigint;
  /** min, max, first, last, percentile: the value, scaled. */
  v?: ColumnValue;
  /** firstN, lastN, topK: the values, scaled, in answer order. */
  list?: ColumnValue[];
  /** Newest contributing event time. */
  ts: number | null;
  /** span: oldest and newest event time. */
  min?: number;
  max?: number;
  error?: 'CAP_EXCEEDED';
}

export interface Finished {
  value: Value;
  error?: string;
}

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);
const NULL: Finished = { value: null };
const OVERFLOW: Finished = { value: null, error: 'OVERFLOW' };

function isExact(v: ColumnValue): v is Exact {
  return typeof v === 'number' || typeof v === 'bigint';
}

/** A scaled column value as its reader gets it. */
function scalar(agg: AggPlan, v: ColumnValue): Value {
  const column = agg.column;
  if (!isExact(v) || column === undefined) return v;
  if (column.kind === 'int64') return BigInt(v);
  return column.kind === 'decimal' ? ratioToDouble(v, pow10(column.places ?? 0)) : Number(v);
}

function overflows(agg: AggPlan, s: Exact): boolean {
  if (typeof s === 'number') {
    if (Number.isSafeInteger(s)) return false;
    return overflows(agg, BigInt(s));
  }
  if (agg.op === 'sum' && agg.column?.kind === 'int') return s > BigInt(Number.MAX_SAFE_INTEGER) || s < BigInt(Number.MIN_SAFE_INTEGER);
  return s > INT64_MAX || s < INT64_MIN;
}

function stddev(agg: AggPlan, st: AggState): number {
  const n = BigInt(st.n);
  const s = BigInt(st.s ?? 0);
  const variance = ratioToDouble(n * (st.q ?? 0n) - s * s, n * (n - 1n));
  return Math.sqrt(variance) / Number(pow10(agg.column?.places ?? 0));
}

export function finishAgg(agg: AggPlan, st: AggState): Finished {
  if (st.error !== undefined) return { value: null, error: st.error };
  switch (agg.op) {
    case 'count':
    case 'countDistinct':
    case 'approxCountDistinct':
      return { value: st.n };
    case 'sum': {
      const s = st.s ?? 0;
      return overflows(agg, s) ? OVERFLOW : { value: scalar(agg, s) };
    }
    case 'avg':
      if (st.n === 0) return NULL;
      if (overflows(agg, st.s ?? 0)) return OVERFLOW;
      return { value: ratioToDouble(st.s ?? 0, times(st.n, pow10(agg.column?.places ?? 0))) };
    case 'stddev':
      return st.n < 2 ? NULL : { value: stddev(agg, st) };
    case 'span':
      return st.n === 0 ? NULL : { value: ((st.max ?? 0) - (st.min ?? 0)) / 1000 };
    case 'firstN':
    case 'lastN':
    case 'topK':
      return { value: (st.list ?? []).map(v => scalar(agg, v)) };
    default:
      return st.n === 0 ? NULL : { value: scalar(agg, st.v ?? null) };
  }
}

/** A side's value as the exact fraction behind it; null when it is null, a text when it is an error. */
function fraction(agg: AggPlan, st: AggState): [Exact, Exact] | null | string {
  const { value, error } = finishAgg(agg, st);
  if (error !== undefined) return error;
  if (value === null) return null;
  switch (agg.op) {
    case 'count':
    case 'countDistinct':
    case 'approxCountDistinct':
      return [st.n, 1];
    case 'sum':
      return [st.s ?? 0, pow10(agg.column?.places ?? 0)];
    case 'avg':
      return [st.s ?? 0, times(st.n, pow10(agg.column?.places ?? 0))];
    case 'stddev':
      return doubleToFraction(value as number);
    case 'span':
      return [(st.max ?? 0) - (st.min ?? 0), 1000];
    default:
      if (!isExact(st.v ?? null)) throw new Error(`a ratio needs numbers, not ${agg.op} of ${agg.column?.kind ?? 'nothing'}`);
      return [st.v as Exact, pow10(agg.column?.places ?? 0)];
  }
}

export function finishRatio(plan: RatioPlan, num: AggState, den: AggState): Finished {
  const a = fraction(plan.num, num);
  if (typeof a === 'string') return { value: null, error: a };
  const b = fraction(plan.den, den);
  if (typeof b === 'string') return { value: null, error: b };
  if (a === null || b === null) return NULL;
  if (BigInt(b[0]) === 0n) return { value: plan.zero ?? null };
  return { value: ratioToDouble(times(a[0], b[1]), times(a[1], b[0])) };
}

const newer = (a: number | null, b: number | null): number | null => (a === null ? b : b === null || a > b ? a : b);

/** `seen`: the key has an accepted event < T of the feature's types, filter not applied; read for lifetime and sessions only. */
export function finishCell(feature: WindowFeaturePlan, num: AggState, den: AggState | null, seen: boolean, T: number): Cell {
  const ts = den === null ? num.ts : newer(num.ts, den.ts);
  if (feature.frame.kind === 'lifetime' || feature.frame.kind === 'session') {
    if (!seen) return { value: defaultOf(feature), status: 'NOT_FOUND', ts };
    if (feature.ttl !== null && ts !== null && T - ts > feature.ttl) return { value: defaultOf(feature), status: 'OUTSIDE_MAX_AGE', ts };
  }
  const { value, error } = feature.agg.op === 'ratio' ? finishRatio(feature.agg, num, den as AggState) : finishAgg(feature.agg, num);
  if (error !== undefined) return { value: null, status: 'ERROR', ts, reason: error };
  if (value !== null) return { value, status: 'PRESENT', ts };
  const fallback = defaultOf(feature);
  return { value: fallback, status: fallback === null ? 'NULL_VALUE' : 'PRESENT', ts };
}
