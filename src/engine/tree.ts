/**
 * Window state of one key: an adaptive tree of time. A node is a leaf with the raw rows of its span while they are few, and
 * an inner node with mergeable totals over finer nodes once they are many: day -> hour -> minute -> second. A quiet key is
 * one small record per active day; a hot one reads totals plus two raw edges, so a read never grows with the history.
 * (docs/decisions/0001-adaptive-time-tree.md has the alternatives and the measurements.)
 *
 *   leaf:  u8 1 | u32 rows | row*
 *   inner: u8 2 | u32 rows | totals per tiled slot
 */
import { DAY, HOUR, MINUTE, SECOND } from '../lib/duration.ts';
import { floorTo } from '../lib/time.ts';
import { Acc, addRow } from './accumulate.ts';
import { decodeTotals, encodeTotals } from './totals.ts';
import type { Group } from './group.ts';
import { RowView, sameRow } from './row.ts';

/** Spans of the levels. */
export const LADDER = [DAY, HOUR, MINUTE, SECOND] as const;
const LAST = LADDER.length - 1;
/** A leaf splits above this many rows (except at the last level). 64 to 256 measured alike. */
const SPLIT = 128;
const LEAF = 1;
const INNER = 2;
const HEAD = 5;

/** The records of one key. Adapters give these, all reads from one snapshot, all writes in one transaction. */
export interface NodeReader {
  get(level: number, start: number): Buffer | undefined;
  /** Existing nodes of a level with `from <= start < to`, ascending. */
  range(level: number, from: number, to: number): Iterable<{ start: number; bytes: Buffer }>;
  base(): Buffer | undefined;
}
export interface NodeWriter extends NodeReader {
  put(level: number, start: number, bytes: Buffer): void;
  remove(level: number, start: number): void;
  putBase(bytes: Buffer): void;
  /** Called when a key gets a new top-level node: the trimmer's index. */
  opened(start: number): void;
}

/** An encoded row with its time, and whether it was new. */
export interface PendingRow {
  ts: number;
  /** Where its bytes are. */
  buf: Buffer;
  at: number;
  size: number;
  applied: boolean;
}

export const isLeaf = (node: Buffer): boolean => node[0] === LEAF;
export const rowCount = (node: Buffer): number => node.readUInt32LE(1);

/** Calls `visit` for each row of a leaf. */
export function eachRow(node: Buffer, view: RowView, visit: (view: RowView) => void): void {
  for (let at = HEAD; at < node.length; ) {
    at = view.seek(node, at);
    visit(view);
  }
}

/** What one application carries down the tree. */
interface Apply {
  group: Group;
  nodes: NodeWriter;
  view: RowView;
  /** Leaves split above this many rows. */
  most: number;
}

/**
 * Adds rows of one key, dropping those already there (same time and id). Sets `applied` on each.
 * @param most rows a leaf may hold before it splits; tests make it small so that short logs reach every level.
 */
export function applyRows(group: Group, nodes: NodeWriter, rows: PendingRow[], most = SPLIT): void {
  const ctx: Apply = { group, nodes, view: new RowView(group.columns.length), most };
  for (const [start, part] of bucket(rows, DAY)) {
    const node = nodes.get(0, start);
    if (node === undefined) nodes.opened(start);
    applyTo(ctx, 0, start, part, node);
  }
}

function applyTo(ctx: Apply, level: number, start: number, rows: PendingRow[], node: Buffer | undefined): void {
  const { nodes, view } = ctx;
  if (node && !isLeaf(node)) return applyToInner(ctx, level, start, node, rows);
  const fresh = dedupe(node, view, rows);
  if (fresh.length === 0) return;
  const total = (node ? rowCount(node) : 0) + fresh.length;
  if (total <= ctx.most || level === LAST) {
    nodes.put(level, start, leafOf(node, fresh, total));
    return;
  }
  split(ctx, level, start, node, fresh);
}

function split(ctx: Apply, level: number, start: number, leaf: Buffer | undefined, fresh: PendingRow[]): void {
  const { group, nodes, view } = ctx;
  const all = [...fresh];
  if (leaf) eachRow(leaf, view, v => all.push({ ts: v.ts, buf: v.buf, at: v.start, size: v.length, applied: true }));
  const totals = newTotals(group);
  for (const row of all) addTo(group, totals, view, row);
  for (const [child, part] of bucket(all, LADDER[level + 1]!)) applyTo(ctx, level + 1, child, part, nodes.get(level + 1, child));
  for (const row of all) row.applied = true;
  nodes.put(level, start, innerOf(group, all.length, totals));
}

