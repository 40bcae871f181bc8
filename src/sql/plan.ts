/**
 * What to compute for a list of window features: per group (entity, stream) the distinct matches, slots, instants and
 * tasks, so that four hundred features cost a few passes. Pure; the SQL texts are made in group.ts and lists.ts.
 */
import type { AggOp, AggPlan, ColumnKind, FilterPlan, FramePlan, Registry, WindowFeaturePlan } from '../registry/types.ts';
import { columnPlans } from './columns.ts';

/** Events of some types that pass a filter: one boolean column. */
export interface Match {
  types: string[];
  where?: FilterPlan;
}

export interface Column {
  name: string;
  kind: ColumnKind;
  places?: number;
}

/**
 * A running count of the events of a match (where `column` >= 0: of those with a value there). The count is also the
 * event's position among them, which is how the lists of a frame are addressed.
 */
export interface Slot {
  match: number;
  column: number;
  newest: boolean;
}

/** Running sums of a column over the events of a match. */
export interface Total {
  match: number;
  column: number;
  squares: boolean;
}

/** A session is delimited by the events of a match in a group; a ratio over two streams has two such parts. */
export interface SessionPart {
  group: number;
  match: number;
}

/** An instant a frame starts or ends at. */
export type Instant = { kind: 'at'; frame: FramePlan; edge: 'start' | 'end' } | { kind: 'session'; gap: number; parts: SessionPart[] };

export type TaskKind = 'extremes' | 'distinct' | 'first' | 'last' | 'oldest' | 'topK' | 'percentile' | 'list';

/** What running totals cannot give: one result column per span, an (offset into the slot's positions) pair of instants. */
export interface Task {
  kind: TaskKind;
  slot: number;
  column: number;
  spans: [number, number][];
  n: number;
  q: { num: number; den: number } | null;
  cap: number;
}

export interface Group {
  entity: string;
  stream: string;
  /** Types that any of the entity's features uses: duplicates are judged among these. */
  types: string[];
  matches: Match[];
  columns: Column[];
  slots: Slot[];
  totals: Total[];
  instants: Instant[];
  tasks: Task[];
  /** first and last break ties by id. */
  byId: boolean;
}

/** Where one aggregate's state is found. */
export interface Side {
  agg: AggPlan;
  group: number;
  slot: number;
  /** -1 when no sum is needed. */
  total: number;
  span: [number, number];
  newest: boolean;
  task: { index: number; span: number } | null;
}

/** A slot whose events in the span show that the key was seen. */
export interface Seen {
  group: number;
  slot: number;
  span: [number, number];
}

export interface FeatureSides {
  feature: WindowFeaturePlan;
  num: Side;
  den: Side | null;
  seen: Seen[];
}

/** The groups whose events delimit sessions. */
export function sessionGroups(plan: Plan): Set<number> {
  return new Set(plan.groups.flatMap(g => g.instants.flatMap(i => (i.kind === 'session' ? i.parts.map(p => p.group) : []))));
}

export interface Plan {
  groups: Group[];
  features: FeatureSides[];
}

const KEEPS_NULL = new Set<AggOp>(['count', 'span', 'first', 'last', 'firstN', 'lastN']);
const DEFAULT_CAP = 100_000;
const TASK: Partial<Record<AggOp, TaskKind>> = {
  min: 'extremes',
  max: 'extremes',
  countDistinct: 'distinct',
  first: 'first',
  firstN: 'first',
  last: 'last',
  lastN: 'last',
  span: 'oldest',
  topK: 'topK',
  percentile: 'percentile',
  approxCountDistinct: 'list',
  approxPercentile: 'list',
};

export function sidesOf(feature: WindowFeaturePlan): AggPlan[] {
  return feature.agg.op === 'ratio' ? [feature.agg.num, feature.agg.den] : [feature.agg];
}

/** `wantTs: false` leaves out the newest time of windows, which is a running column per slot. */
export function planFeatures(registry: Registry, features: readonly WindowFeaturePlan[], wantTs: boolean): Plan {
  const builders: GroupBuilder[] = [];
  const builder = (entity: string, stream: string): number => {
    const at = builders.findIndex(b => b.group.entity === entity && b.group.stream === stream);
    return at >= 0 ? at : builders.push(new GroupBuilder(registry, entity, stream)) - 1;
  };
  const planned = features.map(feature => {
    const aggs = sidesOf(feature);
    const ages = feature.frame.kind === 'lifetime' || feature.frame.kind === 'session';
    const types = (stream: string): string[] => [...new Set(aggs.filter(a => a.stream === stream).flatMap(a => a.events))].sort();
    const streams = [...new Set(aggs.map(a => a.stream))];
    const parts = feature.frame.kind === 'session' ? streams.map(s => ({ group: builder(feature.entity, s), types: types(s) })) : [];
    const session = parts.map(({ group, types }) => ({ group, match: (builders[group] as GroupBuilder).match(types) }));
    const side = (agg: AggPlan): Side => {
      const group = builder(feature.entity, agg.stream);
      return { group, ...(builders[group] as GroupBuilder).side(agg, feature.frame, session, wantTs || ages) };
    };
    const seen = (stream: string): Seen => {
      const group = builder(feature.entity, stream);
      return { group, ...(builders[group] as GroupBuilder).seen(feature.frame, types(stream), session) };
    };
    return { feature, num: side(aggs[0] as AggPlan), den: aggs[1] ? side(aggs[1]) : null, seen: ages ? streams.map(seen) : [] };
  });
  return { groups: builders.map(b => b.group), features: planned };
}

