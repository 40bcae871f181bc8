/** `fabra/client` against a real server. */
import { cpSync, readFileSync } from 'node:fs';
import { alias } from 'fabra';
import { createServer as httpServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Client, createClient, FabraClientError } from 'fabra/client';
import type { FastifyInstance } from 'fastify';
import ts from 'typescript';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { applyRegistry } from '../../src/runtime/apply.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { createServer } from '../../src/runtime/server/index.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { affordable, balance, lastText, message, purchase, purchases1h, rate, ride, segment, shopping, spent, temperature } from '../support/faces/features.ts';
import { cleanUp, compileAt, newDir, openTestProject, ROOT, type TestProject } from '../support/project.ts';

const KEY = 'a-key-of-some-length';
let project: TestProject;
let compiled: Compiled;
let app: FastifyInstance;
let url: string;
let client: Client;

beforeAll(async () => {
  const dir = newDir('client');
  cpSync(join(ROOT, 'test/support/faces'), dir, { recursive: true });
  compiled = await compileAt(dir);
  project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  app = createServer(project, compiled, { apiKey: KEY });
  url = await app.listen({ host: '127.0.0.1', port: 0 });
  client = createClient({ url: `${url}/`, apiKey: KEY });
});
afterAll(async () => {
  await app?.close();
  await project?.close();
  cleanUp();
});
const servers: Server[] = [];
afterEach(() => {
  for (const s of servers.splice(0)) s.close();
});

/** A server in front of the real one: `before` may answer by itself, or cut the connection after the real one has answered. */
async function between(before: (attempt: number) => { status?: number; body?: string; cut?: boolean; hang?: boolean }): Promise<{ url: string; bodies: string[] }> {
  const bodies: string[] = [];
  const server = httpServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', t => (body += t));
    request.on('end', async () => {
      bodies.push(body);
      const { status, body: own, cut, hang } = before(bodies.length);
      if (hang) return;
      if (status !== undefined) return void response.writeHead(status, { 'content-type': 'application/json' }).end(own ?? '');
      const headers = { 'content-type': request.headers['content-type']!, authorization: `Bearer ${KEY}` };
      const answer = await fetch(url + request.url, { method: 'POST', headers, body });
      const text = await answer.text();
      if (cut) return void request.socket.destroy();
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
    });
  });
  servers.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies };
}
const work = () => runWorker(project, compiled, { untilIdle: true, signal: new AbortController().signal });

describe('a client', () => {
  it('publishes, one and many, and reads back', async () => {
    const now = Date.now();
    const first = await client.publish(purchase, { user_id: 'u1', amount: 30, account: 2n ** 60n }, { eventId: 'order-1', timestamp: now - 2_000 });
    expect(first).toEqual({ event_id: 'order-1', position: 'shop/0/0' });
    await client.publish<typeof purchase>('purchase', { amount: 20 }, { entityId: 'u1', timestamp: new Date(now - 1_000) });
    await client.publish(message, { user_id: 'u1', payload: { text: 'hi' } });
    const outcomes = await client.publishMany(purchase, [
      { payload: { user_id: 'u2', amount: 1 } },
      { payload: { user_id: 'u2', amount: 'x' as never } },
      { payload: { amount: 2 }, entityId: 'u2', eventId: 'own' },
    ]);
    expect(outcomes.map(o => o.ok)).toEqual([true, false, true]);
    expect(outcomes[2]).toMatchObject({ event_id: 'own' });
    expect(outcomes[1]).toMatchObject({ error: { code: 'BAD_EVENT', path: 'payload.amount' } });
    await work();
    expect(await client.features(shopping, { user_id: 'u1' }, { request: { price: 50 } })).toEqual({ purchases_1h: 2, spent: 50, segment: null, affordable: true });
    expect(await client.features<typeof shopping>('shopping', [{ user_id: 'u2' }, { user_id: 'u1' }], { request: [{ price: 98 }, { price: 50 }] })).toMatchObject([
      { spent: 3, affordable: false },
      { spent: 50, affordable: true },
    ]);
    expect(await client.features([balance, lastText], { user_id: 'u1' })).toEqual({ balance: 50, last_text: 'HI' });
    expect(await client.get(affordable, { user_id: 'u1' }, { request: { price: 51 } })).toBe(false);
    expect(await client.features([spent], { user_id: 'u1' }, { asOf: new Date(now - 1_500) })).toEqual({ spent: 30 });
    expect(await client.features([balance], [])).toEqual([]);
    const { spent: cell, segment: none } = await client.cells([spent, segment], { user_id: 'u1' });
    expect(cell).toEqual({ value: 50, status: 'PRESENT', ts: now - 1_000 });
    expect(none).toEqual({ value: null, status: 'NOT_FOUND', ts: null });
  });

  it('an alias by its service, with full names', async () => {
    expect(await client.features([alias('home', temperature, { place_id: 'home_id' }), rate], [{ home_id: 'a' }, { home_id: 'b' }])).toEqual([
      { temperature: null, rate: 1 },
      { temperature: null, rate: 1 },
    ]);
    expect(await client.features([rate], {})).toEqual({ rate: 1 });
    expect(await client.features([rate], [{}, {}])).toEqual([{ rate: 1 }, { rate: 1 }]);
    expect(await client.features(ride, { origin_id: 'a', destination_id: 'b' })).toEqual({ origin__temperature: null, destination__temperature: null });
  });

  it('stale values, and the refusal of them', async () => {
    const asOf = Date.now() + 2_700_000;
    const { purchases_1h } = await client.cells([purchases1h], { user_id: 'u1' }, { asOf });
    expect(purchases_1h.stale).toEqual({ age: asOf - purchases_1h.ts!, maxAge: 1_800_000 });
    expect((await client.cells([spent], [{ user_id: 'u1' }, { user_id: 'nobody' }], { asOf, maxAge: { spent: '1s' } })).map(c => c.spent.stale?.maxAge)).toEqual([
      1_000,
      undefined,
    ]);
    const refused = await client.features([purchases1h], { user_id: 'u1' }, { asOf, strict: true }).catch((e: unknown) => e);
    expect(refused).toMatchObject({ code: 'STALE_FEATURES', status: 503 });
  });

  it("errors are the server's, with code, hint and path", async () => {
    const wrong = await client.features<typeof shopping>('shoping' as never, { user_id: 'u1' }, { request: { price: 1 } }).catch((e: unknown) => e);
    expect(wrong).toBeInstanceOf(FabraClientError);
    expect(wrong).toMatchObject({ code: 'UNKNOWN_SERVICE', status: 404, hint: 'Did you mean: shopping?', path: 'service' });
    await expect(client.publish(purchase, { user_id: 'u1' } as never)).rejects.toMatchObject({ code: 'BAD_EVENT', status: 422 });
    await expect(createClient({ url, apiKey: 'wrong' }).features([balance], { user_id: 'u1' })).rejects.toMatchObject({ code: 'FORBIDDEN', status: 403 });
    expect(() => createClient({ url: 'localhost:8080' })).toThrow(FabraClientError);
  });
});

