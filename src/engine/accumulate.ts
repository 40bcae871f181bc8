/**
 * Accumulators: what a slot (an aggregate without its frame) collects from rows. Mergeable, exact, and independent of the
 * order of rows: this is what makes a tile plus two raw edges equal to a list of events.
 */
import { addExact } from '../lib/decimal.ts';
import { compareUtf8 } from '../lib/text.ts';
import { bucketOf, bucketPercentile, Hll, nearestRank } from './approx.ts';
import { compareValue } from './filter.ts';
import type { AggState } from './finish.ts';
import type { Slot } from './group.ts';
import type { RowView } from './row.ts';
import type { ColumnValue, Exact } from './values.ts';

export interface Item {
  ts: number;
  id: string;
  v: ColumnValue;
}

/** One shape for all families, so that the hot loops stay monomorphic; a family uses its own few fields. */
export class Acc {
  /** Contributing events. */
  n = 0;
  /** Newest and oldest contributing event. */
  ts = Number.NEGATIVE_INFINITY;
  oldest = Number.POSITIVE_INFINITY;
  s: Exact = 0;
  q = 0n;
  v: ColumnValue = null;
  items: Item[] | null = null;
  bag: Map<ColumnValue, number> | null = null;
  hll: Hll | null = null;
  buckets: Map<number, number> | null = null;
}

/** Adds a row that already passed the slot's type and filter. */
export function addRow(slot: Slot, acc: Acc, row: RowView): void {
  const v = slot.column < 0 ? null : row.col(slot.column);
  if (v === null && slot.skipsNull) return;
  acc.n++;
  if (row.ts > acc.ts) acc.ts = row.ts;
  if (row.ts < acc.oldest) acc.oldest = row.ts;
  switch (slot.family) {
    case 'count':
      return;
    case 'sum':
      acc.s = addExact(acc.s, v as Exact);
      return;
    case 'squares': {
      acc.s = addExact(acc.s, v as Exact);
      const big = BigInt(v as Exact);
      acc.q += big * big;
      return;
    }
    case 'min':
    case 'max':
      acc.v = better(slot.family, acc.v, v);
      return;
    case 'oldest':
    case 'newest':
      acc.items ??= [];
      insertItem(slot, acc.items, { ts: row.ts, id: row.id, v });
      return;
    case 'bag':
      acc.bag ??= new Map();
      acc.bag.set(v, (acc.bag.get(v) ?? 0) + 1);
      return;
    case 'hll':
      acc.hll ??= new Hll();
      acc.hll.add(v);
      return;
    case 'buckets': {
      acc.buckets ??= new Map();
      const b = bucketOf(v as Exact);
      acc.buckets.set(b, (acc.buckets.get(b) ?? 0) + 1);
    }
  }
}

/** Adds `from` to `into`; `from` stays as it was. */
export function mergeAcc(slot: Slot, into: Acc, from: Acc): void {
  if (from.n === 0) return;
  into.n += from.n;
  if (from.ts > into.ts) into.ts = from.ts;
  if (from.oldest < into.oldest) into.oldest = from.oldest;
  into.s = addExact(into.s, from.s);
  into.q += from.q;
  if (slot.family === 'min' || slot.family === 'max') into.v = better(slot.family, into.v, from.v);
  if (from.items) {
    into.items ??= [];
    for (const item of from.items) insertItem(slot, into.items, item);
  }
  if (from.bag) {
    into.bag ??= new Map();
    for (const [v, c] of from.bag) into.bag.set(v, (into.bag.get(v) ?? 0) + c);
  }
  if (from.hll) {
    into.hll ??= new Hll();
    into.hll.merge(from.hll);
  }
  if (from.buckets) {
    into.buckets ??= new Map();
    for (const [b, c] of from.buckets) into.buckets.set(b, (into.buckets.get(b) ?? 0) + c);
  }
}

function better(family: 'min' | 'max', a: ColumnValue, b: ColumnValue): ColumnValue {
  if (a === null) return b;
  if (b === null) return a;
  const c = compareValue(b, a);
  return family === 'min' ? (c < 0 ? b : a) : c > 0 ? b : a;
}

function insertItem(slot: Slot, items: Item[], item: Item): void {
  const sign = slot.family === 'newest' ? -1 : 1;
  let at = items.length;
  while (at > 0 && sign * compareItem(item, items[at - 1]!) < 0) at--;
  if (at >= slot.n) return;
  items.splice(at, 0, item);
  if (items.length > slot.n) items.pop();
}

