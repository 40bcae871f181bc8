import type { z } from 'zod';
import { type DurationText, parseDuration } from '../lib/duration.ts';
import type { Windowed } from './aggregate.ts';
import { type Entity, META, type Meta, metaOf } from './entity.ts';
import { attempt, checkOptions, define } from './site.ts';
import type { Table } from './table.ts';
import type { Fold, On } from './trigger.ts';

export interface FeatureOptions<V> extends Meta {
  /** Replaces null (never an error); makes the type non-null. */
  default?: NonNullable<V>;
  /** How long a row, fold, handler, lifetime or session value stays valid; the entity's by default, `'0s'` for ever. Windows have none: they decay by themselves. */
  ttl?: DurationText;
  /** A value older than this at a read is named in the answer's `stale` list (refused with `strict`); it is still given. */
  maxAge?: DurationText;
}

/** A feature of entity `E`, named `N`, with values `V`; `K` are the key columns a read needs, `R` the request data. */
export interface Feature<N extends string = string, V = unknown, K extends string = string, R = unknown, E extends string = string> extends Meta {
  readonly kind: 'feature';
  readonly name: N;
  readonly entity: Entity;
  readonly spec: FeatureSpec;
  readonly default?: unknown;
  /** Milliseconds or null. */
  readonly ttl: number | null;
  /** Milliseconds or null. */
  readonly maxAge: number | null;
  readonly '~value'?: V;
  readonly '~keys'?: K;
  readonly '~request'?: (r: R) => void;
  readonly '~entity'?: E;
}

// biome-ignore lint/suspicious/noExplicitAny: variance of inputs; only src/define may.
export type AnyFeature = Feature<string, any, any, any, any>;

/** Code over other features, run at read time and over history alike. Made by {@link derive}. */
export interface Derived<V = unknown, K extends string = string, R = unknown> {
  readonly kind: 'derive';
  readonly inputs: Readonly<Record<string, AnyFeature>>;
  readonly request: z.ZodType | null;
  /** States what the code yields, for typed training columns; null when not stated. */
  readonly type: z.ZodType | null;
  /** Milliseconds a read waits for it. */
  readonly timeout: number;
  /** Milliseconds for which a result is used again, or null. */
  readonly cache: number | null;
  /** Whether async code may run over history; null when not said. */
  readonly replayable: boolean | null;
  readonly compute: (inputs: never, context: never) => unknown;
  readonly '~value'?: V;
  readonly '~keys'?: K;
  readonly '~request'?: (r: R) => void;
}
export type FeatureSpec = Windowed<unknown, never> | Derived<unknown, string, never> | Table | Fold | On;

/** Type of a feature's value. @example type V = ValueOf<typeof userViews5m> // number */
export type ValueOf<F> = F extends { readonly '~value'?: infer V } ? Exclude<V, undefined> : never;
type KeysOfFeature<F> = F extends { readonly '~keys'?: infer K } ? Exclude<K, undefined> : never;
export type RequestOf<F> = F extends { readonly '~request'?: (r: infer R) => void } ? R : unknown;
type Inputs<I> = { [K in keyof I]: ValueOf<I[K]> };
type UnionToIntersection<U> = (U extends unknown ? (u: U) => void : never) extends (i: infer I) => void ? I : never;
type RequestsOf<I> = UnionToIntersection<{ [K in keyof I]: { r: RequestOf<I[K]> } }[keyof I]> extends { r: infer R } ? R : unknown;
/** What on-demand code is given beside its inputs. */
export interface DeriveContext<R> {
  readonly request: R;
  /** Instant of the read, epoch ms: never ask the wall clock. */
  readonly now: number;
  /** Key columns of the row: `{ user_id: 'u1' }`. */
  readonly keys: Readonly<Record<string, string>>;
  /** Aborted when the time is over. */
  readonly signal: AbortSignal;
}
type Compute<I, R, V> = (inputs: Inputs<I>, context: DeriveContext<R>) => V;

/** Options of {@link derive} for code that is slow or may fail. */
export interface DeriveOptions {
  /** Time a read waits for it, default `'1s'`; then the default is given, DEFAULTED(timeout). */
  timeout?: DurationText;
  /** Use a result again for this long, for the same keys, inputs and request; concurrent misses compute once. */
  cache?: DurationText;
  /** Async code: whether it gives the same over history (`historical` refuses it otherwise). Sync code always runs. */
  replayable?: boolean;
}
/** A promise's value: async code is awaited. */
type Settled<V> = Awaited<V>;

