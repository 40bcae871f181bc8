/** What every online store must do with rows of tables, their way to history, and the locks of jobs. */
import { afterEach, describe, expect, it } from 'vitest';
import { compareRows, type TableRow, type TableUnit } from '../../src/engine/units.ts';
import type { OnlineStore, RowPut } from '../../src/ports/online-store.ts';
import type { StoreUnderTest } from './online-store.ts';
import { rowOf, rowsAt, T0, table } from './units.ts';

const view = table('user.profile');
const sql = table('user.orders', { materialized: true });
const handled = table('user.mail', { inclusive: false });
const tables = [view, sql, handled];
const KEEP = { record: false };

/** Numbers from a seed, the same in every run. */
function numbers(seed: number): () => number {
  let s = seed;
  return () => {
    s = (Math.imul(s, 1_664_525) + 1_013_904_223) >>> 0;
    return s / 2 ** 32;
  };
}
function shuffled<V>(list: readonly V[], seed: number): V[] {
  const next = numbers(seed);
  return list
    .map(v => [next(), v] as const)
    .sort((a, b) => a[0] - b[0])
    .map(([, v]) => v);
}

/** The row that counts, the plain way. */
const counts = (rows: readonly TableRow[], at: number, inclusive: boolean): TableRow | null =>
  rows
    .filter(r => r.eff < at || (inclusive && r.eff === at))
    .sort(compareRows)
    .at(-1) ?? null;
const put = (row: TableRow, key = 'u', of: TableUnit = view): RowPut => ({ table: of, key, row });