const compareItem = (a: Item, b: Item): number => a.ts - b.ts || compareUtf8(a.id, b.id);

/** What `finish` turns into a value. */
export function toState(slot: Slot, acc: Acc): AggState {
  const st: AggState = { n: acc.n, ts: acc.n > 0 ? acc.ts : null };
  switch (slot.op) {
    case 'sum':
    case 'avg':
      st.s = acc.s;
      return st;
    case 'stddev':
      st.s = acc.s;
      st.q = acc.q;
      return st;
    case 'min':
    case 'max':
      st.v = acc.v;
      return st;
    case 'span':
      if (acc.n > 0) [st.min, st.max] = [acc.oldest, acc.ts];
      return st;
    case 'first':
    case 'last':
      st.v = acc.items?.[0]?.v ?? null;
      return st;
    case 'firstN':
    case 'lastN':
      st.list = acc.items?.map(i => i.v) ?? [];
      return st;
    default:
      return bagState(slot, acc, st);
  }
}

function bagState(slot: Slot, acc: Acc, st: AggState): AggState {
  switch (slot.op) {
    case 'countDistinct':
      st.n = acc.bag?.size ?? 0;
      return st;
    case 'topK':
      st.list = [...(acc.bag ?? [])]
        .sort((a, b) => b[1] - a[1] || compareValue(a[0], b[0]))
        .slice(0, slot.n)
        .map(e => e[0]);
      return st;
    case 'percentile':
      if (acc.n > slot.cap) st.error = 'CAP_EXCEEDED';
      else st.v = exactPercentile(acc, slot.q!);
      return st;
    case 'approxCountDistinct':
      st.n = acc.hll?.estimate() ?? 0;
      return st;
    case 'approxPercentile':
      st.v = acc.buckets ? bucketPercentile(acc.buckets, slot.q!) : null;
      return st;
    default:
      return st;
  }
}

function exactPercentile(acc: Acc, q: { num: number; den: number }): ColumnValue {
  if (!acc.bag || acc.n === 0) return null;
  let left = nearestRank(acc.n, q);
  for (const [v, c] of [...acc.bag].sort((a, b) => compareValue(a[0], b[0]))) {
    left -= c;
    if (left <= 0) return v;
  }
  return null;
}

/** An accumulator as plain JSON; BigInts and special values tagged. */
export function accToJson(acc: Acc): unknown {
  return {
    n: acc.n,
    ...(acc.n > 0 && { ts: acc.ts, o: acc.oldest }),
    ...(acc.s !== 0 && { s: pack(acc.s) }),
    ...(acc.q !== 0n && { q: acc.q.toString() }),
    ...(acc.v !== null && { v: pack(acc.v) }),
    ...(acc.items && { i: acc.items.map(x => [x.ts, x.id, pack(x.v)]) }),
    ...(acc.bag && { b: [...acc.bag].map(([v, c]) => [pack(v), c]) }),
    ...(acc.hll && { h: Buffer.from(acc.hll.registers).toString('base64') }),
    ...(acc.buckets && { d: [...acc.buckets] }),
  };
}

interface PackedAcc {
  n: number;
  ts?: number;
  o?: number;
  s?: unknown;
  q?: string;
  v?: unknown;
  i?: [number, string, unknown][];
  b?: [unknown, number][];
  h?: string;
  d?: [number, number][];
}

export function accFromJson(json: unknown): Acc {
  const p = json as PackedAcc;
  const acc = new Acc();
  acc.n = p.n;
  if (p.ts !== undefined) acc.ts = p.ts;
  if (p.o !== undefined) acc.oldest = p.o;
  if (p.s !== undefined) acc.s = unpack(p.s) as Exact;
  if (p.q !== undefined) acc.q = BigInt(p.q);
  if (p.v !== undefined) acc.v = unpack(p.v);
  if (p.i) acc.items = p.i.map(([ts, id, v]) => ({ ts, id, v: unpack(v) }));
  if (p.b) acc.bag = new Map(p.b.map(([v, c]) => [unpack(v), c]));
  if (p.h) acc.hll = new Hll(new Uint8Array(Buffer.from(p.h, 'base64')));
  if (p.d) acc.buckets = new Map(p.d);
  return acc;
}

const pack = (v: ColumnValue): unknown => (typeof v === 'bigint' ? { i: v.toString() } : v);
const unpack = (v: unknown): ColumnValue => (v !== null && typeof v === 'object' ? BigInt((v as { i: string }).i) : (v as ColumnValue));
