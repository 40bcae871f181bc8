/** The real `fabra serve`, `worker`, `replay` and `dlq` around handlers: as a team would run them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { BIN, fabra } from '../support/bin.ts';
import { HEAD } from '../support/handlers.ts';
import { cleanUp, newDir } from '../support/project.ts';

const running = new Set<ChildProcess>();
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
});
afterAll(cleanUp);

const define = (dir: string, features: string) => writeFileSync(join(dir, 'features.ts'), (HEAD + features).replaceAll('import.meta.dirname', JSON.stringify(dir)));

async function newProject(name: string, features: string): Promise<string> {
  const dir = newDir(name);
  define(dir, features);
  expect(await fabra(['apply', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
  return dir;
}

interface Started {
  child: ChildProcess;
  out(): string;
  err(): string;
  ended: Promise<{ code: number | null; signal: string | null }>;
}

function start(dir: string, args: readonly string[]): Started {
  const child = spawn(process.execPath, [BIN, ...args], { cwd: dir, env: { PATH: process.env.PATH }, stdio: 'pipe' });
  running.add(child);
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (t: string) => (out += t));
  child.stderr.setEncoding('utf8').on('data', (t: string) => (err += t));
  const ended = new Promise<{ code: number | null; signal: string | null }>(resolve =>
    child.on('close', (code, signal) => {
      running.delete(child);
      resolve({ code, signal });
    }),
  );
  return { child, out: () => out, err: () => err, ended };
}

async function until(what: string, met: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  for (const end = Date.now() + ms; !(await met()); await sleep(20)) if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
}

async function serve(dir: string): Promise<{ url: string; stop(): Promise<void> }> {
  const s = start(dir, ['serve', '--port', '0', '--json']);
  await until('serve listens', () => s.out().trimEnd().endsWith('}'));
  return {
    url: (JSON.parse(s.out()) as { url: string }).url,
    stop: async () => {
      s.child.kill('SIGTERM');
      expect(await s.ended, s.err()).toMatchObject({ code: 0 });
    },
  };
}

const post = async (url: string, body: object): Promise<{ status: number; json: Record<string, unknown> }> => {
  const r = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  return { status: r.status, json: (await r.json()) as Record<string, unknown> };
};

async function valueOf(url: string, feature: string, user = 'u1'): Promise<unknown> {
  const { json } = await post(`${url}/v1/features`, { entities: { user_id: [user] }, features: [feature] });
  return (json.results as { values: unknown[] }[] | undefined)?.[0]?.values[0] ?? JSON.stringify(json);
}

const COUNT = `export const n = feature(user, 'n', on(click, { type: z.number(), handle: async ({ current }) => { await new Promise(r => setTimeout(r, 2)); return (current ?? 0) + 1; } }));
export const amount = feature(user, 'amount', on(buy, { type: z.number(), handle: ({ event }) => event.payload.n }));
`;

describe('events over HTTP, two worker processes', () => {
  it('200 concurrent +1 are 200 though the first worker is killed; an event of now is read within 2 s (T54, T62)', async () => {
    const dir = await newProject('http', COUNT);
    const server = await serve(dir);
    const a = start(dir, ['worker', '--json']);
    const writer = async () => (await fabra(['status', '--json'], { cwd: dir })).json<{ worker: number | null }>().worker;
    await until('the first worker works', async () => (await writer()) === a.child.pid);
    const b = start(dir, ['worker', '--standby']);
    await until('the second waits', () => b.err().includes('another process works'));
    const sent = Promise.all(Array.from({ length: 200 }, (_, i) => post(`${server.url}/ingest/click`, { event_id: `e${i}`, entity_id: 'u1', payload: {} })));
    await until('some are counted', async () => Number(await valueOf(server.url, 'n')) >= 20);
    a.child.kill('SIGKILL');
    expect(await a.ended).toMatchObject({ signal: 'SIGKILL' });
    const midway = Number(await valueOf(server.url, 'n'));
    expect(midway).toBeLessThan(200);
    expect((await sent).map(r => r.status).every(s => s === 202)).toBe(true);
    await until('all are counted', async () => (await valueOf(server.url, 'n')) === 200);
    expect(await writer()).toBe(b.child.pid);
    expect(await (await fetch(`${server.url}/metrics`)).text()).toContain('fabra_handlers_waiting{feature="user.n"} 0\n');

    const began = Date.now();
    expect(await post(`${server.url}/ingest/buy`, { entity_id: 'u1', payload: { n: 500 } })).toMatchObject({ status: 202 });
    await until('an event of now is read', async () => (await valueOf(server.url, 'amount')) === 500, 2_000);
    console.log(`killed at ${midway} of 200; an event of now was read after ${Date.now() - began} ms`);
    b.child.kill('SIGTERM');
    expect(await b.ended, b.err()).toMatchObject({ code: 0 });
    expect(b.out()).toMatch(/handlers: \d+ done, 0 tried again, 0 given up/);
    await server.stop();
  }, 90_000);

  it('the same event sent twice by HTTP and once by replay counts once (T63)', async () => {
    const dir = await newProject('same', COUNT);
    const server = await serve(dir);
    const timed = { event_id: 'timed', timestamp: '2025-01-15T12:00:00Z', entity_id: 'u1', payload: {} };
    for (let i = 0; i < 2; i++) expect(await post(`${server.url}/ingest/click`, timed)).toMatchObject({ status: 202, json: { event_id: 'timed' } });
    writeFileSync(join(dir, 'again.ndjson'), `${JSON.stringify({ type: 'click', id: 'timed', ts: '2025-01-15T12:00:00Z', user_id: 'u1' })}\n`);
    expect(await fabra(['replay', 'again.ndjson', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
    // Without a time, as a client that retries sends it: it gets the time of the first.
    for (let i = 0; i < 2; i++) expect(await post(`${server.url}/ingest/click`, { event_id: 'timeless', entity_id: 'u2', payload: {} })).toMatchObject({ status: 202 });
    const summary = await fabra(['worker', '--until-idle', '--json'], { cwd: dir });
    expect(summary.json()).toMatchObject({ read: 5, applied: 2, duplicate: 3, handled: 2 });
    expect(await valueOf(server.url, 'n')).toBe(1);
    expect(await valueOf(server.url, 'n', 'u2')).toBe(1);
    await server.stop();
  }, 60_000);
});

it('a rejection that a handler did not await is told, and ends no worker', async () => {
  const dir = await newProject(
    'floating',
    `export const n = feature(user, 'n', on(click, { type: z.int(), handle: ({ current }) => { void Promise.reject(new Error('nobody waits for me')); return (current ?? 0) + 1; } }));`,
  );
  for (const id of ['a', 'b'])
    expect(await fabra(['publish', 'click', '{"user_id":"u1"}', '--event-id', id, '--timestamp', '2025-01-15T12:00:00Z', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
  const ran = await fabra(['worker', '--until-idle', '--json'], { cwd: dir });
  expect(ran, ran.stderr).toMatchObject({ code: 0 });
  expect(ran.stderr).toContain('nobody waits for me');
  expect(ran.json()).toMatchObject({ handled: 2, dead: 0 });
}, 60_000);

describe('fabra dlq', () => {
  const handler = (
    body: string,
  ) => `export const risky = feature(user, 'risky', on(click, { type: z.number(), retries: { max: 3, delay: '5ms' }, handle: ({ event, current }) => { ${body} return (current ?? 0) + 1; } }));
export const clicks = feature(user, 'clicks', on(click, { type: z.number(), handle: ({ current }) => (current ?? 0) + 1 }));
export const never = feature(session, 'never', on(click, { type: z.number(), handle: () => { throw new NonRetriableError('never'); } }));
`;

  it('retry after a fix applies an event exactly once; purge asks first', async () => {
    const dir = await newProject('dlq', handler("note('tried'); throw new Error('service is down');"));
    const run = async (...args: string[]) => fabra([...args, '--json'], { cwd: dir });
    expect(await run('publish', 'click', '{"user_id": "u1"}', '--event-id', 'first')).toMatchObject({ code: 0 });
    writeFileSync(join(dir, 'bad.ndjson'), '{"type": "click", "ts": "2025-01-15T12:00:00Z", "user_id": "u1"}\n');
    await run('replay', 'bad.ndjson', '--rejects', 'rejects.ndjson');
    expect((await run('worker', '--until-idle')).json()).toMatchObject({ handled: 1, retried: 3, dead: 1 });
    expect(readFileSync(join(dir, 'notes.txt'), 'utf8').trim().split('\n')).toHaveLength(4);

    const list = (await run('dlq', 'list')).json<{ total: number; letters: { seq: number; reason: string; handler: object | null }[] }>();
    const letter = list.letters.find(l => l.handler)!;
    expect(letter).toMatchObject({ reason: 'service is down', handler: { feature: 'user.risky', key: 'u1', attempts: 4, event_type: 'click', event_id: 'first' } });
    const table = await fabra(['dlq', 'list'], { cwd: dir });
    expect(table.stdout).toMatch(/user\.risky u1 +4 +first +service is down/);
    expect((await fabra(['dlq', 'show', String(letter.seq)], { cwd: dir })).stdout).toContain('4 attempts at click first');

    define(dir, handler(''));
    const worker = start(dir, ['worker', '--json']);
    expect(await run('apply')).toMatchObject({ code: 0 });
    const retried = await run('dlq', 'retry', String(letter.seq));
    expect(retried).toMatchObject({ code: 0 });
    expect(retried.json()).toMatchObject({ requeued: 1, appended: 0, failed: 0, results: [{ seq: letter.seq, ok: true, what: 'requeued' }] });
    const value = async (f: string) => (await run('get', 'user', 'u1', '--features', f)).json<{ features: Record<string, { value: unknown }> }>().features[f]!.value;
    await until('it is applied', async () => (await value('risky')) === 1);
    expect(await value('clicks')).toBe(1);
    worker.child.kill('SIGTERM');
    expect(await worker.ended, worker.err()).toMatchObject({ code: 0 });

    expect(await run('dlq', 'retry', String(letter.seq))).toMatchObject({ code: 2, stdout: expect.stringContaining('NOT_FOUND') });
    expect(await run('dlq', 'retry')).toMatchObject({ code: 2, stdout: expect.stringContaining('--all') });
    expect(await run('dlq', 'retry', '--all', '--feature', 'riskyy')).toMatchObject({ code: 2, stdout: expect.stringContaining('user.risky') });
    expect((await run('worker', '--until-idle')).json()).toMatchObject({ handled: 0 });
    expect(await value('risky')).toBe(1);

    // A key of two parts is shown as it is typed.
    await run('publish', 'click', '{"user_id": "u9", "session_id": "s:1"}');
    expect((await run('worker', '--until-idle')).json()).toMatchObject({ handled: 2, dead: 1 });
    const [composite] = (await run('dlq', 'list')).json<{ letters: { seq: number; handler: object | null }[] }>().letters.filter(l => l.handler);
    expect(composite!.handler).toMatchObject({ feature: 'session.never', key: 'u9,s:1', attempts: 1 });
    expect((await run('dlq', 'purge', String(composite!.seq), '--yes')).json()).toMatchObject({ purged: 1 });

    // One that no definition takes stays, and says why; then it goes.
    const [{ seq }] = (await run('dlq', 'list')).json<{ letters: [{ seq: number }] }>().letters;
    expect(await run('dlq', 'retry', String(seq))).toMatchObject({ code: 1, stdout: expect.stringContaining('no usable event id') });
    expect((await run('dlq', 'retry', '--all')).json()).toMatchObject({ failed: 1, left: 1 });
    expect(await run('dlq', 'purge', '--all')).toMatchObject({ code: 2, stdout: expect.stringContaining('CONSENT_NEEDED') });
    expect((await run('dlq', 'purge', String(seq), '--yes')).json()).toEqual({ purged: 1, left: 0 });
    expect((await run('dlq', 'purge', '--all', '--yes')).json()).toEqual({ purged: 0, left: 0 });
  }, 90_000);
});
