/** OpenAPI 3.1 of what this server answers, from its registry: features, services, entities and events by name. */
import type { ColumnPlan, EventPlan, FeaturePlan, Registry, ServicePlan, ValueType } from '../../registry/types.ts';
import { feastPaths, feastSchemas } from './openapi-feast.ts';
import { failures, INSTANT, type Json, json, list, POSITION, ref, STAMP, STATUSES, text } from './openapi-parts.ts';

export function openApi(registry: Registry): Json {
  return {
    openapi: '3.1.0',
    info: { title: 'fabra', version: registry.hash.slice(0, 12), description: 'Features out, events in.' },
    paths: { ...healthPaths(), ...featurePaths(registry), ...eventPaths(registry), ...feastPaths(registry) },
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
        responses: { 200: json(ref('FeaturesAnswer'), 'One result per feature, one entry per row'), ...failures(400, 404, 413, 415, 503) },
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
          query('max_age', 'Name values older than this as stale: 30s, 5m', { type: 'string' }),
          query('strict', 'Fail when a value is stale', { type: 'boolean' }),
          query('full_names', 'Name the values entity__feature', { type: 'boolean' }),
        ],
        responses: { 200: json(ref('EntityAnswer'), 'The features of one key'), ...failures(400, 404, 503) },
      },
    },
    '/v1/cache/{entity}/{key}': {
      delete: {
        operationId: 'dropCached',
        description: 'Forgets on-demand values that this server keeps for a key',
        parameters: [
          { name: 'entity', in: 'path', required: true, schema: { type: 'string', enum: Object.keys(registry.entities) } },
          { name: 'key', in: 'path', required: true, description: 'Percent-encoded parts joined by commas', schema: { type: 'string' } },
        ],
        responses: { 204: { description: 'Forgotten' }, ...failures(400, 404) },
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

function featuresRequest(registry: Registry, keys: readonly string[]): Json {
  const services = Object.keys(registry.services);
  const alias = {
    type: 'object',
    required: ['feature', 'alias', 'keys'],
    properties: { feature: { type: 'string' }, alias: { type: 'string' }, keys: { type: 'object', additionalProperties: { type: 'string' } } },
    additionalProperties: false,
  };
  const duration = { type: 'string', description: '30s, 5m, 1h' };
  return {
    type: 'object',
    required: ['entities'],
    properties: {
      entities: {
        type: 'object',
        description: 'Key columns, all of the same length',
        properties: Object.fromEntries(keys.map(k => [k, list({ type: ['string', 'integer'] })])),
        additionalProperties: false,
      },
      features: { type: 'array', items: { anyOf: [{ type: 'string' }, alias] }, minItems: 1 },
      service: services.length > 0 ? { type: 'string', enum: services } : { type: 'string' },
      request: { description: 'For derived features: one object, or a list of one per row', anyOf: [{ type: 'object' }, list({ type: 'object' })] },
      as_of: INSTANT,
      full_names: { type: 'boolean', description: 'Name the values entity__feature, alias__feature' },
      max_age: { description: 'Older values are named as stale: for all, or by name', anyOf: [duration, { type: 'object', additionalProperties: duration }] },
      strict: { type: 'boolean', description: 'Fail with STALE_FEATURES when a value is stale' },
    },
    oneOf: [{ required: ['features'] }, { required: ['service'] }],
    additionalProperties: false,
  };
}

function schemas(registry: Registry): Json {
  const keys = [...new Set([...Object.values(registry.entities).flatMap(e => e.key), ...Object.values(registry.services).flatMap(renamedKeys)])];
  const status = { type: 'string', enum: STATUSES };
  const result = {
    type: 'object',
    required: ['values', 'statuses', 'timestamps'],
    properties: { values: list({}), statuses: list(status), timestamps: list(STAMP), reasons: list({ type: ['string', 'null'] }) },
  };
  const cell = { type: 'object', required: ['value', 'status', 'ts'], properties: { value: {}, status, ts: STAMP, reason: { type: 'string' }, detail: { type: 'string' } } };
  const degraded = { degraded: { type: 'boolean', description: 'Some values are older than allowed' }, stale: list(ref('Stale')) };
  return {
    Error: ERROR,
    Features: {
      type: 'object',
      description: 'Type of each feature by entity.name',
      properties: Object.fromEntries(Object.values(registry.features).map(f => [f.id, featureSchema(f)])),
    },
    FeaturesRequest: featuresRequest(registry, keys),
    FeaturesAnswer: {
      type: 'object',
      required: ['metadata', 'results', 'as_of', 'position'],
      properties: {
        metadata: { type: 'object', properties: { names: list({ type: 'string' }) } },
        results: list(result),
        as_of: { type: 'string', format: 'date-time', description: 'How fresh a value is: this less its timestamp' },
        position: POSITION,
        ...degraded,
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
        ...degraded,
      },
    },
    Stale: {
      type: 'object',
      required: ['feature', 'age_ms', 'max_age_ms', 'rows'],
      properties: { feature: { type: 'string' }, age_ms: { type: 'integer' }, max_age_ms: { type: 'integer' }, rows: list({ type: 'integer' }) },
    },
    ...feastSchemas(registry, keys),
    Accepted: { type: 'object', required: ['event_id', 'position'], properties: { event_id: { type: 'string' }, position: { type: 'string' } } },
    Lines: { type: 'object', properties: { accepted: { type: 'integer' }, rejected: { type: 'integer' }, results: list({ type: 'object' }) } },
  };
}

const renamedKeys = ({ aliases }: ServicePlan): string[] => (aliases ?? []).flatMap(a => Object.values(a?.keys ?? {}));
