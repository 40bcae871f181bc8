/** The example of the design, with the types it infers. Checked by `tsc`, never run. */
import {
  approxPercentile,
  avg,
  count,
  countDistinct,
  decimal,
  derive,
  entity,
  feature,
  first,
  firstN,
  int64,
  type KeysOf,
  last,
  lastN,
  max,
  min,
  percentile,
  ratio,
  type RequestOf,
  type RowOf,
  service,
  span,
  stddev,
  stream,
  sum,
  topK,
  type ValueOf,
} from 'fabra';
import { z } from 'zod';

export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
export const check = <_T extends true>(): void => {};

const base = {
  user_id: z.string(),
  session_id: z.string(),
  product_id: z.string(),
  device: z.object({ mobile: z.boolean(), os: z.string().nullish() }),
  geo: z.object({ country: z.enum(['DE', 'FR']) }).nullable(),
  tags: z.array(z.string()),
};

const user = entity('user', { key: 'user_id', ttl: '7d' });
const product = entity('product', { key: 'product_id', ttl: '3d' });
const session = entity('session', { key: ['user_id', 'session_id'], ttl: '2h' });

const clicks = stream('events_raw', { id: 'event_id', time: 'event_ts', type: 'event_type', lateness: '10m' });
const view = clicks.event('page_view', z.object(base));
const cart = clicks.event('add_to_cart', z.object(base));
const purchase = clicks.event(
  'purchase',
  z
    .object({ ...base, price: decimal(2), quantity: z.int(), account: int64().optional() })
    .transform(e => ({ ...e, revenue: e.price * e.quantity }))
    .pipe(z.object({ ...base, revenue: decimal(2), quantity: z.int().nullish(), account: z.bigint().optional() })),
);

export const userViews5m = feature(user, 'user_views_5m', count(view).over('5m'));
export const userCr24h = feature(user, 'user_cr_24h', ratio(count(purchase), count(view)).over('24h'));
export const prodRev24h = feature(product, 'prod_rev_24h', sum(purchase, 'revenue').over('24h'));
export const mobileViews = feature(user, 'mobile_views_1h', count(view).where({ 'device.mobile': true }).over('1h'));
export const viewsToday = feature(user, 'views_today', count(view).tumbling('1d'));
export const sessDur = feature(session, 'sess_duration_s', span(view, cart, purchase).perSession({ gap: '30m' }));
export const pressure = feature(
  user,
  'cart_pressure',
  derive({
    inputs: { cr: userCr24h, rev: prodRev24h },
    request: z.object({ cart_total: z.number() }),
    compute: ({ cr, rev }, { request }) => ((cr ?? 0) * request.cart_total) / (1 + rev),
  }),
);
export const ranking = service('ranking', [userViews5m, userCr24h, prodRev24h, pressure]);

check<Equal<ValueOf<typeof userViews5m>, number>>();
check<Equal<ValueOf<typeof userCr24h>, number | null>>();
check<Equal<ValueOf<typeof prodRev24h>, number>>();
check<Equal<ValueOf<typeof sessDur>, number | null>>();
check<Equal<ValueOf<typeof pressure>, number>>();
check<Equal<RowOf<typeof ranking>, { user_views_5m: number; user_cr_24h: number | null; prod_rev_24h: number; cart_pressure: number }>>();
check<Equal<KeysOf<typeof ranking>, { user_id: string; product_id: string }>>();
check<Equal<RequestOf<typeof pressure>, { cart_total: number }>>();
check<Equal<(typeof userViews5m)['name'], 'user_views_5m'>>();
check<Equal<(typeof user)['key'], readonly 'user_id'[]>>();

