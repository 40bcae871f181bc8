/** The two sides of a comparison: what the online store answers, and what history computes, for rows of keys and instants. */
import type { Group } from '../../engine/group.ts';
import type { Cell } from '../../engine/values.ts';
import { FabraError } from '../../lib/errors.ts';
import type { HistoryView } from '../../ports/offline-store.ts';
import type { OnlineStore, Position } from '../../ports/online-store.ts';
import type { WindowFeaturePlan } from '../../registry/types.ts';
import { type DerivePlan, derivePlan, runDerive } from '../derive.ts';
import type { Compiled } from '../project.ts';
import { FeatureReader } from '../reader.ts';
import { askable, type SampleRow } from './sample.ts';

/** A row with the features that both sides can answer there. */
export interface Question extends SampleRow {
  ids: string[];
}

export interface Answered {
  question: Question;
  cells: Cell[];
  position: Position;
}

export class Sides {
  readonly compiled: Compiled;
  readonly asked: readonly string[];
  readonly plan: DerivePlan;
  readonly reader: FeatureReader;
  /** Feature id -> instant below which its detail is gone. */
  readonly floors = new Map<string, number>();
  /** Window features whose backfill is still on its way, or whose state the store has not. */
  readonly unready = new Set<string>();
  /** Derived feature id -> request data; absent when none could be made up. */
  readonly requests = new Map<string, Record<string, unknown>>();
  private readonly online: OnlineStore;
  /** Window features below each asked id. */
  private readonly below = new Map<string, WindowFeaturePlan[]>();

  constructor(online: OnlineStore, compiled: Compiled, asked: readonly string[]) {
    this.online = online;
    this.compiled = compiled;
    this.asked = asked;
    this.plan = derivePlan(compiled.registry, compiled.code, asked);
    this.reader = new FeatureReader({ online }, compiled.registry, compiled.code);
    for (const id of asked) this.below.set(id, derivePlan(compiled.registry, compiled.code, [id]).windows);
    for (const { plan, code } of this.plan.steps) {
      const request = requestFor(plan.request, code?.request ?? null);
      if (request) this.requests.set(plan.id, request);
    }
  }

  private groupsOf(f: WindowFeaturePlan): Group[] {
    const u = this.reader.groups.features.get(f.id)!;
    return [u.num, ...(u.den ? [u.den] : []), ...u.seen].map(s => this.reader.groups.groups.get(s.group)!);
  }

  /** Floors, readiness and position as they are now. */
  async look(): Promise<Position> {
    const groups = [...this.reader.groups.groups.values()];
    const status = new Map(await Promise.all(groups.map(async g => [g, await this.online.groupStatus(g)] as const)));
    for (const f of this.plan.windows) {
      const own = this.groupsOf(f).map(g => status.get(g));
      if (own.some(s => !s?.ready)) this.unready.add(f.id);
      this.floors.set(f.id, Math.max(...own.map(s => s?.floor ?? Number.NEGATIVE_INFINITY)));
    }
    const { position } = await this.online.read(groups.map(group => ({ group, key: '', at: 0, units: [] })));
    return position;
  }

  /** What of a row can be compared; `skipped` are those behind the retention or in backfill. */
  question(row: SampleRow): { question: Question; skipped: string[] } {
    const { registry } = this.compiled;
    const ready = this.plan.windows.filter(f => !this.unready.has(f.id));
    const { ask } = askable(registry, ready, this.floors, row);
    const can = new Set(ask.map(f => f.id));
    const ids: string[] = [];
    const skipped: string[] = [];
    for (const id of this.asked) {
      const windows = this.below.get(id)!;
      if (registry.features[id]!.kind === 'derive' && !this.requests.has(id)) continue;
      if (windows.some(f => registry.entities[f.entity]!.key.some(c => row.row[c] === undefined))) continue;
      (windows.every(f => can.has(f.id)) ? ids : skipped).push(id);
    }
    return { question: { ...row, ids }, skipped };
  }

  private request(): Record<string, unknown> {
    return Object.assign({}, ...this.requests.values());
  }

  /** Null when the store no longer keeps what the row needs (its floor moved since the question was put). */
  async readOnline(question: Question): Promise<Answered | null> {
    try {
      const { cells, position } = await this.reader.read({ features: question.ids, rows: [question.row], at: question.at, request: this.request() });
      return cells[0]!.some(c => c.reason?.endsWith('AS_OF_EXPIRED')) ? null : { question, cells: cells[0]!, position };
    } catch (e) {
      if (e instanceof FabraError && e.code === 'AS_OF_EXPIRED') return null;
      throw e;
    }
  }

  /** Cells by feature id, one map per row. */
  async readOffline(view: HistoryView, rows: readonly SampleRow[]): Promise<Map<string, Cell>[]> {
    const { registry } = this.compiled;
    const { windows } = this.plan;
    const keys: Record<string, (string[] | null)[]> = {};
    for (const entity of new Set(windows.map(f => f.entity))) {
      const columns = registry.entities[entity]!.key;
      keys[entity] = rows.map(({ row }) => (columns.every(c => row[c] !== undefined) ? columns.map(c => row[c]!) : null));
    }
    const cells = windows.length === 0 ? [] : await view.ask(windows, { at: rows.map(r => r.at), keys }, true);
    return rows.map((r, i) => {
      const known = new Map(windows.map((f, c) => [f.id, cells[c]![i]!]));
      runDerive(this.plan, known, this.request(), r.at);
      return known;
    });
  }
}

const CANDIDATES = [1.5, 1, 'x', true, '2025-01-01', 'a@b.co'];

/** Request data that the schema takes: both sides get the same, so any will do. */
function requestFor(fields: readonly { name: string; required: boolean }[], schema: { safeParse(input: unknown): { success: boolean } } | null): Record<string, unknown> | null {
  const named = (pick: (name: string) => unknown, all: boolean) => Object.fromEntries(fields.filter(f => all || f.required).map(f => [f.name, pick(f.name)]));
  if (!schema) return {};
  for (const all of [true, false]) for (const v of CANDIDATES) if (schema.safeParse(named(() => v, all)).success) return named(() => v, all);
  return fields.some(f => f.required) ? null : {};
}
