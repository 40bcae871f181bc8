import type { z } from 'zod';
import { type DurationText, parseDuration } from '../lib/duration.ts';
import type { Windowed } from './aggregate.ts';
import { type Entity, META, type Meta, metaOf } from './entity.ts';
import { attempt, checkOptions, define } from './site.ts';

export interface FeatureOptions<V> extends Meta {
  /** Replaces null (never an error); makes the type non-null. */
  default?: NonNullable<V>;
  /** How long a lifetime or session value stays valid; the entity's by default. Windows have none: they decay by themselves. */
  ttl?: DurationText;
}

/** A feature of entity `E`, named `N`, with values `V`; `K` are the key columns a read needs, `R` the request data. */
export interface Feature<N extends string = string, V = unknown, K extends string = string, R = unknown> extends Meta {
  readonly kind: 'feature';
  readonly name: N;
  readonly entity: Entity;
  readonly spec: FeatureSpec;
  readonly default?: unknown;
  /** Milliseconds or null. */
  readonly ttl: number | null;
  readonly '~value'?: V;
  readonly '~keys'?: K;
  readonly '~request'?: (r: R) => void;
}

// biome-ignore lint/suspicious/noExplicitAny: variance of inputs; only src/define may.
export type AnyFeature = Feature<string, any, any, any>;

/** Code over other features, run at read time and over history alike. Made by {@link derive}. */
export interface Derived<V = unknown, K extends string = string, R = unknown> {
  readonly kind: 'derive';
  readonly inputs: Readonly<Record<string, AnyFeature>>;
  readonly request: z.ZodType | null;
  /** States what the code yields, for typed training columns; null when not stated. */
  readonly type: z.ZodType | null;
  readonly compute: (inputs: never, context: never) => unknown;
  readonly '~value'?: V;
  readonly '~keys'?: K;
  readonly '~request'?: (r: R) => void;
}
export type FeatureSpec = Windowed<unknown, never> | Derived<unknown, string, never>;

/** Type of a feature's value. @example type V = ValueOf<typeof userViews5m> // number */
export type ValueOf<F> = F extends { readonly '~value'?: infer V } ? Exclude<V, undefined> : never;
type KeysOfFeature<F> = F extends { readonly '~keys'?: infer K } ? Exclude<K, undefined> : never;
export type RequestOf<F> = F extends { readonly '~request'?: (r: infer R) => void } ? R : unknown;
type Inputs<I> = { [K in keyof I]: ValueOf<I[K]> };
type UnionToIntersection<U> = (U extends unknown ? (u: U) => void : never) extends (i: infer I) => void ? I : never;
type RequestsOf<I> = UnionToIntersection<{ [K in keyof I]: { r: RequestOf<I[K]> } }[keyof I]> extends { r: infer R } ? R : unknown;
type Compute<I, R, V> = (inputs: Inputs<I>, context: { request: R; now: number }) => V;

/**
 * A feature computed from other features and request data, when it is read. Must be pure: the same code runs over history.
 * `now` is the instant of the read in epoch ms: never ask the wall clock.
 * @example derive({ inputs: { cr: userCr24h }, request: z.object({ total: z.number() }), compute: ({ cr }, { request }) => (cr ?? 0) * request.total })
 */
export function derive<I extends Record<string, AnyFeature>, S extends z.ZodType, V>(spec: {
  inputs: I;
  request: S;
  type?: z.ZodType<V>;
  compute: Compute<I, z.output<S>, V>;
}): Derived<V, KeysOfFeature<I[keyof I]>, z.input<S> & RequestsOf<I>>;
export function derive<I extends Record<string, AnyFeature>, V>(spec: {
  inputs: I;
  type?: z.ZodType<V>;
  compute: Compute<I, undefined, V>;
}): Derived<V, KeysOfFeature<I[keyof I]>, RequestsOf<I>>;
export function derive(spec: { inputs: Record<string, AnyFeature>; request?: z.ZodType; type?: z.ZodType; compute: (inputs: never, context: never) => unknown }): Derived {
  const { inputs, request = null, type = null, compute } = spec;
  const made = define({ kind: 'derive' as const, inputs: Object.freeze({ ...inputs }), request, type, compute }, derive);
  checkOptions(made, spec, ['inputs', 'request', 'type', 'compute']);
  return made;
}

/** The columns of an aggregate must hold the entity's key; otherwise a sentence for the editor. */
type Fits<E extends Entity, C> =
  E extends Entity<infer N, infer K> ? ([K] extends [keyof C] ? unknown : `these events have no column '${Exclude<K, keyof C & string>}', a key of entity '${N}'`) : never;
type KeysOfEntity<E> = E extends Entity<string, infer K> ? K : never;
type WithDefault<V, O> = O extends { default: infer D } ? (D extends undefined ? V : NonNullable<V>) : V;
type Literal<N extends string> = string extends N ? 'a feature name must be a literal: it is a storage key' : N;

/**
 * Names a value of an entity. The name is a storage key: a literal, unique per entity.
 * @example export const userViews5m = feature(user, 'user_views_5m', count(view).over('5m'))
 */
export function feature<E extends Entity, const N extends string, V, C, const O extends FeatureOptions<V>>(
  entity: E,
  name: N & Literal<N>,
  spec: Windowed<V, C> & Fits<E, C>,
  options?: O,
): Feature<N, WithDefault<V, O>, KeysOfEntity<E>, unknown>;
export function feature<E extends Entity, const N extends string, V, K extends string, R, const O extends FeatureOptions<Awaited<V>>>(
  entity: E,
  name: N & Literal<N>,
  spec: Derived<V, K, R>,
  options?: O,
): Feature<N, WithDefault<V, O>, K | KeysOfEntity<E>, R>;
export function feature(entity: Entity, name: string, spec: unknown, options: FeatureOptions<unknown> = {}): AnyFeature {
  const { ttl } = options;
  const made = define(
    {
      kind: 'feature' as const,
      name,
      entity,
      spec: spec as FeatureSpec,
      ttl: ttl === undefined ? (entity?.ttl ?? null) : attempt(() => parseDuration(ttl, `ttl of feature ${name}`), null),
      ...('default' in options && { default: options.default }),
      ...metaOf(options),
    },
    feature,
  );
  checkOptions(made, options, ['default', 'ttl', ...META]);
  return made;
}

export interface Service<N extends string = string, F extends readonly AnyFeature[] = readonly AnyFeature[]> extends Meta {
  readonly kind: 'service';
  readonly name: N;
  readonly features: F;
}

/**
 * A named list of features that are read together.
 * @example export const ranking = service('ranking', [userViews5m, userCr24h])
 */
export function service<const N extends string, const F extends readonly AnyFeature[]>(name: N, features: F, meta: Meta = {}): Service<N, F> {
  const made = define({ kind: 'service' as const, name, features: Object.freeze([...(features ?? [])]) as unknown as F, ...metaOf(meta) }, service);
  checkOptions(made, meta, META);
  return made;
}

/** A service's answer by feature name. @example type Row = RowOf<typeof ranking> */
export type RowOf<S> = S extends Service<string, infer F> ? { [X in F[number] as X['name']]: ValueOf<X> } : never;
/** The key columns a read of a service needs. @example type Keys = KeysOf<typeof ranking> // { user_id: string } */
export type KeysOf<S> = S extends Service<string, infer F> ? { [K in KeysOfFeature<F[number]>]: string } : never;
