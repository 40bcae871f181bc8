import { type DurationText, parseDuration } from '../lib/duration.ts';
import { define } from './site.ts';

/** Free text for people: shown in the catalogue, never part of what a feature means. */
export interface Meta {
  description?: string;
  owner?: string;
  tags?: readonly string[];
}

export interface EntityOptions<K extends string> extends Meta {
  /** Column, or columns in order, that identify it. */
  key: K | readonly K[];
  /** How long table rows, folds, sessions and lifetime values of this entity stay valid; none by default. */
  ttl?: DurationText;
}

export interface Entity<N extends string = string, K extends string = string> extends Meta {
  readonly kind: 'entity';
  readonly name: N;
  readonly key: readonly K[];
  /** Milliseconds or null. */
  readonly ttl: number | null;
}

/**
 * Something features are about.
 * @throws FabraError BAD_DURATION for a bad `ttl`; problems with names are reported by `fabra compile`.
 * @example const user = entity('user', { key: 'user_id', ttl: '7d' })
 */
export function entity<const N extends string, const K extends string>(name: N, options: EntityOptions<K>): Entity<N, K> {
  const { key, ttl, ...meta } = options;
  const keys = typeof key === 'string' ? [key] : Array.isArray(key) ? [...(key as readonly K[])] : [];
  return define(
    { kind: 'entity' as const, name, key: Object.freeze(keys) as readonly K[], ttl: ttl === undefined ? null : parseDuration(ttl, `ttl of entity ${name}`), ...meta },
    entity,
  );
}
