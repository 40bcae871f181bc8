import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  approxPercentile,
  avg,
  count,
  countDistinct,
  decimal,
  derive,
  entity,
  feature,
  firstN,
  int64,
  last,
  max,
  min,
  percentile,
  ratio,
  service,
  span,
  stream,
  sum,
  topK,
} from '../../src/index.ts';
import type { FabraError, Problem } from '../../src/lib/errors.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import type { FeaturePlan, FilterPlan, Registry, WindowFeaturePlan } from '../../src/registry/types.ts';

const user = entity('user', { key: 'user_id', ttl: '7d', owner: 'growth' });
const s = stream('ev', { maxAhead: '2d' });
const base = {
  user_id: z.string(),
  shop: z.int(),
  price: decimal(2),
  n: z.int(),
  big: int64().nullish(),
  ok: z.boolean(),
  kind: z.enum(['a', 'b']),
  device: z.object({ os: z.string().nullish() }),
};
const view = s.event('view', z.object(base));
const buy = s.event('buy', z.object({ ...base, n: z.number() }));

const registry = (defs: Record<string, unknown>): Registry => compileDefinitions(defs).registry;
const plan = (f: unknown): FeaturePlan => Object.values(registry({ f }).features)[0]!;
const win = (f: unknown): WindowFeaturePlan => plan(f) as WindowFeaturePlan;
const problems = (defs: Record<string, unknown>): Problem[] => {
  try {
    compileDefinitions(defs);
  } catch (e) {
    expect((e as FabraError).code).toBe('COMPILE_FAILED');
    return (e as FabraError).problems ?? [];
  }
  return [];
};
const say = (defs: Record<string, unknown>): string[] => problems(defs).map(p => [p.message, p.hint].filter(Boolean).join(' | '));
/** For calls that the types forbid. */
const loose = <T>(v: unknown): T => v as T;
const forced = (v: unknown): never => v as never;
const whereOf = (filter: unknown): FilterPlan | undefined => {
  const { agg } = win(feature(user, 'f', count(view).where(forced(filter)).over('1h')));
  return agg.op === 'ratio' ? undefined : agg.where;
};
const whereSays = (filter: unknown): string[] => say({ f: feature(user, 'f', count(view).where(forced(filter)).over('1h')) });

describe('a registry', () => {
  const views = feature(user, 'views', count(view, buy).over('5m'), { default: 0, description: 'Views' });
  const product = entity('shop', { key: 'shop' });
  const spend = feature(product, 'spend', sum(view, 'price').tumbling('1d', { previous: true }));
  const half = feature(user, 'half', derive({ inputs: { views, spend }, request: z.object({ total: z.number(), hour: z.int().optional() }), compute: ({ views }) => views / 2 }), {
    default: 0,
  });
  const all = service('all', [half, views]);

  it('holds what exports reach, sorted, with code beside it', () => {
    const { registry: r, code } = compileDefinitions({ all });
    expect(Object.keys(r.entities)).toEqual(['shop', 'user']);
    expect(Object.keys(r.events)).toEqual(['ev/buy', 'ev/view']);
    expect(Object.keys(r.features)).toEqual(['shop.spend', 'user.half', 'user.views']);
    expect(r.order).toEqual(['shop.spend', 'user.views', 'user.half']);
    expect(r.services.all!.features).toEqual(['user.half', 'user.views']);
    expect(r.entities.user).toEqual({ name: 'user', key: ['user_id'], ttl: 604_800_000, owner: 'growth' });
    expect(r.streams.ev).toMatchObject({ id: { column: 'event_id' }, time: 'timestamp', type: 'event_type', lateness: 600_000, maxAhead: 172_800_000 });
    expect(r.features['user.views']).toMatchObject({
      kind: 'window',
      default: 0,
      description: 'Views',
      version: 1,
      type: { base: 'int', list: false },
      agg: { op: 'count', events: ['buy', 'view'] },
    });
    expect(r.features['user.half']).toMatchObject({
      kind: 'derive',
      inputs: { spend: 'shop.spend', views: 'user.views' },
      type: { base: 'number', list: false },
      request: [
        { name: 'hour', required: false },
        { name: 'total', required: true },
      ],
    });
    expect(code.schemas.get('ev/view')).toBe(view.schema);
    expect(code.derives.get('user.half')?.compute).toBe(loose<{ compute: unknown }>(half.spec).compute);
    expect(JSON.parse(JSON.stringify(r))).toEqual(r);
  });

  it('is the same whatever the order of the exports', () => {
    expect(registry({ all, views, spend }).hash).toBe(registry({ spend, views, all, half }).hash);
    expect(registry({ list: [views, spend], more: { all } }).hash).toBe(registry({ all }).hash);
  });

  it('ids of streams', () => {
    const id = (x: Parameters<typeof stream>[1]) => registry({ a: stream('a', x), views }).streams.a!.id;
    expect([id({ id: 'position' }), id({ id: { hashOf: ['a', 'b'] } }), id({ id: 'x' })]).toEqual([{ position: true }, { hashOf: ['a', 'b'] }, { column: 'x' }]);
    const lone = stream('lone', { type: null });
    const e = lone.event('only', z.object({ user_id: z.string() }));
    expect(registry({ f: feature(user, 'f', count(e).over('1h')) }).streams.lone!.type).toBeNull();
  });
});

