import { createHash } from 'node:crypto';
import { DAY } from '../lib/duration.ts';
import type { EventBus, LogBounds, LogRecord, NewRecord } from '../ports/event-bus.ts';
import type { Embedded } from '../stores/embedded/env.ts';
import { logKey, writeStart } from '../stores/embedded/keys.ts';

/** Bytes of events in one stored segment, about: few keys to write, poll and trim, yet a small batch copies little. */
const SEGMENT_BYTES = 128 * 1024;

/**
 * The log inside the embedded store: one partition per stream; the state's transactions and the log's never tear apart.
 * Events are kept in segments, one per append or SEGMENT_BYTES: a record an event cost 2.8 us to trim and 1.9 us to poll,
 * segments 0.04 and 0.6.
 */
export class EmbeddedBus implements EventBus {
  private readonly env: Embedded;
  private readonly ids = new Map<string, number>();

  constructor(env: Embedded) {
    this.env = env;
  }

  private idOf(stream: string): number | undefined {
    const known = this.ids.get(stream) ?? (this.env.meta.get(`sid:${stream}`) as number | undefined);
    if (known !== undefined) this.ids.set(stream, known);
    return known;
  }

  /** Inside a write transaction. */
  private ensureId(stream: string): number {
    const known = this.env.meta.get(`sid:${stream}`) as number | undefined;
    if (known !== undefined) return known;
    const id = ((this.env.meta.get('nextSid') as number | undefined) ?? 0) + 1;
    this.env.meta.put('nextSid', id);
    this.env.meta.put(`sid:${stream}`, id);
    return id;
  }

  async append(stream: string, records: readonly NewRecord[], appended: number): Promise<{ partition: number; first: number }> {
    const first = this.env.write(() => {
      const id = this.ensureId(stream);
      const end = this.end(id);
      for (let at = 0; at < records.length; ) {
        const { bytes, count } = encodeSegment(records, at, appended);
        this.env.log.putSync(logKey(id, 0, end + at), bytes);
        at += count;
      }
      if (records.length > 0) this.env.meta.put(`end:${id}`, end + records.length);
      return end;
    });
    return { partition: 0, first };
  }

  private end(id: number): number {
    return (this.env.meta.get(`end:${id}`) as number | undefined) ?? 0;
  }

  flushed(): Promise<void> {
    return this.env.flushed();
  }

  async partitions(): Promise<number[]> {
    return [0];
  }

  async poll(stream: string, _partition: number, from: number, max: number): Promise<LogRecord[]> {
    this.env.refresh();
    const id = this.idOf(stream);
    if (id === undefined || max <= 0) return [];
    const out: LogRecord[] = [];
    for (const { key, value } of this.env.log.getRange({ start: this.segmentKey(id, from), end: logKey(id, 1, 0) })) {
      decodeSegment(value, key.readUIntBE(4, 6), from, max, out);
      if (out.length >= max) break;
    }
    return out;
  }

  /** Key of the segment that holds an offset, or where the next one would start. */
  private segmentKey(id: number, offset: number): Buffer {
    const exact = logKey(id, 0, offset);
    // The end of a range is left out, also backwards: the bare prefix lies below the first segment.
    const [at] = [...this.env.log.getKeys({ start: exact, end: logKey(id, 0, 0).subarray(0, 4), reverse: true, limit: 1 })];
    return at ?? exact;
  }

  async bounds(stream: string): Promise<LogBounds> {
    this.env.refresh();
    const id = this.idOf(stream);
    if (id === undefined) return { start: 0, end: 0 };
    const end = this.end(id);
    const [first] = [...this.env.log.getKeys({ start: logKey(id, 0, 0), end: logKey(id, 1, 0), limit: 1 })];
    return { start: first ? first.readUIntBE(4, 6) : end, end };
  }

