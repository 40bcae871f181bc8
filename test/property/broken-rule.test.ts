/** A property that cannot fail proves nothing: broken rules must be caught by the very comparison that holds the engine. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { approx } from '../../src/engine/approx.ts';
import type { Cell } from '../../src/engine/values.ts';
import type { Registry } from '../../src/registry/types.ts';
import { Oracle } from '../oracle/index.ts';
import { arbWorld, instants, probeKeys, type World } from '../oracle/random.ts';
import { EngineRun } from '../support/engine-run.ts';

type Reader = (run: EngineRun, feature: string, key: string[], T: number) => Cell;

/** Runs worlds until a cell differs; true when one did. */
function caught(read: Reader, build: (world: World) => EngineRun): boolean {
  const result = fc.check(
    fc.property(arbWorld({ partitions: 1 }), world => {
      if (Object.values(world.registry.features).some(f => f.kind === 'window' && f.agg.op === 'ratio' && f.agg.num.stream !== f.agg.den.stream)) return;
      const run = build(world);
      const oracle = new Oracle(world.registry, world.log, { approx });
      for (const f of Object.values(world.registry.features))
        for (const key of probeKeys(oracle, f.entity).slice(0, 4))
          for (const T of instants(world.log, world.registry, 40)) {
            const [want, got] = [oracle.value(f.id, key, T), read(run, f.id, key, T)];
            const show = (c: Cell) => JSON.stringify(c, (_k, v) => (typeof v === 'bigint' ? `${v}n` : v));
            if (show(want) !== show(got)) throw new Error(`${f.id} at ${T}`);
          }
    }),
    { numRuns: 200, seed: 1 },
  );
  return result.failed;
}

const right: Reader = (run, f, key, T) => run.value(f, key, T);
const build = (world: World) => new EngineRun(world.registry, world.log);

function widen(registry: Registry, change: (w: number) => number): Registry {
  const copy = structuredClone(registry);
  for (const f of Object.values(copy.features)) if (f.kind === 'window' && f.frame.kind === 'over') f.frame.w = change(f.frame.w);
  return copy;
}

describe('broken rules are caught', () => {
  it('not when nothing is broken', () => expect(caught(right, build)).toBe(false));
  it('a window open at its start', () =>
    expect(
      caught(
        right,
        w =>
          new EngineRun(
            widen(w.registry, x => x - 1),
            w.log,
          ),
      ),
    ).toBe(true));
  it('a window closed at its end', () => expect(caught((run, f, key, T) => run.value(f, key, T + 1), build)).toBe(true));
  it('late events counted', () => expect(caught(right, w => new EngineRun(withLateness(w.registry, 1e12), w.log))).toBe(true));
  it('duplicates counted', () => expect(caught(right, w => new EngineRun(w.registry, withoutIds(w)))).toBe(true));
  it('ties in another order', () => expect(caught(right, w => new EngineRun(w.registry, reversedIds(w)))).toBe(true));
});

function withLateness(registry: Registry, lateness: number): Registry {
  const copy = structuredClone(registry);
  for (const s of Object.values(copy.streams)) s.lateness = lateness;
  return copy;
}

const mapIds = (w: World, to: (id: string, i: number) => string) =>
  Object.fromEntries(Object.entries(w.log).map(([s, events]) => [s, events.map((e, i) => ({ ...e, id: to(e.id, i) }))]));
const withoutIds = (w: World) => mapIds(w, (id, i) => `${id}~${i}`);
/** Same identities, opposite order. */
const reversedIds = (w: World) => mapIds(w, id => [...id].map(c => String.fromCharCode(0xfff - c.charCodeAt(0))).join(''));
