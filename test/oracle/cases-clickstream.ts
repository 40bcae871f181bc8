/** CASES.md T87 to T97: the clickstream of 2025-01-15. */
import type { Verdict } from '../../src/engine/values.ts';
import type { AggPlan, RatioPlan } from '../../src/registry/types.ts';
import { type Columns, column, DAY, type Draft, entityPlan, ev, eventPlan, featurePlan, HOUR, logOf, MINUTE, of, registry, streamPlan } from './build.ts';
import type { OracleCase, Read } from './cases.ts';

const PRODUCT = column('product_id', 'string');
const REVENUE = column('revenue', 'decimal', 2);
const BASE = [column('user_id', 'string'), column('session_id', 'string'), PRODUCT];
const TYPES = ['page_view', 'product_click', 'add_to_cart', 'purchase'];
const MIDNIGHT = Date.parse('2025-01-15T00:00:00Z');

/** `12:05:00` or `12:05:00.001` of the day. */
function clock(text: string): number {
  const [h = 0, m = 0, s = 0] = text.split(':').map(Number);
  return MIDNIGHT + h * HOUR + m * MINUTE + Math.round(s * 1000);
}

const agg = (op: AggPlan['op'], events: string[], rest: Partial<AggPlan> = {}): AggPlan => ({ op, stream: 'events_raw', events: [...events].sort(), ...rest });
const per = (num: string, den: string): RatioPlan => ({ op: 'ratio', num: agg('count', [num]), den: agg('count', [den]) });

export function clickstreamRegistry() {
  const day = { kind: 'over', w: DAY } as const;
  const session = { kind: 'session', gap: 30 * MINUTE } as const;
  const lifetime = { kind: 'lifetime' } as const;
  const all = ['page_view', 'add_to_cart', 'purchase'];
  return registry({
    entities: [entityPlan('user', ['user_id'], 7 * DAY), entityPlan('product', ['product_id'], 3 * DAY), entityPlan('session', ['user_id', 'session_id'], 2 * HOUR)],
    streams: [streamPlan('events_raw')],
    events: TYPES.map(type => eventPlan('events_raw', type, type === 'purchase' ? [...BASE, REVENUE] : BASE)),
    features: [
      featurePlan('user', 'user_views_5m', agg('count', ['page_view']), { kind: 'over', w: 5 * MINUTE }),
      featurePlan('user', 'user_add2cart_1h', agg('count', ['add_to_cart']), { kind: 'over', w: HOUR }),
      featurePlan('user', 'user_cr_24h', per('purchase', 'page_view'), day),
      featurePlan('user', 'user_total', agg('count', all), lifetime, { ttl: 7 * DAY }),
      featurePlan('product', 'prod_rev_24h', agg('sum', ['purchase'], { column: of(REVENUE) }), day),
      featurePlan('product', 'prod_add_per_view', per('add_to_cart', 'page_view'), day),
      featurePlan('product', 'prod_ctr', per('product_click', 'page_view'), day),
      featurePlan('product', 'prod_total', agg('count', all), lifetime, { ttl: 3 * DAY }),
      featurePlan('session', 'sess_duration_s', agg('span', all), session, { ttl: 2 * HOUR }),
      featurePlan('session', 'sess_unique_products', agg('countDistinct', all, { column: of(PRODUCT) }), session, { ttl: 2 * HOUR }),
    ],
  });
}

function event(type: string, time: string, user: string, session: string, product: string, rest: Partial<Draft> = {}): Draft {
  const columns: Columns = { user_id: user, session_id: session, product_id: product };
  if (type === 'purchase') columns.revenue = 2990;
  return ev(type, clock(time), columns, { id: `${user}/${session}/${type}/${time}`, ...rest });
}

function drafts(): Draft[] {
  return [
    event('add_to_cart', '11:00:00', 'u1', 's0', 'sku_2'),
    event('page_view', '12:00:00', 'u1', 's1', 'sku_1'),
    event('page_view', '12:01:00', 'u1', 's1', 'sku_2'),
    event('page_view', '12:03:30', 'u1', 's1', 'sku_1'),
    event('add_to_cart', '12:03:40', 'u1', 's1', 'sku_1'),
    event('page_view', '12:04:00', 'u2', 's2', 'sku_1'),
    event('purchase', '12:04:10', 'u1', 's1', 'sku_1'),
    event('add_to_cart', '12:04:30', 'u2', 's2', 'sku_1'),
    event('page_view', '12:06:00', 'u1', 's1', 'sku_3'),
  ];
}

function read(id: string, key: string, time: string | number, value: Read['value'], rest: Partial<Read> = {}): Read {
  return { feature: id, key: key.split(','), T: typeof time === 'number' ? time : clock(time), value, ...rest };
}

