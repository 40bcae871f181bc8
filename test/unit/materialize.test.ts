/** Materializing views: from their source to the online store, by hand and on a schedule. */
import { getEventListeners } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { compileUnits } from '../../src/engine/units.ts';
import { rowCell } from '../../src/engine/cells.ts';
import { entity, feature, pushed, query, source, sql } from '../../src/index.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import type { TableFeaturePlan } from '../../src/registry/types.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { type MaterializeOptions, materialize, type ViewSummary } from '../../src/runtime/materializer.ts';
import { ServerMetrics } from '../../src/runtime/metrics.ts';
import type { Compiled, Project } from '../../src/runtime/project.ts';
import { runSchedule } from '../../src/runtime/schedule.ts';
import { openTables } from '../../src/stores/tables/open.ts';
import { cleanUp, newDir, openTestProject, type TestProject } from '../support/project.ts';

const HOUR = 3_600_000;
const NOON = Date.parse('2024-01-10T12:00:00Z');

afterAll(cleanUp);

/** Time that only tests move: a sleep lasts until it is passed. */
class HandClock implements Clock {
  private t: number;
  private readonly sleeping = new Set<() => void>();

  constructor(t: number) {
    this.t = t;
  }
  now(): number {
    return this.t;
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const until = this.t + ms;
    return new Promise(resolve => {
      const look = () => {
        if (this.t < until && !signal?.aborted) return;
        this.sleeping.delete(look);
        resolve();
      };
      this.sleeping.add(look);
      signal?.addEventListener('abort', look, { once: true });
      look();
    });
  }
  pass(ms: number): void {
    this.t += ms;
    for (const look of [...this.sleeping]) look();
  }
}

const user = entity('user', { key: 'user_id', ttl: '2h' });

async function start(defs: Record<string, unknown>, files: Record<string, string> = {}) {
  const dir = newDir('materialize');
  const put = (name: string, lines: string) => writeFileSync(join(dir, name), lines);
  for (const [name, lines] of Object.entries(files)) put(name, lines);
  const opened = await openTestProject(dir);
  const clock = new HandClock(NOON);
  const tables = openTables({ env: opened.env, dir: join(dir, '.fabra', 'offline'), project: dir, clock, threads: 1 });
  const project: TestProject & { clock: HandClock } = { ...opened, clock, tables };
  const compiled = compileDefinitions(defs) as unknown as Compiled;
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const run = async (options: Partial<MaterializeOptions> = {}): Promise<ViewSummary> =>
    (await materialize(project, compiled, { signal: new AbortController().signal, ...options }))[0]!;
  const value = async (name: string, key: string, at = clock.now()) => {
    const f = compiled.registry.features[`user.${name}`] as TableFeaturePlan;
    const table = compileUnits(compiled.registry).tables.get(f.view)!;
    const { tables: answers } = await project.online.read([], { folds: [], tables: [{ table, key, at }] });
    return answers[0]!.ready ? rowCell(f, answers[0]!.row, at) : 'not ready';
  };
  return { dir, put, project, compiled, clock, run, value, close: () => tables.close().then(() => opened.close()) };
}
const present = (v: unknown, ts: number) => ({ value: v, status: 'PRESENT', ts });

const D = source('d', { file: 'd.csv', time: 'seen', created: 'made' });
const X = { x: feature(user, 'x', query(D, sql`select user_id, seen, made, x from d`, { type: z.int(), materialize: true })) };
const TABLE = `user_id,seen,made,x
1,2024-01-10 10:00:00,2024-01-10 10:00:00,10
1,2024-01-10 10:00:00,2024-01-10 11:00:00,11
1,2024-01-10 12:00:00,2024-01-10 12:00:00,12
1,2024-01-10 12:00:00.001,,99
2,2024-01-10 10:30:00,,20
`;

