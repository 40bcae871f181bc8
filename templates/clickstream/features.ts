import { avg, count, countDistinct, decimal, derive, entity, feature, last, lastN, percentile, ratio, service, span, stddev, stream, sum, topK } from 'fabra';
import { z } from 'zod';

// Who and what the features are about. A session is a user's own: two columns make its key.
const user = entity('user', { key: 'user_id', ttl: '7d' });
const product = entity('product', { key: 'product_id', ttl: '3d' });
const session = entity('session', { key: ['user_id', 'session_id'], ttl: '2h' });

// An event more than 10 minutes behind the newest is late; one more than 2 days ahead of it is a stray, and kept aside.
const clicks = stream('events_raw', { id: 'event_id', time: 'event_ts', type: 'event_type', lateness: '10m', maxAhead: '2d' });

const base = {
  user_id: z.string(),
  session_id: z.string(),
  product_id: z.string().nullish(), // home and search pages have none
  price: decimal(2).nonnegative().nullish(),
  currency: z.enum(['EUR', 'USD', 'GBP', 'CHF', 'SEK', 'PLN', 'CZK']),
  device: z.object({ mobile: z.boolean(), os: z.string() }),
  geo: z.object({ country: z.string(), city: z.string() }),
};

// EUR for one unit of a currency. A table, not a service: a replay next year must give the same numbers.
const EUR = { EUR: 1, USD: 0.97, GBP: 1.19, CHF: 1.06, SEK: 0.087, PLN: 0.235, CZK: 0.0396 };

const impression = clicks.event('product_impression', z.object(base));
const click = clicks.event('product_click', z.object(base));
export const view = clicks.event('page_view', z.object(base));
const cart = clicks.event('add_to_cart', z.object(base));
// A purchase must say what was bought and for how much. Its transform runs once, when the event comes in; `.pipe` states
// the columns it yields, and rounds the revenue to cents.
const sold = { ...base, product_id: z.string(), price: decimal(2).nonnegative() };
export const purchase = clicks.event(
  'purchase',
  z
    .object(sold)
    .transform(e => ({ ...e, revenue: e.price * EUR[e.currency] }))
    .pipe(z.object({ ...sold, revenue: decimal(2) })),
);

// Users
export const userViews5m = feature(user, 'user_views_5m', count(view).over('5m'));
export const userAdd2cart1h = feature(user, 'user_add2cart_1h', count(cart).over('1h'));
export const userCr24h = feature(user, 'user_cr_24h', ratio(count(purchase), count(view)).over('24h'));
export const mobileViews1h = feature(user, 'mobile_views_1h', count(view).where({ 'device.mobile': true }).over('1h'));
export const viewsToday = feature(user, 'views_today', count(view).tumbling('1d'));
export const views6hHourly = feature(user, 'views_6h_hourly', count(view).hopping('6h', '1h'));
export const userAvgPrice1h = feature(user, 'user_avg_price_1h', avg(click, 'price').over('1h'));
export const userPriceStddev24h = feature(user, 'user_price_stddev_24h', stddev(click, 'price').over('24h'));
export const userSpendLifetime = feature(user, 'user_spend_lifetime', sum(purchase, 'revenue').lifetime());
export const userLastProducts = feature(user, 'user_last_products', lastN([click, cart], 'product_id', 5).over('24h'));
export const userTopProducts = feature(user, 'user_top_products', topK([impression, click, view], 'product_id', 3).over('24h'));
export const userCountry = feature(user, 'user_country', last(view, 'geo.country').over('24h'), { default: 'unknown' });

// Products
export const prodCtr24h = feature(product, 'prod_ctr_24h', ratio(count(click), count(impression)).over('24h'));
export const prodRev24h = feature(product, 'prod_rev_24h', sum(purchase, 'revenue').over('24h'));
export const prodBuyers24h = feature(product, 'prod_buyers_24h', countDistinct(purchase, 'user_id').over('24h'));
export const prodMedianRevenue24h = feature(product, 'prod_median_revenue_24h', percentile(purchase, 'revenue', 0.5).over('24h'));

// Sessions: events no further apart than 30 minutes, within one session id
export const sessDuration = feature(session, 'sess_duration_s', span(impression, click, view, cart, purchase).perSession({ gap: '30m' }));
export const sessUniqueProducts = feature(session, 'sess_unique_products', countDistinct([impression, click, view, cart, purchase], 'product_id').perSession({ gap: '30m' }));

// Computed when it is read, from other features and what the caller knows
export const cartPressure = feature(
  user,
  'cart_pressure',
  derive({
    inputs: { cr: userCr24h, rev: prodRev24h },
    request: z.object({ cart_total: z.number().nonnegative().optional() }),
    compute: ({ cr, rev }, { request }) => ((cr ?? 0) * (request.cart_total ?? 0)) / (1 + rev),
  }),
);

export const ranking = service('ranking', [userViews5m, userAdd2cart1h, userCr24h, prodCtr24h, prodRev24h, sessDuration, sessUniqueProducts, cartPressure]);