describe('aggregates', () => {
  it('types and arguments', () => {
    const shape = (f: unknown): unknown[] => {
      const { agg, type } = win(f);
      const side = agg.op === 'ratio' ? agg.num : agg;
      return [type.base, type.list, side.column?.kind, side.n, side.q, side.cap].filter(v => v !== undefined);
    };
    expect(shape(feature(user, 'f', sum(view, 'price').over('1h')))).toEqual(['number', false, 'decimal']);
    expect(shape(feature(user, 'f', sum(view, 'n').over('1h')))).toEqual(['int', false, 'int']);
    expect(shape(feature(user, 'f', sum(view, 'big').over('1h')))).toEqual(['int64', false, 'int64']);
    expect(shape(feature(user, 'f', avg(view, 'n').over('1h')))).toEqual(['number', false, 'int']);
    expect(shape(feature(user, 'f', max(view, 'kind').over('1h')))).toEqual(['string', false, 'string']);
    expect(shape(feature(user, 'f', last(view, 'ok').over('1h')))).toEqual(['boolean', false, 'bool']);
    expect(shape(feature(user, 'f', firstN(view, 'price', 3).over('1h')))).toEqual(['number', true, 'decimal', 3]);
    expect(shape(feature(user, 'f', topK(view, 'kind', 2).over('1h')))).toEqual(['string', true, 'string', 2]);
    expect(shape(feature(user, 'f', span(view, buy).lifetime()))).toEqual(['number', false]);
    expect(shape(feature(user, 'f', percentile(view, 'n', 0.95).over('1h')))).toEqual(['int', false, 'int', { num: 19, den: 20 }, 100_000]);
    expect(shape(feature(user, 'f', approxPercentile(view, 'price', 1e-7).over('1h')))).toEqual(['number', false, 'decimal', { num: 1, den: 10_000_000 }]);
    expect(shape(feature(user, 'f', percentile(view, 'n', 1).over('1h')))).toContainEqual({ num: 1, den: 1 });
    expect(win(feature(user, 'f', ratio(count(buy), count(view), { zero: 0 }).hopping('1h', '5m')))).toMatchObject({
      agg: { op: 'ratio', zero: 0 },
      frame: { kind: 'hopping', w: 3_600_000, h: 300_000 },
    });
  });

  it('arguments out of range', () => {
    const f = (agg: { over(w: '1h'): unknown }): string[] => say({ f: feature(user, 'f', forced(agg.over('1h'))) });
    expect(f(topK(view, 'kind', 0))[0]).toContain("feature 'f': topK: k is 0, outside 1 to 10000");
    expect(f(firstN(view, 'kind', 1.5))[0]).toContain('n is 1.5');
    expect(f(percentile(view, 'n', 0))[0]).toContain('q is 0, outside 0 to 1');
    expect(f(percentile(view, 'n', 95))[0]).toContain('q is 95');
    expect(f(percentile(view, 'n', 0.5, { cap: 0 }))[0]).toContain('cap is 0');
    expect(f(ratio(count(view), count(buy), { zero: Number.NaN }))[0]).toContain('zero must be a finite number');
    expect(f(ratio(forced(max(view, 'kind')), count(buy)))[0]).toContain('a ratio needs numbers');
  });

  it('columns that do not fit', () => {
    const f = (agg: { over(w: '1h'): unknown }): string[] => say({ f: feature(user, 'f', forced(agg.over('1h'))) });
    expect(f(sum(view, forced('prce')))).toEqual(["feature 'f': the event 'view' has no column 'prce' | Did you mean: price?"]);
    expect(f(sum(view, forced('kind')))).toEqual(["feature 'f': sum does not apply to 'kind', a string column | It takes numbers."]);
    expect(f(min(view, forced('ok')))).toEqual(["feature 'f': min does not apply to 'ok', a boolean column | It takes numbers and strings."]);
    expect(f(countDistinct([view, buy], 'n'))).toEqual(["feature 'f': 'n' is int in one event and decimal(6) in 'buy' | Give it the same type in each event."]);
    const other = stream('other').event('x', z.object({ user_id: z.string() }));
    expect(f(count(view, other))[0]).toContain("takes events of one stream, these are of 'ev' and 'other'");
    expect(say({ f: feature(user, 'f', ratio(count(view), count(other)).perSession({ gap: '5m' })) })[0]).toContain('a ratio per session takes both sides from one stream');
    expect(say({ f: feature(user, 'f', ratio(count(view), count(other)).over('5m')) })).toEqual([]);
    expect(f(count(forced(undefined)))[0]).toContain('something that is not an event');
    expect(say({ f: feature(user, 'f', forced(count(view))) })[0]).toContain('has no frame of time');
  });

  it('the key of the entity', () => {
    const key = (column: string, over = view): string[] => say({ f: feature(entity('e', { key: column }), 'f', forced(count(over).over('1h'))) });
    expect(key('usr_id')).toEqual(["feature 'f': the event 'view' has no column 'usr_id', a key of entity 'e' | Did you mean: user_id?"]);
    expect(key('price')[0]).toContain("has 'price' as decimal(2): a key is a string or an integer");
    expect(key('ok')[0]).toContain("has 'ok' as boolean");
    expect([key('shop'), key('big'), key('kind'), key('device.os')]).toEqual([[], [], [], []]);
    expect(say({ e: entity('e', forced({})), f: feature(user, 'f', count(view).over('1h')) })[0]).toContain("entity 'e' needs a key");
    expect(problems({ f: feature(loose<typeof user>({ name: 'user' }), 'f', count(view).over('1h')) })).toMatchObject([
      { code: 'UNKNOWN_ENTITY', message: "feature 'f' is not about an entity" },
    ]);
  });
});

