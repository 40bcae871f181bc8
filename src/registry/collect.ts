/** Finds every definition that a project's exports reach: what is exported, and what that is made of. */
import type { AggNode, RatioNode } from '../define/aggregate.ts';
import type { Entity } from '../define/entity.ts';
import type { Aliased, Derived, Feature, Service } from '../define/feature.ts';
import type { EventDef, Stream } from '../define/stream.ts';
import type { Source, Table } from '../define/table.ts';
import type { Fold, On } from '../define/trigger.ts';
import { checkName, isWellFormed, Names, type Problems } from './problems.ts';

export interface Collected {
  entities: Set<Entity>;
  streams: Set<Stream>;
  events: Set<EventDef>;
  sources: Set<Source>;
  features: Set<Feature>;
  services: Set<Service>;
}

export const isKind = (v: unknown, kind: string): boolean => typeof v === 'object' && v !== null && (v as { kind?: unknown }).kind === kind;
export const isEntity = (v: unknown): v is Entity => isKind(v, 'entity');
export const isEvent = (v: unknown): v is EventDef => isKind(v, 'event') && isKind((v as EventDef).stream, 'stream');
export const isFeature = (v: unknown): v is Feature => isKind(v, 'feature');
export const isTable = (v: unknown): v is Table => isKind(v, 'table');
export const isTriggered = (v: unknown): v is Fold | On => isKind(v, 'fold') || isKind(v, 'on');
export const isAlias = (v: unknown): v is Aliased => isKind(v, 'alias');
export const isSource = (v: unknown): v is Source => isKind(v, 'source');
export const isDerived = (v: unknown): v is Derived => isKind(v, 'derive');

/** The aggregates of a window feature: one, or both sides of a ratio. */
export const sides = (agg: AggNode | RatioNode): AggNode[] => ('num' in agg ? [agg.num, agg.den] : [agg]);

export function collect(exports: Record<string, unknown>, problems: Problems): Collected {
  const found: Collected = { entities: new Set(), streams: new Set(), events: new Set(), sources: new Set(), features: new Set(), services: new Set() };
  for (const value of Object.values(exports)) visit(value, found, problems, 0);
  names(found, problems);
  return found;
}

/** Definitions may also stand in exported lists and plain objects: a factory's results. */
function visit(value: unknown, found: Collected, problems: Problems, depth: number): void {
  if (typeof value !== 'object' || value === null || depth > 3) return;
  const { kind } = value as { kind?: unknown };
  if (isEntity(value)) found.entities.add(value);
  else if (kind === 'stream') found.streams.add(value as Stream);
  else if (isEvent(value)) addEvent(value, found);
  else if (isSource(value)) found.sources.add(value);
  else if (isFeature(value)) addFeature(value, found);
  else if (kind === 'service') addService(value as Service, found, problems);
  else if (Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype) for (const v of Object.values(value)) visit(v, found, problems, depth + 1);
}

function addEvent(event: EventDef, found: Collected): void {
  found.events.add(event);
  found.streams.add(event.stream);
}

function addFeature(feature: Feature, found: Collected): void {
  if (found.features.has(feature)) return;
  found.features.add(feature);
  if (isEntity(feature.entity)) found.entities.add(feature.entity);
  const spec = feature.spec as unknown as { inputs?: Record<string, unknown>; agg?: AggNode | RatioNode } | undefined;
  if (isDerived(spec)) for (const input of Object.values(spec.inputs)) if (isFeature(input)) addFeature(input, found);
  if (isTable(spec) && isSource(spec.source)) found.sources.add(spec.source);
  if (isTriggered(spec)) for (const event of spec.events) if (isEvent(event)) addEvent(event, found);
  if (spec?.agg) for (const side of sides(spec.agg)) for (const event of side.events) if (isEvent(event)) addEvent(event, found);
}

function addService(service: Service, found: Collected, problems: Problems): void {
  if (found.services.has(service)) return;
  found.services.add(service);
  for (const [i, feature] of service.features.entries())
    if (isFeature(feature)) addFeature(feature, found);
    else if (isAlias(feature) && isFeature(feature.feature)) addFeature(feature.feature, found);
    else
      problems.add(
        service,
        `entry ${i + 1} of service '${service.name}' is not a feature`,
        'List features made by feature(…); one that is declared further down is not there yet.',
      );
}

function names(found: Collected, problems: Problems): void {
  const entities = new Names('entities', problems);
  for (const e of found.entities) if (checkName(problems, e, 'an entity', e.name)) entities.claim(e.name, e);
  const streams = new Names('streams', problems);
  for (const s of found.streams) if (checkName(problems, s, 'a stream', s.name)) streams.claim(s.name, s);
  const sources = new Names('sources', problems);
  for (const s of found.sources) if (checkName(problems, s, 'a source', s.name)) sources.claim(s.name, s);
  const features = new Names('features', problems);
  for (const f of found.features) if (checkName(problems, f, 'a feature', f.name) && isEntity(f.entity)) features.claim(`${f.entity.name}.${f.name}`, f);
  const services = new Names('services', problems);
  for (const s of found.services) if (checkName(problems, s, 'a service', s.name)) services.claim(s.name, s);
  eventNames(found, problems);
}

/** Event types come from the data, so nearly any text goes, and case counts. */
function eventNames(found: Collected, problems: Problems): void {
  const seen = new Map<string, EventDef>();
  for (const event of found.events) {
    const { type } = event;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused.
    if (typeof type !== 'string' || type === '' || type.length > 128 || !isWellFormed(type) || /[\u0000-\u001f\u007f]/.test(type))
      problems.add(event, `${JSON.stringify(type)} is not an event type`, 'Write the text that the log has in its type column, at most 128 characters.');
    const id = `${event.stream.name}/${type}`;
    const other = seen.get(id);
    const at = other && problems.where(other);
    if (other)
      problems.add(
        event,
        `two events of stream '${event.stream.name}' have the type '${type}'`,
        `The other is${at ? ` at ${at}` : ' above'}; declare it once and use it in both places.`,
        'NAME_COLLISION',
      );
    else seen.set(id, event);
  }
}