/**
 * A feature computed from other features, request data and whatever its code asks, when it is read; sync or async. Sync code must
 * be pure: it runs over history too.
 * @example derive({ inputs: { cr: userCr24h }, request: z.object({ total: z.number() }), compute: ({ cr }, { request }) => (cr ?? 0) * request.total })
 * @example derive({ timeout: '50ms', cache: '1s', compute: async (_, { keys, signal }) => fetchEmbedding(keys.user_id, signal) })
 */
export function derive<I extends Record<string, AnyFeature>, S extends z.ZodType, V extends T | Promise<T>, T = Settled<V>>(
  spec: DeriveOptions & {
    inputs: I;
    request: S;
    type?: z.ZodType<T>;
    compute: Compute<I, z.output<S>, V>;
  },
): Derived<T, KeysOfFeature<I[keyof I]>, z.input<S> & RequestsOf<I>>;
export function derive<I extends Record<string, AnyFeature>, V extends T | Promise<T>, T = Settled<V>>(
  spec: DeriveOptions & {
    inputs: I;
    type?: z.ZodType<T>;
    compute: Compute<I, undefined, V>;
  },
): Derived<T, KeysOfFeature<I[keyof I]>, RequestsOf<I>>;
export function derive<S extends z.ZodType, V extends T | Promise<T>, T = Settled<V>>(
  spec: DeriveOptions & { request: S; type?: z.ZodType<T>; compute: Compute<Record<never, never>, z.output<S>, V> },
): Derived<T, never, z.input<S>>;
export function derive<V extends T | Promise<T>, T = Settled<V>>(
  spec: DeriveOptions & { type?: z.ZodType<T>; compute: Compute<Record<never, never>, undefined, V> },
): Derived<T, never, unknown>;
export function derive(
  spec: DeriveOptions & { inputs?: Record<string, AnyFeature>; request?: z.ZodType; type?: z.ZodType; compute: (inputs: never, context: never) => unknown },
): Derived {
  const { inputs = {}, request = null, type = null, timeout = '1s', cache, replayable = null, compute } = spec;
  const made = define(
    {
      kind: 'derive' as const,
      inputs: Object.freeze({ ...inputs }),
      request,
      type,
      timeout: attempt(() => parseDuration(timeout, 'timeout of a derive'), 1_000),
      cache: cache === undefined ? null : attempt(() => parseDuration(cache, 'cache of a derive'), null),
      replayable,
      compute,
    },
    derive,
  );
  checkOptions(made, spec, ['inputs', 'request', 'type', 'timeout', 'cache', 'replayable', 'compute']);
  return made;
}

/** The columns of an aggregate must hold the entity's key; otherwise a sentence for the editor. */
type Fits<E extends Entity, C> =
  E extends Entity<infer N, infer K> ? ([K] extends [keyof C] ? unknown : `these events have no column '${Exclude<K, keyof C & string>}', a key of entity '${N}'`) : never;
type KeysOfEntity<E> = E extends Entity<string, infer K> ? K : never;
type NameOfEntity<E> = E extends Entity<infer N> ? N : never;
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
): Feature<N, WithDefault<V, O>, KeysOfEntity<E>, unknown, NameOfEntity<E>>;
export function feature<E extends Entity, const N extends string, V, K extends string, R, const O extends FeatureOptions<Awaited<V>>>(
  entity: E,
  name: N & Literal<N>,
  spec: Derived<V, K, R>,
  options?: O,
): Feature<N, WithDefault<V, O>, K | KeysOfEntity<E>, R, NameOfEntity<E>>;
export function feature<E extends Entity, const N extends string, V, const O extends FeatureOptions<V>>(
  entity: E,
  name: N & Literal<N>,
  spec: Table<V>,
  options?: O,
): Feature<N, WithDefault<V, O>, KeysOfEntity<E>, unknown, NameOfEntity<E>>;
export function feature<E extends Entity, const N extends string, V, C, const O extends FeatureOptions<V>>(
  entity: E,
  name: N & Literal<N>,
  spec: (Fold<V, C> | On<V, C>) & Fits<E, C>,
  options?: O,
): Feature<N, WithDefault<V, O>, KeysOfEntity<E>, unknown, NameOfEntity<E>>;
export function feature(entity: Entity, name: string, spec: unknown, options: FeatureOptions<unknown> = {}): AnyFeature {
  const { ttl, maxAge } = options;
  const own = 'default' in options ? options : (spec as { default?: unknown } | null);
  const made = define(
    {
      kind: 'feature' as const,
      name,
      entity,
      spec: spec as FeatureSpec,
      ttl: ttl === undefined ? (entity?.ttl ?? null) : attempt(() => parseDuration(ttl, `ttl of feature ${name}`), null),
      maxAge: maxAge === undefined ? null : attempt(() => parseDuration(maxAge, `maxAge of feature ${name}`), null),
      ...(own !== null && typeof own === 'object' && 'default' in own && { default: own.default }),
      ...metaOf(options),
    },
    feature,
  );
  checkOptions(made, options, ['default', 'ttl', 'maxAge', ...META]);
  return made;
}

