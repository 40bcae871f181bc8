import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { approx } from '../../src/engine/approx.ts';
import { reach } from '../../src/engine/group.ts';
import type { Cell } from '../../src/engine/values.ts';
import { floorTo } from '../../src/lib/time.ts';
import { cases, mismatches } from '../oracle/cases.ts';
import { Oracle } from '../oracle/index.ts';
import { arbWorld, instants, probeKeys, type World } from '../oracle/random.ts';
import { EngineRun } from '../support/engine-run.ts';

const RUNS = Number(process.env.FABRA_PROPERTY_RUNS ?? 200);
const opts = (seed?: number) => ({ numRuns: RUNS, ...(seed !== undefined && { seed }), endOnFailure: false });

describe('the written cases, run through the engine', () => {
  for (const c of cases)
    it(c.name, async () => {
      const run = new EngineRun(c.registry, c.log, 3);
      expect(await mismatches(c, { value: (f, k, T) => run.value(f, k, T) })).toEqual([]);
    });
});

function same(a: Cell, b: Cell): boolean {
  return a.status === b.status && a.ts === b.ts && (a.reason ?? '') === (b.reason ?? '') && sameValue(a.value, b.value);
}
function sameValue(a: unknown, b: unknown): boolean {
  return Array.isArray(a) && Array.isArray(b) ? a.length === b.length && a.every((x, i) => Object.is(x, b[i])) : Object.is(a, b);
}

/** A session over two streams is refused at compile: one key's state never spans logs. */
function allowed(world: World): boolean {
  return Object.values(world.registry.features).every(f => f.kind !== 'window' || f.agg.op !== 'ratio' || f.frame.kind !== 'session' || f.agg.num.stream === f.agg.den.stream);
}
const worlds = (options: Parameters<typeof arbWorld>[0]) => arbWorld({ ...options, partitions: 1 }).filter(allowed);

let compared = 0;
function compareAll(world: World, run: EngineRun, from = Number.NEGATIVE_INFINITY): void {
  const oracle = new Oracle(world.registry, world.log, { approx });
  const times = instants(world.log, world.registry, 60);
  for (const f of Object.values(world.registry.features)) {
    if (f.kind !== 'window') continue;
    const back = f.frame.kind === 'lifetime' || f.frame.kind === 'session' ? 0 : reach(f.frame);
    for (const key of probeKeys(oracle, f.entity).slice(0, 4))
      for (const T of times) {
        if (T - back < from) continue;
        const want = oracle.value(f.id, key, T);
        const got = run.value(f.id, key, T);
        compared++;
        if (!same(want, got)) expect.fail(`${f.id} ${JSON.stringify(key)} at ${T}: oracle ${show(want)}, engine ${show(got)}`);
      }
  }
}
const show = (c: Cell) => JSON.stringify(c, (_k, v) => (typeof v === 'bigint' ? `${v}n` : v));

describe('the engine against the list-of-events oracle', () => {
  it('gives the same cell for every feature at adversarial instants, whatever the batches', { timeout: 600_000 }, () => {
    fc.assert(
      fc.property(worlds({ approx: true, streams: 2 }), fc.constantFrom(1, 7, 500), (world, batch) => compareAll(world, new EngineRun(world.registry, world.log, batch))),
      opts(),
    );
  });

  it('gives the same cell for hot keys, whose state has split into finer nodes', { timeout: 600_000 }, () => {
    let split = 0;
    fc.assert(
      fc.property(worlds({ approx: true, maxSteps: 200 }), fc.constantFrom(1, 7, 500), fc.constantFrom(1, 2, 5), (world, batch, most) => {
        const run = new EngineRun(world.registry, world.log, batch, most);
        for (const nodes of run.states.values()) if ([...nodes.nodes.values()].some(n => n.level >= 2)) split++;
        compareAll(world, run);
      }),
      opts(),
    );
    expect(split).toBeGreaterThan(RUNS / 4);
  });

  it('decides the same verdicts', { timeout: 600_000 }, () => {
    fc.assert(
      fc.property(worlds({ maxAhead: 'maybe', strays: true }), world => {
        const run = new EngineRun(world.registry, world.log, 7);
        const oracle = new Oracle(world.registry, world.log, { approx });
        for (const stream of Object.keys(world.log)) for (const v of oracle.verdicts(stream)) expect(run.verdicts.get(v.event)).toBe(v.verdict);
      }),
      opts(),
    );
  });

  it('keeps every value above the floor after trimming', { timeout: 600_000 }, () => {
    fc.assert(
      fc.property(worlds({}), fc.integer({ min: 0, max: 100 }), (world, share) => {
        const run = new EngineRun(world.registry, world.log, 50, share % 2 ? 3 : undefined);
        const all = Object.values(world.log)
          .flat()
          .map(e => e.ts)
          .sort((a, b) => a - b);
        if (all.length === 0) return;
        const floor = floorTo(all[Math.floor((all.length - 1) * (share / 100))]!, 86_400_000);
        run.trim(floor);
        compareAll(world, run, floor);
      }),
      opts(),
    );
  });

  it('compared at least 300,000 cells, bit for bit', () => {
    console.info(`compared ${compared} cells`);
    expect(compared).toBeGreaterThanOrEqual(RUNS >= 200 ? 300_000 : 1);
  });
});