describe('materialize', () => {
  it('P44: both ends of the window are in it; T36, P48: the same window twice is the same store', async () => {
    const s = await start(X, { 'd.csv': TABLE });
    expect(await s.value('x', '1')).toBe('not ready');
    expect(await s.run({ from: NOON - 2 * HOUR, to: NOON })).toMatchObject({ status: 'ok', read: 4, rows: 4, changed: 2 });
    expect(await s.value('x', '1', NOON)).toEqual(present(12, NOON));
    expect(await s.value('x', '1', NOON - 1)).toEqual(present(11, NOON - 2 * HOUR));
    s.clock.pass(1);
    expect(await s.run({ from: NOON - 2 * HOUR, to: NOON })).toMatchObject({ status: 'ok', rows: 0, changed: 0, gone: 0 });
    expect(await s.value('x', '1', NOON)).toEqual(present(12, NOON));
    await s.close();
  });

  it('P45: a window, then incremental to now; the intervals are those', async () => {
    const t = (h: number) => new Date(NOON - h * HOUR).toISOString();
    const s = await start(X, { 'd.csv': `user_id,seen,made,x\n1,${t(4)},,1\n1,${t(3)},,3\n2,${t(0)},,\n3,${t(4)},,4\n3,${t(1)},,5\n` });
    const split = NOON - HOUR - 1_000;
    await s.run({ from: NOON - 5 * HOUR, to: split });
    const at = async (key: string) => s.value('x', key, NOON).then(c => (c as { value: unknown; ts: unknown }).value);
    expect([await at('1'), await at('2'), await at('3')]).toEqual([null, null, null]);
    expect(await s.value('x', '1', NOON - 2 * HOUR)).toEqual(present(3, NOON - 3 * HOUR));
    expect(await s.value('x', '3', NOON - 2 * HOUR)).toEqual(present(4, NOON - 4 * HOUR));
    expect(await s.run({ incremental: true })).toMatchObject({ from: split, to: NOON, rows: 2 });
    expect(await s.value('x', '3', NOON)).toEqual(present(5, NOON - HOUR));
    expect(await s.value('x', '2', NOON)).toEqual({ value: null, status: 'NULL_VALUE', ts: NOON });
    const runs = await s.project.tables.runs('user.x', 10);
    expect(runs.map(r => [r.from, r.to])).toEqual([
      [split, NOON],
      [NOON - 5 * HOUR, split],
    ]);
    await s.close();
  });

  it('a window gives rows without a time column no time of the past, nor one to come', async () => {
    const flat = source('f', { file: 'f.csv' });
    const s = await start({ y: feature(user, 'y', query(flat, sql`select user_id, y from f`, { type: z.int(), materialize: true })) }, { 'f.csv': 'user_id,y\n1,5\n' });
    expect(await s.run({ from: NOON - 2 * HOUR, to: NOON - HOUR })).toMatchObject({ status: 'ok', from: null, to: NOON, rows: 1 });
    expect(await s.value('y', '1', NOON - 1)).toEqual({ value: null, status: 'NOT_FOUND', ts: null });
    expect(await s.value('y', '1')).toEqual(present(5, NOON));
    s.clock.pass(1_000);
    s.put('f.csv', 'user_id,y\n1,6\n');
    expect(await s.run({ to: NOON + HOUR })).toMatchObject({ to: NOON + 1_000 });
    expect(await s.value('y', '1')).toEqual(present(6, NOON + 1_000));
    await s.close();
  });

  it('P46: incremental without history goes back by the ttl, by a year when it is 0, and asks when there is none', async () => {
    const of = (ttl: string | undefined) => ({
      x: feature(
        entity('user', { key: 'user_id', ...(ttl !== undefined && { ttl: ttl as '1h' }) }),
        'x',
        query(D, sql`select user_id, seen, made, x from d`, { type: z.int(), materialize: true }),
      ),
    });
    const from = async (ttl: string | undefined) => {
      const s = await start(of(ttl), { 'd.csv': TABLE });
      const summary = await s.run({ incremental: true });
      await s.close();
      return summary.error ?? summary.from;
    };
    expect(await from('2h')).toBe(NOON - 2 * HOUR);
    expect(await from('0s')).toBe(NOON - 52 * 7 * 24 * HOUR);
    expect(await from(undefined)).toMatchObject({ code: 'BAD_FLAG', hint: expect.stringContaining('--from') });
  });

  it('P47: applying an unchanged view keeps its intervals; under a new name there are none', async () => {
    const s = await start(X, { 'd.csv': TABLE });
    await s.run();
    const more = { ...X, y: feature(user, 'y', query(D, sql`select user_id, seen, made, x as y from d`, { type: z.int(), materialize: true })) };
    const next = compileDefinitions(more) as unknown as Compiled;
    await applyRegistry(s.project, next, { newVersion: false, consent: false });
    const intervals = async (view: string) => s.project.tables.intervals(next.registry.views[view]!);
    expect(await intervals('user.x')).toEqual([{ from: null, to: NOON }]);
    expect(await intervals('user.y')).toEqual([]);
    await s.close();
  });

  it('P49, P51: a late row is picked up; older rows never undo what was pushed later', async () => {
    const s = await start(X, { 'd.csv': `user_id,seen,made,x\n1,2024-01-10 10:00:00,,10\n2,2024-01-10 10:00:00,,20\n` });
    await s.run();
    const table = compileUnits(s.compiled.registry).tables.get('user.x')!;
    await s.project.online.putRows([{ table, key: '1', row: { eff: NOON, ts: NOON, created: null, text: '[77]', gone: false } }], { record: true });
    s.put('d.csv', `user_id,seen,made,x\n1,2024-01-10 10:00:00,,10\n1,2024-01-10 11:00:00,,11\n2,2024-01-10 10:00:00,,20\n2,2024-01-10 11:00:00,,21\n`);
    expect(await s.run({ incremental: true })).toMatchObject({ rows: 2, changed: 1 });
    expect(await s.value('x', '1', NOON)).toEqual(present(77, NOON));
    expect(await s.value('x', '2', NOON)).toEqual(present(21, NOON - HOUR));
    await s.close();
  });

  it('T28, T32, T33, T34, P55: booleans, six runs, integer keys, no NaN, a newer null', async () => {
    const src = source('d', { file: 'd.csv', time: 'seen' });
    const text = sql`select k as user_id, seen, ok, cast(score as double) as score from d`;
    const defs = {
      ok: feature(user, 'ok', query(src, text, { type: z.boolean(), materialize: true })),
      score: feature(user, 'score', query(src, text, { type: z.number(), materialize: true })),
    };
    const s = await start(defs, { 'd.csv': 'k,seen,ok,score\n1.0,2024-01-10 11:00:00,true,0.5\n2.0,2024-01-10 11:00:00,false,nan\n' });
    for (let i = 0; i < 6; i++) expect((await s.run()).status).toBe('ok');
    expect(await s.value('ok', '1')).toEqual(present(true, NOON - HOUR));
    expect(await s.value('ok', '2')).toEqual(present(false, NOON - HOUR));
    expect(await s.value('score', '1')).toEqual(present(0.5, NOON - HOUR));
    expect(await s.value('score', '2')).toMatchObject({ value: null, status: 'NULL_VALUE' });
    expect(await s.value('ok', '1.0')).toMatchObject({ status: 'NOT_FOUND' });
    s.put('d.csv', 'k,seen,ok,score\n1,2024-01-10 11:30:00,,\n2,2024-01-10 11:00:00,false,inf\n2,2024-01-10 10:00:00,false,1.5\n');
    s.clock.pass(1);
    expect(await s.run()).toMatchObject({ status: 'ok', rows: 2 });
    expect(await s.value('ok', '1')).toEqual({ value: null, status: 'NULL_VALUE', ts: NOON - HOUR / 2 });
    await s.close();
  });

  it('P17-P19: equal times: created decides, then the bytes of the row, whatever their order', async () => {
    const s = await start(X, { 'd.csv': TABLE });
    const lines = Array.from({ length: 60 }, (_, i) => `1,2024-01-10 10:00:00,2024-01-10 10:${String(i).padStart(2, '0')}:00,${i}`).sort((a, b) =>
      a.slice(-3) < b.slice(-3) ? -1 : 1,
    );
    s.put('d.csv', `user_id,seen,made,x\n${lines.join('\n')}\n2,2024-01-10 10:00:00,,11\n2,2024-01-10 10:00:00,,10\n3,2024-01-10 10:00:00,,10\n3,2024-01-10 10:00:00,,11\n`);
    await s.run();
    expect(await s.value('x', '1')).toMatchObject({ value: 59 });
    expect(await s.value('x', '2')).toMatchObject({ value: 11 });
    expect(await s.value('x', '3')).toMatchObject({ value: 11 });
    await s.close();
  });

  it('T35: a key that left the source is not found, and is there again when it returns', async () => {
    const s = await start(X, { 'd.csv': TABLE });
    await s.run();
    const [head, ...rows] = TABLE.trim().split('\n');
    s.put('d.csv', `${[head, ...rows.filter(r => !r.startsWith('2'))].join('\n')}\n`);
    s.clock.pass(1_000);
    expect(await s.run()).toMatchObject({ gone: 1 });
    expect(await s.value('x', '2')).toMatchObject({ status: 'NOT_FOUND' });
    expect(await s.value('x', '2', NOON)).toMatchObject({ value: 20 });
    s.put('d.csv', TABLE);
    s.clock.pass(1_000);
    await s.run();
    expect(await s.value('x', '2')).toEqual(present(20, NOON - 1.5 * HOUR));
    await s.close();
  });

  it('P60: a view that is removed leaves the others alone; back again it has nothing, until it runs', async () => {
    const other = { y: feature(user, 'y', query(D, sql`select user_id, seen, made, x as y from d`, { type: z.int(), materialize: true })) };
    const s = await start({ ...X, ...other }, { 'd.csv': TABLE });
    await s.run();
    await s.run({ views: ['user.y'] });
    const apply = (defs: Record<string, unknown>) => applyRegistry(s.project, compileDefinitions(defs) as unknown as Compiled, { newVersion: false, consent: true });
    await apply(X);
    expect(await s.value('x', '1', NOON)).toEqual(present(12, NOON));
    await apply({ ...X, ...other });
    expect(await s.value('y', '1', NOON)).toBe('not ready');
    expect(await s.run({ views: ['user.y'] })).toMatchObject({ rows: 4 });
    expect(await s.value('y', '1', NOON)).toEqual(present(12, NOON));
    await s.close();
  });

  it('P35: values of an entity without key are the same for all: the newest counts', async () => {
    const everyone = entity('user', { key: [] });
    const src = source('rates', { file: 'd.csv', time: 'seen', fieldMapping: { when: 'seen' } });
    const text = sql`select seen, x from rates`;
    const s = await start(
      { x: feature(everyone, 'x', query(src, text, { type: z.int(), materialize: true })) },
      { 'd.csv': 'when,x\n2024-01-10 10:00:00,1\n2024-01-10 11:00:00,2\n' },
    );
    expect(await s.run()).toMatchObject({ status: 'ok', rows: 2 });
    expect(await s.value('x', '')).toEqual(present(2, NOON - HOUR));
    s.put('d.csv', 'when,x\n2024-01-10 10:00:00,1\n2024-01-10 11:00:00,2\n2024-01-10 11:30:00,3\n');
    expect(await s.run({ incremental: true, from: NOON - HOUR })).toMatchObject({ rows: 1, changed: 1 });
    expect(await s.value('x', '')).toMatchObject({ value: 3 });
    const found = await s.project.tables.lookup(s.compiled.registry.views['user.x']!, s.compiled, [[]], NOON - HOUR, new AbortController().signal);
    expect(found.map(r => r?.text)).toEqual(['[2]']);
    s.put('d.csv', 'when,x\n');
    s.clock.pass(1);
    expect(await s.run()).toMatchObject({ gone: 1 });
    await s.close();
  });

  it('T37: a failing query leaves the last good values and says so', async () => {
    const s = await start(X, { 'd.csv': TABLE });
    await s.run();
    s.put('d.csv', TABLE.replace(',x\n', ',y\n'));
    const failed = await s.run();
    expect(failed).toMatchObject({ status: 'failed', error: { code: 'BAD_QUERY' } });
    expect(await s.value('x', '1', NOON)).toEqual(present(12, NOON));
    expect((await s.project.tables.runs('user.x', 1))[0]).toMatchObject({ status: 'failed', error: failed.error!.message });
    const metrics = await new ServerMetrics(s.project, s.compiled.registry).text();
    expect(metrics).toContain('fabra_materialize_runs_total{view="user.x",status="failed"} 1');
    expect(metrics).toContain('fabra_materialize_runs_total{view="user.x",status="ok"} 1');
    s.put('d.csv', TABLE);
    expect(await s.run()).toMatchObject({ status: 'ok', rows: 0 });
    await s.close();
  });

  it('P56: a source without rows changes nothing', async () => {
    const s = await start(X, { 'd.csv': 'user_id,seen,made,x\n' });
    expect(await s.run()).toMatchObject({ status: 'ok', read: 0, rows: 0, changed: 0 });
    expect(await s.value('x', '1')).toMatchObject({ status: 'NOT_FOUND' });
    await s.close();
  });

  it('apply asks the source: a column that does not fit stops it', async () => {
    const s = await start(X, { 'd.csv': TABLE });
    const wrong = compileDefinitions({ ...X, z: feature(user, 'z', query(D, sql`select user_id, seen, made, x as z from d`, { type: z.boolean() })) }) as unknown as Compiled;
    await expect(applyRegistry(s.project, wrong, { newVersion: false, consent: false })).rejects.toMatchObject({
      code: 'BAD_QUERY',
      message: expect.stringContaining("'z' is BIGINT, wanted boolean"),
    });
    expect((await s.project.catalog.applied())!.registry.features['user.z']).toBeUndefined();
    await s.close();
  });

  it('a run leaves nothing on the signal of the worker that started it', async () => {
    const s = await start(
      { x: feature(user, 'x', query(source('xs', { file: 'xs.csv' }), sql`select user_id, x from xs`, { type: z.int(), materialize: true })) },
      { 'xs.csv': 'user_id,x\n1,5\n' },
    );
    const { signal } = new AbortController();
    for (let i = 0; i < 3; i++) expect(await s.run({ signal })).toMatchObject({ status: 'ok' });
    // What Node keeps of signals made of this one; it is never taken out again.
    const made = Object.getOwnPropertySymbols(signal).find(k => String(k).includes('DependantSignals'));
    expect(made === undefined ? 0 : ((signal as unknown as Record<symbol, { size: number } | undefined>)[made]?.size ?? 0)).toBe(0);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    await s.close();
  });

  it('a job that another process took over is FENCED and changes nothing online', async () => {
    const s = await start(X, { 'd.csv': TABLE });
    const { online } = s.project;
    const stolen: Project = {
      ...s.project,
      online: Object.assign(Object.create(online) as typeof online, {
        jobLease: async (name: string, ttl: number) => {
          const job = await online.jobLease(name, ttl);
          await job.release();
          await online.jobLease(name, ttl);
          return job;
        },
      }),
    };
    const [summary] = await materialize(stolen, s.compiled, { signal: new AbortController().signal });
    expect(summary).toMatchObject({ status: 'failed', error: { code: 'FENCED' } });
    expect(await s.value('x', '1')).toBe('not ready');
    expect(await s.run()).toMatchObject({ status: 'busy' });
    await s.close();
  });
});

