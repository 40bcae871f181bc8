/** `fabra/testing`: the real engine under a test's own clock. */
import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { alias, avg, count, derive, entity, feature, fold, last, NonRetriableError, on, pushed, query, service, source, sql, stream } from 'fabra';
import { testFeatures } from 'fabra/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';

const user = entity('user', { key: 'user_id' });
const shop = stream('shop', { lateness: '10m' });
const view = shop.event('view', z.object({ user_id: z.string(), product_id: z.string() }));
const purchase = shop.event('purchase', z.object({ user_id: z.string(), amount: z.number() }));
const views5m = feature(user, 'views_5m', count(view).over('5m'));
const lastProduct = feature(user, 'last_product', last(view, 'product_id').lifetime());

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const t of open.splice(0)) await t.close();
});
const kept = <T extends { close(): Promise<void> }>(t: T): T => {
  open.push(t);
  return t;
};

describe('windows', () => {
  it('are values at any instant, typed by name', async () => {
    const t = kept(testFeatures([views5m, lastProduct], { day: '2025-03-01' }));
    t.event(view, { user_id: 'u1', product_id: 'p1' }, '12:00').event(view, { user_id: 'u1', product_id: 'p2' }, '12:03');
    expect(await t.at('12:00')).toEqual({ views_5m: 0, last_product: null });
    expect(await t.at('12:04', { user_id: 'u1' })).toEqual({ views_5m: 2, last_product: 'p2' });
    expect(await t.at('12:06', { user_id: 'u1' })).toEqual({ views_5m: 1, last_product: 'p2' });
    expect(await t.at('2025-03-01T12:08:00.001Z')).toEqual({ views_5m: 0, last_product: 'p2' });
    const { last_product } = await t.cells('12:04');
    expect(last_product).toEqual({ value: 'p2', status: 'PRESENT', ts: Date.parse('2025-03-01T12:03:00Z') });
  });

  it('late, duplicate and out-of-order events are judged as in the product', async () => {
    const t = kept(testFeatures([views5m]));
    const one = { user_id: 'u1', product_id: 'p1' };
    t.event(view, one, '12:10', { id: 'a' });
    t.event(view, one, '12:08', { id: 'b' });
    t.event(view, one, '12:10', { id: 'a' });
    t.event(view, one, '11:59', { id: 'late' });
    expect(await t.at('12:11')).toEqual({ views_5m: 2 });
    expect(await t.counts()).toMatchObject({ read: 4, applied: 2, duplicate: 1, late: 1 });
    // A later arrival is seen by a later read of the same instant.
    t.event(view, one, '12:09', { id: 'c' });
    expect(await t.at('12:11')).toEqual({ views_5m: 3 });
  });

  it('keys: those of the events when there is one, a list for many', async () => {
    const t = kept(testFeatures([views5m]));
    t.event(view, { user_id: 'u1', product_id: 'p' }, '12:00').event(view, { product_id: 'p' }, '12:00', { entityId: 'u2' });
    await expect(t.at('12:01')).rejects.toMatchObject({ code: 'BAD_KEY', message: expect.stringContaining('u1, u2') });
    expect(await t.at('12:01', [{ user_id: 'u1' }, { user_id: 'u2' }, { user_id: 'u3' }])).toEqual([{ views_5m: 1 }, { views_5m: 1 }, { views_5m: 0 }]);
  });

  it('mistakes say so', async () => {
    const t = kept(testFeatures([views5m]));
    // @ts-expect-error product_id is missing
    t.event(view, { user_id: 'u1' }, '12:00');
    await expect(t.at('12:01')).rejects.toMatchObject({ code: 'BAD_EVENT', message: expect.stringContaining('product_id') });
    await expect(t.at('25:01')).rejects.toMatchObject({ code: 'BAD_TIME' });
    const other = kept(testFeatures([views5m]));
    other.event(purchase, { user_id: 'u1', amount: 1 }, '12:00');
    await expect(other.at('12:01')).rejects.toMatchObject({ code: 'UNKNOWN_EVENT', hint: expect.stringContaining('with: [event]') });
    const fed = kept(testFeatures([views5m], { with: [purchase] }));
    fed.event(purchase, { user_id: 'u1', amount: 1 }, '12:00');
    expect(await fed.at('12:01')).toEqual({ views_5m: 0 });
  });
});

describe('folds and on-demand code', () => {
  const balance = feature(user, 'balance', fold(purchase, { state: z.number(), initial: 100, step: (s, { payload }) => s - payload.amount }), { default: 100 });
  const after = feature(
    user,
    'after',
    derive({
      inputs: { balance },
      request: z.object({ price: z.number() }),
      compute: async ({ balance: b }, { request, now }) => `${b - request.price} at ${new Date(now).toISOString().slice(11, 16)}`,
    }),
  );

  it('fold, then code with request data', async () => {
    const t = kept(testFeatures([balance, after]));
    t.event(purchase, { user_id: 'u1', amount: 30 }, '12:00').event(purchase, { user_id: 'u1', amount: 20 }, '11:59');
    expect(await t.at('12:30', { user_id: 'u1' }, { request: { price: 5 } })).toEqual({ balance: 50, after: '45 at 12:30' });
    expect(await t.at('12:00', { user_id: 'u1' }, { request: { price: 5 } })).toEqual({ balance: 80, after: '75 at 12:00' });
    // @ts-expect-error the request is needed
    await expect(t.at('12:30', { user_id: 'u1' })).rejects.toMatchObject({ code: 'BAD_REQUEST' });
  });
});

