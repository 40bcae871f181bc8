/**
 * A group: all window features of one entity over one stream share one state per key. Raw rows are stored once, however
 * many windows look at them. Compiled from the registry; the same registry gives the same group on every machine.
 */
import { sha256 } from '../lib/hash.ts';
import { canonicalJson } from '../lib/json.ts';
import { HOUR } from '../lib/duration.ts';
import type { AggOp, AggPlan, ColumnKind, FramePlan, Registry, WindowFeaturePlan } from '../registry/types.ts';
import { compileFilter, type Predicate } from './filter.ts';

/** Detail is kept this much longer than the largest frame and the lateness need. */
export const SLACK = HOUR;

export type Family = 'count' | 'sum' | 'squares' | 'min' | 'max' | 'oldest' | 'newest' | 'bag' | 'hll' | 'buckets';

export interface Slot {
  index: number;
  op: AggOp;
  family: Family;
  /** Index into the group's columns, -1 for none. */
  column: number;
  /** Bit i: events of `types[i]` count. */
  types: number;
  skipsNull: boolean;
  where: Predicate | null;
  n: number;
  q: { num: number; den: number } | null;
  cap: number;
  /** Inner nodes of the state keep this slot's accumulator; others are read from the rows. */
  tiled: boolean;
}

export interface Frame {
  index: number;
  plan: FramePlan;
  /** Bit mask of types that delimit a session. */
  types: number;
}

/** One accumulator a read fills: a slot over a frame. */
export interface Unit {
  index: number;
  slot: Slot;
  frame: Frame;
}

export interface GroupColumn {
  name: string;
  kind: ColumnKind;
  places: number;
}

export interface Group {
  /** `entity/stream`. */
  id: string;
  entity: string;
  stream: string;
  keyColumns: string[];
  /** Event types with state here, sorted; at most 32. */
  types: string[];
  columns: GroupColumn[];
  slots: Slot[];
  frames: Frame[];
  units: Unit[];
  /** Largest span a read at T looks back, plus lateness and slack: detail older than this behind the stream may go. */
  retention: number;
  /** Lifetime values or sessions outlive the detail: dropped rows are folded into a base. */
  needsBase: boolean;
  /** What the stored bytes mean: another hash is another state. */
  hash: string;
}

/** Where a feature's sides are found. */
export interface FeatureUnits {
  feature: WindowFeaturePlan;
  num: { group: string; unit: number };
  den: { group: string; unit: number } | null;
  /** Newest event of the feature's types before T, filter not applied; empty unless lifetime or session. */
  seen: { group: string; unit: number }[];
}

export interface Groups {
  groups: Map<string, Group>;
  features: Map<string, FeatureUnits>;
}

const FAMILY: Record<AggOp, Family> = {
  count: 'count',
  span: 'count',
  sum: 'sum',
  avg: 'sum',
  stddev: 'squares',
  min: 'min',
  max: 'max',
  first: 'oldest',
  firstN: 'oldest',
  last: 'newest',
  lastN: 'newest',
  countDistinct: 'bag',
  topK: 'bag',
  percentile: 'bag',
  approxCountDistinct: 'hll',
  approxPercentile: 'buckets',
};
const KEEPS_NULL = new Set<AggOp>(['count', 'span', 'first', 'last', 'firstN', 'lastN']);
/** A bag per tile would be rewritten at every event of a hot key; rows are read instead (docs/decisions/0001). */
const UNTILED = new Set<Family>(['oldest', 'newest', 'bag']);

export function compileGroups(registry: Registry): Groups {
  const windows = Object.values(registry.features).filter(f => f.kind === 'window');
  const builders = new Map<string, GroupBuilder>();
  const builder = (entity: string, stream: string) => {
    const id = `${entity}/${stream}`;
    let b = builders.get(id);
    if (!b) builders.set(id, (b = new GroupBuilder(registry, id, entity, stream)));
    return b;
  };
  for (const f of windows) for (const side of sidesOf(f)) builder(f.entity, side.stream).collect(f, side);
  const features = new Map<string, FeatureUnits>();
  for (const f of windows) features.set(f.id, unitsOf(f, builder));
  const groups = new Map([...builders].map(([id, b]) => [id, b.finish()]));
  shareRetention(groups);
  return { groups, features };
}

/** All groups of a stream keep as much as the one that needs most: an `as_of` that one entity can answer, all can. */
function shareRetention(groups: Map<string, Group>): void {
  for (const g of groups.values()) for (const other of groups.values()) if (other.stream === g.stream && other.retention > g.retention) g.retention = other.retention;
}

/** A feature's aggregates: one, or a ratio's two. */
export const sidesOf = (f: WindowFeaturePlan): AggPlan[] => (f.agg.op === 'ratio' ? [f.agg.num, f.agg.den] : [f.agg]);

function unitsOf(f: WindowFeaturePlan, builder: (entity: string, stream: string) => GroupBuilder): FeatureUnits {
  const sides = sidesOf(f);
  const sessionTypes = [...new Set(sides.flatMap(s => s.events))].sort();
  const at = (side: AggPlan, frame: FramePlan) => {
    const b = builder(f.entity, side.stream);
    return { group: b.id, unit: b.unit(side, frame, sessionTypes) };
  };
  const outlives = f.frame.kind === 'lifetime' || f.frame.kind === 'session';
  const seen = outlives ? sides.map(s => at({ op: 'count', stream: s.stream, events: f.frame.kind === 'session' ? sessionTypes : s.events }, { kind: 'lifetime' })) : [];
  return { feature: f, num: at(sides[0]!, f.frame), den: sides[1] ? at(sides[1], f.frame) : null, seen };
}

