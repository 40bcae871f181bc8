/** OpenAPI 3.1 of what this server answers, from its registry: features, services, entities and events by name. */
import type { ColumnPlan, EventPlan, FeaturePlan, Registry, ValueType } from '../../registry/types.ts';

type Json = Record<string, unknown>;

const ERRORS: Record<string, string> = {
  400: 'The request is wrong',
  403: 'The API key is missing or wrong',
  404: 'No such name',
  413: 'Too large',
  415: 'Wrong content type',
  503: 'The stores do not answer',
};
const STATUSES = ['PRESENT', 'NULL_VALUE', 'NOT_FOUND', 'OUTSIDE_MAX_AGE', 'DEFAULTED', 'ERROR'];
const INSTANT = {
  anyOf: [
    { type: 'string', format: 'date-time' },
    { type: 'integer', description: 'epoch milliseconds' },
  ],
};
const STAMP = { anyOf: [{ type: 'string', format: 'date-time' }, { type: 'null' }] };
const POSITION = { type: 'object', description: 'Next offset per stream/partition that the answer holds', additionalProperties: { type: 'integer' } };

const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });
const json = (schema: Json, description: string): Json => ({ description, content: { 'application/json': { schema } } });
const text = (description: string, type = 'text/plain'): Json => ({ description, content: { [type]: { schema: { type: 'string' } } } });
const failures = (...codes: number[]): Json => Object.fromEntries([...codes, 403].map(c => [c, json(ref('Error'), ERRORS[c] ?? 'The event is wrong')]));

export function openApi(registry: Registry): Json {
  return {
    openapi: '3.1.0',
    info: { title: 'fabra', version: registry.hash.slice(0, 12), description: 'Features out, events in.' },
    paths: { ...healthPaths(), ...featurePaths(registry), ...eventPaths(registry) },
    components: {
      schemas: schemas(registry),
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' }, key: { type: 'apiKey', in: 'header', name: 'x-api-key' } },
    },
    security: [{}, { bearer: [] }, { key: [] }],
  };
}

function healthPaths(): Json {
  const get = (operationId: string, ok: Json, more: Json = {}): Json => ({ get: { operationId, responses: { 200: ok, ...more } } });
  return {
    '/healthz': get('healthz', json({ type: 'object' }, 'The process is alive')),
    '/readyz': get('readyz', json({ type: 'object' }, 'The stores answer'), failures(503)),
    '/metrics': get('metrics', text('Prometheus text')),
    '/openapi.json': get('openapi', json({ type: 'object' }, 'This document')),
    '/registry': get('registry', json({ type: 'object' }, 'The applied registry')),
  };
}

function featurePaths(registry: Registry): Json {
  const query = (name: string, description: string, schema: Json): Json => ({ name, in: 'query', required: false, description, schema });
  return {
    '/v1/features': {
      post: {
        operationId: 'getFeatures',
        requestBody: { required: true, content: { 'application/json': { schema: ref('FeaturesRequest') } } },
        responses: { 200: json(ref('FeaturesAnswer'), 'One result per feature, one entry per row'), ...failures(400, 404, 413, 415) },
      },
    },
    '/v1/features/{entity}/{key}': {
      get: {
        operationId: 'getEntityFeatures',
        parameters: [
          { name: 'entity', in: 'path', required: true, schema: { type: 'string', enum: Object.keys(registry.entities) } },
          { name: 'key', in: 'path', required: true, description: 'Percent-encoded parts joined by commas', schema: { type: 'string' } },
          query('features', 'Names, separated by commas; all of the entity when left out', { type: 'string' }),
          query('service', 'Name of a service', { type: 'string' }),
          query('as_of', 'Read as of this instant', INSTANT),
        ],
        responses: { 200: json(ref('EntityAnswer'), 'The features of one key'), ...failures(400, 404) },
      },
    },
  };
}

function eventPaths(registry: Registry): Json {
  const types = Object.values(registry.events).map(e => e.type);
  const paths: Json = {};
  for (const [id, event] of Object.entries(registry.events)) {
    const address = types.filter(t => t === event.type).length > 1 ? id : event.type;
    paths[`/ingest/${address.split('/').map(encodeURIComponent).join('/')}`] = {
      post: {
        operationId: `ingest ${id}`,
        requestBody: { required: true, content: { 'application/json': { schema: eventSchema(event) } } },
        responses: { 202: json(ref('Accepted'), 'In the log, on disk'), ...failures(400, 404, 413, 415, 422) },
      },
    };
  }
  paths['/v1/events'] = {
    post: {
      operationId: 'publishEvents',
      requestBody: {
        required: true,
        content: { 'application/x-ndjson': { schema: { type: 'string' } }, 'application/json': { schema: { type: 'array', items: { type: 'object' } } } },
      },
      responses: { 200: json(ref('Lines'), 'All are in the log'), 207: json(ref('Lines'), 'Some are not; each line says'), ...failures(400, 413, 415) },
    },
  };
  return paths;
}

