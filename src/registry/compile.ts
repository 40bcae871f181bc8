/** Definitions -> registry: the one plan every engine reads. Reports all that is wrong at once. */
import type { z } from 'zod';
import type { AggNode, RatioNode } from '../define/aggregate.ts';
import type { Entity, Meta } from '../define/entity.ts';
import type { Derived, Feature } from '../define/feature.ts';
import { siteOf } from '../define/site.ts';
import type { EventDef, Stream } from '../define/stream.ts';
import type { Source as RowSource } from '../define/table.ts';
import type { Problem } from '../lib/errors.ts';
import { compileAgg, valueTypeOf } from './aggs.ts';
import { type CodeHash, codeHasher, hashByText } from './codehash.ts';
import { type Collected, collect, isDerived, isEntity, isFeature, isKind, isTable, isTriggered } from './collect.ts';
import { columnsOf, defOf, isSchema, type Schema } from './columns.ts';
import { topological } from './graph.ts';
import { compileFailed, loadDefinitions, type Spot } from './load.ts';
import { byKey, decodeMeaning, deriveMeaning, fingerprint, registryHash, windowMeaning } from './meaning.ts';
import { Problems } from './problems.ts';
import { hashAt, rulesOf } from './rules.ts';
import { compileService } from './services.ts';
import { isAsync } from './syntax.ts';
import { compileSource, Views } from './tables.ts';
import { compileTrigger, type FoldCode, type OnCode } from './triggers.ts';
import type { DeriveFeaturePlan, EventPlan, FeaturePlan, FramePlan, IdPlan, Registry, StreamPlan, ValueType, WindowFeaturePlan } from './types.ts';
import { compileDefault, derivedType } from './values.ts';

/** What the engines need and JSON cannot hold. */
export interface RegistryCode {
  /** By `stream/type`. */
  schemas: Map<string, z.ZodType>;
  /** By feature id. */
  derives: Map<string, { compute: (inputs: never, context: never) => unknown; request: z.ZodType | null }>;
  /** By feature id. */
  folds: Map<string, FoldCode>;
  /** By feature id. */
  handlers: Map<string, OnCode>;
  /** What a feature of rows may hold: by feature id. */
  types: Map<string, z.ZodType>;
  /** Postgres addresses by source; secret. */
  addresses: Map<string, string>;
}
export interface Compiled {
  registry: Registry;
  code: RegistryCode;
  /** Local files that were compiled, for watching. */
  files: string[];
}

interface Source {
  locate(stack: string): string | undefined;
  spot(stack: string): Spot | undefined;
  hash: CodeHash;
  mistakes: Problem[];
  files: string[];
}

/**
 * Compiles a project's definitions.
 * @throws FabraError NO_PROJECT, or COMPILE_FAILED with every problem found.
 */
export async function compileProject(file: string, project?: string): Promise<Compiled> {
  const loaded = await loadDefinitions(file, project);
  const { locate, spot, mistakes, files } = loaded;
  return compileFrom(loaded.exports, { locate, spot, mistakes, files, hash: await codeHasher(loaded.text) });
}

/** The same for definitions made in this process (tests): no file, and code is told apart by its text alone. */
export function compileDefinitions(defs: Record<string, unknown>, locate: (stack: string) => string | undefined = frameOf): Compiled {
  return compileFrom(defs, { locate, spot: () => undefined, mistakes: [], files: [], hash: hashByText });
}

const frameOf = (stack: string): string | undefined => /([^\s(/\\]+:\d+:\d+)\)?\s*$/m.exec(stack)?.[1];

function compileFrom(defs: Record<string, unknown>, source: Source): Compiled {
  const compiler = new Compiler(source);
  return compiler.run(defs);
}

const meta = ({ description, owner, tags }: Meta): { description?: string; owner?: string; tags?: string[] } => ({
  ...(description !== undefined && { description }),
  ...(owner !== undefined && { owner }),
  ...(tags !== undefined && { tags: [...tags] }),
});
/** What every feature's plan begins with. */
export type FeatureStart = Pick<FeaturePlan, 'id' | 'entity' | 'name' | 'ttl' | 'maxAge' | 'version'> & ReturnType<typeof meta>;
const idOf = (f: Feature): string => `${f.entity?.name}.${f.name}`;

class Compiler {
  readonly #source: Source;
  readonly #problems: Problems;
  readonly #events = new Map<EventDef, EventPlan>();
  readonly #code: RegistryCode = { schemas: new Map(), derives: new Map(), folds: new Map(), handlers: new Map(), types: new Map(), addresses: new Map() };
  readonly #parts = { entities: {}, streams: {}, events: {}, sources: {}, views: {}, features: {}, services: {} } as Omit<Registry, 'format' | 'hash' | 'order'>;
  readonly #views: Views;
  /** Types of table features, until their views are whole. */
  readonly #tables = new Map<Feature, ValueType>();

  constructor(source: Source) {
    this.#source = source;
    this.#problems = new Problems(source.locate);
    this.#problems.list.push(...source.mistakes);
    this.#views = new Views(this.#problems);
  }