describe('filters', () => {
  it('scale their literals', () => {
    expect(whereOf({ price: 29.9 })).toEqual({ op: 'eq', column: 'price', value: '2990' });
    expect(whereOf({ n: -0 })).toEqual({ op: 'eq', column: 'n', value: '0' });
    expect(whereOf({ big: { gte: 9223372036854775807n } })).toEqual({ op: 'gte', column: 'big', value: '9223372036854775807' });
    expect(whereOf({ kind: { in: ['a', 'b'] } })).toEqual({ op: 'in', column: 'kind', values: ['a', 'b'] });
    expect(whereOf({ 'device.os': { not: 'iOS' } })).toEqual({ op: 'not', arg: { op: 'eq', column: 'device.os', value: 'iOS' } });
    expect(whereOf({ price: { gt: 1, lte: 2 }, ok: true })).toEqual({
      op: 'and',
      args: [
        { op: 'eq', column: 'ok', value: true },
        {
          op: 'and',
          args: [
            { op: 'gt', column: 'price', value: '100' },
            { op: 'lte', column: 'price', value: '200' },
          ],
        },
      ],
    });
    expect(whereOf({ or: [{ ok: true }, { not: { n: 1 } }] })).toEqual({
      op: 'or',
      args: [
        { op: 'eq', column: 'ok', value: true },
        { op: 'not', arg: { op: 'eq', column: 'n', value: '1' } },
      ],
    });
    expect(whereOf({ ok: true, kind: 'a' })).toEqual(whereOf({ kind: 'a', ok: true }));
    expect(whereOf({})).toBeUndefined();
  });

  it('refuse what does not fit', () => {
    const cases: [unknown, string][] = [
      [{ prce: 1 }, "the event 'view' has no column 'prce' | Did you mean: price?"],
      [{ price: { gtt: 1 } }, "'gtt' on 'price' is not a filter operator | Did you mean: gt?"],
      [{ price: '1' }, 'has the text "1", the column is decimal(2)'],
      [{ price: 1.234 }, 'more decimal places than decimal(2) holds'],
      [{ n: 1.5 }, 'more decimal places than int holds'],
      [{ price: 1n }, 'has 1n'],
      [{ price: Number.POSITIVE_INFINITY }, 'has Infinity'],
      [{ price: 1e18 }, 'outside 64 bits'],
      [{ big: 2 ** 60 }, 'not exact'],
      [{ kind: 1 }, 'has 1, the column is string'],
      [{ kind: '\ud800' }, 'the column is string'],
      [{ ok: 'yes' }, 'the column is boolean'],
      [{ ok: { gt: false } }, "'gt' does not apply to the boolean column 'ok'"],
      [{ kind: null }, 'compares with null'],
      [{ kind: { eq: null } }, 'compares with null'],
      [{ kind: undefined }, 'has undefined'],
      [{ kind: {} }, "the condition on 'kind' is empty"],
      [{ kind: { in: [] } }, 'needs a list with at least one value'],
      [{ kind: ['a'] }, 'has a list'],
      [{ and: [] }, "'and' needs a list of filters"],
      [{ not: 3 }, 'a filter is not an object'],
      [() => true, 'a filter is not an object'],
    ];
    for (const [filter, text] of cases) expect(whereSays(filter).join('; '), String(text)).toContain(text);
  });
});

