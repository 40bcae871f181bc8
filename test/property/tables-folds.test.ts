/** Folds over random logs: what the worker made and a read gives is what history gives, and what sorting and stepping gives. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { foldCell } from '../../src/engine/cells.ts';
import type { Cell } from '../../src/engine/values.ts';
import type { FoldFeaturePlan } from '../../src/registry/types.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { FeatureReader } from '../../src/runtime/reader.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { foldOracle } from '../support/fold-nodes.ts';
import { cleanUp, compileAt, newDir, openTestProject } from '../support/project.ts';

afterAll(cleanUp);

const RUNS = Number(process.env.FABRA_PROPERTY_RUNS ?? 25);
const FEATURES = `
import { decimal, entity, feature, fold, int64, stream } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'u', ttl: '2m' });
const pair = entity('pair', { key: ['u', 'shop'] });
const world = entity('world', { key: [] });
const schema = z.object({ u: z.string().nullish(), shop: z.int().nullish(), v: z.number(), cost: decimal(2).nullish(), big: int64().nullish() });
const money = stream('money', { id: 'id', time: 'ts', type: 'type', lateness: '1m' });
const credit = money.event('credit', schema);
const debit = money.event('debit', schema);
const ignored = money.event('ignored', schema);
const visits = stream('visits', { id: 'id', time: 'ts', type: 'type', lateness: '1m' });
const visit = visits.event('visit', schema);
const one = z.object({ n: z.number(), trail: z.array(z.string()).max(4), cost: z.number() });
const step = (s, { event_type, event_id, entity_id, payload }) => {
  s.trail.push(event_type + event_id + entity_id);
  if (payload.v === 7) throw new Error('seven');
  if (payload.v === 8) return { ...s, n: 'no number' };
  return { n: (s.n * 3 + payload.v) % 1009, trail: s.trail.slice(-3), cost: s.cost + (payload.cost ?? 0) };
};
export const mixed = feature(user, 'mixed', fold([credit, debit, visit], { state: one, initial: { n: 0, trail: [], cost: 0 }, step }));
export const sign = feature(user, 'sign', fold([credit, debit], { state: z.number(), initial: 0, step: (s, { event_type, payload }) => (event_type === 'credit' ? s + payload.v : s - payload.v), value: s => (s === 3 ? -0 : s === 4 ? null : s), type: z.number() }), { ttl: '0s', default: 77 });
export const broken = feature(user, 'broken', fold(visit, { state: z.number(), initial: 1, step: (s, { payload }) => (s * 2 + payload.v) % 1000, value: s => { if (s % 3 === 1) throw new Error('third'); return String(s); } }));
export const both = feature(pair, 'both', fold([visit, credit], { state: one, initial: { n: 1, trail: [], cost: 0 }, step }));
export const last = feature(pair, 'last', fold([visit, credit], { state: z.string(), initial: '', step: (s, { payload }) => String(payload.big ?? s) }));
`;
const NAMES = ['user.mixed', 'user.sign', 'user.broken', 'pair.both', 'pair.last'];

const arbEvent = fc.record({
  stream: fc.constantFrom('money', 'visits'),
  type: fc.constantFrom('credit', 'debit', 'ignored'),
  id: fc.constantFrom('a', 'b', 'c', 'é', '\u{1f600}', '\uffee'),
  move: fc.constantFrom(0, 0, 0, 1, 1, 2, 7_000, -1, -3, -30_000, -59_000, -61_000, -90_000),
  u: fc.constantFrom('x', 'y', 'ü,1', ''),
  shop: fc.option(fc.constantFrom(1, 23), { freq: 6 }),
  v: fc.integer({ min: 0, max: 9 }),
  cost: fc.option(fc.constantFrom(0.1, 0.2, 19.99), { freq: 3 }),
  big: fc.option(fc.constantFrom('9007199254740993', '-5'), { freq: 3 }),
});
const arbBatches = fc.array(fc.array(arbEvent, { minLength: 1, maxLength: 25, size: 'max' }), { minLength: 1, maxLength: 4 });
type Generated = typeof arbEvent extends fc.Arbitrary<infer E> ? E : never;

/** An event that was on time, as the oracle wants it. */
interface Accepted {
  stream: string;
  partition: number;
  offset: number;
  ts: number;
  id: string;
  type: string;
  payload: string;
  appended: number;
  applied: boolean;
  u: string;
  shop: number | null;
}

