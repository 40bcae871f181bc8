/** The store in this process: reading, publishing, pushing and the worker, by definitions. */
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { count, createWorker, entity, FabraError, feature, openStore, service, type Store } from 'fabra';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  affordable,
  balance,
  fails,
  favorite,
  lastText,
  message,
  points,
  purchase,
  purchases1h,
  rate,
  ride,
  segment,
  shopping,
  spent,
  temperature,
} from '../support/faces/features.ts';
import { cleanUp, newDir, ROOT } from '../support/project.ts';

const HOUR = 3_600_000;
const now = Date.now();

let dir: string;
let store: Store;
beforeAll(async () => {
  dir = newDir('store');
  cpSync(join(ROOT, 'test/support/faces'), dir, { recursive: true });
  await expect(openStore({ project: dir })).rejects.toMatchObject({ code: 'NOT_APPLIED', hint: expect.stringContaining('fabra apply') });
  store = await openStore({ project: dir, apply: true });
});
afterAll(async () => {
  await store?.close();
  cleanUp();
});
const work = () => createWorker(store, { untilIdle: true }).run();

describe('publishing', () => {
  it('is in the log when it resolves, with the id and time that were given', async () => {
    const order = [purchase, { user_id: 'u1', amount: 30 }, { eventId: 'order-1', timestamp: now - HOUR / 2 }] as const;
    expect(await store.publish(...order)).toEqual({ event_id: 'order-1', position: 'shop/0/0' });
    // The same event again is a duplicate for the worker, not an error.
    await store.publish(...order);
    const second = await store.publish(purchase, { amount: 20, account: 2n ** 60n }, { entityId: 'u1', timestamp: new Date(now - HOUR / 4) });
    expect(second.position).toBe('shop/0/2');
    expect(second.event_id).toMatch(/^[0-9a-f-]{36}$/);
    await store.publish(message, { user_id: 'u1', payload: { text: 'hello' } }, { timestamp: now - 1_000 });
    const summary = await work();
    expect(summary).toMatchObject({ read: 4, applied: 3, duplicate: 1, late: 0 });
  });

  it('many: a bad one costs no good one', async () => {
    const outcomes = await store.publishMany(purchase, [
      { payload: { user_id: 'u2', amount: 1 }, eventId: 'a', timestamp: now - 2_000 },
      { payload: { user_id: 'u2', amount: 'x' as never } },
      { payload: { amount: 2 }, entityId: 'u2', timestamp: now - 1_000 },
    ]);
    expect(outcomes.map(o => o.ok)).toEqual([true, false, true]);
    expect(outcomes[1]).toMatchObject({ error: { code: 'BAD_EVENT', path: 'payload.amount' } });
    await work();
    expect(await store.get(spent, { user_id: 'u2' })).toBe(3);
  });

  it('an event the project does not have', async () => {
    const { stream } = purchase;
    await expect(store.publish({ ...purchase, type: 'purchas', stream } as never, {} as never)).rejects.toMatchObject({
      code: 'UNKNOWN_EVENT',
      hint: 'Did you mean: shop/purchase?',
    });
    await expect(store.publish({} as never, {} as never)).rejects.toBeInstanceOf(FabraError);
  });
});

