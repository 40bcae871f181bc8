/** Reading features: one planned read of all state, then derived features in dependency order. */
import { finishCell } from '../engine/finish.ts';
import { compileGroups, type Group, type Groups } from '../engine/group.ts';
import { needs } from '../engine/read.ts';
import type { Cell } from '../engine/values.ts';
import { FabraError } from '../lib/errors.ts';
import { joinKey, suggest } from '../lib/text.ts';
import { iso } from '../lib/time.ts';
import type { OnlineStore, Position, ReadAnswer, ReadItem } from '../ports/online-store.ts';
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

/** A group's units that a row needs, whatever its keys. */
interface PlannedItem {
  group: Group;
  units: number[];
}
interface Side {
  item: number;
  at: number;
}
interface PlannedWindow {
  feature: WindowFeaturePlan;
  num: Side;
  den: Side | null;
  seen: Side[];
  /** All of these, for the checks every side must pass. */
  sides: Side[];
}
interface Planned {
  asked: FeaturePlan[];
  items: PlannedItem[];
  /** Window features to read, inputs of derived ones included. */
  windows: PlannedWindow[];
  derive: DerivePlan;
}

const EXPIRED = 'AS_OF_EXPIRED';

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
   * Values with status and time for every row. A feature that needs dropped detail is ERROR(AS_OF_EXPIRED).
   * @throws FabraError UNKNOWN_FEATURE; AS_OF_EXPIRED when that is all there is to a row; STORE_FAILED.
   */
  async read(query: FeatureQuery): Promise<FeatureAnswer> {
    const plan = this.plan(query.features);
    const items: ReadItem[] = [];
    const places = this.place(plan, query, items);
    const { answers, position } = await this.online.read(items);
    const width = plan.items.length;
    const cells = query.rows.map((_, r) => {
      const known = new Map<string, Cell>();
      const mine = plan.items.map((_p, i) => answers[places[r * width + i]!] ?? null);
      for (const w of plan.windows) known.set(w.feature.id, this.windowCell(w, mine, query.at));
      this.refuseExpired(plan, mine, known, query.at);
      if (plan.derive.steps.length > 0) runDerive(plan.derive, known, Array.isArray(query.request) ? query.request[r] : query.request, query.at);
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
    const items: PlannedItem[] = [];
    const add = ({ group, unit }: { group: string; unit: number }): Side => {
      let item = items.findIndex(i => i.group.id === group);
      if (item < 0) item = items.push({ group: this.groups.groups.get(group)!, units: [] }) - 1;
      const { units } = items[item]!;
      const at = units.indexOf(unit);
      return { item, at: at >= 0 ? at : units.push(unit) - 1 };
    };
    const windows = derive.windows.map((feature): PlannedWindow => {
      const u = this.groups.features.get(feature.id)!;
      const [num, den, seen] = [add(u.num), u.den && add(u.den), u.seen.map(add)];
      return { feature, num, den, seen, sides: [num, ...(den ? [den] : []), ...seen] };
    });
    plan = { asked, items, windows, derive };
    if (this.plans.size > 1_000) this.plans.clear();
    this.plans.set(key, plan);
    return plan;
  }

  /** Where each row's items are among those to read, -1 without a key. Rows that share a key share the read. */
  private place(plan: Planned, query: FeatureQuery, items: ReadItem[]): Int32Array {
    const { at, rows } = query;
    const width = plan.items.length;
    const places = new Int32Array(rows.length * width);
    const shared = rows.length > 1 ? new Map<string, number>() : null;
    rows.forEach((row, r) => {
      plan.items.forEach(({ group, units }, i) => {
        const key = keyFrom(this.registry, group.entity, row);
        const id = shared && key !== null ? `${i}/${key}` : null;
        let place = key === null ? -1 : id === null ? undefined : shared!.get(id);
        if (place === undefined) {
          place = items.push({ group, key: key!, at, units }) - 1;
          if (id !== null) shared!.set(id, place);
        }
        places[r * width + i] = place;
      });
    });
    return places;
  }

  /** One feature behind the retention is its own cell's error; a row with nothing else is the caller's. */
  private refuseExpired(plan: Planned, mine: readonly (ReadAnswer | null)[], known: ReadonlyMap<string, Cell>, at: number): void {
    const first = plan.windows[0];
    if (!first || !plan.windows.every(w => known.get(w.feature.id)!.reason === EXPIRED)) return;
    const floor = Math.max(...first.sides.map(s => mine[s.item]!.floor ?? Number.NEGATIVE_INFINITY));
    throw new FabraError('AS_OF_EXPIRED', `${first.feature.id} as of ${iso(at)} needs events before ${iso(floor)}, which are no longer kept online`, {
      hint: 'Ask a later instant, or compute it from history: fabra historical.',
    });
  }

  private windowCell(w: PlannedWindow, mine: readonly (ReadAnswer | null)[], at: number): Cell {
    const f = w.feature;
    let floor = Number.NEGATIVE_INFINITY;
    for (const { item } of w.sides) {
      const answer = mine[item];
      if (!answer) return { value: f.default ?? null, status: 'ERROR', ts: null, reason: 'MISSING_KEY' };
      if (answer.states === null) return { value: f.default ?? null, status: 'DEFAULTED', ts: null, reason: 'backfilling' };
      if (answer.floor !== null && answer.floor > floor) floor = answer.floor;
    }
    if (needs(f.frame, at) < floor) return { value: null, status: 'ERROR', ts: null, reason: EXPIRED };
    const state = (s: Side) => mine[s.item]!.states![s.at]!;
    return finishCell(
      f,
      state(w.num),
      w.den && state(w.den),
      w.seen.some(s => state(s).ts !== null),
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
