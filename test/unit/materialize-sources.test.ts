/** Sources of rows: files of every format and a real Postgres give the same bytes; what does not fit is named. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { entity, feature, int64, query, source, sql } from '../../src/index.ts';
import type { Compiled } from '../../src/registry/compile.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import { type Embedded, openEmbedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { openTables } from '../../src/stores/tables/open.ts';
import { relateTable } from '../../src/stores/tables/relate.ts';
import { cleanUp, newDir } from '../support/project.ts';
import { noPostgres, startPostgres, type TestPostgres } from '../support/postgres.ts';

const user = entity('user', { key: 'user_id' });

/** One table of everything, as rows of CSV, and what Postgres makes of it. */
const CSV = `id,when,made,name,score,visits,big,ok
1,2024-01-10 10:00:00.1239,2024-01-10T12:00:00+02:00,"o'brien, é",1.5,3,9007199254740993,true
2,2024-01-10 11:00:00,,,nan,,,
3,1969-12-31 23:59:59.9999,2024-01-10T10:00:00Z,x,0.1,-4,-5,false
`;
const CREATE = `create table rows (id int4, "when" timestamp, made timestamptz, name text, score float8, visits int8, big int8, ok bool);
insert into rows values (1, '2024-01-10 10:00:00.1239', '2024-01-10T12:00:00+02:00', 'o''brien, é', 1.5, 3, 9007199254740993, true),
 (2, '2024-01-10 11:00:00', null, null, 'nan', null, null, null), (3, '1969-12-31 23:59:59.9999', '2024-01-10T10:00:00Z', 'x', 0.1, -4, -5, false)`;

const all = (from: ReturnType<typeof source>, text = sql`select id as user_id, "when", made, name, score, visits, big, ok from rows`) => ({
  name: feature(user, 'name', query(from, text, { type: z.string() })),
  score: feature(user, 'score', query(from, text, { type: z.number() })),
  visits: feature(user, 'visits', query(from, text, { type: z.int() })),
  big: feature(user, 'big', query(from, text, { type: int64() })),
  ok: feature(user, 'ok', query(from, text, { type: z.boolean() })),
});

let dir: string;
let env: Embedded;
let db: Duck;
beforeAll(async () => {
  dir = newDir('sources');
  env = await openEmbedded(join(dir, 'store'));
  db = await Duck.open({ threads: 1 });
});
afterAll(async () => {
  db.close();
  await env.close();
  cleanUp();
});

async function rowsNow(compiled: Compiled): Promise<string[]> {
  const [view] = Object.values(compiled.registry.views);
  const table = await relateTable(db, { env, dir: join(dir, 'offline'), project: dir, registry: compiled.registry, code: compiled.code }, view!);
  const rows = await db.rows(`SELECT * FROM "${table}" ORDER BY ALL`);
  await db.run(`DROP TABLE "${table}"`);
  return rows.map(r => JSON.stringify(r));
}

const EXPECTED = [
  { k0: '1', eff: 1704880800123, ts: 1704880800123, created: 1704880800000, text: '["9007199254740993","o\'brien, é",true,1.5,3]', gone: false },
  { k0: '2', eff: 1704884400000, ts: 1704884400000, created: null, text: '[null,null,null,null,null]', gone: false },
  { k0: '3', eff: -1, ts: -1, created: 1704880800000, text: '["-5","x",false,0.1,-4]', gone: false },
].map(r => JSON.stringify(r));