describe('names', () => {
  const f = (name: string): unknown => feature(user, loose<'x'>(name), count(view).over('1h'));
  it('are once each', () => {
    expect(problems({ a: f('a'), b: f('a') })).toMatchObject([{ code: 'NAME_COLLISION', message: "two features are named 'user.a'" }]);
    expect(say({ a: f('a'), b: f('A') })[0]).toContain("'user.a' and 'user.A' differ only in case");
    const other = entity('user', { key: 'user_id' });
    expect(say({ a: f('a'), b: feature(other, 'b', count(view).over('1h')) })[0]).toContain("two entities are named 'user'");
    const twin = stream('EV').event('view', z.object(base));
    expect(say({ a: f('a'), b: feature(user, 'b', count(twin).over('1h')) })[0]).toContain('differ only in case');
    const again = s.event('view', z.object(base));
    expect(say({ a: f('a'), b: feature(user, 'b', count(again).over('1h')) })[0]).toContain("two events of stream 'ev' have the type 'view'");
    const a = f('a');
    expect(say({ a, again: a, list: [a] })).toEqual([]);
  });
  it('have a shape', () => {
    for (const name of ['', '1a', 'a b', 'a.b', 'ä', '__proto__', 'x'.repeat(129), 'a/b']) expect(say({ a: f(name) })[0], name).toContain('is not a name for a feature');
    for (const name of ['a', 'A-b_9', 'x'.repeat(128)]) expect(say({ a: f(name) })).toEqual([]);
    expect(say({ a: f('a'), e: s.event('', z.object({})) })[0]).toContain('is not an event type');
    expect(say({ a: feature(user, 'a', count(s.event('Kauf: ä/1', z.object(base))).over('1h')) })).toEqual([]);
  });
});

