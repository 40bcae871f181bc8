/** The recount behind `explain` and parity's worst rows, against the oracle: another hand's lists. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { approx } from '../../src/engine/approx.ts';
import type { Cell } from '../../src/engine/values.ts';
import { recount, type StreamEvent } from '../../src/runtime/explain/recount.ts';
import { decimalText } from '../../src/runtime/explain/words.ts';
import { sameCell } from '../../src/runtime/parity/compare.ts';
import { Oracle } from '../oracle/index.ts';
import { arbWorld, instants, probeKeys } from '../oracle/random.ts';

const show = (c: Cell) => JSON.stringify(c, (_k, v) => (typeof v === 'bigint' ? `${v}n` : v));

it('is the oracle’s cell for every aggregate, filter and frame', { timeout: 120_000 }, () => {
  let compared = 0;
  fc.assert(
    fc.property(arbWorld({ approx: true, streams: 2, partitions: 1 }), world => {
      const oracle = new Oracle(world.registry, world.log, { approx });
      const times = instants(world.log, world.registry, 25);
      for (const f of Object.values(world.registry.features)) {
        if (f.kind !== 'window') continue;
        for (const key of probeKeys(oracle, f.entity).slice(0, 3)) {
          const events: StreamEvent[] = Object.keys(world.registry.streams).flatMap(stream => oracle.accepted(f.entity, key, stream).map(event => ({ stream, event })));
          for (const T of times) {
            const want = oracle.value(f.id, key, T);
            const got = recount(f, events, T);
            compared++;
            if (!sameCell(want, got)) expect.fail(`${f.id} ${JSON.stringify(key)} at ${T}: oracle ${show(want)}, recount ${show(got)}`);
          }
        }
      }
    }),
    { numRuns: 60, endOnFailure: false },
  );
  expect(compared).toBeGreaterThan(5_000);
});

it('writes scaled integers as decimals', () => {
  expect(decimalText(1234, 2)).toBe('12.34');
  expect(decimalText(-5n, 2)).toBe('-0.05');
  expect(decimalText(1200, 2)).toBe('12');
  expect(decimalText(7, 0)).toBe('7');
});
