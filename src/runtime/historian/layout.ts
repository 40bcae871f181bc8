/** What a training set has to ask: its columns, the key columns each feature is read by, and what cannot be computed over history. */
import { FabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import type { FeaturePlan, OnFeaturePlan, Registry, ServicePlan, StoredFeaturePlan, TableFeaturePlan } from '../../registry/types.ts';
import { type DerivePlan, derivePlan } from '../derive.ts';
import type { Compiled, Project } from '../project.ts';

/** A column of the training set: a feature, perhaps under another name and other key columns. */
export interface AskedColumn {
  id: string;
  alias?: { alias: string; keys: Record<string, string> } | null;
}

export interface Column {
  feature: FeaturePlan;
  alias: string | null;
  /** `user.views_5m`, or `origin__temperature`. */
  label: string;
  /** Its place among the scenes. */
  scene: number;
}

/** Features that are read by the same key columns: everything without an alias, and each renaming. */
export interface Scene {
  derive: DerivePlan;
  /** Stored feature id -> its place among the asks. */
  asks: Map<string, number>;
  /** Entity -> the place of its key columns. */
  keys: Map<string, number>;
}

/** Runs looked at: a view that failed this often in a row has none. */
const KEPT = 1_000;

export const notReplayable = (id: string): FabraError =>
  new FabraError('NOT_REPLAYABLE', `${id} is asynchronous: history would be told what its source knows today`, {
    hint: 'Leave it out; or, when it gives the same for the past, write derive({ …, replayable: true }).',
  });

/** A service's features as columns. */
export const columnsOf = (service: ServicePlan): AskedColumn[] => service.features.map((id, i) => ({ id, alias: service.aliases?.[i] ?? null }));

export class Layout {
  readonly columns: Column[] = [];
  readonly scenes: Scene[] = [];
  readonly keySets: string[][] = [];
  readonly asks: { feature: StoredFeaturePlan; keys: number }[] = [];
  private readonly registry: Registry;
  /** Of each key set: what it is the key of. */
  private readonly owners: string[] = [];

  /** @throws FabraError UNKNOWN_FEATURE, NOT_REPLAYABLE. */
  constructor({ registry, code }: Compiled, asked: readonly (string | AskedColumn)[]) {
    this.registry = registry;
    const byRenaming = new Map<string, { keys: Record<string, string>; alias: string | null; ids: Set<string> }>();
    const seen = new Set<string>();
    for (const a of asked) {
      const { id, alias = null } = typeof a === 'string' ? { id: a } : a;
      const feature = registry.features[id];
      if (!feature) throw new FabraError('UNKNOWN_FEATURE', `there is no feature ${JSON.stringify(id)}`, { hint: suggest(id, Object.keys(registry.features)) });
      const label = alias ? `${alias.alias}__${feature.name}` : id;
      if (seen.has(label)) continue;
      seen.add(label);
      const renaming = JSON.stringify(Object.entries(alias?.keys ?? {}).sort());
      const scene = byRenaming.get(renaming) ?? { keys: alias?.keys ?? {}, alias: alias?.alias ?? null, ids: new Set<string>() };
      byRenaming.set(renaming, scene);
      scene.ids.add(id);
      this.columns.push({ feature, alias: alias?.alias ?? null, label, scene: [...byRenaming.keys()].indexOf(renaming) });
    }
    for (const { keys, alias, ids } of byRenaming.values()) this.add(derivePlan(registry, code, [...ids]), keys, alias);
    this.refuseAsync();
  }

  private add(derive: DerivePlan, renamed: Record<string, string>, alias: string | null): void {
    const scene: Scene = { derive, asks: new Map(), keys: new Map() };
    const stored = [...derive.windows, ...derive.others];
    for (const { entity } of [...stored, ...derive.steps.map(s => s.plan)]) {
      const columns = this.registry.entities[entity]!.key.map(c => renamed[c] ?? c);
      const found = this.keySets.findIndex(k => JSON.stringify(k) === JSON.stringify(columns));
      scene.keys.set(entity, found >= 0 ? found : this.keySets.push(columns) - 1);
      this.owners[scene.keys.get(entity)!] ??= `entity ${entity}${alias === null ? '' : ` as ${alias}`}`;
    }
    for (const feature of stored) {
      const keys = scene.keys.get(feature.entity)!;
      const found = this.asks.findIndex(a => a.feature === feature && a.keys === keys);
      scene.asks.set(feature.id, found >= 0 ? found : this.asks.push({ feature, keys }) - 1);
    }
    this.scenes.push(scene);
  }

  private refuseAsync(): void {
    for (const { derive } of this.scenes) for (const { plan } of derive.steps) if (plan.async && plan.replayable !== true) throw notReplayable(plan.id);
  }

  /** Key columns of a row, by the names the entities give them. */
  keysOf({ keys }: Scene, texts: readonly (string | null)[][][], r: number): Record<string, string> {
    const out: Record<string, string> = {};
    for (const [entity, set] of keys)
      this.registry.entities[entity]!.key.forEach((column, i) => {
        const v = texts[set]![i]![r];
        if (v !== null && v !== undefined && v !== '') out[column] = v;
      });
    return out;
  }

  /** Features whose changes can be the rows of the training set; those without a key only where there are no others. */
  sources(): (TableFeaturePlan | OnFeaturePlan)[] {
    const all = this.changing();
    const keyed = all.filter(f => this.registry.entities[f.entity]!.key.length > 0);
    return keyed.length > 0 ? keyed : all;
  }

  private changing(): (TableFeaturePlan | OnFeaturePlan)[] {
    return this.asks.map(a => a.feature).filter(f => f.kind === 'table' || f.kind === 'on');
  }

  /** @throws FabraError BAD_SPINE naming the key and whose it is. */
  checkKeys(spine: readonly string[]): void {
    this.keySets.forEach((columns, i) => {
      const missing = columns.filter(c => !spine.includes(c));
      if (missing.length > 0)
        throw new FabraError('BAD_SPINE', `the spine has no column ${missing.map(c => `'${c}'`).join(', ')}, the key of ${this.owners[i]}`, {
          hint: `It has: ${spine.join(', ')}. Add or rename the column, or ask for features of other entities.`,
        });
    });
  }

  /** Rows without a time of their own have that of the run that read them: without a run there is no history. @throws FabraError NOT_REPLAYABLE. */
  async checkRuns(project: Pick<Project, 'tables'>): Promise<void> {
    for (const f of this.changing()) {
      const view = f.kind === 'table' ? this.registry.views[f.view]! : null;
      if (!view || view.sql === null || view.time !== null) continue;
      const runs = await project.tables.runs(view.id, KEPT);
      if (runs.some(r => r.status !== 'failed' && r.hash === view.hash)) continue;
      const run = view.materialize ? `run it now and then: fabra materialize --feature ${f.id}` : 'write materialize: true, so that each run of its SQL is kept';
      throw new FabraError('NOT_REPLAYABLE', `${f.id} has no history: its source names no time column, and no run of its SQL is kept`, {
        hint: `Name the source's time column, as in time: 'updated_at'; or ${run}.`,
      });
    }
  }

  /** What to know when only rows written by then count. */
  uncreated(): string[] {
    const views = this.changing().flatMap(f => (f.kind === 'table' ? [this.registry.views[f.view]!] : []));
    return [...new Set(views.filter(v => v.sql !== null && v.created === null).map(v => v.id))];
  }
}
