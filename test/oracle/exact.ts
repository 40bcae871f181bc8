import type { ColumnValue, Exact, Value } from '../../src/engine/values.ts';
import type { ColumnKind } from '../../src/registry/types.ts';

/** An exact rational; `den` is positive. */
export interface Fraction {
  num: bigint;
  den: bigint;
}

function bitLength(n: bigint): number {
  return n.toString(2).length;
}

/** num / den as the nearest double, ties to even; subnormals and overflow to Infinity included. `den` is not 0. */
export function ratioToDouble(num: bigint, den: bigint): number {
  if (den === 0n) throw new Error('ratioToDouble: denominator 0');
  if (num === 0n) return 0;
  const negative = num < 0n !== den < 0n;
  const a = num < 0n ? -num : num;
  const b = den < 0n ? -den : den;
  // Find e so that 2^52 <= a/b * 2^-e < 2^53, but not below the smallest exponent of a double.
  let e = bitLength(a) - bitLength(b) - 53;
  if (scaledQuotient(a, b, e).q >= 2n ** 53n) e += 1;
  if (e < -1074) e = -1074;
  const { q, rest, divisor } = scaledQuotient(a, b, e);
  const up = 2n * rest > divisor || (2n * rest === divisor && q % 2n === 1n);
  const magnitude = Number(up ? q + 1n : q) * 2 ** e;
  return negative ? -magnitude : magnitude;
}

/** floor(a / b / 2^e) and what is left. */
function scaledQuotient(a: bigint, b: bigint, e: number): { q: bigint; rest: bigint; divisor: bigint } {
  const top = e < 0 ? a * 2n ** BigInt(-e) : a;
  const divisor = e < 0 ? b : b * 2n ** BigInt(e);
  return { q: top / divisor, rest: top % divisor, divisor };
}

/** A finite double as the rational it is. */
export function doubleToFraction(x: number): Fraction {
  let den = 1n;
  let scaled = x;
  while (!Number.isInteger(scaled)) {
    scaled *= 2;
    den *= 2n;
  }
  return { num: BigInt(scaled), den };
}

export function pow10(places: number): bigint {
  return 10n ** BigInt(places);
}

export function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a, 'utf8'), Buffer.from(b, 'utf8'));
}

export function isNumber(v: ColumnValue): v is Exact {
  return typeof v === 'number' || typeof v === 'bigint';
}

/** Ascending: strings by UTF-8 bytes, numbers by size, false before true. Both of one kind. */
export function compareValues(a: ColumnValue, b: ColumnValue): number {
  if (typeof a === 'string' && typeof b === 'string') return compareUtf8(a, b);
  if (typeof a === 'boolean' && typeof b === 'boolean') return Number(a) - Number(b);
  if (isNumber(a) && isNumber(b)) {
    const x = BigInt(a);
    const y = BigInt(b);
    return x < y ? -1 : x > y ? 1 : 0;
  }
  throw new Error(`values of two kinds: ${String(a)} and ${String(b)}`);
}

/** What makes two column values the same value: 3 and 3n are. */
export function identity(v: ColumnValue): string {
  return isNumber(v) ? `n${BigInt(v)}` : typeof v === 'string' ? `s${v}` : String(v);
}

/** A scaled column value as its reader gets it. */
export function finish(v: ColumnValue, kind: ColumnKind, places: number): Value {
  if (!isNumber(v)) return v;
  const exact = BigInt(v);
  if (kind === 'int64') return exact;
  return kind === 'decimal' ? ratioToDouble(exact, pow10(places)) : Number(exact);
}