const VIEWS: Read[] = Object.entries({ '12:05:00': 3, '12:05:00.001': 2, '12:06:00': 2, '12:06:00.001': 2, '12:11:00': 1, '12:11:00.001': 0 }).map(([time, n]) =>
  read('user.user_views_5m', 'u1', time, n),
);
const CARTS: Read[] = Object.entries({ '12:00:00': 1, '12:00:00.001': 0, '12:05:00': 1 }).map(([time, n]) => read('user.user_add2cart_1h', 'u1', time, n));
const RATES = [
  read('user.user_cr_24h', 'u1', '12:05:00', 1 / 3),
  read('user.user_cr_24h', 'u2', '12:05:00', 0, { status: 'PRESENT' }),
  read('user.user_cr_24h', 'u3', '12:05:00', null, { status: 'NULL_VALUE', ts: null }),
];
const REVENUES = [
  read('product.prod_rev_24h', 'sku_1', '12:05:00', 29.9, { ts: clock('12:04:10') }),
  read('product.prod_rev_24h', 'sku_1', clock('12:04:10') + DAY, 29.9),
  read('product.prod_rev_24h', 'sku_1', clock('12:04:10') + DAY + 1, 0, { status: 'PRESENT', ts: null }),
];
const PRODUCTS = [
  read('product.prod_add_per_view', 'sku_1', '12:05:00', 2 / 3),
  read('product.prod_ctr', 'sku_1', '12:05:00', 0),
  read('product.prod_add_per_view', 'sku_9', '12:05:00', null),
  read('product.prod_ctr', 'sku_9', '12:05:00', null),
];
const SESSIONS = [
  read('session.sess_duration_s', 'u1,s1', '12:05:00', 250),
  read('session.sess_duration_s', 'u1,s1', '12:06:00.001', 360),
  read('session.sess_unique_products', 'u1,s1', '12:05:00', 2),
  read('session.sess_unique_products', 'u1,s1', '12:06:00.001', 3),
  read('session.sess_duration_s', 'u1,s0', '12:05:00', 0),
  read('session.sess_unique_products', 'u1,s0', '12:05:00', 1),
  read('session.sess_duration_s', 'u2,s1', '12:05:00', null, { status: 'NOT_FOUND', ts: null }),
];
const EVERYTHING = [...VIEWS, ...CARTS, ...RATES, ...REVENUES, ...PRODUCTS, ...SESSIONS];

export function clickstreamCases(): OracleCase[] {
  const registry = clickstreamRegistry();
  const log = (extra: Draft[] = []) => ({ events_raw: logOf([...drafts(), ...extra]) });
  const plain = (name: string, reads: Read[]): OracleCase => ({ name, registry, log: log(), reads });
  const stranger = event('page_view', '12:02:00', 'u2', 's1', 'sku_7');
  return [
    plain('T87 user_views_5m', VIEWS),
    plain('T88 user_add2cart_1h', CARTS),
    plain('T89 user_cr_24h', RATES),
    plain('T90 prod_rev_24h', REVENUES),
    plain('T91 product rates', PRODUCTS),
    plain('T92 sessions', SESSIONS),
    {
      name: 'T92 the same session id under another user',
      registry,
      log: { events_raw: logOf([...drafts(), stranger]) },
      reads: [...SESSIONS.slice(0, -1), read('session.sess_duration_s', 'u2,s1', '12:05:00', 0)],
    },
    {
      name: 'T93 a purchase delivered twice',
      registry,
      log: log([event('purchase', '12:04:10', 'u1', 's1', 'sku_1')]),
      reads: EVERYTHING,
      counters: { events_raw: { read: 10, applied: 9, duplicate: 1 } },
    },
    {
      name: 'T94 the watermark is 11:56:00',
      registry,
      log: log([event('page_view', '11:57:30', 'u3', 's3', 'sku_1'), event('page_view', '11:55:59', 'u3', 's3', 'sku_1')]),
      reads: [read('user.user_total', 'u3', '12:05:00', 1, { ts: clock('11:57:30') })],
      verdicts: { events_raw: [...drafts().map((): Verdict => 'applied'), 'applied', 'late'] },
      counters: { events_raw: { late: 1, applied: 10 } },
    },
    ...permutations().map(
      (order, i): OracleCase => ({
        name: `T95 arrival permutation ${i + 1}`,
        registry,
        log: { events_raw: logOf(order) },
        reads: EVERYTHING,
        counters: { events_raw: { applied: 9, late: 0 } },
      }),
    ),
    ttls(),
    rejected(),
  ];
}

/** The event at 11:00 first; the others, all within 6 min, in any order. */
function permutations(): Draft[][] {
  let seed = 11;
  return Array.from({ length: 12 }, () => {
    const [first, ...rest] = drafts() as [Draft, ...Draft[]];
    for (let i = rest.length - 1; i > 0; i -= 1) {
      seed = (seed * 48_271) % 2_147_483_647;
      const j = seed % (i + 1);
      [rest[i], rest[j]] = [rest[j] as Draft, rest[i] as Draft];
    }
    return [first, ...rest];
  });
}

function ttls(): OracleCase {
  const ends: [string, string, number, string, number][] = [
    ['user.user_total', 'u1', 7 * DAY, '12:06:00', 7],
    ['product.prod_total', 'sku_1', 3 * DAY, '12:04:30', 6],
    ['session.sess_unique_products', 'u1,s1', 2 * HOUR, '12:06:00', 3],
  ];
  const reads = ends.flatMap(([feature, key, ttl, last, value]) => [
    read(feature, key, clock(last) + ttl, value, { status: 'PRESENT', ts: clock(last) }),
    read(feature, key, clock(last) + ttl + 1, null, { status: 'OUTSIDE_MAX_AGE', ts: clock(last) }),
  ]);
  return { name: 'T96 TTL', registry: clickstreamRegistry(), log: { events_raw: logOf(drafts()) }, reads };
}

function rejected(): OracleCase {
  const bad = (i: number): Draft => ({ ts: 0, type: '', columns: {}, id: `bad${i}`, rejected: true });
  const mixed = drafts().flatMap((draft, i) => (i < 3 ? [bad(i), draft] : [draft]));
  return {
    name: 'T97 malformed events leave the good ones alone',
    registry: clickstreamRegistry(),
    log: { events_raw: logOf(mixed) },
    reads: EVERYTHING,
    counters: { events_raw: { read: 12, rejected: 3, applied: 9, late: 0, quarantined: 0 } },
  };
}