describe('the schedule', () => {
  const EVERY = {
    x: feature(user, 'x', query(D, sql`select user_id, seen, made, x from d`, { type: z.int(), materialize: true, every: '5m' })),
    bad: feature(user, 'bad', query(source('b', { file: 'b.csv' }), sql`select user_id, bad from b`, { type: z.int(), materialize: true, every: '7m' })),
    hand: feature(user, 'hand', query(D, sql`select user_id, seen, made, x as hand from d`, { type: z.int(), materialize: true })),
    segment: feature(user, 'segment', pushed(z.string())),
  };

  it('runs what is due at start and then as often as it says; a failing view does not stop the others; pushed rows reach files', async () => {
    const s = await start(EVERY, { 'd.csv': TABLE, 'b.csv': 'user_id,bad\n1,1\n' });
    s.put('b.csv', 'user_id,other\n1,1\n');
    const segment = compileUnits(s.compiled.registry).tables.get('user.segment')!;
    await s.project.online.putRows([{ table: segment, key: '1', row: { eff: NOON, ts: NOON, created: null, text: '["a"]', gone: false } }], { record: true });
    const stop = new AbortController();
    const seen: string[] = [];
    let wake = () => {};
    const happens = async (n: number) => {
      for (const end = Date.now() + 20_000; seen.length < n; ) {
        if (Date.now() > end) throw new Error(`only ${seen.join(' ')}`);
        await new Promise<void>(resolve => {
          wake = resolve;
          setTimeout(resolve, 100);
        });
      }
    };
    const note = (text: string) => {
      seen.push(text);
      wake();
    };
    const done = runSchedule(s.project, s.compiled, { signal: stop.signal, onRun: r => r.status === 'ok' && note(r.view), onError: (e, v) => note(`${v} ${e.code}`) });
    await happens(2);
    expect(seen.sort()).toEqual(['user.bad BAD_QUERY', 'user.x']);
    await new Promise(resolve => setTimeout(resolve, 20));
    s.clock.pass(5 * 60_000);
    await happens(3);
    expect(seen[2]).toBe('user.x');
    stop.abort();
    await done;
    expect(await s.project.online.outbox(0, 10)).toEqual([]);
    expect(await s.project.tables.runs('user.hand', 1)).toEqual([]);
    await s.close();
  });
});
