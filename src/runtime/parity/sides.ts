/** The two sides of a comparison: what the online store answers, and what history computes, for rows of keys and instants. */
import type { Group } from '../../engine/group.ts';
import { compileUnits, type FoldUnit } from '../../engine/units.ts';
import type { Cell } from '../../engine/values.ts';
import { FabraError } from '../../lib/errors.ts';
import type { HistoryView } from '../../ports/offline-store.ts';
import type { OnlineStore, Position } from '../../ports/online-store.ts';
import type { WindowFeaturePlan } from '../../registry/types.ts';
import { type DerivePlan, derivePlan, runDerive } from '../derive.ts';
import type { Compiled } from '../project.ts';
import { FeatureReader } from '../reader.ts';
import { askable, type Replayable, type SampleRow } from './sample.ts';

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
  readonly groups: readonly Group[];
  readonly folds: readonly FoldUnit[];
  /** Windows and folds needed, each once. */
  readonly stored: readonly Replayable[];
  /** Feature id -> instant below which its detail is gone. */
  readonly floors = new Map<string, number>();
  /** Folds: below about this instant most keys are settled into snapshots, which say nothing of the time before. */
  readonly settled = new Map<string, number>();
  /** Features whose backfill is still on its way, or whose state the store has not. */
  readonly unready = new Set<string>();
  /** Derived feature id -> request data; absent when none could be made up. */
  readonly requests = new Map<string, Record<string, unknown>>();
  private readonly online: OnlineStore;
  /** Windows and folds below each asked id. */
  private readonly below = new Map<string, Replayable[]>();

  constructor(online: OnlineStore, compiled: Compiled, asked: readonly string[]) {
    this.online = online;
    this.compiled = compiled;
    this.asked = asked;
    this.plan = derivePlan(compiled.registry, compiled.code, asked);
    this.reader = new FeatureReader({ online }, compiled.registry, compiled.code);
    this.groups = [...this.reader.groups.groups.values()];
    this.stored = storedOf(this.plan);
    const needed = new Set(this.stored.map(f => f.id));
    this.folds = compileUnits(compiled.registry, compiled.code).folds.filter(u => needed.has(u.id));
    for (const id of asked) this.below.set(id, storedOf(derivePlan(compiled.registry, compiled.code, [id])));
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
    const status = new Map(await Promise.all(this.groups.map(async g => [g, await this.online.groupStatus(g)] as const)));
    for (const f of this.plan.windows) {
      const own = this.groupsOf(f).map(g => status.get(g));
      if (own.some(s => !s?.ready)) this.unready.add(f.id);
      this.floors.set(f.id, Math.max(...own.map(s => s?.floor ?? Number.NEGATIVE_INFINITY)));
    }
    for (const unit of this.folds) await this.lookAt(unit);
    const { position } = await this.online.read(
      this.groups.map(group => ({ group, key: '', at: 0, units: [] })),
      { folds: this.folds.map(unit => ({ unit, key: '', at: 0 })), tables: [] },
    );
    return position;
  }

  private async lookAt(unit: FoldUnit): Promise<void> {
    const status = await Promise.all(unit.streams.map(s => this.online.groupStatus(unit, s)));
    if (status.some(s => !s?.ready)) this.unready.add(unit.id);
    this.floors.set(unit.id, Math.max(...status.map(s => s?.floor ?? Number.NEGATIVE_INFINITY)));
    const newest = status.map(s => s?.marks[0]?.admit.max ?? null).filter(t => t !== null);
    if (newest.length > 0) this.settled.set(unit.id, Math.min(...newest) - unit.retention);
  }

  /** What of a row can be compared; `skipped` are those behind the retention or in backfill. */
  question(row: SampleRow): { question: Question; skipped: string[] } {
    const { registry } = this.compiled;
    const ready = this.stored.filter(f => !this.unready.has(f.id));
    const { ask } = askable(registry, ready, this.floors, row);
    const can = new Set(ask.map(f => f.id));
    const ids: string[] = [];
    const skipped: string[] = [];
    for (const id of this.asked) {
      const below = this.below.get(id)!;
      const f = registry.features[id]!;
      if (f.kind === 'derive' && !this.requests.has(id)) continue;
      if ([f, ...below].some(x => registry.entities[x.entity]!.key.some(c => row.row[c] === undefined))) continue;
      (below.every(x => can.has(x.id)) ? ids : skipped).push(id);
    }
    return { question: { ...row, ids }, skipped };
  }

  private request(): Record<string, unknown> {
    return Object.assign({}, ...this.requests.values());
  }

  /** Without those that the store no longer keeps what they need for (a floor moved, or a key's fold is settled beyond T). */
  async readOnline(question: Question): Promise<{ answered: Answered | null; expired: string[] }> {
    try {
      const { cells, position } = await this.reader.read({ features: question.ids, rows: [question.row], at: question.at, request: this.request() });
      const kept = question.ids.map((id, i) => ({ id, cell: cells[0]![i]! })).filter(({ cell }) => !cell.reason?.endsWith('AS_OF_EXPIRED'));
      const ids = kept.map(k => k.id);
      const expired = question.ids.filter(id => !ids.includes(id));
      return { answered: kept.length === 0 ? null : { question: { ...question, ids }, cells: kept.map(k => k.cell), position }, expired };
    } catch (e) {
      if (e instanceof FabraError && e.code === 'AS_OF_EXPIRED') return { answered: null, expired: question.ids };
      throw e;
    }
  }

  /** Cells by feature id, one map per row. */
  async readOffline(view: HistoryView, rows: readonly SampleRow[]): Promise<Map<string, Cell>[]> {
    const { registry } = this.compiled;
    const { stored } = this;
    const keys: Record<string, (string[] | null)[]> = {};
    for (const entity of new Set(stored.map(f => f.entity))) {
      const columns = registry.entities[entity]!.key;
      keys[entity] = rows.map(({ row }) => (columns.every(c => row[c] !== undefined) ? columns.map(c => row[c]!) : null));
    }
    const cells = stored.length === 0 ? [] : await view.ask(stored, { at: rows.map(r => r.at), keys }, true);
    return rows.map((r, i) => {
      const known = new Map(stored.map((f, c) => [f.id, cells[c]![i]!]));
      runDerive(this.plan, known, this.request(), r.at, r.row);
      return known;
    });
  }
}

const storedOf = (plan: DerivePlan): Replayable[] => [...plan.windows, ...plan.others.filter(f => f.kind === 'fold')];

const CANDIDATES = [1.5, 1, 'x', true, '2025-01-01', 'a@b.co'];

/** Request data that the schema takes: both sides get the same, so any will do. */
function requestFor(fields: readonly { name: string; required: boolean }[], schema: { safeParse(input: unknown): { success: boolean } } | null): Record<string, unknown> | null {
  const named = (pick: (name: string) => unknown, all: boolean) => Object.fromEntries(fields.filter(f => all || f.required).map(f => [f.name, pick(f.name)]));
  if (!schema) return {};
  for (const all of [true, false]) for (const v of CANDIDATES) if (schema.safeParse(named(() => v, all)).success) return named(() => v, all);
  return fields.some(f => f.required) ? null : {};
}
