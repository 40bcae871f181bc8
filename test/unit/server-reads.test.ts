/** Reads over HTTP of everything that is not a window: rows, folds, on-demand values, aliases, and how old values may be. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { alias, count, derive, entity, feature, fold, pushed, service, stream } from '../../src/index.ts';
import { type Clock, systemClock } from '../../src/lib/clock.ts';
import { serveDefinitions, type TestServer } from '../support/http.ts';
import { cleanUp } from '../support/project.ts';

const NOON = Date.parse('2025-01-15T12:00:00Z');
const at = (ms: number): string => new Date(ms).toISOString();
class HandClock implements Clock {
  t = NOON;
  now = () => this.t;
  sleep = (ms: number, signal?: AbortSignal) => systemClock.sleep(ms, signal);
}

const user = entity('user', { key: 'user_id' });
const location = entity('location', { key: 'location_id' });
const world = entity('world', { key: [] });
const money = stream('money', { id: 'id', time: 'ts', type: 'type' });
const credit = money.event('credit', z.object({ user_id: z.string(), amount: z.number() }));
const debit = money.event('debit', z.object({ user_id: z.string(), amount: z.number() }));
const temperature = feature(location, 'temperature', pushed(z.number()));
const segment = feature(user, 'segment', pushed(z.string()), { default: 'new', maxAge: '30s' });
const rate = feature(world, 'rate', pushed(z.number()));
const credits = feature(user, 'credits', count(credit).over('1h'));
const balance = feature(
  user,
  'balance',
  fold([credit, debit], { state: z.number(), initial: 0, step: (s, e) => (e.event_type === 'credit' ? s + e.payload.amount : s - e.payload.amount) }),
);
let computed = 0;
const token = feature(
  user,
  'token',
  derive({
    cache: '100s',
    compute: async (_, { keys }) => {
      computed++;
      return `${keys.user_id}-${computed}`;
    },
  }),
);
const broken = feature(
  user,
  'broken',
  derive({
    inputs: { segment },
    compute: ({ segment: s }): number => {
      if (s === 'vip') throw new Error('no vips');
      return 1;
    },
  }),
  { default: 0 },
);
const trip = service('trip', [alias('origin', temperature, { location_id: 'origin_id' }), alias('destination', temperature, { location_id: 'destination_id' }), balance], {
  fullNames: true,
});
const profile = service('profile', [segment, balance, credits]);

const clock = new HandClock();
let s: TestServer;
beforeAll(async () => {
  s = await serveDefinitions('server-reads', { temperature, segment, rate, credits, balance, token, broken, trip, profile }, { clock });
  await s.feed('money', [
    { id: '1', type: 'credit', ts: NOON - 20_000, user_id: 'u1', amount: 100 },
    { id: '2', type: 'debit', ts: NOON - 10_000, user_id: 'u1', amount: 30 },
  ]);
  const push = (push_source_name: string, df: object) => s.post('/push', { push_source_name, df, to: 'online_and_offline' });
  expect(await push('temperature', { location_id: [1, 2], temperature: [10, 20.5], event_timestamp: [at(NOON - 1_000), at(NOON - 1_000)] })).toMatchObject({ status: 200 });
  expect(await push('user.segment', { user_id: ['u1', 'u2'], segment: ['vip', null], event_timestamp: [at(NOON - 120_000), at(NOON - 1_000)] })).toMatchObject({ status: 200 });
  expect(await push('rate', { rate: [1.5] })).toMatchObject({ status: 200 });
});
afterAll(async () => {
  await s.close();
  cleanUp();
});

const values = (body: { results: { values: unknown[] }[] }) => body.results.map(r => r.values);

describe('aliases and names', () => {
  it('P33: the same entity twice in a service, by the columns that the aliases name', async () => {
    const entities = { origin_id: ['1', '2', 'x'], destination_id: [2, 2, 1], user_id: ['u1', 'u9', 'u1'] };
    const { status, body } = await s.post('/v1/features', { entities, service: 'trip' });
    expect(status).toBe(200);
    expect(body.metadata.names).toEqual(['origin__temperature', 'destination__temperature', 'user__balance']);
    expect(values(body)).toEqual([
      [10, 20.5, null],
      [20.5, 20.5, 10],
      [70, null, 70],
    ]);
    expect(body.results[0].statuses).toEqual(['PRESENT', 'PRESENT', 'NOT_FOUND']);
    const missing = await s.post('/v1/features', { entities: { ...entities, origin_id: undefined }, service: 'trip' });
    expect(missing).toMatchObject({ status: 400, body: { error: { code: 'BAD_KEY', path: 'entities.origin_id', message: expect.stringContaining('origin') } } });
    expect(await s.post('/v1/features', { entities, service: 'trip', full_names: false })).toMatchObject({
      status: 400,
      body: { error: { code: 'NAME_COLLISION', path: 'full_names' } },
    });
    expect(await s.get('/v1/features/user/u1?service=trip&origin_id=1&destination_id=2')).toMatchObject({
      status: 200,
      body: { features: { origin__temperature: { value: 10 }, destination__temperature: { value: 20.5 }, user__balance: { value: 70 } } },
    });
  });

  it('P32: aliases in a list, short names collide, full ones tell apart', async () => {
    const features = [{ feature: 'temperature', alias: 'here', keys: { location_id: 'here_id' } }, 'location.temperature'];
    const entities = { here_id: ['1'], location_id: ['2'] };
    expect(values((await s.post('/v1/features', { entities, features })).body)).toEqual([[10], [20.5]]);
    const full = await s.post('/v1/features', { entities, features: [...features, 'rate'], full_names: true });
    expect(full.body.metadata.names).toEqual(['here__temperature', 'location__temperature', 'world__rate']);
    expect(values(full.body)).toEqual([[10], [20.5], [1.5]]);
    expect(await s.post('/v1/features', { entities, features: [features[0], 'temperature'] })).toMatchObject({ status: 400, body: { error: { code: 'NAME_COLLISION' } } });
    expect((await s.post('/v1/features', { entities: { user_id: ['u1'] }, service: 'profile', full_names: true })).body.metadata.names).toEqual([
      'user__segment',
      'user__balance',
      'user__credits',
    ]);
  });

  it.each<[unknown, string]>([
    [{ feature: 'temperature', alias: 'x' }, 'features[0].keys'],
    [{ feature: 'temperature', alias: 'x y', keys: { location_id: 'a' } }, 'features[0]'],
    [{ feature: 'temperature', alias: 'x', keys: { place_id: 'a' } }, 'features[0].keys.place_id'],
    [{ feature: 'temperature', alias: 'x', keys: { location_id: 'a' }, as: 1 }, 'features[0].as'],
  ])('refuses %j', async (given, path) => {
    expect(await s.post('/v1/features', { entities: { a: ['1'] }, features: [given] })).toMatchObject({ status: 400, body: { error: { path } } });
  });

  it('P35: an entity without a key', async () => {
    expect(values((await s.post('/v1/features', { entities: {}, features: ['rate'] })).body)).toEqual([[1.5]]);
    expect(values((await s.post('/v1/features', { entities: { user_id: ['u1', 'u2'] }, features: ['rate', 'segment'] })).body)).toEqual([
      [1.5, 1.5],
      ['vip', 'new'],
    ]);
    expect((await s.get('/v1/features/world/-')).body).toMatchObject({ entity: 'world', key: '-', features: { rate: { value: 1.5 } } });
    expect(await s.get('/v1/features/world/x')).toMatchObject({ status: 400, body: { error: { code: 'BAD_KEY' } } });
  });
});

it('the OpenAPI document has the routes, the columns that aliases name, and what takes rows', async () => {
  const { body } = await s.get('/openapi.json');
  for (const path of ['/v1/cache/{entity}/{key}', '/get-online-features', '/push', '/write-to-online-store']) expect(body.paths).toHaveProperty([path]);
  const { schemas } = body.components;
  expect(Object.keys(schemas.FeaturesRequest.properties.entities.properties).sort()).toEqual(['destination_id', 'location_id', 'origin_id', 'user_id']);
  expect(Object.keys(schemas.OnlineFeaturesRequest.properties.entities.properties).sort()).toEqual(['destination_id', 'location_id', 'origin_id', 'user_id']);
  const { properties } = body.paths['/push'].post.requestBody.content['application/json'].schema;
  expect(properties.push_source_name.enum).toEqual(['location', 'location.temperature', 'user', 'user.segment', 'world', 'world.rate']);
  for (const [, name] of JSON.stringify(body).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)) expect(schemas).toHaveProperty(name!);
});

describe('how old values may be', () => {
  const ask = (more: object) => s.post('/v1/features', { entities: { user_id: ['u1', 'u2', 'u1'] }, features: ['segment', 'balance', 'credits'], as_of: NOON, ...more });

  it('T27: the time beside a value is when it happened, not when it was written', async () => {
    const { body } = await ask({});
    expect(body.results[0].timestamps[0]).toBe(at(NOON - 120_000));
    expect(Date.parse(body.as_of) - Date.parse(body.results[1].timestamps[0])).toBe(10_000);
  });

  it('T81: the feature’s own maxAge: the value is given, named as stale', async () => {
    const { status, body } = await ask({});
    expect([status, body.results[0].values]).toEqual([200, ['vip', 'new', 'vip']]);
    expect(body).toMatchObject({ degraded: true, stale: [{ feature: 'segment', age_ms: 120_000, max_age_ms: 30_000, rows: [0, 2] }] });
    expect((await s.get(`/v1/features/user/u1?features=segment&as_of=${NOON}`)).body).toMatchObject({ degraded: true, stale: [{ feature: 'segment', age_ms: 120_000 }] });
    expect((await ask({ features: ['balance'] })).body).not.toHaveProperty('degraded');
  });

  it('T82: strict fails with their names', async () => {
    const strict = await ask({ strict: true });
    expect(strict).toMatchObject({ status: 503, body: { error: { code: 'STALE_FEATURES', message: expect.stringContaining('segment (2m') } } });
    expect(await s.get(`/v1/features/user/u1?features=segment&strict=true&as_of=${NOON}`)).toMatchObject({ status: 503, body: { error: { code: 'STALE_FEATURES' } } });
    expect((await ask({ strict: true, max_age: '2m' })).status).toBe(200);
  });

  it('T83: of ages of 10 s and 2 m, a limit of a minute names the second; limits by feature; the edge is in', async () => {
    const names = async (max_age: unknown) => ((await ask({ max_age })).body.stale ?? []).map((x: { feature: string }) => x.feature);
    expect(await names('1m')).toEqual(['segment']);
    expect(await names({ balance: '9.999s', segment: '1h' })).toEqual(['balance']);
    expect(await names({ balance: '10s', segment: '120s' })).toEqual([]);
    expect((await s.get(`/v1/features/user/u1?features=balance&max_age=9s&as_of=${NOON}`)).body.stale).toHaveLength(1);
  });

  it.each<[unknown, string]>([
    ['soon', 'BAD_DURATION'],
    [30, 'BAD_REQUEST'],
    [{ segmnt: '1s' }, 'BAD_REQUEST'],
    [{ segment: 1 }, 'BAD_REQUEST'],
  ])('refuses %j', async (max_age, code) => {
    expect(await ask({ max_age })).toMatchObject({ status: 400, body: { error: { code } } });
  });
});

describe('on-demand values', () => {
  it('T79 T84: kept for their time, dropped by DELETE, and as old as their making', async () => {
    const token = async (more = '') => (await s.get(`/v1/features/user/u1?features=token${more}`)).body;
    expect((await token()).features.token).toMatchObject({ value: 'u1-1', ts: at(clock.t) });
    clock.t += 5_000;
    const again = await token('&max_age=4s');
    expect([again.features.token.value, again.stale]).toEqual(['u1-1', [{ feature: 'token', age_ms: 5_000, max_age_ms: 4_000, rows: [0] }]]);
    expect(await s.get('/v1/cache/user/u1', { method: 'DELETE' })).toEqual({ status: 204, body: '' });
    expect((await token()).features.token.value).toBe('u1-2');
    expect(await s.get('/v1/cache/usr/u1', { method: 'DELETE' })).toMatchObject({ status: 404, body: { error: { code: 'UNKNOWN_ENTITY' } } });
    clock.t = NOON;
  });

  it('T76: a failing one fails its own cell, with its reason; counted by feature', async () => {
    const { body } = await s.post('/v1/features', { entities: { user_id: ['u1', 'u2'] }, features: ['broken', 'segment'] });
    expect(body.results[0]).toMatchObject({ values: [0, 1], statuses: ['DEFAULTED', 'PRESENT'], reasons: ['error', null] });
    expect(values(body)[1]).toEqual(['vip', 'new']);
    expect((await s.get('/v1/features/user/u1?features=broken')).body.features.broken).toMatchObject({ status: 'DEFAULTED', reason: 'error', detail: 'no vips' });
    const metrics = (await s.get('/metrics')).body as string;
    expect(metrics).toMatch(/fabra_on_demand_total\{feature="user\.broken",outcome="error"\} 2\n/);
    expect(metrics).toMatch(/fabra_on_demand_total\{feature="user\.token",outcome="cache_hit"\} 1\n/);
  });

  it('T77: GET and POST agree about every kind of feature, for a key that is there and one that is not', async () => {
    for (const key of ['u1', 'u2', 'cold']) {
      const { features } = (await s.get(`/v1/features/user/${key}?as_of=${NOON}`)).body;
      const names = Object.keys(features);
      expect(names).toEqual(['balance', 'broken', 'credits', 'segment', 'token']);
      const { results } = (await s.post('/v1/features', { entities: { user_id: [key] }, features: names, as_of: NOON })).body;
      expect(names.map(n => [features[n].value, features[n].status, features[n].ts])).toEqual(
        results.map((r: Record<string, unknown[]>) => [r.values![0], r.statuses![0], r.timestamps![0]]),
      );
    }
  });
});