/** Index of the item in the list with that key, added when new. */
class Interned<T> {
  private readonly known = new Map<string, number>();
  readonly items: T[];
  constructor(items: T[]) {
    this.items = items;
  }
  add(key: unknown, make: () => T): number {
    const id = JSON.stringify(key);
    const found = this.known.get(id);
    if (found !== undefined) return found;
    this.known.set(id, this.items.length);
    return this.items.push(make()) - 1;
  }
}

class GroupBuilder {
  readonly group: Group;
  private readonly registry: Registry;
  private readonly matches: Interned<Match>;
  private readonly columns: Interned<Column>;
  private readonly slots: Interned<Slot>;
  private readonly totals: Interned<Total>;
  private readonly instants: Interned<Instant>;
  private readonly tasks: Interned<Task>;

  constructor(registry: Registry, entity: string, stream: string) {
    this.registry = registry;
    const types = Object.values(registry.features).flatMap(f => (f.kind === 'window' && f.entity === entity ? sidesOf(f).flatMap(a => (a.stream === stream ? a.events : [])) : []));
    const group: Group = {
      entity,
      stream,
      types: [...new Set(types)].sort(),
      matches: [],
      columns: [],
      slots: [],
      totals: [],
      instants: [],
      tasks: [],
      byId: false,
    };
    this.group = group;
    this.matches = new Interned(group.matches);
    this.columns = new Interned(group.columns);
    this.slots = new Interned(group.slots);
    this.totals = new Interned(group.totals);
    this.instants = new Interned(group.instants);
    this.tasks = new Interned(group.tasks);
  }

  side(agg: AggPlan, frame: FramePlan, session: SessionPart[], wantTs: boolean): Omit<Side, 'group'> {
    const match = this.match(agg.events, agg.where);
    const column = agg.column ? this.column(agg.column) : -1;
    const slot = this.slot(match, KEEPS_NULL.has(agg.op) || !this.nullable(agg) ? -1 : column);
    const newest = wantTs || agg.op === 'span';
    if (newest) (this.group.slots[slot] as Slot).newest = true;
    const summed = agg.op === 'sum' || agg.op === 'avg' || agg.op === 'stddev';
    const total = summed ? this.totals.add([match, column], () => ({ match, column, squares: false })) : -1;
    if (agg.op === 'stddev') (this.group.totals[total] as Total).squares = true;
    const span = this.span(frame, session);
    return { agg, slot, total, span, newest, task: this.task(agg, slot, column, span) };
  }

  seen(frame: FramePlan, types: string[], session: SessionPart[]): Omit<Seen, 'group'> {
    return { slot: this.slot(this.match(types), -1), span: this.span(frame, session) };
  }

  match(types: string[], where?: FilterPlan): number {
    return this.matches.add([types, where ?? null], () => ({ types, ...(where && { where }) }));
  }

  private column(c: Column): number {
    return this.columns.add([c.name, c.kind, c.places ?? 0], () => c);
  }

  private slot(match: number, column: number): number {
    return this.slots.add([match, column], () => ({ match, column, newest: false }));
  }

  /** A column that can never be null shares the count of the match. */
  private nullable(agg: AggPlan): boolean {
    return agg.events.some(type => {
      const plans = columnPlans(this.registry, agg.stream, [type], agg.column?.name ?? '');
      return plans.length !== 1 || plans[0]?.nullable !== false;
    });
  }

  private instant(instant: Instant): number {
    return this.instants.add(instant, () => instant);
  }

  private span(frame: FramePlan, session: SessionPart[]): [number, number] {
    const end = this.instant({ kind: 'at', frame: endOf(frame), edge: 'end' });
    if (frame.kind === 'session') return [this.instant({ kind: 'session', gap: frame.gap, parts: session }), end];
    return [this.instant({ kind: 'at', frame, edge: 'start' }), end];
  }

  private task(agg: AggPlan, slot: number, column: number, span: [number, number]): Side['task'] {
    const kind = TASK[agg.op];
    if (kind === undefined) return null;
    if (kind === 'first' || kind === 'last') this.group.byId = true;
    const n = agg.n ?? 1;
    const q = kind === 'percentile' ? (agg.q ?? null) : null;
    const cap = kind === 'percentile' ? (agg.cap ?? DEFAULT_CAP) : 0;
    const index = this.tasks.add([kind, slot, column, n, q, cap], () => ({ kind, slot, column, spans: [], n, q, cap }));
    const spans = (this.group.tasks[index] as Task).spans;
    const at = spans.findIndex(s => s[0] === span[0] && s[1] === span[1]);
    return { index, span: at >= 0 ? at : spans.push(span) - 1 };
  }
}

/** Frames that end at T share that instant; the others end where their buckets do. */
function endOf(frame: FramePlan): FramePlan {
  if (frame.kind === 'hopping') return { kind: 'hopping', w: 0, h: frame.h };
  if (frame.kind === 'tumbling' && frame.previous) return { kind: 'hopping', w: 0, h: frame.w };
  return { kind: 'lifetime' };
}

/** The cap of a percentile, declared or default. */
export function capOf(agg: AggPlan): number {
  return agg.cap ?? DEFAULT_CAP;
}
