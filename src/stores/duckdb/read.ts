/** Vectors to plain JavaScript values. Integers come as numbers while safe, read as two 32-bit halves: a BigInt per cell costs more than all else. */
import type { DuckDBVector } from '@duckdb/node-api';

export type DuckValue = string | number | bigint | boolean | null | DuckValue[] | { [name: string]: DuckValue };

/** The parts of the driver's vectors that are fields at run time and private to its types. */
interface Inside {
  items?: ArrayLike<number> | BigInt64Array;
  validity?: { itemValid(i: number): boolean };
  childVector?: DuckDBVector;
  getEntryOffset?(i: number): number;
  getEntryLength?(i: number): number;
}

export function readVector(vector: DuckDBVector, rows: number): DuckValue[] {
  const inside = vector as unknown as Inside;
  if (inside.items instanceof BigInt64Array && inside.validity) return readInt64(inside.items, inside.validity, rows);
  if (inside.childVector && inside.getEntryOffset && inside.getEntryLength && inside.validity) return readLists(inside as Required<Inside>, rows);
  const out = new Array<DuckValue>(rows);
  for (let i = 0; i < rows; i++) out[i] = plain(vector.getItem(i));
  return out;
}

function readInt64(items: BigInt64Array, validity: { itemValid(i: number): boolean }, rows: number): DuckValue[] {
  const halves = new Int32Array(items.buffer, items.byteOffset, rows * 2);
  const out = new Array<DuckValue>(rows);
  for (let i = 0; i < rows; i++) {
    const high = halves[2 * i + 1] as number;
    if (!validity.itemValid(i)) out[i] = null;
    else if (high >= -0x200000 && high < 0x200000) {
      const n = high * 0x100000000 + ((halves[2 * i] as number) >>> 0);
      out[i] = n === Number.MIN_SAFE_INTEGER - 1 ? BigInt(n) : n;
    } else out[i] = items[i] as bigint;
  }
  return out;
}

/** Children are decoded once for the whole chunk, then cut: the driver would wrap every list in objects. */
function readLists(inside: Required<Inside>, rows: number): DuckValue[] {
  let end = 0;
  for (let i = 0; i < rows; i++) if (inside.validity.itemValid(i)) end = Math.max(end, inside.getEntryOffset(i) + inside.getEntryLength(i));
  const children = readVector(inside.childVector, end);
  const out = new Array<DuckValue>(rows);
  for (let i = 0; i < rows; i++) {
    const from = inside.validity.itemValid(i) ? inside.getEntryOffset(i) : -1;
    out[i] = from < 0 ? null : children.slice(from, from + inside.getEntryLength(i));
  }
  return out;
}

/** Whatever else the driver returns: wrapped lists and structs unwrapped, big integers as numbers when safe. */
function plain(v: unknown): DuckValue {
  if (typeof v === 'bigint') return v <= BigInt(Number.MAX_SAFE_INTEGER) && v >= BigInt(Number.MIN_SAFE_INTEGER) ? Number(v) : v;
  if (v === null || v === undefined) return null;
  if (typeof v === 'string' || typeof v === 'number' || typeof v === 'boolean') return v;
  const wrapped = v as { items?: unknown[]; entries?: Record<string, unknown> };
  if (Array.isArray(wrapped.items)) return wrapped.items.map(plain);
  if (wrapped.entries && typeof wrapped.entries === 'object' && !Array.isArray(wrapped.entries))
    return Object.fromEntries(Object.entries(wrapped.entries).map(([k, x]) => [k, plain(x)]));
  return String(v);
}