it('a fold is the same online, over history and stepped through by hand', async () => {
  const dir = newDir('tables-folds');
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  const compiled = await compileAt(dir);
  const project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const reader = new FeatureReader(project, compiled.registry, compiled.code);
  const max: Record<string, number> = {};
  const offsets: Record<string, number> = { money: 0, visits: 0 };
  const seen = new Map<string, number>();
  let run = 0;
  let late = 0;

  /** Judges an event as the stream does; keys are of this run alone. */
  const judge = (e: Generated, ts: number, prefix: string, accepted: Accepted[]): { bytes: Buffer } => {
    const type = e.stream === 'visits' ? 'visit' : e.type;
    const u = e.u === '' ? '' : `${prefix}${e.u}`;
    const payload = { u, shop: e.shop, v: e.v, cost: e.cost, big: e.big };
    const offset = offsets[e.stream]!++;
    if (ts < (max[e.stream] ?? Number.NEGATIVE_INFINITY) - 60_000) late++;
    else {
      // What code gets has the int64 as a bigint; the oracle's copy is JSON, and the code under test only prints it.
      accepted.push({ stream: e.stream, partition: 0, offset, ts, id: e.id, type, payload: JSON.stringify(payload), appended: 0, applied: false, u, shop: e.shop });
      max[e.stream] = Math.max(max[e.stream] ?? ts, ts);
    }
    return { bytes: Buffer.from(JSON.stringify({ id: e.id, ts, type, ...payload })) };
  };

  const check = async (batches: readonly (readonly Generated[])[]): Promise<void> => {
    const prefix = `r${run++}-`;
    const accepted: Accepted[] = [];
    let clock = Math.max(1_736_942_400_000, ...Object.values(max)) + 90_000;
    for (const batch of batches) {
      for (const e of batch) {
        clock = Math.max(clock, clock + e.move);
        await project.bus.append(e.stream, [judge(e, e.move < 0 ? clock + e.move : clock, prefix, accepted)], clock);
      }
      await runWorker(project, compiled, { untilIdle: true, signal: new AbortController().signal });
    }
    const view = await project.history.open(compiled);
    const questions = ['x', 'y', 'ü,1'].flatMap(u => {
      const times = new Set(accepted.flatMap(e => (e.u === prefix + u ? [e.ts, e.ts + 1] : [])));
      return [...times, clock + 1, clock + 119_990, clock + 500_000].flatMap(at => [1, 23].map(shop => ({ at, u: `${prefix}${u}`, shop: String(shop) })));
    });
    const features = NAMES.map(id => compiled.registry.features[id] as FoldFeaturePlan);
    try {
      const keys = { user: questions.map(q => [q.u]), pair: questions.map(q => [q.u, q.shop]) };
      const offline = await view.ask(features, { at: questions.map(q => q.at), keys }, true);
      for (const [r, q] of questions.entries()) {
        const { cells } = await reader.read({ features: NAMES, rows: [{ u: q.u, shop: q.shop }], at: q.at });
        features.forEach((f, i) => {
          const want = oracle(f, accepted, q);
          expect(offline[i]![r], `${f.id} of ${q.u},${q.shop} at ${q.at} over history`).toEqual(want);
          expect(cells[0]![i], `${f.id} of ${q.u},${q.shop} at ${q.at} online`).toEqual(want);
          seen.set(want.status, (seen.get(want.status) ?? 0) + 1);
        });
      }
    } finally {
      await view.close();
    }
  };

  const oracle = (f: FoldFeaturePlan, accepted: readonly Accepted[], q: { at: number; u: string; shop: string }): Cell => {
    const mine = accepted.filter(e => f.events.includes(`${e.stream}/${e.type}`) && e.u === q.u && (f.entity === 'user' || String(e.shop) === q.shop));
    return foldCell(f, foldOracle(compiled.code.folds.get(f.id)!, f.entity === 'user' ? q.u : `${q.u},${q.shop}`, mine, q.at), q.at);
  };

  await fc.assert(fc.asyncProperty(arbBatches, check), { numRuns: RUNS });
  expect(late).toBeGreaterThan(0);
  expect([...seen.keys()].sort()).toEqual(['ERROR', 'NOT_FOUND', 'NULL_VALUE', 'OUTSIDE_MAX_AGE', 'PRESENT']);
  await project.close();
}, 240_000);
