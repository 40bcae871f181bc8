/** Training sets over features of every kind at once: runs of SQL, keys that leave and come back, handlers, folds, windows, on-demand code. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toJson } from '../../src/lib/json.ts';
import { iso } from '../../src/lib/time.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { type HistoricalOptions, runHistorical } from '../../src/runtime/historian/index.ts';
import { materialize } from '../../src/runtime/materializer.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { FeatureReader } from '../../src/runtime/reader.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { openTables } from '../../src/stores/tables/open.ts';
import { fabra } from '../support/bin.ts';
import { cleanUp, compileAt, newDir, openTestProject, type TestProject } from '../support/project.ts';

afterAll(cleanUp);

const FEATURES = `
import { alias, count, derive, entity, feature, fold, int64, on, pushed, query, service, source, sql, stream } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'u', ttl: '1d' });
const world = entity('world', { key: [] });
const shop = stream('shop', { id: 'id', time: 'ts', type: 'type' });
const buy = shop.event('buy', z.object({ u: z.string(), cost: z.number() }));
export const flat = feature(user, 'flat', query(source('flat_file', { file: 'flat.csv' }), sql\`select u, v as flat from flat_file\`, { type: z.number(), materialize: true }), { ttl: '0s' });
export const never = feature(user, 'never', query(source('flat_again', { file: 'flat.csv' }), sql\`select u, v as never from flat_again\`, { type: z.number(), materialize: true }));
export const live = feature(user, 'live', query(source('flat_live', { file: 'flat.csv' }), sql\`select u, v as live from flat_live\`, { type: z.number() }));
export const level = feature(user, 'level', query(source('levels', { file: 'levels.csv', time: 'ts' }), sql\`select u, ts, level from levels\`, { type: z.string(), materialize: true, default: 'none' }));
export const segment = feature(user, 'segment', pushed(int64()));
export const rate = feature(world, 'rate', pushed(z.number()));
export const buys = feature(user, 'buys', count(buy).over('1h'));
export const spent = feature(user, 'spent', fold(buy, { state: z.number(), initial: 0, step: (s, { payload }) => s + payload.cost }));
export const last = feature(user, 'last', on(buy, { type: z.number(), handle: ({ event }) => event.payload.cost }));
export const best = feature(user, 'best', on(buy, { type: z.number(), handle: ({ event, current }) => Math.max(current ?? 0, event.payload.cost) }));
export const score = feature(user, 'score', derive({ inputs: { buys, spent, last, flat, level, segment, rate }, request: z.object({ extra: z.number() }), type: z.string(),
  compute: (i, { request, keys, now }) => JSON.stringify([keys, now, i.buys, i.spent, i.last, i.flat, i.level, String(i.segment), i.rate, request.extra]) }));
const parcel = entity('parcel', { key: 'to' });
const seller = entity('seller', { key: 'from' });
const send = shop.event('send', z.object({ from: z.string(), to: z.string() }));
const ids = { state: z.string(), initial: '', step: (s, e) => s + e.event_id };
export const came = feature(parcel, 'came', fold(send, ids));
export const went = feature(seller, 'went', fold(send, ids));
export const ride = service('ride', [alias('buyer', spent, { u: 'buyer_id' }), alias('seller', spent, { u: 'seller_id' })], { fullNames: true });
export const plain = service('plain', [spent, buys]);
`;
const NOON = Date.parse('2025-01-15T12:00:00Z');
const MINUTE = 60_000;
const signal = new AbortController().signal;

let dir: string;
let project: TestProject;
let compiled: Compiled;
let now = NOON;
let n = 0;

async function runAt(at: number, flat: string): Promise<void> {
  now = at;
  writeFileSync(join(dir, 'flat.csv'), flat);
  for (const s of await materialize(project, compiled, { views: ['user.flat'], signal })) expect(s).toMatchObject({ view: 'user.flat', status: 'ok' });
}

beforeAll(async () => {
  dir = newDir('historian-rows');
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  writeFileSync(join(dir, 'flat.csv'), 'u,v\n1,1\n');
  writeFileSync(join(dir, 'levels.csv'), `u,ts,level\n1,${iso(NOON)},gold\n2,${iso(NOON - 2 * 24 * 60 * MINUTE)},old\n`);
  compiled = await compileAt(dir);
  const opened = await openTestProject(dir);
  const clock = { now: () => now, sleep: opened.clock.sleep };
  project = { ...opened, clock, tables: openTables({ env: opened.env, dir: join(dir, '.fabra', 'offline'), project: dir, clock, threads: 1 }) };
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const buy = (id: string, ms: number, u: string, cost: number) => ({ bytes: Buffer.from(JSON.stringify({ id, ts: iso(NOON + ms), type: 'buy', u, cost })) });
  await project.bus.append('shop', [buy('a', 0, '1', 1.5), buy('c', 2 * MINUTE, '1', 4), buy('b', MINUTE, '1', 9), buy('c', 2 * MINUTE, '1', 4), buy('d', 0, '2', 3)], NOON);
  const send = (id: string, from: string, to: string) => ({ bytes: Buffer.from(JSON.stringify({ id, ts: iso(NOON), type: 'send', from, to })) });
  await project.bus.append('shop', [send('x', '1', '2'), send('y', '3', '1')], NOON);
  await runWorker(project, compiled, { untilIdle: true, signal });
  await runAt(NOON, 'u,v\n1,1\n2,5\n');
  await runAt(NOON + 10 * MINUTE, 'u,v\n1,9\n');
  await runAt(NOON + 20 * MINUTE, 'u,v\n1,9\n2,6\n');
  for (const s of await materialize(project, compiled, { views: ['user.level'], signal })) expect(s).toMatchObject({ status: 'ok' });
  const { tables } = (await import('../../src/engine/units.ts')).compileUnits(compiled.registry);
  const put = (id: string, key: string, ts: number, value: unknown) => ({
    table: tables.get(id)!,
    key,
    row: { eff: ts, ts, created: ts, text: JSON.stringify([value]), gone: false },
  });
  await project.online.putRows([put('user.segment', '1', NOON, '9007199254740993'), put('user.segment', '1', NOON + 5 * MINUTE, null), put('world.rate', '', NOON + MINUTE, 2.5)], {
    record: true,
  });
});
afterAll(() => project.close());

async function columns(rows: readonly (readonly [string, number])[], features: HistoricalOptions['features'], more: Partial<HistoricalOptions> = {}): Promise<string[]> {
  const spine = join(dir, `s${n}.csv`);
  const out = join(dir, `o${n++}.csv`);
  writeFileSync(spine, `u,event_timestamp\n${rows.map(([u, at]) => `${u},${iso(at)}\n`).join('')}`);
  await runHistorical(project, compiled, { spine, out, features, ...more });
  return readFileSync(out, 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map(l => l.split(',').slice(2).join());
}

describe('rows without a time of their own', () => {
  it('have that of the run that read them; a key that left has none, until it comes back', async () => {
    const at = (u: string) => [-1, 0, 10 * MINUTE - 1, 10 * MINUTE, 20 * MINUTE - 1, 20 * MINUTE].map(ms => [u, NOON + ms] as const);
    expect(await columns(at('1'), ['user.flat'])).toEqual(['', '1', '1', '9', '9', '9']);
    expect(await columns(at('2'), ['user.flat'])).toEqual(['', '5', '5', '', '', '6']);
  });
  it('are refused where no run is kept, before anything is asked, with what to do', async () => {
    for (const [feature, hint] of [
      ['user.never', 'fabra materialize --feature user.never'],
      ['user.live', 'materialize: true'],
    ])
      await expect(runHistorical(project, compiled, { spine: join(dir, 'none.csv'), out: join(dir, 'x.csv'), features: [feature!] })).rejects.toMatchObject({
        code: 'NOT_REPLAYABLE',
        message: expect.stringContaining(feature!),
        hint: expect.stringContaining(hint!),
      });
  });
  it('as of created none of them counts, and that is said', async () => {
    expect(await columns([['1', NOON + MINUTE]], ['user.flat', 'user.segment'], { asOfCreated: true })).toEqual([',9007199254740993']);
    const s = await runHistorical(project, compiled, {
      spine: join(dir, `s${n - 1}.csv`),
      out: join(dir, 'created.csv'),
      features: ['user.flat', 'user.segment'],
      asOfCreated: true,
    });
    expect(s.uncreated).toEqual(['user.flat']);
  });
});

describe('values that events trigger', () => {
  it('T42: count after their event, not at it: windows, folds and handlers alike', async () => {
    const rows = [0, 1, MINUTE, MINUTE + 1, 2 * MINUTE, 2 * MINUTE + 1].map(ms => ['1', NOON + ms] as const);
    expect(await columns(rows, ['user.buys', 'user.spent', 'user.last', 'user.best'])).toEqual([
      '0,,,',
      '1,1.5,1.5,1.5',
      '1,1.5,1.5,1.5',
      '2,10.5,9,1.5',
      '2,10.5,9,1.5',
      '3,14.5,4,9',
    ]);
  });
  it('P40: are rows of their own too, from the instant on which they count', async () => {
    const out = join(dir, 'changes.csv');
    await runHistorical(project, compiled, { spine: { from: NOON, to: NOON + MINUTE }, out, features: ['user.last', 'user.buys'] });
    expect(readFileSync(out, 'utf8')).toBe(`u,event_timestamp,last,buys\n1,${iso(NOON + 1)},1.5,1\n2,${iso(NOON + 1)},3,1\n1,${iso(NOON + MINUTE + 1)},9,2\n`);
  });
});

describe('two entities under one column', () => {
  it('folds of the same events are told apart', async () => {
    const under = (id: string, key: string) => ({ id, alias: { alias: key, keys: { [key]: 'u' } } });
    expect(await columns([['1', NOON + MINUTE]], [under('parcel.came', 'to'), under('seller.went', 'from')])).toEqual(['y,x']);
  });
});

describe('without a spine', () => {
  const changes = async (features: string[], from: number, to: number) => {
    const out = join(dir, `changes${n++}.csv`);
    await runHistorical(project, compiled, { spine: { from, to }, out, features });
    return readFileSync(out, 'utf8').trim().split('\n').slice(1);
  };
  it('P40: changes of runs and pushes; a key that leaves is no row, one that comes back is', async () => {
    expect(await changes(['user.flat', 'world.rate'], NOON, NOON + 20 * MINUTE)).toEqual([
      `1,${iso(NOON)},1,`,
      `2,${iso(NOON)},5,`,
      `1,${iso(NOON + 10 * MINUTE)},9,2.5`,
      `1,${iso(NOON + 20 * MINUTE)},9,2.5`,
      `2,${iso(NOON + 20 * MINUTE)},6,2.5`,
    ]);
    expect(await changes(['world.rate'], NOON, NOON + 20 * MINUTE)).toEqual([`${iso(NOON + MINUTE)},2.5`]);
  });
});

describe('everything at once', () => {
  it('P33: windows, folds, rows and on-demand code for several keys of one row', async () => {
    const spine = join(dir, 'keys.csv');
    const out = join(dir, 'keys-out.csv');
    writeFileSync(spine, `u,buyer_id,seller_id,event_timestamp,extra\n2,1,2,${iso(NOON + 3 * MINUTE)},7\n1,,1,${iso(NOON + MINUTE)},8\n,2,nobody,${iso(NOON + 11 * MINUTE)},9\n`);
    const under = (alias: string, id: string) => ({ id, alias: { alias, keys: { u: `${alias}_id` } } });
    const features = [
      'user.buys',
      under('buyer', 'user.buys'),
      under('seller', 'user.buys'),
      under('buyer', 'user.spent'),
      under('seller', 'user.flat'),
      under('buyer', 'user.score'),
      'world.rate',
    ];
    const { columns } = await runHistorical(project, compiled, { spine, out, features, fullNames: true });
    expect(columns).toEqual(['user__buys', 'buyer__buys', 'seller__buys', 'buyer__spent', 'seller__flat', 'buyer__score', 'world__rate']);
    const { Duck } = await import('../../src/stores/duckdb/engine.ts');
    const db = await Duck.open();
    const found = await db.rows(`SELECT * FROM read_csv('${out}', all_varchar = true)`);
    db.close();
    expect(found.map(r => columns.map(c => r[c]))).toEqual([
      ['1', '3', '1', '14.5', '5', `[{"u":"1"},${NOON + 3 * MINUTE},3,14.5,4,1,"gold","9007199254740993",2.5,7]`, '2.5'],
      ['1', null, '1', null, '1', null, '2.5'],
      [null, '1', '0', '3', null, `[{"u":"2"},${NOON + 11 * MINUTE},1,3,3,null,"none","null",2.5,9]`, '2.5'],
    ]);
  });

  it('on-demand code over 1,000 rows gives 1,000 values, equal to reads', async () => {
    const reader = new FeatureReader(project, compiled.registry, compiled.code);
    const features = ['user.score', 'user.level', 'user.segment', 'user.spent', 'world.rate', 'user.best'];
    const times = [NOON - 1, NOON, NOON + 1, NOON + MINUTE, NOON + 6 * MINUTE, NOON + 20 * MINUTE, NOON + 70 * MINUTE, NOON + 26 * 60 * MINUTE];
    const rows = Array.from({ length: 1_000 }, (_, i) => ({ u: String(i % 3), at: times[i % times.length]!, extra: i }));
    const spine = join(dir, 'thousand.csv');
    writeFileSync(spine, `u,event_timestamp,extra\n${rows.map(r => `${r.u},${iso(r.at)},${r.extra}\n`).join('')}`);
    const out = join(dir, 'thousand.parquet');
    const { rows: count, errors } = await runHistorical(project, compiled, { spine, out, features });
    expect([count, errors]).toEqual([1_000, {}]);
    const { Duck } = await import('../../src/stores/duckdb/engine.ts');
    const db = await Duck.open();
    const found = await db.rows(`SELECT score, level, segment::VARCHAR AS segment, spent, rate, best FROM '${out}'`);
    db.close();
    for (const at of times) {
      const mine = rows.map((r, i) => ({ ...r, i })).filter(r => r.at === at);
      const { cells } = await reader.read({ features, rows: mine.map(r => ({ u: r.u })), at, request: mine.map(r => ({ extra: r.extra })) });
      const online = cells.map(row => row.map(c => (typeof c.value === 'bigint' ? String(c.value) : c.value)));
      expect(mine.map(r => Object.values(found[r.i]!))).toEqual(online);
    }
    expect(new Set(found.map(r => toJson(r.best))).size).toBeGreaterThan(3);
  });
});

describe('fabra historical', () => {
  it('takes services with aliases, a SELECT, a range, and says what it cannot do', async () => {
    writeFileSync(join(dir, 'rides.csv'), `ride,buyer_id,seller_id,seen\n1,1,2,${iso(NOON + 3 * MINUTE)}\n`);
    const run = (...args: string[]) => fabra(['historical', '--out', `cli${n++}.csv`, '--json', ...args], { cwd: dir });
    const ride = await run('--service', 'ride', '--spine-sql', "select ride, buyer_id::varchar as buyer_id, seller_id, seen from 'rides.csv'");
    expect(ride.stderr).toBe('');
    expect(ride.json()).toMatchObject({ rows: 1, features: ['buyer__spent', 'seller__spent'], columns: ['buyer__spent', 'seller__spent'], time: 'seen' });
    expect(readFileSync(join(dir, `cli${n - 1}.csv`), 'utf8').split('\n')[1]).toMatch(/,14\.5,3$/);
    const full = await run('--service', 'plain', '--full-names', '--spine-sql', `select '1' as u, '${iso(NOON + 1)}' as seen`);
    expect(full.json()).toMatchObject({ columns: ['user__spent', 'user__buys'] });
    const range = await run('--features', 'segment', '--from', iso(NOON), '--to', iso(NOON + 5 * MINUTE));
    expect(range.json()).toMatchObject({ rows: 2, time: 'event_timestamp' });
    for (const [code, args] of [
      ['BAD_FLAG', ['--features', 'spent']],
      ['BAD_FLAG', ['--features', 'spent', '--spine', 'rides.csv', '--from', '-1h']],
      ['BAD_SPINE', ['--features', 'spent', '--spine-sql', "copy (select 1) to 'x.csv'"]],
      ['NOT_REPLAYABLE', ['--features', 'live', '--spine', 'rides.csv']],
    ] as const) {
      const { code: exit, json } = await run(...args);
      expect([exit, json()]).toMatchObject([2, { error: { code, hint: expect.any(String) } }]);
    }
    const created = await run('--features', 'flat', '--as-of-created', '--spine-sql', `select '1' as u, '${iso(NOON + 1)}' as seen`);
    expect([created.code, created.stderr]).toEqual([0, expect.stringContaining('user.flat')]);
  }, 120_000);
});
