/**
 * The naive oracle: docs/semantics.md read aloud. Lists of events, filter, sort, BigInt. It shares no code with the
 * engines, only their types.
 */
import type { Cell, DecodedEvent, Value, Verdict } from '../../src/engine/values.ts';
import type { AggPlan, EntityPlan, Registry, StreamPlan, WindowFeaturePlan } from '../../src/registry/types.ts';
import { admit, type LogEvent } from './admission.ts';
import { type Approx, aggregate, type Result, ratio } from './aggregate.ts';
import { compareUtf8, isNumber } from './exact.ts';
import { columnOf, passes } from './filter.ts';
import { firstAt, frameAt, within } from './frames.ts';

export type { LogEvent } from './admission.ts';
export type { Approx } from './aggregate.ts';
export { ratioToDouble } from './exact.ts';

export type Log = Record<string, LogEvent[]>;
export type Counters = Record<'read' | 'rejected' | 'quarantined' | 'late' | 'ignored' | 'duplicate' | 'applied' | 'keyless', number>;
export interface Judged {
  event: LogEvent;
  verdict: Verdict;
  /** Applied, with every entity key empty (or no entity to route it to). */
  keyless: boolean;
}

export class Oracle {
  readonly registry: Registry;
  private readonly approx: Approx | undefined;
  private readonly judged = new Map<string, Judged[]>();
  /** entity -> key -> stream -> accepted events. */
  private readonly groups = new Map<string, Map<string, Map<string, DecodedEvent[]>>>();
  private readonly lists = new Map<string, DecodedEvent[]>();

  constructor(registry: Registry, log: Log, options: { approx?: Approx } = {}) {
    this.registry = registry;
    this.approx = options.approx;
    for (const name of Object.keys(registry.entities)) this.groups.set(name, new Map());
    for (const stream of Object.values(registry.streams)) this.judge(stream, log[stream.name] ?? []);
    for (const keys of this.groups.values()) for (const streams of keys.values()) for (const events of streams.values()) events.sort(byTimeThenId);
  }

  /** Every event of the stream, in (partition, offset) order. */
  verdicts(stream: string): Judged[] {
    return this.judged.get(stream) ?? [];
  }

  counters(stream: string): Counters {
    const judged = this.verdicts(stream);
    const of = (verdict: Verdict) => judged.filter(j => j.verdict === verdict).length;
    return {
      read: judged.length,
      rejected: of('rejected'),
      quarantined: of('quarantined'),
      late: of('late'),
      ignored: of('ignored'),
      duplicate: of('duplicate'),
      applied: of('applied'),
      keyless: judged.filter(j => j.keyless).length,
    };
  }

  /** The keys of all accepted events of the entity, in no promised order. */
  keys(entity: string): string[][] {
    return [...(this.groups.get(entity)?.keys() ?? [])].map(text => JSON.parse(text) as string[]);
  }

  /** Accepted and counted once for this key, by (ts, id). Of all types that the entity's features use. */
  accepted(entity: string, key: string[], stream: string): DecodedEvent[] {
    return this.groups.get(entity)?.get(JSON.stringify(key))?.get(stream) ?? [];
  }

  value(featureId: string, key: string[], T: number): Cell {
    const feature = this.registry.features[featureId];
    if (feature === undefined || feature.kind !== 'window') throw new Error(`not a window feature: ${featureId}`);
    const own = this.own(feature, key);
    const frame = frameAt(feature.frame, T, own);
    const side = (agg: AggPlan, name: string) => aggregate(agg, within(this.passing(feature, agg, name, key), frame), this.approx);
    const agg = feature.agg;
    const result = agg.op === 'ratio' ? ratio(agg, side(agg.num, 'num'), side(agg.den, 'den')) : side(agg, 'agg');
    return cellOf(feature, result, firstAt(own, T) > 0, T);
  }

  /** Verdicts of one stream, and its events into the groups of their entity keys. */
  private judge(stream: StreamPlan, events: LogEvent[]): void {
    const judged = admit(stream, events).map(({ event, admission }): Judged => {
      if (admission !== 'onTime') return { event, verdict: admission, keyless: false };
      if (this.users(stream.name, event.type).length === 0) return { event, verdict: 'ignored', keyless: false };
      return this.route(stream.name, event);
    });
    this.judged.set(stream.name, judged);
  }

  /** Called in (partition, offset) order, so the first of two copies is the one with the lowest place. */
  private route(stream: string, event: LogEvent): Judged {
    let routed = 0;
    let counted = 0;
    for (const entity of this.users(stream, event.type)) {
      const key = keyOf(entity, event);
      if (key === null) continue;
      routed += 1;
      if (this.add(entity.name, key, stream, event)) counted += 1;
    }
    const verdict = routed > 0 && counted === 0 ? 'duplicate' : 'applied';
    return { event, verdict, keyless: routed === 0 };
  }

