/**
 * Keys of window state: u16 namespace | u16 key bytes | key | u8 level | 7-byte start. Fixed prefixes, so that all nodes of
 * one key and level are one range, and no key can run into another.
 */

export const BASE_LEVEL = 255;
/** Starts are biased by 2^54, so that instants before 1970 sort first; it covers every Date. */
const HIGH_BIAS = 2 ** 22;
const WORD = 2 ** 32;
const LOWEST = -(2 ** 54);
const HIGHEST = 2 ** 53;

export const clampStart = (t: number): number => (t <= LOWEST ? LOWEST : t >= HIGHEST ? HIGHEST : Math.ceil(t));

/** Builds keys for one (namespace, key) without encoding the key again. */
export class KeyMaker {
  private readonly buf: Buffer;
  private readonly at: number;

  constructor(ns: number, key: string) {
    const n = Buffer.byteLength(key);
    this.buf = Buffer.allocUnsafe(4 + n + 8);
    this.buf.writeUInt16BE(ns, 0);
    this.buf.writeUInt16BE(n, 2);
    this.buf.write(key, 4, 'utf8');
    this.at = 4 + n;
  }

  /** The key buffer itself: valid until the next call. LMDB copies it. */
  at0(level: number, start: number): Buffer {
    this.buf[this.at] = level;
    writeStart(this.buf, this.at + 1, start);
    return this.buf;
  }

  copy(level: number, start: number): Buffer {
    return Buffer.from(this.at0(level, start));
  }

  startOf(key: Buffer): number {
    return readStart(key, this.at + 1);
  }
}

export function writeStart(buf: Buffer, at: number, start: number): void {
  // The bias goes to the high word alone: start + 2^54 as one double would round to a multiple of 4 ms.
  const t = clampStart(start);
  const whole = Math.floor(t / WORD);
  const high = whole + HIGH_BIAS;
  buf[at] = (high >>> 16) & 255;
  buf.writeUInt16BE(high & 0xffff, at + 1);
  buf.writeUInt32BE(t - whole * WORD, at + 3);
}

export const readStart = (buf: Buffer, at: number): number => (buf[at]! * 0x1_0000 + buf.readUInt16BE(at + 1) - HIGH_BIAS) * WORD + buf.readUInt32BE(at + 3);

/** Trim index: u16 namespace | 7-byte day | key. */
export function dayKey(ns: number, day: number, key: string): Buffer {
  const n = Buffer.byteLength(key);
  const buf = Buffer.allocUnsafe(9 + n);
  buf.writeUInt16BE(ns, 0);
  writeStart(buf, 2, day);
  buf.write(key, 9, 'utf8');
  return buf;
}

export const keyOfDay = (buf: Buffer): string => buf.utf8Slice(9);

/** Prefix of all keys of a namespace; the end is the next namespace. */
export function nsRange(ns: number): { start: Buffer; end: Buffer } {
  const start = Buffer.alloc(2);
  const end = Buffer.alloc(2);
  start.writeUInt16BE(ns, 0);
  end.writeUInt16BE(ns + 1, 0);
  return { start, end };
}

export const keyOfState = (buf: Buffer): string => buf.utf8Slice(4, 4 + buf.readUInt16BE(2));

/** Log: u16 stream | u16 partition | 6-byte offset. */
export function logKey(stream: number, partition: number, offset: number): Buffer {
  const buf = Buffer.allocUnsafe(10);
  buf.writeUInt16BE(stream, 0);
  buf.writeUInt16BE(partition, 2);
  buf.writeUIntBE(offset, 4, 6);
  return buf;
}

/** A number in order: dead letters, the outbox. */
export function seqKey(seq: number): Buffer {
  const b = Buffer.alloc(6);
  b.writeUIntBE(seq, 0, 6);
  return b;
}
