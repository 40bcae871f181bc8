/** `explain`: every event that counts, every one that does not with its reason, and a recount that agrees. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { explain } from '../../src/runtime/explain/index.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { fabra } from '../support/bin.ts';
import { cleanUp, compileAt, newDir, openTestProject, type TestProject } from '../support/project.ts';

afterAll(cleanUp);

const FEATURES = `
import { avg, count, decimal, derive, entity, feature, ratio, span, stream } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id' });
const item = entity('item', { key: 'item_id' });
const clicks = stream('clicks', { id: 'id', time: 'ts', type: 'type', lateness: '10m', maxAhead: '1d' });
const base = { user_id: z.string(), item_id: z.string().nullish(), mobile: z.boolean(), price: decimal(2).nullish() };
const view = clicks.event('view', z.object(base));
const buy = clicks.event('buy', z.object(base));
export const views = feature(user, 'mobile_views', count(view).where({ mobile: true }).over('5m'));
export const mean = feature(user, 'mean_price', avg(view, 'price').over('5m'));
export const rate = feature(user, 'rate', ratio(count(buy), count(view)).over('1h'));
export const visit = feature(user, 'visit', span(view, buy).perSession({ gap: '2m' }));
export const buys = feature(item, 'buys', count(buy).lifetime());
export const hot = feature(user, 'hot', derive({ inputs: { rate, buys }, request: z.object({ boost: z.number() }), compute: ({ rate, buys }, { request }) => (rate ?? 0) * buys * request.boost }));
`;
const T0 = Date.parse('2025-01-15T12:00:00Z');
let dir: string;
let project: TestProject;
let compiled: Compiled;

const line = (id: string, type: string, s: number, more: object = {}) => ({
  bytes: Buffer.from(JSON.stringify({ id, ts: new Date(T0 + s * 1000).toISOString(), type, user_id: 'u1', mobile: true, ...more })),
});

beforeAll(async () => {
  dir = newDir('explain');
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  compiled = await compileAt(dir);
  project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const log = [
    line('old', 'view', -300, { price: 9.99 }), // 0: closed start of the frame at T0
    line('older', 'view', -301), // 1: before the frame
    line('a', 'view', -200, { price: 1.1 }), // 2
    line('b', 'view', -100, { mobile: false, price: null }), // 3: fails the filter
    line('a', 'view', -200, { price: 1.1 }), // 4: duplicate of 2
    line('c', 'buy', -90, { item_id: 'i1' }), // 5
    line('t', 'view', 0), // 6: at T
    line('next', 'view', 600), // 7: after T; moves the time on
    line('late', 'view', -50), // 8: late
    line('far', 'view', 86_400 * 3), // 9: quarantined
  ];
  await project.bus.append('clicks', log, T0 + 86_400_000 * 30);
  await runWorker(project, compiled, { untilIdle: true, signal: new AbortController().signal });
});
afterAll(() => project.close());

const ask = (feature: string, more: object = {}, at = T0) => explain(project, compiled, { feature, row: { user_id: 'u1' }, at, ...more });

describe('explain', () => {
  it('lists what counts and why the rest does not', async () => {
    const x = await ask('user.mobile_views');
    expect(x).toMatchObject({
      online: { value: 2, status: 'PRESENT', ts: T0 - 200_000 },
      offline: { value: 2 },
      same: true,
      recount: { value: 2 },
      recountSame: true,
      unread: 0,
      what: 'count of view where mobile = true over 5m',
    });
    expect(x.frame).toEqual({ from: T0 - 300_000, to: T0 });
    expect(x.sides).toMatchObject([
      {
        name: 'value',
        events: [
          { id: 'old', offset: 0, columns: { mobile: true }, note: null },
          { id: 'a', offset: 2, note: null },
        ],
      },
    ]);
    expect(x.dropped.map(e => [e.id, e.offset, e.note])).toEqual([
      ['older', 1, 'before the frame'],
      ['a', 4, 'duplicate of offset 2'],
      ['b', 3, 'does not pass the filter'],
      ['late', 8, 'late: more than 10m behind the newest event when it came'],
      ['t', 6, 'at T: a value sees only what was before'],
      ['next', 7, 'after T'],
    ]);
  });
  it('shows values as readers see them, and nulls that are skipped', async () => {
    const x = await ask('user.mean_price');
    expect(x.offline!.value).toBe(5.545);
    expect(x.sides[0]!.events.map(e => [e.id, e.columns.price, e.note])).toEqual([
      ['old', '9.99', null],
      ['a', '1.1', null],
      ['b', null, 'price is null: skipped'],
    ]);
    expect(x.recountSame).toBe(true);
  });
  it('a quarantined event is named where it would have counted', async () => {
    const x = await ask('user.mobile_views', {}, T0 + 86_400_000 * 3 + 1_000);
    expect(x.dropped.map(e => [e.id, e.note])).toContainEqual(['far', 'quarantined: its time was ahead of the stream']);
  });
  it('a ratio has both sides, a session its own frame', async () => {
    const r = await ask('user.rate');
    expect(r.sides.map(s => [s.name, s.events.map(e => e.id)])).toEqual([
      ['numerator', ['c']],
      ['denominator', ['older', 'old', 'a', 'b']],
    ]);
    expect(r).toMatchObject({ offline: { value: 0.25 }, recountSame: true, same: true });
    const s = await ask('user.visit');
    expect(s).toMatchObject({ frame: { from: T0 - 301_000, to: T0 }, offline: { value: 211 }, recountSame: true, same: true });
  });
  it('a derived feature has its inputs, each explained; request data and other keys are given', async () => {
    const x = await ask('user.hot', { row: { user_id: 'u1', item_id: 'i1' }, request: { boost: 8 } });
    expect(x).toMatchObject({ kind: 'derive', online: { value: 2 }, offline: { value: 2 }, recount: { value: 2 }, same: true, recountSame: true, frame: null });
    expect(x.inputs.rate!.sides).toHaveLength(2);
    expect(x.inputs.buys).toMatchObject({ entity: 'item', key: ['i1'], offline: { value: 1 }, frame: { from: null, to: T0 } });
    const without = await ask('user.hot', { request: { boost: 8 } });
    expect(without).toMatchObject({ online: { status: 'ERROR' }, same: true, inputs: { buys: { key: null, offline: { reason: 'MISSING_KEY' } } } });
  });
  it('says what the store cannot: an expired instant, events not read yet', async () => {
    await project.bus.append('clicks', [line('z', 'view', 700)], T0 + 86_400_000 * 30);
    expect(await ask('user.mobile_views', {}, T0 + 800_000)).toMatchObject({ unread: 1, same: true, offline: { value: 1 } });
    await expect(ask('user.nope')).rejects.toMatchObject({ code: 'UNKNOWN_FEATURE' });
  });
  it('on the command line: 80 columns for people, one document for programs', { timeout: 60_000 }, async () => {
    const args = ['explain', 'user', 'u1', 'mobile_views', '--at', '2025-01-15T12:00:00Z'];
    const text = await fabra(args, { cwd: dir });
    expect(text.code).toBe(0);
    expect(text.stdout).toContain('recount: same');
    expect(text.stdout.split('\n').filter(l => l.length > 80)).toEqual([]);
    const doc = (await fabra([...args, '--json'], { cwd: dir })).json();
    expect(doc).toMatchObject({
      feature: 'user.mobile_views',
      key: 'u1',
      at: '2025-01-15T12:00:00.000Z',
      online: { value: 2, ts: '2025-01-15T11:56:40.000Z' },
      recount: { value: 2, same: true },
      frame: { from: '2025-01-15T11:55:00.000Z' },
    });
    const slip = await fabra(['explain', 'user', 'u1', 'mobile_view'], { cwd: dir });
    expect(slip.code).toBe(2);
    expect(slip.stderr).toContain('Did you mean: mobile_views?');
  });
});
