import type { Aliased, Feature, Service } from '../define/feature.ts';
import { isAlias, isFeature } from './collect.ts';
import { checkName, type Problems } from './problems.ts';
import type { ServicePlan } from './types.ts';

interface Entry {
  feature: Feature;
  alias: Aliased | null;
}

export function compileService(s: Service, problems: Problems, idOf: (f: Feature) => string): ServicePlan {
  problems.strays(s, `service '${s.name}'`);
  const entries = s.features.flatMap((f): Entry[] => {
    if (isAlias(f)) return isFeature(f.feature) ? [{ feature: f.feature, alias: f }] : [];
    return isFeature(f) ? [{ feature: f, alias: null }] : [];
  });
  if (!s.features.length) problems.add(s, `service '${s.name}' has no features`, 'List at least one.');
  for (const { alias } of entries) if (alias) checkAlias(alias, problems);
  collisions(s, entries, problems, idOf);
  const aliased = entries.some(e => e.alias !== null);
  return {
    name: s.name,
    features: entries.map(e => idOf(e.feature)),
    ...(aliased && { aliases: entries.map(({ alias }) => alias && { alias: alias.alias, keys: { ...alias.keys } }) }),
    ...(s.fullNames && { fullNames: true as const }),
    ...(s.description !== undefined && { description: s.description }),
    ...(s.owner !== undefined && { owner: s.owner }),
    ...(s.tags !== undefined && { tags: [...s.tags] }),
  };
}

function checkAlias(alias: Aliased, problems: Problems): void {
  checkName(problems, alias, 'an alias', alias.alias);
  const own = alias.feature.entity?.key ?? [];
  for (const [column, to] of Object.entries(alias.keys))
    if (typeof to !== 'string' || to === '') problems.add(alias, `alias '${alias.alias}': the key '${column}' has no other column`, `Write { ${column}: 'origin_id' }.`);
  if (Object.keys(alias.keys).length === 0)
    problems.add(alias, `alias '${alias.alias}' renames no key`, `Write which column stands for it: { ${own[0] ?? 'id'}: '${alias.alias}_id' }.`);
}

function collisions(s: Service, entries: readonly Entry[], problems: Problems, idOf: (f: Feature) => string): void {
  const seen = new Map<string, Entry>();
  for (const e of entries) {
    const full = e.alias ? e.alias.name : idOf(e.feature).replace('.', '__');
    const name = s.fullNames ? full : e.feature.name;
    const other = seen.get(name);
    if (other?.feature === e.feature && other.alias?.alias === e.alias?.alias) problems.add(s, `service '${s.name}' lists '${idOf(e.feature)}' twice`, 'Leave one out.');
    else if (other)
      problems.add(
        s,
        `service '${s.name}' has two features named '${name}': '${nameOf(other, idOf)}' and '${nameOf(e, idOf)}'`,
        s.fullNames ? 'Give one another alias.' : 'A service answers by short name: rename one, or write service(…, { fullNames: true }).',
        'NAME_COLLISION',
      );
    seen.set(name, e);
  }
}

const nameOf = (e: Entry, idOf: (f: Feature) => string): string => (e.alias ? e.alias.name : idOf(e.feature));
