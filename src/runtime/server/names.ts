/** Names of features as a client writes them, and what a list of them needs: worked out once per list, then remembered. */
import { FabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import type { EntityPlan, FeaturePlan, Registry } from '../../registry/types.ts';
import { derivePlan } from '../derive.ts';
import type { RuntimeCode } from '../project.ts';
import type { FeatureRef } from '../reader.ts';

/** Key columns of the request that make one entity's key. */
export interface KeyNeed {
  /** The entity, or the alias it is read under. */
  name: string;
  key: readonly string[];
}

export interface Selection {
  /** As the reader takes them. */
  refs: (string | FeatureRef)[];
  /** Names in the answer: as asked, short for a service, `entity__feature` or `alias__feature` when full. */
  names: string[];
  plans: FeaturePlan[];
  /** Whose keys are needed: of derived features and their inputs, under their aliases. */
  entities: KeyNeed[];
  /** Their columns, each once. */
  columns: string[];
  /** Request columns without which a derived feature cannot run. */
  required: { feature: string; name: string }[];
  derived: boolean;
}

/** A feature asked for under another name and other key columns. */
export interface AliasAsked {
  feature: string;
  alias: string;
  keys: Record<string, string>;
}

/** What names an answer, before columns are worked out. */
interface Entry {
  id: string;
  name: string;
  alias: { alias: string; keys: Readonly<Record<string, string>> } | null;
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

  /** `full` unset: a name is as it was asked. @throws FabraError UNKNOWN_FEATURE, NAME_COLLISION. */
  list(names: readonly (string | AliasAsked)[], path = 'features', full = false): Selection {
    const key = `${full ? 1 : 0}${names.map(n => (typeof n === 'string' ? n : JSON.stringify(n))).join('\u0000')}`;
    const known = this.lists.get(key);
    if (known) return known;
    const entries = names.map((asked, i): Entry => {
      const alias = typeof asked === 'string' ? null : { alias: asked.alias, keys: asked.keys };
      const id = this.idOf(typeof asked === 'string' ? asked : asked.feature, `${path}[${i}]`);
      return { id, alias, name: full ? fullName(id, alias) : typeof asked === 'string' ? asked : this.registry.features[id]!.name };
    });
    entries.forEach(({ name }, i) => {
      if (entries.findIndex(e => e.name === name) < i)
        throw new FabraError('NAME_COLLISION', `${name} is asked for twice`, {
          path: `${path}[${i}]`,
          hint: entries.some(e => e.alias) && !full ? 'Ask with "full_names": true: alias__feature.' : 'Name each feature once.',
        });
    });
    const made = this.select(entries);
    if (this.lists.size >= MOST) this.lists.clear();
    this.lists.set(key, made);
    return made;
  }

  /** `full` unset: as the service says. @throws FabraError UNKNOWN_SERVICE, NAME_COLLISION. */
  service(name: string, full?: boolean): Selection {
    const key = `${name}\u0000${full ?? ''}`;
    let known = this.services.get(key);
    if (known) return known;
    const plan = Object.hasOwn(this.registry.services, name) ? this.registry.services[name] : undefined;
    if (!plan)
      throw new FabraError('UNKNOWN_SERVICE', `there is no service ${JSON.stringify(name)}`, { path: 'service', hint: suggest(name, Object.keys(this.registry.services)) });
    const long = full ?? plan.fullNames === true;
    const entries = plan.features.map((id, i): Entry => {
      const alias = plan.aliases?.[i] ?? null;
      return { id, alias, name: long ? fullName(id, alias) : this.registry.features[id]!.name };
    });
    for (const [i, e] of entries.entries())
      if (entries.findIndex(other => other.name === e.name) < i)
        throw new FabraError('NAME_COLLISION', `the service ${name} has two features named '${e.name}'`, {
          path: 'full_names',
          hint: 'Ask with full names: entity__feature, alias__feature.',
        });
    known = this.select(entries);
    this.services.set(key, known);
    return known;
  }

  /** All features of an entity that these key columns suffice for. */
  ofEntity(entity: string, columns: readonly string[], full = false): Selection {
    const key = `\u0001${full}${entity}\u0000${columns.join('\u0000')}`;
    const known = this.lists.get(key);
    if (known) return known;
    const ids = Object.keys(this.registry.features).filter(id => this.registry.features[id]!.entity === entity);
    const entryOf = (id: string): Entry => ({ id, alias: null, name: full ? fullName(id, null) : this.nameOf(this.registry.features[id]!) });
    const able = ids.filter(id => {
      const one = this.select([entryOf(id)]);
      return one.required.length === 0 && one.columns.every(c => columns.includes(c));
    });
    const made = this.select(able.map(entryOf));
    this.lists.set(key, made);
    return made;
  }

  /** @throws FabraError UNKNOWN_ENTITY. */
  entity(name: string): EntityPlan {
    const plan = Object.hasOwn(this.registry.entities, name) ? this.registry.entities[name] : undefined;
    if (plan) return plan;
    throw new FabraError('UNKNOWN_ENTITY', `there is no entity ${JSON.stringify(name)}`, { path: 'entity', hint: suggest(name, Object.keys(this.registry.entities)) });
  }

  /** Columns of the request that one entry of a selection needs. */
  needs(ref: Selection['refs'][number]): string[] {
    const id = typeof ref === 'string' ? ref : ref.id;
    const alias = typeof ref === 'string' ? null : { alias: ref.alias ?? '', keys: ref.keys ?? {} };
    return this.select([{ id, alias, name: id }]).columns;
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

  private select(entries: readonly Entry[]): Selection {
    const entities = new Map<string, KeyNeed>();
    const required: Selection['required'] = [];
    let derived = false;
    for (const { id, alias } of entries) {
      const { windows, others, steps } = derivePlan(this.registry, this.code, [id]);
      derived ||= steps.length > 0;
      for (const s of steps)
        for (const r of s.plan.request)
          if (r.required && !required.some(q => q.feature === s.plan.name && q.name === r.name)) required.push({ feature: s.plan.name, name: r.name });
      for (const f of [...windows, ...others, ...steps.map(s => s.plan)]) {
        const own = this.registry.entities[f.entity]!.key;
        const key = own.map(c => alias?.keys[c] ?? c);
        const name = key.every((c, i) => c === own[i]) ? f.entity : alias!.alias;
        entities.set(`${name}\u0000${key.join('\u0000')}`, { name, key });
      }
    }
    const needs = [...entities.values()];
    return {
      refs: entries.map(({ id, alias }) => (alias ? { id, ...alias } : id)),
      names: entries.map(e => e.name),
      plans: entries.map(e => this.registry.features[e.id]!),
      entities: needs,
      columns: [...new Set(needs.flatMap(e => e.key))],
      required,
      derived,
    };
  }
}

/** `entity__feature`, or `alias__feature`. */
const fullName = (id: string, alias: { alias: string } | null): string => (alias ? `${alias.alias}__${id.slice(id.indexOf('.') + 1)}` : id.replace('.', '__'));
