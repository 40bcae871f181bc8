/** Sketches for the `approx` aggregates: mergeable, integer-only in their state, run by both paths, hence the same number on both. */
import { fnv1a } from '../lib/hash.ts';
import type { ColumnValue, Exact } from './values.ts';

const BITS = 12;
const REGISTERS = 1 << BITS;

function mix(h: number): number {
  // Murmur3's 32-bit finaliser (Appleby, public domain): spreads FNV's weak high bits.
  let x = h ^ (h >>> 16);
  x = Math.imul(x, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** HyperLogLog with 4,096 registers (Flajolet et al. 2007, linear counting for small sets): standard error 1.04/sqrt(4096) = 1.6 %. */
export class Hll {
  readonly registers: Uint8Array;
  constructor(registers: Uint8Array = new Uint8Array(REGISTERS)) {
    this.registers = registers;
  }
  add(v: ColumnValue): void {
    const text = typeof v === 'string' ? `s${v}` : typeof v === 'boolean' ? `b${v}` : `n${v}`;
    const high = mix(fnv1a(text));
    const low = mix(fnv1a(text, 0x9e3779b9));
    const at = high >>> (32 - BITS);
    // Rank of the first 1 bit in the 20 remaining high bits followed by the 32 low ones.
    const rest = (high << BITS) >>> 0;
    const rank = rest !== 0 ? Math.clz32(rest) + 1 : 32 - BITS + Math.clz32(low) + 1;
    if (rank > this.registers[at]!) this.registers[at] = rank;
  }
  merge(other: Hll): void {
    for (let i = 0; i < REGISTERS; i++) if (other.registers[i]! > this.registers[i]!) this.registers[i] = other.registers[i]!;
  }
  estimate(): number {
    let sum = 0;
    let zeros = 0;
    for (const r of this.registers) {
      sum += 2 ** -r;
      if (r === 0) zeros++;
    }
    const raw = ((0.7213 / (1 + 1.079 / REGISTERS)) * REGISTERS * REGISTERS) / sum;
    return Math.round(raw <= 2.5 * REGISTERS && zeros > 0 ? REGISTERS * Math.log(REGISTERS / zeros) : raw);
  }
}

/**
 * Buckets of integers by their top seven bits: exact below 128, at most 1/128 relative width above. The idea is DDSketch's
 * (Masson, Rim, Lee 2019); the bucket function here is shifts only, so that no logarithm's last bit can differ.
 */
export function bucketOf(v: Exact): number {
  const big = BigInt(v);
  const a = big < 0n ? -big : big;
  if (a < 128n) return Number(big);
  const shift = a.toString(2).length - 7;
  const index = (shift << 7) + Number(a >> BigInt(shift));
  return big < 0n ? -index : index;
}

/** The middle of a bucket, a scaled integer. */
export function bucketValue(bucket: number): Exact {
  const a = Math.abs(bucket);
  if (a < 128) return bucket;
  const shift = BigInt(a >> 7);
  const mid = (BigInt(a & 127) << shift) + (1n << shift) / 2n;
  const v = bucket < 0 ? -mid : mid;
  return v >= -9007199254740991n && v <= 9007199254740991n ? Number(v) : v;
}

/** Nearest rank `max(1, ceil(q*n))` in exact integers. */
export const nearestRank = (n: number, q: { num: number; den: number }): number => Math.max(1, Number((BigInt(q.num) * BigInt(n) + BigInt(q.den) - 1n) / BigInt(q.den)));

/** Value at nearest rank in a map of bucket counts; null when empty. */
export function bucketPercentile(counts: ReadonlyMap<number, number>, q: { num: number; den: number }): Exact | null {
  let n = 0;
  for (const c of counts.values()) n += c;
  if (n === 0) return null;
  let left = nearestRank(n, q);
  for (const b of [...counts.keys()].sort((x, y) => x - y)) {
    left -= counts.get(b)!;
    if (left <= 0) return bucketValue(b);
  }
  return null;
}

/** The estimators over plain lists of non-null values: for SQL paths and oracles. */
export const approx = {
  distinct(values: readonly ColumnValue[]): number {
    const sketch = new Hll();
    for (const v of values) sketch.add(v);
    return sketch.estimate();
  },
  percentile(values: readonly ColumnValue[], q: { num: number; den: number }): ColumnValue {
    const counts = new Map<number, number>();
    for (const v of values) {
      const b = bucketOf(v as Exact);
      counts.set(b, (counts.get(b) ?? 0) + 1);
    }
    return bucketPercentile(counts, q);
  },
};
