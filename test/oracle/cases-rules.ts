/** Rules of docs/semantics.md that CASES.md does not number: duplicates, re-basing, keys, filters, overflow, defaults. */
import type { Verdict } from '../../src/engine/values.ts';
import type { AggPlan, FilterPlan, FramePlan, Registry, WindowFeaturePlan } from '../../src/registry/types.ts';
import { type Columns, column, DAY, type Draft, entityPlan, ev, eventPlan, featurePlan, HOUR, logOf, MINUTE, of, registry, streamPlan } from './build.ts';
import type { OracleCase, Read } from './cases.ts';

const NUMBER = column('i', 'int');
const BIG = column('big', 'int64');
const PRICE = column('d', 'decimal', 2);
const TEXT = column('s', 'string');
const COLUMNS = [column('user_id', 'string'), column('product_id', 'int'), NUMBER, BIG, PRICE, TEXT];
const T0 = Date.parse('2025-01-15T12:00:00Z');
const HOUR_WINDOW: FramePlan = { kind: 'over', w: HOUR };
const LIFETIME: FramePlan = { kind: 'lifetime' };

function world(features: WindowFeaturePlan[], maxAhead: number | null = null): Registry {
  return registry({
    entities: [entityPlan('user', ['user_id']), entityPlan('product', ['product_id'])],
    streams: [streamPlan('clicks', { maxAhead })],
    events: ['a', 'b', 'unused'].map(type => eventPlan('clicks', type, COLUMNS)),
    features,
  });
}

const agg = (op: AggPlan['op'], col?: typeof NUMBER, rest: Partial<AggPlan> = {}): AggPlan => ({ op, stream: 'clicks', events: ['a'], ...(col && { column: of(col) }), ...rest });
const a = (ts: number, columns: Columns = {}, rest: Partial<Draft> = {}): Draft => ev('a', T0 + ts, { user_id: 'u1', product_id: 1, ...columns }, rest);
const read = (feature: string, ts: number, value: Read['value'], rest: Partial<Read> = {}): Read => ({
  feature,
  key: feature.startsWith('user') ? ['u1'] : ['1'],
  T: T0 + ts,
  value,
  ...rest,
});
const times = <V>(n: number, make: (i: number) => V): V[] => Array.from({ length: n }, (_, i) => make(i));
const A: Verdict = 'applied';
const D: Verdict = 'duplicate';
const L: Verdict = 'late';
const Q: Verdict = 'quarantined';

export function ruleCases(): OracleCase[] {
  return [...duplicates(), ...rebases(), ...firstStray(), overflows(), quotients(), filters(), ...cells(), textOrder()];
}

function verdictCase(name: string, reg: Registry, log: Draft[], verdicts: Verdict[], reads: Read[] = [], keyless = 0): OracleCase {
  const count = (v: Verdict) => verdicts.filter(x => x === v).length;
  const counted = { late: count('late'), quarantined: count('quarantined'), applied: count('applied'), duplicate: count('duplicate'), ignored: count('ignored') };
  return { name, registry: reg, log: { clicks: logOf(log) }, reads, verdicts: { clicks: verdicts }, counters: { clicks: { read: log.length, keyless, ...counted } } };
}

