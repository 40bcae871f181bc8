/**
 * A seeded generator of integers, the same on every machine: 32-bit integer arithmetic only.
 * xoshiro128** 1.1 by Blackman and Vigna (https://prng.di.unimi.it/xoshiro128starstar.c, public domain), its state
 * filled by the finalizer of MurmurHash3 (Appleby, public domain) over multiples of the golden ratio.
 */
export interface Random {
  /** 0 to 2^32 - 1. */
  u32(): number;
  /** 0 to n - 1, each equally likely; `1 <= n <= 2^32`. */
  below(n: number): number;
}

/** MurmurHash3's 32-bit finalizer: a bijection, so different inputs never meet. */
export function mix32(x: number): number {
  let h = x | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const rotl = (x: number, k: number): number => (x << k) | (x >>> (32 - k));

/** xoshiro128** from a state of four 32-bit words that are not all 0. */
export function xoshiro128(s0: number, s1: number, s2: number, s3: number): Random {
  let [a, b, c, d] = [s0 | 0, s1 | 0, s2 | 0, s3 | 0];
  const u32 = (): number => {
    const result = Math.imul(rotl(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotl(d, 11);
    return result;
  };
  const below = (n: number): number => {
    // Draws at or above the last whole multiple of n would favour small results.
    const limit = 4294967296 - (4294967296 % n);
    let x = u32();
    while (x >= limit) x = u32();
    return x % n;
  };
  return { u32, below };
}

/** A generator from a whole-number seed. */
export function random(seed: number): Random {
  const low = seed >>> 0;
  const high = Math.floor(seed / 4294967296) >>> 0;
  const word = (i: number): number => mix32(mix32(low + Math.imul(i, 0x9e3779b9)) ^ (high + i));
  return xoshiro128(word(1), word(2), word(3), word(4) | 1);
}