describe('reading', () => {
  it('a service with request data, a list, one value', async () => {
    expect(await store.features(shopping, { user_id: 'u1' }, { request: { price: 50 } })).toEqual({ purchases_1h: 2, spent: 50, segment: null, affordable: true });
    expect(await store.features([balance, lastText], { user_id: 'u1' })).toEqual({ balance: 50, last_text: 'HELLO' });
    expect(await store.get(affordable, { user_id: 'u1' }, { request: { price: 51 } })).toBe(false);
    expect(await store.features([rate], {})).toEqual({ rate: 1 });
  });

  it('rows in the order of the keys, one request for all or one each', async () => {
    const keys = [{ user_id: 'u2' }, { user_id: 'nobody' }, { user_id: 'u1' }];
    expect(await store.features([balance, affordable], keys, { request: { price: 97 } })).toEqual([
      { balance: 97, affordable: true },
      { balance: 100, affordable: true },
      { balance: 50, affordable: false },
    ]);
    expect(await store.features([affordable], keys, { request: [{ price: 98 }, { price: 98 }, { price: 50 }] })).toEqual([
      { affordable: false },
      { affordable: true },
      { affordable: true },
    ]);
    expect(await store.features([balance], [])).toEqual([]);
  });

  it('cells say status, time and reason', async () => {
    const cells = await store.cells([spent, balance, fails], { user_id: 'u1' });
    expect(cells.spent).toEqual({ value: 50, status: 'PRESENT', ts: now - HOUR / 4 });
    expect(cells.fails).toMatchObject({ value: null, status: 'ERROR', reason: expect.stringContaining('no luck') });
    const [nobody] = await store.cells([balance], [{ user_id: 'nobody' }]);
    expect(nobody!.balance).toEqual({ value: 100, status: 'NOT_FOUND', ts: null });
  });

  it('as of an instant', async () => {
    expect(await store.features([spent, balance], { user_id: 'u1' }, { asOf: new Date(now - HOUR / 3) })).toEqual({ spent: 30, balance: 70 });
    expect(await store.features([spent], { user_id: 'u1' }, { asOf: new Date(now - HOUR).toISOString() })).toEqual({ spent: null });
    await expect(store.features([spent], { user_id: 'u1' }, { asOf: 'noon' })).rejects.toMatchObject({ code: 'BAD_TIME' });
  });

  it('stale values are named, and refused with strict', async () => {
    const asOf = now + HOUR / 2 + HOUR / 8;
    const cells = await store.cells([purchases1h, spent], { user_id: 'u1' }, { asOf });
    expect(cells.purchases_1h).toEqual({ value: 1, status: 'PRESENT', ts: now - HOUR / 4, stale: { age: (HOUR * 7) / 8, maxAge: HOUR / 2 } });
    expect(cells.spent.stale).toBeUndefined();
    await expect(store.features([purchases1h], { user_id: 'u1' }, { asOf, strict: true })).rejects.toMatchObject({
      code: 'STALE_FEATURES',
      message: expect.stringContaining('purchases_1h'),
    });
    await expect(store.features([spent], { user_id: 'u1' }, { maxAge: '5m', strict: true })).rejects.toMatchObject({ code: 'STALE_FEATURES' });
    expect(await store.features([spent], { user_id: 'u1' }, { maxAge: '1d', strict: true })).toEqual({ spent: 50 });
  });

  it('mistakes name what is meant', async () => {
    const user = entity('user', { key: 'user_id' });
    const wrong = feature(user, 'purchases_1', count(purchase).over('5m'));
    await expect(store.features([wrong], { user_id: 'u1' })).rejects.toMatchObject({ code: 'UNKNOWN_FEATURE', hint: 'Did you mean: user.purchases_1h?' });
    // @ts-expect-error an event is no feature
    await expect(store.features([purchase], { user_id: 'u1' })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(store.features([], {})).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(store.features([spent], {} as never)).rejects.toMatchObject({ code: 'BAD_KEY', path: 'user_id' });
    await expect(store.features([spent], { user_id: 'u1', usr: 'x' } as never)).rejects.toMatchObject({ code: 'BAD_KEY', path: 'usr' });
    await expect(store.features([spent], { user_id: '' })).rejects.toMatchObject({ code: 'BAD_KEY' });
    await expect(store.features([affordable], { user_id: 'u1' }, { request: { prise: 1 } as never })).rejects.toMatchObject({
      code: 'BAD_REQUEST',
      hint: 'Is prise meant to be price?',
    });
    await expect(store.features([affordable], [{ user_id: 'u1' }], { request: [] })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
    await expect(store.features([spent], { user_id: 'u1' }, { asof: 1 } as never)).rejects.toMatchObject({ code: 'BAD_REQUEST', hint: 'Did you mean: asOf?' });
    await expect(store.features([spent, spent], { user_id: 'u1' })).rejects.toMatchObject({ code: 'NAME_COLLISION' });
  });
});

describe('pushing', () => {
  it('is served at once; the newest time wins in any order', async () => {
    await store.push(segment, [
      { user_id: 'u1', value: 'vip', timestamp: now - 1_000 },
      { user_id: 'u1', value: 'new', timestamp: now - 2_000 },
      { user_id: 'u2', value: 'new' },
    ]);
    await store.push(points, { user_id: 'u1', value: 2n ** 60n });
    expect(await store.features([segment, points], [{ user_id: 'u1' }, { user_id: 'u2' }])).toEqual([
      { segment: 'vip', points: 2n ** 60n },
      { segment: 'new', points: null },
    ]);
    expect(await store.get(segment, { user_id: 'u1' }, { asOf: now - 1_500 })).toBe('new');
    await store.push(segment, { user_id: 'u1', value: null });
    expect((await store.cells([segment], { user_id: 'u1' })).segment).toMatchObject({ value: null, status: 'NULL_VALUE' });
    await store.push(rate, { value: 2 });
    expect(await store.get(affordable, { user_id: 'u1' }, { request: { price: 26 } })).toBe(false);
  });

  it('one bad row writes nothing', async () => {
    const bad = [
      { user_id: 'u9', value: 'vip' as const },
      { user_id: 'u9', value: 'gold' as never },
    ];
    await expect(store.push(segment, bad)).rejects.toMatchObject({ code: 'BAD_VALUE', path: 'rows[1].segment' });
    expect((await store.cells([segment], { user_id: 'u9' })).segment.status).toBe('NOT_FOUND');
    await expect(store.push(segment, { value: 'vip' } as never)).rejects.toMatchObject({ code: 'BAD_KEY', path: 'rows[0].user_id' });
    await expect(store.push(spent, { user_id: 'u1', value: 1 })).rejects.toMatchObject({ code: 'BAD_VALUE' });
  });

  it('the same feature for two keys', async () => {
    await store.push(temperature, [
      { place_id: 'a', value: 20 },
      { place_id: 'b', value: 25.5 },
    ]);
    expect(await store.features(ride, { origin_id: 'a', destination_id: 'b' })).toEqual({ origin__temperature: 20, destination__temperature: 25.5 });
    expect(await store.features(ride, [{ origin_id: 'b', destination_id: 'c' }])).toEqual([{ origin__temperature: 25.5, destination__temperature: null }]);
    const adhoc = service('anything', [temperature, spent], { fullNames: true });
    expect(await store.features(adhoc, { place_id: 'a', user_id: 'u2' })).toEqual({ place__temperature: 20, user__spent: 3 });
  });
});

describe('the worker', () => {
  it('runs scheduled views when it starts, and tells of one that fails', async () => {
    // The workers before this test ran it too.
    expect(await store.features([favorite], [{ user_id: 'u1' }, { user_id: 'u2' }])).toEqual([{ favorite: 'books' }, { favorite: 'unknown' }]);
    writeFileSync(join(dir, 'data/orders.csv'), 'user_id,nothing,updated_at\nu1,1,2025-01-10T08:00:00Z\n');
    const errors: unknown[] = [];
    await createWorker(store, { untilIdle: true, onError: (e, view) => errors.push([view, e.code]) }).run();
    expect(errors).toEqual([['user.favorite', expect.any(String)]]);
    expect(await store.get(favorite, { user_id: 'u1' })).toBe('books');
  });

  it('runs until it is stopped, and follows what is published', async () => {
    const worker = createWorker(store);
    const done = worker.run();
    await expect(worker.run()).rejects.toMatchObject({ code: 'WRITER_BUSY' });
    await store.publish(purchase, { user_id: 'u5', amount: 7 }, { timestamp: Date.now() - 1 });
    const deadline = Date.now() + 20_000;
    while ((await store.get(spent, { user_id: 'u5' })) !== 7 && Date.now() < deadline) await new Promise(r => setTimeout(r, 10));
    expect(await store.get(spent, { user_id: 'u5' })).toBe(7);
    // The process that is told of must not be told to kill itself.
    await expect(createWorker(store).run()).rejects.toMatchObject({ code: 'WRITER_BUSY', hint: expect.not.stringContaining('kill') });
    await worker.stop();
    expect((await done).applied).toBe(1);
  });

  it('a signal ends it, and so does closing the store', async () => {
    expect((await createWorker(store).run(AbortSignal.timeout(50))).read).toBe(0);
    const other = await openStore({ project: dir });
    const running = createWorker(other).run();
    await other.close();
    await running;
    await expect(other.features([spent], { user_id: 'u1' })).rejects.toMatchObject({ code: 'STORE_FAILED' });
    await expect(createWorker(other).run()).rejects.toMatchObject({ code: 'STORE_FAILED', hint: expect.stringContaining('openStore') });
    // The first store is another one, and still open.
    expect(await store.get(spent, { user_id: 'u2' })).toBe(3);
    expect(() => createWorker({} as never)).toThrow(FabraError);
  });
});
