/** `explain` of folds, rows, handlers and what is derived from them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { joinKey } from '../../src/lib/text.ts';
import { compileUnits } from '../../src/engine/units.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { explain } from '../../src/runtime/explain/index.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { fabra } from '../support/bin.ts';
import { cleanUp, compileAt, newDir, openTestProject, type TestProject } from '../support/project.ts';

afterAll(cleanUp);

const FEATURES = `
import { decimal, derive, entity, feature, fold, NonRetriableError, on, pushed, query, source, sql, stream } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id' });
const bank = stream('bank', { id: 'id', time: 'ts', type: 'type', lateness: '10m' });
const credit = bank.event('credit', z.object({ user_id: z.string(), amount: decimal(2) }));
const debit = bank.event('debit', z.object({ user_id: z.string(), amount: decimal(2) }));
export const balance = feature(user, 'balance', fold([credit, debit], {
  state: z.number().max(1000), initial: 0, step: (s, { event_type, payload }) => s + (event_type === 'credit' ? payload.amount : -payload.amount) }));
export const told = feature(user, 'told', on(debit, { type: z.string(), retries: { max: 0 }, handle: ({ event }) => {
  if (event.payload.amount > 100) throw new NonRetriableError('too much to tell of');
  return 'spent ' + event.payload.amount; } }));
export const segment = feature(user, 'segment', pushed(z.string()));
const people = source('people', { file: 'people.csv', time: 'since' });
export const city = feature(user, 'city', query(people, sql\`select user_id, city, since from people\`, { type: z.string(), materialize: true }));
export const rich = feature(user, 'rich', derive({ inputs: { balance, city }, compute: ({ balance, city }) => (balance ?? 0) > 50 && city === 'Rome' }));
export const asked = feature(user, 'asked', derive({ inputs: { balance }, compute: async ({ balance }) => balance }));
`;
const T0 = Date.parse('2025-01-15T12:00:00Z');
const MIN = 60_000;
let dir: string;
let project: TestProject;
let compiled: Compiled;
const line = (id: string, type: string, minute: number, amount: number) => ({
  bytes: Buffer.from(JSON.stringify({ id, ts: new Date(T0 + minute * MIN).toISOString(), type, user_id: 'u1', amount })),
});

beforeAll(async () => {
  dir = newDir('explain-kinds');
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  writeFileSync(join(dir, 'people.csv'), `user_id,city,since\nu1,Oslo,2025-01-01T00:00:00Z\nu1,Rome,2025-01-10T00:00:00Z\n`);
  compiled = await compileAt(dir);
  project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const log = [
    line('a', 'credit', -30, 100),
    line('b', 'debit', -20, 19.5),
    line('b', 'debit', -20, 19.5), // duplicate
    line('huge', 'credit', -18, 5000), // a state that does not fit
    line('c', 'debit', -25, 0.5), // out of order
    line('big', 'debit', -10, 200), // its handler fails
    line('late', 'debit', -60, 1),
    line('t', 'credit', 0, 7), // at T
  ];
  await project.bus.append('bank', log, T0 + 86_400_000 * 30);
  await runWorker(project, compiled, { untilIdle: true, signal: new AbortController().signal });
});
afterAll(() => project.close());

const ask = (feature: string, at = T0) => explain(project, compiled, { feature, row: { user_id: 'u1' }, at });

describe('explain', () => {
  it('a fold: the events in order with the state after each, and why the others changed nothing', async () => {
    const x = await ask('user.balance');
    expect(x).toMatchObject({ kind: 'fold', what: 'fold of credit, debit', same: true, recountSame: true, comparable: true, online: { value: -120, ts: T0 - 10 * MIN } });
    expect(x.steps.map(s => [s.event.id, s.state, s.event.columns.amount])).toEqual([
      ['a', 100, '100'],
      ['c', 99.5, '0.5'],
      ['b', 80, '19.5'],
      ['huge', 80, '5000'],
      ['big', -120, '200'],
    ]);
    expect(x.steps[3]!.event.note).toContain('does not fit');
    expect(x.dropped.map(e => [e.id, e.note])).toEqual([
      ['late', 'late: more than 10m behind the newest event when it came'],
      ['b', 'duplicate of offset 1'],
      ['t', 'at T: a value sees only what was before'],
    ]);
  });

  it('a handler: what it recorded with its events, and what it gave up', async () => {
    const x = await ask('user.told');
    expect(x).toMatchObject({ kind: 'on', recount: null, comparable: false, online: { value: 'spent 19.5' }, offline: { value: 'spent 19.5' } });
    expect(x.rows.map(r => [r.value, r.ts, r.counts])).toEqual([
      ['spent 0.5', T0 - 25 * MIN, false],
      ['spent 19.5', T0 - 20 * MIN, true],
    ]);
    expect(x.rows[1]!.note).toMatch(/^turn \d+, event b$/);
    expect(x.turns).toMatchObject({ waiting: [], dead: [{ event_id: 'big', event_type: 'debit', attempts: 1, reason: expect.stringContaining('too much to tell of') }] });
  });

  it('pushed rows: versions, which one counts at T, which come later', async () => {
    const table = compileUnits(compiled.registry).tables.get('user.segment')!;
    const put = (minute: number, value: string) => {
      const ts = T0 + minute * MIN;
      return { table, key: joinKey(['u1']), row: { eff: ts, ts, created: null, text: JSON.stringify([value]), gone: false } };
    };
    await project.online.putRows([put(-5, 'silver'), put(5, 'gold'), put(-50, 'none')], { record: true });
    const x = await ask('user.segment');
    expect(x).toMatchObject({ kind: 'table', what: 'rows pushed from outside', online: { value: 'silver' }, offline: { value: 'silver' }, same: true });
    expect(x.rows.map(r => [r.value, r.counts, r.note])).toEqual([
      ['none', false, 'older; pushed'],
      ['silver', true, 'pushed'],
      ['gold', false, 'after T; pushed'],
    ]);
  });

  it('rows of SQL: not run yet, then the versions with their run; the text names both', { timeout: 60_000 }, async () => {
    expect(await ask('user.city')).toMatchObject({ online: { status: 'DEFAULTED', reason: 'not_materialized' }, rows: [], comparable: false });
    const ran = await fabra(['materialize', '--from', '2024-12-01T00:00:00Z'], { cwd: dir });
    expect(ran.code, ran.stderr).toBe(0);
    const x = await ask('user.city');
    expect(x.rows.map(r => [r.value, r.counts])).toEqual([
      ['Oslo', false],
      ['Rome', true],
    ]);
    expect(x.rows[1]!.note).toMatch(/^run \d+$/);
    expect(x).toMatchObject({ what: 'SQL over people, materialized by hand', online: { value: 'Rome' }, offline: { value: 'Rome' } });
    const text = await fabra(['explain', 'user', 'u1', 'city', '--at', '2025-01-15T12:00:00Z'], { cwd: dir });
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(/\* {2}2025-01-10T00:00:00.000Z {2}Rome {2}run \d+/);
    const fold = await fabra(['explain', 'user', 'u1', 'balance', '--at', '2025-01-15T12:00:00Z'], { cwd: dir });
    expect(fold.stdout).toContain('recount: same');
    expect(fold.stdout).toMatch(/c {4,}debit +-> 99\.5/);
    expect(fold.stdout.split('\n').filter(l => l.length > 80)).toEqual([]);
    const on = (await fabra(['explain', 'user', 'u1', 'told', '--at', '2025-01-15T12:00:00Z', '--json'], { cwd: dir })).json();
    expect(on).toMatchObject({
      recount: null,
      comparable: false,
      turns: { dead: [{ event_id: 'big', ts: '2025-01-15T11:50:00.000Z' }] },
      steps: [],
      rows: [{}, { value: 'spent 19.5' }],
    });
  });

  it('derived: sync code over rows is computed on both sides; async code by the reader alone', async () => {
    const x = await ask('user.rich');
    expect(x).toMatchObject({ online: { value: false }, offline: { value: false }, same: true, comparable: false, inputs: { balance: { kind: 'fold' }, city: { kind: 'table' } } });
    expect(await ask('user.asked')).toMatchObject({ online: { value: -120 }, offline: null, offlineNote: expect.stringContaining('async'), recount: null });
  });
});
