/**
 * Real logs: JD's in file order (half of it inverted, no ids, ties), Online Retail as it is (duplicates, no customer, returns) and
 * shuffled so that thousands are late. Replay, worker, parity: 100,000 values each, none different; counters as the oracle's.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { approx } from '../../src/engine/approx.ts';
import { Decoder } from '../../src/engine/decode.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { runParity } from '../../src/runtime/parity/index.ts';
import { worstLines } from '../../src/runtime/parity/report.ts';
import { random } from '../../src/runtime/parity/sample.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { FeatureReader } from '../../src/runtime/reader.ts';
import { replay } from '../../src/runtime/replayer.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { type Log, type LogEvent, Oracle } from '../oracle/index.ts';
import { cleanUp, compileAt, newDir, openTestProject, ROOT, type TestProject } from '../support/project.ts';

const DATA = process.env.FABRA_DATA ?? join(ROOT, '../shared/data');
const JD = join(DATA, 'jd/jd_events_asis.csv.gz');
const RETAIL = join(DATA, 'online_retail/online_retail_slim.csv.gz');
const FULL = process.env.FABRA_QUICK !== '1';
const RETAIL_ROWS = FULL ? 541_909 : 100_000;
const made = mkdtempSync(join(tmpdir(), 'fabra-real-'));
afterAll(() => {
  rmSync(made, { recursive: true, force: true });
  cleanUp();
});
const absent = (file: string) => (existsSync(file) ? false : `${file} is not there`);

const JD_FEATURES = `
import { approxCountDistinct, count, countDistinct, derive, entity, feature, lastN, last, ratio, span, stream, topK } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id', ttl: '30d' });
const sku = entity('sku', { key: 'sku_id' });
const pair = entity('pair', { key: ['user_id', 'sku_id'] });
const s = stream('jd', { id: { hashOf: ['event_time', 'event_type', 'user_id', 'sku_id'] }, time: 'event_time', type: 'event_type', lateness: '90d' });
const base = { user_id: z.string(), sku_id: z.string(), model_id: z.string().nullish(), cate: z.int(), brand: z.int().nullish() };
const browse = s.event('browse', z.object(base));
const click = s.event('click', z.object(base));
const cart = s.event('add_to_cart', z.object(base));
const uncart = s.event('remove_from_cart', z.object(base));
const order = s.event('order', z.object(base));
export const f1 = feature(user, 'browses_1d', count(browse).over('1d'));
export const f2 = feature(user, 'clicks_7d', count(click).over('7d'));
export const f3 = feature(user, 'click_rate_7d', ratio(count(click), count(browse)).over('7d'));
export const f4 = feature(user, 'last_skus', lastN([browse, click], 'sku_id', 5).over('7d'));
export const f5 = feature(user, 'top_brands', topK([browse, click], 'brand', 3).over('7d'));
export const f6 = feature(user, 'session_s', span(browse, click, cart).perSession({ gap: '30m' }));
export const f7 = feature(user, 'cates', countDistinct([browse, click], 'cate').lifetime());
export const f8 = feature(sku, 'viewers_1d', approxCountDistinct([browse, click], 'user_id').over('1d'));
export const f9 = feature(sku, 'carts', ratio(count(cart), count(browse)).lifetime());
export const f10 = feature(sku, 'clicks_today', count(click).tumbling('1d'));
export const f11 = feature(pair, 'touches_3h', count(browse, click, cart, uncart, order).hopping('3h', '1h'));
export const f12 = feature(pair, 'seen', count(browse, click).lifetime());
export const f13 = feature(user, 'last_cate8', last([browse, click], 'sku_id').where({ cate: 8 }).lifetime());
export const f14 = feature(user, 'fresh', derive({ inputs: { f1, f2 }, compute: ({ f1, f2 }) => (f2 === 0 ? null : f1 / f2) }));
`;

const RETAIL_FEATURES = `
import { avg, count, countDistinct, decimal, entity, feature, max, min, percentile, ratio, span, stddev, stream, sum, topK } from 'fabra';
import { z } from 'zod';
const customer = entity('customer', { key: 'customer_id', ttl: '30d' });
const item = entity('item', { key: 'stock_code' });
const invoice = entity('invoice', { key: 'invoice_no' });
const s = stream('retail', { id: { hashOf: ['invoice_time', 'invoice_no', 'customer_id', 'stock_code', 'quantity', 'unit_price', 'country'] }, time: 'invoice_time', type: 'event_type', lateness: '10m' });
const row = { invoice_no: z.string(), customer_id: z.string().nullish(), stock_code: z.string(), quantity: z.int(), unit_price: decimal(3), country: z.string() };
const both = (type) => s.event(type, z.object(row).transform(e => ({ ...e, amount: e.quantity * e.unit_price })).pipe(z.object({ ...row, amount: decimal(3) })));
const purchase = both('purchase');
const back = both('return');
export const f1 = feature(customer, 'spend_1d', sum([purchase, back], 'amount').over('1d'));
export const f2 = feature(customer, 'spend', sum([purchase, back], 'amount').lifetime());
export const f3 = feature(customer, 'lines_2h', count(purchase).over('2h'));
export const f4 = feature(customer, 'return_rate', ratio(count(back), count(purchase)).lifetime());
export const f5 = feature(customer, 'visit_s', span(purchase, back).perSession({ gap: '1h' }));
export const f6 = feature(customer, 'items_1d', countDistinct(purchase, 'stock_code').over('1d'));
export const f7 = feature(item, 'price_avg_1d', avg(purchase, 'unit_price').over('1d'));
export const f8 = feature(item, 'price_sd_1d', stddev(purchase, 'unit_price').over('1d'));
export const f9 = feature(item, 'sold_today', sum([purchase, back], 'quantity').tumbling('1d'));
export const f10 = feature(item, 'qty_p90_1d', percentile(purchase, 'quantity', 0.9).over('1d'));
export const f11 = feature(item, 'min_1d', min([purchase, back], 'quantity').over('1d'));
export const f12 = feature(item, 'max_6h', max(purchase, 'amount').hopping('6h', '1h'));
export const f13 = feature(invoice, 'total', sum([purchase, back], 'amount').lifetime());
export const f14 = feature(invoice, 'top_items', topK(purchase, 'stock_code', 3).lifetime());
export const f15 = feature(invoice, 'uk_lines', count(purchase).where({ country: 'United Kingdom' }).lifetime());
`;

interface Real {
  project: TestProject;
  compiled: Compiled;
  stream: string;
  rows: number;
  oracle: Oracle;
}

/** Replays a file and works it off; the log is kept for the oracle first. */
async function real(name: string, features: string, file: string, stream: string): Promise<Real> {
  const dir = newDir(name);
  writeFileSync(join(dir, 'features.ts'), features);
  const compiled = await compileAt(dir);
  const project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const { signal } = new AbortController();
  const summary = await replay(project, compiled, { file, rejects: join(dir, 'rejects.ndjson') }, () => {}, signal);
  const log: Log = { [stream]: await decoded(project, compiled, stream) };
  await runWorker(project, compiled, { untilIdle: true, signal });
  return { project, compiled, stream, rows: summary.published + summary.rejected, oracle: new Oracle(compiled.registry, log, { approx }) };
}

