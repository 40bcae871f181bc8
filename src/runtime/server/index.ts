/** The HTTP server: features out, events in. Errors, limits and access are the same for every route. */
import { isUtf8 } from 'node:buffer';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { FabraError } from '../../lib/errors.ts';
import { planApply } from '../apply.ts';
import { ServerMetrics } from '../metrics.ts';
import type { Compiled, Project } from '../project.ts';
import { Publisher } from '../publish.ts';
import { FeatureReader } from '../reader.ts';
import { FORBIDDEN, keyCheck } from './auth.ts';
import { asHttpError, errorBody, type RouteName, sendError, unmatched } from './errors.ts';
import { eventRoutes } from './events.ts';
import { feastRoutes } from './feast.ts';
import { featureRoutes } from './features.ts';
import { healthRoutes } from './health.ts';
import { Names } from './names.ts';
import { JSON_TYPE, type ServerParts } from './parts.ts';
import type { Limits } from './request.ts';

export interface ServerOptions {
  /** When set, every route but /healthz and /readyz needs it. */
  apiKey?: string | null;
  /** Largest body, bytes. */
  bodyLimit?: number;
  limits?: Limits;
  /** How long a request may take to come in, ms; while the server closes, `closeGraceMs`. */
  requestTimeoutMs?: number;
  closeGraceMs?: number;
}

const SWEEP_MS = 20;
const REQUEST_TIMEOUT_MS = 60_000;
const CLOSE_GRACE_MS = 5_000;
const BODY_LIMIT = 8 * 1024 * 1024;
const LIMITS: Limits = { rows: 10_000, cells: 500_000 };
/** Open whatever the key: for the load balancer. */
const OPEN = new Set(['/healthz', '/readyz']);
const NDJSON = /^application\/(x-ndjson|ndjson|jsonl|x-jsonlines)\b/;

/**
 * A server that is not listening yet. `ready()` and `listen()` fail with NOT_APPLIED when these definitions are not the
 * applied ones.
 */
