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

    it('a table there', async () => {
      expect(await rowsNow(compileDefinitions(all(source('rows', { postgres: postgres.url, ...times }))))).toEqual(EXPECTED);
    });
  });
});
