/** Definitions of rows, folds, handlers, on-demand code and aliases: what they compile to, and what is refused. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { alias, count, derive, entity, feature, fold, on, pushed, query, service, source, sql, stream } from '../../src/index.ts';
import type { FabraError } from '../../src/lib/errors.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import { diffRegistries, renderPlan } from '../../src/registry/diff.ts';
import type { Registry } from '../../src/registry/types.ts';

const user = entity('user', { key: 'user_id', ttl: '7d' });
const place = entity('place', { key: 'location_id' });
const ev = stream('ev');
const credit = ev.event('credit', z.object({ user_id: z.string(), amount: z.number() }));
const debit = ev.event('debit', z.object({ user_id: z.string(), amount: z.number() }));
const orders = source('orders', { file: 'data/orders*.csv', time: 'updated_at', created: 'written_at', fieldMapping: { id: 'user_id' } });
const registry = (defs: Record<string, unknown>): Registry => compileDefinitions(defs).registry;
const forced = (v: unknown): never => v as never;
const say = (defs: Record<string, unknown>): string[] => {
  try {
    compileDefinitions(defs);
    return [];
  } catch (e) {
    return (e as FabraError).problems!.map(p => `${p.message} | ${p.hint ?? ''}`);
  }
};

describe('query', () => {
  const text = sql`select user_id, favorite, updated_at, written_at from orders where total > ${10} and n = ${5n} and t = ${'5n'}`;
  const favorite = feature(user, 'favorite', query(orders, text, { type: z.string(), default: 'unknown', materialize: true, every: '5m' }));

  it('compiles to a view with its parameters apart', () => {
    const r = registry({ favorite });
    expect(r.views['user.favorite']).toMatchObject({
      source: 'orders',
      sql: 'select user_id, favorite, updated_at, written_at from orders where total > $1 and n = $2 and t = $3',
      params: [10, { bigint: '5' }, '5n'],
      time: 'updated_at',
      created: 'written_at',
      every: 300_000,
      materialize: true,
      features: [{ id: 'user.favorite', column: null, type: { base: 'string', list: false } }],
    });
    expect(r.features['user.favorite']).toMatchObject({ kind: 'table', view: 'user.favorite', at: 0, default: 'unknown', ttl: 604_800_000 });
    expect(r.sources.orders).toEqual({ name: 'orders', files: ['data/orders*.csv'], format: null, time: 'updated_at', created: 'written_at', fieldMapping: { id: 'user_id' } });
  });

  it('runs once for features of the same SQL, and not for another', () => {
    const q = (column: string) => query(orders, text, { type: z.string(), column, materialize: true });
    const r = registry({ b: feature(user, 'b', q('b')), a: feature(user, 'a', q('a')), c: feature(user, 'c', query(orders, sql`select 1`, { type: z.string() })) });
    expect(Object.keys(r.views)).toEqual(['user.a', 'user.c']);
    expect(r.views['user.a']!.features.map(f => f.id)).toEqual(['user.a', 'user.b']);
    expect([r.features['user.b'], r.features['user.a']].map(f => f?.kind === 'table' && [f.view, f.at])).toEqual([
      ['user.a', 1],
      ['user.a', 0],
    ]);
  });

  it('keeps an address out of the registry', () => {
    const crm = source('crm', { postgres: 'postgres://me:secret@db/crm' });
    const { registry: r, code } = compileDefinitions({ f: feature(user, 'f', query(crm, sql`select user_id, f from t`, { type: z.int() })) });
    expect(JSON.stringify(r)).not.toContain('secret');
    expect(code.addresses.get('crm')).toBe('postgres://me:secret@db/crm');
  });

  it('refuses text as SQL, a schedule without materializing, a source of nothing, what is no parameter', () => {
    const of = (q: unknown) => ({ f: feature(user, 'f', forced(q)) });
    expect(say(of(query(orders, forced('select 1'), { type: z.string() })))[0]).toContain('written with the sql tag');
    expect(say(of(query(orders, sql`select 1`, { type: z.string(), every: '5m' })))[0]).toContain('Add materialize: true');
    expect(say(of(query(source('none', forced({})), sql`select 1`, { type: z.string() })))[0]).toContain('needs either files or a Postgres address');
    expect(say(of(query(orders, sql`select 1`, forced({ type: z.string(), materialise: true }))))[0]).toContain('Did you mean: materialize');
    expect(() => sql`select ${forced({ a: 1 })}`).toThrow(/is not a parameter/);
  });
});

describe('fold and on', () => {
  const step = (s: number, e: { event_type: string; payload: { amount: number } }) => (e.event_type === 'credit' ? s + e.payload.amount : s - e.payload.amount);
  const balance = feature(user, 'balance', fold([debit, credit, credit], { state: z.number(), initial: 0, step }), { default: 0 });

  it('name their events once, sorted', () => {
    const last = feature(user, 'last', on([debit, credit], { type: z.string(), retries: { max: 5, backoff: 'fixed', delay: '100ms' }, handle: ({ event }) => event.event_id }));
    const r = registry({ balance, last });
    expect(r.features['user.balance']).toMatchObject({ kind: 'fold', events: ['ev/credit', 'ev/debit'], default: 0, type: { base: 'number', list: false } });
    expect(r.features['user.last']).toMatchObject({ kind: 'on', retries: { max: 5, backoff: 'fixed', delay: 100, maxDelay: 60_000 }, timeout: 30_000 });
    expect(Object.keys(r.events)).toEqual(['ev/credit', 'ev/debit']);
  });

  it('a changed step means something else, a mended handler goes on', () => {
    const one = (handle: () => string, f: typeof step) =>
      registry({ a: feature(user, 'a', on(credit, { type: z.string(), handle })), b: feature(user, 'b', fold([credit], { state: z.number(), initial: 0, step: f })) });
    const diff = diffRegistries(
      one(() => 'a', step),
      one(
        () => 'b',
        s => s + 1,
      ),
    );
    expect(diff.changes.map(c => [c.name, c.breaking])).toEqual([
      ['user.a', false],
      ['user.b', true],
    ]);
    expect(renderPlan(diff)[0]).toBe('~ feature user.a');
  });

  it('refuse what cannot work', () => {
    const of = (spec: unknown) => say({ f: feature(user, 'f', forced(spec)) })[0];
    expect(of(fold([credit], { state: z.number(), initial: forced('x'), step: s => s }))).toContain('initial state does not fit');
    expect(of(fold([credit], { state: z.number(), initial: 0, step: forced(async () => 1) }))).toContain('cannot be async');
    expect(of(on(credit, forced({ type: z.string(), maxRetrys: 3, handle: () => 'x' })))).toContain("unknown option 'maxRetrys'");
    expect(of(on(credit, forced({ type: z.string(), retries: { maxx: 3 }, handle: () => 'x' })))).toContain("'retries.maxx'");
    expect(of(on(credit, { type: z.string(), retries: { max: -1 }, handle: () => 'x' }))).toContain('retries.max');
    expect(of(on(forced([]), { type: z.string(), handle: () => 'x' }))).toContain('has no event');
    expect(say({ f: feature(place, 'f', forced(fold([credit], { state: z.number(), initial: 0, step: s => s }))) })[0]).toContain("has no column 'location_id'");
  });
});

describe('an entity without a key', () => {
  const shop = entity('shop', { key: [] });
  it('takes rows and code, not events', () => {
    const r = registry({ a: feature(shop, 'fee', pushed(z.number())) });
    expect(r.entities.shop!.key).toEqual([]);
    expect(say({ a: feature(shop, 'n', forced(count(credit).over('5m'))) })[0]).toContain('no event belongs to it');
    expect(say({ a: feature(entity('bad', forced({})), 'fee', pushed(z.number())) })[0]).toContain('could not infer id column');
  });
});

describe('derive', () => {
  it('says whether it is async, and how long it may take', () => {
    const r = registry({
      a: feature(user, 'a', derive({ timeout: '50ms', cache: '1s', replayable: true, compute: async (_, { keys }) => keys.user_id })),
      b: feature(user, 'b', derive({ compute: () => 1 })),
    });
    expect(r.features['user.a']).toMatchObject({ async: true, timeout: 50, cache: 1_000, replayable: true, inputs: {} });
    expect(r.features['user.b']).toMatchObject({ async: false, timeout: 1_000, cache: null, replayable: null });
  });
});

describe('services', () => {
  const temperature = feature(place, 'temperature', pushed(z.number()), { maxAge: '5m' });
  const two = [alias('origin', temperature, { location_id: 'origin_id' }), alias('destination', temperature, { location_id: 'destination_id' })] as const;

  it('hold a feature twice under aliases and full names (P33)', () => {
    const r = registry({ ride: service('ride', [...two, temperature], { fullNames: true }) });
    expect(r.services.ride).toEqual({
      name: 'ride',
      features: ['place.temperature', 'place.temperature', 'place.temperature'],
      aliases: [{ alias: 'origin', keys: { location_id: 'origin_id' } }, { alias: 'destination', keys: { location_id: 'destination_id' } }, null],
      fullNames: true,
    });
    expect(r.features['place.temperature']!.maxAge).toBe(300_000);
  });

  it('refuse colliding names', () => {
    expect(say({ ride: service('ride', two) })[0]).toContain('fullNames: true');
    expect(say({ ride: service('ride', [two[0], two[0]], { fullNames: true }) })[0]).toContain('twice');
    expect(say({ ride: service('ride', [alias('origin', temperature, forced({}))]) })[0]).toContain('renames no key');
  });
});