  run(defs: Record<string, unknown>): Compiled {
    const found = collect(defs, this.#problems);
    for (const e of found.entities) this.entity(e);
    for (const e of found.events) this.event(e);
    for (const s of found.streams) this.stream(s, found);
    const order = topological(found.features, idOf, this.#problems);
    for (const s of found.sources) this.source(s);
    for (const f of order) this.feature(f);
    this.tables();
    for (const s of found.services) this.#parts.services[s.name] = compileService(s, this.#problems, idOf);
    if (!found.features.size && !this.#problems.list.length)
      this.#problems.add(null, 'the definitions export no feature', "Export at least one: export const views = feature(user, 'views_5m', count(view).over('5m')).");
    if (this.#problems.list.length) throw compileFailed(this.#problems.list);
    return { registry: this.finish(order.map(idOf)), code: this.#code, files: this.#source.files };
  }

  private finish(order: string[]): Registry {
    const p = this.#parts;
    const body = {
      format: 1 as const,
      entities: byKey(p.entities),
      streams: byKey(p.streams),
      events: byKey(p.events),
      sources: byKey(p.sources),
      views: byKey(p.views),
      features: byKey(p.features),
      services: byKey(p.services),
      order,
    };
    const { format, ...rest } = body;
    return { format, hash: registryHash(body), ...rest };
  }

  private entity(e: Entity): void {
    this.#problems.strays(e, `entity '${e.name}'`);
    if (!e.keyed || e.key.some(k => typeof k !== 'string' || !k) || new Set(e.key).size < e.key.length)
      this.#problems.add(
        e,
        `entity '${e.name}' needs a key: could not infer id column; name one, or a list of different ones`,
        "Write { key: 'user_id' }; { key: [] } for values that are the same for all.",
      );
    this.#parts.entities[e.name] = { name: e.name, key: [...e.key], ttl: e.ttl, ...meta(e) };
  }

  private event(event: EventDef): void {
    const id = `${event.stream.name}/${event.type}`;
    if (!isSchema(event.schema)) return this.#problems.add(event, `event '${event.type}' has no schema`, 'Write z.object({ … }).');
    const columns = columnsOf(event.schema, 'output');
    const input = columnsOf(event.schema, 'input');
    // An unclear input is the business of the transform, as long as the output is clear.
    for (const p of columns.problems) this.#problems.add(event, `event '${event.type}': ${p.message}`, p.hint);
    if (columns.problems.length) return;
    const hash = hashAt(this.#source.hash, this.#source.spot(siteOf(event)));
    const plan: EventPlan = { stream: event.stream.name, type: event.type, columns: columns.columns, input: input.columns, ...rulesOf(event.schema, hash) };
    this.#events.set(event, plan);
    this.#parts.events[id] = plan;
    this.#code.schemas.set(id, event.schema);
  }

  private stream(s: Stream, found: Collected): void {
    this.#problems.strays(s, `stream '${s.name}'`);
    const types = [...found.events].filter(e => e.stream === s);
    if (s.type === null && types.length > 1)
      this.#problems.add(s, `stream '${s.name}' has no type column but ${types.length} events`, "Name the column that tells them apart: { type: 'event_type' }.");
    const plans = types.map(e => this.#events.get(e)).filter(p => p !== undefined);
    const plan: Omit<StreamPlan, 'decode'> = { name: s.name, id: this.id(s), time: s.time, type: s.type, lateness: s.lateness, maxAhead: s.maxAhead };
    this.#parts.streams[s.name] = {
      ...plan,
      decode: decodeMeaning(
        plan,
        plans.sort((a, b) => (a.type < b.type ? -1 : 1)),
      ),
    };
  }

  private id(s: Stream): IdPlan {
    const { id } = s;
    if (id === 'position') return { position: true };
    if (typeof id === 'string' && id) return { column: id };
    const columns = typeof id === 'object' && Array.isArray(id?.hashOf) ? [...id.hashOf] : [];
    if (!columns.length || columns.some(c => typeof c !== 'string' || !c))
      this.#problems.add(s, `stream '${s.name}' has no usable id`, "Write id: 'event_id', id: { hashOf: ['a', 'b'] } or id: 'position'.");
    return { hashOf: columns };
  }

  private feature(f: Feature): void {
    const label = `feature '${f.name}'`;
    this.#problems.strays(f, label);
    if (!isEntity(f.entity)) return this.#problems.add(f, `${label} is not about an entity`, "Give the value made by entity(…) first: feature(user, 'name', …).", 'UNKNOWN_ENTITY');
    if (isTable(f.spec)) {
      const type = this.#views.add(f, f.spec, label);
      if (type) this.#tables.set(f, type);
      return;
    }
    if (f.entity.keyed && f.entity.key.length === 0 && !isDerived(f.spec))
      this.#problems.add(f, `${label}: entity '${f.entity.name}' has no key, so no event belongs to it`, 'Give it query(…), pushed(…) or derive(…).');
    const plan = isDerived(f.spec) ? this.derived(f, f.spec, label) : isTriggered(f.spec) ? this.triggered(f, label) : this.windowed(f, label);
    if (plan) this.#parts.features[idOf(f)] = plan;
  }

  private source(s: RowSource): void {
    this.#parts.sources[s.name] = compileSource(s, this.#problems);
    if (s.postgres !== null) this.#code.addresses.set(s.name, s.postgres);
  }

  /** Features of views, which are whole only when all are known. */
  private tables(): void {
    const places = this.#views.finish(this.#parts, idOf);
    for (const [f, type] of this.#tables) {
      const id = idOf(f);
      const { view, at } = places.get(id)!;
      const fallback = compileDefault(f, type, `feature '${f.name}'`, this.#problems);
      this.#code.types.set(id, (f.spec as unknown as { type: z.ZodType }).type);
      this.#parts.features[id] = {
        ...this.base(f),
        kind: 'table',
        view: view.id,
        at,
        type,
        ...(fallback !== undefined && { default: fallback }),
        fingerprint: fingerprint({ view: view.hash, at }),
      };
    }
  }

  private triggered(f: Feature, label: string): FeaturePlan | null {
    const spec = f.spec as never;
    return compileTrigger(f, spec, {
      label,
      base: this.base(f),
      problems: this.#problems,
      parts: this.#parts,
      code: this.#code,
      hash: hashAt(this.#source.hash, this.#source.spot(siteOf(spec))),
      plan: e => this.#events.get(e),
    });
  }

  private base(f: Feature): FeatureStart {
    return { id: idOf(f), entity: f.entity.name, name: f.name, ttl: f.ttl, ...(f.maxAge !== null && { maxAge: f.maxAge }), version: 1, ...meta(f) };
  }

  private windowed(f: Feature, label: string): WindowFeaturePlan | null {
    const spec = f.spec as unknown as { kind?: string; agg: AggNode | RatioNode; frame: FramePlan };
    if (!isKind(spec, 'window')) {
      this.#problems.add(f, `${label} has no frame of time`, "End it with .over('5m'), .tumbling('1d'), .hopping('1h', '5m'), .lifetime() or .perSession({ gap: '30m' }).");
      return null;
    }
    const frame = { ...spec.frame };
    const agg = compileAgg(spec.agg, frame, { problems: this.#problems, feature: f, label, plan: e => this.#events.get(e) });
    if (!agg) return null;
    const type = valueTypeOf(agg);
    const fallback = compileDefault(f, type, label, this.#problems);
    return {
      ...this.base(f),
      kind: 'window',
      agg,
      frame,
      type,
      ...(fallback !== undefined && { default: fallback }),
      fingerprint: windowMeaning({ agg, frame }, [...f.entity.key], this.#parts),
    };
  }

  private derived(f: Feature, spec: Derived, label: string): DeriveFeaturePlan | null {
    this.#problems.strays(spec, label);
    const inputs: Record<string, string> = {};
    for (const [name, input] of Object.entries(spec.inputs))
      if (isFeature(input)) inputs[name] = idOf(input);
      else this.#problems.add(f, `${label}: the input '${name}' is not a feature`, 'Inputs are values made by feature(…); one that is declared further down is not there yet.');
    const request = this.request(f, spec, label);
    if (typeof spec.compute !== 'function') {
      this.#problems.add(f, `${label} has no compute function`);
      return null;
    }
    const site = this.#source.spot(siteOf(spec));
    const rules = spec.request ? rulesOf(spec.request, hashAt(this.#source.hash, site)) : null;
    const own = this.#source.hash(spec.compute, site);
    const code = rules?.code || rules?.rules ? [own, rules.code ?? '', rules.rules ?? ''].join('.') : own;
    const type = derivedType(spec.type, f.default);
    const fallback = compileDefault(f, type, label, this.#problems);
    this.#code.derives.set(idOf(f), { compute: spec.compute, request: spec.request });
    const sorted = byKey(inputs);
    return {
      ...this.base(f),
      kind: 'derive',
      inputs: sorted,
      request,
      code,
      async: isAsync(spec.compute),
      replayable: spec.replayable,
      timeout: spec.timeout,
      cache: spec.cache,
      type,
      ...(fallback !== undefined && { default: fallback }),
      fingerprint: deriveMeaning({ code, inputs: sorted, request }),
    };
  }

  private request(f: Feature, spec: Derived, label: string): { name: string; required: boolean }[] {
    if (!spec.request) return [];
    const shape = isSchema(spec.request) ? objectShape(spec.request) : undefined;
    if (!shape) this.#problems.add(f, `${label}: the request schema is not an object`, 'Write request: z.object({ … }).');
    return Object.entries(shape ?? {})
      .map(([name, s]) => ({ name, required: s._zod.optin !== 'optional' }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

/** The object a schema reads, through wrappers and transforms. */
function objectShape(schema: Schema): Record<string, Schema> | undefined {
  const def = defOf(schema);
  if (def.type === 'object') return def.shape;
  const inner = def.innerType ?? def.in;
  return inner && objectShape(inner);
}
