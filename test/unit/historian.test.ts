/** Training data row by row (CASES.md S49, S50, P11-P16, P23, P24, P26, P28, P29): what goes in comes out, in order, with the values of its time. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { type HistoricalOptions, runHistorical } from '../../src/runtime/historian/index.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import { cleanUp, compileAt, newDir, openTestProject, type TestProject } from '../support/project.ts';

afterAll(cleanUp);

const FEATURES = `
import { avg, count, decimal, derive, entity, feature, int64, last, lastN, max, stream, sum, topK } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id', ttl: '7d' });
const place = entity('place', { key: ['country', 'city'] });
const shop = stream('shop', { id: 'id', time: 'ts', type: 'type' });
const buy = shop.event('buy', z.object({ user_id: z.string(), country: z.string().nullish(), city: z.string().nullish(), cost: decimal(2).nullish(), big: int64().nullish(), tag: z.string().nullish() }));
export const buys = feature(user, 'buys', count(buy).over('1d'));
export const spend = feature(user, 'spend', sum(buy, 'cost').lifetime());
export const mean = feature(user, 'mean', avg(buy, 'cost').over('1d'));
export const tags = feature(user, 'tags', lastN(buy, 'tag', 3).over('1d'));
export const bigs = feature(user, 'bigs', lastN(buy, 'big', 3).over('1d'));
export const most = feature(user, 'most', max(buy, 'big').over('1d'));
export const costs = feature(user, 'costs', topK(buy, 'cost', 2).over('1d'));
export const tag = feature(user, 'tag', last(buy, 'tag').over('1d'), { default: 'none' });
export const placeBuys = feature(place, 'buys', count(buy).over('1d'));
export const rate = feature(user, 'rate', derive({ inputs: { buys }, request: z.object({ visits: z.number(), code: z.string().optional() }), compute: ({ buys }, { request }) => (request.visits === 0 ? null : buys / request.visits) }));
export const label = feature(user, 'said', derive({ inputs: { buys }, compute: ({ buys }) => (buys > 1 ? 'many' : 'few') }));
export const broken = feature(user, 'broken', derive({ inputs: { buys }, type: z.number(), compute: ({ buys }) => { if (buys === 1) throw new Error('boom'); return buys; } }));
`;
const T0 = Date.parse('2025-01-15T12:00:00Z');
let dir: string;
let project: TestProject;
let compiled: Compiled;

beforeAll(async () => {
  dir = newDir('historian');
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  compiled = await compileAt(dir);
  project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const buy = (id: string, s: number, more: object) => ({ bytes: Buffer.from(JSON.stringify({ id, ts: new Date(T0 + s * 1000).toISOString(), type: 'buy', ...more })) });
  const log = [
    buy('a', 0, { user_id: 'u1', country: 'DE', city: 'Bonn', cost: 1.1, big: '9007199254740993', tag: 'x,"y"' }),
    buy('b', 60, { user_id: 'u1', country: 'DE', city: 'Bonn', cost: 2.2, big: '-5', tag: 'ü' }),
    buy('c', 60, { user_id: '7', country: '1', city: '23', cost: 0.3 }),
    buy('d', 120, { user_id: 'u1', country: '12', city: '3', cost: null, tag: null }),
  ];
  // int64 columns take text beyond 2^53.
  await project.bus.append('shop', log, T0 + 3_600_000);
});
afterAll(() => project.close());

let n = 0;
async function run(spine: string, options: Partial<HistoricalOptions> & { features: string[] }, ext = 'csv') {
  const file = join(dir, `spine${n}.csv`);
  const out = join(dir, `out${n++}.${ext}`);
  writeFileSync(file, spine);
  const summary = await runHistorical(project, compiled, { spine: file, out, ...options });
  return { out: summary.file, summary, text: () => (ext.endsWith('gz') ? gunzipSync(readFileSync(out)).toString() : readFileSync(out, 'utf8')) };
}
const failing = (spine: string, options: Partial<HistoricalOptions> & { features: string[] }) => expect(run(spine, options)).rejects;
const left = () => readdirSync(dir).filter(f => f.includes('.tmp'));

async function rows(file: string): Promise<Record<string, unknown>[]> {
  const db = await Duck.open();
  try {
    return await db.rows(`SELECT * FROM '${file}'`);
  } finally {
    db.close();
  }
}

describe('rows', () => {
  it('S49, S50: each row sees only what was before its own time, and not the purchase at it', async () => {
    const { text } = await run(
      `user_id,event_timestamp\nu1,2025-01-15T12:00:00Z\nu1,2025-01-15T12:00:00.001Z\nu1,2025-01-15T12:01:00Z\nu1,2025-01-15T12:01:00.001Z\nu1,2025-01-16T12:00:00Z\nu1,2025-01-16T12:00:00.001Z\n`,
      { features: ['user.buys', 'user.spend'] },
    );
    expect(
      text()
        .trim()
        .split('\n')
        .slice(1)
        .map(l => l.split(',').slice(2).join()),
    ).toEqual(['0,', '1,1.1', '1,1.1', '2,3.3', '3,3.3', '2,3.3']);
  });

  it('P11-P14: rows without events, doubled rows, rows out of order and rows without a key all stay, labels untouched', async () => {
    const spine =
      'label,user_id,event_timestamp,note\n1,u1,2025-01-15T12:30:00Z,"a, b"\n2,nobody,2025-01-15T12:30:00Z,\n100,u1,2025-01-15T12:30:00Z,x\n200,u1,2025-01-15T12:30:00Z,x\n007,u1,2025-01-15T12:00:30Z,"li\nne"\n5,,2025-01-15T12:30:00Z,"""q"""\n6,u1,2100-01-01,\n';
    const { text, summary } = await run(spine, { features: ['user.buys', 'user.tag', 'user.mean'] });
    expect(summary.rows).toBe(7);
    expect(text()).toBe(
      'label,user_id,event_timestamp,note,buys,tag,mean\n1,u1,2025-01-15T12:30:00Z,"a, b",3,none,1.65\n2,nobody,2025-01-15T12:30:00Z,,0,none,\n100,u1,2025-01-15T12:30:00Z,x,3,none,1.65\n200,u1,2025-01-15T12:30:00Z,x,3,none,1.65\n007,u1,2025-01-15T12:00:30Z,"li\nne",1,"x,""y""",1.1\n5,,2025-01-15T12:30:00Z,"""q""",,none,\n6,u1,2100-01-01,,0,none,\n',
    );
  });

  it('P15, P16: two entities in one row, in any order of features; keys of two parts never run together', async () => {
    const spine = 'user_id,country,city,event_timestamp\n7,1,23,2025-01-15T13:00:00Z\nu1,12,3,2025-01-15T13:00:00Z\nu1,,3,2025-01-15T13:00:00Z\n';
    const columns = (order: string[]) =>
      run(spine, { features: order, fullNames: true }).then(r =>
        r
          .text()
          .trim()
          .split('\n')
          .map(l => l.split(',').slice(4)),
      );
    expect(await columns(['user.buys', 'place.buys'])).toEqual([
      ['user__buys', 'place__buys'],
      ['1', '1'],
      ['3', '1'],
      ['3', ''],
    ]);
    expect(await columns(['place.buys', 'user.buys'])).toEqual([
      ['place__buys', 'user__buys'],
      ['1', '1'],
      ['1', '3'],
      ['', '3'],
    ]);
  });

  it('T44: no rows are no rows, with all their columns', async () => {
    const { text, summary } = await run('user_id,event_timestamp,label\n', { features: ['user.buys', 'user.said'] });
    expect([text(), summary.rows]).toEqual(['user_id,event_timestamp,label,buys,said\n', 0]);
    const { out } = await run('user_id,event_timestamp,label\n', { features: ['user.buys', 'user.said'] }, 'parquet');
    expect(await rows(out)).toEqual([]);
  });

  it('P23, P24, P26: times without a zone are UTC, offsets count, digits are epoch ms, finer ones are floored', async () => {
    const times = ['2025-01-15 12:00:00.001', '2025-01-15T13:00:00.001+01:00', String(T0 + 1), '2025-01-15T12:00:00.0009Z', '2025-01-15T12:00:00.001999Z'];
    const { text } = await run(`user_id,event_timestamp\n${times.map(t => `u1,${t}`).join('\n')}\n`, { features: ['user.buys'] });
    expect(
      text()
        .trim()
        .split('\n')
        .slice(1)
        .map(l => l.split(',').pop()),
    ).toEqual(['1', '1', '1', '0', '1']);
  });
});

describe('columns and types', () => {
  it('CSV to Parquet: features are typed; other columns only where their text comes back', async () => {
    const spine = 'user_id,id,zip,price,label,ok,event_timestamp,empty\nu1,1,01234,2.50,0.5,true,2025-01-15T12:30:00Z,\nu1,-20,10115,3,1,false,2025-01-15T12:30:00Z,\n';
    const { out } = await run(spine, { features: ['user.buys', 'user.spend', 'user.tags', 'user.bigs', 'user.most', 'user.costs', 'user.tag', 'user.said'] }, 'parquet');
    const db = await Duck.open();
    const types = Object.fromEntries((await db.rows(`DESCRIBE SELECT * FROM '${out}'`)).map(r => [r.column_name, r.column_type]));
    expect(types).toEqual({
      user_id: 'VARCHAR',
      id: 'BIGINT',
      zip: 'VARCHAR',
      price: 'VARCHAR',
      label: 'DOUBLE',
      ok: 'BOOLEAN',
      event_timestamp: 'VARCHAR',
      empty: 'VARCHAR',
      buys: 'BIGINT',
      spend: 'DOUBLE',
      tags: 'VARCHAR[]',
      bigs: 'BIGINT[]',
      most: 'BIGINT',
      costs: 'DOUBLE[]',
      tag: 'VARCHAR',
      said: 'VARCHAR',
    });
    db.close();
    const [row] = await rows(out);
    expect(row).toMatchObject({
      id: 1,
      zip: '01234',
      buys: 3,
      spend: 3.3,
      tags: [null, 'ü', 'x,"y"'],
      bigs: [null, -5, 9007199254740993n],
      most: 9007199254740993n,
      costs: [1.1, 2.2],
      said: 'many',
    });
  });

  it('CSV: lists are JSON, null is an empty cell; gzip by name', async () => {
    const { text } = await run('user_id,event_timestamp\nu1,2025-01-15T12:30:00Z\nnobody,2025-01-15T12:30:00Z\n', { features: ['user.tags', 'user.bigs', 'user.most'] }, 'csv.gz');
    expect(text()).toBe(
      'user_id,event_timestamp,tags,bigs,most\nu1,2025-01-15T12:30:00Z,"[null,""ü"",""x,\\""y\\""""]","[null,-5,9007199254740993]",9007199254740993\nnobody,2025-01-15T12:30:00Z,[],[],\n',
    );
  });

  it('Parquet in: its types stay, timestamps are read, integers and whole doubles are keys', async () => {
    const db = await Duck.open();
    const spine = join(dir, 'spine.parquet');
    await db.run(
      `COPY (SELECT * FROM (VALUES (7::BIGINT, 7.0::DOUBLE, TIMESTAMP '2025-01-15 12:01:00.000999', [1, 2]), (8, 8.5, TIMESTAMP '2025-01-15 12:01:00.001', NULL), (NULL, NULL, TIMESTAMP '2025-01-15 12:01:00.001', [3])) t(user_id, f, "at", list)) TO '${spine}' (FORMAT parquet)`,
    );
    const out = join(dir, 'typed.parquet');
    const s = await runHistorical(project, compiled, { spine, out, features: ['user.buys'] });
    expect(s).toMatchObject({ rows: 3, time: 'at' });
    expect(await rows(out)).toMatchObject([
      { user_id: 7, buys: 0, list: [1, 2] },
      { user_id: 8, buys: 0 },
      { user_id: null, buys: null, list: [3] },
    ]);
    await db.run(`COPY (SELECT f AS user_id, "at" + INTERVAL 1 MILLISECOND AS "at" FROM '${spine}') TO '${join(dir, 'doubles.parquet')}' (FORMAT parquet)`);
    db.close();
    await runHistorical(project, compiled, { spine: join(dir, 'doubles.parquet'), out, overwrite: true, features: ['user.buys'] });
    expect((await rows(out)).map(r => r.buys)).toEqual([1, 0, null]);
  });

  it('derived features take request columns, text turned into what the schema wants; errors are null and counted', async () => {
    const { text, summary } = await run(
      'user_id,event_timestamp,visits,code\nu1,2025-01-15T12:30:00Z,6,007\nu1,2025-01-15T12:30:00Z,0,\nu1,2025-01-15T12:00:30Z,1e1,x\nu1,2025-01-15T12:30:00Z,,\n',
      { features: ['user.rate', 'user.broken'] },
    );
    expect(
      text()
        .trim()
        .split('\n')
        .slice(1)
        .map(l => l.split(',').slice(4).join()),
    ).toEqual(['0.5,3', ',3', '0.1,', ',3']);
    expect(summary.errors).toMatchObject({
      'user.rate': { cells: 1, reason: expect.stringContaining('visits') },
      'user.broken': { cells: 1, reason: expect.stringContaining('boom') },
    });
  });
});

describe('what cannot be labelled', () => {
  const good = 'user_id,event_timestamp\nu1,2025-01-15T12:30:00Z\n';
  const features = ['user.buys'];
  it('P29: no key column', () =>
    failing('customer,event_timestamp\nu1,2025-01-15\n', { features }).toMatchObject({
      code: 'BAD_SPINE',
      exitCode: 2,
      message: "the spine has no column 'user_id', the key of entity user",
    }));
  it('P28: the only column of times is used', async () => {
    expect((await run('user_id,when,amount,phone\nu1,2025-01-15T12:30:00Z,3,4915112345678\n', { features })).summary.time).toBe('when');
    expect((await run(`user_id,when,amount\nu1,${T0},3\n`, { features })).summary.time).toBe('when');
  });
  it('P28: none, or two', async () => {
    await failing('user_id,amount\nu1,3\n', { features }).toMatchObject({ code: 'BAD_SPINE', message: expect.stringContaining("no column 'event_timestamp'") });
    await failing('user_id,a,b\nu1,2025-01-15,2025-01-16\n', { features }).toMatchObject({ code: 'BAD_SPINE', hint: 'Name one: --time a' });
    await failing(good, { features, time: 'event_time' }).toMatchObject({ code: 'BAD_SPINE', hint: expect.stringContaining('event_timestamp') });
    expect((await run('user_id,a,b\nu1,2025-01-15,2025-01-16\n', { features, time: 'b' })).summary.rows).toBe(1);
  });
  it('times that are none, with their lines', async () => {
    await failing('user_id,event_timestamp\nu1,2025-01-15\nu1,soon\nu1,\n', { features }).toMatchObject({
      code: 'BAD_SPINE',
      message: 'lines 3, 4: event_timestamp is no instant: "soon"',
    });
    await failing('user_id,event_timestamp\nu1,\n', { features }).toMatchObject({ code: 'BAD_SPINE', message: 'line 2: event_timestamp is empty' });
  });
  it('an empty file, a row too short, a name twice, a missing file', async () => {
    for (const text of ['', '\n']) await failing(text, { features }).toMatchObject({ code: 'BAD_SPINE', exitCode: 2 });
    await failing(`${good}u1\n`, { features }).toMatchObject({ code: 'BAD_SPINE', message: expect.stringContaining('line 3: 2 cells expected, 1 found') });
    await failing('user_id,USER_ID,event_timestamp\na,b,2025-01-15\n', { features }).toMatchObject({ code: 'BAD_SPINE' });
    await expect(runHistorical(project, compiled, { spine: join(dir, 'no.csv'), out: join(dir, 'x.csv'), features })).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  });
  it('names that collide', async () => {
    await failing('user_id,country,city,event_timestamp\nu1,a,b,2025-01-15\n', { features: ['user.buys', 'place.buys'] }).toMatchObject({
      code: 'NAME_COLLISION',
      hint: expect.stringContaining('--full-names'),
    });
    await failing('user_id,Buys,event_timestamp\nu1,1,2025-01-15\n', { features }).toMatchObject({ code: 'NAME_COLLISION' });
  });
  it('an unknown feature, a missing request column, an output that is there', async () => {
    await failing(good, { features: ['user.buyz'] }).toMatchObject({ code: 'UNKNOWN_FEATURE', hint: 'Did you mean: user.buys?' });
    await failing(good, { features: ['user.rate'] }).toMatchObject({ code: 'BAD_SPINE', message: "user.rate needs the request column 'visits', which the spine has not" });
    const { out } = await run(good, { features });
    await failing(good, { features, out }).toMatchObject({ code: 'FILE_EXISTS' });
    expect((await run(good, { features, out, overwrite: true })).summary.rows).toBe(1);
    await failing(good, { features, out: join(dir, 'x.txt') }).toMatchObject({ code: 'BAD_FLAG' });
    await failing(good, { features, out: join(dir, 'no', 'x.csv') }).toMatchObject({ code: 'FILE_NOT_FOUND' });
  });
  it('names and keys with quotes are data, never SQL; nothing half written stays', async () => {
    const { text } = await run(`user_id,"a""b; DROP TABLE x",event_timestamp\n"'; DROP TABLE y; --",'1',2025-01-15T12:30:00Z\n`, { features });
    expect(text()).toBe(`user_id,"a""b; DROP TABLE x",event_timestamp,buys\n'; DROP TABLE y; --,'1',2025-01-15T12:30:00Z,0\n`);
    expect(left()).toEqual([]);
    expect(existsSync(join(dir, 'x.csv'))).toBe(false);
  });
});
