/** What every table store must do. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { compareRows, compileUnits, type TableRow, type TableUnit } from '../../src/engine/units.ts';
import { entity, feature, pushed, query, source, sql } from '../../src/index.ts';
import type { JobLease, OnlineStore } from '../../src/ports/online-store.ts';
import type { RunOptions, TableStore, ViewRun } from '../../src/ports/table-store.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import type { ViewPlan } from '../../src/registry/types.ts';

const HOUR = 3_600_000;
const NOON = Date.parse('2024-01-10T12:00:00Z');

export interface TablesUnderTest {
  tables: TableStore;
  other(): Promise<TableStore>;
  /** Gives the jobs' locks and the outbox. */
  online: OnlineStore;
  /** Folder that sources' paths are relative to. */
  project: string;
  /** Moves the store's clock to here. */
  at(now: number): void;
  /** All recorded rows of a table, as a query engine sees them. */
  recorded(table: ViewPlan | TableUnit, code: ReturnType<typeof compileDefinitions>): Promise<(TableRow & { key: string })[]>;
  close(): Promise<void>;
}

const user = entity('user', { key: 'user_id' });
const timed = source('ratings', { file: 'ratings.csv', time: 'seen', created: 'made' });
const timeless = source('levels', { file: 'levels.csv' });
const DEFS = {
  rating: feature(
    user,
    'rating',
    query(timed, sql`select user_id, seen, made, x as rating from ratings where x is null or x > ${-5}`, { type: z.int().max(100), materialize: true }),
  ),
  level: feature(user, 'level', query(timeless, sql`select user_id, level from levels`, { type: z.string(), materialize: true })),
  live: feature(user, 'live', query(timed, sql`select user_id, seen, made, x as live from ratings`, { type: z.int() })),
  segment: feature(user, 'segment', pushed(z.string())),
};
const COMPILED = compileDefinitions(DEFS);
const view = (name: string): ViewPlan => COMPILED.registry.views[`user.${name}`]!;
const unit = (name: string): TableUnit => compileUnits(COMPILED.registry).tables.get(`user.${name}`)!;

const row = (eff: number, text: string, more: Partial<TableRow> = {}): TableRow => ({ eff, ts: eff, created: null, text, gone: false, ...more });