export function onlineRowConformance(name: string, makeStore: () => Promise<StoreUnderTest>): void {
  describe(`${name} as an online store: rows`, () => {
    const open: StoreUnderTest[] = [];
    const fresh = async (): Promise<StoreUnderTest> => {
      const made = await makeStore();
      open.push(made);
      await made.store.adopt([], { folds: [], triggers: [], tables });
      return made;
    };
    afterEach(async () => {
      for (const s of open.splice(0)) await s.close();
    });

    /** Rows with ties of all kinds, and a key that leaves and comes back. */
    const rows: TableRow[] = [
      rowOf(T0, { text: '["b"]' }),
      rowOf(T0, { text: '["\u{1f600}"]' }),
      rowOf(T0, { text: '["\uffee"]' }),
      rowOf(T0 + 10, { created: 5, text: '["z"]' }),
      rowOf(T0 + 10, { created: 7, text: '["a"]' }),
      rowOf(T0 + 10, { created: null, text: '["zz"]' }),
      rowOf(T0 + 20, { text: '["c"]' }),
      rowOf(T0 + 30, { gone: true, text: '' }),
      rowOf(T0 + 40, { ts: T0 + 20, text: '["c"]' }),
      rowOf(-5, { text: '["before 1970"]' }),
      rowOf(T0 + 50, { text: '[null]' }),
    ];
    const instants = [-6, -5, -4, ...[0, 10, 20, 30, 40, 50].flatMap(d => [T0 + d - 1, T0 + d, T0 + d + 1])];

    it('P50-P53: the newest row by event time counts, whatever order they were written in, one by one or together', async () => {
      const ways = [rows, [...rows].reverse(), shuffled(rows, 1), shuffled([...rows, ...rows], 2)];
      for (const way of ways)
        for (const size of [1, 3, 100]) {
          const { store, other } = await fresh();
          for (let at = 0; at < way.length; at += size)
            for (const of of [view, handled])
              await store.putRows(
                way.slice(at, at + size).map(r => put(r, 'u', of)),
                KEEP,
              );
          for (const of of [view, handled])
            for (const at of instants) {
              const { tables: got } = await (await other()).read([], { folds: [], tables: [{ table: of, key: 'u', at }] });
              expect(got).toEqual([{ ready: true, row: counts(rows, at, of.inclusive), floor: null }]);
            }
          expect(await rowsAt(store, view, ['u', 'nobody', ''], T0 + 35)).toEqual(['gone', null, null]);
        }
    });

    it('the same row with two times is one row with the later time, in any order', async () => {
      for (const order of [
        [0, 5],
        [5, 0],
      ]) {
        const { store } = await fresh();
        for (const d of order) await store.putRows([put(rowOf(T0 + 9, { ts: T0 + d, text: '[1]' }))], KEEP);
        const { tables: got } = await store.read([], { folds: [], tables: [{ table: view, key: 'u', at: T0 + 9 }] });
        expect(got[0]!.row!.ts).toBe(T0 + 5);
      }
    });

    it('P54: 8 writers at once with 1,000 random times each: the greatest wins, at every instant that is kept', async () => {
      const { store, other } = await fresh();
      const all: TableRow[][] = Array.from({ length: 8 }, (_, w) => {
        const next = numbers(w + 7);
        return Array.from({ length: 1_000 }, (_, i) => rowOf(T0 + Math.floor(next() * 100_000), { text: `["${w}/${i}"]`, created: i % 3 === 0 ? null : Math.floor(next() * 10) }));
      });
      await Promise.all(
        all.map(async mine => {
          const handle = await other();
          for (let at = 0; at < mine.length; at += 20) {
            await handle.putRows(
              mine.slice(at, at + 20).map(r => put(r)),
              KEEP,
            );
            await new Promise(r => setImmediate(r));
          }
        }),
      );
      const sorted = all.flat().sort(compareRows).reverse();
      const kept = sorted.slice(0, 32);
      for (const row of kept) expect(await rowsAt(store, view, ['u'], row.eff)).toEqual([counts(sorted, row.eff, true)!.text]);
      const { tables: got } = await store.read([], { folds: [], tables: [{ table: view, key: 'u', at: T0 + 200_000 }] });
      expect(got[0]).toEqual({ ready: true, row: sorted[0], floor: sorted[32]!.eff });
    });

    it('keeps the 32 newest versions of a key; older instants are said to be expired, not empty', async () => {
      for (const seed of [0, 1, 2]) {
        const { store } = await fresh();
        const many = Array.from({ length: 40 }, (_, i) => rowOf(T0 + i));
        for (const r of seed === 0 ? many : shuffled(many, seed)) await store.putRows([put(r)], KEEP);
        expect(await rowsAt(store, view, ['u'], T0 + 8)).toEqual([`[${T0 + 8}]`]);
        expect(await rowsAt(store, view, ['u'], T0 + 7)).toEqual(['expired']);
        expect(await rowsAt(store, view, ['u'], T0 - 1)).toEqual(['expired']);
        expect(await store.putRows([put(rowOf(T0 + 3, { text: '["late"]' }))], KEEP)).toBe(0);
        expect(await rowsAt(store, view, ['u'], T0 + 7)).toEqual(['expired']);
        const { tables: got } = await store.read([], { folds: [], tables: [{ table: view, key: 'u', at: T0 + 50 }] });
        expect(got[0]!.floor).toBe(T0 + 7);
        // Another key has its own.
        await store.putRows([put(rowOf(T0), 'v')], KEEP);
        expect(await rowsAt(store, view, ['v'], T0 - 1)).toEqual([null]);
      }
    });

    it('lists keys once each, page by page', async () => {
      const { store, other } = await fresh();
      const names = ['', 'a', 'a\u0000', 'aa', 'é', '\u{1f600}', 'z'.repeat(1_024), '1:a1:b', ' '];
      await store.putRows(
        names.map(key => put(rowOf(T0), key)),
        KEEP,
      );
      await store.putRows([put(rowOf(T0), 'other', handled)], KEEP);
      for (const limit of [1, 2, 100]) {
        const got: string[] = [];
        for (let after: string | null = null; ; after = got.at(-1)!) {
          const page: string[] = await (await other()).keys(view, after, limit);
          got.push(...page);
          if (page.length < limit) break;
        }
        expect([...got].sort()).toEqual([...names].sort());
      }
      expect(await store.keys(sql, null, 10)).toEqual([]);
    });

    it('says how many keys have another newest row', async () => {
      const { store } = await fresh();
      expect(await store.putRows([put(rowOf(T0), 'a'), put(rowOf(T0 + 1), 'a'), put(rowOf(T0), 'b'), put(rowOf(T0), 'a', handled)], KEEP)).toBe(3);
      expect(await store.putRows([put(rowOf(T0 - 1), 'a'), put(rowOf(T0), 'b'), put(rowOf(T0 + 5), 'c')], KEEP)).toBe(1);
      expect(await store.putRows([], KEEP)).toBe(0);
    });

    it('a materialized view answers only once a run is online; other tables always do', async () => {
      const { store, other } = await fresh();
      const reader = await other();
      expect(await rowsAt(reader, sql, ['u'], T0)).toEqual(['not ready']);
      expect(await rowsAt(reader, handled, ['u'], T0)).toEqual([null]);
      await store.putRows([put(rowOf(T0), 'u', sql)], KEEP);
      expect(await rowsAt(reader, sql, ['u'], T0)).toEqual(['not ready']);
      await store.putRows([], { ...KEEP, ready: [sql] });
      expect(await rowsAt(reader, sql, ['u', 'v'], T0)).toEqual([`[${T0}]`, null]);
      await store.adopt([], { folds: [], triggers: [], tables });
      expect(await rowsAt(reader, sql, ['u'], T0)).toEqual([`[${T0}]`]);
    });

    it('forgets tables that are gone, and starts anew with another hash', async () => {
      const { store, other } = await fresh();
      const reader = await other();
      await store.putRows([put(rowOf(T0)), put(rowOf(T0), 'u', sql)], { ...KEEP, ready: [sql] });
      expect(await rowsAt(reader, view, ['u'], T0)).toEqual([`[${T0}]`]);
      const changed = { ...sql, hash: 'h2' };
      await store.adopt([], { folds: [], triggers: [], tables: [changed] });
      expect(await rowsAt(reader, view, ['u'], T0)).toEqual([null]);
      expect(await rowsAt(reader, changed, ['u'], T0)).toEqual(['not ready']);
      await expect(store.putRows([put(rowOf(T0), 'u', changed), put(rowOf(T0))], { ...KEEP, ready: [changed] })).rejects.toMatchObject({ code: 'NOT_APPLIED' });
      expect(await rowsAt(reader, changed, ['u'], T0), 'all or nothing').toEqual(['not ready']);
      await store.adopt([], { folds: [], triggers: [], tables });
      expect(await rowsAt(reader, view, ['u'], T0)).toEqual([null]);
    });

    it('keeps recorded rows for history, in order and once', async () => {
      const { store, other } = await fresh();
      await store.putRows([put(rowOf(T0), 'unrecorded')], KEEP);
      expect(await store.outbox(0, 10)).toEqual([]);
      await store.putRows([put(rowOf(T0), 'a'), put(rowOf(T0), 'a'), put(rowOf(T0), 'unrecorded')], { record: true });
      await (await other()).putRows([put(rowOf(T0 + 1), 'b', handled), put(rowOf(T0), 'a')], { record: true });
      const rows = await store.outbox(0, 10);
      expect(rows.map(({ seq: _, ...rest }) => rest)).toEqual([put(rowOf(T0), 'a'), put(rowOf(T0 + 1), 'b', handled)]);
      expect(rows[1]!.seq).toBeGreaterThan(rows[0]!.seq);
      expect(await store.outbox(0, 1)).toEqual(rows.slice(0, 1));
      expect(await store.outbox(rows[0]!.seq, 5)).toEqual(rows.slice(1));
    });

    it('a job is one process at a time: the other one is busy, the lost one is fenced and changes nothing', async () => {
      const { store, other } = await fresh();
      const second = await other();
      const look = async (s: OnlineStore) => [await rowsAt(s, view, ['u'], T0 + 99), await s.outbox(0, 10)];
      const first = await store.jobLease('view:orders', 60_000);
      await expect(second.jobLease('view:orders', 60_000)).rejects.toMatchObject({ code: 'JOB_BUSY', exitCode: 3 });
      await (await second.jobLease('view:other', 60_000)).release();
      expect(await store.putRows([put(rowOf(T0))], { record: true, job: first })).toBe(1);
      await first.renew();
      await first.release();
      await expect(store.putRows([put(rowOf(T0 + 1))], { record: true, job: first })).rejects.toMatchObject({ code: 'FENCED' });
      // One that is not renewed runs out.
      const short = await second.jobLease('view:orders', 1);
      expect(short.epoch).toBeGreaterThan(first.epoch);
      await expect
        .poll(
          () =>
            store.jobLease('view:orders', 60_000).then(
              l => l.epoch,
              () => 0,
            ),
          { interval: 2, timeout: 10_000 },
        )
        .toBeGreaterThan(short.epoch);
      const before = await look(store);
      await expect(second.putRows([put(rowOf(T0 + 2))], { record: true, job: short, ready: [sql] })).rejects.toMatchObject({ code: 'FENCED' });
      await expect(short.renew()).rejects.toMatchObject({ code: 'FENCED' });
      await short.release();
      await expect(second.jobLease('view:orders', 60_000), 'a lost one releases nothing').rejects.toMatchObject({ code: 'JOB_BUSY' });
      expect(await look(second)).toEqual(before);
      expect(await rowsAt(store, sql, ['u'], T0)).toEqual(['not ready']);
    });
  });
}
