/** Totals of an inner node as bytes: per tiled slot its count, newest and oldest time, and what its family keeps. */
import type { Exact } from '../lib/decimal.ts';
import { Acc } from './accumulate.ts';
import { Hll } from './approx.ts';
import type { Group, Slot } from './group.ts';
import type { ColumnValue } from './values.ts';

let scratch = Buffer.allocUnsafe(16_384);

export function encodeTotals(group: Group, totals: readonly Acc[], at: number, head: (out: Buffer) => void): Buffer {
  const w = new Cursor(at);
  for (const slot of group.slots) if (slot.tiled) writeAcc(w, slot, totals[slot.index]!);
  const out = Buffer.from(scratch.subarray(0, w.at));
  head(out);
  return out;
}

export function decodeTotals(group: Group, node: Buffer, at: number): Acc[] {
  const r = new Cursor(at);
  return group.slots.map(slot => (slot.tiled ? readAcc(r, slot, node) : new Acc()));
}

/** A position, in the scratch buffer when writing. */
class Cursor {
  at: number;
  constructor(at: number) {
    this.at = at;
  }
}

function room(w: Cursor, n: number): void {
  if (w.at + n <= scratch.length) return;
  const bigger = Buffer.allocUnsafe(Math.max(scratch.length * 2, w.at + n));
  scratch.copy(bigger, 0, 0, w.at);
  scratch = bigger;
}

function writeAcc(w: Cursor, slot: Slot, acc: Acc): void {
  room(w, 64);
  w.at = scratch.writeDoubleLE(acc.n, w.at);
  if (acc.n === 0) return;
  w.at = scratch.writeDoubleLE(acc.ts, w.at);
  w.at = scratch.writeDoubleLE(acc.oldest, w.at);
  if (slot.family === 'sum' || slot.family === 'squares') writeValue(w, acc.s);
  if (slot.family === 'squares') writeText(w, 2, acc.q.toString());
  if (slot.family === 'min' || slot.family === 'max') writeValue(w, acc.v);
  if (slot.family === 'hll') writeBytes(w, acc.hll!.registers);
  if (slot.family === 'buckets') {
    const pairs = new Float64Array([...acc.buckets!].flat());
    writeBytes(w, new Uint8Array(pairs.buffer));
  }
}

function readAcc(r: Cursor, slot: Slot, buf: Buffer): Acc {
  const acc = new Acc();
  acc.n = buf.readDoubleLE(r.at);
  r.at += 8;
  if (acc.n === 0) return acc;
  acc.ts = buf.readDoubleLE(r.at);
  acc.oldest = buf.readDoubleLE(r.at + 8);
  r.at += 16;
  if (slot.family === 'sum' || slot.family === 'squares') acc.s = readValue(r, buf) as Exact;
  if (slot.family === 'squares') acc.q = BigInt(readValue(r, buf) as string);
  if (slot.family === 'min' || slot.family === 'max') acc.v = readValue(r, buf);
  if (slot.family === 'hll') acc.hll = new Hll(new Uint8Array(readBytes(r, buf)));
  if (slot.family === 'buckets') {
    const raw = readBytes(r, buf);
    const pairs = new Float64Array(new Uint8Array(raw).buffer);
    acc.buckets = new Map();
    for (let i = 0; i < pairs.length; i += 2) acc.buckets.set(pairs[i]!, pairs[i + 1]!);
  }
  return acc;
}

/** 0 null | 1 f64 | 2 text | 3 BigInt as text | 4 false | 5 true */
function writeValue(w: Cursor, v: ColumnValue): void {
  if (typeof v === 'string') return writeText(w, 2, v);
  if (typeof v === 'bigint') return writeText(w, 3, v.toString());
  room(w, 9);
  if (typeof v === 'number') {
    scratch[w.at] = 1;
    w.at = scratch.writeDoubleLE(v, w.at + 1);
  } else scratch[w.at++] = v === null ? 0 : v ? 5 : 4;
}

function writeText(w: Cursor, tag: number, text: string): void {
  room(w, text.length * 3 + 5);
  const n = scratch.write(text, w.at + 5, 'utf8');
  scratch[w.at] = tag;
  scratch.writeUInt32LE(n, w.at + 1);
  w.at += 5 + n;
}

function readValue(r: Cursor, buf: Buffer): ColumnValue {
  const tag = buf[r.at++]!;
  if (tag === 0) return null;
  if (tag >= 4) return tag === 5;
  if (tag === 1) {
    r.at += 8;
    return buf.readDoubleLE(r.at - 8);
  }
  const n = buf.readUInt32LE(r.at);
  const text = buf.utf8Slice(r.at + 4, r.at + 4 + n);
  r.at += 4 + n;
  return tag === 3 ? BigInt(text) : text;
}

function writeBytes(w: Cursor, bytes: Uint8Array): void {
  room(w, bytes.length + 4);
  scratch.writeUInt32LE(bytes.length, w.at);
  scratch.set(bytes, w.at + 4);
  w.at += 4 + bytes.length;
}

function readBytes(r: Cursor, buf: Buffer): Uint8Array {
  const n = buf.readUInt32LE(r.at);
  r.at += 4 + n;
  return buf.subarray(r.at - n, r.at);
}