function duplicates(): OracleCase[] {
  const both = world([
    featurePlan('user', 'sum', agg('sum', NUMBER), HOUR_WINDOW),
    featurePlan('product', 'sum', agg('sum', NUMBER), HOUR_WINDOW),
    featurePlan('product', 'b', agg('count', undefined, { events: ['b'] }), HOUR_WINDOW),
  ]);
  const id = { id: 'x' };
  const log = [a(0, { i: 1 }, id), a(0, { i: 10 }, id), a(0, { i: 100, product_id: 2 }, id), a(1, { i: 1000 }, id)];
  const twoPartitions = [a(0, { i: 7 }, { ...id, p: 0, o: 9 }), a(0, { i: 8 }, { ...id, p: 1, o: 2 })];
  const empty = [a(0, { user_id: '', product_id: null }), a(0, { user_id: null, i: 3 }), ev('unused', T0, { user_id: 'u1' })];
  const types = [ev('b', T0, { user_id: 'u1', product_id: 1 }, id), a(0, { i: 5 }, id)];
  return [
    verdictCase(
      'R1 duplicates are judged per entity key',
      both,
      log,
      [A, D, A, A],
      [read('user.sum', 2, 1001), read('product.sum', 2, 1001), read('product.sum', 2, 100, { key: ['2'] })],
    ),
    verdictCase('R2 the lowest partition and offset wins', both, twoPartitions, [A, D], [read('user.sum', 2, 7)]),
    verdictCase('R3 empty key parts leave the entity out', both, empty, [A, A, 'ignored'], [read('user.sum', 2, 0), read('product.sum', 2, 3)], 1),
    // For product the copy is of the `b` seen before; no feature of user uses `b`, so there it is the first.
    verdictCase('R4 a copy of another type', both, types, [A, A], [read('user.sum', 2, 5), read('product.sum', 2, 0), read('product.b', 2, 1)]),
  ];
}

function rebases(): OracleCase[] {
  const reg = world([featurePlan('user', 'n', agg('count'), LIFETIME)], DAY);
  const ahead = (n: number) => times(n, i => a(2 * DAY + (i === 50 ? 999 : i)));
  const limit = a(DAY);
  return [
    verdictCase('R5 exactly maxAhead is not too far', reg, [a(0), a(DAY + 1), limit], [A, Q, A]),
    verdictCase('R6 a hundred in a row re-base', reg, [a(0), ...ahead(100), a(2 * DAY + 999 - 10 * MINUTE), a(2 * DAY + 998 - 10 * MINUTE)], [A, ...times(100, () => Q), A, L]),
    verdictCase('R7 ninety-nine do not', reg, [a(0), ...ahead(99), a(1), ...ahead(99), a(2)], [A, ...times(99, () => Q), A, ...times(99, () => Q), A]),
    verdictCase(
      'R8 one quarantined by append time ends the run',
      reg,
      [a(0), ...ahead(99), a(2 * DAY, {}, { appended: T0 }), a(2 * DAY), a(1)],
      [A, ...times(99, () => Q), Q, Q, A],
    ),
    verdictCase(
      'R9 a rejected one does not end it',
      reg,
      [a(0), ...ahead(60), a(5, {}, { rejected: true }), ...ahead(40), a(2 * DAY + 1000), a(1)],
      [A, ...times(60, () => Q), 'rejected', ...times(40, () => Q), A, L],
    ),
  ];
}

function firstStray(): OracleCase[] {
  const reg = world([featurePlan('user', 'n', agg('count'), LIFETIME)], DAY);
  const stray = a(30 * DAY);
  const real = (n: number) => times(n, i => a(i === 3 ? 500 : i));
  const late = (n: number) => times(n, () => L);
  return [
    verdictCase('R10 a stray first event is caught at the hundredth', reg, [stray, ...real(100), a(500 - 10 * MINUTE), a(499 - 10 * MINUTE)], [A, ...late(100), A, L]),
    verdictCase('R11 not at the ninety-ninth', reg, [stray, ...real(99), a(29 * DAY), ...real(101)], [A, ...late(99), L, ...late(101)]),
    verdictCase('R12 quarantined ones neither count nor settle', reg, [stray, ...real(99), a(31 * DAY + 1), a(7), a(8)], [A, ...late(99), Q, L, A]),
  ];
}

