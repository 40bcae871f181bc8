/** CASES.md, section P: writes in any order, batches of reads, on-demand values over many rows (P52, P59, P61, P63, P64, P71-P73). */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { derive, entity, feature, pushed } from '../../src/index.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { runHistorical } from '../../src/runtime/historian/index.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { pushableView, pushRows, putViews } from '../../src/runtime/push.ts';
import { FeatureReader } from '../../src/runtime/reader.ts';
import { cleanUp, newDir, openTestProject, type TestProject } from '../support/project.ts';

const item = entity('item', { key: 'id' });
const x = feature(item, 'x', pushed(z.int()));
const short = feature(item, 'short', pushed(z.int()), { ttl: '1s' });
const recent = feature(item, 'recent', pushed(z.int()), { ttl: '10m' });
const price = feature(item, 'price', pushed(z.int()));
const extra = feature(item, 'extra', pushed(z.int()), { default: 0 });
const total = feature(item, 'total', derive({ inputs: { price, extra }, type: z.int().nullable(), compute: ({ price, extra }) => (price === null ? null : price + extra) }));
const plusTen = feature(
  item,
  'plus_ten',
  derive({
    inputs: { price },
    request: z.object({ add: z.number() }),
    type: z.number().nullable(),
    compute: ({ price }, { request }) => (price === null ? null : price + request.add),
  }),
);

const T = Date.parse('2025-03-01T12:00:00Z');
const HOUR = 3_600_000;
let project: TestProject;
let compiled: Compiled;
let reader: FeatureReader;

beforeAll(async () => {
  compiled = compileDefinitions({ x, short, recent, price, extra, total, plusTen }) as Compiled;
  project = await openTestProject(newDir('cases-reads'));
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  reader = new FeatureReader(project, compiled.registry, compiled.code);
});
afterAll(async () => {
  await project.close();
  cleanUp();
});

const push = (name: string, rows: readonly (readonly [key: number | string, value: number | null, ts: number])[]): Promise<void> =>
  pushRows(
    project,
    compiled,
    pushableView(compiled, `item.${name}`),
    rows.map(([id, value, ts]) => ({ keys: { id: String(id) }, values: { [name]: value }, ts, created: ts })),
  );
const ask = async (names: readonly string[], ids: readonly (number | string)[], at = T, request?: unknown) =>
  (await reader.read({ features: names.map(n => `item.${n}`), rows: ids.map(id => ({ id: String(id) })), at, ...(request !== undefined && { request }) })).cells;
const values = async (name: string, ids: readonly (number | string)[], at = T): Promise<unknown[]> => (await ask([name], ids, at)).map(row => row[0]!.value);

it('P52: one batch with times in any order keeps the newest', async () => {
  const [t1, t2, t3] = [T - 3_000, T - 2_000, T - 1_000];
  for (const [id, order] of [
    ['down', [t3, t2, t1]],
    ['up', [t1, t2, t3]],
    ['mixed', [t2, t3, t1]],
  ] as const) {
    await push(
      'x',
      order.map(ts => [id, ts - T, ts] as const),
    );
    expect([id, ...(await values('x', [id]))]).toEqual([id, -1_000]);
  }
});

it('P59: rows written for history alone join at their own times, within their ttl', async () => {
  const view = pushableView(compiled, 'item.recent');
  const at = [3, 4, 5, 6].map(h => T + h * HOUR);
  const rows = at.map((ts, i) => ({ keys: { id: 'h' }, values: { recent: i + 1 }, ts, created: ts }));
  await putViews(project, compiled, [{ view, rows: rows.slice(0, 2) }], 'offline');
  await putViews(project, compiled, [{ view, rows: rows.slice(2) }], 'offline');
  const [spine, out] = [join(project.dir, 'p59.csv'), join(project.dir, 'p59-out.csv')];
  const instants = [...at, ...at.map(t => t + 600_000), ...at.map(t => t + 600_001)];
  writeFileSync(spine, `id,event_timestamp\n${instants.map(t => `h,${t}`).join('\n')}\n`);
  await runHistorical(project, compiled, { spine, out, features: ['item.recent'] });
  const got = readFileSync(out, 'utf8').trim().split('\n').slice(1);
  expect(got.map(line => line.split(',')[2])).toEqual(['1', '2', '3', '4', '1', '2', '3', '4', '', '', '', '']);
  expect(await values('recent', ['h'], T + 7 * HOUR)).toEqual([null]);
});

it('P61: with a ttl of a second a value is there, and after the second it is not', async () => {
  await push('short', [[1, 7, T]]);
  expect((await ask(['short'], [1], T + 1_000))[0]![0]).toMatchObject({ value: 7, status: 'PRESENT' });
  expect((await ask(['short'], [1], T + 1_001))[0]![0]).toMatchObject({ value: null, status: 'OUTSIDE_MAX_AGE', ts: T });
});

it('P63, P64: answers lie as the keys were asked, repeated and unknown ones too', async () => {
  await push('x', [
    [1, 10, T],
    [2, 20, T],
    [3, 30, T],
  ]);
  expect(await values('x', [3, 1, 2])).toEqual([30, 10, 20]);
  expect(await values('x', [2, 2, 1])).toEqual([20, 20, 10]);
  expect(await values('x', [3, 1, 3, 2])).toEqual([30, 10, 30, 20]);
  const mixed = await ask(['x'], [3, 99_999, 1]);
  expect(mixed.map(r => [r[0]!.value, r[0]!.status])).toEqual([
    [30, 'PRESENT'],
    [null, 'NOT_FOUND'],
    [10, 'PRESENT'],
  ]);
});

it('P71, P72: on-demand code over 1,000 rows gives 1,000 values, null where its input is, and the same in history', async () => {
  const ids = Array.from({ length: 1_000 }, (_, i) => i + 1_000);
  await push(
    'price',
    ids.map(id => [id, id % 7 === 0 ? null : id * 3, T]),
  );
  const online = (await ask(['plus_ten'], ids, T, { add: 10 })).map(r => r[0]!.value);
  expect(online).toEqual(ids.map(id => (id % 7 === 0 ? null : id * 3 + 10)));
  const [spine, out] = [join(project.dir, 'p72.csv'), join(project.dir, 'p72-out.csv')];
  writeFileSync(spine, `id,event_timestamp,add\n${ids.map(id => `${id},${T},10`).join('\n')}\n`);
  await runHistorical(project, compiled, { spine, out, features: ['item.plus_ten'] });
  const history = readFileSync(out, 'utf8').trim().split('\n').slice(1);
  expect(history.map(line => line.split(',')[3])).toEqual(online.map(v => (v === null ? '' : String(v))));
});

it('P73: code over several written values follows each write (ours runs at the read)', async () => {
  await push('price', [['p', 100, T]]);
  expect((await ask(['plus_ten'], ['p'], T, { add: 10 }))[0]![0]!.value).toBe(110);
  await push('extra', [['p', 5, T]]);
  expect(await values('total', ['p'])).toEqual([105]);
  await push('price', [['p', 300, T + 1]]);
  await push('extra', [['p', 15, T + 1]]);
  expect(await values('total', ['p'], T + 1)).toEqual([315]);
});
