/** What an apply would change, field by field, and whether old state may stay: the same answer whatever the store. */
import { formatDuration } from '../lib/duration.ts';
import { canonicalJson } from '../lib/json.ts';
import { kindName } from './columns.ts';
import { byKey, eventMeaning, eventsOf, registryHash } from './meaning.ts';
import type { ColumnPlan, EntityPlan, EventPlan, FeaturePlan, Registry, ServicePlan, SourcePlan, StreamPlan } from './types.ts';

export interface FieldChange {
  /** Dotted: `frame.w`. */
  field: string;
  /** Null when it was not there. */
  from: unknown;
  /** Null when it is gone. */
  to: unknown;
}
export interface Change {
  op: 'add' | 'change' | 'remove';
  kind: 'entity' | 'stream' | 'event' | 'source' | 'feature' | 'service';
  name: string;
  fields?: FieldChange[];
  /** State made under the old definition must not be mixed with the new: needs a new version and a backfill. */
  breaking: boolean;
  why?: string;
}
export interface RegistryDiff {
  changes: Change[];
  breaking: boolean;
}

type Flat = Record<string, unknown>;

/** `applied` is null before the first apply. */
export function diffRegistries(applied: Registry | null, next: Registry): RegistryDiff {
  const old: Registry = applied ?? { ...next, entities: {}, streams: {}, events: {}, sources: {}, views: {}, features: {}, services: {}, order: [] };
  const changed = changedFeatures(old, next);
  const changes = [
    ...pairs('entity', old.entities, next.entities, flatEntity, (_, name) => whyIn(changed, id => next.features[id]!.entity === name)),
    ...pairs('stream', old.streams, next.streams, flatStream, (_, name) => whyIn(changed, id => usesStream(next, id, name))),
    ...pairs('event', old.events, next.events, flatEvent, (_, name) => whyIn(changed, id => eventMatters(old, next, id, name))),
    ...pairs('source', old.sources, next.sources, flatSource, (_, name) => whyIn(changed, id => sourceOf(next, id) === name)),
    ...features(old, next, changed),
    ...pairs('service', old.services, next.services, flatService, () => undefined),
  ];
  return { changes, breaking: changes.some(c => c.breaking) };
}

/** Features on both sides whose numbers would differ. */
const changedFeatures = (old: Registry, next: Registry): string[] =>
  Object.keys(next.features).filter(id => old.features[id] && old.features[id]!.fingerprint !== next.features[id]!.fingerprint);

function reads(registry: Registry, id: string): string[] {
  const f = registry.features[id];
  return f ? eventsOf(f) : [];
}
const sourceOf = (registry: Registry, id: string): string | null => {
  const f = registry.features[id];
  return f?.kind === 'table' ? (registry.views[f.view]?.source ?? null) : null;
};
const usesStream = (registry: Registry, id: string, stream: string): boolean => reads(registry, id).some(e => registry.events[e]?.stream === stream);

/** Does the change of an event touch what a feature takes from it? (The feature may have changed for another reason.) */
function eventMatters(old: Registry, next: Registry, id: string, event: string): boolean {
  const f = next.features[id];
  const [a, b] = [old.events[event], next.events[event]];
  if (!a || !b || !f || !eventsOf(f).includes(event)) return false;
  if (f.kind !== 'window') return f.kind === 'fold';
  const key = next.entities[f.entity]?.key ?? [];
  return canonicalJson(eventMeaning(f, key, event, a)) !== canonicalJson(eventMeaning(f, key, event, b));
}

function whyIn(changed: string[], touches: (id: string) => boolean): string | undefined {
  const hit = changed.filter(touches);
  if (!hit.length) return undefined;
  return `other numbers for ${hit.slice(0, 5).join(', ')}${hit.length > 5 ? ` and ${hit.length - 5} more` : ''}`;
}

