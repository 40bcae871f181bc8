/** An event's payload as code sees it, and as text that gives back the same: JSON with int64 and dates marked. */
import { pow10, ratioToDouble } from '../lib/rational.ts';
import type { ColumnPlan } from '../registry/types.ts';
import type { ColumnValue, Exact } from './values.ts';

/** The schema's output, its columns as the engines hold them: decimals rounded to their places, once. */
export function payloadOf(data: unknown, columns: readonly ColumnPlan[], values: Readonly<Record<string, ColumnValue>>): unknown {
  const out = copy(data) as Record<string, unknown>;
  for (const c of columns) {
    const v = values[c.name];
    if (c.kind !== 'decimal' || v === null || v === undefined) continue;
    const path = c.name.split('.');
    let at: Record<string, unknown> | undefined = out;
    for (const part of path.slice(0, -1)) at = at?.[part] as Record<string, unknown> | undefined;
    if (at) at[path[path.length - 1]!] = ratioToDouble(v as Exact, pow10(c.places ?? 6));
  }
  return out;
}

/** Plain objects and lists anew, so that nothing done to a payload reaches another feature's. */
function copy(v: unknown): unknown {
  if (Array.isArray(v)) return v.map(copy);
  if (v === null || typeof v !== 'object' || v instanceof Date) return v;
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, copy(x)]));
}

const MARK = '$fabra';

export const encodePayload = (value: unknown): string => JSON.stringify(mark(value));
export const decodePayload = (text: string): unknown => unmark(JSON.parse(text));

function mark(v: unknown): unknown {
  if (typeof v === 'bigint') return { [MARK]: ['int64', String(v)] };
  if (v instanceof Date) return { [MARK]: ['date', v.getTime()] };
  if (Array.isArray(v)) return v.map(mark);
  if (v === null || typeof v !== 'object') return v;
  const out = Object.fromEntries(Object.entries(v).map(([k, x]) => [k, mark(x)]));
  return MARK in out ? { [MARK]: ['object', out] } : out;
}

function unmark(v: unknown): unknown {
  if (Array.isArray(v)) return v.map(unmark);
  if (v === null || typeof v !== 'object') return v;
  const marked = (v as Record<string, unknown>)[MARK] as [string, unknown] | undefined;
  if (marked?.[0] === 'int64') return BigInt(marked[1] as string);
  if (marked?.[0] === 'date') return new Date(marked[1] as number);
  const inner = marked?.[0] === 'object' ? (marked[1] as object) : v;
  return Object.fromEntries(Object.entries(inner).map(([k, x]) => [k, unmark(x)]));
}
