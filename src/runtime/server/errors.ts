/** Every failure as `{error: {code, message, hint, path}}`: never a stack, never the words of the framework. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { type ErrorCode, FabraError, toFabraError } from '../../lib/errors.ts';
import { didYouMean } from '../../lib/text.ts';
import type { Logger } from '../../lib/log.ts';

interface Known {
  code: ErrorCode;
  message: string;
  hint: string;
  status?: number;
}

/** What the framework refuses by itself. */
const KNOWN: Record<string, Known> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: 'BAD_REQUEST',
    message: 'this content type is not read here',
    hint: 'Send content-type: application/json (application/x-ndjson to /v1/events).',
    status: 415,
  },
  FST_ERR_CTP_EMPTY_TYPE: { code: 'BAD_REQUEST', message: 'the request has no content type', hint: 'Send content-type: application/json.', status: 415 },
  FST_ERR_CTP_BODY_TOO_LARGE: { code: 'TOO_LARGE', message: 'the body is too large', hint: 'Send it in several requests.' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: { code: 'BAD_REQUEST', message: 'the body is not as long as content-length says', hint: 'Send it again.' },
  FST_ERR_BAD_URL: { code: 'BAD_REQUEST', message: 'the path is not a valid URL', hint: 'Encode % as %25.' },
  FST_ERR_MAX_PARAM_LENGTH: { code: 'BAD_KEY', message: 'a part of the path is too long', hint: 'Ask by POST /v1/features.' },
};

/** What a client is told. */
export function errorBody(e: FabraError): string {
  const { error } = e.toJSON();
  return JSON.stringify({ error: { ...error, path: e.path || null } });
}

/** Whatever was thrown as our error, with its HTTP status. */
export function asHttpError(thrown: unknown): { error: FabraError; status: number } {
  const known = KNOWN[(thrown as Partial<FastifyError> | null)?.code ?? ''];
  if (known) {
    const error = new FabraError(known.code, known.message, { hint: known.hint });
    return { error, status: known.status ?? error.httpStatus };
  }
  const error = toFabraError(thrown);
  if (error.code !== 'INTERNAL') return { error, status: error.httpStatus };
  const status = (thrown as Partial<FastifyError> | null)?.statusCode ?? 500;
  if (status >= 400 && status < 500) return { error: new FabraError('BAD_REQUEST', error.message, { hint: 'Check the request.' }), status };
  return { error: new FabraError('INTERNAL', 'the server failed at this request', { hint: "The reason is in the server's own log.", cause: thrown }), status: 500 };
}

export function sendError(reply: FastifyReply, thrown: unknown, log: Logger): FastifyReply {
  const { error, status } = asHttpError(thrown);
  if (status >= 500) {
    const cause = error.cause instanceof Error ? error.cause : undefined;
    log.log('error', { event: 'request_failed', route: reply.request.routeOptions.url ?? null, code: error.code, message: cause?.message ?? error.message, stack: cause?.stack });
  }
  if (error.retry) void reply.header('retry-after', '1');
  return reply.code(status).type('application/json; charset=utf-8').send(errorBody(error));
}

export interface RouteName {
  method: string;
  url: string;
}

/** 404 with the nearest route, 405 where only the method is wrong. */
export function unmatched(request: FastifyRequest, reply: FastifyReply, routes: readonly RouteName[]): FastifyReply {
  const path = request.url.split('?')[0]!.slice(0, 200);
  const methods = [...new Set(routes.filter(r => matches(r.url, path)).map(r => r.method))];
  if (methods.length > 0) {
    const error = new FabraError('BAD_REQUEST', `${path} does not take ${request.method}`, { hint: `Use ${methods.join(' or ')}.` });
    return reply.code(405).header('allow', methods.join(', ')).type('application/json; charset=utf-8').send(errorBody(error));
  }
  const near = didYouMean(
    path,
    routes.map(r => r.url),
  );
  const error = new FabraError('NOT_FOUND', `there is nothing at ${path}`, { hint: near ? `Did you mean: ${near}?` : 'GET /openapi.json lists what there is.' });
  return reply.code(404).type('application/json; charset=utf-8').send(errorBody(error));
}

function matches(url: string, path: string): boolean {
  const a = url.split('/');
  const b = path.split('/');
  return a.length === b.length && a.every((part, i) => (part.startsWith(':') ? b[i] !== '' : part === b[i]));
}