async function decoded(project: TestProject, compiled: Compiled, stream: string): Promise<LogEvent[]> {
  const decoder = new Decoder(compiled.registry, stream, compiled.code.schemas);
  const out: LogEvent[] = [];
  for (let at = 0; ; ) {
    const records = await project.bus.poll(stream, 0, at, 10_000);
    if (records.length === 0) return out;
    for (const r of records) {
      const d = decoder.decode(r, 0);
      out.push(d.ok ? d.event : { p: 0, o: r.offset, appended: r.appended, ts: 0, id: '', type: '', columns: {}, rejected: true });
    }
    at = records.at(-1)!.offset + 1;
  }
}

async function counters({ project, stream }: Real): Promise<Record<string, number>> {
  const sum: Record<string, number> = {};
  for (const c of Object.values(await project.online.counters(stream))) for (const [k, v] of Object.entries(c)) sum[k] = (sum[k] ?? 0) + v;
  return sum;
}

/** The oracle's keyless are events without any key; the worker counts those that lack one. */
async function checkCounters(r: Real): Promise<Record<string, number>> {
  const { keyless: _a, ...got } = await counters(r);
  const { keyless: _b, ...want } = r.oracle.counters(r.stream);
  expect(got).toEqual(want);
  expect(got.read).toBe(r.rows);
  expect(got.rejected! + got.quarantined! + got.late! + got.ignored! + got.duplicate! + got.applied!).toBe(r.rows);
  return got;
}