describe('options, defaults, services, derive', () => {
  const views = feature(user, 'views', count(view).over('1h'));
  it('unknown options', () => {
    expect(say({ f: feature(user, 'f', count(view).over('1h'), forced({ defualt: 1 })) })).toEqual(["feature 'f' has an unknown option 'defualt' | Did you mean: default?"]);
    expect(say({ views, s: stream('x', forced({ latenes: '1m' })) })[0]).toContain('Did you mean: lateness?');
    expect(say({ views, e: entity('e', forced({ key: 'a', tll: '1d' })) })[0]).toContain('Did you mean: ttl?');
    expect(say({ f: feature(user, 'f', derive(forced({ inputs: { views }, compute: () => 1, retries: 3 }))) })[0]).toContain("unknown option 'retries'");
  });
  it('defaults', () => {
    const d = (agg: unknown, value: unknown): string[] => say({ f: feature(user, 'f', forced(agg), forced({ default: value })) });
    expect(d(count(view).over('1h'), 'none')).toEqual(['feature \'f\': the default "none" is not int | A default has the type of the value it stands for.']);
    expect(d(count(view).over('1h'), 0.5)[0]).toContain('is not int');
    expect(d(avg(view, 'n').over('1h'), Number.NaN)[0]).toContain('is not number');
    expect(d(count(view).over('1h'), null)[0]).toContain('Leave it out');
    expect(d(topK(view, 'kind', 2).over('1h'), 'a')[0]).toContain('is not a list of string');
    expect(d(topK(view, 'kind', 2).over('1h'), ['a', 1])[0]).toContain('is not a list of string');
    expect(d(topK(view, 'kind', 2).over('1h'), [])).toEqual([]);
    expect(plan(feature(user, 'f', max(view, 'big').over('1h'), { default: 2n ** 60n })).default).toBe('1152921504606846976');
  });
  it('services', () => {
    const other = feature(entity('shop', { key: 'shop' }), 'views', count(view).over('1h'));
    expect(problems({ a: service('a', [views, other]) })).toMatchObject([
      { code: 'NAME_COLLISION', message: "service 'a' has two features named 'views': 'user.views' and 'shop.views'" },
    ]);
    expect(say({ a: service('a', [views, views]) })[0]).toContain("lists 'user.views' twice");
    expect(say({ a: service('a', forced([views, view])) })[0]).toContain("entry 2 of service 'a' is not a feature");
    expect(say({ views, a: service('a', []) })[0]).toContain("service 'a' has no features");
  });
  it('derive', () => {
    expect(say({ f: feature(user, 'f', derive(forced({ inputs: { v: view }, compute: () => 1 }))) })[0]).toContain("the input 'v' is not a feature");
    expect(say({ f: feature(user, 'f', derive(forced({ inputs: { views }, request: z.string(), compute: () => 1 }))) })[0]).toContain('the request schema is not an object');
    const a = { kind: 'feature', name: 'a', entity: user, ttl: null, spec: { kind: 'derive', inputs: {} as Record<string, unknown>, request: null, type: null, compute: () => 1 } };
    const b = { ...a, name: 'b', spec: { ...a.spec, inputs: { a } } };
    a.spec.inputs.b = b;
    expect(say({ a, b })[0]).toContain('a derived feature needs itself: user.a → user.b → user.a');
    expect(plan(feature(user, 'f', derive({ inputs: {}, type: z.array(z.string()).nullable(), compute: () => null }))).type).toEqual({ base: 'string', list: true });
    expect(plan(feature(user, 'f', derive({ inputs: {}, compute: () => null }))).type).toEqual({ base: 'json', list: false });
  });
  it('schemas', () => {
    const bare = s.event('bare', forced(z.object({ user_id: z.string() }).transform(e => e)));
    expect(say({ views, bare })[0]).toContain('.pipe(z.object(');
    expect(say({ views, e: s.event('e', forced(undefined)) })[0]).toContain("event 'e' has no schema");
    const lone = stream('lone', { type: null });
    expect(say({ views, a: lone.event('a', z.object({})), b: lone.event('b', z.object({})) })[0]).toContain("stream 'lone' has no type column but 2 events");
    expect(say({ views, a: stream('a', { id: { hashOf: [] } }) })[0]).toContain("stream 'a' has no usable id");
  });
  it('nothing to compile', () => {
    expect(say({})[0]).toContain('the definitions export no feature');
    expect(say({ user, x: 3, y: null, z: () => 1 })[0]).toContain('the definitions export no feature');
  });
  it('tells everything at once', () => {
    const found = say({
      a: feature(user, loose<'a'>('a b'), sum(view, forced('x')).over('1h')),
      b: feature(
        user,
        'b',
        count(view)
          .where(forced({ y: 1, z: 2 }))
          .over('1h'),
      ),
      c: service('c', []),
    });
    expect(found).toHaveLength(5);
  });
});