/** Nested columns are dotted, optional and nullable parents make null, arrays are no columns. */
export const country = feature(user, 'last_country', last(view, 'geo.country').lifetime());
check<Equal<ValueOf<typeof country>, 'DE' | 'FR' | null>>();
export const os = feature(user, 'os', lastN(view, 'device.os', 3).over('1h'));
check<Equal<ValueOf<typeof os>, (string | null)[]>>();
export const top = feature(user, 'top_products', topK(view, 'product_id', 3).over('24h'));
check<Equal<ValueOf<typeof top>, string[]>>();
export const firsts = feature(user, 'first_products', firstN(view, 'product_id', 3).lifetime());
check<Equal<ValueOf<typeof firsts>, string[] | null>>();

/** Every aggregate, over one event and over several. */
export const numbers = [
  feature(user, 'a1', avg(purchase, 'revenue').over('1h')),
  feature(user, 'a2', stddev(purchase, 'revenue').hopping('1h', '5m')),
  feature(user, 'a3', percentile(purchase, 'revenue', 0.95, { cap: 1000 }).over('1h')),
  feature(user, 'a4', approxPercentile(purchase, 'quantity', 0.5).tumbling('1d', { previous: true })),
  feature(user, 'a5', min(purchase, 'quantity').over('1h')),
] as const;
check<Equal<ValueOf<(typeof numbers)[number]>, number | null>>();
export const account = feature(user, 'acc', max(purchase, 'account').over('1h'));
check<Equal<ValueOf<typeof account>, bigint | null>>();
export const accounts = feature(user, 'accs', sum(purchase, 'account').over('1h'));
check<Equal<ValueOf<typeof accounts>, bigint>>();
export const both = feature(product, 'visitors', countDistinct([view, cart, purchase], 'user_id').over('1h'));
check<Equal<ValueOf<typeof both>, number>>();
export const firstSeen = feature(product, 'first_user', first([view, cart], 'user_id').lifetime());
check<Equal<ValueOf<typeof firstSeen>, string | null>>();

/** A default takes null away. */
export const cr0 = feature(user, 'cr0', ratio(count(purchase), count(view)).over('24h'), { default: 0, ttl: '3h', owner: 'growth' });
check<Equal<ValueOf<typeof cr0>, number>>();
export const os0 = feature(user, 'os0', last(view, 'device.os').over('1h'), { default: 'none' });
check<Equal<ValueOf<typeof os0>, string>>();

/** Filters: literals, operators, nesting. */
export const filtered = feature(
  user,
  'filtered',
  count(purchase)
    .where({ revenue: { gt: 10, lte: 99.5 }, 'geo.country': { in: ['DE'] }, quantity: { not: 2 } })
    .where({ or: [{ 'device.mobile': true }, { not: { 'device.os': { eq: 'iOS' } } }], account: { gte: 12n } })
    .over('1h'),
);

/** Derived from derived: request data adds up. */
export const twice = feature(
  user,
  'twice',
  derive({
    inputs: { pressure, views: userViews5m },
    request: z.object({ hour: z.int() }),
    type: z.number(),
    compute: (i, { request, now }) => i.pressure * i.views + request.hour + now,
  }),
);
check<Equal<ValueOf<typeof twice>, number>>();
check<Equal<RequestOf<typeof twice>['cart_total'], number>>();
check<Equal<RequestOf<typeof twice>['hour'], number>>();
export const plain = feature(user, 'plain', derive({ inputs: { views: userViews5m }, compute: ({ views }) => (views > 3 ? 'many' : null) }));
check<Equal<ValueOf<typeof plain>, 'many' | null>>();
/** Async code with a type that is stated: the type is the value's, not the promise's. */
export const later = feature(user, 'later', derive({ inputs: { views: userViews5m }, type: z.array(z.number()), timeout: '50ms', compute: async ({ views }) => [views] }));
check<Equal<ValueOf<typeof later>, number[]>>();
export const sooner = feature(user, 'sooner', derive({ type: z.string(), compute: (_, { now }) => (now > 0 ? 'a' : 'b') }));
check<Equal<ValueOf<typeof sooner>, string>>();