function eventSchema(event: EventPlan): Json {
  const payload = objectOf(event.input);
  const envelope = {
    type: 'object',
    required: ['payload'],
    properties: { event_id: { type: ['string', 'integer'] }, entity_id: { type: ['string', 'integer'] }, timestamp: INSTANT, payload },
  };
  return { anyOf: [envelope, payload] };
}

/** Dotted columns as nested objects. A missing key may come from `entity_id`, so nothing is said to be required. */
function objectOf(columns: readonly ColumnPlan[]): Json {
  const properties: Record<string, Json> = {};
  for (const c of columns) {
    const parts = c.name.split('.');
    let at = properties;
    for (const part of parts.slice(0, -1)) {
      at[part] ??= { type: 'object', properties: {} };
      at = at[part]!.properties as Record<string, Json>;
    }
    at[parts[parts.length - 1]!] = { type: c.nullable ? [columnType(c), 'null'] : columnType(c) };
  }
  return { type: 'object', properties };
}

function columnType(c: ColumnPlan): string {
  if (c.kind === 'bool') return 'boolean';
  if (c.kind === 'string' || c.kind === 'int64') return 'string';
  return c.kind === 'int' ? 'integer' : 'number';
}

/** int64 is text in JSON. */
function valueSchema({ base, list }: ValueType): Json {
  const type = { number: 'number', int: 'integer', int64: 'string', string: 'string', boolean: 'boolean', json: null }[base];
  if (type === null) return {};
  return list ? { type: ['array', 'null'], items: { type: [type, 'null'] } } : { type: [type, 'null'] };
}

const featureSchema = (f: FeaturePlan): Json => ({ ...valueSchema(f.type), ...(f.description !== undefined && { description: f.description }) });

const ERROR: Json = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'message'],
      properties: { code: { type: 'string' }, message: { type: 'string' }, hint: { type: ['string', 'null'] }, path: { type: ['string', 'null'] } },
    },
  },
};

function schemas(registry: Registry): Json {
  const keys = [...new Set(Object.values(registry.entities).flatMap(e => e.key))];
  const list = (items: Json): Json => ({ type: 'array', items });
  const status = { type: 'string', enum: STATUSES };
  const result = {
    type: 'object',
    required: ['values', 'statuses', 'timestamps'],
    properties: { values: list({}), statuses: list(status), timestamps: list(STAMP), reasons: list({ type: ['string', 'null'] }) },
  };
  const cell = { type: 'object', required: ['value', 'status', 'ts'], properties: { value: {}, status, ts: STAMP, reason: { type: 'string' } } };
  const services = Object.keys(registry.services);
  return {
    Error: ERROR,
    Features: {
      type: 'object',
      description: 'Type of each feature by entity.name',
      properties: Object.fromEntries(Object.values(registry.features).map(f => [f.id, featureSchema(f)])),
    },
    FeaturesRequest: {
      type: 'object',
      required: ['entities'],
      properties: {
        entities: {
          type: 'object',
          description: 'Key columns, all of the same length',
          properties: Object.fromEntries(keys.map(k => [k, list({ type: ['string', 'integer'] })])),
          additionalProperties: false,
        },
        features: { type: 'array', items: { type: 'string' }, minItems: 1 },
        service: services.length > 0 ? { type: 'string', enum: services } : { type: 'string' },
        request: { description: 'For derived features: one object, or a list of one per row', anyOf: [{ type: 'object' }, list({ type: 'object' })] },
        as_of: INSTANT,
      },
      oneOf: [{ required: ['features'] }, { required: ['service'] }],
      additionalProperties: false,
    },
    FeaturesAnswer: {
      type: 'object',
      required: ['metadata', 'results', 'as_of', 'position'],
      properties: {
        metadata: { type: 'object', properties: { names: list({ type: 'string' }) } },
        results: list(result),
        as_of: { type: 'string', format: 'date-time' },
        position: POSITION,
      },
    },
    EntityAnswer: {
      type: 'object',
      properties: {
        entity: { type: 'string' },
        key: { type: 'string' },
        as_of: { type: 'string', format: 'date-time' },
        features: { type: 'object', additionalProperties: cell },
        position: POSITION,
      },
    },
    Accepted: { type: 'object', required: ['event_id', 'position'], properties: { event_id: { type: 'string' }, position: { type: 'string' } } },
    Lines: { type: 'object', properties: { accepted: { type: 'integer' }, rejected: { type: 'integer' }, results: list({ type: 'object' }) } },
  };
}
