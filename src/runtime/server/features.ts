/** Reading features over HTTP. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { FabraError } from '../../lib/errors.ts';
import { parseKey, showKey, suggest } from '../../lib/text.ts';
import type { EntityPlan } from '../../registry/types.ts';
import type { FeatureAnswer } from '../reader.ts';
import { columnar, single } from './answer.ts';
import { JSON_TYPE, type ServerParts } from './parts.ts';
import type { Selection } from './names.ts';
import { checkTogether, instantOf, keyText, parseFeatures } from './request.ts';

export function featureRoutes(app: FastifyInstance, parts: ServerParts): void {
  // `parts` is looked at per request: a newly applied registry replaces them.
  app.post('/v1/features', async (request, reply) => {
    const asked = parseFeatures(request.body, parts.names, parts.project.clock.now(), parts.limits);
    const { selection, rows, at } = asked;
    const { cells, position } = await timedRead(parts, selection, rows, at, asked.request);
    return reply.type(JSON_TYPE).send(columnar(asked, cells, position));
  });

  app.get<{ Params: { entity: string } }>('/v1/features/:entity/:key', async (request, reply) => {
    const entity = parts.names.entity(request.params.entity);
    const { selection, row, at, key } = parseGet(request, entity, parts);
    const { cells, position } = await timedRead(parts, selection, [row], at, undefined);
    return reply.type(JSON_TYPE).send(single(entity.name, showKey(key), selection, cells[0]!, at, position));
  });
}

async function timedRead(parts: ServerParts, selection: Selection, rows: Record<string, string>[], at: number, request: unknown): Promise<FeatureAnswer> {
  const began = performance.now();
  const answer = await parts.reader.read({ features: selection.ids, rows, at, request });
  parts.metrics.lookup((performance.now() - began) / 1000, rows.length * selection.ids.length);
  return answer;
}

/** Key, features and time of a GET; key columns of other entities may come as parameters. */
function parseGet(request: FastifyRequest, entity: EntityPlan, { names, project }: ServerParts): { selection: Selection; row: Record<string, string>; at: number; key: string[] } {
  const query = request.query as Record<string, string | string[]>;
  const known = ['features', 'service', 'as_of', ...[...names.keyColumns].filter(c => !entity.key.includes(c))];
  for (const [name, value] of Object.entries(query)) {
    if (!known.includes(name)) throw new FabraError('BAD_REQUEST', `there is no parameter ${JSON.stringify(name)}`, { path: name, hint: suggest(name, known) });
    if (Array.isArray(value))
      throw new FabraError('BAD_REQUEST', `${name} is given twice`, { path: name, hint: name === 'features' ? 'Separate names by commas: ?features=a,b' : 'Give it once.' });
  }
  const { features, service, as_of, ...others } = query as Record<string, string>;
  // The raw path: a comma inside a part of the key is still %2C there.
  const key = parseKey(request.raw.url!.split('?')[0]!.split('/')[4]!, entity.key).map(part => keyText(part, 'key'));
  const row: Record<string, string> = {};
  entity.key.forEach((column, i) => (row[column] = key[i]!));
  for (const [column, value] of Object.entries(others)) row[column] = keyText(value, column);
  const selection = selectionOf(features, service, entity, row, names);
  for (const e of selection.entities) {
    const missing = e.key.find(c => !Object.hasOwn(row, c));
    if (missing !== undefined)
      throw new FabraError('BAD_KEY', `these features need the key of ${e.name} too`, { path: missing, hint: `Add ?${missing}=…, or ask by POST /v1/features.` });
    if (e.key.length > 1) checkTogether(e.key, row, 0);
  }
  const [need] = selection.required;
  if (need) throw new FabraError('BAD_REQUEST', `${need.feature} needs ${need.name} from the request`, { path: 'features', hint: 'Ask by POST /v1/features, with "request".' });
  return { selection, row, at: instantOf(as_of, project.clock.now()), key };
}

function selectionOf(features: string | undefined, service: string | undefined, entity: EntityPlan, row: Record<string, string>, names: ServerParts['names']): Selection {
  if (features !== undefined && service !== undefined) throw new FabraError('BAD_REQUEST', 'name either features or a service', { path: 'service', hint: 'Leave one out.' });
  if (service !== undefined) return names.service(service);
  if (features === undefined) return names.ofEntity(entity.name, Object.keys(row).sort());
  const list = features.split(',').map(n => n.trim());
  if (list.some(n => n === '')) throw new FabraError('BAD_REQUEST', 'features holds an empty name', { path: 'features', hint: 'Separate names by commas: ?features=a,b' });
  const selection = names.list(list);
  const other = selection.plans.find(f => f.entity !== entity.name);
  if (other)
    throw new FabraError('BAD_REQUEST', `${other.id} is not a feature of ${entity.name}`, {
      path: 'features',
      hint: `Ask at /v1/features/${other.entity}/…, or for several entities by POST /v1/features.`,
    });
  return selection;
}
