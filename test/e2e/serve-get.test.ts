/** The real `fabra get` of every kind that needs no event: rows of a file, aliases, on-demand values, and how old they may be. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fabra } from '../support/bin.ts';
import { cleanUp, newDir } from '../support/project.ts';

const FEATURES = `
import { alias, derive, entity, feature, query, service, source, sql } from 'fabra';
import { z } from 'zod';
const location = entity('location', { key: 'location_id' });
const user = entity('user', { key: 'user_id' });
const weather = source('weather', { file: 'weather.csv', time: 'seen' });
const temperature = feature(location, 'temperature', query(weather, sql\`select location_id, temperature, seen from weather\`, { type: z.number(), timeout: '30s' }), { maxAge: '1h' });
const ready = feature(location, 'ready', query(weather, sql\`select location_id, temperature as ready, seen from weather\`, { type: z.number(), default: 0, materialize: true }));
const fails = feature(user, 'fails', derive({ compute: async () => { throw new Error('no luck'); }, type: z.number() }), { default: 7 });
const trip = service('trip', [alias('origin', temperature, { location_id: 'origin_id' }), alias('destination', temperature, { location_id: 'destination_id' }), fails], { fullNames: true });
export { fails, ready, temperature, trip };
`;

let dir: string;
beforeAll(async () => {
  dir = newDir('get');
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  writeFileSync(join(dir, 'weather.csv'), 'location_id,temperature,seen\n1,10.5,2025-01-15T11:00:00Z\n1,9,2025-01-15T08:00:00Z\n2,20,2025-01-15T11:59:00Z\n');
  expect(await fabra(['apply', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
}, 60_000);
afterAll(cleanUp);

const get = (...args: string[]) => fabra(['get', ...args, '--as-of', '2025-01-15T12:00:00.001Z', '--json'], { cwd: dir });

describe('fabra get', () => {
  it('rows straight from a file, what is not materialized, what is too old by its own limit', async () => {
    const ran = await get('location', '1');
    expect(ran.code).toBe(0);
    expect(ran.json()).toEqual({
      entity: 'location',
      key: '1',
      as_of: '2025-01-15T12:00:00.001Z',
      features: {
        ready: { value: 0, status: 'DEFAULTED', ts: null, reason: 'not_materialized' },
        temperature: { value: 10.5, status: 'PRESENT', ts: '2025-01-15T11:00:00.000Z' },
      },
      degraded: true,
      stale: [{ feature: 'temperature', age_ms: 3_600_001, max_age_ms: 3_600_000 }],
    });
    const wider = await get('location', '1', '--max-age', '2h', '--strict');
    expect(wider).toMatchObject({ code: 0 });
    expect(wider.json()).not.toHaveProperty('stale');
    const strict = await get('location', '1', '--features', 'temperature', '--strict');
    expect(strict.code).toBe(1);
    expect(strict.json()).toMatchObject({ error: { code: 'STALE_FEATURES', message: expect.stringContaining('temperature') } });
    const named = await get('location', '2', '--max-age', 'location__temperature=30s', '--full-names');
    expect(named.json()).toMatchObject({ stale: [{ feature: 'location__temperature', age_ms: 60_001 }] });
    expect(await get('location', '2', '--max-age', 'temprature=30s')).toMatchObject({ code: 2 });
  }, 60_000);

  it('a service with aliases, by the columns they name; a default with what went wrong', async () => {
    const ran = await get('user', 'u1', '--service', 'trip', '--with', 'origin_id=1,destination_id=2');
    expect(ran.json<{ features: unknown }>().features).toEqual({
      origin__temperature: { value: 10.5, status: 'PRESENT', ts: '2025-01-15T11:00:00.000Z' },
      destination__temperature: { value: 20, status: 'PRESENT', ts: '2025-01-15T11:59:00.000Z' },
      user__fails: { value: 7, status: 'DEFAULTED', ts: null, reason: 'error', detail: 'no luck' },
    });
    const alone = await fabra(['get', 'user', 'u1', '--service', 'trip'], { cwd: dir });
    expect(alone.stdout).toMatch(/user__fails +7 +DEFAULTED \(error: no luck\)/);
    expect(alone.stdout).not.toContain('origin');
  }, 60_000);
});
