/** Values that are given though they are older than somebody allows. */
import type { Cell } from '../../engine/values.ts';
import { formatDuration, parseDuration } from '../../lib/duration.ts';
import { FabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import type { FeaturePlan } from '../../registry/types.ts';

/** Milliseconds that a read allows: for all, and by name of the answer. What it does not say, the feature's `maxAge` does. */
export interface MaxAge {
  all: number | null;
  each: Readonly<Record<string, number>>;
}

export interface Stale {
  /** As the answer names it. */
  feature: string;
  /** The oldest of its values. */
  age_ms: number;
  max_age_ms: number;
  /** Rows whose value is too old. */
  rows: number[];
}

export const NO_MAX_AGE: MaxAge = { all: null, each: {} };

/** What a feature's value may have as its age; null for any. */
export const limitOf = (f: FeaturePlan, name: string, { all, each }: MaxAge): number | null => (Object.hasOwn(each, name) ? each[name]! : (all ?? f.maxAge ?? null));

/** Features with values older than allowed; a value without a time has no age. Judged at every read, also what a cache gave. */
export function staleOf(plans: readonly FeaturePlan[], names: readonly string[], rows: readonly (readonly Cell[])[], at: number, maxAge: MaxAge): Stale[] {
  const out: Stale[] = [];
  plans.forEach((f, i) => {
    const limit = limitOf(f, names[i]!, maxAge);
    if (limit === null) return;
    const stale: Stale = { feature: names[i]!, age_ms: 0, max_age_ms: limit, rows: [] };
    rows.forEach((cells, r) => {
      const { ts } = cells[i]!;
      if (ts === null || at - ts <= limit) return;
      stale.rows.push(r);
      stale.age_ms = Math.max(stale.age_ms, at - ts);
    });
    if (stale.rows.length > 0) out.push(stale);
  });
  return out;
}

/** @throws FabraError STALE_FEATURES naming them. */
export function refuseStale(stale: readonly Stale[]): void {
  if (stale.length === 0) return;
  const list = stale.map(s => `${s.feature} (${formatDuration(s.age_ms)}, at most ${formatDuration(s.max_age_ms)})`);
  throw new FabraError('STALE_FEATURES', `older than allowed: ${list.join(', ')}`, {
    hint: 'Leave strict out to get the values with the list of those that are stale; fabra freshness says how far the streams are.',
    path: 'strict',
  });
}

/** `'30s'`, or `{ feature: '30s' }` by names of the answer. @throws FabraError BAD_REQUEST, BAD_DURATION. */
export function maxAgeOf(given: unknown, names: readonly string[], path = 'max_age'): MaxAge {
  if (given === undefined || given === null) return NO_MAX_AGE;
  if (typeof given === 'string') return { all: parseDuration(given, path), each: {} };
  if (typeof given !== 'object' || Array.isArray(given))
    throw new FabraError('BAD_REQUEST', `${path} is neither a duration nor an object of them`, { path, hint: `Send "${path}": "30s" or {"user_views_5m": "30s"}.` });
  const each: Record<string, number> = {};
  for (const [name, text] of Object.entries(given)) {
    if (!names.includes(name))
      throw new FabraError('BAD_REQUEST', `${path} names ${JSON.stringify(name)}, which is not asked for`, { path: `${path}.${name}`, hint: suggest(name, names) });
    if (typeof text !== 'string') throw new FabraError('BAD_REQUEST', `${path}.${name} is not a duration`, { path: `${path}.${name}`, hint: 'Write "30s", "5m", "1h".' });
    each[name] = parseDuration(text, `${path}.${name}`);
  }
  return { all: null, each };
}
