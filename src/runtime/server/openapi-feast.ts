/** OpenAPI of the routes in Feast's shapes. */
import type { Registry } from '../../registry/types.ts';
import { failures, type Json, json, list, ref } from './openapi-parts.ts';

const DF = { type: 'object', description: 'Columns of the same length: keys, values by name, event_timestamp and created if there are', additionalProperties: list({}) };

export function feastPaths(registry: Registry): Json {
  const body = (schema: Json): Json => ({ required: true, content: { 'application/json': { schema } } });
  const { pushes, views } = targets(registry);
  const push = {
    type: 'object',
    required: ['push_source_name', 'df'],
    properties: { push_source_name: pushes, df: DF, to: { type: 'string', enum: ['online', 'offline', 'online_and_offline'] }, ...FLAGS },
  };
  const write = { type: 'object', required: ['feature_view_name', 'df'], properties: { feature_view_name: views, df: DF, ...FLAGS } };
  return {
    '/get-online-features': {
      post: {
        operationId: 'getOnlineFeatures',
        requestBody: body(ref('OnlineFeaturesRequest')),
        responses: { 200: json(ref('OnlineFeaturesAnswer'), 'Keys and request data first, then one result per feature'), ...failures(400, 404, 413, 415) },
      },
    },
    '/push': { post: { operationId: 'push', requestBody: body(push), responses: { 200: json({ type: 'null' }, 'Written'), ...failures(400, 413, 415, 422) } } },
    '/write-to-online-store': {
      post: { operationId: 'writeToOnlineStore', requestBody: body(write), responses: { 200: json({ type: 'null' }, 'Written'), ...failures(400, 413, 415, 422) } },
    },
  };
}

const FLAGS = { allow_registry_cache: { type: 'boolean' }, transform_on_write: { type: 'boolean' } };

/** What takes rows, where there is something. */
function targets(registry: Registry): { pushes: Json; views: Json } {
  const views = Object.values(registry.views).filter(v => v.materialize);
  const names = [...new Set([...views.flatMap(v => v.features.map(f => f.id)), ...views.map(v => v.source ?? v.entity)])].sort();
  const schema: Json = { type: 'string', ...(names.length > 0 && { enum: names }), description: 'A feature, an entity (its pushed features) or a source (all its views)' };
  return { pushes: schema, views: schema };
}

export function feastSchemas(registry: Registry, keys: readonly string[]): Json {
  const services = Object.keys(registry.services);
  const asked = new Set(Object.values(registry.features).flatMap(f => (f.kind === 'derive' ? f.request.map(r => r.name) : [])));
  const columns = Object.fromEntries([...[...asked].map(name => [name, list({})]), ...keys.map(k => [k, list({ type: ['string', 'integer'] })])]);
  const result = {
    type: 'object',
    required: ['values', 'statuses', 'event_timestamps'],
    properties: {
      values: list({}),
      statuses: list({ type: 'string', enum: ['INVALID', 'PRESENT', 'NULL_VALUE', 'NOT_FOUND', 'OUTSIDE_MAX_AGE'] }),
      event_timestamps: list({ type: 'string', format: 'date-time' }),
    },
  };
  return {
    OnlineFeaturesRequest: {
      type: 'object',
      required: ['entities'],
      properties: {
        features: { type: 'array', items: { type: 'string', description: 'entity:feature' }, minItems: 1 },
        feature_service: services.length > 0 ? { type: 'string', enum: services } : { type: 'string' },
        entities: { type: 'object', description: 'Key columns and request data, all of the same length', properties: columns, additionalProperties: false },
        full_feature_names: { type: 'boolean' },
        include_feature_view_version_metadata: { type: 'boolean' },
      },
      additionalProperties: false,
    },
    OnlineFeaturesAnswer: {
      type: 'object',
      required: ['results', 'metadata'],
      properties: { results: list(result), metadata: { type: 'object', properties: { feature_names: list({ type: 'string' }) } } },
    },
  };
}
