/** What parity can compare: what both sides compute from the log. The rest is named with its reason, never passed over. */
import { FabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import type { Registry } from '../../registry/types.ts';
import type { LeftOut } from './types.ts';

/** Why a feature is not compared; null when it is. */
export function reasonAgainst(registry: Registry, id: string): string | null {
  const f = registry.features[id]!;
  switch (f.kind) {
    case 'table':
      return registry.views[f.view]!.sql === null ? 'its rows are pushed, no event gives them again' : 'its rows come from SQL, no event gives them again';
    case 'on':
      return 'its handler has effects: what it returned is recorded and not computed again';
    case 'derive':
      if (f.async) return 'its code is async: it asks what history cannot';
      if (f.cache !== null) return 'its results are used again for a while (cache)';
      for (const input of Object.values(f.inputs)) if (reasonAgainst(registry, input) !== null) return `it reads ${input}, which is not compared`;
      return null;
    default:
      return null;
  }
}

/**
 * The features to compare: those named, or all that can be.
 * @throws FabraError UNKNOWN_FEATURE; NOTHING_COMPARED for a named one that cannot be (unless not `strict`), or when none can.
 */
export function scopeOf(registry: Registry, wanted: readonly string[] | undefined, strict = true): { asked: string[]; left: LeftOut[] } {
  for (const id of wanted ?? [])
    if (!Object.hasOwn(registry.features, id))
      throw new FabraError('UNKNOWN_FEATURE', `there is no feature ${JSON.stringify(id)}`, { hint: suggest(id, Object.keys(registry.features)) });
  const asked: string[] = [];
  const left: LeftOut[] = [];
  for (const id of wanted ?? registry.order) {
    const reason = reasonAgainst(registry, id);
    if (reason === null) asked.push(id);
    else left.push({ feature: id, reason });
  }
  const [first] = left;
  if (first && ((wanted !== undefined && strict) || asked.length === 0))
    throw new FabraError('NOTHING_COMPARED', `${first.feature} is not compared: ${first.reason}`, {
      hint:
        asked.length > 0
          ? `Leave it out: fabra parity --features ${asked.slice(0, 3).join(',')}`
          : 'Parity compares windows, folds and derived features over them; fabra explain tells of the others.',
    });
  return { asked, left };
}
