/** Numbers as scaled integers: the exact side of every sum. */
export type Exact = number | bigint;

const INT64_MAX = 2n ** 63n - 1n;
const POW = Array.from({ length: 19 }, (_, i) => 10 ** i);

/** A BigInt as a number when that is exact, itself otherwise. */
export const narrow = (v: bigint): Exact => (v >= -9007199254740991n && v <= 9007199254740991n ? Number(v) : v);

export const inInt64 = (v: Exact): boolean => typeof v === 'number' || (v <= INT64_MAX && v >= -INT64_MAX - 1n);

/**
 * `x * 10^places`, rounded half-even from x's shortest decimal text. Null when x is not finite or the result is outside int64.
 * @example scale(29.9, 2) // 2990
 */
export function scale(x: number | string, places: number): Exact | null {
  if (typeof x === 'number') {
    if (Number.isInteger(x) && Math.abs(x) * POW[places]! <= Number.MAX_SAFE_INTEGER) return x * POW[places]! + 0;
    if (!Number.isFinite(x)) return null;
    const quick = quickScale(x, places);
    if (quick !== null) return quick;
  }
  return scaleText(String(x), places);
}

/**
 * The common case without text: the product's rounding is the answer when turning it back gives x again, since a decimal
 * of at most 15 digits survives the trip through a double.
 */
function quickScale(x: number, places: number): number | null {
  const p = POW[places]!;
  const r = Math.round(x * p);
  return Math.abs(r) < 1e15 && r / p === x ? r + 0 : null;
}

/** The same from decimal text (`-12.345`, `1e-7`); null when it is not a number or outside int64. */
export function scaleText(text: string, places: number): Exact | null {
  const m = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text.trim());
  if (!m || !(m[2] || m[3])) return null;
  const [, sign, whole = '', frac = '', exp = '0'] = m;
  const shift = Number(exp) + places - frac.length;
  let digits = BigInt((whole || '0') + frac);
  if (digits === 0n) return 0;
  if (shift >= 0) {
    if (shift > 40) return null;
    digits *= 10n ** BigInt(shift);
  } else digits = halfEven(digits, -shift);
  const v = sign === '-' ? -digits : digits;
  return inInt64(v) ? narrow(v) : null;
}

function halfEven(digits: bigint, drop: number): bigint {
  if (drop > digits.toString().length + 1) return 0n;
  const unit = 10n ** BigInt(drop);
  const q = digits / unit;
  const twice = (digits % unit) * 2n;
  return twice > unit || (twice === unit && q % 2n === 1n) ? q + 1n : q;
}

/** a + b, exact: numbers while safe, BigInt beyond. (The rounded sum of two safe integers is unsafe whenever the true one is.) */
export function addExact(a: Exact, b: Exact): Exact {
  if (typeof a === 'number' && typeof b === 'number') {
    const s = a + b;
    return Number.isSafeInteger(s) ? s : BigInt(a) + BigInt(b);
  }
  return narrow(BigInt(a) + BigInt(b));
}
