/**
 * Fingerprints. A feature's covers all that decides its numbers, and nothing else: ttl, default and words for people are
 * applied when a value is read, so they may change under a running store.
 */
import { sha256 } from '../lib/hash.ts';
import { canonicalJson } from '../lib/json.ts';
import { kindName } from './columns.ts';
import type { AggPlan, DeriveFeaturePlan, EventPlan, FilterPlan, Registry, StreamPlan, WindowFeaturePlan } from './types.ts';

export const fingerprint = (value: unknown): string => sha256(canonicalJson(value)).slice(0, 32);

const sidesOf = (f: Pick<WindowFeaturePlan, 'agg'>): AggPlan[] => (f.agg.op === 'ratio' ? [f.agg.num, f.agg.den] : [f.agg]);

/** Events (`stream/type`) a window feature reads. */
export const eventsOf = (f: Pick<WindowFeaturePlan, 'agg'>): string[] => [...new Set(sidesOf(f).flatMap(a => a.events.map(t => `${a.stream}/${t}`)))].sort();

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
  const { format, entities, streams, events, features, services, order } = registry;
  return sha256(canonicalJson({ format, entities, streams, events, features, services, order }));
}
