/** Is it alive, can it answer, what does it serve. */
import type { FastifyInstance } from 'fastify';
import { FabraError, toFabraError } from '../../lib/errors.ts';
import { canonicalJson } from '../../lib/json.ts';
import { iso } from '../../lib/time.ts';
import { sendError } from './errors.ts';
import { JSON_TYPE, type ServerParts } from './parts.ts';
import { openApi } from './openapi.ts';

/** The stores have this long to answer /readyz. */
const READY_MS = 1_000;

export function healthRoutes(app: FastifyInstance, parts: ServerParts): void {
  app.get('/healthz', (_request, reply) => void reply.type(JSON_TYPE).send('{"status":"ok"}'));
  app.get('/readyz', async (_request, reply) => {
    const { project } = parts;
    const stop = new AbortController();
    try {
      const late = project.clock.sleep(READY_MS, stop.signal).then(() => {
        throw new FabraError('STORE_FAILED', `the stores did not answer within ${READY_MS} ms`, {
          hint: 'Check the disk, and that no other process holds the store.',
          retry: true,
        });
      });
      late.catch(() => {});
      const applied = await Promise.race([ask(parts), late]);
      return reply.type(JSON_TYPE).send(JSON.stringify({ status: 'ready', ...applied }));
    } catch (e) {
      const known = toFabraError(e);
      return sendError(reply, known.httpStatus === 503 ? known : new FabraError('STORE_FAILED', known.message, { hint: known.hint, cause: e }), project.log);
    } finally {
      stop.abort();
    }
  });
  app.get('/metrics', async (_request, reply) => reply.type(parts.metrics.contentType).send(await parts.metrics.text()));
  app.get('/openapi.json', (_request, reply) => {
    void reply.type(JSON_TYPE).send(JSON.stringify(openApi(parts.compiled.registry)));
  });
  app.get('/registry', (_request, reply) => {
    const { registry, revision, at } = parts.applied!;
    void reply.type(JSON_TYPE).send(canonicalJson({ revision, applied_at: iso(at), registry }));
  });
}

/** One look at every store that requests need. */
async function ask({ project, compiled, applied }: ServerParts): Promise<{ registry: string; revision: number; outdated: boolean }> {
  const now = await project.catalog.applied();
  for (const stream of Object.keys(compiled.registry.streams)) {
    await project.online.streamMark(stream, 0);
    await project.bus.bounds(stream, 0);
  }
  // A newer registry was applied and this process has not taken it over: see followApplied.
  return { registry: compiled.registry.hash, revision: applied!.revision, outdated: now?.revision !== applied!.revision };
}
