import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases, mismatches, type OracleCase, type Subject } from '../oracle/cases.ts';
import { Oracle, ratioToDouble } from '../oracle/index.ts';

function subject(c: OracleCase): Subject {
  const oracle = new Oracle(c.registry, c.log);
  return {
    value: (id, key, T) => oracle.value(id, key, T),
    verdicts: (stream) => oracle.verdicts(stream).map((j) => j.verdict),
    counters: (stream) => oracle.counters(stream),
  };
}

describe('the oracle on the written cases', () => {
  it.each(cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    expect(await mismatches(c, subject(c))).toEqual([]);
  });
});

describe('ratioToDouble', () => {
  it('agrees with the division of safe integers, which IEEE rounds once', () => {
    const part = fc.maxSafeInteger();
    fc.assert(
      fc.property(part, part, (a, b) => {
        fc.pre(b !== 0);
        expect(ratioToDouble(BigInt(a), BigInt(b))).toBe(a / b + 0);
      }),
    );
  });

  it('agrees with Number() of decimal text', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 25n), max: 10n ** 25n }), fc.integer({ min: 0, max: 345 }), (n, places) => {
        expect(ratioToDouble(n, 10n ** BigInt(places)) + 0).toBe(Number(`${n}e-${places}`) + 0);
      }),
    );
  });

  it('rounds ties to even and knows the ends of the range', () => {
    expect(ratioToDouble(2n ** 53n + 1n, 1n)).toBe(2 ** 53);
    expect(ratioToDouble(2n ** 53n + 3n, 1n)).toBe(2 ** 53 + 4);
    expect(ratioToDouble(1n, 2n ** 1074n)).toBe(5e-324);
    expect(ratioToDouble(1n, 2n ** 1075n)).toBe(0);
    expect(ratioToDouble(3n, 2n ** 1075n)).toBe(1e-323);
    expect(ratioToDouble(2n ** 1024n, 1n)).toBe(Number.POSITIVE_INFINITY);
    expect(ratioToDouble(0n, -5n)).toBe(0);
  });
});
