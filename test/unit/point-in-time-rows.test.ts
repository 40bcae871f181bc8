/** Rows of tables as of each row's own time (CASES.md P1-P43, T38-T50): sources as CSV, labels in, columns out. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { type HistoricalOptions, runHistorical } from '../../src/runtime/historian/index.ts';
import { columnsOf } from '../../src/runtime/historian/layout.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import { cleanUp, compileAt, newDir, openTestProject, type TestProject } from '../support/project.ts';

afterAll(cleanUp);

/** Sources with the columns k, ts, created, v: one feature of `thing` each, named like the file. */
const PLAIN = ['p7', 'p8', 'p9', 'p10', 'p17', 'p19', 'p20', 'p25', 'p26', 't38', 't46'];
/** The same without a created column. */
const BARE = ['p18', 't39', 't40', 't41', 't45'];

const FEATURES = `
import { alias, count, derive, entity, feature, int64, on, query, service, source, sql, stream } from 'fabra';
import { z } from 'zod';
const driver = entity('driver', { key: 'driver_id', ttl: '2h' });
const thing = entity('thing', { key: 'k' });
const stats = source('stats', { file: 'd.csv', time: 'ts', created: 'created' });
const base = { type: z.number(), column: 'x' };
const d = sql\`select driver_id, ts, created, x from stats\`;
export const x = feature(driver, 'x', query(stats, d, base));
export const xEver = feature(driver, 'x_ever', query(stats, d, base), { ttl: '0s' });
${PLAIN.map(n => `export const ${n} = feature(thing, '${n}', query(source('${n}', { file: '${n}.csv', time: 'ts', created: 'created' }), sql\`select * from ${n}\`, { type: z.number(), column: 'v' }));`).join('\n')}
${BARE.map(n => `export const ${n} = feature(thing, '${n}', query(source('${n}', { file: '${n}.csv', time: 'ts' }), sql\`select * from ${n}\`, { type: z.number(), column: 'v' })${n === 't45' ? ", { ttl: '1d' }" : ''});`).join('\n')}
const customer = entity('customer', { key: 'customer_id' });
export const orders = feature(customer, 'orders', query(source('orders', { file: 'p22.csv', time: 'ts', created: 'created' }), sql\`select * from orders\`, { type: z.number(), column: 'v' }), { ttl: '10d' });
const user = entity('user', { key: 'u' });
const item = entity('item', { key: 'i' });
const pair = entity('pair', { key: ['a', 'b'] });
const world = entity('world', { key: [] });
export const userV = feature(user, 'v', query(source('ft', { file: 'user.csv', time: 'ts' }), sql\`select u, ts, v from ft\`, { type: z.number() }));
export const itemV = feature(item, 'v', query(source('fc', { file: 'item.csv', time: 'ts' }), sql\`select i, ts, v from fc\`, { type: z.number() }));
export const pairV = feature(pair, 'pv', query(source('fp', { file: 'pair.csv', time: 'ts' }), sql\`select a, b, ts, v from fp\`, { type: z.number(), column: 'v' }));
export const rate = feature(world, 'rate', query(source('rates', { file: 'rates.csv', time: 'ts' }), sql\`select ts, v from rates\`, { type: z.number(), column: 'v' }));
export const mapped = feature(driver, 'mapped', query(source('mapped_source', { file: 'p34.csv', time: 'event_time', fieldMapping: { id: 'driver_id', when: 'event_time' } }), sql\`select driver_id, event_time, v from mapped_source\`, { type: z.number(), column: 'v' }), { ttl: '0s' });
export const big = feature(user, 'big', query(source('bigs', { file: 'big.csv', time: 'ts' }), sql\`select u, ts, big from bigs\`, { type: int64() }));
const place = entity('location', { key: 'location_id' });
export const temperature = feature(place, 'temperature', query(source('temperatures', { file: 'temperature.csv', time: 'ts' }), sql\`select location_id, ts, temperature from temperatures\`, { type: z.number() }));
export const warm = feature(place, 'warm', derive({ inputs: { temperature }, compute: ({ temperature }, { keys }) => (temperature === null ? null : \`\${keys.location_id}:\${temperature > 15}\`) }));
export const ride = service('ride', [alias('origin', temperature, { location_id: 'origin_id' }), alias('destination', temperature, { location_id: 'destination_id' }), alias('destination', warm, { location_id: 'destination_id' })], { fullNames: true });
export const other = feature(place, 'other', query(source('temperatures2', { file: 'temperature.csv', time: 'ts' }), sql\`select location_id, ts, temperature as other from temperatures2\`, { type: z.number() }));
export const plus = feature(user, 'plus', derive({ inputs: { userV }, request: z.object({ extra: z.number() }), compute: ({ userV }, { request }) => (userV ?? 0) + request.extra }));
export const times = feature(user, 'times', derive({ inputs: { userV }, compute: ({ userV }) => (userV ?? 0) * 2 }));
export const minus = feature(user, 'minus', derive({ inputs: { userV }, compute: ({ userV }) => 0 - (userV ?? 0) }));
export const later = feature(user, 'later', derive({ inputs: { userV }, replayable: true, compute: async ({ userV }, { keys, now }) => { await Promise.resolve(); return \`\${keys.u}/\${userV}/\${now}\`; } }));
export const outside = feature(user, 'outside', derive({ inputs: { userV }, compute: async ({ userV }) => userV }));
export const sneaky = feature(user, 'sneaky', derive({ inputs: { userV }, compute: ({ userV }) => Promise.resolve(userV) }));
export const timeless = feature(user, 'timeless', query(source('flat', { file: 'flat.csv' }), sql\`select u, v as timeless from flat\`, { type: z.number() }));
export const missing = feature(user, 'missing', query(source('gone', { file: 'nowhere.csv', time: 'ts' }), sql\`select u, ts, v from gone\`, { type: z.number() }));
export const doubled = feature(user, 'doubled', query(source('ft2', { file: 'user.csv', time: 'ts' }), sql\`select u, ts, v * 2 as doubled from ft2\`, { type: z.number() }));
const shop = stream('shop', { id: 'id', time: 'ts', type: 'type' });
const buy = shop.event('buy', z.object({ u: z.string() }));
export const buys = feature(user, 'buys', count(buy).over('1d'));
export const last = feature(user, 'last', on(buy, { type: z.number(), handle: ({ event }) => event.timestamp }));
`;

const KEYED = 'k,ts,created,v\n';
const FILES: Record<string, string> = {
  'd.csv':
    'driver_id,ts,created,x\n1,2024-01-10T10:00:00Z,2024-01-10T10:00:00Z,10\n1,2024-01-10T12:00:00Z,2024-01-10T12:00:00Z,12\n1,2024-01-10T10:00:00Z,2024-01-10T11:00:00Z,11\n2,2024-01-01T00:00:00Z,2024-01-01T00:00:00Z,20\n3,2024-02-01T00:00:00Z,2024-02-01T00:00:00Z,30\n',
  'p7.csv': `${KEYED}a,2024-01-10T10:00:00Z,,99\na,2024-01-10T10:00:00Z,2024-01-10T10:30:00Z,5\nb,2024-01-10T11:00:00Z,,7\nb,2024-01-10T10:00:00Z,2024-01-10T10:30:00Z,6\n`,
  'p8.csv': `${KEYED}a,2024-01-10T10:00:00Z,2024-01-11T00:00:00Z,1\na,2024-01-10T11:00:00Z,2024-01-12T00:00:00Z,2\n`,
  'p9.csv': `${KEYED}1,2024-01-01T10:00:00Z,2024-01-01T12:00:00Z,0.4\n2,2024-01-01T10:00:00Z,2024-01-03T00:00:00Z,0.6\n`,
  'p10.csv': `${KEYED}1001,2024-01-01T00:00:00Z,2024-01-01T00:00:00Z,10\n1001,2024-01-01T00:00:00Z,2024-01-02T00:00:00Z,20\n1002,2024-01-01T00:00:00Z,2024-01-02T00:00:00Z,30\n1002,2024-01-02T00:00:00Z,2024-01-01T00:00:00Z,40\n`,
  'p17.csv': `${KEYED}a,2024-01-10T10:00:00Z,2024-01-10T10:00:00Z,11\na,2024-01-10T10:00:00Z,2024-01-10T10:00:00Z,10\n`,
  'p18.csv': 'k,ts,v\na,2024-01-10T10:00:00Z,11\na,2024-01-10T10:00:00Z,10\n',
  'p19.csv': `${KEYED}${Array.from({ length: 60 }, (_, i) => (i * 37) % 60)
    .map(m => `a,2024-01-10T10:00:00Z,2024-01-10T10:${String(m).padStart(2, '0')}:00Z,${m}\n`)
    .join('')}`,
  'p20.csv': `${KEYED}a,2024-01-10T10:00:00Z,2024-01-10T10:00:00Z,5\na,2024-01-10T11:00:00Z,2024-01-10T11:00:00Z,\n`,
  'p22.csv':
    'customer_id,ts,created,v\n1,2023-12-31,2023-12-31,11\n1,2024-01-02,2024-01-02,22\n1,2024-01-03,2024-01-03,33\n2,2023-01-03,2023-01-03,22\n3,2024-01-01,2024-01-03,10\n3,2024-01-01,2024-01-02,20\n',
  'p25.csv': `${KEYED}3,2024-01-10T10:00:00+01:00,2024-01-10T00:00:00Z,4\n3,2024-01-10T04:00:00-08:00,2024-01-10T00:00:00Z,5\n`,
  'p26.csv': `${KEYED}a,2024-01-10T10:00:00.000002Z,2024-01-10T10:00:00.000009Z,1\na,2024-01-10T10:00:00.000001Z,2024-01-10T10:00:00.001Z,2\n`,
  'p34.csv': 'id,when,v\n1001,2024-01-10T10:00:00Z,20\n1002,2024-01-10T10:00:00Z,40\n',
  't38.csv': `${KEYED}u1,2024-01-10T10:00:00Z,,10\nu1,2024-01-10T12:00:00Z,,20\n`,
  't39.csv': 'k,ts,v\nu1,2024-01-10T10:00:00Z,5\nu1,2024-01-10T12:00:00Z,10\nu2,2024-01-10T10:00:00Z,2\n',
  't40.csv': 'k,ts,v\nu1,2024-01-01,10\nu1,2024-02-01,50\n',
  't41.csv': 'k,ts,v\nu1,2024-01-10T09:00:00Z,2\nu1,2024-01-10T11:00:00Z,5\nu1,2024-01-10T15:00:00Z,3\n',
  't45.csv': 'k,ts,v\nu1,2024-01-01,7\n',
  't46.csv': `${KEYED}u1,2024-01-10T10:00:00Z,2024-01-10T12:00:00Z,2\nu1,2024-01-10T10:00:00Z,2024-01-10T11:00:00Z,9\n`,
  'user.csv': 'u,ts,v\n1,2024-01-10T10:00:00Z,1\n2,2024-01-10T10:00:00Z,2\n',
  'item.csv': 'i,ts,v\n7,2024-01-10T10:00:00Z,7\n8,2024-01-10T10:00:00Z,8\n',
  'pair.csv': 'a,b,ts,v\n"1","23",2024-01-10T10:00:00Z,123\n"12","3",2024-01-10T10:00:00Z,1203\n',
  'rates.csv': 'ts,v\n2024-01-10T10:00:00Z,1.5\n2024-01-10T12:00:00Z,2.5\n',
  'big.csv': 'u,ts,big\n1,2024-01-10T10:00:00Z,9007199254740993\n',
  'temperature.csv': 'location_id,ts,temperature\n1,2024-01-10T10:00:00Z,11\n2,2024-01-10T10:00:00Z,22\n',
  'flat.csv': 'u,v\n1,1\n',
};

let dir: string;
let project: TestProject;
let compiled: Compiled;
let n = 0;

beforeAll(async () => {
  dir = newDir('pit-rows');
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(dir, name), text);
  compiled = await compileAt(dir);
  project = await openTestProject(dir);
  // There when it was applied, gone when it is asked (T47).
  writeFileSync(join(dir, 'nowhere.csv'), 'u,ts,v\n1,2024-01-10,1\n');
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  rmSync(join(dir, 'nowhere.csv'));
});
afterAll(() => project.close());

async function run(spine: HistoricalOptions['spine'], options: Partial<HistoricalOptions> & { features: HistoricalOptions['features'] }, ext = 'csv') {
  const out = join(dir, `out${n++}.${ext}`);
  let from = spine;
  if (typeof spine === 'string' && spine.includes('\n')) {
    from = join(dir, `spine${n}.csv`);
    writeFileSync(from, spine);
  }
  return { out, summary: await runHistorical(project, compiled, { spine: from, out, ...options }) };
}
/** Lines of the output without its header. */
async function lines(spine: HistoricalOptions['spine'], options: Partial<HistoricalOptions> & { features: HistoricalOptions['features'] }): Promise<string[]> {
  const { out } = await run(spine, options);
  return readFileSync(out, 'utf8').trim().split('\n').slice(1);
}
const spineOf = (key: string, rows: readonly (readonly [string, string])[]): string => `${key},event_timestamp\n${rows.map(r => `${r.join(',')}\n`).join('')}`;
/** The added columns of rows `[key, time]`. */
async function values(key: string, feature: string, rows: readonly (readonly [string, string])[], more: Partial<HistoricalOptions> = {}): Promise<string[]> {
  const found = await lines(spineOf(key, rows), { features: [feature], ...more });
  return found.map(l => l.split(',').slice(2).join());
}
async function read(sql: string): Promise<Record<string, unknown>[]> {
  const db = await Duck.open();
  try {
    return await db.rows(sql);
  } finally {
    db.close();
  }
}

interface Case {
  name: string;
  feature: string;
  key: string;
  rows: readonly (readonly [string, string])[];
  want: readonly string[];
  created?: true;
}
const day = '2024-01-10';
const CASES: Case[] = [
  { name: 'P1: a row at the instant itself counts', feature: 'driver.x', key: 'driver_id', rows: [['1', `${day}T12:00:00Z`]], want: ['12'] },
  { name: 'P2: never a row of the future', feature: 'driver.x', key: 'driver_id', rows: [['1', `${day}T11:59:59.999Z`]], want: ['11'] },
  { name: 'P3: an age of exactly the ttl counts', feature: 'driver.x', key: 'driver_id', rows: [['1', `${day}T14:00:00Z`]], want: ['12'] },
  { name: 'P4: beyond the ttl the row stays, its value is null', feature: 'driver.x', key: 'driver_id', rows: [['1', `${day}T14:00:00.001Z`]], want: [''] },
  { name: 'P5: of one event time the newest created wins', feature: 'driver.x', key: 'driver_id', rows: [['1', `${day}T10:30:00Z`]], want: ['11'] },
  {
    name: 'P6: as of created, what was written later is not known',
    feature: 'driver.x',
    key: 'driver_id',
    rows: [
      ['1', `${day}T10:30:00Z`],
      ['1', `${day}T10:59:59.999Z`],
      ['1', `${day}T11:00:00Z`],
    ],
    want: ['10', '10', '11'],
    created: true,
  },
  {
    name: 'P7: as of created, a row without created is never chosen',
    feature: 'thing.p7',
    key: 'k',
    rows: [
      ['a', `${day}T12:00:00Z`],
      ['b', `${day}T12:00:00Z`],
      ['a', `${day}T10:29:59Z`],
    ],
    want: ['5', '6', ''],
    created: true,
  },
  { name: 'P7: without it, null created is the oldest of a tie', feature: 'thing.p7', key: 'k', rows: [['a', `${day}T12:00:00Z`]], want: ['5'] },
  { name: 'P8: all written later is one row, null', feature: 'thing.p8', key: 'k', rows: [['a', `${day}T12:00:00Z`]], want: [''], created: true },
  {
    name: 'P9: no borrowing from another key',
    feature: 'thing.p9',
    key: 'k',
    rows: [
      ['1', '2024-01-02T00:00:00Z'],
      ['2', '2024-01-02T00:00:00Z'],
    ],
    want: ['0.4', ''],
    created: true,
  },
  {
    name: 'P10: event time goes before created',
    feature: 'thing.p10',
    key: 'k',
    rows: [
      ['1001', '2024-01-03'],
      ['1002', '2024-01-03'],
    ],
    want: ['20', '40'],
  },
  {
    name: 'P17: rows alike in key, time and created: the greatest canonical text',
    feature: 'thing.p17',
    key: 'k',
    rows: [
      ['a', `${day}T12:00:00Z`],
      ['a', `${day}T12:00:00Z`],
    ],
    want: ['11', '11'],
  },
  {
    name: 'P18: the same without a created column',
    feature: 'thing.p18',
    key: 'k',
    rows: [
      ['a', `${day}T12:00:00Z`],
      ['a', `${day}T12:00:00Z`],
    ],
    want: ['11', '11'],
  },
  { name: 'P19: 60 rows of one time, shuffled', feature: 'thing.p19', key: 'k', rows: [['a', `${day}T12:00:00Z`]], want: ['59'] },
  {
    name: 'P20: a null in the newest row is null',
    feature: 'thing.p20',
    key: 'k',
    rows: [
      ['a', `${day}T12:00:00Z`],
      ['a', `${day}T10:59:00Z`],
    ],
    want: ['', '5'],
  },
  { name: 'P21: without a ttl a year old row counts', feature: 'driver.x_ever', key: 'driver_id', rows: [['2', '2025-01-01T00:00:00Z']], want: ['20'] },
  {
    name: 'P22: customers',
    feature: 'customer.orders',
    key: 'customer_id',
    rows: [
      ['1', '2024-01-01'],
      ['1', '2024-01-02'],
      ['2', '2024-01-01'],
      ['3', '2024-01-03'],
    ],
    want: ['11', '22', '', '10'],
  },
  { name: 'P23: a time without zone is UTC', feature: 'driver.x', key: 'driver_id', rows: [['1', `${day} 12:30:00`]], want: ['12'] },
  { name: 'P24: an offset counts (CSV)', feature: 'driver.x', key: 'driver_id', rows: [['1', `${day} 14:30+02:00`]], want: ['12'] },
  {
    name: 'P25: zones mixed in the source',
    feature: 'thing.p25',
    key: 'k',
    rows: [
      ['3', `${day}T11:59:59Z`],
      ['3', `${day}T12:00:00Z`],
    ],
    want: ['4', '5'],
  },
  { name: 'P26: microseconds are floored on both sides, created breaks the tie', feature: 'thing.p26', key: 'k', rows: [['a', `${day}T10:00:00.0009Z`]], want: ['2'] },
  { name: 'P27: far in the future without a ttl', feature: 'driver.x_ever', key: 'driver_id', rows: [['1', '2100-01-01']], want: ['12'] },
  { name: 'P27: far in the future with a ttl', feature: 'driver.x', key: 'driver_id', rows: [['1', '2100-01-01']], want: [''] },
  {
    name: 'P34: a source column mapped to the key',
    feature: 'driver.mapped',
    key: 'driver_id',
    rows: [
      ['1001', `${day}T12:00:00Z`],
      ['1002', `${day}T12:00:00Z`],
    ],
    want: ['20', '40'],
  },
  {
    name: 'P35: without an entity key every row gets the newest of all',
    feature: 'world.rate',
    key: 'anything',
    rows: [
      ['a', `${day}T11:00:00Z`],
      ['', `${day}T12:00:00Z`],
      ['b', `${day}T09:00:00Z`],
    ],
    want: ['1.5', '2.5', ''],
  },
  {
    name: 'T38: as of three times',
    feature: 'thing.t38',
    key: 'k',
    rows: [
      ['u1', `${day}T11:00:00Z`],
      ['u1', `${day}T13:00:00Z`],
      ['u1', `${day}T09:00:00Z`],
    ],
    want: ['10', '20', ''],
  },
  {
    name: 'T39: two users',
    feature: 'thing.t39',
    key: 'k',
    rows: [
      ['u1', `${day}T11:00:00Z`],
      ['u1', `${day}T13:00:00Z`],
      ['u2', `${day}T09:00:00Z`],
    ],
    want: ['5', '10', ''],
  },
  { name: 'T40: not the next month', feature: 'thing.t40', key: 'k', rows: [['u1', '2024-01-15']], want: ['10'] },
  {
    name: 'T41: the newest before each label',
    feature: 'thing.t41',
    key: 'k',
    rows: [
      ['u1', `${day}T10:00:00Z`],
      ['u1', `${day}T14:00:00Z`],
    ],
    want: ['2', '5'],
  },
  { name: 'T42: a label at the row is inclusive (handlers are exclusive: see historian-rows)', feature: 'thing.t38', key: 'k', rows: [['u1', `${day}T12:00:00Z`]], want: ['20'] },
  {
    name: 'T43: three alike labels are three rows',
    feature: 'thing.t39',
    key: 'k',
    rows: [
      ['u1', `${day}T11:00:00Z`],
      ['u1', `${day}T11:00:00Z`],
      ['u1', `${day}T11:00:00Z`],
    ],
    want: ['5', '5', '5'],
  },
  {
    name: 'T44: the same instant in UTC and +02:00, numeric ids',
    feature: 'driver.x',
    key: 'driver_id',
    rows: [
      ['1', `${day}T12:30:00Z`],
      ['1', `${day}T14:30:00+02:00`],
    ],
    want: ['12', '12'],
  },
  {
    name: 'T45: a ttl of a day to the millisecond',
    feature: 'thing.t45',
    key: 'k',
    rows: [
      ['u1', '2024-01-02T00:00:00Z'],
      ['u1', '2024-01-02T00:00:00.001Z'],
    ],
    want: ['7', ''],
  },
  { name: 'T46: the larger created_at of a tie', feature: 'thing.t46', key: 'k', rows: [['u1', `${day}T12:00:00Z`]], want: ['2'] },
  {
    name: 'T50: a key that looks like SQL is a key',
    feature: 'thing.t39',
    key: 'k',
    rows: [
      ["x'; drop table t;--", `${day}T11:00:00Z`],
      ['u1', `${day}T11:00:00Z`],
    ],
    want: ['', '5'],
  },
];

describe('the row that counts', () => {
  for (const c of CASES)
    it(c.name, async () => {
      expect(await values(c.key, c.feature, c.rows, c.created ? { asOfCreated: true } : {})).toEqual(c.want);
    });
});

describe('rows in, rows out', () => {
  it('P11: four rows stay four, labels intact', async () => {
    const spine = `driver_id,event_timestamp,label\n${[1, 2, 3, 4].map(i => `${i},${day}T12:30:00Z,${i}\n`).join('')}`;
    expect(await lines(spine, { features: ['driver.x'] })).toEqual([1, 2, 3, 4].map(i => `${i},${day}T12:30:00Z,${i},${i === 1 ? '12' : ''}`));
  });
  it('P12, P13: doubled rows stay two, rows out of order stay so', async () => {
    const spine = `driver_id,event_timestamp,label\n1,${day}T12:30:00Z,100\n1,${day}T12:30:00Z,200\n1,${day}T10:30:00Z,second\n`;
    expect(await lines(spine, { features: ['driver.x'] })).toEqual([`1,${day}T12:30:00Z,100,12`, `1,${day}T12:30:00Z,200,12`, `1,${day}T10:30:00Z,second,11`]);
  });
  it('P14: a row without a key stays, with nulls', async () => {
    expect(await lines(`driver_id,event_timestamp\n,${day}T12:30:00Z\n1,${day}T12:30:00Z\n`, { features: ['driver.x'] })).toEqual([`,${day}T12:30:00Z,`, `1,${day}T12:30:00Z,12`]);
  });
  it('P15, T49: features of two entities join on their own keys, in any order', async () => {
    const spine = `u,i,event_timestamp\n1,7,${day}T12:00:00Z\n1,8,${day}T12:00:00Z\n`;
    const cells = async (features: string[]) => (await lines(spine, { features, fullNames: true })).map(l => l.split(',').slice(3).join());
    expect(await cells(['user.v', 'item.v'])).toEqual(['1,7', '1,8']);
    expect(await cells(['item.v', 'user.v'])).toEqual(['7,1', '8,1']);
    expect(await cells(['item.v', 'user.buys', 'world.rate', 'user.v'])).toEqual(['7,0,2.5,1', '8,0,2.5,1']);
  });
  it('P16: parts of a composite key never run together', async () => {
    expect(await lines(`a,b,event_timestamp\n1,23,${day}T12:00:00Z\n12,3,${day}T12:00:00Z\n`, { features: ['pair.pv'] })).toEqual([
      `1,23,${day}T12:00:00Z,123`,
      `12,3,${day}T12:00:00Z,1203`,
    ]);
  });
  it('P17, P43 (one engine here, with one thread and four): byte-identical on every run', async () => {
    const spine = `driver_id,event_timestamp\n${Array.from({ length: 5_000 }, (_, i) => `${(i % 4) + 1},${new Date(Date.parse(`${day}T09:00:00Z`) + i * 4_321).toISOString()}\n`).join('')}`;
    const one = await run(spine, { features: ['driver.x', 'driver.x_ever'] });
    const many = await openTestProject(dir, undefined, true);
    try {
      (many.history as unknown as { options: { threads: number } }).options.threads = 4;
      const out = join(dir, 'threads.csv');
      await runHistorical(many, compiled, { spine: join(dir, `spine${n}.csv`), out, features: ['driver.x', 'driver.x_ever'] });
      expect(readFileSync(out)).toEqual(readFileSync(one.out));
      expect(
        new Set(
          readFileSync(out, 'utf8')
            .split('\n')
            .map(l => l.split(',')[2]),
        ),
      ).toEqual(new Set(['x', '', '11', '12', undefined]));
    } finally {
      await many.close();
    }
  });
  it('P36, P37: other columns pass untouched, int64 exact beside null; entity columns first, then features as asked', async () => {
    const spine = join(dir, 'typed-spine.parquet');
    const db = await Duck.open();
    await db.run(
      `COPY (SELECT * FROM (VALUES (1::BIGINT, TIMESTAMP '${day} 12:00:00', 9007199254740993::BIGINT, 'a'), (5, TIMESTAMP '${day} 12:00:00', NULL, 'b')) t(u, event_timestamp, order_id, note)) TO '${spine}' (FORMAT parquet)`,
    );
    db.close();
    const { out } = await run(spine, { features: ['user.big', 'user.v'] }, 'parquet');
    expect((await read(`DESCRIBE SELECT * FROM '${out}'`)).map(r => [r.column_name, r.column_type])).toEqual([
      ['u', 'BIGINT'],
      ['event_timestamp', 'TIMESTAMP'],
      ['order_id', 'BIGINT'],
      ['note', 'VARCHAR'],
      ['big', 'BIGINT'],
      ['v', 'DOUBLE'],
    ]);
    expect(await read(`SELECT order_id, big, v FROM '${out}'`)).toEqual([
      { order_id: 9007199254740993n, big: 9007199254740993n, v: 1 },
      { order_id: null, big: null, v: null },
    ]);
  });
  it('P24: a Parquet time with a zone is its instant, and comes out in UTC', async () => {
    const spine = join(dir, 'zoned.parquet');
    const db = await Duck.open();
    await db.run(`COPY (SELECT 1 AS driver_id, TIMESTAMPTZ '${day} 14:30:00+02' AS seen) TO '${spine}' (FORMAT parquet)`);
    db.close();
    expect(await lines(spine, { features: ['driver.x'] })).toEqual([`1,${day}T12:30:00.000Z,12`]);
  });
  it('P42: a saved data set reads back row for row, and is replaced only when allowed', async () => {
    const spine = `driver_id,event_timestamp\n1,${day}T12:30:00Z\n2,${day}T12:30:00Z\n1,${day}T10:30:00Z\n`;
    const { out } = await run(spine, { features: ['driver.x'] }, 'parquet');
    const csv = await lines(spine, { features: ['driver.x'] });
    expect((await read(`SELECT * FROM '${out}'`)).map(r => [r.driver_id, r.event_timestamp, r.x ?? ''].join())).toEqual(csv.map(l => l.replace(/\.0$/, '')));
    await expect(runHistorical(project, compiled, { spine: join(dir, `spine${n}.csv`), out, features: ['driver.x'] })).rejects.toMatchObject({ code: 'FILE_EXISTS' });
    await runHistorical(project, compiled, { spine: join(dir, `spine${n}.csv`), out, features: ['driver.x'], overwrite: true });
  });
});

describe('names and keys', () => {
  const spine = `u,i,event_timestamp\n1,7,${day}T12:00:00Z\n`;
  it('P29: a missing key column is named, with whose it is', () =>
    expect(run(`who,event_timestamp\n1,${day}\n`, { features: ['driver.x'] })).rejects.toMatchObject({
      code: 'BAD_SPINE',
      message: "the spine has no column 'driver_id', the key of entity driver",
    }));
  it('P30: an unknown feature is named, with the nearest', () =>
    expect(run(spine, { features: ['driver.nope'] })).rejects.toMatchObject({ code: 'UNKNOWN_FEATURE', exitCode: 2, message: expect.stringContaining('driver.nope') }));
  it('P31 (a sibling view of one source is here a feature of another entity): not found under the wrong one', () =>
    expect(run(spine, { features: ['user.temperature'] })).rejects.toMatchObject({ code: 'UNKNOWN_FEATURE', hint: expect.stringContaining('temperature') }));
  it('P32: two features named v collide; full names tell them apart', async () => {
    await expect(run(spine, { features: ['user.v', 'item.v'] })).rejects.toMatchObject({ code: 'NAME_COLLISION', hint: expect.stringContaining('--full-names') });
    const { summary } = await run(spine, { features: ['user.v', 'item.v'], fullNames: true });
    expect(summary.columns).toEqual(['user__v', 'item__v']);
  });
  it('P33: one feature for two keys of a row, derived ones too; short names collide', async () => {
    const rides = `ride,origin_id,destination_id,event_timestamp\nr1,1,2,${day}T12:00:00Z\nr2,2,1,${day}T12:00:00Z\nr3,,2,${day}T12:00:00Z\n`;
    const features = columnsOf(compiled.registry.services.ride!);
    const { out, summary } = await run(rides, { features, fullNames: true });
    expect(summary.columns).toEqual(['origin__temperature', 'destination__temperature', 'destination__warm']);
    expect(
      readFileSync(out, 'utf8')
        .trim()
        .split('\n')
        .slice(1)
        .map(l => l.split(',').slice(4).join()),
    ).toEqual(['11,22,2:true', '22,11,1:false', ',22,2:true']);
    await expect(run(rides, { features })).rejects.toMatchObject({ code: 'NAME_COLLISION', message: expect.stringContaining('origin__temperature') });
    await expect(run(`destination_id,event_timestamp\n1,${day}\n`, { features, fullNames: true })).rejects.toMatchObject({
      code: 'BAD_SPINE',
      message: "the spine has no column 'origin_id', the key of entity location as origin",
    });
  });
  it('P38: a missing request input is said before anything is asked', () =>
    expect(run(spine, { features: ['user.plus', 'user.missing'] })).rejects.toMatchObject({ code: 'BAD_SPINE', message: expect.stringContaining("'extra'") }));
  it('P39: one of three on-demand features alone', async () => {
    const { summary } = await run(spine, { features: ['user.minus'] });
    expect(summary.columns).toEqual(['minus']);
  });
  it('T47: a missing source is named, and nothing is written', () =>
    expect(run(spine, { features: ['user.missing'] })).rejects.toMatchObject({ code: 'SOURCE_FAILED', message: expect.stringContaining('nowhere.csv') }));
  it('T48: training runs the definition: another SQL, other values', async () => {
    expect(await lines(spine, { features: ['user.v', 'user.doubled'] })).toEqual([`1,7,${day}T12:00:00Z,1,2`]);
  });
});

describe('on-demand code', () => {
  const spine = `u,event_timestamp,extra\n${Array.from({ length: 1_000 }, (_, i) => `${i % 3},${day}T12:00:00Z,${i}\n`).join('')}`;
  it('gives a value per row of 1,000, async ones that say replayable too', async () => {
    const found = (await lines(spine, { features: ['user.plus', 'user.later'] })).map(l => l.split(',').slice(3));
    const at = Date.parse(`${day}T12:00:00Z`);
    expect(found).toEqual(Array.from({ length: 1_000 }, (_, i) => [`${(i % 3) + i}`, `${i % 3}/${i % 3 === 0 ? null : i % 3}/${at}`]));
  });
  it('is refused when async and not replayable, before any query', async () => {
    for (const feature of ['user.outside', 'user.sneaky'])
      await expect(run(spine, { features: [feature] })).rejects.toMatchObject({
        code: 'NOT_REPLAYABLE',
        message: expect.stringContaining(feature),
        hint: expect.stringContaining('replayable: true'),
      });
    await expect(run('no.csv', { features: ['user.outside'] })).rejects.toMatchObject({ code: 'NOT_REPLAYABLE' });
  });
});

describe('rows from elsewhere', () => {
  it('P40: without a spine, each change in a range, both ends in it', async () => {
    const found = await lines({ from: Date.parse('2024-01-01'), to: Date.parse('2024-02-01') }, { features: ['driver.x_ever'] });
    expect(found).toEqual(['2,2024-01-01T00:00:00.000Z,20', '1,2024-01-10T10:00:00.000Z,11', '1,2024-01-10T12:00:00.000Z,12', '3,2024-02-01T00:00:00.000Z,30']);
    expect(await lines({ from: Date.parse(`${day}T10:00:00.001Z`), to: Date.parse('2024-01-31') }, { features: ['driver.x_ever', 'driver.x'] })).toEqual([
      '1,2024-01-10T12:00:00.000Z,12,12',
    ]);
  });
  it('P40: asks for rows of one entity', async () => {
    const range = { from: 0, to: Date.parse('2030-01-01') };
    await expect(run(range, { features: ['user.buys'] })).rejects.toMatchObject({ code: 'BAD_FLAG', hint: expect.stringContaining('--spine') });
    await expect(run(range, { features: ['user.v', 'driver.x'] })).rejects.toMatchObject({ code: 'BAD_FLAG', message: expect.stringMatching(/driver and user|user and driver/) });
    expect((await run(range, { features: ['user.v', 'user.times', 'user.buys'] })).summary.rows).toBe(2);
  });
  it('P41: a SELECT gives the same as the same rows in a file', async () => {
    const spine = `driver_id,event_timestamp\n2,${day}T12:30:00Z\n1,${day}T12:30:00Z\n1,${day}T10:30:00Z\n`;
    const file = await lines(spine, { features: ['driver.x'] });
    const sql = `SELECT * FROM read_csv('spine${n}.csv', all_varchar = true) -- as it is`;
    expect(await lines({ sql, cwd: dir }, { features: ['driver.x'] })).toEqual(file);
    const ordered = await lines(
      { sql: `select 1 as driver_id, timestamp '${day} 10:00:00' + interval (i) hour as at from range(5) t(i) order by i desc;`, cwd: dir },
      { features: ['driver.x'] },
    );
    expect(ordered.map(l => l.split(',')[2])).toEqual(['12', '12', '12', '11', '11']);
    const zoned = `select 1 as driver_id, timestamptz '${day} 12:30:00' as at, current_setting('TimeZone') as zone`;
    expect(await lines({ sql: zoned, cwd: dir }, { features: ['driver.x'] })).toEqual([`1,${day}T12:30:00.000Z,UTC,12`]);
  });
  it('P41: only one SELECT, and nothing that writes', async () => {
    const target = join(dir, 'written.csv');
    for (const sql of ['', 'select 1; select 2', `copy (select 1) to '${target}'`, 'create table y as select 1', 'select * from nowhere', 'select'])
      await expect(run({ sql, cwd: dir }, { features: ['driver.x'] })).rejects.toMatchObject({ code: 'BAD_SPINE', message: expect.stringContaining('--spine-sql') });
    expect(() => readFileSync(target)).toThrow();
  });
});
