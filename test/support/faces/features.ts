/** A project of every kind of feature, for the tests of the store and the client. */
import { alias, count, derive, entity, feature, fold, int64, on, pushed, query, service, source, sql, stream, sum } from 'fabra';
import { z } from 'zod';

const user = entity('user', { key: 'user_id' });
const place = entity('place', { key: 'place_id' });
const world = entity('world', { key: [] });
const shop = stream('shop', { lateness: '10m' });

export const purchase = shop.event('purchase', z.object({ user_id: z.string(), amount: z.number(), account: int64().nullish() }));
export const message = shop.event('message', z.object({ user_id: z.string(), payload: z.object({ text: z.string() }) }));

export const purchases1h = feature(user, 'purchases_1h', count(purchase).over('1h'), { maxAge: '30m' });
export const spent = feature(user, 'spent', sum(purchase, 'amount').lifetime());
export const balance = feature(user, 'balance', fold(purchase, { state: z.number(), initial: 100, step: (s, { payload }) => s - payload.amount }), { default: 100 });
export const lastText = feature(user, 'last_text', on(message, { type: z.string(), handle: async ({ event }) => event.payload.payload.text.toUpperCase() }));
export const segment = feature(user, 'segment', pushed(z.enum(['new', 'vip'])));
export const points = feature(user, 'points', pushed(int64()));
const orders = source('orders', { file: 'data/orders.csv', time: 'updated_at' });
export const favorite = feature(
  user,
  'favorite',
  query(orders, sql`select user_id, favorite, updated_at from orders`, { type: z.string(), default: 'unknown', materialize: true, every: '1h' }),
);
export const rate = feature(world, 'rate', pushed(z.number()), { default: 1 });
export const temperature = feature(place, 'temperature', pushed(z.number()));
export const affordable = feature(
  user,
  'affordable',
  derive({ inputs: { balance, rate }, request: z.object({ price: z.number() }), compute: async ({ balance: b, rate: r }, { request }) => request.price * r <= b }),
);
export const fails = feature(
  user,
  'fails',
  derive({
    inputs: { spent },
    type: z.number(),
    compute: () => {
      throw new Error('no luck');
    },
  }),
);
export const shopping = service('shopping', [purchases1h, spent, segment, affordable]);
export const ride = service('ride', [alias('origin', temperature, { place_id: 'origin_id' }), alias('destination', temperature, { place_id: 'destination_id' })], {
  fullNames: true,
});
