/** Exact quotients and the one place where they become doubles: both engines round here, hence to the same last bit. */

type Exact = number | bigint;

const MAX_SAFE = Number.MAX_SAFE_INTEGER;

/** `a * b` exactly: a number while that is safe, a bigint beyond. */
export function times(a: Exact, b: Exact): Exact {
  if (typeof a === 'number' && typeof b === 'number') {
    const product = a * b;
    if (product <= MAX_SAFE && product >= -MAX_SAFE) return product;
  }
  return BigInt(a) * BigInt(b);
}

const POWERS = Array.from({ length: 16 }, (_, i) => 10 ** i);

export function pow10(places: number): Exact {
  return POWERS[places] ?? 10n ** BigInt(places);
}

function bitLength(n: bigint): number {
  const hex = n.toString(16);
  return hex.length * 4 - Math.clz32(Number.parseInt(hex[0] as string, 16)) + 28;
}

/**
 * num / den as the nearest double, ties to even; `den` is not 0. Never -0. Two safe integers are doubles themselves and
 * IEEE division rounds their exact quotient, so the fast path needs no proof beyond that.
 */
export function ratioToDouble(num: Exact, den: Exact): number {
  if (typeof num === 'number' && typeof den === 'number' && Number.isSafeInteger(num) && Number.isSafeInteger(den)) return num === 0 ? 0 : num / den;
  return bigRatio(BigInt(num), BigInt(den));
}

function bigRatio(num: bigint, den: bigint): number {
  if (num === 0n) return 0;
  const negative = num < 0n !== den < 0n;
  const a = num < 0n ? -num : num;
  const b = den < 0n ? -den : den;
  // A quotient of at least 64 bits whose last bit is sticky: Number() then rounds as if it saw every digit.
  const shift = Math.max(0, 65 - (bitLength(a) - bitLength(b)));
  const scaled = a << BigInt(shift);
  const q = scaled / b;
  const sticky = scaled % b === 0n ? q : q | 1n;
  const magnitude = Number(sticky) / 2 ** shift;
  return negative ? -magnitude : magnitude;
}

/** A finite double as the exact fraction it is. */
export function doubleToFraction(x: number): [Exact, Exact] {
  let den = 1n;
  let scaled = x;
  while (!Number.isInteger(scaled)) {
    scaled *= 2;
    den *= 2n;
  }
  return [Number.isSafeInteger(scaled) ? scaled : BigInt(scaled), den];
}
