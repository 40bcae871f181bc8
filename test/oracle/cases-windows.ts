/** CASES.md S1 to S17: windows and decay. Bare numbers are milliseconds. */
import type { AggPlan, FramePlan, WindowFeaturePlan } from '../../src/registry/types.ts';
import { type Columns, column, DAY, type Draft, entityPlan, ev, eventPlan, featurePlan, HOUR, logOf, MINUTE, of, registry, streamPlan } from './build.ts';
import type { OracleCase, Read } from './cases.ts';

export const USER = column('user_id', 'string');
const PRODUCT = column('product_id', 'string');
const KIND = column('kind', 'string');
const COST = column('cost', 'int');
const PRICE = column('price', 'decimal', 2);
const COLUMNS = [USER, PRODUCT, KIND, COST, PRICE];
const OVER_5M: FramePlan = { kind: 'over', w: 5 * MINUTE };
const OVER_24H: FramePlan = { kind: 'over', w: DAY };

/** One entity `user`, one stream `clicks` with the types view and buy, and nothing late unless said. */
export function world(features: WindowFeaturePlan[], lateness = 400 * DAY) {
  const types = ['view', 'buy'];
  return registry({
    entities: [entityPlan('user', ['user_id'])],
    streams: [streamPlan('clicks', { lateness })],
    events: types.map(type => eventPlan('clicks', type, COLUMNS)),
    features,
  });
}

export const count = (type: string, where?: AggPlan['where']): AggPlan => ({ op: 'count', stream: 'clicks', events: [type], ...(where && { where }) });
const agg = (op: AggPlan['op'], col: typeof COST, rest: Partial<AggPlan> = {}): AggPlan => ({ op, stream: 'clicks', events: ['view'], column: of(col), ...rest });
export const view = (ts: number, columns: Columns = {}, rest: Partial<Draft> = {}): Draft => ev('view', ts, { user_id: 'u1', ...columns }, rest);
const at = (iso: string) => Date.parse(`${iso}Z`);
export const read = (feature: string, T: number, value: Read['value'], rest: Partial<Read> = {}): Read => ({ feature: `user.${feature}`, key: ['u1'], T, value, ...rest });

export function windowCases(): OracleCase[] {
  return [...decay(), ...empties(), ...averages(), ...spread(), ...distinctAndOrder(), ...filters(), buckets()];
}

function decay(): OracleCase[] {
  const views = world([featurePlan('user', 'views_5m', count('view'), OVER_5M)]);
  const three = { clicks: logOf([view(0), view(60_000), view(299_999)]) };
  const costs = world([featurePlan('user', 'cost_2d', agg('sum', COST), { kind: 'over', w: 2 * DAY })]);
  const midnight = (day: number) => at(`2025-03-0${day}T00:00:00`);
  return [
    {
      name: 'S1 count decays with time alone',
      registry: views,
      log: three,
      reads: [read('views_5m', 300_000, 3, { status: 'PRESENT', ts: 299_999 }), read('views_5m', 300_001, 2), read('views_5m', 600_000, 0, { status: 'PRESENT', ts: null })],
    },
    { name: 'S2 an event at T is not counted at T', registry: views, log: { clicks: logOf([view(1000)]) }, reads: [read('views_5m', 1000, 0), read('views_5m', 1001, 1)] },
    { name: 'S3 an event at T-w is counted at T', registry: views, log: { clicks: logOf([view(1000)]) }, reads: [read('views_5m', 301_000, 1), read('views_5m', 301_001, 0)] },
    {
      name: 'S5 a 2-day sum slides to 0',
      registry: costs,
      log: { clicks: logOf([view(midnight(1) + 8 * HOUR, { cost: 100 }), view(midnight(2) + 8 * HOUR, { cost: 300 })]) },
      reads: [100, 400, 300, 0].map((sum, i) => read('cost_2d', midnight(i + 2), sum)),
    },
    {
      name: 'S6 a 4-day average decays',
      registry: world([featurePlan('user', 'rate_4d', agg('avg', COST), { kind: 'over', w: 4 * DAY })]),
      log: { clicks: logOf([view(at('2025-04-05T03:40'), { cost: 3 }), view(at('2025-04-06T03:45'), { cost: 4 })]) },
      reads: [read('rate_4d', at('2025-04-09T01:30'), 3.5), read('rate_4d', at('2025-04-09T04:30'), 4)],
    },
    {
      name: 'S13 min recovers when the smallest leaves',
      registry: world([featurePlan('user', 'min_5m', agg('min', COST), OVER_5M)]),
      log: { clicks: logOf([view(0, { cost: 5 }), view(200_000, { cost: 9 })]) },
      reads: [read('min_5m', 300_000, 5), read('min_5m', 300_001, 9)],
    },
  ];
}