describe('when the network fails', () => {
  it('an event whose answer was lost is sent again as the same event', async () => {
    const before = (await project.bus.bounds('shop')).end;
    const flaky = await between(attempt => ({ cut: attempt === 1 }));
    await createClient({ url: flaky.url }).publish(purchase, { user_id: 'u3', amount: 5 });
    expect(flaky.bodies).toHaveLength(2);
    expect(flaky.bodies[1]).toBe(flaky.bodies[0]);
    expect((await project.bus.bounds('shop')).end - before).toBe(2);
    expect(await work()).toMatchObject({ read: 2, applied: 1, duplicate: 1 });
    expect(await client.get(spent, { user_id: 'u3' })).toBe(5);
  });

  it('a server that is busy is asked again, one that refuses is not', async () => {
    const busy = await between(attempt => (attempt < 3 ? { status: 503, body: JSON.stringify({ error: { code: 'OVERLOADED', message: 'later', hint: null } }) } : {}));
    expect(await createClient({ url: busy.url }).features([spent], { user_id: 'u3' })).toEqual({ spent: 5 });
    expect(busy.bodies).toHaveLength(3);
    const refuses = await between(() => ({ status: 422, body: JSON.stringify({ error: { code: 'BAD_EVENT', message: 'no', hint: 'so' } }) }));
    await expect(createClient({ url: refuses.url }).publish(purchase, { user_id: 'u3', amount: 5 })).rejects.toMatchObject({ code: 'BAD_EVENT', hint: 'so' });
    expect(refuses.bodies).toHaveLength(1);
    const proxy = await between(() => ({ status: 200, body: '<html>' }));
    await expect(createClient({ url: proxy.url }).features([spent], { user_id: 'u3' })).rejects.toMatchObject({ code: 'BAD_ANSWER', status: 200 });
  });

  it('nobody there, no answer in time, and a caller who does not wait', async () => {
    const gone = await between(() => ({}));
    await new Promise(resolve => servers.splice(0)[0]!.close(resolve));
    await expect(createClient({ url: gone.url, retries: 0 }).features([spent], { user_id: 'u3' })).rejects.toMatchObject({ code: 'UNREACHABLE', status: null });
    const silent = await between(() => ({ hang: true }));
    await expect(createClient({ url: silent.url, retries: 1, timeoutMs: 50 }).features([spent], { user_id: 'u3' })).rejects.toMatchObject({ code: 'TIMEOUT' });
    expect(silent.bodies).toHaveLength(2);
    const stop = new AbortController();
    const asked = createClient({ url: silent.url }).features([spent], { user_id: 'u3' }, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(asked).rejects.toThrow('enough');
  });
});

it('runs without Node: nothing but relative imports of the like, and no global of its own', () => {
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const ast = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2023, true);
    for (const node of ast.statements) {
      if (!(ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) || !node.moduleSpecifier || !ts.isStringLiteral(node.moduleSpecifier)) continue;
      if (ts.isImportDeclaration(node) ? node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword : node.isTypeOnly) continue;
      expect(node.moduleSpecifier.text, file).toMatch(/^\./);
      visit(join(file, '..', node.moduleSpecifier.text));
    }
    expect(ast.text.replace(/\/\*[\s\S]*?\*\//g, ''), file).not.toMatch(/\b(process|Buffer|require|__dirname|setImmediate)\b/);
  };
  visit(join(ROOT, 'src/client.ts'));
  expect(seen.size).toBeGreaterThan(1);
});