describe('the fingerprint', () => {
  const print = (f: unknown): string => plan(f).fingerprint;
  const of = (e: unknown): string =>
    print(
      feature(
        user,
        'f',
        count(loose<typeof view>(e))
          .where({ price: { gt: 1 } })
          .over('1h'),
      ),
    );
  const a = print(feature(user, 'f', count(view).over('1h')));
  it('leaves out what is applied when reading', () => {
    expect(print(feature(user, 'g', count(view).over('60m'), { default: 3, ttl: '1h', description: 'x', owner: 'y', tags: ['z'] }))).toBe(a);
    expect(print(feature(entity('user', { key: 'user_id', ttl: '1h' }), 'f', count(view).over('1h')))).toBe(a);
  });
  it('covers what decides the number', () => {
    const other = (options: Parameters<typeof stream>[1]): unknown => stream('ev', { maxAhead: '2d', ...options }).event('view', z.object(base));
    const all = [
      a,
      of(view),
      of(other({ lateness: '1h' })),
      of(other({ maxAhead: '1d' })),
      of(other({ id: 'x' })),
      of(other({ time: 'x' })),
      of(other({ type: 'x' })),
      of(s.event('view', z.object({ ...base, price: decimal(3) }))),
      of(s.event('view', z.object({ ...base, price: decimal(2).positive() }))),
      of(s.event('view', z.object({ ...base, price: decimal(2).refine(p => p > 2) }))),
      of(s.event('view', z.object({ ...base, extra: z.string() }))),
      print(feature(user, 'f', count(view).over('2h'))),
      print(feature(user, 'f', count(view).tumbling('1h'))),
      print(feature(user, 'f', count(buy).over('1h'))),
      print(feature(entity('user', { key: 'shop' }), 'f', count(view).over('1h'))),
      print(feature(user, 'f', sum(view, 'n').over('1h'))),
    ];
    expect(new Set(all).size).toBe(all.length);
  });
  it('does not see columns that a feature does not use', () => {
    expect(of(s.event('view', z.object({ ...base, extra: z.string().nullish() })))).toBe(of(view));
    expect(of(s.event('view', z.object({ ...base, n: z.number() })))).toBe(of(view));
  });
});