function applyToInner(ctx: Apply, level: number, start: number, node: Buffer, rows: PendingRow[]): void {
  const { group, nodes, view } = ctx;
  for (const [child, part] of bucket(rows, LADDER[level + 1]!)) applyTo(ctx, level + 1, child, part, nodes.get(level + 1, child));
  const totals = totalsOf(group, node);
  let added = 0;
  for (const row of rows) {
    if (!row.applied) continue;
    added++;
    addTo(group, totals, view, row);
  }
  if (added > 0) nodes.put(level, start, innerOf(group, rowCount(node) + added, totals));
}

function addTo(group: Group, totals: Acc[], view: RowView, row: PendingRow): void {
  view.seek(row.buf, row.at);
  const bit = 1 << view.type;
  for (const slot of group.slots) {
    if (!slot.tiled || (slot.types & bit) === 0) continue;
    if (slot.where === null || slot.where(view)) addRow(slot, totals[slot.index]!, view);
  }
}

function dedupe(leaf: Buffer | undefined, view: RowView, rows: PendingRow[]): PendingRow[] {
  const old = leaf ? rowCount(leaf) : 0;
  // Comparing all pairs is cheapest for small leaves; a set of identities keeps huge ties linear.
  if (old * rows.length > 4096 || rows.length > 64) return dedupeBySet(leaf, view, rows);
  const fresh: PendingRow[] = [];
  for (const row of rows) {
    row.applied = !(leaf && hasRow(leaf, view, row)) && !fresh.some(f => f.ts === row.ts && sameRow(f.buf, f.at, row.buf, row.at));
    if (row.applied) fresh.push(row);
  }
  return fresh;
}

function hasRow(leaf: Buffer, view: RowView, row: PendingRow): boolean {
  for (let at = HEAD; at < leaf.length; ) {
    if (leaf.readDoubleLE(at + 4) === row.ts && sameRow(leaf, at, row.buf, row.at)) return true;
    at += leaf.readUInt32LE(at);
  }
  return false;
}

function dedupeBySet(leaf: Buffer | undefined, view: RowView, rows: PendingRow[]): PendingRow[] {
  const seen = new Set<string>();
  if (leaf) eachRow(leaf, view, v => seen.add(v.identity()));
  return rows.filter(row => {
    view.seek(row.buf, row.at);
    const id = view.identity();
    row.applied = !seen.has(id);
    seen.add(id);
    return row.applied;
  });
}

/** Rows by bucket of `size`, in order of first appearance: most batches touch one. */
function bucket(rows: PendingRow[], size: number): [number, PendingRow[]][] {
  const first = floorTo(rows[0]!.ts, size);
  if (rows.every(r => r.ts >= first && r.ts < first + size)) return [[first, rows]];
  const out = new Map<number, PendingRow[]>();
  for (const r of rows) {
    const start = floorTo(r.ts, size);
    const part = out.get(start);
    if (part) part.push(r);
    else out.set(start, [r]);
  }
  return [...out];
}

function leafOf(old: Buffer | undefined, fresh: PendingRow[], total: number): Buffer {
  let size = old ? old.length : HEAD;
  for (const r of fresh) size += r.size;
  const out = Buffer.allocUnsafe(size);
  let at = HEAD;
  if (old) at = old.copy(out, 0);
  out[0] = LEAF;
  out.writeUInt32LE(total, 1);
  for (const r of fresh) at += r.buf.copy(out, at, r.at, r.at + r.size);
  return out;
}

export const newTotals = (group: Group): Acc[] => group.slots.map(() => new Acc());
/** The accumulators of an inner node, by slot. */
export const totalsOf = (group: Group, node: Buffer): Acc[] => decodeTotals(group, node, HEAD);

function innerOf(group: Group, rows: number, totals: Acc[]): Buffer {
  return encodeTotals(group, totals, HEAD, head => {
    head[0] = INNER;
    head.writeUInt32LE(rows, 1);
  });
}