/** A feature under another name and other key columns. Made by {@link alias}. */
export interface Aliased<A extends string = string, F extends AnyFeature = AnyFeature, K extends string = string> {
  readonly kind: 'alias';
  readonly alias: A;
  readonly feature: F;
  /** Key column of the feature -> column of the request: `{ location_id: 'origin_id' }`. */
  readonly keys: Readonly<Record<string, string>>;
  /** Full name: `origin__temperature`. */
  readonly name: `${A}__${F['name']}`;
  readonly '~keys'?: K;
}

/**
 * The same feature for another key of the request: origin and destination of one ride. Its short name is the feature's, its full
 * name `alias__feature`; a service that holds the feature twice says `fullNames: true`.
 * @example service('ride', [alias('origin', temperature, { location_id: 'origin_id' }), alias('destination', temperature, { location_id: 'destination_id' })], { fullNames: true })
 */
export function alias<const A extends string, F extends AnyFeature, const M extends { readonly [K in KeysOfFeature<F>]?: string }>(
  name: A,
  feature: F,
  keys: M,
): Aliased<A, F, Exclude<KeysOfFeature<F>, keyof M> | (M[keyof M] & string)> {
  return define(
    {
      kind: 'alias' as const,
      alias: name,
      feature,
      keys: Object.freeze({ ...keys }) as Readonly<Record<string, string>>,
      name: `${name}__${feature?.name}` as `${A}__${F['name']}`,
    },
    alias,
  );
}

// biome-ignore lint/suspicious/noExplicitAny: variance of the keys; only src/define may.
export type Listed = AnyFeature | Aliased<string, AnyFeature, any>;

export interface Service<N extends string = string, F extends readonly Listed[] = readonly Listed[], Full extends boolean = boolean> extends Meta {
  readonly kind: 'service';
  readonly name: N;
  readonly features: F;
  /** Answers by `entity__feature` (`alias__feature`) instead of `feature`. */
  readonly fullNames: Full;
}

/**
 * A named list of features that are read together.
 * @example export const ranking = service('ranking', [userViews5m, userCr24h])
 */
export function service<const N extends string, const F extends readonly Listed[], const Full extends boolean = false>(
  name: N,
  features: F,
  options: Meta & { fullNames?: Full } = {},
): Service<N, F, Full> {
  const made = define(
    { kind: 'service' as const, name, features: Object.freeze([...(features ?? [])]) as unknown as F, fullNames: (options.fullNames ?? false) as Full, ...metaOf(options) },
    service,
  );
  checkOptions(made, options, ['fullNames', ...META]);
  return made;
}

type NameIn<X, Full> =
  X extends Aliased<string, infer F>
    ? Full extends true
      ? X['name']
      : F['name']
    : X extends AnyFeature
      ? Full extends true
        ? string extends EntityName<X>
          ? string
          : `${EntityName<X>}__${X['name']}`
        : X['name']
      : never;
type EntityName<F> = F extends { readonly '~entity'?: infer E } ? Exclude<E, undefined> & string : string;
type ValueIn<X> = X extends Aliased<string, infer F> ? ValueOf<F> : ValueOf<X>;
/** A service's answer by feature name. @example type Row = RowOf<typeof ranking> */
export type RowOf<S> = S extends Service<string, infer F, infer Full> ? { [X in F[number] as NameIn<X, Full>]: ValueIn<X> } : never;
/** The key columns a read of a service needs. @example type Keys = KeysOf<typeof ranking> // { user_id: string } */
export type KeysOf<S> = S extends Service<string, infer F> ? { [K in KeysOfFeature<F[number]>]: string } : never;
/** The request data a read of a service needs; `unknown` when none. @example type Request = RequestOfService<typeof ranking> */
export type RequestOfService<S> = S extends Service<string, infer F> ? RequestsOf<{ [I in keyof F & `${number}`]: F[I] extends Aliased<string, infer X> ? X : F[I] }> : unknown;
