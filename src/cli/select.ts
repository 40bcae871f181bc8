/** Names as typed -> what the registry calls them, or an error with the nearest name. */
import { FabraError, type ErrorCode } from '../lib/errors.ts';
import { suggest } from '../lib/text.ts';
import type { EntityPlan, Registry, StreamPlan } from '../registry/types.ts';
import type { CommonOptions } from './spec.ts';

function named<T>(record: Record<string, T>, name: string, code: ErrorCode, what: string): T {
  const found = Object.hasOwn(record, name) ? record[name] : undefined;
  if (found === undefined) throw new FabraError(code, `there is no ${what} '${name}'`, { hint: suggest(name, Object.keys(record)) });
  return found;
}

export const entityOf = (registry: Registry, name: string): EntityPlan => named(registry.entities, name, 'UNKNOWN_ENTITY', 'entity');

/** The stream asked for, or the only one there is. */
export function streamOf(registry: Registry, name: string | undefined): StreamPlan {
  const all = Object.keys(registry.streams);
  if (name !== undefined) return named(registry.streams, name, 'UNKNOWN_STREAM', 'stream');
  if (all.length === 1) return registry.streams[all[0]!]!;
  throw new FabraError('BAD_FLAG', 'there are several streams', { hint: `Name one: --stream ${all.join(' | ')}` });
}

/** A feature by id (`user.views_5m`) or, where one entity is meant or only one has it, by its short name. */
export function featureId(registry: Registry, name: string, entity?: string): string {
  if (Object.hasOwn(registry.features, name)) return name;
  const hits = Object.values(registry.features).filter(f => f.name === name && (entity === undefined || f.entity === entity));
  if (hits.length === 1) return hits[0]!.id;
  if (hits.length > 1) throw new FabraError('NAME_COLLISION', `several entities have a feature '${name}'`, { hint: `Write one of ${hits.map(f => f.id).join(', ')}.` });
  const near = Object.values(registry.features).filter(f => entity === undefined || f.entity === entity);
  throw new FabraError('UNKNOWN_FEATURE', `there is no feature '${name}'${entity === undefined ? '' : ` of ${entity}`}`, {
    hint: suggest(
      name,
      near.map(f => (name.includes('.') ? f.id : f.name)),
    ),
  });
}

/** Ids that --features or --service ask for; null when neither is given. */
export function chosenFeatures(registry: Registry, common: Pick<CommonOptions, 'features' | 'service'>, entity?: string): string[] | null {
  if (common.features && common.service !== undefined) throw new FabraError('BAD_FLAG', '--features and --service exclude each other', { hint: 'Give one of them.' });
  if (common.features) return [...new Set(common.features.map(name => featureId(registry, name, entity)))];
  if (common.service === undefined) return null;
  return named(registry.services, common.service, 'UNKNOWN_SERVICE', 'service').features;
}

/** `--with product_id=p9,session_id=s1`: key columns of other entities. */
export function keysOf(text: string | undefined): Record<string, string> {
  if (text === undefined) return {};
  return Object.fromEntries(
    text.split(',').map(part => {
      const at = part.indexOf('=');
      if (at < 1) throw new FabraError('BAD_FLAG', `--with needs column=value, not ${JSON.stringify(part)}`, { hint: 'For example --with product_id=sku_1' });
      return [part.slice(0, at).trim(), decodeURIComponent(part.slice(at + 1))];
    }),
  );
}

/** `--request JSON`: what derived features are given. */
export function requestOf(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (e) {
    throw new FabraError('BAD_FLAG', `--request is not JSON: ${(e as Error).message}`, { hint: `For example --request '{"cart_total": 99.5}'` });
  }
}
