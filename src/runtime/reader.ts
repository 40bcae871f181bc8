/** Reading features: one planned read of all state, live views beside it, then derived features, what can at once. */
import { compileGroups, type Groups } from '../engine/group.ts';
import { compileUnits, type Units } from '../engine/units.ts';
import type { Cell } from '../engine/values.ts';
import { systemClock } from '../lib/clock.ts';
import { FabraError } from '../lib/errors.ts';
import { silentLogger } from '../lib/log.ts';
import { suggest } from '../lib/text.ts';
import { iso } from '../lib/time.ts';
import type { OnlineStore, Position } from '../ports/online-store.ts';
import type { FeaturePlan, Registry } from '../registry/types.ts';
import { type DeriveRow, runDerives } from './derive.ts';
import type { Project, RuntimeCode } from './project.ts';
import { type Answered, Asks, rowsOf } from './read/ask.ts';
import type { LiveParts } from './read/live.ts';
import { OnDemand } from './read/on-demand.ts';
import { type FeatureRef, readPlan, type ReadPlan, scopeName } from './read/plan.ts';
import { EXPIRED, floorOf, type RowAnswers, storedCell } from './read/stored.ts';
import { Watch } from './read/watch.ts';

export { keyFrom } from './read/ask.ts';
export type { FeatureRef } from './read/plan.ts';

export interface FeatureQuery {
  /** Feature ids (`entity.name`), or with other key columns. */
  features: readonly (string | FeatureRef)[];
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

/** Without `tables`, live views give their defaults; without a clock or a log, the machine's and none. */
type Stores = Pick<Project, 'online'> & Partial<Pick<Project, 'tables' | 'clock' | 'log'>>;

const NO_VIEWS: Answered['views'] = [];

export class FeatureReader {
  readonly registry: Registry;
  readonly groups: Groups;
  /** What became of on-demand values. */
  readonly watch: Watch;
  private readonly online: OnlineStore;
  private readonly code: RuntimeCode;
  private readonly units: Units;
  private readonly onDemand: OnDemand;
  private readonly live: LiveParts;
  private readonly plans = new Map<string, ReadPlan>();

  constructor(project: Stores, registry: Registry, code: RuntimeCode) {
    const { clock = systemClock, log = silentLogger, tables } = project;
    this.online = project.online;
    this.registry = registry;
    this.code = code;
    this.groups = compileGroups(registry);
    this.units = compileUnits(registry, code);
    this.watch = new Watch(clock, log);
    this.onDemand = new OnDemand({ clock, watch: this.watch });
    this.live = { tables, registry, code, clock, watch: this.watch };
  }

  /**
   * Values with status and time for every row. A feature that needs dropped detail is ERROR(AS_OF_EXPIRED).
   * @throws FabraError UNKNOWN_FEATURE; AS_OF_EXPIRED when that is all there is to a row; STORE_FAILED.
   */
  async read(query: FeatureQuery): Promise<FeatureAnswer> {
    const plan = this.plan(query.features);
    const { rows, at } = query;
    const asks = new Asks(this.registry);
    const scopes = plan.scopes.map(scope => {
      const seen = rowsOf(scope, rows);
      return { scope, rows: seen, answers: asks.add(scope, seen, at) };
    });
    const live = asks.live.empty ? null : asks.live.run(this.live, at);
    const stored = asks.folds.length + asks.tables.length === 0 ? await this.online.read(asks.items) : await this.online.read(asks.items, asks);
    const answered: Answered = { items: stored.answers, folds: stored.folds, tables: stored.tables, views: live === null ? NO_VIEWS : await live };
    const known = rows.map((_, r) => {
      const mine = scopes.map(s => s.answers(answered, r));
      const cells = scopes.map(({ scope }, i) => {
        const out = new Map<string, Cell>();
        for (const s of scope.stored) out.set(s.feature.id, storedCell(s, mine[i]!, at));
        return out;
      });
      refuseExpired(plan, mine, cells, at);
      return cells;
    });
    const waiting: Promise<void>[] = [];
    scopes.forEach(({ scope, rows: seen }, i) => {
      if (scope.derive.steps.length === 0) return;
      known.forEach((cells, r) => {
        const row: DeriveRow = { request: Array.isArray(query.request) ? query.request[r] : query.request, at, keys: seen[r]! };
        const pending = runDerives(scope.derive, cells[i]!, row, this.onDemand.call);
        if (pending) waiting.push(pending);
      });
    });
    if (waiting.length > 0) await Promise.all(waiting);
    return { cells: known.map(cells => plan.asked.map(a => cells[a.scope]!.get(a.feature.id)!)), position: stored.position };
  }

  /** Forgets on-demand values computed for a key; returns how many. */
  dropCached(entity: string, key: string): number {
    return this.onDemand.drop(entity, key);
  }

  private plan(features: FeatureQuery['features']): ReadPlan {
    const key = nameOf(features);
    let plan = this.plans.get(key);
    if (plan) return plan;
    const { registry, code, groups, units } = this;
    plan = readPlan(
      { registry, code, groups, units },
      features.map(f => (typeof f === 'string' ? { feature: featureOf(registry, f), keys: undefined } : { feature: featureOf(registry, f.id), keys: f.keys })),
    );
    if (this.plans.size > 1_000) this.plans.clear();
    this.plans.set(key, plan);
    return plan;
  }
}

function nameOf(features: FeatureQuery['features']): string {
  let out = '';
  for (const f of features) out += typeof f === 'string' ? `${f}\u0000` : `${f.id}\u0001${scopeName(f.keys)}\u0000`;
  return out;
}

/** One feature behind the retention is its own cell's error; a row with nothing else is the caller's. */
function refuseExpired(plan: ReadPlan, mine: readonly RowAnswers[], known: readonly Map<string, Cell>[], at: number): void {
  let first = -1;
  for (let i = 0; i < plan.scopes.length; i++)
    for (const s of plan.scopes[i]!.stored) {
      if (known[i]!.get(s.feature.id)!.reason !== EXPIRED) return;
      if (first < 0) first = i;
    }
  if (first < 0) return;
  const [s] = plan.scopes[first]!.stored;
  throw new FabraError('AS_OF_EXPIRED', `${s!.feature.id} as of ${iso(at)} needs what was there before ${iso(floorOf(s!, mine[first]!))}, which is no longer kept online`, {
    hint: 'Ask a later instant, or compute it from history: fabra historical.',
  });
}

export function featureOf(registry: Registry, id: string): FeaturePlan {
  const f = registry.features[id];
  if (f) return f;
  throw new FabraError('UNKNOWN_FEATURE', `there is no feature ${JSON.stringify(id)}`, { hint: suggest(id, Object.keys(registry.features)) });
}
