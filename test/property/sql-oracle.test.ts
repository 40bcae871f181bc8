/** SQL history against the oracle, bit for bit: random registries and logs, read where an engine is likeliest to be wrong. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { approx } from '../../src/engine/approx.ts';
import type { Cell, Value } from '../../src/engine/values.ts';
import type { WindowFeaturePlan } from '../../src/registry/types.ts';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import { Oracle } from '../oracle/index.ts';
import { arbWorld, instants, probeKeys, type World } from '../oracle/random.ts';
import { type Ask, SqlSubject } from '../unit/sql-subject.ts';

const RUNS = Number(process.env.FABRA_PROPERTY_RUNS ?? 150);
const INSTANTS = 120;

let db: Duck;
beforeAll(async () => {
  db = await Duck.open({ threads: 2 });
});
afterAll(() => db.close());

function same(a: Value, b: Value): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((x, i) => same(x, b[i] as Value));
  return Object.is(a, b);
}

const agree = (a: Cell, b: Cell): boolean => same(a.value, b.value) && a.status === b.status && Object.is(a.ts, b.ts) && a.reason === b.reason;
const show = (x: unknown): string => JSON.stringify(x, (_, v) => (typeof v === 'bigint' ? `${v}n` : v));

let compared = 0;

/** Every difference, one sentence each. */
async function differences({ registry, log }: World): Promise<string[]> {
  const oracle = new Oracle(registry, log, { approx });
  const features = Object.values(registry.features).filter((f): f is WindowFeaturePlan => f.kind === 'window');
  const times = instants(log, registry, INSTANTS);
  const asks: Ask[] = Object.keys(registry.entities).flatMap(entity => probeKeys(oracle, entity).flatMap(key => times.map(T => ({ entity, key, T }))));
  const subject = await SqlSubject.open(registry, log, db);
  try {
    const cells = await subject.cells(features, asks);
    return features.flatMap((f, c) =>
      asks.flatMap((ask, r) => {
        if (ask.entity !== f.entity) return [];
        compared++;
        const expected = oracle.value(f.id, ask.key as string[], ask.T);
        const actual = cells[c]?.[r] as Cell;
        return agree(expected, actual) ? [] : [`${f.id} ${show(f.agg)} ${show(f.frame)} of ${show(ask.key)} at ${ask.T}: ${show(expected)} but SQL says ${show(actual)}`];
      }),
    );
  } finally {
    await subject.close();
  }
}

describe('SQL history and the oracle', () => {
  it('agree on random registries and logs', { timeout: 60_000 + RUNS * 5_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(arbWorld(), async world => {
        expect((await differences(world)).slice(0, 3)).toEqual([]);
      }),
      { numRuns: RUNS, interruptAfterTimeLimit: 55_000 + RUNS * 4_500, endOnFailure: true },
    );
  });

  it('compared at least 300,000 cells, bit for bit', () => {
    console.info(`compared ${compared} cells`);
    expect(compared).toBeGreaterThanOrEqual(RUNS >= 150 ? 300_000 : 1);
  });
});
