import { count, derive, entity, feature, lastN, on, query, service, source, sql, stream } from 'fabra';
import { z } from 'zod';
import { ITEMS } from './items.ts';

const user = entity('user', { key: 'user_id' });
const product = entity('product', { key: 'product_id' });

const shop = stream('shop', { id: 'event_id', time: 'timestamp', type: 'event_type', lateness: '10m' });
export const view = shop.event('product_view', z.object({ user_id: z.string(), product_id: z.string() }));

// What a user likes in the long run: SQL over a file of orders, run every five minutes and served from the store. One row per
// order, with the favorite as it was after it: training sees the favorite of its day, not today's.
const orders = source('orders', { file: 'data/orders.csv', time: 'ordered_at' });
export const favoriteCategory = feature(
  user,
  'favorite_category',
  query(
    orders,
    sql`select user_id, ordered_at, arg_max(category, (bought, ordered_at)) over (partition by user_id order by ordered_at) as favorite_category
        from (select *, count(*) over (partition by user_id, category order by ordered_at) as bought from orders)`,
    { type: z.string(), default: 'unknown', materialize: true, every: '5m' },
  ),
);

// What they look at now: a handler runs once per view, and what it returns is recorded. An unknown product changes nothing.
export const lastViewedCategory = feature(
  user,
  'last_viewed_category',
  on(view, { type: z.string(), retries: { max: 3 }, handle: ({ event }) => ITEMS[event.payload.product_id]?.category }),
);

// The session as a point among the items: computed when it is asked for, from the last products of the last half hour.
export const views30m = feature(user, 'views_30m', count(view).over('30m'));
export const lastProducts = feature(user, 'last_products', lastN(view, 'product_id', 5).over('30m'));
export const sessionEmbedding = feature(
  user,
  'session_embedding',
  derive({
    inputs: { products: lastProducts },
    type: z.array(z.number()).nullable(),
    compute: ({ products }) => mean(products.flatMap(id => (id !== null && ITEMS[id] ? [ITEMS[id].embedding] : []))),
  }),
);
export const itemEmbedding = feature(
  product,
  'item_embedding',
  derive({ type: z.array(z.number()).nullable(), compute: (_, { keys }) => ITEMS[keys.product_id ?? '']?.embedding ?? null }),
);
export const similarity = feature(
  user,
  'similarity',
  derive({
    inputs: { session: sessionEmbedding, item: itemEmbedding },
    type: z.number().nullable(),
    compute: ({ session, item }) => (session && item ? cosine(session, item) : null),
  }),
);

export const recommend = service('recommend', [favoriteCategory, lastViewedCategory, views30m, sessionEmbedding, similarity]);

function mean(vectors: number[][]): number[] | null {
  const [first, ...rest] = vectors;
  return first ? first.map((x, i) => rest.reduce((sum, v) => sum + (v[i] ?? 0), x) / vectors.length) : null;
}

function cosine(a: number[], b: number[]): number {
  const dot = (x: number[], y: number[]): number => x.reduce((sum, v, i) => sum + v * (y[i] ?? 0), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