function overflows(): OracleCase {
  const max = 2n ** 63n - 1n;
  const safe = Number.MAX_SAFE_INTEGER;
  const plans = [
    featurePlan('user', 'big', agg('sum', BIG), HOUR_WINDOW),
    featurePlan('user', 'int', agg('sum', NUMBER), HOUR_WINDOW),
    featurePlan('user', 'avg', agg('avg', BIG), HOUR_WINDOW),
    featurePlan('user', 'stddev', agg('stddev', BIG), HOUR_WINDOW),
    featurePlan('user', 'ratio', { op: 'ratio', num: agg('count'), den: agg('sum', BIG) }, HOUR_WINDOW, { default: 1 }),
    featurePlan('user', 'p', agg('percentile', NUMBER, { q: { num: 1, den: 2 }, cap: 1 }), HOUR_WINDOW),
    featurePlan('user', 'last', agg('last', BIG), HOUR_WINDOW),
  ];
  const error = (reason: string) => ({ status: 'ERROR' as const, reason });
  return {
    name: 'R13 overflow and cap',
    registry: world(plans),
    log: { clicks: logOf([a(0, { big: max - 1n, i: safe - 1 }), a(1, { big: 1, i: 1 }), a(2, { big: 1, i: 1 })]) },
    reads: [
      read('user.big', 2, max),
      read('user.int', 2, safe),
      read('user.avg', 2, 2 ** 62),
      read('user.ratio', 1, 1 / Number(max)),
      read('user.p', 1, safe - 1),
      read('user.last', 1, max - 1n),
      read('user.last', 3, 1n),
      read('user.big', 3, null, error('OVERFLOW')),
      read('user.int', 3, null, error('OVERFLOW')),
      read('user.avg', 3, null, error('OVERFLOW')),
      read('user.ratio', 3, null, error('OVERFLOW')),
      read('user.p', 3, null, error('CAP_EXCEEDED')),
      read('user.stddev', 3, 5325116328314171000, { within: 1e6, status: 'PRESENT' }),
    ],
  };
}

function quotients(): OracleCase {
  const ratio = (num: AggPlan, den: AggPlan, zero?: number) => ({ op: 'ratio' as const, num, den, ...(zero === undefined ? {} : { zero }) });
  const plans = [
    featurePlan('user', 'avg', agg('avg', PRICE), HOUR_WINDOW),
    featurePlan('user', 'avg_per_span', ratio(agg('avg', PRICE), agg('span')), HOUR_WINDOW),
    featurePlan('user', 'null_side', ratio(agg('avg', NUMBER), agg('sum', NUMBER), 0), HOUR_WINDOW),
    featurePlan('user', 'p50', agg('percentile', PRICE, { q: { num: 1, den: 2 } }), HOUR_WINDOW),
    featurePlan('user', 'p51', agg('percentile', PRICE, { q: { num: 51, den: 100 } }), HOUR_WINDOW),
    featurePlan('user', 'top', agg('topK', TEXT, { n: 2 }), HOUR_WINDOW),
  ];
  return {
    name: 'R14 quotients round once; nearest rank; topK ties',
    registry: world(plans),
    log: { clicks: logOf([a(0, { d: 10, s: 'é' }), a(1500, { d: 10, s: 'z' }), a(3000, { d: 11, s: 'z' }), a(4000, { s: 'b' })]) },
    reads: [
      read('user.avg', 5000, 31 / 300, { ts: T0 + 3000 }),
      read('user.avg_per_span', 5000, 31 / 1200, { ts: T0 + 4000 }),
      read('user.null_side', 5000, null, { status: 'NULL_VALUE', ts: null }),
      read('user.p50', 1501, 0.1),
      read('user.p51', 5000, 0.1),
      read('user.top', 5000, ['z', 'b']),
      read('user.top', 1501, ['z', 'é']),
    ],
  };
}

