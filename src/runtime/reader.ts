/** Reading features: one planned read of all state, then derived features in dependency order. */
import { finishCell } from '../engine/finish.ts';
import { compileGroups, type Group, type Groups } from '../engine/group.ts';
import { needs } from '../engine/read.ts';
import type { Cell } from '../engine/values.ts';
import { FabraError } from '../lib/errors.ts';
import { joinKey, suggest } from '../lib/text.ts';
import { iso } from '../lib/time.ts';
import type { OnlineStore, Position, ReadItem } from '../ports/online-store.ts';
import type { FeaturePlan, Registry, WindowFeaturePlan } from '../registry/types.ts';
import { derivePlan, type DerivePlan, runDerive } from './derive.ts';
import type { RuntimeCode } from './project.ts';

export interface FeatureQuery {
  /** Feature ids (`entity.name`). */
  features: readonly string[];
  /** One per answer row: key column -> value. */
  rows: readonly Record<string, string>[];
  /** Epoch ms. */
  at: number;
  /** Request data for derived features: one for all rows, or one per row. */
  request?: unknown;
}

export interface FeatureAnswer {
  /** Per row, per feature asked for. */
  cells: Cell[][];
  position: Position;
}

interface Planned {
  asked: FeaturePlan[];
  /** Window features to read, inputs of derived ones included. */
  windows: WindowFeaturePlan[];
  derive: DerivePlan;
}

interface Side {
  item: number;
  at: number;
}
interface RowRead {
  /** Per window feature: where its states are among the items; null when its key is missing. */
  sides: ({ num: Side; den: Side | null; seen: Side[] } | null)[];
}

export class FeatureReader {
  readonly registry: Registry;
  readonly groups: Groups;
  private readonly online: OnlineStore;
  private readonly code: RuntimeCode;
  private readonly plans = new Map<string, Planned>();

  constructor(project: { online: OnlineStore }, registry: Registry, code: RuntimeCode) {
    this.online = project.online;
    this.registry = registry;
    this.code = code;
    this.groups = compileGroups(registry);
  }

  /**
   * Values with status and time for every row.
   * @throws FabraError UNKNOWN_FEATURE, AS_OF_EXPIRED, STORE_FAILED.
   */
  async read(query: FeatureQuery): Promise<FeatureAnswer> {
    const plan = this.plan(query.features);
    const items: ReadItem[] = [];
    const rows = query.rows.map(row => this.rowItems(plan, row, query.at, items));
    const { answers, position } = await this.online.read(items);
    const cells = rows.map((row, r) => {
      const known = new Map<string, Cell>();
      plan.windows.forEach((f, i) => {
        known.set(f.id, this.windowCell(f, row.sides[i]!, answers, query.at));
      });
      runDerive(plan.derive, known, Array.isArray(query.request) ? query.request[r] : query.request, query.at);
      return plan.asked.map(f => known.get(f.id)!);
    });
    return { cells, position };
  }

  private plan(ids: readonly string[]): Planned {
    const key = ids.join('\u0000');
    let plan = this.plans.get(key);
    if (plan) return plan;
    const asked = ids.map(id => featureOf(this.registry, id));
    const derive = derivePlan(this.registry, this.code, ids);
    plan = { asked, derive, windows: derive.windows };
    if (this.plans.size > 1_000) this.plans.clear();
    this.plans.set(key, plan);
    return plan;
  }

  private rowItems(plan: Planned, row: Record<string, string>, at: number, items: ReadItem[]): RowRead {
    const index = new Map<string, { item: number; units: number[] }>();
    const add = (side: { group: string; unit: number }, key: string): Side => {
      const id = `${side.group}\u0000${key}`;
      let entry = index.get(id);
      if (!entry) {
        entry = { item: items.length, units: [] };
        index.set(id, entry);
        items.push({ group: this.groups.groups.get(side.group)!, key, at, units: entry.units });
      }
      let pos = entry.units.indexOf(side.unit);
      if (pos < 0) pos = entry.units.push(side.unit) - 1;
      return { item: entry.item, at: pos };
    };
    const sides = plan.windows.map(f => {
      const key = keyFrom(this.registry, f.entity, row);
      if (key === null) return null;
      const u = this.groups.features.get(f.id)!;
      return { num: add(u.num, key), den: u.den && add(u.den, key), seen: u.seen.map(s => add(s, key)) };
    });
    return { sides };
  }

  private windowCell(f: WindowFeaturePlan, sides: RowRead['sides'][number], answers: Awaited<ReturnType<OnlineStore['read']>>['answers'], at: number): Cell {
    if (sides === null) return { value: f.default ?? null, status: 'ERROR', ts: null, reason: 'MISSING_KEY' };
    const used = [sides.num, ...(sides.den ? [sides.den] : []), ...sides.seen].map(s => answers[s.item]!);
    if (used.some(a => a.states === null)) return { value: f.default ?? null, status: 'DEFAULTED', ts: null, reason: 'backfilling' };
    const floor = Math.max(...used.map(a => a.floor ?? Number.NEGATIVE_INFINITY));
    if (needs(f.frame, at) < floor) throw expired(f, at, floor, this.groups.groups.get(this.groups.features.get(f.id)!.num.group)!);
    const state = (s: Side) => answers[s.item]!.states![s.at]!;
    return finishCell(
      f,
      state(sides.num),
      sides.den && state(sides.den),
      sides.seen.some(s => state(s).ts !== null),
      at,
    );
  }
}

export function featureOf(registry: Registry, id: string): FeaturePlan {
  const f = registry.features[id];
  if (f) return f;
  throw new FabraError('UNKNOWN_FEATURE', `there is no feature ${JSON.stringify(id)}`, { hint: suggest(id, Object.keys(registry.features)) });
}

/** Storage key of an entity from a row of key columns; null when a part is missing or empty. */
export function keyFrom(registry: Registry, entity: string, row: Record<string, string>): string | null {
  const parts = registry.entities[entity]!.key.map(c => row[c]);
  return parts.some(p => p === undefined || p === null || p === '') ? null : joinKey(parts as string[]);
}

function expired(f: WindowFeaturePlan, at: number, floor: number, group: Group): FabraError {
  return new FabraError('AS_OF_EXPIRED', `${f.id} as of ${iso(at)} needs events before ${iso(floor)}, which ${group.id} no longer keeps online`, {
    hint: 'Ask a later instant, or compute it from history: fabra historical.',
  });
}
