/**
 * Fingerprints. A feature's covers all that decides its numbers, and nothing else: ttl, default and words for people are
 * applied when a value is read, so they may change under a running store.
 */
import { sha256 } from '../lib/hash.ts';
import { canonicalJson } from '../lib/json.ts';
import { kindName } from './columns.ts';
import type { AggPlan, DeriveFeaturePlan, EventPlan, FeaturePlan, FilterPlan, Registry, SourcePlan, StreamPlan, ViewPlan, WindowFeaturePlan } from './types.ts';

export const fingerprint = (value: unknown): string => sha256(canonicalJson(value)).slice(0, 32);

const sidesOf = (f: Pick<WindowFeaturePlan, 'agg'>): AggPlan[] => (f.agg.op === 'ratio' ? [f.agg.num, f.agg.den] : [f.agg]);

/** Events (`stream/type`) a feature reads: a window's sides, or what triggers it. */
export function eventsOf(f: Pick<WindowFeaturePlan, 'agg'> | { events: string[] } | FeaturePlan): string[] {
  if ('events' in f) return f.events;
  return 'agg' in f ? [...new Set(sidesOf(f).flatMap(a => a.events.map(t => `${a.stream}/${t}`)))].sort() : [];
}

/** Entities that an event feeds, through features of any kind. */
export const entitiesFed = (registry: Pick<Registry, 'features'>, event: string): string[] => [
  ...new Set(
    Object.values(registry.features)
      .filter(f => eventsOf(f).includes(event))
      .map(f => f.entity),
  ),
];

export function filterColumns(filter: FilterPlan | undefined): string[] {
  if (!filter) return [];
  if ('args' in filter) return filter.args.flatMap(filterColumns);
  if ('arg' in filter) return filterColumns(filter.arg);
  return [filter.column];
}

/** Columns of an event that a feature uses: its key, what it aggregates and what it filters on. */
export function usedColumns(f: Pick<WindowFeaturePlan, 'agg'>, key: string[], event: string): string[] {
  const mine = sidesOf(f).filter(a => a.events.some(t => `${a.stream}/${t}` === event));
  return [...new Set([...key, ...mine.flatMap(a => [...(a.column ? [a.column.name] : []), ...filterColumns(a.where)])])].sort();
}

type Parts = Pick<Registry, 'streams' | 'events'>;

export function windowMeaning(f: Pick<WindowFeaturePlan, 'agg' | 'frame'>, key: string[], parts: Parts): string {
  const events: Record<string, unknown> = {};
  const streams: Record<string, unknown> = {};
  for (const id of eventsOf(f)) {
    const event = parts.events[id];
    const stream = event && parts.streams[event.stream];
    if (!event || !stream) continue;
    events[id] = eventMeaning(f, key, id, event);
    streams[stream.name] = { id: stream.id, time: stream.time, type: stream.type, lateness: stream.lateness, maxAhead: stream.maxAhead };
  }
  return fingerprint({ key, agg: f.agg, frame: f.frame, events, streams });
}

/** A fold's numbers: its code over whole events. An `on` keeps what its code returned, so there `code` is null. */
export function triggerMeaning(f: { kind: 'fold' | 'on'; events: string[]; code: string | null; type: unknown }, key: string[], parts: Parts): string {
  const events = Object.fromEntries(f.events.map(id => [id, parts.events[id] && wholeEvent(parts.events[id])]));
  const streams = Object.fromEntries(
    f.events
      .map(id => parts.streams[id.slice(0, id.indexOf('/'))])
      .flatMap(s => (s ? [[s.name, { id: s.id, time: s.time, type: s.type, lateness: s.lateness, maxAhead: s.maxAhead }]] : [])),
  );
  return fingerprint({ key, kind: f.kind, code: f.code, type: f.type, events: f.kind === 'fold' ? events : f.events, streams });
}
const wholeEvent = ({ columns, input, code, rules }: EventPlan) => ({ columns, input, code, rules });

/** What the rows of a view mean. The schedule is not part of it. */
export function viewMeaning(v: Omit<ViewPlan, 'hash'>, key: string[], source: SourcePlan | null): string {
  const { entity, sql, params, time, created, features } = v;
  return fingerprint({ entity, key, sql, params, time, created, features, source });
}

/** What of an event decides a feature's numbers. */
export function eventMeaning(f: Pick<WindowFeaturePlan, 'agg'>, key: string[], id: string, event: EventPlan): object {
  const columns = Object.fromEntries(usedColumns(f, key, id).map(name => [name, kindOf(event, name)]));
  return { columns, code: event.code, rules: event.rules, required: requiredInputs(event) };
}

/** Fields without which an event is rejected: one more or less changes which events count. */
export const requiredInputs = (event: EventPlan): string[] => event.input.filter(c => !c.nullable).map(c => c.name);

const kindOf = (event: EventPlan, name: string): string | undefined => {
  const column = event.columns.find(c => c.name === name);
  return column && kindName(column);
};

export const deriveMeaning = (f: Pick<DeriveFeaturePlan, 'code' | 'inputs' | 'request'>): string => fingerprint({ code: f.code, inputs: f.inputs, request: f.request });

/** All that decides how bytes become rows of a stream. */
export const decodeMeaning = (stream: Omit<StreamPlan, 'decode'>, events: EventPlan[]): string =>
  fingerprint({ id: stream.id, time: stream.time, type: stream.type, events: events.map(({ type, columns, input, code, rules }) => ({ type, columns, input, code, rules })) });

/** Copy with keys in order, so that the file is diffable. */
export const byKey = <T>(record: Record<string, T>): Record<string, T> => Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Hash over all of a registry but itself. */
export function registryHash(registry: Omit<Registry, 'hash'>): string {
  const { format, entities, streams, events, sources, views, features, services, order } = registry;
  return sha256(canonicalJson({ format, entities, streams, events, sources, views, features, services, order }));
}
