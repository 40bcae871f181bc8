/** Feast's shapes: its requests, its answers, its words; bad input is a 4xx with our error and a `detail`. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { alias, count, derive, entity, feature, int64, pushed, service, stream } from '../../src/index.ts';
import { serveDefinitions, type TestServer } from '../support/http.ts';
import { cleanUp } from '../support/project.ts';

const HOUR = 3_600_000;
const NOON = Math.floor(Date.now() / 1000) * 1000 - HOUR;
const at = (ms: number): string => new Date(ms).toISOString();
const NO_TIME = '1970-01-01T00:00:00Z';

const driver = entity('driver', { key: 'driver_id' });
const location = entity('location', { key: 'location_id' });
const trips = stream('trips', { id: 'id', time: 'ts' });
const trip = trips.event('trip', z.object({ driver_id: z.string() }));
const score = feature(driver, 'score', pushed(z.number()), { ttl: '2h' });
const account = feature(driver, 'account', pushed(int64()));
const vip = feature(driver, 'vip', pushed(z.boolean()));
const temperature = feature(location, 'temperature', pushed(z.number()));
const other = feature(location, 'score', pushed(z.string()), { default: 'none' });
const n = feature(driver, 'n', count(trip).over('1d'));
const plus = feature(driver, 'plus', derive({ inputs: { score }, request: z.object({ add: z.number() }), compute: ({ score: x }, { request }) => (x ?? 0) + request.add }));
const boom = feature(
  driver,
  'boom',
  derive({
    compute: (): number => {
      throw new Error('no luck');
    },
  }),
);
const svc = service('svc', [score, n]);
const ends = service('ends', [alias('from', temperature, { location_id: 'from_id' }), alias('to', temperature, { location_id: 'to_id' })], { fullNames: true });

let s: TestServer;
beforeAll(async () => {
  s = await serveDefinitions('feast', { score, account, vip, temperature, other, n, plus, boom, svc, ends });
  await s.feed('trips', [{ id: '1', event_type: 'trip', ts: NOON - 1, driver_id: '5' }]);
  const df = { event_timestamp: [at(NOON), at(NOON), at(NOON - 2 * HOUR)], score: [4231, null, 1], driver_id: [5, 3, 4] };
  expect(await s.post('/push', { push_source_name: 'driver.score', df, to: 'online' })).toEqual({ status: 200, body: null });
});
afterAll(async () => {
  await s.close();
  cleanUp();
});

const ask = (body: object) => s.post('/get-online-features', body);
const push = (body: object) => s.post('/push', body);

describe('POST /get-online-features', () => {
  it('P62 P65 P66 P67: per feature, join keys first as they were sent, a status and a time each', async () => {
    const { status, body } = await ask({ features: ['driver:score', 'driver:n'], entities: { driver_id: [5, 99999, 3, 5, 4] }, full_feature_names: false });
    expect(status).toBe(200);
    expect(body).toEqual({
      results: [
        { values: [5, 99999, 3, 5, 4], statuses: Array(5).fill('PRESENT'), event_timestamps: Array(5).fill(NO_TIME) },
        {
          values: [4231, null, null, 4231, null],
          statuses: ['PRESENT', 'NOT_FOUND', 'NULL_VALUE', 'PRESENT', 'OUTSIDE_MAX_AGE'],
          event_timestamps: [at(NOON), NO_TIME, at(NOON), at(NOON), at(NOON - 2 * HOUR)],
        },
        { values: [1, 0, 0, 1, 0], statuses: Array(5).fill('PRESENT'), event_timestamps: [at(NOON - 1), NO_TIME, NO_TIME, at(NOON - 1), NO_TIME] },
      ],
      metadata: { feature_names: ['driver_id', 'score', 'n'] },
    });
  });

  it('P70: a service as its list; full names; plain names; further fields that Feast has', async () => {
    const entities = { driver_id: ['5', 'x'] };
    const list = await ask({ features: ['driver.score', 'n'], entities });
    expect((await ask({ feature_service: 'svc', entities, include_feature_view_version_metadata: false })).body).toEqual(list.body);
    const full = await ask({ features: ['driver:score', 'location:score'], entities: { driver_id: [5], location_id: [1] }, full_feature_names: true });
    expect(full.body.metadata.feature_names).toEqual(['driver_id', 'location_id', 'driver__score', 'location__score']);
    expect(full.body.results.at(-1)).toEqual({ values: ['none'], statuses: ['NOT_FOUND'], event_timestamps: [NO_TIME] });
    expect((await ask({ feature_service: 'svc', entities, full_feature_names: true })).body.metadata.feature_names).toEqual(['driver_id', 'driver__score', 'driver__n']);
  });

  it('request data beside the keys, echoed; a feature that fails is INVALID', async () => {
    const { body } = await ask({ features: ['driver:plus', 'driver:boom'], entities: { driver_id: [5, 5], add: [1, 2.5] } });
    expect(body.metadata.feature_names).toEqual(['driver_id', 'add', 'plus', 'boom']);
    expect(body.results[1]).toMatchObject({ values: [1, 2.5], statuses: ['PRESENT', 'PRESENT'] });
    expect(body.results[2].values).toEqual([4232, 4233.5]);
    expect(body.results[3]).toMatchObject({ values: [null, null], statuses: ['INVALID', 'INVALID'] });
  });

  it('whole numbers beyond 2^53 as digits, that Python reads exactly; booleans', async () => {
    expect((await push({ push_source_name: 'account', df: { driver_id: ['7'], account: ['9007199254740993'] }, to: 'online' })).status).toBe(200);
    expect((await push({ push_source_name: 'vip', df: { driver_id: ['7'], vip: [true] }, to: 'online' })).status).toBe(200);
    const response = await fetch(`${s.url}/get-online-features`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ features: ['driver:account', 'driver:vip'], entities: { driver_id: ['7', '8'] } }),
    });
    const text = await response.text();
    expect(text).toContain('"values":[9007199254740993,null]');
    expect(text).toContain('"values":[true,null]');
  });

  it('aliases of a service', async () => {
    expect((await push({ push_source_name: 'temperature', df: { location_id: [1, 2], temperature: [1.5, 2.5] }, to: 'online' })).status).toBe(200);
    const { body } = await ask({ feature_service: 'ends', entities: { from_id: [1], to_id: [2] } });
    expect(body.metadata.feature_names).toEqual(['from_id', 'to_id', 'from__temperature', 'to__temperature']);
    expect(body.results.slice(2).map((r: { values: unknown[] }) => r.values)).toEqual([[1.5], [2.5]]);
  });

  const d = { driver_id: [5] };
  it.each<[string, object, number, string]>([
    ['unknown feature (P68)', { features: ['driver:scroe'], entities: d }, 404, 'UNKNOWN_FEATURE'],
    ['unknown service', { feature_service: 'svd', entities: d }, 404, 'UNKNOWN_SERVICE'],
    ['missing key', { features: ['driver:score'], entities: {} }, 400, 'BAD_KEY'],
    ['null key', { features: ['driver:score'], entities: { driver_id: [null] } }, 400, 'BAD_KEY'],
    ['empty list', { features: ['driver:score'], entities: { driver_id: [] } }, 400, 'BAD_KEY'],
    ['wrong key type', { features: ['driver:score'], entities: { driver_id: [1.5] } }, 400, 'BAD_KEY'],
    ['misspelt column', { features: ['driver:score'], entities: { ...d, drver_id: [1] } }, 400, 'BAD_KEY'],
    ['lengths (P69)', { features: ['driver:plus'], entities: { ...d, add: [1, 2] } }, 400, 'BAD_REQUEST'],
    ['missing request data', { features: ['driver:plus'], entities: d }, 400, 'BAD_REQUEST'],
    ['two of a name (P32)', { features: ['driver:score', 'location:score'], entities: { ...d, location_id: [1] } }, 400, 'NAME_COLLISION'],
    ['no features', { entities: d }, 400, 'BAD_REQUEST'],
    ['another field', { features: ['driver:score'], entities: d, feature: 1 }, 400, 'BAD_REQUEST'],
  ])('refuses %s', async (_name, body, status, code) => {
    const answer = await ask(body);
    expect(answer).toMatchObject({ status, body: { error: { code }, detail: expect.any(String) } });
  });
});

describe('POST /push', () => {
  const read = async (features: string[], entities: object, as_of?: string) =>
    (await s.post('/v1/features', { features, entities, ...(as_of && { as_of }) })).body.results.map((r: { values: unknown[] }) => r.values);

  it('P57 P50: served at once; columns in any order; an older time does not win, a newer does', async () => {
    const one = (t: number, temperature: unknown) =>
      push({ push_source_name: 'location.temperature', df: { temperature: [temperature], event_timestamp: [at(t)], location_id: [77] }, to: 'online' });
    await one(NOON, 12);
    await one(NOON - 1_000, 99);
    expect(await read(['temperature'], { location_id: ['77'] })).toEqual([[12]]);
    await one(NOON + 1_000, 77);
    expect(await read(['temperature'], { location_id: ['77'] })).toEqual([[77]]);
    expect(await read(['temperature'], { location_id: ['77'] }, at(NOON))).toEqual([[12]]);
    // P55: a null at a newer time is the value.
    await one(NOON + 2_000, null);
    expect(await read(['temperature'], { location_id: ['77'] })).toEqual([[null]]);
    // P56: no rows, nothing happens.
    expect((await push({ push_source_name: 'temperature', df: { location_id: [], temperature: [] }, to: 'online' })).status).toBe(200);
  });

  it('offline is history alone, both is both; recorded with its time', async () => {
    const one = (to: string, key: number) => push({ push_source_name: 'temperature', df: { location_id: [key], temperature: [5], event_timestamp: [at(NOON)] }, to });
    const outbox = async () => (await s.project.online.outbox(0, 1_000)).map(r => r.key);
    expect((await one('offline', 80)).status).toBe(200);
    expect((await one('online', 81)).status).toBe(200);
    expect((await one('online_and_offline', 82)).status).toBe(200);
    expect(await read(['temperature'], { location_id: ['80', '81', '82'] })).toEqual([[null, 5, 5]]);
    const recorded = await outbox();
    expect([recorded.includes('81'), recorded.includes('82')]).toEqual([false, true]);
  });

  it('naive times are UTC, `created` may be null, an entity takes all its pushed features, /write-to-online-store too', async () => {
    const df = { location_id: [90], temperature: [3], score: ['good'], event_timestamp: [at(NOON).slice(0, 19)], created: [null] };
    expect((await push({ push_source_name: 'location', df, to: 'online' })).status).toBe(200);
    expect(await read(['temperature', 'location.score'], { location_id: ['90'] })).toEqual([[3], ['good']]);
    expect(
      await s.post('/write-to-online-store', { feature_view_name: 'location', df: { ...df, temperature: [4], event_timestamp: [at(NOON + 1)] }, allow_registry_cache: false }),
    ).toEqual({
      status: 200,
      body: null,
    });
    expect(await read(['temperature'], { location_id: ['90'] })).toEqual([[4]]);
  });

  it('P58: names the columns that are missing and those that belong nowhere', async () => {
    const { status, body } = await push({ push_source_name: 'location', df: { location_id: [1], temprature: [1], score: ['x'] }, to: 'online' });
    expect(status).toBe(422);
    expect(body.error).toMatchObject({ code: 'BAD_ROWS', message: expect.stringMatching(/missing: temperature; belonging nowhere: temprature/) });
    expect(body.detail).toContain('temperature');
  });

  const good = { location_id: [1], temperature: [1] };
  it.each<[string, object, number, string]>([
    ['an unknown source', { push_source_name: 'temprature', df: good, to: 'online' }, 422, 'UNKNOWN_SOURCE'],
    ['a bad place', { push_source_name: 'temperature', df: good, to: 'nowhere' }, 422, 'BAD_ROWS'],
    ['a window', { push_source_name: 'driver.n', df: { driver_id: [1], n: [1] }, to: 'online' }, 422, 'BAD_VALUE'],
    ['a value that does not fit', { push_source_name: 'temperature', df: { ...good, temperature: ['hot'] }, to: 'online' }, 422, 'BAD_VALUE'],
    ['a null key', { push_source_name: 'temperature', df: { ...good, location_id: [null] }, to: 'online' }, 400, 'BAD_KEY'],
    ['lengths', { push_source_name: 'temperature', df: { ...good, location_id: [1, 2] }, to: 'online' }, 422, 'BAD_ROWS'],
    ['a bad time', { push_source_name: 'temperature', df: { ...good, event_timestamp: ['noon'] }, to: 'online' }, 400, 'BAD_TIME'],
    ['no rows', { push_source_name: 'temperature', to: 'online' }, 400, 'BAD_REQUEST'],
    ['a name of two', { push_source_name: 'score', df: {}, to: 'online' }, 400, 'NAME_COLLISION'],
  ])('refuses %s, and writes nothing', async (_name, body, status, code) => {
    expect(await push(body)).toMatchObject({ status, body: { error: { code }, detail: expect.any(String) } });
  });
});
