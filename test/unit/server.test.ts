import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { applyRegistry } from '../../src/runtime/apply.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { checkHost, isLoopback } from '../../src/runtime/server/auth.ts';
import { createServer, type ServerOptions } from '../../src/runtime/server/index.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { cleanUp, compileAt, newDir, openTestProject, type TestProject } from '../support/project.ts';

const FEATURES = `
import { count, derive, entity, feature, int64, last, ratio, service, span, stream, sum } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id', ttl: '7d' });
const product = entity('product', { key: 'product_id' });
const session = entity('session', { key: ['user_id', 'session_id'], ttl: '2h' });
const s = stream('clicks', { id: 'event_id', time: 'event_ts', type: 'event_type', lateness: '10m' });
const base = { user_id: z.string(), session_id: z.string(), product_id: z.string().nullish() };
const view = s.event('page_view', z.object(base));
const buy = s.event('purchase', z.object({ ...base, price: z.number().nonnegative(), account: int64().nullish() }));
export const views5m = feature(user, 'user_views_5m', count(view).over('5m'));
export const spend = feature(user, 'spend', sum(buy, 'price').lifetime());
export const account = feature(user, 'account', last(buy, 'account').over('1h'));
export const cr = feature(user, 'cr', ratio(count(buy), count(view)).over('24h'));
export const place = feature(user, 'place', last(view, 'product_id').over('1h'), { default: 'home' });
export const popular = feature(product, 'views', count(view).over('1h'));
export const mine = feature(user, 'views', count(view).over('1h'));
export const dur = feature(session, 'dur', span(view, buy).perSession({ gap: '30m' }));
export const fails = feature(user, 'fails', derive({ inputs: { v: views5m }, compute: ({ v }) => { if (v > 0) throw new Error('no luck'); return 1; } }));
export const odd = feature(user, 'odd', derive({ inputs: { v: views5m }, type: z.any(), compute: ({ v }) => { const o: any = { v }; o.self = o; return o; } }));
export const pressure = feature(user, 'pressure', derive({ inputs: { v: views5m, p: popular }, request: z.object({ total: z.number() }), compute: ({ v, p }, { request }) => v * 100 + p * 10 + request.total }));
export const ranking = service('ranking', [views5m, cr, dur]);
`;

const at = (time: string): string => `2025-01-15T${time}Z`;
const NOON = at('12:05:00');
const events = [
  { event_id: '1', event_type: 'page_view', event_ts: at('12:00:00'), user_id: 'u1', session_id: 's1', product_id: 'p1' },
  { event_id: '2', event_type: 'page_view', event_ts: at('12:01:00'), user_id: 'u1', session_id: 's1', product_id: 'p2' },
  { event_id: '3', event_type: 'page_view', event_ts: at('12:03:30'), user_id: 'u1', session_id: 's1', product_id: 'p1' },
  { event_id: '4', event_type: 'purchase', event_ts: at('12:04:10'), user_id: 'u1', session_id: 's1', product_id: 'p1', price: 29.9, account: '9007199254740993' },
  { event_id: '5', event_type: 'page_view', event_ts: at('12:04:00'), user_id: 'u2', session_id: 's2', product_id: 'p1' },
  { event_id: '6', event_type: 'page_view', event_ts: at('12:04:30'), user_id: '7', session_id: 's,3', product_id: null },
];

let dir: string;
let project: TestProject;
let compiled: Compiled;
let url: string;
const open: FastifyInstance[] = [];

async function start(options: ServerOptions = {}): Promise<string> {
  const app = createServer(project, compiled, options);
  open.push(app);
  return app.listen({ host: '127.0.0.1', port: 0 });
}

const work = () => runWorker(project, compiled, { untilIdle: true, signal: new AbortController().signal });

beforeAll(async () => {
  dir = newDir('server');
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  compiled = await compileAt(dir);
  project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  await project.bus.append(
    'clicks',
    events.map(e => ({ bytes: Buffer.from(JSON.stringify(e)) })),
    Date.now(),
  );
  await work();
  url = await start();
});
afterAll(async () => {
  for (const app of open) await app.close();
  await project.close();
  cleanUp();
});

interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: what is asserted is its shape
  body: any;
  headers: Headers;
}

async function call(path: string, init: RequestInit = {}, from = url): Promise<Answer> {
  const response = await fetch(from + path, init);
  const text = await response.text();
  expect(text).not.toMatch(/\bat .*\.(ts|js):\d+/);
  return { status: response.status, body: response.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : text, headers: response.headers };
}
const post = (path: string, body: unknown, from = url, headers: Record<string, string> = {}): Promise<Answer> =>
  call(path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: typeof body === 'string' ? body : JSON.stringify(body) }, from);
const ask = (body: Record<string, unknown>): Promise<Answer> => post('/v1/features', { as_of: NOON, ...body });

describe('POST /v1/features', () => {
  it('answers by feature, aligned with the rows: duplicates, unknown keys, numbers (62, 64)', async () => {
    const { status, body } = await ask({ entities: { user_id: ['u2', 'nobody', 'u1', 'u2', 7] }, features: ['user_views_5m', 'spend'] });
    expect(status).toBe(200);
    expect(body).toEqual({
      metadata: { names: ['user_views_5m', 'spend'] },
      results: [
        { values: [1, 0, 3, 1, 1], statuses: Array(5).fill('PRESENT'), timestamps: [at('12:04:00.000'), null, at('12:03:30.000'), at('12:04:00.000'), at('12:04:30.000')] },
        {
          values: [null, null, 29.9, null, null],
          statuses: ['NOT_FOUND', 'NOT_FOUND', 'PRESENT', 'NOT_FOUND', 'NOT_FOUND'],
          timestamps: [null, null, at('12:04:10.000'), null, null],
        },
      ],
      as_of: at('12:05:00.000'),
      position: { 'clicks/0': 6 },
    });
  });

  it.each([
    [
      ['u3', 'u1', 'u2'],
      [0, 3, 1],
    ],
    [
      ['u2', 'u2', 'u1'],
      [1, 1, 3],
    ],
    [
      ['u3', 'u1', 'u3', 'u2'],
      [0, 3, 0, 1],
    ],
  ])('%j (63)', async (user_id, values) => {
    expect((await ask({ entities: { user_id }, features: ['user_views_5m'] })).body.results[0].values).toEqual(values);
  });

  it('composite keys take a column each; equal parts in other places are other keys', async () => {
    const { body } = await ask({ entities: { user_id: ['u1', 'u1', '7', 'u2'], session_id: ['s1', 's2', 's,3', 's2'] }, features: ['dur'] });
    expect(body.results[0].values).toEqual([250, null, 0, 0]);
    expect(body.results[0].statuses).toEqual(['PRESENT', 'NOT_FOUND', 'PRESENT', 'PRESENT']);
  });

  it('as_of moves the windows (T87)', async () => {
    const value = async (as_of: unknown) => (await ask({ entities: { user_id: ['u1'] }, features: ['user_views_5m'], as_of })).body.results[0].values[0];
    expect(await value(at('12:05:00'))).toBe(3);
    expect(await value(at('12:05:00.001'))).toBe(2);
    expect(await value(Date.parse(at('12:05:00.001')))).toBe(2);
    expect(await value('2025-01-15T13:05:00+01:00')).toBe(3);
    expect(await value(null)).toBe(0);
  });

  it('a service answers as its features do (70)', async () => {
    const entities = { user_id: ['u1', 'u2'], session_id: ['s1', 's2'] };
    const service = await ask({ entities, service: 'ranking' });
    expect(service.body).toEqual((await ask({ entities, features: ['user_views_5m', 'cr', 'dur'] })).body);
  });

  it('int64 is text, a default replaces null, ratios are whole', async () => {
    const { body } = await ask({ entities: { user_id: ['u1', 'u2', '7'] }, features: ['account', 'place', 'cr'] });
    expect(body.results.map((r: { values: unknown[] }) => r.values)).toEqual([
      ['9007199254740993', null, null],
      ['p1', 'p1', 'home'],
      [1 / 3, 0, 0],
    ]);
  });

  it('a failing derived feature fails its own cell (57, T76), with the reason beside it', async () => {
    const { status, body } = await ask({ entities: { user_id: ['u1', 'nobody'] }, features: ['fails', 'odd', 'user_views_5m'] });
    expect(status).toBe(200);
    expect(body.results).toEqual([
      { values: [null, 1], statuses: ['ERROR', 'PRESENT'], timestamps: [at('12:03:30.000'), null], reasons: ['COMPUTE: no luck', null] },
      { values: [null, null], statuses: ['ERROR', 'ERROR'], timestamps: [null, null], reasons: Array(2).fill('COMPUTE: what it returned cannot be written as JSON') },
      { values: [3, 0], statuses: ['PRESENT', 'PRESENT'], timestamps: [at('12:03:30.000'), null] },
    ]);
  });

  it('derived features run per row, with a request for all or one each (71)', async () => {
    const entities = { user_id: ['u1', 'u1'], product_id: ['p1', 'p2'] };
    expect((await ask({ entities, features: ['pressure'], request: { total: 1 } })).body.results[0].values).toEqual([331, 311]);
    const same = { user_id: ['u1', 'u1'], product_id: ['p1', 'p1'] };
    expect((await ask({ entities: same, features: ['pressure'], request: [{ total: 1 }, { total: 2 }] })).body.results[0].values).toEqual([331, 332]);
    const wrong = await ask({ entities: same, features: ['pressure', 'user_views_5m'], request: { total: 'x' } });
    expect(wrong.body.results[0].statuses).toEqual(['ERROR', 'ERROR']);
    expect(wrong.body.results[1].values).toEqual([3, 3]);
  });

  const u1 = { user_id: ['u1'] };
  it.each<[string, Record<string, unknown>, number, string, string | null]>([
    ['unknown feature (68)', { entities: u1, features: ['user_views'] }, 404, 'UNKNOWN_FEATURE', 'features[0]'],
    ['unknown service', { entities: u1, service: 'rankin' }, 404, 'UNKNOWN_SERVICE', 'service'],
    ['a name of the prototype', { entities: u1, service: 'constructor' }, 404, 'UNKNOWN_SERVICE', 'service'],
    ['a name of two entities (32)', { entities: u1, features: ['views'] }, 400, 'NAME_COLLISION', 'features[0]'],
    ['a feature twice', { entities: u1, features: ['cr', 'cr'] }, 400, 'NAME_COLLISION', 'features[1]'],
    ['no feature', { entities: u1, features: [] }, 400, 'BAD_REQUEST', 'features'],
    ['neither', { entities: u1 }, 400, 'BAD_REQUEST', 'features'],
    ['both', { entities: u1, features: ['cr'], service: 'ranking' }, 400, 'BAD_REQUEST', 'service'],
    ['a number for a feature', { entities: u1, features: [1] }, 400, 'BAD_REQUEST', 'features[0]'],
    ['no entities', { features: ['cr'] }, 400, 'BAD_REQUEST', 'entities'],
    ['a missing key column (68)', { entities: {}, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_id'],
    ['half a composite key', { entities: u1, features: ['dur'] }, 400, 'BAD_KEY', 'entities.session_id'],
    ["the key of a derived feature's input", { entities: u1, features: ['pressure'], request: { total: 1 } }, 400, 'BAD_KEY', 'entities.product_id'],
    ['a misspelt key column', { entities: { user_idd: ['u1'] }, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_idd'],
    ['an empty list (68)', { entities: { user_id: [] }, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_id'],
    ['no list', { entities: { user_id: 'u1' }, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_id'],
    ['a null key (68)', { entities: { user_id: ['u1', null] }, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_id[1]'],
    ['an empty key', { entities: { user_id: [''] }, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_id[0]'],
    ['a key of a wrong type (68)', { entities: { user_id: [true] }, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_id[0]'],
    ['a fraction for a key', { entities: { user_id: [1.5] }, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_id[0]'],
    ['a number that lost digits', { entities: { user_id: [2 ** 60] }, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_id[0]'],
    ['a huge key', { entities: { user_id: ['x'.repeat(1_025)] }, features: ['cr'] }, 400, 'BAD_KEY', 'entities.user_id[0]'],
    ['a huge composite key', { entities: { user_id: ['x'.repeat(1_000)], session_id: ['y'.repeat(1_000)] }, features: ['dur'] }, 400, 'BAD_KEY', 'entities.user_id[0]'],
    ['columns of different lengths (69)', { entities: { user_id: ['u1', 'u2'], session_id: ['s1'] }, features: ['dur'] }, 400, 'BAD_KEY', 'entities.session_id'],
    ['a bad time', { entities: u1, features: ['cr'], as_of: 'noon' }, 400, 'BAD_TIME', 'as_of'],
    ['a missing request column (38)', { entities: { ...u1, product_id: ['p1'] }, features: ['pressure'] }, 400, 'BAD_REQUEST', 'request.total'],
    ['a request of another length', { entities: { ...u1, product_id: ['p1'] }, features: ['pressure'], request: [] }, 400, 'BAD_REQUEST', 'request'],
    ['an unknown field', { entities: u1, feature: ['cr'] }, 400, 'BAD_REQUEST', 'feature'],
    ['too many rows', { entities: { user_id: Array(10_001).fill('u') }, features: ['cr'] }, 413, 'TOO_LARGE', 'entities'],
  ])('refuses %s', async (_name, body, status, code, path) => {
    const answer = await ask(body);
    expect(answer).toMatchObject({ status, body: { error: { code, path, message: expect.any(String) } } });
    expect(answer.body.error).toHaveProperty('hint');
  });
});

describe('GET /v1/features/:entity/:key', () => {
  it('agrees with POST (T77), known key or not', async () => {
    for (const key of ['u1', 'cold']) {
      const got = await call(`/v1/features/user/${key}?features=user_views_5m,cr&as_of=${NOON}`);
      const { results } = (await ask({ entities: { user_id: [key] }, features: ['user_views_5m', 'cr'] })).body;
      expect(got.body).toMatchObject({ entity: 'user', key, as_of: at('12:05:00.000') });
      expect(Object.values(got.body.features)).toEqual(results.map((r: Record<string, unknown[]>) => ({ value: r.values![0], status: r.statuses![0], ts: r.timestamps![0] })));
    }
  });

  it('without names: all that the key suffices for; with another key, also those', async () => {
    const { body } = await call(`/v1/features/user/u1?as_of=${NOON}`);
    expect(Object.keys(body.features).sort()).toEqual(['account', 'cr', 'fails', 'odd', 'place', 'spend', 'user.views', 'user_views_5m']);
    expect((await call(`/v1/features/session/7,s%2C3?as_of=${encodeURIComponent('2025-01-15T14:05:00+02:00')}`)).body.features.dur.value).toBe(0);
  });

  it.each([
    ['/v1/features/user/u1?features=nope', 404, 'UNKNOWN_FEATURE'],
    ['/v1/features/usr/u1', 404, 'UNKNOWN_ENTITY'],
    ['/v1/features/user/u1?features=product.views', 400, 'BAD_REQUEST'],
    ['/v1/features/user/u1?features=pressure', 400, 'BAD_KEY'],
    ['/v1/features/user/u1?features=pressure&product_id=p1', 400, 'BAD_REQUEST'],
    ['/v1/features/session/u1', 400, 'BAD_KEY'],
    ['/v1/features/user/u1?as_off=1', 400, 'BAD_REQUEST'],
    ['/v1/features/user/u1?as_of=x', 400, 'BAD_TIME'],
    ['/v1/features/user/u1?features=cr&features=cr', 400, 'BAD_REQUEST'],
    [`/v1/features/user/${'x'.repeat(2_000)}`, 400, 'BAD_KEY'],
    ['/v1/features/user/%', 400, 'BAD_REQUEST'],
  ])('%s (T25, T78)', async (path, status, code) => {
    expect(await call(path)).toMatchObject({ status, body: { error: { code } } });
  });
});

describe('events', () => {
  const view = { session_id: 's9', product_id: 'p9' };

  it('ingest, worker, read', async () => {
    const taken = await post('/ingest/page_view', { entity_id: 'u9', event_id: 'mine', timestamp: at('12:04:59'), payload: view });
    expect(taken).toMatchObject({ status: 202, body: { event_id: 'mine', position: expect.stringMatching(/^clicks\/0\/\d+$/) } });
    // The same again, as after a lost answer: taken, and counted once (T63).
    await post('/ingest/clicks/page_view', { entity_id: 'u9', event_id: 'mine', timestamp: at('12:04:59'), payload: view });
    await work();
    const { body } = await ask({ entities: { user_id: ['u9'] }, features: ['user_views_5m'] });
    expect(body.results[0]).toEqual({ values: [1], statuses: ['PRESENT'], timestamps: [at('12:04:59.000')] });
  });

  it('many at once: each line its answer, no good one lost', async () => {
    const lines = [
      JSON.stringify({ event_type: 'page_view', user_id: 'u8', ...view, event_ts: at('12:04:58') }),
      '{"event_type":"page_view","entity_id":8}',
      'nope',
      '',
      JSON.stringify({ event_type: 'page_vew' }),
    ];
    const { status, body } = await post('/v1/events', lines.join('\r\n'), url, { 'content-type': 'application/x-ndjson' });
    expect(status).toBe(207);
    expect(body).toMatchObject({
      accepted: 1,
      rejected: 3,
      results: [
        { line: 1, ok: true },
        { line: 2, ok: false, error: { code: 'BAD_EVENT', path: 'session_id' } },
        { line: 3, error: { code: 'BAD_EVENT' } },
        { line: 5, error: { code: 'UNKNOWN_EVENT', hint: 'Did you mean: page_view?' } },
      ],
    });
    await work();
    expect((await ask({ entities: { user_id: ['u8'] }, features: ['user_views_5m'] })).body.results[0].values).toEqual([1]);
    expect((await post('/v1/events', [{ event_type: 'page_view', entity_id: 'u8', payload: view }])).status).toBe(200);
  });

  it.each<[string, unknown, number, string]>([
    ['/ingest/page_veiw', {}, 404, 'UNKNOWN_EVENT'],
    ['/ingest/page_view', { payload: view }, 422, 'BAD_EVENT'],
    ['/ingest/page_view', [], 422, 'BAD_EVENT'],
    ['/ingest/page_view', '', 400, 'BAD_REQUEST'],
    ['/ingest/purchase', { entity_id: 'u1', payload: { ...view, price: -1 } }, 422, 'BAD_EVENT'],
    ['/v1/events', '[]', 400, 'BAD_REQUEST'],
    ['/v1/events', {}, 400, 'BAD_REQUEST'],
  ])('%s refuses %j (T71)', async (path, body, status, code) => {
    expect(await post(path, body)).toMatchObject({ status, body: { error: { code } } });
  });
});

describe('the rest', () => {
  it('is alive, ready, and says what it serves', async () => {
    expect(await call('/healthz')).toMatchObject({ status: 200, body: { status: 'ok' } });
    expect(await call('/readyz')).toMatchObject({ status: 200, body: { status: 'ready', revision: 1, outdated: false } });
    const { body } = await call('/registry');
    expect(body).toMatchObject({ revision: 1, registry: { hash: compiled.registry.hash } });
  });

  it('an OpenAPI document whose references all resolve', async () => {
    const { body } = await call('/openapi.json');
    expect(body.openapi).toBe('3.1.0');
    expect(Object.keys(body.paths)).toEqual(expect.arrayContaining(['/v1/features', '/v1/features/{entity}/{key}', '/ingest/page_view', '/v1/events']));
    const refs = [...JSON.stringify(body).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(m => m[1]!);
    for (const name of refs) expect(body.components.schemas).toHaveProperty(name);
    for (const [path, methods] of Object.entries<Record<string, { responses: Record<string, { description: string }>; parameters?: { name: string; in: string }[] }>>(body.paths))
      for (const operation of Object.values(methods)) {
        for (const r of Object.values(operation.responses)) expect(r.description).toBeTypeOf('string');
        const named = [...path.matchAll(/\{(\w+)\}/g)].map(m => m[1]);
        expect((operation.parameters ?? []).filter(p => p.in === 'path').map(p => p.name)).toEqual(named);
      }
  });

  it.each<[string, string, RequestInit, number, string]>([
    ['unknown route', '/v1/feature', {}, 404, 'NOT_FOUND'],
    ['wrong method', '/v1/features', {}, 405, 'BAD_REQUEST'],
    ['malformed JSON', '/v1/features', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"entities' }, 400, 'BAD_REQUEST'],
    ['no body', '/v1/features', { method: 'POST' }, 400, 'BAD_REQUEST'],
    ['a list for a body', '/v1/features', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '[]' }, 400, 'BAD_REQUEST'],
    ['wrong content type', '/v1/features', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: '{}' }, 415, 'BAD_REQUEST'],
    ['a form', '/ingest/page_view', { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'a=1' }, 415, 'BAD_REQUEST'],
    ['bytes that are not UTF-8', '/v1/features', { method: 'POST', headers: { 'content-type': 'application/json' }, body: Buffer.from([34, 255, 34]) }, 400, 'BAD_REQUEST'],
    ['a body too large', '/v1/features', { method: 'POST', headers: { 'content-type': 'application/json' }, body: `"${'x'.repeat(9 << 20)}"` }, 413, 'TOO_LARGE'],
  ])('%s', async (_name, path, init, status, code) => {
    const answer = await call(path, init).catch(() => null);
    // A body cut off in the middle may reset the connection before the answer is read.
    if (answer === null && status === 413) return;
    expect(answer).toMatchObject({ status, body: { error: { code, hint: expect.any(String) } } });
  });

  it('what is not HTTP gets an error of ours', async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const { port, hostname } = new URL(url);
      const socket = connect(Number(port), hostname, () => socket.write('NOT HTTP\r\n\r\n'));
      let text = '';
      socket
        .on('data', d => (text += d.toString()))
        .on('end', () => resolve(text))
        .on('error', reject);
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toContain('"code":"BAD_REQUEST"');
  });

  it('a failing store is a 5xx without its words or a stack, /readyz says so, and what it said is logged', async () => {
    const logged: Record<string, unknown>[] = [];
    const failing = {
      ...project,
      log: { level: 'info' as const, log: (_: string, f: Record<string, unknown>) => void logged.push(f) },
      online: Object.assign(Object.create(project.online) as TestProject['online'], {
        read: () => Promise.reject(new Error('secret words')),
        streamMark: () => new Promise(() => {}),
      }),
    };
    const app = createServer(failing, compiled);
    open.push(app);
    const from = await app.listen({ host: '127.0.0.1', port: 0 });
    const answer = await post('/v1/features', { entities: { user_id: ['u1'] }, features: ['cr'] }, from);
    expect(answer).toMatchObject({ status: 500, body: { error: { code: 'INTERNAL' } } });
    expect(JSON.stringify(answer.body)).not.toContain('secret');
    expect(logged[0]).toMatchObject({ route: '/v1/features', message: 'secret words' });
    expect(await call('/readyz', {}, from)).toMatchObject({ status: 503, body: { error: { code: 'STORE_FAILED' } } });
    expect((await call('/healthz', {}, from)).status).toBe(200);
  });

  it('metrics: routes by template, types by registry; a thousand keys add no series (T80)', async () => {
    const series = async () =>
      ((await call('/metrics')).body as string)
        .split('\n')
        .filter(l => l && !l.startsWith('#'))
        .map(l => l.replace(/ \S+$/, ''));
    await call('/v1/features/user/x0');
    await post('/ingest/unheard_of', {});
    await call('/no/such/path');
    await series();
    const before = await series();
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => call(`/v1/features/user/x${i}`)));
    await post('/ingest/another', {});
    await call('/no/other/path');
    expect(await series()).toEqual(before);
    const text = (await call('/metrics')).body as string;
    expect(text).toMatch(/fabra_events_processed_total\{event_type="purchase"\} 1\n/);
    expect(text).toMatch(/fabra_lag_events\{stream="clicks"\} \d/);
    expect(text).toMatch(/fabra_watermark_seconds\{stream="clicks"\} \d/);
    expect(text).toMatch(/fabra_dlq_depth 0\n/);
    expect(text).toMatch(/fabra_events_ingested_total\{event_type="page_view"\} [1-9]/);
    expect(text).toMatch(/fabra_feature_lookup_seconds_count [1-9]/);
    expect(text).not.toContain('unheard_of');
  });
});

describe('access', () => {
  it('with a key set, all but the health checks need it (T75)', async () => {
    const from = await start({ apiKey: 'secret' });
    for (const path of ['/healthz', '/readyz']) expect((await call(path, {}, from)).status).toBe(200);
    for (const path of ['/metrics', '/openapi.json', '/registry', '/v1/features/user/u1', '/nothing', '/healthz/']) {
      expect(await call(path, {}, from)).toMatchObject({ status: 403, body: { error: { code: 'FORBIDDEN' } } });
      for (const headers of [{ 'x-api-key': 'secre' }, { authorization: 'Bearer wrong' }, { authorization: 'secret' }] as Record<string, string>[])
        expect((await call(path, { headers }, from)).status).toBe(403);
      for (const headers of [{ 'x-api-key': 'secret' }, { authorization: 'Bearer secret' }, { authorization: 'bearer  secret' }] as Record<string, string>[])
        expect((await call(path, { headers }, from)).status).not.toBe(403);
    }
    expect((await post('/ingest/page_view', {}, from)).status).toBe(403);
  });

  it('an address that others can reach needs a key', () => {
    for (const host of ['127.0.0.1', 'localhost', '::1', '[::1]', '127.1.2.3']) expect(isLoopback(host)).toBe(true);
    for (const host of ['0.0.0.0', '::', '192.168.1.5', 'example.com', '127.0.0.1.example.com', '']) {
      expect(() => checkHost(host, null)).toThrow(/no API key/);
      checkHost(host, 'k');
    }
  });

  it('definitions that are not the applied ones are not served', async () => {
    const other = newDir('server-other');
    writeFileSync(join(other, 'features.ts'), FEATURES.replace("over('5m')", "over('6m')"));
    const app = createServer(project, await compileAt(other));
    await expect(app.ready()).rejects.toMatchObject({ code: 'NOT_APPLIED', hint: expect.stringContaining('fabra apply') });
    const empty = await openTestProject(newDir('server-empty'));
    await expect(createServer(empty, compiled).ready()).rejects.toMatchObject({ code: 'NOT_APPLIED' });
    await empty.close();
  });

  it('closing answers what is in flight', async () => {
    let taken = 0;
    const slow = Object.assign(Object.create(project.bus) as TestProject['bus'], {
      append: (...args: Parameters<TestProject['bus']['append']>) => {
        taken += args[1].length;
        return project.bus.append(...args);
      },
      flushed: () => new Promise<void>(resolve => setTimeout(resolve, 200)),
    });
    const app = createServer({ ...project, bus: slow }, compiled);
    const from = await app.listen({ host: '127.0.0.1', port: 0 });
    const answers = Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => post('/ingest/page_view', { event_id: `last${i}`, entity_id: 'z', payload: { session_id: 's' } }, from)),
    );
    while (taken === 0) await new Promise(r => setTimeout(r, 5));
    const before = taken;
    await app.close();
    const statuses = (await answers).map(a => (a.status === 'fulfilled' ? a.value.status : 0));
    expect(statuses.filter(s => s === 202).length).toBeGreaterThanOrEqual(before);
    expect(statuses.filter(s => s !== 202 && s !== 0)).toEqual([]);
  });

  it('closing does not wait for a request that never comes in whole', { timeout: 20_000 }, async () => {
    const app = createServer(project, compiled, { closeGraceMs: 100 });
    const { port } = new URL(await app.listen({ host: '127.0.0.1', port: 0 }));
    const socket = connect(Number(port), '127.0.0.1');
    const ended = new Promise(resolve => socket.once('close', resolve).on('error', () => {}));
    const head = 'POST /ingest/page_view HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n';
    // The server says that it has read the head, and waits for a body of which one byte comes.
    const said = new Promise<string>(resolve => socket.once('data', b => resolve(b.toString())));
    socket.write(`${head}expect: 100-continue\r\n\r\n`);
    expect(await said).toContain('100 Continue');
    socket.write('{');
    await app.close();
    await ended;
  });
});