/** Changes of one kind. `why` says for whom a change of these fields is breaking, if it touches what values mean. */
function pairs<T>(
  kind: Change['kind'],
  old: Record<string, T>,
  next: Record<string, T>,
  flat: (v: T) => { meaning: Flat; other: Flat },
  why: (v: T, name: string) => string | undefined,
): Change[] {
  const out: Change[] = [];
  for (const name of namesOf(old, next)) {
    const [a, b] = [old[name], next[name]];
    if (!a || !b) {
      out.push({ op: a ? 'remove' : 'add', kind, name, breaking: false });
      continue;
    }
    const [flatA, flatB] = [flat(a), flat(b)];
    const meaning = fieldChanges(flatA.meaning, flatB.meaning);
    const fields = [...meaning, ...fieldChanges(flatA.other, flatB.other)];
    if (!fields.length) continue;
    const reason = meaning.length ? why(b, name) : undefined;
    out.push({ op: 'change', kind, name, fields, breaking: reason !== undefined, ...(reason && { why: reason }) });
  }
  return out;
}

const namesOf = (a: object, b: object): string[] => [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();

function fieldChanges(a: Flat, b: Flat): FieldChange[] {
  return namesOf(a, b)
    .filter(k => canonicalJson(a[k] ?? null) !== canonicalJson(b[k] ?? null))
    .map(field => ({ field, from: a[field] ?? null, to: b[field] ?? null }));
}

function features(old: Registry, next: Registry, changed: string[]): Change[] {
  const out: Change[] = [];
  for (const id of namesOf(old.features, next.features)) {
    const [a, b] = [old.features[id], next.features[id]];
    if (!a || !b) {
      out.push({ op: a ? 'remove' : 'add', kind: 'feature', name: id, breaking: false, ...(a && { why: 'its state goes' }) });
      continue;
    }
    const meaning = fieldChanges(flatMeaning(a, old), flatMeaning(b, next));
    const fields = [...meaning, ...fieldChanges(flatReading(a, old), flatReading(b, next))].filter(f => f.field !== 'ttl' || !inherits(a, old) || !inherits(b, next));
    const breaking = changed.includes(id);
    if (!fields.length && !breaking) continue;
    out.push({ op: 'change', kind: 'feature', name: id, fields, breaking, ...(breaking && { why: meaning.length ? 'it means something else' : sourcesOf(a, b, old, next) }) });
  }
  return out;
}

/** What below a feature changed, when nothing in it did. */
function sourcesOf(a: FeaturePlan, b: FeaturePlan, old: Registry, next: Registry): string {
  const events = [...new Set([...reads(old, a.id), ...reads(next, b.id)])];
  const differs = (x: unknown, y: unknown): boolean => canonicalJson(x ?? null) !== canonicalJson(y ?? null);
  const what = [
    ...(differs(old.entities[a.entity]?.key, next.entities[b.entity]?.key) ? [`the key of entity ${b.entity}`] : []),
    ...[...new Set(events.map(e => next.events[e]?.stream).filter(s => s !== undefined))].filter(s => differs(streamRules(old, s), streamRules(next, s))).map(s => `stream ${s}`),
    ...events.filter(e => differs(old.events[e], next.events[e])).map(e => `event ${e}`),
    ...[sourceOf(next, b.id)]
      .filter(s => s !== null)
      .filter(s => differs(old.sources[s], next.sources[s]))
      .map(s => `source ${s}`),
  ];
  return `it reads ${what.join(', ') || 'other definitions'}, which changed`;
}
const streamRules = (r: Registry, name: string): Flat | null => (r.streams[name] ? flatStream(r.streams[name]!).meaning : null);

/** An entity's ttl that a feature takes over is the entity's change, shown there. */
const inherits = (f: FeaturePlan, r: Registry): boolean => f.ttl === (r.entities[f.entity]?.ttl ?? null);

const metaOf = (v: { description?: string; owner?: string; tags?: string[] }): Flat => ({ description: v.description, owner: v.owner, tags: v.tags });

const flatEntity = (e: EntityPlan): { meaning: Flat; other: Flat } => ({ meaning: { key: e.key }, other: { ttl: e.ttl, ...metaOf(e) } });
const flatStream = ({ id, time, type, lateness, maxAhead }: StreamPlan): { meaning: Flat; other: Flat } => ({ meaning: { id, time, type, lateness, maxAhead }, other: {} });
const flatService = (s: ServicePlan): { meaning: Flat; other: Flat } => ({
  meaning: {},
  other: { features: s.features, aliases: s.aliases, fullNames: s.fullNames, ...metaOf(s) },
});
const flatSource = ({ files, format, time, created, fieldMapping }: SourcePlan): { meaning: Flat; other: Flat } => ({
  meaning: { files, format, time, created, fieldMapping },
  other: {},
});

function flatEvent(e: EventPlan): { meaning: Flat; other: Flat } {
  const columns = (list: ColumnPlan[], prefix: string): Flat => Object.fromEntries(list.map(c => [`${prefix}.${c.name}`, `${kindName(c)}${c.nullable ? ' | null' : ''}`]));
  // Without a transform both sides are the same: one line says it.
  const input = canonicalJson(e.input) === canonicalJson(e.columns) ? {} : columns(e.input, 'input');
  return { meaning: { ...columns(e.columns, 'columns'), ...input, code: e.code, rules: e.rules }, other: {} };
}

function flatMeaning(f: FeaturePlan, registry: Registry): Flat {
  switch (f.kind) {
    case 'derive':
      return { kind: f.kind, code: f.code, ...flatten(f.inputs, 'inputs'), request: f.request };
    case 'window':
      return { kind: f.kind, ...flatten(f.agg, 'agg'), ...flatten(f.frame, 'frame') };
    case 'table': {
      const { source, sql, params, features } = registry.views[f.view]!;
      return { kind: f.kind, source, sql, params, column: features[f.at]!.column, type: f.type };
    }
    case 'fold':
      return { kind: f.kind, events: f.events, code: f.code };
    case 'on':
      return { kind: f.kind, events: f.events, type: f.type };
  }
}

function flatReading(f: FeaturePlan, registry: Registry): Flat {
  const shared = { ttl: f.ttl, maxAge: f.maxAge, default: f.default, ...metaOf(f) };
  switch (f.kind) {
    case 'derive':
      return { ...shared, type: f.type, timeout: f.timeout, cache: f.cache, replayable: f.replayable };
    case 'table': {
      const { materialize, every, incremental, timeout } = registry.views[f.view]!;
      return { ...shared, materialize, every, incremental, timeout };
    }
    case 'on':
      return { ...shared, retries: f.retries, timeout: f.timeout, code: f.code };
    default:
      return shared;
  }
}

/** Nested plain objects as dotted fields; lists and filters stay whole. */
function flatten(value: object, prefix: string): Flat {
  const out: Flat = {};
  for (const [k, v] of Object.entries(value)) {
    const name = `${prefix}.${k}`;
    if (typeof v === 'object' && v !== null && !Array.isArray(v) && k !== 'where') Object.assign(out, flatten(v as object, name));
    else out[name] = v;
  }
  return out;
}

/**
 * The registry that `apply --new-version` records: a feature that means something else than before has the next version,
 * any other keeps its own.
 */
export function bumpVersions(applied: Registry | null, next: Registry): Registry {
  const features: Record<string, FeaturePlan> = {};
  for (const [id, f] of Object.entries(next.features)) {
    const before = applied?.features[id];
    const version = before ? before.version + (before.fingerprint === f.fingerprint ? 0 : 1) : f.version;
    features[id] = { ...f, version };
  }
  const { format, hash: _, ...rest } = { ...next, features: byKey(features) };
  return { format, hash: registryHash({ format, ...rest }), ...rest };
}

const SIGN = { add: '+', change: '~', remove: '-' } as const;
const DURATIONS = /(^|\.)(ttl|maxAge|w|h|gap|lateness|maxAhead|every|timeout|cache|delay|maxDelay)$/;

/** Lines for people. */
export function renderPlan(diff: RegistryDiff): string[] {
  if (!diff.changes.length) return ['No changes'];
  return diff.changes.flatMap(c => [
    `${SIGN[c.op]} ${c.kind} ${c.name}${c.breaking ? '  (breaking)' : ''}${c.why ? `: ${c.why}` : ''}`,
    ...(c.fields ?? []).map(f => `    ${f.field}: ${shown(f.field, f.from)} → ${shown(f.field, f.to)}`),
  ]);
}

function shown(field: string, value: unknown): string {
  if (value === null || value === undefined) return 'none';
  if (typeof value === 'number' && DURATIONS.test(field)) return formatDuration(value);
  if (/(^|\.)(code|rules)$/.test(field) && typeof value === 'string') return value.slice(0, 8);
  return typeof value === 'string' ? value : canonicalJson(value);
}
