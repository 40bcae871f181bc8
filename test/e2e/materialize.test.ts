/** `fabra materialize` as a user types it: progress, failures, two at once, and a kill in the middle. */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, expect, it } from 'vitest';
import type { ViewSummary } from '../../src/runtime/materializer.ts';
import { BIN, fabra } from '../support/bin.ts';
import { cleanUp, newDir, openTestProject } from '../support/project.ts';

afterAll(cleanUp);
const children = new Set<ReturnType<typeof spawn>>();
afterEach(() => {
  for (const c of children) c.kill('SIGKILL');
  children.clear();
});

const FEATURES = `import { z } from 'zod';
import { entity, feature, query, source, sql } from 'fabra';
const user = entity('user', { key: 'user_id' });
const orders = source('orders', { file: 'orders/*.csv', time: 'updated_at' });
const levels = source('levels', { file: 'levels.ndjson' });
export const favorite = feature(user, 'favorite', query(orders, sql\`select user_id, favorite, updated_at from orders\`, { type: z.string(), default: 'unknown', materialize: true }));
export const level = feature(user, 'level', query(levels, sql\`select user_id, level from levels where level >= \${1}\`, { type: z.int(), materialize: true, every: '5m' }));
export const total = feature(user, 'total', query(orders, sql\`select user_id, sum(1) as total, max(updated_at) as updated_at from orders group by user_id\`, { type: z.int() }));
`;

function newProject(users: number): string {
  const dir = newDir('sql');
  mkdirSync(join(dir, 'orders'));
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  const lines = Array.from({ length: users }, (_, i) => `u${i},books,2025-01-15 10:00:00`);
  writeFileSync(join(dir, 'orders/a.csv'), `user_id,favorite,updated_at\n${lines.join('\n')}\n`);
  writeFileSync(join(dir, 'levels.ndjson'), '{"user_id": 7, "level": 3}\n{"user_id": "u1", "level": 2}\n{"user_id": "u2", "level": 0}\n');
  return dir;
}
type Answer = { views: ViewSummary[] };

it('runs, serves, goes on incrementally, and says what failed', { timeout: 120_000 }, async () => {
  const dir = newProject(3);
  const run = (...args: string[]) => fabra([...args, '--json'], { cwd: dir });
  expect((await run('apply')).code).toBe(0);
  const first = await run('materialize');
  expect(first, first.stderr).toMatchObject({ code: 0 });
  expect(first.json<Answer>().views.map(v => [v.view, v.status, v.read, v.rows])).toEqual([
    ['user.favorite', 'ok', 3, 3],
    ['user.level', 'ok', 2, 2],
  ]);
  writeFileSync(join(dir, 'orders/b.csv'), 'user_id,favorite,updated_at\nu1,music,2025-01-15 09:00:00\nu2,films,2025-01-15 12:00:00\n');
  const next = await run('materialize', '--incremental', '--feature', 'favorite');
  expect(next.json<Answer>().views).toMatchObject([{ view: 'user.favorite', read: 5, rows: 2, changed: 1 }]);
  const values = async (key: string) => (await run('get', 'user', key)).json<{ features: Record<string, { value: unknown }> }>();
  expect(JSON.stringify(await values('u2'))).toContain('films');
  expect(JSON.stringify(await values('u1'))).toContain('books');

  writeFileSync(join(dir, 'levels.ndjson'), '{"user_id": "u1", "other": 2}\n');
  const failed = await run('materialize');
  expect(failed.code).toBe(2);
  expect(failed.json<Answer>().views).toMatchObject([
    { view: 'user.favorite', status: 'ok' },
    { view: 'user.level', status: 'failed', error: { code: 'BAD_QUERY' } },
  ]);
  const human = await fabra(['materialize', '--features', 'level'], { cwd: dir });
  expect(human.code).toBe(2);
  expect(human.stderr).toContain('its last good values stay');
  expect(human.stdout).toMatch(/user\.level +failed/);

  const live = await run('materialize', '--feature', 'total');
  expect([live.code, live.stdout]).toEqual([2, expect.stringContaining('is computed when it is read')]);
  expect((await run('materialize', '--feature', 'favorit')).stdout).toContain('Did you mean: favorite?');
  const backwards = await run('materialize', '--from', '2025-02-01', '--to', '2025-01-01', '--feature', 'favorite');
  expect([backwards.code, backwards.json<{ error: { code: string } }>().error.code]).toEqual([2, 'BAD_FLAG']);
});