describe('the same rows from', () => {
  const times = { time: 'when', created: 'made' };
  const file = (name: string) => all(source('rows', { file: name, ...times }));

  it('CSV, gzipped CSV, NDJSON and Parquet', async () => {
    mkdirSync(join(dir, 'data'));
    writeFileSync(join(dir, 'data/rows.csv'), CSV);
    writeFileSync(join(dir, 'data/rows.csv.gz'), gzipSync(CSV));
    const lines = [
      { id: 1, when: '2024-01-10T10:00:00.1239', made: '2024-01-10T12:00:00+02:00', name: "o'brien, é", score: 1.5, visits: 3, big: '@', ok: true },
      { id: 2, when: '2024-01-10T11:00:00', made: null, name: null, score: null, visits: null, big: null, ok: null },
      { id: 3, when: '1969-12-31T23:59:59.9999', made: '2024-01-10T10:00:00Z', name: 'x', score: 0.1, visits: -4, big: -5, ok: false },
    ];
    writeFileSync(join(dir, 'data/rows.ndjson'), lines.map(l => `${JSON.stringify(l).replace('"@"', '9007199254740993')}\n`).join(''));
    await db.run(`COPY (SELECT * FROM read_csv('${join(dir, 'data/rows.csv')}')) TO '${join(dir, 'data/rows.parquet')}' (FORMAT parquet)`);
    for (const name of ['rows.csv', 'rows.csv.gz', 'rows.ndjson', 'rows.parquet']) expect(await rowsNow(compileDefinitions(file(`data/${name}`))), name).toEqual(EXPECTED);
  });

  describe.skipIf(noPostgres !== null)(`Postgres${noPostgres === null ? '' : ` (${noPostgres})`}`, () => {
    let postgres: TestPostgres;
    beforeAll(async () => {
      postgres = await startPostgres();
      await postgres.run(CREATE);
    });
    afterAll(() => postgres.stop());

    it('numbers of any size, dates, lists and JSON, each as it is declared', async () => {
      await postgres.run(`create type mood as enum ('sad', 'ok');
        create table kinds (k uuid primary key, seen timestamptz, n numeric(20,2), big numeric, whole int8, tags text[], ids int8[], doc jsonb, day date, mood mood, f float4);
        insert into kinds values ('6ecd8c99-4036-403d-bf84-cf8400f67836', '2024-01-10T10:00:00+02:00', 12345678901234567.89, 9007199254740993, -9223372036854775808,
          array['a', null, 'b"c'], array[9007199254740993, null], '{"b": [1, 2.5], "a": null}', '2024-01-10', 'ok', 0.5),
          ('6ecd8c99-4036-403d-bf84-cf8400f67837', '2024-01-10T08:00:00Z', 'NaN', 'NaN', null, null, '{}', 'null', null, null, 'infinity')`);
      const item = entity('item', { key: 'k' });
      const from = source('kinds', { postgres: postgres.url, time: 'seen' });
      const text = sql`select * from kinds where k <> ${'6ecd8c99-4036-403d-bf84-cf8400f67838'} and whole is distinct from ${9007199254740993n} -- a comment;`;
      const of = <V>(type: z.ZodType<V>) => query(from, text, { type });
      const defs = {
        n: feature(item, 'n', of(z.number())),
        big: feature(item, 'big', of(int64())),
        whole: feature(item, 'whole', of(int64())),
        tags: feature(item, 'tags', of(z.array(z.string().nullable()))),
        ids: feature(item, 'ids', of(z.array(int64().nullable()))),
        doc: feature(item, 'doc', of(z.object({ a: z.null(), b: z.array(z.number()) }))),
        day: feature(item, 'day', of(z.string())),
        mood: feature(item, 'mood', of(z.enum(['sad', 'ok']))),
        f: feature(item, 'f', of(z.number())),
      };
      const compiled = compileDefinitions(defs);
      const rows = (await rowsNow(compiled)).map(r => JSON.parse(r) as { k0: string; ts: number; text: string });
      // In the order of names: big, day, doc, f, ids, mood, n, tags, whole.
      expect(rows.map(r => [r.k0.slice(-1), r.ts, r.text])).toEqual([
        [
          '6',
          Date.parse('2024-01-10T08:00:00Z'),
          '["9007199254740993","2024-01-10",{"a":null,"b":[1,2.5]},0.5,["9007199254740993",null],"ok",12345678901234568,["a",null,"b\\"c"],"-9223372036854775808"]',
        ],
        ['7', Date.parse('2024-01-10T08:00:00Z'), '[null,null,null,null,[],null,null,null,null]'],
      ]);
    });

    it('live: keys are parameters, one question for all of them, and the budget ends it there too', async () => {
      await postgres.run(
        `create table pairs (a text, b int8, x int8, seen timestamptz); insert into pairs values ('1', 23, 123, now()), ('12', 3, 1203, now()), ('x''; drop table pairs;--', 1, 7, now())`,
      );
      const pair = entity('pair', { key: ['a', 'b'] });
      const from = source('pairs', { postgres: postgres.url });
      const compiled = compileDefinitions({
        x: feature(pair, 'x', query(from, sql`select a, b, x from pairs`, { type: z.int() })),
        slow: feature(pair, 'slow', query(from, sql`select a, b, x as slow, pg_sleep(30) from pairs`, { type: z.int(), column: 'slow', timeout: '20s' })),
      });
      const tables = openTables({ env, dir: join(dir, 'offline'), project: dir, clock: { now: () => 5 }, threads: 1 });
      const view = (id: string) => compiled.registry.views[id]!;
      const keys = [
        ['1', '23'],
        ['12', '3'],
        ["x'; drop table pairs;--", '1'],
        ['1', "1' or '1'='1"],
        ['1', '023'],
        ['a\0', '1'],
      ];
      const found = await tables.lookup(view('pair.x'), compiled, keys, 100, new AbortController().signal);
      expect(found.map(r => r && [r.ts, r.text])).toEqual([[100, '[123]'], [100, '[1203]'], [100, '[7]'], null, null, null]);
      expect((await postgres.run('select count(*)::int as n from pairs'))[0]).toEqual({ n: 3 });
      const stop = new AbortController();
      const began = Date.now();
      setTimeout(() => stop.abort(), 50);
      await expect(tables.lookup(view('pair.slow'), compiled, [['1', '23']], 100, stop.signal)).rejects.toMatchObject({ code: 'INTERRUPTED' });
      expect(Date.now() - began).toBeLessThan(10_000);
      for (const end = Date.now() + 10_000; ; ) {
        const [busy] = await postgres.run("select count(*)::int as n from pg_stat_activity where query like '%pg_sleep(30)%' and state = 'active' and pid <> pg_backend_pid()");
        if (busy!.n === 0) break;
        if (Date.now() > end) throw new Error('the question still runs on the server');
      }
      await tables.close();
    });

    it('never writes there, and errors name the source without its password', async () => {
      const check = async (text: ReturnType<typeof sql>, url = postgres.url) => {
        const compiled = compileDefinitions({ x: feature(user, 'x', query(source('rows', { postgres: url }), text, { type: z.int() })) });
        const tables = openTables({ env, dir: join(dir, 'offline'), project: dir, clock: { now: () => 5 }, threads: 1 });
        try {
          await tables.check(compiled.registry.views['user.x']!, compiled);
          return await tables.lookup(compiled.registry.views['user.x']!, compiled, [['1']], 100, new AbortController().signal);
        } finally {
          await tables.close();
        }
      };
      await postgres.run('create function sneaky() returns int8 language plpgsql as $$ begin insert into rows (id) values (99); return 1; end $$; create sequence s');
      await expect(check(sql`select '1' as user_id, sneaky() as x`)).rejects.toMatchObject({ code: 'SOURCE_FAILED', message: expect.stringContaining('read-only') });
      await expect(check(sql`select '1' as user_id, nothing as x from rows`)).rejects.toMatchObject({ code: 'BAD_QUERY', message: expect.stringContaining('nothing') });
      await expect(check(sql`delete from rows returning id as user_id, 1 as x`)).rejects.toMatchObject({ code: 'BAD_QUERY' });
      await expect(check(sql`select '1' as user_id, 'a' as x`)).rejects.toMatchObject({ code: 'BAD_QUERY', message: expect.stringContaining("column 'x' is VARCHAR, wanted int") });
      const wrong = postgres.url.replace(/:[^:@/]+@/, ':hunter2hunter2@');
      const refused = await check(sql`select 1`, wrong).catch((e: unknown) => e as { code: string; message: string; hint: string });
      expect(refused).toMatchObject({ code: 'SOURCE_FAILED', message: expect.stringContaining('fabra:***@') });
      expect(JSON.stringify([refused, String((refused as unknown as Error).stack)])).not.toContain('hunter2');
      const away = await check(sql`select 1`, 'postgres://fabra:hunter2@127.0.0.1:1/x').catch((e: unknown) => e as { code: string; message: string });
      expect(away).toMatchObject({ code: 'SOURCE_FAILED', message: expect.stringMatching(/ECONNREFUSED/) });
      expect((await postgres.run('select count(*)::int as n from rows'))[0]).toEqual({ n: 3 });
    });

    it('records the same bytes as from a file', async () => {
      const noSignal = new AbortController().signal;
      const recorded = async (compiled: Compiled, name: string) => {
        const own = await openEmbedded(join(dir, `store-${name}`));
        const tables = openTables({ env: own, dir: join(dir, name), project: dir, clock: { now: () => Date.parse('2024-02-01T00:00:00Z') }, threads: 1 });
        const job = await new EmbeddedOnlineStore(own).jobLease('view:x', 60_000);
        const [view] = Object.values(compiled.registry.views);
        const run = await tables.run(view!, compiled, { from: null, to: Date.parse('2024-02-01T00:00:00Z'), incremental: false }, job, noSignal);
        const rows: unknown[] = [];
        for await (const some of tables.rowsOf(run, view!, compiled, 0)) rows.push(...some);
        await tables.close();
        await own.close();
        return rows;
      };
      writeFileSync(join(dir, 'same.csv'), CSV);
      const from = await recorded(compileDefinitions(all(source('rows', { file: 'same.csv', ...times }))), 'file');
      const there = await recorded(compileDefinitions(all(source('rows', { postgres: postgres.url, ...times }))), 'postgres');
      expect(from).toHaveLength(3);
      expect(JSON.stringify(there)).toBe(JSON.stringify(from));
    });

    it('a table there', async () => {
      expect(await rowsNow(compileDefinitions(all(source('rows', { postgres: postgres.url, ...times }))))).toEqual(EXPECTED);
    });
  });
});
