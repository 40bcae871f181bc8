import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ColumnValue } from '../../src/engine/values.ts';
import type { WindowFeaturePlan } from '../../src/registry/types.ts';
import { cases, mismatches, type OracleCase, type Subject } from '../oracle/cases.ts';
import { Oracle, ratioToDouble } from '../oracle/index.ts';
import { arbWorld, instants, probeKeys, type World } from '../oracle/random.ts';

function subject(c: OracleCase): Subject {
  const oracle = new Oracle(c.registry, c.log);
  return {
    value: (id, key, T) => oracle.value(id, key, T),
    verdicts: stream => oracle.verdicts(stream).map(j => j.verdict),
    counters: stream => oracle.counters(stream),
  };
}

describe('the oracle on the written cases', () => {
  it.each(cases.map(c => [c.name, c] as const))('%s', async (_, c) => {
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

describe('random worlds', () => {
  const approx = { distinct: (values: unknown[]) => new Set(values.map(String)).size, percentile: (values: ColumnValue[]) => values[0] ?? null };

  it('add up, and reach every verdict, status and aggregate', () => {
    const seen = new Set<string>();
    const check = ({ registry, log }: World) => {
      const oracle = new Oracle(registry, log, { approx });
      for (const stream of Object.keys(registry.streams)) {
        const c = oracle.counters(stream);
        expect(c.rejected + c.quarantined + c.late + c.ignored + c.duplicate + c.applied).toBe(c.read);
        for (const [name, n] of Object.entries(c)) if (n > 0) seen.add(name);
      }
      const times = instants(log, registry, 20);
      for (const f of Object.values(registry.features) as WindowFeaturePlan[]) {
        seen.add(f.agg.op).add(f.frame.kind);
        for (const key of probeKeys(oracle, f.entity).slice(-3))
          for (const T of times) {
            const cell = oracle.value(f.id, key, T);
            seen.add(cell.status).add(cell.reason ?? '');
            if (cell.ts !== null) expect(cell.ts).toBeLessThan(T);
          }
      }
    };
    fc.assert(fc.property(arbWorld(), check), { numRuns: 150, seed: 1 });
    const verdicts = ['read', 'rejected', 'quarantined', 'late', 'ignored', 'duplicate', 'applied', 'keyless'];
    const statuses = ['PRESENT', 'NULL_VALUE', 'NOT_FOUND', 'OUTSIDE_MAX_AGE', 'ERROR', 'OVERFLOW', 'CAP_EXCEEDED'];
    const aggs = 'count sum avg min max stddev countDistinct approxCountDistinct first last firstN lastN topK percentile approxPercentile span ratio'.split(' ');
    const frames = ['over', 'tumbling', 'hopping', 'lifetime', 'session'];
    for (const name of [...verdicts, ...statuses, ...aggs, ...frames]) expect(seen).toContain(name);
  });
});