export function createServer(project: Project, compiled: Compiled, options: ServerOptions = {}): FastifyInstance {
  const parts: ServerParts = { project, ...made(project, compiled), limits: options.limits ?? LIMITS, applied: null };
  const app = fastify({
    bodyLimit: options.bodyLimit ?? BODY_LIMIT,
    requestTimeout: options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
    forceCloseConnections: 'idle',
    // What comes in on an open connection while the server closes is answered, not refused.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 8_192 },
    frameworkErrors: (e, _request, reply) => sendError(reply as unknown as FastifyReply, e, project.log),
    clientErrorHandler: (e, socket) => {
      if (e.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
      const late = e.code === 'ERR_HTTP_REQUEST_TIMEOUT';
      const what = late ? 'the request did not come in whole in time' : 'this is not an HTTP request that can be read';
      const body = errorBody(new FabraError('BAD_REQUEST', what, { hint: 'Check the client.' }));
      socket.end(
        `HTTP/1.1 ${late ? '408 Request Timeout' : '400 Bad Request'}\r\nContent-Type: ${JSON_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      );
    },
  });
  const routes: RouteName[] = [];
  app.addHook('onRoute', ({ method, url }) => {
    for (const m of [method].flat()) if (m !== 'HEAD') routes.push({ method: m, url });
  });
  bodies(app);
  access(app, options.apiKey ?? null);
  app.addHook('onResponse', (request, reply, done) => {
    parts.metrics.request(request.method, request.is404 ? undefined : request.routeOptions.url, reply.statusCode, reply.elapsedTime / 1000);
    done();
  });
  app.setErrorHandler((e, _request, reply) => sendError(reply, e, project.log));
  app.setNotFoundHandler((request, reply) => unmatched(request, reply, routes));
  app.addHook('onReady', async () => {
    parts.applied = await requireApplied(project, compiled);
  });
  running.set(app, parts);
  closing(app, parts, options.closeGraceMs ?? CLOSE_GRACE_MS);
  healthRoutes(app, parts);
  featureRoutes(app, parts);
  eventRoutes(app, parts);
  feastRoutes(app, parts);
  return app;
}

/** What is made from one set of definitions. */
function made(project: Project, compiled: Compiled): Pick<ServerParts, 'compiled' | 'names' | 'reader' | 'publisher' | 'metrics'> {
  const { registry, code } = compiled;
  const reader = new FeatureReader(project, registry, code);
  const metrics = new ServerMetrics(project, registry);
  metrics.onDemand(reader.watch.counts);
  return { compiled, names: new Names(registry, code), reader, publisher: new Publisher(project, compiled), metrics };
}

/** Parts by server, for {@link followApplied}. */
const running = new WeakMap<FastifyInstance, ServerParts>();

/**
 * Takes over what is applied while the server runs: definitions are compiled again and replace the old ones between two
 * requests. Looks every `everyMs` until the signal aborts; definitions on disk that are not the applied ones are reported once.
 */
export async function followApplied(
  app: FastifyInstance,
  compile: () => Promise<Compiled>,
  options: { everyMs: number; signal: AbortSignal; onChange(revision: number): void; onProblem(text: string): void },
): Promise<void> {
  const parts = running.get(app)!;
  const { project } = parts;
  let reported = parts.applied?.revision;
  while (!options.signal.aborted) {
    await project.clock.sleep(options.everyMs, options.signal);
    const applied = await project.catalog.applied().catch(() => null);
    if (!applied || applied.revision === parts.applied?.revision || applied.revision === reported) continue;
    try {
      const compiled = await compile();
      parts.applied = await requireApplied(project, compiled);
      const old = parts.publisher;
      Object.assign(parts, made(project, compiled));
      options.onChange(applied.revision);
      await old.drain();
    } catch (e) {
      reported = applied.revision;
      options.onProblem(`revision ${applied.revision} is applied and not taken over: ${e instanceof Error ? e.message : String(e)}`);
    }
  }
}

/** In-flight requests are answered, connections end with their answer, and what was taken is on disk. */
function closing(app: FastifyInstance, parts: ServerParts, graceMs: number): void {
  /** Requests that came in whole and are not answered yet. */
  const whole = new Set<FastifyRequest>();
  app.addHook('preValidation', (request, _reply, done) => {
    whole.add(request);
    done();
  });
  app.addHook('onResponse', (request, _reply, done) => {
    whole.delete(request);
    done();
  });
  app.addHook('onRequestAbort', (request, done) => {
    whole.delete(request);
    done();
  });
  app.addHook('preClose', done => {
    // A connection whose answer was still to come when closing began turns idle later: else it would be waited for, a minute and more.
    let waited = 0;
    const sweep = setInterval(() => {
      waited += SWEEP_MS;
      // What came in half is not idle, and its client may never send the rest.
      if (waited >= graceMs && whole.size === 0) app.server.closeAllConnections();
      else app.server.closeIdleConnections();
    }, SWEEP_MS);
    app.server.once('close', () => clearInterval(sweep));
    if (!app.server.listening) clearInterval(sweep);
    done();
  });
  app.addHook('onClose', () => parts.publisher.drain());
}

/** @throws FabraError NOT_APPLIED. */
async function requireApplied(project: Project, compiled: Compiled): Promise<NonNullable<ServerParts['applied']>> {
  const applied = await project.catalog.applied();
  if (!applied) throw new FabraError('NOT_APPLIED', 'no registry is applied yet', { hint: 'Run: fabra apply' });
  const { diff } = await planApply(project, compiled);
  if (diff.changes.length > 0)
    throw new FabraError('NOT_APPLIED', `the definitions differ from the applied registry (revision ${applied.revision})`, { hint: 'Run: fabra plan, then fabra apply' });
  return applied;
}

/** JSON and NDJSON, as strict as the rest: not UTF-8 or not JSON is an error of the client. */
function bodies(app: FastifyInstance): void {
  const text = (body: Buffer): string => {
    if (!isUtf8(body)) throw new FabraError('BAD_REQUEST', 'the body is not UTF-8', { hint: 'Send UTF-8.' });
    return body.toString('utf8');
  };
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      const json = text(body as Buffer);
      done(null, json.length === 0 ? undefined : JSON.parse(json));
    } catch (e) {
      done(e instanceof FabraError ? e : new FabraError('BAD_REQUEST', `the body is not JSON: ${(e as Error).message}`, { hint: 'Check the quotes and commas.' }));
    }
  });
  app.addContentTypeParser(NDJSON, { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, text(body as Buffer));
    } catch (e) {
      done(asHttpError(e).error);
    }
  });
}

function access(app: FastifyInstance, apiKey: string | null): void {
  if (!apiKey) return;
  const allowed = keyCheck(apiKey);
  app.addHook('onRequest', (request, reply, done) => {
    if (OPEN.has(request.routeOptions.url ?? '') || allowed(request.headers)) return done();
    void reply.code(403).type(JSON_TYPE).send(FORBIDDEN);
  });
}