  async stamp(stream: string, ids: readonly string[], now: number): Promise<number[]> {
    this.env.refresh();
    const known = this.stampsOf(this.idOf(stream), ids);
    if (known.every(t => t !== undefined)) return known as number[];
    return this.env.write(() => {
      const sid = this.ensureId(stream);
      const { stamps } = this.env;
      const out = ids.map(id => {
        const name = stampKey(sid, id);
        const at = stamps.getBinary(name);
        if (at) return at.readDoubleLE(0);
        const value = Buffer.alloc(8);
        value.writeDoubleLE(now);
        stamps.putSync(name, value);
        stamps.putSync(ageKey(now, name), EMPTY);
        return now;
      });
      this.sweep(now, 2 * ids.length + 100);
      return out;
    });
  }

  private stampsOf(sid: number | undefined, ids: readonly string[]): (number | undefined)[] {
    return ids.map(id => (sid === undefined ? undefined : this.env.stamps.getBinary(stampKey(sid, id))?.readDoubleLE(0)));
  }

  /** Forgets what was stamped more than a day ago, a little more at each write than the write adds. */
  private sweep(now: number, limit: number): void {
    const { stamps } = this.env;
    for (const old of [...stamps.getKeys({ start: ageKey(Number.NEGATIVE_INFINITY, EMPTY), end: ageKey(now - DAY, EMPTY), limit })]) {
      stamps.removeSync(old.subarray(8));
      stamps.removeSync(old);
    }
  }

  /** Whole segments only: up to one segment below `before` stays. */
  async trim(stream: string, _partition: number, before: number): Promise<void> {
    this.env.refresh();
    const id = this.idOf(stream);
    if (id === undefined || before <= 0) return;
    const keep = this.segmentKey(id, before);
    for (let more = true; more; ) {
      // In slices, so that a long trim never holds the one write lock for long.
      more = this.env.write(() => {
        const keys = [...this.env.log.getKeys({ start: logKey(id, 0, 0), end: keep, limit: 500 })];
        for (const k of keys) this.env.log.removeSync(k);
        return keys.length === 500;
      });
    }
  }
}

const EMPTY = Buffer.alloc(0);

/** Stamps: u8 0 | u16 stream | 16 bytes of the id's hash (an id may be longer than a key). */
function stampKey(sid: number, id: string): Buffer {
  const out = Buffer.alloc(19);
  out.writeUInt16BE(sid, 1);
  createHash('sha256').update(id).digest().copy(out, 3, 0, 16);
  return out;
}

/** Their ages: u8 1 | 7-byte instant | the stamp's key. */
function ageKey(at: number, name: Buffer): Buffer {
  const out = Buffer.alloc(8 + name.length, 1);
  writeStart(out, 1, at);
  name.copy(out, 8);
  return out;
}

/** f64 append time | record*; a record: u32 event bytes | u16 id bytes (0xffff none) | id | event */
function encodeSegment(records: readonly NewRecord[], at: number, appended: number): { bytes: Buffer; count: number } {
  const ids: (Buffer | null)[] = [];
  let size = 8;
  for (let i = at; i < records.length && (i === at || size < SEGMENT_BYTES); i++) {
    const { id, bytes } = records[i]!;
    const text = id == null ? null : Buffer.from(id, 'utf8');
    ids.push(text);
    size += 6 + (text?.length ?? 0) + bytes.length;
  }
  const out = Buffer.allocUnsafe(size);
  let w = out.writeDoubleLE(appended, 0);
  ids.forEach((id, i) => {
    const { bytes } = records[at + i]!;
    w = out.writeUInt32LE(bytes.length, w);
    w = out.writeUInt16LE(id ? id.length : NO_ID, w);
    if (id) w += id.copy(out, w);
    out.set(bytes, w);
    w += bytes.length;
  });
  return { bytes: out, count: ids.length };
}

const NO_ID = 0xffff;

function decodeSegment(segment: Buffer, first: number, from: number, max: number, out: LogRecord[]): void {
  const appended = segment.readDoubleLE(0);
  let offset = first;
  for (let at = 8; at < segment.length && out.length < max; offset++) {
    const size = segment.readUInt32LE(at);
    const n = segment.readUInt16LE(at + 4);
    const start = at + 6 + (n === NO_ID ? 0 : n);
    if (offset >= from) out.push({ offset, appended, id: n === NO_ID ? null : segment.utf8Slice(at + 6, start), bytes: segment.subarray(start, start + size) });
    at = start + size;
  }
}
