/** The real `fabra serve` and `fabra publish`: what was answered with 202 outlives the process that answered. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BIN, fabra } from '../support/bin.ts';
import { cleanUp, newShopDir } from '../support/project.ts';

const view = { session_id: 's1', product_id: 'sku_1', currency: 'EUR', device: { mobile: true, os: 'iOS' }, geo: { country: 'DE', city: 'Munich' } };
const running = new Set<ChildProcess>();
let dir: string;

beforeAll(async () => {
  dir = newShopDir('serve');
  expect(await fabra(['apply', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
}, 60_000);
afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
  cleanUp();
});

interface Serving {
  url: string;
  ended: Promise<{ code: number | null; signal: string | null; stderr: string }>;
  kill(signal: NodeJS.Signals): void;
}

async function serve(env: Record<string, string> = {}): Promise<Serving> {
  const child = spawn(process.execPath, [BIN, 'serve', '--port', '0', '--json'], { cwd: dir, env: { PATH: process.env.PATH, ...env }, stdio: 'pipe' });
  running.add(child);
  let stderr = '';
  let stdout = '';
  child.stderr.setEncoding('utf8').on('data', (t: string) => (stderr += t));
  const ended = new Promise<{ code: number | null; signal: string | null; stderr: string }>(resolve =>
    child.on('exit', (code, signal) => {
      running.delete(child);
      resolve({ code, signal, stderr });
    }),
  );
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (t: string) => {
      stdout += t;
      if (stdout.trimEnd().endsWith('}')) resolve((JSON.parse(stdout) as { url: string }).url);
    });
    void ended.then(e => reject(new Error(`it ended with ${e.code}: ${stdout}${e.stderr}`)));
  });
  return { url, ended, kill: signal => void child.kill(signal) };
}

const post = (url: string, body: unknown, type = 'application/json'): Promise<Response> =>
  fetch(url, { method: 'POST', headers: { 'content-type': type }, body: typeof body === 'string' ? body : JSON.stringify(body) });
const viewsOf = async (user: string): Promise<unknown> => {
  const got = await fabra(['get', 'user', user, '--features', 'user_views_5m', '--json'], { cwd: dir });
  return got.json<{ features: Record<string, { value: unknown }> }>().features.user_views_5m!.value;
};

describe('fabra serve', () => {
  it('202 means that another process finds it, though the server was killed', async () => {
    const server = await serve();
    const sent = Promise.allSettled(
      Array.from({ length: 200 }, (_, i) =>
        post(`${server.url}/ingest/page_view`, { event_id: `k${i}`, entity_id: 'killed', payload: view }).then(async r => ({
          status: r.status,
          id: ((await r.json()) as { event_id: string }).event_id,
        })),
      ),
    );
    // At a moment when some are answered and some are not.
    await new Promise(r => setTimeout(r, 60));
    server.kill('SIGKILL');
    expect(await server.ended).toMatchObject({ signal: 'SIGKILL' });
    const taken = (await sent).filter(s => s.status === 'fulfilled').map(s => s.value);
    expect(taken.every(t => t.status === 202)).toBe(true);
    const { json } = await fabra(['events', 'tail', '--limit', '1000', '--json'], { cwd: dir });
    for (const { id } of taken) expect(JSON.stringify(json())).toContain(`"${id}"`);
    expect(await fabra(['worker', '--until-idle', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
    const views = (await viewsOf('killed')) as number;
    expect(views).toBeGreaterThanOrEqual(taken.length);
    expect(views).toBeLessThanOrEqual(200);
  }, 60_000);

  it('ends on SIGTERM with 0, having answered', async () => {
    const server = await serve();
    const first = await post(`${server.url}/ingest/page_view`, { event_id: 't', entity_id: 'term', payload: view });
    expect(first.status).toBe(202);
    server.kill('SIGTERM');
    expect(await server.ended).toMatchObject({ code: 0, stderr: '' });
  }, 60_000);

  it('serves what a worker beside it applies', async () => {
    const server = await serve();
    const lines = [
      { event_type: 'page_view', entity_id: 'beside', payload: view },
      { event_type: 'page_view', user_id: 'beside', ...view, session_id: 's2' },
    ]
      .map(e => JSON.stringify(e))
      .join('\n');
    expect((await post(`${server.url}/v1/events`, lines, 'application/x-ndjson')).status).toBe(200);
    expect(await fabra(['worker', '--until-idle', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
    const answer = (await (await post(`${server.url}/v1/features`, { entities: { user_id: ['beside', 'nobody'] }, features: ['user_views_5m'] })).json()) as { results: unknown[] };
    expect(answer.results[0]).toMatchObject({ values: [2, 0] });
    server.kill('SIGTERM');
    await server.ended;
  }, 60_000);

  it('refuses to be reached without a key, a port that is taken, and definitions that are not applied', async () => {
    const open = await fabra(['serve', '--host', '0.0.0.0', '--port', '0', '--json'], { cwd: dir });
    expect(open.code).toBe(2);
    expect(open.json()).toMatchObject({ error: { code: 'BAD_CONFIG', hint: expect.stringContaining('FABRA_API_KEY') } });
    const server = await serve({ FABRA_API_KEY: 'k' });
    expect((await fetch(`${server.url}/registry`)).status).toBe(403);
    expect((await fetch(`${server.url}/registry`, { headers: { 'x-api-key': 'k' } })).status).toBe(200);
    const taken = await fabra(['serve', '--port', new URL(server.url).port, '--json'], { cwd: dir });
    expect(taken.code).toBe(3);
    expect(taken.json()).toMatchObject({ error: { code: 'PORT_TAKEN' } });
    server.kill('SIGTERM');
    await server.ended;
    const fresh = await fabra(['serve', '--port', '0', '--json'], { cwd: newShopDir('unapplied') });
    expect(fresh.code).toBe(2);
    expect(fresh.json()).toMatchObject({ error: { code: 'NOT_APPLIED' } });
  }, 60_000);
});

describe('fabra publish', () => {
  it('one event, by its payload', async () => {
    const one = await fabra(['publish', 'page_view', '--entity-id', 'cli', '--event-id', 'c1', '--payload', JSON.stringify(view), '--json'], { cwd: dir });
    expect(one).toMatchObject({ code: 0 });
    expect(one.json()).toMatchObject({ event_id: 'c1', position: expect.stringMatching(/^events_raw\/0\/\d+$/) });
    const wrong = await fabra(['publish', 'page_veiw', '--payload', '{}', '--json'], { cwd: dir });
    expect(wrong.code).toBe(2);
    expect(wrong.json()).toMatchObject({ error: { code: 'UNKNOWN_EVENT', hint: 'Did you mean: page_view?' } });
    expect(await fabra(['publish', 'page_view', '--payload', '{', '--json'], { cwd: dir })).toMatchObject({ code: 2 });
  }, 60_000);

  it('a file of them, the good ones beside the bad', async () => {
    writeFileSync(
      join(dir, 'e.ndjson'),
      [JSON.stringify({ event_type: 'page_view', entity_id: 'file', payload: view }), 'nope', JSON.stringify({ event_type: 'page_view' })].join('\n'),
    );
    const ran = await fabra(['publish', '--file', 'e.ndjson', '--json'], { cwd: dir });
    expect(ran.code).toBe(2);
    expect(ran.json()).toMatchObject({
      published: 1,
      rejected: 2,
      errors: [
        { line: 2, code: 'BAD_EVENT' },
        { line: 3, code: 'BAD_EVENT' },
      ],
    });
    const missing = await fabra(['publish', '--file', 'none.ndjson', '--json'], { cwd: dir });
    expect(missing.code).toBe(2);
    expect(missing.json()).toMatchObject({ error: { code: 'FILE_NOT_FOUND' } });
    const piped = await fabra(['publish', '--json'], { cwd: dir, input: JSON.stringify({ event_type: 'page_view', entity_id: 'file', payload: view }) });
    expect(piped.json()).toMatchObject({ published: 1, rejected: 0 });
    expect(await fabra(['worker', '--until-idle', '--json'], { cwd: dir })).toMatchObject({ code: 0 });
    expect(await viewsOf('file')).toBe(2);
  }, 60_000);
});
