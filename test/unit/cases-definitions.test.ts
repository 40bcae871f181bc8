/** CASES.md, section E, "Definitions": T01 to T08, and what a worker takes of a log (T52, T70). */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it, test } from 'vitest';
import { z } from 'zod';
import { alias, count, entity, feature, on, service, stream } from '../../src/index.ts';
import { formatDuration, parseDuration } from '../../src/lib/duration.ts';
import { FabraError } from '../../src/lib/errors.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { FeatureReader } from '../../src/runtime/reader.ts';
import { runHistorical } from '../../src/runtime/historian/index.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { resolveConfig } from '../../src/config/resolve.ts';
import { cleanUp, newDir, openTestProject } from '../support/project.ts';

afterAll(cleanUp);
const user = entity('user', { key: 'user_id' });
const product = entity('product', { key: 'product_id' });
const ev = stream('ev');
const shape = z.object({ user_id: z.string(), product_id: z.string() });
const [purchase, refund, view] = [ev.event('purchase', shape), ev.event('refund', shape), ev.event('view', shape)];
const compile = (defs: Record<string, unknown>) => compileDefinitions(defs) as Compiled;
const forced = (v: unknown): never => v as never;
const failure = (f: () => unknown): FabraError => {
  try {
    f();
  } catch (e) {
    if (e instanceof FabraError) return e;
    throw e;
  }
  throw new Error('nothing was thrown');
};

test('T01, T02: one grammar of durations', () => {
  const ms = { '30s': 30_000, '5m': 300_000, '1h': 3_600_000, '2d': 172_800_000, '500ms': 500, '1.5h': 5_400_000, '2.5m': 150_000, ' 5m ': 300_000, '5M': 300_000 };
  for (const [text, wanted] of Object.entries(ms)) expect(parseDuration(text), text).toBe(wanted);
  for (const text of ['5x', 'five minutes', '', 'm5', '-5m', '5', '5 m m'])
    expect(failure(() => parseDuration(text))).toMatchObject({ code: 'BAD_DURATION', message: expect.stringContaining(JSON.stringify(text)) });
});

test('T03: durations for people', () => {
  expect([500, 90_000, 5_400_000, 90_000_000].map(formatDuration)).toEqual(['500ms', '1m 30s', '1h 30m', '1d 1h']);
});

test('T04: an entity needs its id column', () => {
  const e = failure(() => compile({ f: feature(entity('bad', forced({})), 'f', forced(count(view).over('5m'))) }));
  expect(e.message).toContain('could not infer id column');
  expect(e.exitCode).toBe(2);
});

describe('T05: a misspelt name', () => {
  const compiled = compile({ s: feature(user, 'user_score', count(view).over('5m')) });
  it('is answered with the nearest one, by a read and by training', async () => {
    const project = await openTestProject(newDir('t05'));
    await applyRegistry(project, compiled, { newVersion: false, consent: false });
    const reader = new FeatureReader(project, compiled.registry, compiled.code);
    await expect(reader.read({ features: ['user.user_scre'], rows: [{ user_id: 'u' }], at: 0 })).rejects.toMatchObject({
      hint: expect.stringContaining('Did you mean: user.user_score?'),
    });
    const spine = join(project.dir, 's.csv');
    writeFileSync(spine, 'user_id,event_timestamp\nu,2025-01-01\n');
    const training = runHistorical(project, compiled, { spine, out: join(project.dir, 'o.csv'), features: ['user.user_scre'] });
    await expect(training).rejects.toMatchObject({ code: 'UNKNOWN_FEATURE', hint: expect.stringContaining('Did you mean: user.user_score?') });
    await project.close();
  });
});

test('T06: one name of two entities is two features, or an error, never the later one alone', () => {
  const [a, b] = [feature(user, 'views', count(view).over('5m')), feature(product, 'views', count(view).over('5m'))];
  expect(Object.keys(compile({ a, b }).registry.features)).toEqual(['product.views', 'user.views']);
  expect(failure(() => compile({ a, b, s: service('s', [a, b]) })).code).toBe('COMPILE_FAILED');
  expect(compile({ a, b, s: service('s', [a, b], { fullNames: true }) }).registry.services.s!.features).toEqual(['user.views', 'product.views']);
  expect(failure(() => compile({ a, c: feature(user, 'views', count(purchase).over('1h')) })).problems![0]!.code).toBe('NAME_COLLISION');
  expect(alias('x', a, { user_id: 'u2' }).name).toBe('x__views');
});

test('T07: triggers, sorted and each once', () => {
  const f = feature(user, 'n', on([refund, purchase, refund], { type: z.int(), handle: ({ current }) => (current ?? 0) + 1 }));
  const { registry } = compile({ f, view });
  expect(registry.features['user.n']).toMatchObject({ events: ['ev/purchase', 'ev/refund'] });
});

test('T08: an option nobody knows', () => {
  const f = feature(user, 'n', on(purchase, forced({ type: z.int(), maxRetrys: 3, handle: () => 1 })));
  const e = failure(() => compile({ f }));
  expect([e.exitCode, e.problems![0]!.message]).toEqual([2, expect.stringContaining("unknown option 'maxRetrys'")]);
});

test('T52: only the events that a feature uses are applied; the worker moves past the others', async () => {
  const compiled = compile({ view, f: feature(user, 'n', on(purchase, { type: z.int(), handle: ({ current }) => (current ?? 0) + 1 })) });
  const project = await openTestProject(newDir('t52'));
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const event = (type: string, id: number) => ({
    bytes: Buffer.from(JSON.stringify({ event_type: type, event_id: `e${id}`, timestamp: 1_000 + id, user_id: 'u', product_id: 'p' })),
  });
  await project.bus.append('ev', [event('view', 1), event('purchase', 2), event('other', 3), event('purchase', 4), event('view', 5)], 10_000);
  const { byType } = await runWorker(project, compiled, { untilIdle: true, signal: new AbortController().signal });
  expect(byType.purchase).toMatchObject({ read: 2, applied: 2 });
  expect(byType.view).toMatchObject({ read: 2, ignored: 2, applied: 0 });
  expect((await project.online.streamMark('ev', 0)).next).toBe(5);
  const reader = new FeatureReader(project, compiled.registry, compiled.code);
  expect((await reader.read({ features: ['user.n'], rows: [{ user_id: 'u' }], at: 20_000 })).cells[0]![0]).toMatchObject({ value: 2, status: 'PRESENT', ts: 1_004 });
  await project.close();
});

test('T70: there is no online store in the memory of one process', async () => {
  const dir = newDir('t70');
  await expect(resolveConfig({ dir, env: { FABRA_ONLINE_URL: 'memory' } })).rejects.toMatchObject({ code: 'UNSUPPORTED', exitCode: 2, message: expect.stringContaining('memory') });
});
