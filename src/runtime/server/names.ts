/** Names of features as a client writes them, and what a list of them needs: worked out once per list, then remembered. */
import { FabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import type { EntityPlan, FeaturePlan, Registry } from '../../registry/types.ts';
import { derivePlan } from '../derive.ts';
import type { RuntimeCode } from '../project.ts';

export interface Selection {
  /** Ids as the reader takes them. */
  ids: string[];
  /** Names in the answer: as asked, short for a service. */
  names: string[];
  plans: FeaturePlan[];
  /** Entities whose keys are needed, inputs of derived features included. */
  entities: EntityPlan[];
  /** Their key columns, each once. */
  columns: string[];
  /** Request columns without which a derived feature cannot run. */
  required: { feature: string; name: string }[];
  derived: boolean;
}

/** Lists that clients make up are remembered up to this many. */
const MOST = 1_000;

export class Names {
  readonly registry: Registry;
  /** Columns that are part of some key. */
  readonly keyColumns: ReadonlySet<string>;
  private readonly code: RuntimeCode;
  private readonly short = new Map<string, string[]>();
  private readonly lists = new Map<string, Selection>();
  private readonly services = new Map<string, Selection>();

  constructor(registry: Registry, code: RuntimeCode) {
    this.registry = registry;
    this.code = code;
    this.keyColumns = new Set(Object.values(registry.entities).flatMap(e => e.key));
    for (const f of Object.values(registry.features)) this.short.set(f.name, [...(this.short.get(f.name) ?? []), f.id]);
  }

  /** Short where it is unique. */
  nameOf(f: FeaturePlan): string {
    return this.short.get(f.name)!.length === 1 ? f.name : f.id;
  }

  /** @throws FabraError UNKNOWN_FEATURE, NAME_COLLISION. */
  list(names: readonly string[], path = 'features'): Selection {
    const key = names.join('\u0000');
    const known = this.lists.get(key);
    if (known) return known;
    const ids = names.map((name, i) => this.idOf(name, `${path}[${i}]`));
    names.forEach((name, i) => {
      if (names.indexOf(name) < i) throw new FabraError('NAME_COLLISION', `${name} is asked for twice`, { path: `${path}[${i}]`, hint: 'Name each feature once.' });
    });
    const made = this.select(ids, [...names]);
    if (this.lists.size >= MOST) this.lists.clear();
    this.lists.set(key, made);
    return made;
  }

  /** @throws FabraError UNKNOWN_SERVICE. */
  service(name: string): Selection {
    let known = this.services.get(name);
    if (known) return known;
    const plan = Object.hasOwn(this.registry.services, name) ? this.registry.services[name] : undefined;
    if (!plan)
      throw new FabraError('UNKNOWN_SERVICE', `there is no service ${JSON.stringify(name)}`, { path: 'service', hint: suggest(name, Object.keys(this.registry.services)) });
    known = this.select(
      plan.features,
      plan.features.map(id => this.registry.features[id]!.name),
    );
    this.services.set(name, known);
    return known;
  }

  /** All features of an entity that these key columns suffice for. */
  ofEntity(entity: string, columns: readonly string[]): Selection {
    const key = `\u0001${entity}\u0000${columns.join('\u0000')}`;
    const known = this.lists.get(key);
    if (known) return known;
    const ids = Object.keys(this.registry.features).filter(id => this.registry.features[id]!.entity === entity);
    const able = ids.filter(id => {
      const one = this.select([id], [id]);
      return one.required.length === 0 && one.columns.every(c => columns.includes(c));
    });
    const made = this.select(
      able,
      able.map(id => this.nameOf(this.registry.features[id]!)),
    );
    this.lists.set(key, made);
    return made;
  }

  /** @throws FabraError UNKNOWN_ENTITY. */
  entity(name: string): EntityPlan {
    const plan = Object.hasOwn(this.registry.entities, name) ? this.registry.entities[name] : undefined;
    if (plan) return plan;
    throw new FabraError('UNKNOWN_ENTITY', `there is no entity ${JSON.stringify(name)}`, { path: 'entity', hint: suggest(name, Object.keys(this.registry.entities)) });
  }

  private idOf(name: string, path: string): string {
    if (Object.hasOwn(this.registry.features, name)) return name;
    const ids = this.short.get(name);
    if (!ids) {
      const all = [...this.short.keys()];
      throw new FabraError('UNKNOWN_FEATURE', `there is no feature ${JSON.stringify(name)}`, {
        path,
        hint: suggest(name, name.includes('.') ? Object.keys(this.registry.features) : all),
      });
    }
    if (ids.length > 1) throw new FabraError('NAME_COLLISION', `${ids.length} entities have a feature '${name}'`, { path, hint: `Name the entity too: ${ids.join(' or ')}.` });
    return ids[0]!;
  }

  private select(ids: readonly string[], names: string[]): Selection {
    const { windows, steps } = derivePlan(this.registry, this.code, ids);
    const plans = ids.map(id => this.registry.features[id]!);
    const entities = [...new Set(windows.map(f => f.entity))].map(e => this.registry.entities[e]!);
    const required = steps.flatMap(s => s.plan.request.filter(r => r.required).map(r => ({ feature: s.plan.name, name: r.name })));
    return { ids: [...ids], names, plans, entities, columns: [...new Set(entities.flatMap(e => e.key))], required, derived: steps.length > 0 };
  }
}