function empties(): OracleCase[] {
  const zero = { count: count('view'), sum: agg('sum', COST), distinct: agg('countDistinct', PRODUCT) };
  const none = { avg: agg('avg', COST), min: agg('min', COST), max: agg('max', COST), stddev: agg('stddev', COST), last: agg('last', PRODUCT) };
  const lists = { last_n: agg('lastN', PRODUCT, { n: 2 }) };
  const plans = Object.entries({ ...zero, ...none, ...lists }).map(([name, plan]) => featurePlan('user', name, plan, OVER_5M));
  const all = (names: object, value: Read['value'], status: Read['status']) => Object.keys(names).map(name => read(name, 1000, value, { status, ts: null }));
  return [
    {
      name: 'S4 a key with no event',
      registry: world(plans),
      log: { clicks: [] },
      reads: [...all(zero, 0, 'PRESENT'), ...all(none, null, 'NULL_VALUE'), ...all(lists, [], 'PRESENT')],
    },
  ];
}

function averages(): OracleCase[] {
  const values = [4, 40, 3, 5, 4, 10];
  const plans = [
    featurePlan('user', 'avg', agg('avg', COST), OVER_24H),
    featurePlan('user', 'max', agg('max', COST), OVER_24H),
    featurePlan('user', 'last', agg('last', COST), OVER_24H),
  ];
  const reads = [read('avg', DAY, 11), read('max', DAY, 40), read('last', DAY, 10)];
  const tiled = logOf(values.map((cost, i) => view(Math.floor(i / 2) * HOUR + (i % 2), { cost })));
  const together = logOf(values.map((cost, i) => view(i, { cost })));
  return [
    {
      name: 'S7 never the average of averages',
      registry: world([featurePlan('user', 'avg_1h', agg('avg', COST), { kind: 'over', w: HOUR })]),
      log: { clicks: logOf([10, 20, 30, 100].map((cost, i) => view(i < 3 ? i * 1000 : MINUTE, { cost }))) },
      reads: [read('avg_1h', 10 * MINUTE, 40)],
    },
    { name: 'S8 three tiles merged', registry: world(plans), log: { clicks: tiled }, reads },
    { name: 'S8 the same as one tile', registry: world(plans), log: { clicks: together }, reads },
  ];
}

function spread(): OracleCase[] {
  const plans = (col: typeof COST) => (['sum', 'avg', 'stddev'] as const).map(op => featurePlan('user', op, agg(op, col), OVER_24H));
  let seed = 7;
  const cents = Array.from({ length: 60 }, () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % 10_000;
  });
  const events = cents.map((price, i) => view(i * 1000, { price }, { id: `c${i}` }));
  const s = cents.reduce((a, b) => a + b, 0);
  const q = cents.reduce((a, b) => a + b * b, 0);
  // All of it below 2^53, so plain doubles round once here too.
  const reads = [read('sum', DAY, s / 100), read('avg', DAY, s / 6000), read('stddev', DAY, Math.sqrt((60 * q - s * s) / (60 * 59)) / 100)];
  return [
    {
      name: 'S9 stddev of one value',
      registry: world(plans(COST)),
      log: { clicks: logOf([view(0, { cost: 2 })]) },
      reads: [read('stddev', DAY, null, { status: 'NULL_VALUE', ts: 0 })],
    },
    {
      name: 'S9 the sample stddev',
      registry: world(plans(COST)),
      log: { clicks: logOf([2, 4, 4, 4, 5, 5, 7, 9].map((cost, i) => view(i, { cost }))) },
      reads: [read('stddev', DAY, 2.138089935, { within: 1e-9 })],
    },
    { name: 'S10 sixty cent prices forwards', registry: world(plans(PRICE)), log: { clicks: logOf(events) }, reads },
    { name: 'S10 sixty cent prices backwards', registry: world(plans(PRICE)), log: { clicks: logOf([...events].reverse()) }, reads },
  ];
}