function filters(): OracleCase {
  const wheres: Record<string, [FilterPlan, number]> = {
    gt: [{ op: 'gt', column: 'd', value: '1050' }, 1],
    gte: [{ op: 'gte', column: 'd', value: '1050' }, 2],
    not_gt: [{ op: 'not', arg: { op: 'gt', column: 'd', value: '1050' } }, 3],
    null: [{ op: 'isNull', column: 'd' }, 1],
    in: [{ op: 'in', column: 'd', values: ['900', '1051'] }, 2],
    text: [{ op: 'lt', column: 's', value: '\u{1F600}' }, 3],
    or: [
      {
        op: 'or',
        args: [
          { op: 'eq', column: 's', value: 'z' },
          { op: 'isNull', column: 'd' },
        ],
      },
      2,
    ],
    and: [
      {
        op: 'and',
        args: [
          { op: 'gte', column: 'd', value: '1000' },
          { op: 'lt', column: 'd', value: '1051' },
        ],
      },
      1,
    ],
    absent: [{ op: 'not', arg: { op: 'eq', column: 'nowhere', value: 'z' } }, 4],
  };
  const plans = Object.entries(wheres).map(([name, [where]]) => featurePlan('user', name, agg('count', undefined, { where }), HOUR_WINDOW));
  const rows: Columns[] = [
    { d: 900, s: '\u{1F600}' },
    { d: 1050, s: 'z' },
    { d: 1051, s: '\uFFFD' },
    { d: null, s: 'a' },
  ];
  return {
    name: 'R15 two-valued filters',
    registry: world(plans),
    log: { clicks: logOf(rows.map((columns, i) => a(i, columns))) },
    reads: Object.entries(wheres).map(([name, [, n]]) => read(`user.${name}`, 1000, n)),
  };
}

function cells(): OracleCase[] {
  const none: FilterPlan = { op: 'eq', column: 's', value: 'none' };
  const plan = (name: string, frame: FramePlan, rest: object, where?: FilterPlan) => featurePlan('user', name, agg('max', NUMBER, where && { where }), frame, rest);
  const plans = [
    plan('life', LIFETIME, { ttl: HOUR }),
    plan('life_default', LIFETIME, { ttl: HOUR, default: 0 }),
    plan('life_none', LIFETIME, { ttl: HOUR }, none),
    plan('life_none_default', LIFETIME, { default: 5 }, none),
    plan('window', HOUR_WINDOW, { ttl: 1 }),
    plan('window_default', HOUR_WINDOW, { default: 3 }),
    featurePlan('user', 'life_count', agg('count', undefined, { where: none }), LIFETIME),
    featurePlan('user', 'last', agg('last', NUMBER), HOUR_WINDOW),
  ];
  const reads = [
    read('user.life', 0, null, { status: 'NOT_FOUND', ts: null }),
    read('user.life_default', 0, 0, { status: 'NOT_FOUND', ts: null }),
    read('user.life', 60_000, 8, { status: 'PRESENT', ts: T0 }),
    read('user.life', HOUR, 8, { status: 'PRESENT', ts: T0 }),
    read('user.life', HOUR + 1, null, { status: 'OUTSIDE_MAX_AGE', ts: T0 }),
    read('user.life_default', HOUR + 1, 0, { status: 'OUTSIDE_MAX_AGE', ts: T0 }),
    read('user.life_none', DAY, null, { status: 'NULL_VALUE', ts: null }),
    read('user.life_none_default', DAY, 5, { status: 'PRESENT', ts: null }),
    read('user.life_count', 0, null, { status: 'NOT_FOUND', ts: null }),
    read('user.life_count', DAY, 0, { status: 'PRESENT', ts: null }),
    read('user.window', 60_000, 8, { status: 'PRESENT', ts: T0 }),
    read('user.window', DAY, null, { status: 'NULL_VALUE', ts: null }),
    read('user.window_default', DAY, 3, { status: 'PRESENT', ts: null }),
    read('user.last', 60_000, null, { status: 'NULL_VALUE', ts: T0 + 1 }),
  ];
  return [{ name: 'R16 statuses, defaults and TTL', registry: world(plans), log: { clicks: logOf([a(0, { i: 8 }), a(1, { i: null })]) }, reads }];
}

function textOrder(): OracleCase {
  const ids = ['\u{1F600}', '\uFFFD', 'z', 'Z', 'é'];
  const ordered = ['Z', 'z', 'é', '\uFFFD', '\u{1F600}'];
  return {
    name: 'R17 order by UTF-8 bytes',
    registry: world([featurePlan('user', 'first', agg('firstN', TEXT, { n: 9 }), HOUR_WINDOW), featurePlan('user', 'max', agg('max', TEXT), HOUR_WINDOW)]),
    log: { clicks: logOf(ids.map(id => a(0, { s: id }, { id }))) },
    reads: [read('user.first', 1, ordered), read('user.max', 1, '\u{1F600}')],
  };
}