export function tableStoreConformance(name: string, makeStore: () => Promise<TablesUnderTest>): void {
  describe(`${name} as a table store`, () => {
    const open: TablesUnderTest[] = [];
    afterEach(async () => {
      for (const t of open.splice(0)) await t.close();
    });

    async function start() {
      const s = await makeStore();
      open.push(s);
      await s.online.adopt([], { folds: [], triggers: [], tables: [...compileUnits(COMPILED.registry).tables.values()] });
      s.at(NOON);
      const put = (file: string, lines: string[]) => writeFileSync(join(s.project, file), `${lines.join('\n')}\n`);
      const ratings = (...lines: string[]) => put('ratings.csv', ['user_id,seen,made,x', ...lines]);
      const levels = (...lines: string[]) => put('levels.csv', ['user_id,level', ...lines]);
      ratings();
      levels();
      return { ...s, ratings, levels };
    }
    type Started = Awaited<ReturnType<typeof start>>;

    const noSignal = new AbortController().signal;
    async function withJob<T>(s: Started, action: (job: JobLease) => Promise<T>): Promise<T> {
      const job = await s.online.jobLease('view:x', 60_000);
      try {
        return await action(job);
      } finally {
        await job.release();
      }
    }
    const rowsOf = async (s: Started, run: ViewRun, after = 0) => {
      const out: (TableRow & { key: string })[] = [];
      for await (const some of s.tables.rowsOf(run, view(run.view.slice(5)), COMPILED, after)) for (const r of some) out.push({ key: r.key, ...r.row });
      return out;
    };
    /** A run to its end; its rows in order of key and time. */
    const run = (s: Started, name: string, options: Partial<RunOptions> = {}) =>
      withJob(s, async job => {
        const made = await s.tables.run(view(name), COMPILED, { from: null, to: NOON, incremental: false, ...options }, job, noSignal);
        const rows = await rowsOf(s, made);
        await s.tables.finished(made, job);
        return { run: made, rows: rows.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : compareRows(a, b))) };
      });

    it('records rows of a window with both ends in it, and each row once', async () => {
      const s = await start();
      s.ratings('1,2024-01-10 10:00:00,2024-01-10 10:00:00,10', '1,2024-01-10 12:00:00,,12', '1,2024-01-10 12:00:00.001,,99', '2,2024-01-10 09:59:59.999,,5');
      const first = await run(s, 'rating', { from: NOON - 2 * HOUR });
      expect(first.rows).toEqual([
        { key: '1', ...row(NOON - 2 * HOUR, '[10]', { created: NOON - 2 * HOUR }) },
        { key: '1', ...row(NOON, '[12]') },
      ]);
      expect(first.run).toMatchObject({ read: 2, rows: 2, gone: 0, status: 'recorded' });
      const again = await run(s, 'rating', { from: NOON - 2 * HOUR });
      expect(again.rows).toEqual([]);
      expect(await s.tables.intervals(view('rating'))).toEqual([{ from: NOON - 2 * HOUR, to: NOON }]);
      expect((await s.tables.runs('user.rating', 10)).map(r => [r.id, r.status])).toEqual([
        [2, 'online'],
        [1, 'online'],
      ]);
    });

    it('an incremental run picks up a row that arrives late inside what was covered', async () => {
      const s = await start();
      s.ratings('1,2024-01-10 12:00:00,,12');
      await run(s, 'rating', { from: NOON - 5 * HOUR });
      s.ratings('1,2024-01-10 12:00:00,,12', '1,2024-01-10 11:00:00,,11', '2,2024-01-10 12:30:00,,7', '3,2024-01-10 06:59:59.999,,1');
      s.at(NOON + HOUR);
      const next = await run(s, 'rating', { from: NOON, to: NOON + HOUR, incremental: true });
      expect(next.rows.map(r => [r.key, r.ts, r.text])).toEqual([
        ['1', NOON - HOUR, '[11]'],
        ['2', NOON + HOUR / 2, '[7]'],
      ]);
      expect(await s.tables.intervals(view('rating'))).toEqual([{ from: NOON - 5 * HOUR, to: NOON + HOUR }]);
    });

    it('a key that is gone gets a row that says so, once; one that comes back counts again', async () => {
      const s = await start();
      s.ratings('1,2024-01-10 10:00:00,,1', '2,2024-01-10 10:00:00,,2');
      await run(s, 'rating');
      s.ratings('1,2024-01-10 10:00:00,,1');
      s.at(NOON + HOUR);
      expect((await run(s, 'rating', { to: NOON + HOUR, incremental: true })).rows).toEqual([]);
      const gone = await run(s, 'rating', { to: NOON + HOUR });
      expect(gone.run).toMatchObject({ rows: 0, gone: 1 });
      expect(gone.rows).toEqual([{ key: '2', ...row(NOON + HOUR, '', { gone: true }) }]);
      s.at(NOON + 2 * HOUR);
      expect((await run(s, 'rating', { to: NOON + 2 * HOUR })).rows).toEqual([]);
      s.ratings('1,2024-01-10 10:00:00,,1', '2,2024-01-10 10:00:00,,2');
      const back = await run(s, 'rating', { to: NOON + 2 * HOUR });
      expect(back.rows).toEqual([{ key: '2', ...row(NOON + 2 * HOUR, '[2]', { ts: NOON - 2 * HOUR }) }]);
      s.at(NOON + 3 * HOUR);
      expect((await run(s, 'rating', { to: NOON + 3 * HOUR })).rows).toEqual([]);
      expect(await s.recorded(view('rating'), COMPILED)).toHaveLength(4);
    });

    it('a key whose newest row was pushed is not gone', async () => {
      const s = await start();
      s.ratings('1,2024-01-10 10:00:00,,1');
      await run(s, 'rating');
      await s.tables.append([{ table: unit('rating'), key: '1', row: row(NOON - HOUR, '[50]') }]);
      s.ratings('2,2024-01-10 10:00:00,,1');
      expect((await run(s, 'rating')).rows.map(r => r.key)).toEqual(['2']);
    });

    it('without a time column rows have the time of the run; an unchanged result counts again under the next', async () => {
      const s = await start();
      s.levels('1,a', '2,b');
      const first = await run(s, 'level');
      expect(first.rows).toEqual([
        { key: '1', ...row(NOON, '["a"]') },
        { key: '2', ...row(NOON, '["b"]') },
      ]);
      s.at(NOON + HOUR);
      const second = await run(s, 'level', { to: NOON + HOUR });
      expect(second.rows).toEqual(first.rows.map(r => ({ ...r, eff: NOON + HOUR, ts: NOON + HOUR })));
      s.levels('1,c');
      s.at(NOON + 2 * HOUR);
      const third = await run(s, 'level', { to: NOON + 2 * HOUR });
      expect(third.rows).toEqual([
        { key: '1', ...row(NOON + 2 * HOUR, '["c"]') },
        { key: '2', ...row(NOON + 2 * HOUR, '', { gone: true }) },
      ]);
      expect(await s.recorded(view('level'), COMPILED)).toHaveLength(6);
    });

    it('a run that is not online yet is given again, and goes on behind what was put', async () => {
      const s = await start();
      s.ratings(...Array.from({ length: 5_000 }, (_, i) => `u${i},2024-01-10 10:00:00,,${i % 100}`));
      const options = { from: null, to: NOON, incremental: false };
      const stopped = await withJob(s, async job => {
        const r = await s.tables.run(view('rating'), COMPILED, options, job, noSignal);
        await s.tables.advance(r, 4_321, job);
        return r;
      });
      s.ratings('other,2024-01-10 10:00:00,,1');
      await withJob(s, async job => {
        const again = await (await s.other()).run(view('rating'), COMPILED, options, job, noSignal);
        expect(again).toMatchObject({ id: stopped.id, put: 4_321, rows: 5_000 });
        const all = await rowsOf(s, stopped);
        expect(await rowsOf(s, again, again.put)).toEqual(all.slice(4_321));
        await s.tables.finished(again, job);
      });
      expect((await run(s, 'rating')).run).toMatchObject({ rows: 1, gone: 5_000 });
    });

    it('a value that does not fit, a row without time, a lost job: the run changes nothing', async () => {
      const s = await start();
      s.ratings('1,2024-01-10 10:00:00,,1');
      await run(s, 'rating');
      s.ratings('1,2024-01-10 10:00:00,,1', "o'brien,2024-01-10 10:00:00,,101");
      await expect(run(s, 'rating')).rejects.toMatchObject({ code: 'BAD_VALUE', message: expect.stringMatching(/"o'brien".*101/) });
      s.ratings('1,,,1', '2,,,1', '3,2024-01-10 10:00:00,,1');
      await expect(run(s, 'rating')).rejects.toMatchObject({ code: 'BAD_VALUE', message: expect.stringContaining('2 of 3 rows') });
      s.ratings('9,2024-01-10 10:00:00,,1');
      const job = await s.online.jobLease('view:x', 60_000);
      await job.release();
      await expect(s.tables.run(view('rating'), COMPILED, { from: null, to: NOON, incremental: false }, job, noSignal)).rejects.toMatchObject({ code: 'FENCED' });
      expect(await s.recorded(unit('rating'), COMPILED)).toEqual([{ key: '1', ...row(NOON - 2 * HOUR, '[1]') }]);
      await s.tables.failed(view('rating'), { from: null, to: NOON, incremental: false }, 'the source is down', NOON);
      expect((await s.tables.runs('user.rating', 1))[0]).toMatchObject({ status: 'failed', error: 'the source is down' });
      expect(await s.tables.intervals(view('rating'))).toEqual([{ from: null, to: NOON }]);
    });

    it('rows without a whole key are left out and counted; ties keep every row', async () => {
      const s = await start();
      s.ratings(',2024-01-10 10:00:00,,1', '1,2024-01-10 10:00:00,,10', '1,2024-01-10 10:00:00,,11', '1,2024-01-10 10:00:00,,11');
      const { run: made, rows } = await run(s, 'rating');
      expect(made).toMatchObject({ skipped: 1, read: 3 });
      expect(rows.map(r => r.text)).toEqual(['[10]', '[11]']);
    });

    it('looks up the newest row at an instant, keys bound', async () => {
      const s = await start();
      const evil = "x'; drop table ratings;--";
      s.ratings('1,2024-01-10 10:00:00,2024-01-10 10:00:00,10', '1,2024-01-10 10:00:00,2024-01-10 11:00:00,11', '1,2024-01-10 12:00:00,,12', `"${evil}",2024-01-10 10:00:00,,7`);
      const look = (keys: string[], at: number) =>
        s.tables.lookup(
          view('live'),
          COMPILED,
          keys.map(k => [k]),
          at,
          noSignal,
        );
      const values = async (keys: string[], at: number) => (await look(keys, at)).map(r => r?.text ?? null);
      expect(await values(['1', evil, 'nobody', '1'], NOON)).toEqual(['[12]', '[7]', null, '[12]']);
      expect(await values(['1'], NOON - 1)).toEqual(['[11]']);
      expect(await values(['1'], NOON - 3 * HOUR)).toEqual([null]);
      s.ratings('1,2024-01-10 10:00:00,,3');
      expect(await values(['1', '01', evil], NOON)).toEqual(['[3]', null, null]);
      const stop = AbortSignal.abort();
      await expect(s.tables.lookup(view('live'), COMPILED, [['1']], NOON, stop)).rejects.toMatchObject({ code: 'INTERRUPTED' });
    });

    it('says at check which column is missing or does not fit', async () => {
      const s = await start();
      const check = (spec: ReturnType<typeof query>) => {
        const compiled = compileDefinitions({ f: feature(user, 'f', spec) });
        return s.tables.check(compiled.registry.views['user.f']!, compiled);
      };
      s.ratings('1,2024-01-10 10:00:00,,1.5');
      await expect(check(query(timed, sql`select user_id, seen, made, x from ratings`, { type: z.number() }))).resolves.toBeUndefined();
      await expect(check(query(timed, sql`select user_id, seen, made, x from ratings`, { type: z.int() }))).rejects.toMatchObject({
        code: 'BAD_QUERY',
        message: "view 'user.f': column 'x' is DOUBLE, wanted int, the type of 'user.f'",
      });
      await expect(check(query(timed, sql`select user_id as u, seen, made, x from ratings`, { type: z.number() }))).rejects.toMatchObject({
        code: 'BAD_QUERY',
        message: expect.stringContaining("key column 'user_id'"),
      });
      await expect(check(query(timed, sql`select user_id, made, x from ratings`, { type: z.number() }))).rejects.toMatchObject({
        code: 'BAD_QUERY',
        message: expect.stringContaining("time column 'seen'"),
      });
      await expect(check(query(timed, sql`select user_id, seen, made, x, x + 1 as y from ratings`, { type: z.number() }))).rejects.toMatchObject({
        code: 'BAD_QUERY',
        message: expect.stringContaining('x, y'),
      });
      await expect(check(query(timed, sql`select user_id, seen, made, z as f from ratings`, { type: z.number() }))).rejects.toMatchObject({
        code: 'BAD_QUERY',
        message: expect.stringContaining('"z"'),
      });
      await expect(check(query(source('no', { file: 'no*.csv' }), sql`select * from no`, { type: z.number() }))).rejects.toMatchObject({
        code: 'SOURCE_FAILED',
        message: expect.stringContaining('no*.csv'),
      });
    });

    it('rows recorded online go to files once, also with two flushing at once', async () => {
      const s = await start();
      const puts = Array.from({ length: 300 }, (_, i) => ({ table: unit('segment'), key: `u${i % 10}`, row: row(NOON + i, `["s${i}"]`) }));
      await s.online.putRows(puts, { record: true });
      expect(await s.recorded(unit('segment'), COMPILED)).toHaveLength(300);
      const tables = compileUnits(COMPILED.registry).tables;
      const other = await s.other();
      const moved = await Promise.all([s.tables.flush(tables), other.flush(tables)]);
      expect(moved.reduce((a, b) => a + b)).toBe(300);
      expect(await s.online.outbox(0, 10)).toEqual([]);
      for (let i = 0; i < 20; i++) {
        await s.online.putRows([{ table: unit('segment'), key: 'late', row: row(NOON + i, `["l${i}"]`) }], { record: true });
        await s.tables.flush(tables);
      }
      const all = await s.recorded(unit('segment'), COMPILED);
      expect(all).toHaveLength(320);
      expect(new Set(all.map(r => `${r.key} ${r.text}`)).size).toBe(320);
    });

    it('a process that does not know a table yet leaves its rows to history all the same', async () => {
      const s = await start();
      await s.online.putRows([{ table: unit('segment'), key: '1', row: row(NOON, '["vip"]') }], { record: true });
      // As a worker that started before the feature was applied.
      await s.tables.flush(new Map([['user.rating', unit('rating')]]));
      expect(await s.recorded(unit('segment'), COMPILED)).toEqual([{ key: '1', ...row(NOON, '["vip"]') }]);
      // One that is applied no more is dropped.
      await s.online.putRows([{ table: unit('segment'), key: '2', row: row(NOON, '["vip"]') }], { record: true });
      await s.online.adopt([], { folds: [], triggers: [], tables: [unit('rating')] });
      await s.tables.flush(new Map([['user.rating', unit('rating')]]));
      expect(await s.recorded(unit('segment'), COMPILED)).toHaveLength(1);
      expect(await s.online.outbox(0, 10)).toEqual([]);
    });

    it('a row that was pushed to history alone is found by a run, and its key can be gone', async () => {
      const s = await start();
      const ten = NOON - 2 * HOUR;
      await s.tables.append([{ table: unit('rating'), key: '1', row: row(ten, '[10]', { created: ten }) }]);
      s.ratings('1,2024-01-10 10:00:00,2024-01-10 10:00:00,10');
      expect((await run(s, 'rating')).rows).toEqual([{ key: '1', ...row(ten, '[10]', { created: ten }) }]);
      expect((await run(s, 'rating')).rows).toEqual([]);
      expect(await s.recorded(view('rating'), COMPILED)).toHaveLength(1);
      s.ratings('2,2024-01-10 10:00:00,,2');
      expect((await run(s, 'rating')).rows).toEqual([
        { key: '1', ...row(NOON, '', { gone: true }) },
        { key: '2', ...row(ten, '[2]') },
      ]);
    });

    it('remembers what runs covered, and how many there were, when it has forgotten the runs', async () => {
      const s = await start();
      s.ratings('1,2024-01-10 10:00:00,,1');
      await run(s, 'rating', { from: NOON - HOUR });
      const options = { from: null, to: NOON, incremental: true };
      for (let i = 0; i < 501; i++) await s.tables.failed(view('rating'), options, 'away', NOON);
      const runs = await s.tables.runs('user.rating', 1_000);
      expect(runs).toHaveLength(500);
      expect(runs.every(r => r.status === 'failed')).toBe(true);
      expect(await s.tables.intervals(view('rating'))).toEqual([{ from: NOON - HOUR, to: NOON }]);
      expect(await s.tables.counts('user.rating')).toEqual({ ok: 1, failed: 501 });
    });

    it('forgets tables that are no longer applied', async () => {
      const s = await start();
      s.ratings('1,2024-01-10 10:00:00,,1');
      s.levels('1,a');
      await run(s, 'rating');
      await run(s, 'level');
      await s.tables.adopt([unit('rating')]);
      expect(await s.tables.runs('user.level', 10)).toEqual([]);
      expect(await s.recorded(unit('level'), COMPILED)).toEqual([]);
      expect(await s.tables.intervals(view('rating'))).toHaveLength(1);
      expect((await run(s, 'rating')).rows).toEqual([]);
      expect((await run(s, 'level')).rows).toHaveLength(1);
    });
  });
}
