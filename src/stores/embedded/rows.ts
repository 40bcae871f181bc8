/**
 * Rows of tables, one record per table and key, newest first:
 *   f64 floor (NaN none) | row*;  row: f64 eff | f64 ts | f64 created (NaN none) | u8 gone | u32 bytes | text
 */
import { compareRows, type TableRow, type TableUnit } from '../../engine/units.ts';
import type { RowPut, TableAnswer, TableRead } from '../../ports/online-store.ts';
import type { Embedded } from './env.ts';
import { nsRange } from './keys.ts';
import { record } from './outbox.ts';
import { requireUnit, unitName, type UnitSpace } from './spaces.ts';

/** Versions kept of a key. */
const MOST = 32;
const HEAD = 8;
const ROW = 29;

interface Versions {
  floor: number | null;
  /** Newest first. */
  rows: TableRow[];
}

function rowsKey(ns: number, key: string): Buffer {
  const out = Buffer.allocUnsafe(2 + Buffer.byteLength(key));
  out.writeUInt16BE(ns, 0);
  out.write(key, 2, 'utf8');
  return out;
}

const orNull = (v: number): number | null => (Number.isNaN(v) ? null : v);

function rowAt(bytes: Buffer, at: number): TableRow {
  const size = bytes.readUInt32LE(at + 25);
  return {
    eff: bytes.readDoubleLE(at),
    ts: bytes.readDoubleLE(at + 8),
    created: orNull(bytes.readDoubleLE(at + 16)),
    text: bytes.utf8Slice(at + ROW, at + ROW + size),
    gone: bytes[at + 24] === 1,
  };
}

function decode(bytes: Buffer | undefined): Versions {
  if (!bytes) return { floor: null, rows: [] };
  const rows: TableRow[] = [];
  for (let at = HEAD; at < bytes.length; at += ROW + bytes.readUInt32LE(at + 25)) rows.push(rowAt(bytes, at));
  return { floor: orNull(bytes.readDoubleLE(0)), rows };
}

function encode({ floor, rows }: Versions): Buffer {
  const sizes = rows.map(r => Buffer.byteLength(r.text));
  const out = Buffer.allocUnsafe(HEAD + sizes.reduce((n, s) => n + ROW + s, 0));
  let at = out.writeDoubleLE(floor ?? Number.NaN, 0);
  rows.forEach((r, i) => {
    at = out.writeDoubleLE(r.eff, at);
    at = out.writeDoubleLE(r.ts, at);
    at = out.writeDoubleLE(r.created ?? Number.NaN, at);
    at = out.writeUInt8(r.gone ? 1 : 0, at);
    at = out.writeUInt32LE(sizes[i]!, at);
    at += out.write(r.text, at, 'utf8');
  });
  return out;
}

/** Puts a row among the others as into a set; false when it was there. The rows that are kept do not depend on the order of puts. */
function merge(versions: Versions, row: TableRow): boolean {
  const { rows } = versions;
  let i = 0;
  let order = -1;
  while (i < rows.length && (order = compareRows(row, rows[i]!)) < 0) i++;
  if (i < rows.length && order === 0) {
    // The same row with two times: the later one, whichever came first.
    if (row.ts <= rows[i]!.ts) return false;
    rows[i] = row;
    return true;
  }
  rows.splice(i, 0, row);
  if (rows.length > MOST) versions.floor = Math.max(versions.floor ?? Number.NEGATIVE_INFINITY, rows.pop()!.eff);
  return true;
}

/** Inside a write transaction: puts rows of one key; returns those that were new and whether the newest is another. */
function putKey(env: Embedded, ns: number, key: string, rows: readonly TableRow[]): { fresh: TableRow[]; changed: boolean } {
  const at = rowsKey(ns, key);
  const versions = decode(env.rows.getBinary(at));
  const [before] = versions.rows;
  const fresh = rows.filter(r => merge(versions, r));
  if (fresh.length > 0) env.rows.putSync(at, encode(versions));
  return { fresh, changed: versions.rows[0] !== before };
}

/** Inside a write transaction. Returns how many keys' newest row changed. */
export function putRows(env: Embedded, puts: readonly RowPut[], options: { record: boolean }): number {
  const tables = new Map<string, { space: UnitSpace; table: TableUnit; keys: Map<string, TableRow[]> }>();
  for (const { table, key, row } of puts) {
    const name = unitName('table', table);
    let of = tables.get(name);
    if (!of) tables.set(name, (of = { space: requireUnit(env, 'table', table), table, keys: new Map() }));
    const rows = of.keys.get(key);
    if (rows) rows.push(row);
    else of.keys.set(key, [row]);
  }
  let count = 0;
  for (const { space, table, keys } of tables.values()) {
    const news: RowPut[] = [];
    for (const [key, rows] of keys) {
      const { fresh, changed } = putKey(env, space.ns, key, rows);
      if (changed) count++;
      for (const row of fresh) news.push({ table, key, row });
    }
    if (options.record) record(env, news);
  }
  return count;
}

/** Marks tables as materialized. */
export function setReady(env: Embedded, tables: readonly TableUnit[]): void {
  for (const t of tables) env.meta.putSync(unitName('table', t), { ...requireUnit(env, 'table', t), ready: true } satisfies UnitSpace);
}

export function readRow(env: Embedded, space: UnitSpace | undefined, { table, key, at }: TableRead): TableAnswer {
  const ready = !table.materialized || space?.ready === true;
  const bytes = space ? env.rows.getBinary(rowsKey(space.ns, key)) : undefined;
  if (!bytes) return { ready, row: null, floor: null };
  const floor = orNull(bytes.readDoubleLE(0));
  for (let i = HEAD; i < bytes.length; i += ROW + bytes.readUInt32LE(i + 25)) {
    const eff = bytes.readDoubleLE(i);
    if (eff < at || (table.inclusive && eff === at)) return { ready, row: rowAt(bytes, i), floor };
  }
  return { ready, row: null, floor };
}

/** The newest row of a key. */
export function newestRow(env: Embedded, space: UnitSpace | undefined, key: string): TableRow | null {
  const bytes = space && env.rows.getBinary(rowsKey(space.ns, key));
  return bytes && bytes.length > HEAD ? rowAt(bytes, HEAD) : null;
}

/** Keys that have rows, after `after`. */
export function rowKeys(env: Embedded, space: UnitSpace | undefined, after: string | null, limit: number): string[] {
  if (!space) return [];
  const { start, end } = nsRange(space.ns);
  // The first key behind another is that one and a zero byte.
  const from = after === null ? start : Buffer.concat([rowsKey(space.ns, after), Buffer.alloc(1)]);
  return [...env.rows.getKeys({ start: from, end, limit })].map(k => k.utf8Slice(2));
}
