import { type DurationText, parseDuration } from '../lib/duration.ts';
import { attempt, checkOptions, define } from './site.ts';

/** Free text for people: shown in the catalogue, never part of what a feature means. */
export interface Meta {
  description?: string;
  owner?: string;
  tags?: readonly string[];
}

/** Names of the {@link Meta} options. */
export const META = ['description', 'owner', 'tags'] as const;

/** Only what is set, so that absent stays absent in the registry. */
export const metaOf = ({ description, owner, tags }: Meta): Meta => ({
  ...(description !== undefined && { description }),
  ...(owner !== undefined && { owner }),
  ...(tags !== undefined && { tags }),
});

export interface EntityOptions<K extends string> extends Meta {
  /** Column, or columns in order, that identify it; `[]` for values that are the same for all (entityless). */
  key: K | readonly K[];
  /** How long sessions and lifetime values of this entity stay valid; none by default. */
  ttl?: DurationText;
}

export interface Entity<N extends string = string, K extends string = string> extends Meta {
  readonly kind: 'entity';
  readonly name: N;
  readonly key: readonly K[];
  /** A key was stated; an empty one holds for all. */
  readonly keyed: boolean;
  /** Milliseconds or null. */
  readonly ttl: number | null;
}

/**
 * Something features are about.
 * @throws FabraError BAD_DURATION for a bad `ttl`; problems with names are reported by `fabra compile`.
 * @example const user = entity('user', { key: 'user_id', ttl: '7d' })
 */
export function entity<const N extends string, const K extends string = never>(name: N, options: EntityOptions<K>): Entity<N, K> {
  const { key, ttl, description, owner, tags } = options;
  const keys = typeof key === 'string' ? [key] : Array.isArray(key) ? [...(key as readonly K[])] : [];
  const made = define(
    {
      kind: 'entity' as const,
      name,
      key: Object.freeze(keys) as readonly K[],
      keyed: Array.isArray(key) || keys.length > 0,
      ttl: ttl === undefined ? null : attempt(() => parseDuration(ttl, `ttl of entity ${name}`), null),
      ...metaOf({ description, owner, tags }),
    },
    entity,
  );
  checkOptions(made, options, ['key', 'ttl', ...META]);
  return made;
}
