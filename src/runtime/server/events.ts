/** Events over HTTP: 202 once they are on disk, and never a good line lost beside a bad one. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { FabraError } from '../../lib/errors.ts';
import type { LineResult, PublishResult } from '../publish.ts';
import { JSON_TYPE, type ServerParts } from './parts.ts';

export function eventRoutes(app: FastifyInstance, parts: ServerParts): void {
  const count = (results: readonly PublishResult[]): void => {
    const { metrics } = parts;
    for (const r of results) r.ok ? metrics.published(r.event) : metrics.refusedEvent();
  };

  const ingest = async (type: string, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    if (request.body === undefined) throw new FabraError('BAD_REQUEST', 'the request has no body', { hint: 'Send {"entity_id": "u1", "payload": {…}} as application/json.' });
    const results = await parts.publisher.publish([{ event: request.body, type }]);
    count(results);
    const [result] = results;
    if (!result!.ok) throw result!.error;
    return reply
      .code(202)
      .type(JSON_TYPE)
      .send(JSON.stringify({ event_id: result!.event_id, position: result!.position }));
  };
  app.post<{ Params: { event_type: string } }>('/ingest/:event_type', (request, reply) => ingest(request.params.event_type, request, reply));
  app.post<{ Params: { stream: string; event_type: string } }>('/ingest/:stream/:event_type', (request, reply) =>
    ingest(`${request.params.stream}/${request.params.event_type}`, request, reply),
  );

  app.post('/v1/events', async (request, reply) => {
    const { body } = request;
    let results: LineResult[];
    if (typeof body === 'string') results = await parts.publisher.publishLines(body.split('\n'));
    else if (Array.isArray(body)) results = (await parts.publisher.publish(body.map(event => ({ event })))).map((r, i) => ({ line: i + 1, ...r }));
    else throw new FabraError('BAD_REQUEST', 'events come as NDJSON, one object a line, or as a JSON list', { hint: 'Send content-type: application/x-ndjson.' });
    if (results.length === 0) throw new FabraError('BAD_REQUEST', 'there is no event in the body', { hint: 'Send one JSON object a line.' });
    count(results);
    const accepted = results.filter(r => r.ok).length;
    const answer = { accepted, rejected: results.length - accepted, results: results.map(lineAnswer) };
    return reply
      .code(accepted === results.length ? 200 : 207)
      .type(JSON_TYPE)
      .send(JSON.stringify(answer));
  });
}

/** One line's answer, over HTTP and on the command line. */
export function lineAnswer(r: LineResult): Record<string, unknown> {
  if (r.ok) return { line: r.line, ok: true, event_id: r.event_id, position: r.position };
  const { error } = r.error.toJSON();
  return { line: r.line, ok: false, error: { ...error, path: r.error.path ?? null } };
}
