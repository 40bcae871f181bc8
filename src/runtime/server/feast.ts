/** Feast's HTTP shapes, so that its clients can point here: the same values as /v1/features, in its words. */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Cell, CellStatus } from '../../engine/values.ts';
import { FabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import { iso } from '../../lib/time.ts';
import type { FeaturePlan, Registry } from '../../registry/types.ts';
import { pushColumns } from '../push-columns.ts';
import { cellText } from './answer.ts';
import { asHttpError, errorBody, sendError } from './errors.ts';
import { timedRead } from './features.ts';
import type { Names, Selection } from './names.ts';
import { JSON_TYPE, type ServerParts } from './parts.ts';
import { type Asked, parseFeatures } from './request.ts';

type Fields = Record<string, unknown>;

/** Feast has no word for a default or an error. */
const STATUS: Record<CellStatus, (cell: Cell) => string> = {
  PRESENT: () => 'PRESENT',
  NULL_VALUE: () => 'NULL_VALUE',
  NOT_FOUND: () => 'NOT_FOUND',
  OUTSIDE_MAX_AGE: () => 'OUTSIDE_MAX_AGE',
  DEFAULTED: cell => (cell.value === null ? 'NULL_VALUE' : 'PRESENT'),
  ERROR: () => 'INVALID',
};
/** Feast's time of what has none. */
const NO_TIME = '1970-01-01T00:00:00Z';

const bad = (message: string, path: string, hint?: string): FabraError => new FabraError('BAD_REQUEST', message, { path, hint });
const isObject = (v: unknown): v is Fields => v !== null && typeof v === 'object' && !Array.isArray(v);

export function feastRoutes(app: FastifyInstance, parts: ServerParts): void {
  // Our error, with the text where Feast's clients look for it.
  const errorHandler = (e: FastifyError, _request: FastifyRequest, reply: FastifyReply): void => {
    const { error, status } = asHttpError(e);
    if (status >= 500) return void sendError(reply, e, parts.project.log);
    const detail = error.hint ? `${error.message}. ${error.hint}` : error.message;
    void reply
      .code(status)
      .type(JSON_TYPE)
      .send(JSON.stringify({ ...JSON.parse(errorBody(error)), detail }));
  };

  app.post('/get-online-features', { errorHandler }, async (request, reply) => {
    const { asked, columns, names } = parseOnline(request.body, parts);
    const { cells } = await timedRead(parts, asked);
    return reply.type(JSON_TYPE).send(answer(asked, columns, names, cells));
  });

  app.post('/push', { errorHandler }, async (request, reply) => {
    const body = bodyOf(request.body, ['push_source_name', 'df', 'to', 'allow_registry_cache', 'transform_on_write']);
    const { push_source_name: target, to = 'online' } = body;
    if (to !== 'online' && to !== 'offline' && to !== 'online_and_offline')
      throw new FabraError('BAD_ROWS', `to ${JSON.stringify(to)} is no place for rows`, { path: 'to', hint: 'Send "online", "offline" or "online_and_offline".' });
    await pushColumns(parts.project, parts.compiled, { target: textOf(target, 'push_source_name'), columns: frameOf(body.df), to });
    return reply.type(JSON_TYPE).send('null');
  });

  app.post('/write-to-online-store', { errorHandler }, async (request, reply) => {
    const body = bodyOf(request.body, ['feature_view_name', 'df', 'allow_registry_cache', 'transform_on_write']);
    await pushColumns(parts.project, parts.compiled, { target: textOf(body.feature_view_name, 'feature_view_name'), columns: frameOf(body.df), to: 'online' });
    return reply.type(JSON_TYPE).send('null');
  });
}

function bodyOf(body: unknown, fields: readonly string[]): Fields {
  if (!isObject(body)) throw bad('the body is not a JSON object', '', 'Send it as application/json.');
  for (const field of Object.keys(body)) if (!fields.includes(field)) throw bad(`there is no field ${JSON.stringify(field)}`, field, suggest(field, fields));
  return body;
}

function textOf(value: unknown, path: string): string {
  if (typeof value !== 'string' || value === '') throw bad(`${path} is not a name`, path);
  return value;
}

function frameOf(df: unknown): Fields {
  if (!isObject(df)) throw bad('df is not an object of columns', 'df', 'Send "df": {"user_id": ["u1"], "segment": ["vip"]}.');
  return df;
}

interface Online {
  asked: Asked;
  /** Key and request columns as they were sent. */
  columns: { name: string; values: readonly unknown[] }[];
  names: readonly string[];
}

const FIELDS = ['features', 'feature_service', 'entities', 'full_feature_names', 'include_feature_view_version_metadata'];

function parseOnline(given: unknown, { names, project, limits }: ServerParts): Online {
  const body = bodyOf(given, FIELDS);
  const full = body.full_feature_names ?? undefined;
  if (full !== undefined && typeof full !== 'boolean') throw bad('full_feature_names is neither true nor false', 'full_feature_names');
  const features = Array.isArray(body.features) ? body.features.map(plainName) : body.features;
  if (!isObject(body.entities)) throw bad('entities is not an object of key columns', 'entities', 'Send "entities": {"user_id": ["u1"]}.');
  const [keys, request] = apart(body.entities, keyColumns(features, body.feature_service, names), names.registry);
  const ours = { features, service: body.feature_service, entities: Object.fromEntries(keys), request: rowsOf(request), full_names: full };
  const asked = parseFeatures(ours, names, project.clock.now(), limits);
  const short = body.feature_service === undefined && full !== true;
  const columns = [...keys, ...request].map(([name, values]) => ({ name, values: values as unknown[] }));
  return { asked, columns, names: short ? shortNames(asked.selection) : asked.selection.names };
}

/** `user:views` is our `user.views`. */
const plainName = (name: unknown): unknown => (typeof name === 'string' ? name.replace(':', '.') : name);

/** Those of any entity, and those that a service's aliases name. */
function keyColumns(features: unknown, service: unknown, names: Names): ReadonlySet<string> {
  const renamed = features === undefined && typeof service === 'string' ? names.service(service, true).columns : [];
  return new Set([...names.keyColumns, ...renamed]);
}

type Column = [name: string, values: unknown];

/** Feast sends keys and request data in one object. */
function apart(entities: Fields, keys: ReadonlySet<string>, registry: Registry): [Column[], Column[]] {
  const asked = new Set(Object.values(registry.features).flatMap(f => (f.kind === 'derive' ? f.request.map(r => r.name) : [])));
  const all = Object.entries(entities);
  const stray = all.find(([name]) => !keys.has(name) && !asked.has(name));
  if (stray)
    throw new FabraError('BAD_KEY', `${JSON.stringify(stray[0])} is neither a key column nor asked for by a feature`, {
      path: `entities.${stray[0]}`,
      hint: suggest(stray[0], [...keys, ...asked]),
    });
  return [all.filter(([name]) => keys.has(name)), all.filter(([name]) => !keys.has(name))];
}

function rowsOf(columns: readonly Column[]): Fields[] | undefined {
  const [first] = columns;
  if (!first) return undefined;
  for (const [name, values] of columns) {
    if (!Array.isArray(values)) throw bad(`${name} is not a list`, `entities.${name}`, 'Send one value per row.');
    if (values.length !== (first[1] as unknown[]).length) throw bad(`${name} has ${values.length} values, ${first[0]} has ${(first[1] as unknown[]).length}`, `entities.${name}`);
  }
  return (first[1] as unknown[]).map((_, i) => Object.fromEntries(columns.map(([name, values]) => [name, (values as unknown[])[i]])));
}

function shortNames({ plans }: Selection): string[] {
  const names = plans.map(f => f.name);
  const twice = names.find((n, i) => names.indexOf(n) < i);
  if (twice !== undefined)
    throw new FabraError('NAME_COLLISION', `two features are named '${twice}'`, { path: 'features', hint: 'Ask with "full_feature_names": true: entity__feature.' });
  return names;
}

function answer({ selection, places, length }: Asked, columns: Online['columns'], names: readonly string[], cells: readonly Cell[][]): string {
  const fill = (word: string): string => Array.from({ length }, () => `"${word}"`).join(',');
  const results = columns.map(c => `{"values":${JSON.stringify(c.values)},"statuses":[${fill('PRESENT')}],"event_timestamps":[${fill(NO_TIME)}]}`);
  selection.plans.forEach((plan, f) => {
    const column = Array.from({ length }, (_, i) => cells[places === null ? i : places[i]!]![f]!);
    results.push(featureText(plan, column));
  });
  return `{"results":[${results.join(',')}],"metadata":{"feature_names":${JSON.stringify([...columns.map(c => c.name), ...names])}}}`;
}

/** Whole numbers of any size go out as JSON numbers: Feast's clients read them exactly. */
function featureText(plan: FeaturePlan, cells: readonly Cell[]): string {
  const texts = cells.map(cell => cellText(plan, cell));
  const values = texts.map(t => t ?? 'null');
  const statuses = cells.map((cell, i) => `"${texts[i] === undefined ? 'INVALID' : STATUS[cell.status](cell)}"`);
  const times = cells.map(({ ts }) => `"${ts === null ? NO_TIME : iso(ts)}"`);
  return `{"values":[${values.join(',')}],"statuses":[${statuses.join(',')}],"event_timestamps":[${times.join(',')}]}`;
}