/** How far before T a frame may start; lifetime and sessions are carried by the base instead. */
export function reach(frame: FramePlan): number {
  if (frame.kind === 'over') return frame.w;
  if (frame.kind === 'tumbling') return frame.previous ? 2 * frame.w : frame.w;
  if (frame.kind === 'hopping') return frame.w + frame.h;
  return 0;
}

class GroupBuilder {
  readonly id: string;
  private readonly entity: string;
  private readonly stream: string;
  private readonly registry: Registry;
  private readonly types = new Set<string>();
  private readonly columns = new Map<string, GroupColumn>();
  private readonly slotKeys = new Map<string, Slot>();
  private readonly frameKeys = new Map<string, Frame>();
  private readonly unitKeys = new Map<string, Unit>();
  private sealed: { types: string[]; columns: GroupColumn[] } | null = null;

  constructor(registry: Registry, id: string, entity: string, stream: string) {
    this.registry = registry;
    this.id = id;
    this.entity = entity;
    this.stream = stream;
  }

  /** First pass: which types and columns the rows must hold. */
  collect(f: WindowFeaturePlan, side: AggPlan): void {
    const delimiting = f.frame.kind === 'session' ? sidesOf(f).flatMap(s => s.events) : [];
    for (const t of [...side.events, ...delimiting]) this.types.add(t);
    if (side.column) this.addColumn(side.column.name, side.events);
    for (const name of filterColumns(side.where)) this.addColumn(name, side.events);
  }

  private addColumn(name: string, events: string[]): void {
    const plan = this.registry.events[`${this.stream}/${events[0]}`]?.columns.find(c => c.name === name);
    if (plan) this.columns.set(columnKey(plan), { name, kind: plan.kind, places: plan.places ?? 0 });
  }

  private layout(): { types: string[]; columns: GroupColumn[] } {
    this.sealed ??= {
      types: [...this.types].sort(),
      columns: [...this.columns.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, c]) => c),
    };
    return this.sealed;
  }

  private columnIndex(name: string, events: string[]): number {
    const plan = this.registry.events[`${this.stream}/${events[0]}`]?.columns.find(c => c.name === name);
    const key = plan && columnKey(plan);
    return this.layout().columns.findIndex(c => columnKey(c) === key);
  }

  private mask(events: string[]): number {
    return events.reduce((m, t) => m | (1 << this.layout().types.indexOf(t)), 0);
  }

  /** Second pass: the index of the accumulator for an aggregate over a frame. */
  unit(agg: AggPlan, plan: FramePlan, sessionTypes: string[]): number {
    const slot = this.slot(agg);
    const frame = this.frame(plan, plan.kind === 'session' ? sessionTypes : []);
    const key = `${slot.index}/${frame.index}`;
    let unit = this.unitKeys.get(key);
    if (!unit) this.unitKeys.set(key, (unit = { index: this.unitKeys.size, slot, frame }));
    return unit.index;
  }

  private slot(agg: AggPlan): Slot {
    const key = canonicalJson(agg);
    const found = this.slotKeys.get(key);
    if (found) return found;
    const family = FAMILY[agg.op];
    const slot: Slot = {
      index: this.slotKeys.size,
      op: agg.op,
      family,
      column: agg.column ? this.columnIndex(agg.column.name, agg.events) : -1,
      types: this.mask(agg.events),
      skipsNull: !KEEPS_NULL.has(agg.op),
      where: agg.where ? compileFilter(agg.where, name => this.columnIndex(name, agg.events)) : null,
      n: agg.n ?? 1,
      q: agg.q ?? null,
      cap: agg.cap ?? 100_000,
      tiled: !UNTILED.has(family),
    };
    this.slotKeys.set(key, slot);
    return slot;
  }

  private frame(plan: FramePlan, types: string[]): Frame {
    const key = canonicalJson({ plan, types });
    let frame = this.frameKeys.get(key);
    if (!frame) this.frameKeys.set(key, (frame = { index: this.frameKeys.size, plan, types: types.length ? this.mask(types) : 0 }));
    return frame;
  }

  finish(): Group {
    const { types, columns } = this.layout();
    const frames = [...this.frameKeys.values()];
    const stream = this.registry.streams[this.stream]!;
    const entity = this.registry.entities[this.entity]!;
    const means = { columns, types, key: entity.key, slots: [...this.slotKeys.keys()], frames: [...this.frameKeys.keys()], units: [...this.unitKeys.keys()] };
    return {
      id: this.id,
      entity: this.entity,
      stream: this.stream,
      keyColumns: entity.key,
      types,
      columns,
      slots: [...this.slotKeys.values()],
      frames,
      units: [...this.unitKeys.values()],
      retention: Math.max(0, ...frames.map(f => reach(f.plan))) + stream.lateness + SLACK,
      needsBase: frames.some(f => f.plan.kind === 'lifetime' || f.plan.kind === 'session'),
      // The whole stream's decoding counts: what another event type lets through moves the max that decides lateness here.
      hash: sha256(canonicalJson({ means, stream })).slice(0, 16),
    };
  }
}

const columnKey = (c: { name: string; kind: ColumnKind; places?: number }): string => `${c.name}\u0000${c.kind}${c.places ?? 0}`;

function filterColumns(f: AggPlan['where']): string[] {
  if (!f) return [];
  if ('args' in f) return f.args.flatMap(filterColumns);
  if ('arg' in f) return filterColumns(f.arg);
  return [f.column];
}