it('a worker runs what has a schedule', { timeout: 120_000 }, async () => {
  const dir = newProject(3);
  await fabra(['apply'], { cwd: dir });
  const worker = await fabra(['worker', '--until-idle', '--json'], { cwd: dir });
  expect(worker, worker.stderr).toMatchObject({ code: 0 });
  const project = await openTestProject(dir, undefined, true);
  expect(await project.tables.runs('user.level', 10)).toMatchObject([{ status: 'online', rows: 2 }]);
  expect(await project.tables.runs('user.favorite', 10)).toEqual([]);
  await project.close();
});

it('two at once: one runs, the other says who does', { timeout: 60_000 }, async () => {
  const dir = newProject(3);
  await fabra(['apply'], { cwd: dir });
  const project = await openTestProject(dir);
  const job = await project.online.jobLease('view:user.favorite', 60_000);
  const busy = await fabra(['materialize', '--json'], { cwd: dir });
  expect(busy.code).toBe(3);
  expect(busy.json<Answer>().views).toMatchObject([
    { view: 'user.favorite', status: 'busy', error: { code: 'JOB_BUSY', message: expect.stringContaining(String(process.pid)) } },
    { view: 'user.level', status: 'ok' },
  ]);
  await job.release();
  const both = await Promise.all([1, 2].map(() => fabra(['materialize', '--feature', 'favorite', '--json'], { cwd: dir })));
  for (const b of both) expect(['ok', 'busy']).toContain(b.json<Answer>().views[0]!.status);
  expect((await project.tables.runs('user.favorite', 10)).reduce((n, r) => n + r.rows, 0)).toBe(3);
  await project.close();
});

it('killed in the middle, the next goes on where it was', { timeout: 120_000 }, async () => {
  const users = 80_000;
  const dir = newProject(users);
  await fabra(['apply'], { cwd: dir });
  const project = await openTestProject(dir, undefined, true);
  const child = spawn(process.execPath, [BIN, 'materialize', '--feature', 'favorite', '--json'], { cwd: dir, stdio: 'ignore' });
  children.add(child);
  const gone = new Promise<NodeJS.Signals | null>(resolve => child.on('close', (_code, signal) => resolve(signal)));
  const recorded = async () => (await project.tables.runs('user.favorite', 1))[0];
  for (const end = Date.now() + 60_000; (await recorded())?.put === undefined || (await recorded())!.put === 0; ) {
    if (Date.now() > end) throw new Error('the run never began');
    await sleep(5);
  }
  child.kill('SIGKILL');
  expect(await gone).toBe('SIGKILL');
  const before = await recorded();
  expect(before).toMatchObject({ status: 'recorded', rows: users });
  expect(before!.put).toBeLessThan(users);

  const third = await fabra(['materialize', '--feature', 'favorite', '--json'], { cwd: dir });
  expect(third, third.stderr).toMatchObject({ code: 0 });
  expect(third.json<Answer>().views).toMatchObject([{ status: 'ok', resumed: true, rows: 0 }]);
  expect((await project.tables.runs('user.favorite', 10)).map(r => [r.id, r.status, r.put])).toEqual([
    [2, 'online', 0],
    [1, 'online', users],
  ]);
  expect(readdirSync(join(dir, '.fabra/offline/tables/view=user.favorite'), { recursive: true }).filter(f => String(f).endsWith('.parquet'))).toHaveLength(1);
  const last = await fabra(['get', 'user', `u${users - 1}`, '--json'], { cwd: dir });
  expect(last.stdout).toContain('books');
  await project.close();
});
