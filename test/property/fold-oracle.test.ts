/** Folds over random logs: events out of order, copies, ties, two streams, settled at random moments; read anywhere. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { FoldRun, compareEvents, putFold, readFold, settleFold } from '../../src/engine/fold.ts';
import type { FoldCode, RoutedEvent } from '../../src/engine/units.ts';
import { joinKey } from '../../src/lib/text.ts';
import { FoldMemory, foldOracle } from '../support/fold-nodes.ts';

const RUNS = Number(process.env.FABRA_PROPERTY_RUNS ?? 200);
const LATENESS = 60;

interface Seen {
  trail: string[];
  n: number;
}
/** Order matters, some events throw, some make a state that does not fit, some break the state in place first. */
const code: FoldCode = {
  state: z.object({ trail: z.array(z.string()).max(6), n: z.number() }),
  initial: { trail: [], n: 0 },
  step: (state, event) => {
    const s = state as Seen;
    const { event_id, payload, entity_id, timestamp, event_type } = event as { event_id: string; payload: { v: number }; entity_id: string; timestamp: number; event_type: string };
    s.trail.push(`${event_id}@${timestamp}${event_type}${entity_id}`);
    s.n = s.n * 3 + payload.v;
    if (payload.v === 7) throw new Error('seven');
    if (payload.v === 8) return { trail: s.trail, n: 'no number' };
    return { trail: s.trail.slice(-3), n: s.n % 1_000_003 };
  },
  value: state => {
    const s = state as Seen;
    if (s.n % 11 === 5) throw new Error(`n is ${s.n}`);
    return { last: s.trail.at(-1), all: s.trail, n: s.n };
  },
};
const unit = { code, keyColumns: ['a', 'b'] };
const KEY = joinKey(['k:1', 'ü']);

const arbEvent = fc.record({
  stream: fc.constantFrom('s', 'r'),
  partition: fc.constantFrom(0, 0, 0, 1),
  back: fc.integer({ min: 0, max: 75 }),
  ahead: fc.constantFrom(0, 0, 1, 1, 2, 5, 20),
  id: fc.constantFrom('a', 'b', 'c', 'é', '\u{1f600}', '\uffee'),
  type: fc.constantFrom('x', 'y'),
  v: fc.integer({ min: 0, max: 9 }),
});
const arbStep = fc.oneof({ weight: 6, arbitrary: fc.array(arbEvent, { minLength: 1, maxLength: 12 }) }, { weight: 1, arbitrary: fc.constant('settle' as const) });
const arbLog = fc.record({ steps: fc.array(arbStep, { minLength: 1, maxLength: 40 }), every: fc.constantFrom(1, 2, 5, 128), codeless: fc.double({ min: 0, max: 1, noNaN: true }) });

/** Instants of the newest settled events and just behind them. */
const around = (events: readonly RoutedEvent[], floor: number): number[] => events.filter(e => e.ts >= floor - 20 && e.ts < floor).flatMap(e => [e.ts, e.ts + 1]);

it('a fold is what sorting all its events and stepping through them gives, at every instant', () => {
  let compared = 0;
  let settled = 0;
  let refused = 0;
  fc.assert(
    fc.property(arbLog, ({ steps, every, codeless }) => {
      const nodes = new FoldMemory();
      const accepted: RoutedEvent[] = [];
      const max = new Map<string, number>();
      let offset = 0;
      let floor = Number.NEGATIVE_INFINITY;
      steps.forEach((step, i) => {
        if (step === 'settle') {
          if (max.size < 2) return;
          floor = Math.min(...max.values()) - LATENESS;
          settleFold(unit, KEY, nodes, floor);
          settled++;
          return;
        }
        const batch: RoutedEvent[] = [];
        for (const { stream, partition, back, ahead, id, type, v } of step) {
          const ts = (max.get(stream) ?? 1_000) + ahead - back * (back % 3 === 0 ? 1 : 0);
          if (ts < (max.get(stream) ?? Number.NEGATIVE_INFINITY) - LATENESS) continue;
          max.set(stream, Math.max(ts, max.get(stream) ?? ts));
          batch.push({ stream, partition, offset: offset++, appended: 0, ts, id, type, payload: JSON.stringify({ v }), applied: false });
        }
        if (batch.length === 0) return;
        const known = new Set(accepted.map(e => JSON.stringify([e.stream, e.ts, e.id])));
        // Sometimes by one who has no code (an older process): the next one steps through it.
        putFold(codeless < 0.3 && i % 4 === 1 ? { ...unit, code: null } : unit, KEY, nodes, batch, every);
        for (const e of batch) {
          const name = JSON.stringify([e.stream, e.ts, e.id]);
          expect(e.applied).toBe(!known.has(name));
          known.add(name);
        }
        accepted.push(...batch);
        for (const at of new Set([...batch.flatMap(e => [e.ts, e.ts + 1]), ...accepted.slice(-40, -20).map(e => e.ts + 1), ...around(accepted, floor), 5_000])) {
          const got = readFold(unit, KEY, nodes, at);
          if (got.floor !== null) {
            refused++;
            expect(at).toBeLessThan(got.floor);
            expect(got.floor).toBeLessThanOrEqual(floor);
            continue;
          }
          compared++;
          expect(got.state).toEqual(foldOracle(code, 'k:1,ü', accepted, at));
        }
      });
      // The run that history shares, over the log in order.
      const run = new FoldRun(unit, KEY);
      const first = new Map<string, RoutedEvent>();
      for (const e of [...accepted].sort((a, b) => compareEvents(a, b) || a.partition - b.partition || a.offset - b.offset)) {
        const name = JSON.stringify([e.stream, e.ts, e.id]);
        if (!first.has(name)) run.apply(e);
        first.set(name, e);
      }
      expect(run.value()).toEqual(foldOracle(code, 'k:1,ü', accepted, Number.POSITIVE_INFINITY));
    }),
    { numRuns: RUNS },
  );
  expect(compared).toBeGreaterThan(RUNS * 20);
  expect(settled).toBeGreaterThan(RUNS / 4);
  expect(refused).toBeGreaterThan(0);
});