async function checkParity(r: Real): Promise<void> {
  const live = await runParity(r.project, r.compiled);
  expect(live.worst.slice(0, 2).map(worstLines)).toEqual([]);
  expect(live).toMatchObject({ ok: true, mode: 'live', p0: { mismatched: 0 } });
  expect(live.p0.compared).toBeGreaterThanOrEqual(100_000);
  expect(live.nonempty).toBeGreaterThan(live.p0.compared / 2);
  expect(live.audit[0]).toMatchObject({ differ: 0 });
  const scratch = await openTestProject(newDir('real-scratch'));
  const again = await runParity(r.project, r.compiled, { replay: { online: scratch.online } });
  expect(again).toMatchObject({ ok: true, mode: 'replay', p0: { mismatched: 0 }, skipped: { expired: 0 } });
  expect(again.p0.compared).toBeGreaterThanOrEqual(100_000);
  expect(again.nonempty).toBeGreaterThan(again.p0.compared / 2);
  console.log(`${r.stream}: ${r.rows} rows, live ${live.p0.compared} compared, ${live.nonempty} not empty; replay ${again.p0.compared}, ${again.nonempty} not empty; 0 different`);
  await checkOracle(r, scratch);
  await scratch.close();
}

/** Both sides could be wrong together: the oracle is a third hand. */
async function checkOracle(r: Real, scratch: TestProject): Promise<void> {
  const reader = new FeatureReader(scratch, r.compiled.registry, r.compiled.code);
  for (const g of reader.groups.groups.values()) g.retention = Number.POSITIVE_INFINITY;
  const rnd = random(5);
  for (const entity of Object.values(r.compiled.registry.entities)) {
    const keys = r.oracle.keys(entity.name);
    const ids = Object.values(r.compiled.registry.features)
      .filter(f => f.kind === 'window' && f.entity === entity.name)
      .map(f => f.id);
    for (let i = 0; i < 60; i++) {
      const key = keys[Math.floor(rnd() * keys.length)]!;
      const events = r.oracle.accepted(entity.name, key, r.stream);
      const at = events[Math.floor(rnd() * events.length)]!.ts + [0, 1, 60_000, 86_400_000][i % 4]!;
      const { cells } = await reader.read({ features: ids, rows: [Object.fromEntries(entity.key.map((c, j) => [c, key[j]!]))], at });
      ids.forEach((id, j) => expect(cells[0]![j], `${id} ${key} ${at}`).toEqual(r.oracle.value(id, key, at)));
    }
  }
}

/** The first rows; with a seed, shuffled inside blocks of 30 minutes. */
function retailFile(name: string, seed: number | null): string {
  const [header, ...lines] = gunzipSync(readFileSync(RETAIL)).toString('utf8').trimEnd().split('\n');
  const rows = lines.slice(0, RETAIL_ROWS);
  const blocks = new Map<number, string[]>();
  for (const line of rows) {
    const block = Math.floor(Date.parse(line.slice(0, line.indexOf(','))) / 1_800_000);
    const list = blocks.get(block);
    if (list) list.push(line);
    else blocks.set(block, [line]);
  }
  if (seed !== null) {
    const rnd = random(seed);
    for (const list of blocks.values())
      for (let i = list.length - 1; i > 0; i--) {
        const j = Math.floor(rnd() * (i + 1));
        [list[i], list[j]] = [list[j]!, list[i]!];
      }
  }
  const file = join(made, name);
  writeFileSync(file, `${[header, ...[...blocks.values()].flat()].join('\n')}\n`);
  return file;
}

const timeout = FULL ? 1_200_000 : 300_000;

describe('JD events in file order', () => {
  const why = absent(JD);
  it.skipIf(why)(`same to the last bit${why ? ` (skipped: ${why})` : ''}`, { timeout }, async () => {
    const r = await real('jd', JD_FEATURES, JD, 'jd');
    const c = await checkCounters(r);
    expect(c).toMatchObject({ read: 89_187, rejected: 0, late: 0, ignored: 253 });
    await checkParity(r);
    await r.project.close();
  });
});

describe('Online Retail', () => {
  const why = absent(RETAIL);
  const note = why ? ` (skipped: ${why})` : ` (${RETAIL_ROWS} rows)`;
  it.skipIf(why)(`as it is${note}`, { timeout }, async () => {
    const r = await real('retail', RETAIL_FEATURES, retailFile('asis.csv', null), 'retail');
    const c = await checkCounters(r);
    expect(c).toMatchObject({ read: RETAIL_ROWS, late: 0 });
    expect(c.duplicate).toBeGreaterThan(500);
    await checkParity(r);
    await r.project.close();
  });
  it.skipIf(why)(`shuffled inside 30 minutes${note}`, { timeout }, async () => {
    const r = await real('retail-shuffled', RETAIL_FEATURES, retailFile('shuffled.csv', 4), 'retail');
    const c = await checkCounters(r);
    expect(c.late).toBeGreaterThan(1_000);
    await checkParity(r);
    await r.project.close();
  });
});