function distinctAndOrder(): OracleCase[] {
  const three = [view(5, { product_id: 'b' }, { id: 'b' }), view(5, { product_id: 'a' }, { id: 'a' }), view(3, { product_id: 'z' }, { id: 'z' })];
  const orders = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ];
  return [
    {
      name: 'S11 distinct over 24 h',
      registry: world([featurePlan('user', 'products', agg('countDistinct', PRODUCT), OVER_24H)]),
      log: { clicks: logOf(['p1', 'p3', 'p2'].map((product_id, i) => view(i * HOUR, { product_id }))) },
      reads: [read('products', 2 * HOUR + 1, 3), read('products', DAY, 3), read('products', DAY + 1, 2), read('products', DAY + HOUR + 1, 1)],
    },
    ...orders.map(
      (order): OracleCase => ({
        name: `S12 last two whatever the arrival order (${order.join('')})`,
        registry: world([featurePlan('user', 'last_two', agg('lastN', PRODUCT, { n: 2 }), OVER_5M)]),
        log: { clicks: logOf(order.map(i => three[i] as Draft)) },
        reads: [read('last_two', 1000, ['b', 'a'], { ts: 5 })],
      }),
    ),
  ];
}

function filters(): OracleCase[] {
  const ratio = (zero?: number) => ({ op: 'ratio' as const, num: count('buy'), den: count('view'), ...(zero === undefined ? {} : { zero }) });
  const plans = [
    featurePlan('user', 'cr', ratio(), OVER_5M),
    featurePlan('user', 'cr_zero', ratio(-1), OVER_5M),
    featurePlan('user', 'cr_default', ratio(), OVER_5M, { default: 9 }),
  ];
  const buy = (ts: number) => ev('buy', ts, { user_id: 'u1' });
  return [
    {
      name: 'S14 a ratio without a denominator',
      registry: world(plans),
      log: { clicks: logOf([buy(0)]) },
      reads: [
        read('cr', 1000, null, { status: 'NULL_VALUE', ts: 0 }),
        read('cr_zero', 1000, -1, { status: 'PRESENT', ts: 0 }),
        read('cr_default', 1000, 9, { status: 'PRESENT', ts: 0 }),
      ],
    },
    {
      name: 'S14 one purchase in four views',
      registry: world(plans),
      log: { clicks: logOf([view(0), view(1), view(2), buy(3), view(4)]) },
      reads: [read('cr', 1000, 0.25, { ts: 4 })],
    },
    {
      name: 'S15 a filtered count',
      registry: world([featurePlan('user', 'views', count('view', { op: 'eq', column: 'kind', value: 'view' }), OVER_5M), featurePlan('user', 'all', count('view'), OVER_5M)]),
      log: { clicks: logOf(['view', 'buy', 'view'].map((kind, i) => view(i, { kind }))) },
      reads: [read('views', 1000, 2), read('all', 1000, 3)],
    },
  ];
}

function buckets(): OracleCase {
  const day = at('2025-01-15T00:00:00');
  const clock = (h: number, m: number, ms = 0) => day + h * HOUR + m * MINUTE + ms;
  return {
    name: 'S17 tumbling and hopping',
    registry: world([
      featurePlan('user', 'this_hour', count('view'), { kind: 'tumbling', w: HOUR, previous: false }),
      featurePlan('user', 'last_hour', count('view'), { kind: 'tumbling', w: HOUR, previous: true }),
      featurePlan('user', 'hop', count('view'), { kind: 'hopping', w: HOUR, h: 10 * MINUTE }),
    ]),
    log: { clicks: logOf([view(clock(10, 0, -1)), view(clock(10, 0)), view(clock(10, 30))]) },
    reads: [
      read('this_hour', clock(10, 30), 1),
      read('this_hour', clock(10, 30, 1), 2),
      read('this_hour', clock(11, 0), 0),
      read('last_hour', clock(11, 0), 2),
      read('hop', clock(10, 35), 2),
    ],
  };
}
