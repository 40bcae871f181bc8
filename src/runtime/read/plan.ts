/** What a list of features takes to read, worked out once: units of groups, folds, tables, live views, and the derive graph. */
import type { Group, Groups } from '../../engine/group.ts';
import type { FoldUnit, TableUnit, Units } from '../../engine/units.ts';
import type { FeaturePlan, FoldFeaturePlan, OnFeaturePlan, Registry, TableFeaturePlan, ViewPlan, WindowFeaturePlan } from '../../registry/types.ts';
import { type DerivePlan, derivePlan } from '../derive.ts';
import type { RuntimeCode } from '../project.ts';

/** A feature asked for, perhaps under other key columns: `{ location_id: 'origin_id' }` reads `origin_id` of the row. */
export interface FeatureRef {
  /** Feature id (`entity.name`). */
  id: string;
  /** What the answer calls it; reading does not need it. */
  alias?: string;
  /** Key column of its entity, or of its inputs', -> column of the row. */
  keys?: Readonly<Record<string, string>>;
}

/** A place of a scope's items, folds, tables or views that one key is read for. */
interface Side {
  item: number;
  at: number;
}
export interface PlannedItem {
  group: Group;
  entity: string;
  units: number[];
}
export type PlannedStored =
  | { kind: 'window'; feature: WindowFeaturePlan; num: Side; den: Side | null; seen: Side[]; sides: Side[] }
  | { kind: 'fold'; feature: FoldFeaturePlan; at: number }
  | { kind: 'table'; feature: TableFeaturePlan | OnFeaturePlan; at: number }
  | { kind: 'live'; feature: TableFeaturePlan; at: number }
  /** A fold whose code is not at hand. */
  | { kind: 'codeless'; feature: FoldFeaturePlan };

/** What is read under the same names of key columns. */
export interface Scope {
  /** Null: as the entities name them. */
  keys: Readonly<Record<string, string>> | null;
  items: PlannedItem[];
  folds: { unit: FoldUnit; entity: string }[];
  tables: { unit: TableUnit; entity: string }[];
  views: { view: ViewPlan; entity: string }[];
  stored: PlannedStored[];
  derive: DerivePlan;
}

export interface ReadPlan {
  scopes: Scope[];
  /** In the order asked. */
  asked: { scope: number; feature: FeaturePlan }[];
}

interface Parts {
  registry: Registry;
  code: RuntimeCode;
  groups: Groups;
  units: Units;
}

export function readPlan(parts: Parts, refs: readonly { feature: FeaturePlan; keys: FeatureRef['keys'] }[]): ReadPlan {
  const names: string[] = [];
  const members: { keys: FeatureRef['keys']; ids: string[] }[] = [];
  const asked = refs.map(({ feature, keys }) => {
    const name = scopeName(keys);
    let scope = names.indexOf(name);
    if (scope < 0) {
      scope = names.push(name) - 1;
      members.push({ keys: name === '' ? undefined : keys, ids: [] });
    }
    members[scope]!.ids.push(feature.id);
    return { scope, feature };
  });
  return { asked, scopes: members.map(m => scopeOf(parts, m.ids, m.keys ?? null)) };
}

/** Same text, same columns; '' when nothing is renamed. */
export function scopeName(keys: FeatureRef['keys']): string {
  const renamed = Object.entries(keys ?? {}).filter(([from, to]) => from !== to);
  return renamed.length === 0 ? '' : JSON.stringify(renamed.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function scopeOf(parts: Parts, ids: readonly string[], keys: Scope['keys']): Scope {
  const derive = derivePlan(parts.registry, parts.code, ids);
  const scope: Scope = { keys, items: [], folds: [], tables: [], views: [], stored: [], derive };
  for (const f of derive.windows) scope.stored.push(windowOf(parts, f, scope));
  for (const f of derive.others) scope.stored.push(otherOf(parts, f, scope));
  return scope;
}

function windowOf({ groups }: Parts, feature: WindowFeaturePlan, { items }: Scope): PlannedStored {
  const add = ({ group, unit }: { group: string; unit: number }): Side => {
    let item = items.findIndex(i => i.group.id === group);
    if (item < 0) {
      const g = groups.groups.get(group)!;
      item = items.push({ group: g, entity: g.entity, units: [] }) - 1;
    }
    const { units } = items[item]!;
    const at = units.indexOf(unit);
    return { item, at: at >= 0 ? at : units.push(unit) - 1 };
  };
  const u = groups.features.get(feature.id)!;
  const [num, den, seen] = [add(u.num), u.den && add(u.den), u.seen.map(add)];
  return { kind: 'window', feature, num, den, seen, sides: [num, ...(den ? [den] : []), ...seen] };
}

function otherOf({ registry, units }: Parts, feature: TableFeaturePlan | FoldFeaturePlan | OnFeaturePlan, scope: Scope): PlannedStored {
  const { entity } = feature;
  if (feature.kind === 'fold') {
    const unit = units.folds.find(u => u.id === feature.id)!;
    return unit.code === null ? { kind: 'codeless', feature } : { kind: 'fold', feature, at: scope.folds.push({ unit, entity }) - 1 };
  }
  const unit = units.tables.get(feature.kind === 'on' ? feature.id : feature.view);
  if (!unit) {
    const view = registry.views[(feature as TableFeaturePlan).view]!;
    const at = scope.views.findIndex(v => v.view === view);
    return { kind: 'live', feature: feature as TableFeaturePlan, at: at >= 0 ? at : scope.views.push({ view, entity }) - 1 };
  }
  const at = scope.tables.findIndex(t => t.unit === unit);
  return { kind: 'table', feature, at: at >= 0 ? at : scope.tables.push({ unit, entity }) - 1 };
}