  /** False when the group has an event of this id and time. */
  private add(entity: string, key: string[], stream: string, event: LogEvent): boolean {
    const keys = this.groups.get(entity) as Map<string, Map<string, DecodedEvent[]>>;
    const streams = getOr(keys, JSON.stringify(key), () => new Map<string, DecodedEvent[]>());
    const place = JSON.stringify([entity, key, stream, event.id, event.ts]);
    if (this.seen.has(place)) return false;
    this.seen.add(place);
    getOr(streams, stream, () => []).push(event);
    return true;
  }

  private readonly seen = new Set<string>();

  /** The entities with a window feature that uses this event type. */
  private users(stream: string, type: string): EntityPlan[] {
    return getOr(this.usersOf, JSON.stringify([stream, type]), () =>
      Object.values(this.registry.entities).filter(entity =>
        Object.values(this.registry.features).some(f => f.kind === 'window' && f.entity === entity.name && sides(f).some(a => uses(a, stream, type))),
      ),
    );
  }

  private readonly usersOf = new Map<string, EntityPlan[]>();

  /** Accepted events of the feature's event types (both sides of a ratio), filter not applied. */
  private own(feature: WindowFeaturePlan, key: string[]): DecodedEvent[] {
    return getOr(this.lists, JSON.stringify([feature.id, 'own', key]), () => {
      const aggs = sides(feature);
      const streams = [...new Set(aggs.map(a => a.stream))];
      const all = streams.flatMap(stream => this.accepted(feature.entity, key, stream).filter(e => aggs.some(a => uses(a, stream, e.type))));
      return all.sort((a, b) => a.ts - b.ts);
    });
  }

  /** Accepted events of one aggregate's types that pass its filter, by (ts, id). */
  private passing(feature: WindowFeaturePlan, agg: AggPlan, name: string, key: string[]): DecodedEvent[] {
    return getOr(this.lists, JSON.stringify([feature.id, name, key]), () =>
      this.accepted(feature.entity, key, agg.stream).filter(e => uses(agg, agg.stream, e.type) && passes(agg.where, e)),
    );
  }
}

function sides(feature: WindowFeaturePlan): AggPlan[] {
  return feature.agg.op === 'ratio' ? [feature.agg.num, feature.agg.den] : [feature.agg];
}

function uses(agg: AggPlan, stream: string, type: string): boolean {
  return agg.stream === stream && agg.events.includes(type);
}

/** The key's parts as text, or null when a part is null or empty. */
function keyOf(entity: EntityPlan, event: DecodedEvent): string[] | null {
  const parts = entity.key.map(name => {
    const value = columnOf(event, name);
    return value === null ? '' : isNumber(value) ? BigInt(value).toString() : String(value);
  });
  return parts.includes('') ? null : parts;
}

function byTimeThenId(a: DecodedEvent, b: DecodedEvent): number {
  return a.ts - b.ts || compareUtf8(a.id, b.id);
}

function getOr<V>(map: Map<string, V>, key: string, make: () => V): V {
  const found = map.get(key);
  if (found !== undefined) return found;
  const made = make();
  map.set(key, made);
  return made;
}

/** `found`: the key has an accepted event before T of the feature's event types. */
function cellOf(feature: WindowFeaturePlan, result: Result, found: boolean, T: number): Cell {
  const ts = result.ts;
  const ages = feature.frame.kind === 'lifetime' || feature.frame.kind === 'session';
  if (ages && !found) return { value: defaultOf(feature), status: 'NOT_FOUND', ts };
  if (ages && feature.ttl !== null && ts !== null && T - ts > feature.ttl) return { value: defaultOf(feature), status: 'OUTSIDE_MAX_AGE', ts };
  if ('error' in result) return { value: null, status: 'ERROR', ts, reason: result.error };
  if (result.value !== null) return { value: result.value, status: 'PRESENT', ts };
  const value = defaultOf(feature);
  return { value, status: value === null ? 'NULL_VALUE' : 'PRESENT', ts };
}

/** The declared default or null; of an int64 feature it is a bigint (a list of them), as its values are. */
function defaultOf(feature: WindowFeaturePlan): Value {
  const value = feature.default ?? null;
  if (feature.type.base !== 'int64') return value;
  const exact = (v: Value): Value => (typeof v === 'number' || typeof v === 'string' ? BigInt(v) : v);
  return Array.isArray(value) ? value.map(exact) : exact(value);
}
