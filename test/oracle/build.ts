/** Registries and logs by hand, for tests. Nothing is checked: the plans are taken as given. */
import type { ColumnValue } from '../../src/engine/values.ts';
import type {
  AggPlan,
  ColumnKind,
  ColumnPlan,
  EntityPlan,
  EventPlan,
  FeaturePlan,
  FramePlan,
  RatioPlan,
  Registry,
  StreamPlan,
  ValueType,
  WindowFeaturePlan,
} from '../../src/registry/types.ts';
import type { LogEvent } from './admission.ts';

export const SECOND = 1000;
export const MINUTE = 60_000;
export const HOUR = 3_600_000;
export const DAY = 86_400_000;

/** A column by kind and places: `decimal(2)` is `column('price', 'decimal', 2)`. Nullable unless said. */
export function column(name: string, kind: ColumnKind, places?: number, nullable = true): ColumnPlan {
  const scaled = kind === 'decimal' ? { places: places ?? 6 } : kind === 'int' || kind === 'int64' ? { places: 0 } : {};
  return { name, kind, ...scaled, nullable };
}

/** The `column` member of an aggregate. */
export function of(plan: ColumnPlan): NonNullable<AggPlan['column']> {
  return { name: plan.name, kind: plan.kind, ...(plan.places === undefined ? {} : { places: plan.places }) };
}

export function entityPlan(name: string, key: string[], ttl: number | null = null): EntityPlan {
  return { name, key, ttl };
}

export function streamPlan(name: string, options: Partial<StreamPlan> = {}): StreamPlan {
  const defaults = { id: { column: 'event_id' }, time: 'event_ts', type: 'event_type', lateness: 10 * MINUTE, maxAhead: null };
  return { name, ...defaults, decode: `decode-${name}`, ...options };
}

export function eventPlan(stream: string, type: string, columns: ColumnPlan[]): EventPlan {
  const sorted = [...columns].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { stream, type, columns: sorted, input: sorted, code: null };
}

type Options = Partial<Pick<WindowFeaturePlan, 'ttl' | 'default'>>;

export function featurePlan(entity: string, name: string, agg: AggPlan | RatioPlan, frame: FramePlan, options: Options = {}): WindowFeaturePlan {
  const id = `${entity}.${name}`;
  return { id, entity, name, ttl: null, type: valueType(agg), fingerprint: `fp-${id}`, version: 1, ...options, kind: 'window', agg, frame };
}

export function valueType(agg: AggPlan | RatioPlan): ValueType {
  const list = agg.op === 'firstN' || agg.op === 'lastN' || agg.op === 'topK';
  switch (agg.op) {
    case 'count':
    case 'countDistinct':
    case 'approxCountDistinct':
      return { base: 'int', list };
    case 'ratio':
    case 'avg':
    case 'stddev':
    case 'span':
      return { base: 'number', list };
    default:
      return { base: baseOf(agg.column?.kind as ColumnKind), list };
  }
}

function baseOf(kind: ColumnKind): ValueType['base'] {
  return kind === 'bool' ? 'boolean' : kind === 'decimal' ? 'number' : kind;
}

/** All parts together; one service `all` of every feature. */
export function registry(parts: { entities: EntityPlan[]; streams: StreamPlan[]; events: EventPlan[]; features: FeaturePlan[] }): Registry {
  const byKey = <V>(values: V[], key: (v: V) => string): Record<string, V> => Object.fromEntries(values.map(v => [key(v), v] as const).sort(([a], [b]) => (a < b ? -1 : 1)));
  const order = parts.features.map(f => f.id).sort();
  return {
    format: 1,
    hash: 'hash-of-a-test-registry',
    entities: byKey(parts.entities, e => e.name),
    streams: byKey(parts.streams, s => s.name),
    events: byKey(parts.events, e => `${e.stream}/${e.type}`),
    sources: {},
    views: {},
    features: byKey(parts.features, f => f.id),
    services: { all: { name: 'all', features: order } },
    order,
  };
}

export type Columns = Record<string, ColumnValue>;

/** One event of a hand-written log; `logOf` gives it its offset and, unless said, its id and append time. */
export interface Draft extends Partial<Omit<LogEvent, 'ts' | 'type' | 'columns'>> {
  ts: number;
  type: string;
  columns: Columns;
}

export function ev(type: string, ts: number, columns: Columns, rest: Partial<LogEvent> = {}): Draft {
  return { type, ts, columns, ...rest };
}

/** Offsets count per partition from 0 in the order given; ids `e0`, `e1`, ... by position. */
export function logOf(drafts: Draft[]): LogEvent[] {
  const next = new Map<number, number>();
  return drafts.map((draft, i) => {
    const p = draft.p ?? 0;
    const o = draft.o ?? next.get(p) ?? 0;
    next.set(p, o + 1);
    return { appended: draft.ts + 1, id: `e${i}`, ...draft, p, o };
  });
}
