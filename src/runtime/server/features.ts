/** Reading features over HTTP. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { FabraError } from '../../lib/errors.ts';
import { joinKey, parseKey, showKey, suggest } from '../../lib/text.ts';
import type { EntityPlan } from '../../registry/types.ts';
import type { FeatureAnswer } from '../reader.ts';
import { columnar, single } from './answer.ts';
import { JSON_TYPE, type ServerParts } from './parts.ts';
import type { Selection } from './names.ts';
import { maxAgeOf, refuseStale, type Stale, staleOf } from '../read/stale.ts';
import { type Asked, checkTogether, instantOf, keyText, parseFeatures } from './request.ts';

export function featureRoutes(app: FastifyInstance, parts: ServerParts): void {
  // `parts` is looked at per request: a newly applied registry replaces them.
  app.post('/v1/features', async (request, reply) => {
    const asked = parseFeatures(request.body, parts.names, parts.project.clock.now(), parts.limits);
    const { cells, position, stale } = await timedRead(parts, asked);
    return reply.type(JSON_TYPE).send(columnar(asked, cells, position, stale));
  });

  app.get<{ Params: { entity: string } }>('/v1/features/:entity/:key', async (request, reply) => {
    const entity = parts.names.entity(request.params.entity);
    const { key, ...asked } = parseGet(request, entity, parts);
    const { cells, position, stale } = await timedRead(parts, asked);
    return reply.type(JSON_TYPE).send(single(entity.name, showKey(key), asked.selection, cells[0]!, asked.at, position, stale));
  });

  app.delete<{ Params: { entity: string } }>('/v1/cache/:entity/:key', (request, reply) => {
    const entity = parts.names.entity(request.params.entity);
    parts.reader.dropCached(entity.name, joinKey(keyOf(request, entity)));
    void reply.code(204).send();
  });
}

type Question = Pick<Asked, 'selection' | 'rows' | 'at' | 'request' | 'maxAge' | 'strict'>;

/** @throws FabraError STALE_FEATURES when `strict`. */
export async function timedRead(parts: ServerParts, { selection, rows, at, request, maxAge, strict }: Question): Promise<FeatureAnswer & { stale: Stale[] }> {
  const began = performance.now();
  const answer = await parts.reader.read({ features: selection.refs, rows, at, request });
  parts.metrics.lookup((performance.now() - began) / 1000, rows.length * selection.plans.length);
  const stale = staleOf(selection.plans, selection.names, answer.cells, at, maxAge);
  if (strict) refuseStale(stale);
  return { ...answer, stale };
}

/** The raw path: a comma inside a part of the key is still %2C there. */
const keyOf = (request: FastifyRequest, entity: EntityPlan): string[] => parseKey(request.raw.url!.split('?')[0]!.split('/')[4]!, entity.key).map(part => keyText(part, 'key'));

/** Key, features and time of a GET; key columns of other entities may come as parameters. */
function parseGet(request: FastifyRequest, entity: EntityPlan, { names, project }: ServerParts): Question & { key: string[] } {
  const query = request.query as Record<string, string | string[]>;
  const aliased = typeof query.service === 'string' ? names.service(query.service).columns : [];
  const known = ['features', 'service', 'as_of', 'max_age', 'strict', 'full_names', ...new Set([...names.keyColumns, ...aliased])].filter(c => !entity.key.includes(c));
  for (const [name, value] of Object.entries(query)) {
    if (!known.includes(name)) throw new FabraError('BAD_REQUEST', `there is no parameter ${JSON.stringify(name)}`, { path: name, hint: suggest(name, known) });
    if (Array.isArray(value))
      throw new FabraError('BAD_REQUEST', `${name} is given twice`, { path: name, hint: name === 'features' ? 'Separate names by commas: ?features=a,b' : 'Give it once.' });
  }
  const { features, service, as_of, max_age, strict, full_names, ...others } = query as Record<string, string>;
  const key = keyOf(request, entity);
  const row: Record<string, string> = {};
  entity.key.forEach((column, i) => (row[column] = key[i]!));
  for (const [column, value] of Object.entries(others)) row[column] = keyText(value, column);
  const selection = selectionOf({ features, service, full: flagOf(full_names, 'full_names') }, entity, row, names);
  for (const e of selection.entities) {
    const missing = e.key.find(c => !Object.hasOwn(row, c));
    if (missing !== undefined)
      throw new FabraError('BAD_KEY', `these features need the key of ${e.name} too`, { path: missing, hint: `Add ?${missing}=…, or ask by POST /v1/features.` });
    if (e.key.length > 1) checkTogether(e.key, row, 0);
  }
  const [need] = selection.required;
  if (need) throw new FabraError('BAD_REQUEST', `${need.feature} needs ${need.name} from the request`, { path: 'features', hint: 'Ask by POST /v1/features, with "request".' });
  const asked = { selection, rows: [row], at: instantOf(as_of, project.clock.now()), request: undefined };
  return { ...asked, maxAge: maxAgeOf(max_age, selection.names), strict: flagOf(strict, 'strict') === true, key };
}

function flagOf(text: string | undefined, path: string): boolean | undefined {
  if (text === undefined) return undefined;
  if (!['true', 'false', '1', '0', ''].includes(text)) throw new FabraError('BAD_REQUEST', `${path} is neither true nor false`, { path, hint: `Write ?${path}=true.` });
  return text !== 'false' && text !== '0';
}

function selectionOf(
  { features, service, full }: { features: string | undefined; service: string | undefined; full: boolean | undefined },
  entity: EntityPlan,
  row: Record<string, string>,
  names: ServerParts['names'],
): Selection {
  if (features !== undefined && service !== undefined) throw new FabraError('BAD_REQUEST', 'name either features or a service', { path: 'service', hint: 'Leave one out.' });
  if (service !== undefined) return names.service(service, full);
  if (features === undefined) return names.ofEntity(entity.name, Object.keys(row).sort(), full);
  const list = features.split(',').map(n => n.trim());
  if (list.some(n => n === '')) throw new FabraError('BAD_REQUEST', 'features holds an empty name', { path: 'features', hint: 'Separate names by commas: ?features=a,b' });
  const selection = names.list(list, 'features', full);
  const other = selection.plans.find(f => f.entity !== entity.name);
  if (other)
    throw new FabraError('BAD_REQUEST', `${other.id} is not a feature of ${entity.name}`, {
      path: 'features',
      hint: `Ask at /v1/features/${other.entity}/…, or for several entities by POST /v1/features.`,
    });
  return selection;
}