describe('handlers', () => {
  // Hours of pauses: waiting for them would be this test's own timeout.
  it('retries take no time, in order, and the last failure is a dead letter', async () => {
    const seen: string[] = [];
    const risky = feature(
      user,
      'risky',
      on(purchase, {
        type: z.number(),
        retries: { max: 3, delay: '20m', maxDelay: '2h' },
        handle: async ({ event, attempt, current }) => {
          await new Promise(setImmediate);
          seen.push(`${event.payload.amount}/${attempt}`);
          if (event.payload.amount === 13) throw new NonRetriableError('unlucky');
          if (attempt < 3) throw new Error('not yet');
          return (current ?? 0) + event.payload.amount;
        },
      }),
    );
    const t = kept(testFeatures([risky]));
    for (const amount of [1, 13, 2]) t.event(purchase, { user_id: 'u1', amount }, '12:00');
    expect(await t.at('12:05')).toEqual({ risky: 3 });
    expect(seen).toEqual(['1/1', '1/2', '1/3', '13/1', '2/1', '2/2', '2/3']);
    expect(await t.deadLetters()).toEqual([
      { feature: 'user.risky', event_type: 'purchase', event_id: expect.any(String), attempts: 1, error: expect.stringContaining('unlucky') },
    ]);
  });

  it('code that waits is waited for; code that hangs is given up after its time', async () => {
    const slow = feature(
      user,
      'slow',
      on(purchase, {
        type: z.number(),
        timeout: '300ms',
        retries: { max: 1, delay: '1h', maxDelay: '1h' },
        handle: async ({ event, attempt }) => {
          // Longer than the worker's own looks.
          await new Promise(resolve => setTimeout(resolve, 120));
          if (event.payload.amount === 0 && attempt === 1) await new Promise(() => {});
          return attempt;
        },
      }),
    );
    const t = kept(testFeatures([slow]));
    t.event(purchase, { user_id: 'u1', amount: 1 }, '12:00').event(purchase, { user_id: 'u2', amount: 0 }, '12:00');
    expect(await t.at('14:00', [{ user_id: 'u1' }, { user_id: 'u2' }])).toEqual([{ slow: 1 }, { slow: 2 }]);
    expect(await t.deadLetters()).toEqual([]);
  });

  it('sees other features as they were when the event came, and sets pushed ones', async () => {
    const segment = feature(user, 'segment', pushed(z.enum(['new', 'busy'])));
    const greeting = feature(
      user,
      'greeting',
      on(view, {
        type: z.string(),
        handle: async ({ get, set, key }) => {
          const n = await get(views5m);
          set(segment, (n ?? 0) > 1 ? 'busy' : 'new');
          return `${key.user_id}: ${n}`;
        },
      }),
    );
    const t = kept(testFeatures([greeting], { with: [segment, views5m] }));
    for (const time of ['12:00', '12:01', '12:02'] as const) t.event(view, { user_id: 'u1', product_id: 'p' }, time);
    expect(await t.at('12:00:30')).toEqual({ greeting: 'u1: 1' });
    expect(await t.at('12:02:30')).toEqual({ greeting: 'u1: 3' });
  });
});

describe('rows', () => {
  const orders = source('orders', { file: 'data/orders.csv', time: 'updated_at' });
  const favorite = feature(user, 'favorite', query(orders, sql`select user_id, favorite, updated_at from orders`, { type: z.string(), default: 'unknown', materialize: true }));
  const live = feature(user, 'live', query(orders, sql`select user_id, live, updated_at from orders where user_id = ${'u1'}`, { type: z.string() }), { ttl: '1h' });

  it('stand for the source, by time', async () => {
    const t = kept(testFeatures([favorite, live]));
    t.rows(favorite, [
      { user_id: 'u1', value: 'books', at: '11:00' },
      { user_id: 'u1', value: 'games', at: '12:00' },
    ]).rows(live, { user_id: 'u1', value: 'x', at: '11:30' });
    expect(await t.at('11:30')).toEqual({ favorite: 'books', live: 'x' });
    expect(await t.at('12:31')).toEqual({ favorite: 'games', live: null });
    expect(await t.at('12:00', { user_id: 'u2' })).toEqual({ favorite: 'unknown', live: null });
    t.rows(favorite, { user_id: 'u1', value: 7 as never, at: '12:00' });
    await expect(t.at('12:30')).rejects.toMatchObject({ code: 'BAD_VALUE' });
  });

  it('aliases: the same feature for two keys', async () => {
    const place = entity('place', { key: 'place_id' });
    const temperature = feature(place, 'temperature', pushed(z.number()));
    const ride = service('ride', [alias('origin', temperature, { place_id: 'origin_id' }), alias('destination', temperature, { place_id: 'destination_id' })], { fullNames: true });
    const t = kept(testFeatures(ride));
    t.rows(temperature, [
      { place_id: 'a', value: 20, at: '10:00' },
      { place_id: 'b', value: 25, at: '10:00' },
    ]);
    expect(await t.at('11:00', { origin_id: 'a', destination_id: 'b' })).toEqual({ origin__temperature: 20, destination__temperature: 25 });
  });
});

it('the store is gone when the test is', async () => {
  const mine = (): string[] => readdirSync(tmpdir()).filter(n => n.startsWith('fabra-test-'));
  const before = new Set(mine());
  const average = feature(user, 'average', avg(purchase, 'amount').over('1h'));
  const t = testFeatures([average]);
  t.event(purchase, { user_id: 'u1', amount: 4 }, '12:00').event(purchase, { user_id: 'u1', amount: 5 }, '12:00');
  expect(await t.at('12:01')).toEqual({ average: 4.5 });
  const dirs = mine().filter(d => !before.has(d));
  expect(dirs.length).toBeGreaterThan(0);
  await t.close();
  expect(dirs.filter(d => existsSync(`${tmpdir()}/${d}`)).length).toBeLessThan(dirs.length);
});
