/** The values that random logs and the filters over them are made of: few, so that they meet, and awkward. */
import fc from 'fast-check';
import type { ColumnValue, Exact } from '../../src/engine/values.ts';
import type { Columns } from './build.ts';

const INT64 = 2n ** 63n - 1n;
const SAFE = Number.MAX_SAFE_INTEGER;
const TEXTS = ['a', 'b', 'Z', 'é', '\uFFFD', '\u{1F600}', 'a b', "it's", '%', ''];

/** A number while safe, a bigint beyond, as the decoder gives them. */
export function exact(n: bigint): Exact {
  return n >= -BigInt(SAFE) && n <= BigInt(SAFE) ? Number(n) : n;
}

const small = fc.integer({ min: -3, max: 5 }).map(BigInt);
const numbers = (extremes: bigint[], middle: bigint) =>
  fc
    .oneof(
      { weight: 12, arbitrary: small },
      { weight: 4, arbitrary: fc.constantFrom(10n, 2990n, 1_000_000n, -1n, 1050n) },
      { weight: 3, arbitrary: fc.bigInt({ min: -middle, max: middle }) },
      { weight: 2, arbitrary: fc.constantFrom(...extremes) },
    )
    .map(exact);

const wide = [INT64, -INT64, INT64 / 2n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n];
const ints = [BigInt(SAFE), -BigInt(SAFE), BigInt(SAFE) - 1n];

/** By column; none of them null. */
const VALUES: Record<string, fc.Arbitrary<Exclude<ColumnValue, null>>> = {
  b: fc.boolean(),
  big: numbers(wide, 2n ** 62n),
  d: numbers(wide, 10n ** 9n),
  device: fc.constantFrom(1, 1, 1, 2, -7, 0, SAFE),
  e: numbers(wide, 10n ** 17n),
  'geo.city': fc.constantFrom(...TEXTS),
  i: numbers(ints, 10n ** 12n),
  region: fc.constantFrom('eu', 'eu', 'us', '\u{1F600}', 'a,b', ''),
  s: fc.constantFrom(...TEXTS),
  // u1 is hot.
  user_id: fc.constantFrom('u1', 'u1', 'u1', 'u1', 'u1', 'u2', 'u3', 'é', 'a,b', '1', ''),
};

/** Literal of a filter: numbers as scaled integer text. */
export function literalOf(column: string): fc.Arbitrary<string | boolean> {
  return (VALUES[column] as fc.Arbitrary<Exact | string | boolean>).map(v => (typeof v === 'boolean' ? v : String(v)));
}

/** The columns of one event; any may be null, and a null one may be absent. */
export const columns$: fc.Arbitrary<Columns> = fc
  .tuple(fc.record(Object.fromEntries(Object.entries(VALUES).map(([name, value]) => [name, fc.option(value, { nil: null, freq: 7 })]))), fc.boolean())
  .map(([all, absent]) => (absent ? Object.fromEntries(Object.entries(all).filter(([, v]) => v !== null)) : all) as Columns);
