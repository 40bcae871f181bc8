/** `status`, `freshness` and `doctor` of views, folds and handlers: as things go well, and as they do not. */
import { spawn } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BIN, fabra } from '../support/bin.ts';
import { cleanUp, newDir } from '../support/project.ts';

afterAll(cleanUp);

const FEATURES = `
import { entity, feature, fold, NonRetriableError, on, query, source, sql, stream } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id' });
const bank = stream('bank', { id: 'id', time: 'ts', type: 'type' });
const debit = bank.event('debit', z.object({ user_id: z.string(), amount: z.number() }));
export const spent = feature(user, 'spent', fold(debit, { state: z.number(), initial: 0, step: (s, { payload }) => s + payload.amount }));
export const told = feature(user, 'told', on(debit, { type: z.string(), retries: { max: 2, delay: '1h', maxDelay: '1h' }, handle: ({ event }) => {
  if (event.payload.amount === 13) throw new NonRetriableError('never');
  if (event.payload.amount === 42) throw new Error('not now');
  return 'ok'; } }));
const people = source('people', { file: 'people.csv', time: 'since' });
export const city = feature(user, 'city', query(people, sql\`select user_id, city, since from people\`, { type: z.string(), materialize: true, every: '1h' }));
export const town = feature(user, 'town', query(people, sql\`select user_id, city as town, since from people\`, { type: z.string(), materialize: true }));
`;
let dir: string;
const run = (...args: string[]) => fabra(args, { cwd: dir });
interface Status {
  folds: object[];
  handlers: object[];
  views: Record<string, unknown>[];
}
interface Doctor {
  ok: boolean;
  checks: { name: string; status: string; message: string; hint: string | null }[];
}
const status = async () => (await run('status', '--json')).json<Status & Record<string, unknown>>();
const doctor = async () => (await run('doctor', '--json')).json<Doctor & Record<string, unknown>>();

beforeAll(async () => {
  dir = newDir('status-kinds');
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  writeFileSync(join(dir, 'people.csv'), 'user_id,city,since\nu1,Oslo,2025-01-01T00:00:00Z\n');
  const event = (id: string, user_id: string, amount: number) => JSON.stringify({ id, ts: '2025-01-15T12:00:00Z', type: 'debit', user_id, amount });
  writeFileSync(join(dir, 'events.ndjson'), [event('a', 'u1', 1), event('b', 'u2', 13), event('c', 'u3', 42), event('d', 'u3', 1)].join('\n'));
});

describe('views, folds and handlers', () => {
  it('before anything ran', { timeout: 60_000 }, async () => {
    expect((await run('apply')).code).toBe(0);
    const { views, handlers } = await status();
    expect(views).toMatchObject([
      { view: 'user.city', source: 'people', state: 'never run', last_run: null, next_due: null, overdue: true },
      { view: 'user.town', state: 'never run', overdue: false },
    ]);
    expect(handlers).toEqual([{ feature: 'user.told', waiting: 0, dead: 0 }]);
    const { ok, checks } = await doctor();
    expect(ok).toBe(true);
    const of = (name: string) => checks.find(c => c.name === name);
    expect(of('source people')).toMatchObject({ status: 'ok', message: 'answers; 2 views fit' });
    expect(of('view user.city')).toMatchObject({ status: 'warn', message: 'scheduled, and never run', hint: 'Run: fabra worker' });
    expect(of('view user.town')).toMatchObject({ status: 'warn', hint: 'Run: fabra materialize' });
  });

  it('after a run: what waits, what was given up, when the next run is due', { timeout: 60_000 }, async () => {
    expect((await run('replay', 'events.ndjson')).code).toBe(0);
    // The handler that waits an hour keeps the worker from being idle: it is stopped once the rest is done.
    const worker = spawn(process.execPath, [BIN, 'worker'], { cwd: dir, stdio: 'ignore' });
    const ended = new Promise(resolve => worker.on('close', resolve));
    const told = async () => (await status()).handlers[0] as { waiting: number; dead: number };
    for (const deadline = Date.now() + 30_000; Date.now() < deadline; ) {
      const { waiting, dead } = await told();
      if (waiting === 2 && dead === 1) break;
    }
    worker.kill('SIGTERM');
    expect(await ended).toBe(0);
    const ran = await run('materialize', '--from', '2024-01-01T00:00:00Z');
    expect(ran.code, ran.stderr).toBe(0);
    const now = await status();
    expect(now.folds).toEqual([{ feature: 'user.spent', ready: true }]);
    expect(now.handlers).toEqual([{ feature: 'user.told', waiting: 2, dead: 1 }]);
    expect(now.views).toMatchObject([
      { state: 'ok', last_run: { status: 'online', read: 1, error: null }, next_due: expect.any(String), overdue: false },
      { state: 'ok', next_due: null },
    ]);
    const text = (await run('status')).stdout;
    expect(text).toMatch(/user\.told +2 +1/);
    expect(text).toMatch(/user\.town +1 +\S+ +by hand +ok/);
    const { features } = (await run('freshness', '--json')).json<
      { features: { feature: string; behind: number; ready: boolean; newest: string | null }[] } & Record<string, unknown>
    >();
    const of = (id: string) => features.find(f => f.feature === id)!;
    expect(of('user.spent')).toMatchObject({ newest: '2025-01-15T12:00:00.000Z', behind: 0, ready: true });
    expect(of('user.told')).toMatchObject({ behind: 2 });
    expect(of('user.city').ready).toBe(true);
    expect(Date.parse(of('user.city').newest!)).toBeGreaterThan(Date.parse('2025-06-01'));
  });

  it('a source that is gone fails its check; a failed run says so and what is served', { timeout: 60_000 }, async () => {
    renameSync(join(dir, 'people.csv'), join(dir, 'elsewhere.csv'));
    const failed = await run('doctor', '--json');
    expect(failed.code).toBe(1);
    const { checks } = failed.json<Doctor & Record<string, unknown>>();
    expect(checks.find(c => c.name === 'source people')).toMatchObject({ status: 'failed', message: expect.stringContaining('people') });
    expect((await run('materialize', '--feature', 'city')).code).not.toBe(0);
    const [city] = (await status()).views;
    expect(city).toMatchObject({ state: 'failed, older values are served', last_run: { status: 'failed', error: expect.any(String) }, last_good: expect.any(String) });
    expect((await doctor()).checks.find(c => c.name === 'view user.city')).toMatchObject({ status: 'warn', message: expect.stringContaining('its last run failed') });
    expect((await run('get', 'user', 'u1', '--features', 'city', '--json')).json()).toMatchObject({ features: { city: { value: 'Oslo', status: 'PRESENT' } } });
  });
});
