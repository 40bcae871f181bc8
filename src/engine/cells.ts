/** Cells of rows, handlers and folds: one place for reads and for history, as finish.ts is for windows. */
import { inInt64 } from '../lib/decimal.ts';
import type { FoldFeaturePlan, OnFeaturePlan, Scalar, StoredFeaturePlan, TableFeaturePlan, ValueType } from '../registry/types.ts';
import type { TableRow } from './units.ts';
import type { Cell, Value } from './values.ts';

/** The declared default or null; bigints where the feature's values are. */
export function defaultOf(f: Pick<StoredFeaturePlan, 'default' | 'type'>): Value {
  const value = f.default ?? null;
  if (f.type.base !== 'int64') return value;
  const one = (v: Scalar): Value => (typeof v === 'number' || typeof v === 'string' ? BigInt(v) : v);
  return Array.isArray(value) ? value.map(one) : one(value);
}

/** A value from the JSON it is stored as. */
export function revive(v: unknown, type: ValueType): Value {
  if (v === null || v === undefined) return null;
  if (type.base !== 'int64') return v as Value;
  const one = (x: unknown): Value => (typeof x === 'string' || typeof x === 'number' ? BigInt(x) : (x as Value));
  return Array.isArray(v) ? v.map(one) : one(v);
}

/** `row` counts at `T`; null when none does. A ttl of 0 is none. */
export function rowCell(f: TableFeaturePlan | OnFeaturePlan, row: TableRow | null, T: number): Cell {
  if (!row || row.gone) return { value: defaultOf(f), status: 'NOT_FOUND', ts: null };
  return aged(f, row.ts, T, () => revive((JSON.parse(row.text) as unknown[])[f.kind === 'table' ? f.at : 0], f.type));
}

/** `ts`: newest event folded before `T`; null when there is none. */
export function foldCell(f: FoldFeaturePlan, state: { value: unknown; ts: number } | { error: string; ts: number } | null, T: number): Cell {
  if (!state) return { value: defaultOf(f), status: 'NOT_FOUND', ts: null };
  if ('error' in state) return { value: null, status: 'ERROR', ts: state.ts, reason: `COMPUTE: ${state.error}` };
  const value = plain(state.value);
  if (overflows(value)) return { value: null, status: 'ERROR', ts: state.ts, reason: 'OVERFLOW' };
  return aged(f, state.ts, T, () => value);
}

/** A bigint that no column of history could hold. */
const overflows = (v: Value): boolean => (Array.isArray(v) ? v.some(overflows) : typeof v === 'bigint' && !inInt64(v));

const plain = (v: unknown): Value => (v === undefined || (typeof v === 'number' && !Number.isFinite(v)) ? null : (v as Value));

function aged(f: StoredFeaturePlan, ts: number, T: number, value: () => Value): Cell {
  const fallback = defaultOf(f);
  if (f.ttl !== null && f.ttl > 0 && T - ts > f.ttl) return { value: fallback, status: 'OUTSIDE_MAX_AGE', ts };
  const v = value();
  if (v !== null) return { value: v, status: 'PRESENT', ts };
  return { value: fallback, status: 'NULL_VALUE', ts };
}
