/** Aggregates: what to compute (`count`, `sum`, …), over which events, filtered by columns, and over which frame of time. */
import { type DurationText, parseDuration } from '../lib/duration.ts';
import { FabraError } from '../lib/errors.ts';
import { attempt } from './site.ts';
import type { EventDef } from './stream.ts';

/** Condition on one column: a literal is equality; operators combine with "and". Null is missing: every comparison with it is false. */
export type Condition<V> =
  | NonNullable<V>
  | ({ eq?: NonNullable<V>; in?: readonly NonNullable<V>[] } & (NonNullable<V> extends boolean
      ? object
      : { gt?: NonNullable<V>; gte?: NonNullable<V>; lt?: NonNullable<V>; lte?: NonNullable<V> }) & { not?: Condition<V> });

/** A filter over columns. Entries combine with "and". */
export type Filter<C> = { [K in keyof C]?: Condition<C[K]> } & {
  not?: Filter<C>;
  and?: readonly Filter<C>[];
  or?: readonly Filter<C>[];
};

/** An aggregate before it has a frame. */
export interface AggNode {
  readonly op: string;
  readonly events: readonly EventDef[];
  readonly column?: string;
  readonly where?: object;
  readonly n?: number;
  readonly q?: number;
  readonly cap?: number;
}
export interface RatioNode {
  readonly op: 'ratio';
  readonly num: AggNode;
  readonly den: AggNode;
  readonly zero?: number;
}
export type FrameNode =
  | { readonly kind: 'over'; readonly w: number }
  | { readonly kind: 'tumbling'; readonly w: number; readonly previous: boolean }
  | { readonly kind: 'hopping'; readonly w: number; readonly h: number }
  | { readonly kind: 'lifetime' }
  | { readonly kind: 'session'; readonly gap: number };

/** An aggregate with its frame: what `feature` takes. `V` is the value's type, `C` the columns of its events. */
export interface Windowed<V, C> {
  readonly kind: 'window';
  readonly agg: AggNode | RatioNode;
  readonly frame: FrameNode;
  readonly '~value'?: V;
  readonly '~columns'?: (c: C) => void;
}

/** Choose the time a value looks at. Every frame is closed at its start and open at its end. */
export interface Framed<V, C> {
  /** `[T-w, T)`, exact at any T. */
  over(w: DurationText): Windowed<V, C>;
  /** `[floor(T,w), T)`; with `previous` the last complete bucket. Aligned to the epoch. */
  tumbling(w: DurationText, options?: { previous?: boolean }): Windowed<V, C>;
  /** `[floor(T,h)-w, floor(T,h))`. */
  hopping(w: DurationText, h: DurationText): Windowed<V, C>;
  /** All events before T; null for a key that has none. */
  lifetime(): Windowed<V | null, C>;
  /** The newest session before T: events no further apart than `gap`; null for a key that has none. */
  perSession(options: { gap: DurationText }): Windowed<V | null, C>;
}

export interface Agg<V, C> extends Framed<V, C> {
  readonly node: AggNode;
  /** Keep events that pass; calling it again narrows further. */
  where(filter: Filter<C>): Agg<V, C>;
}

function framed<V, C>(agg: AggNode | RatioNode): Framed<V, C> {
  const at = (frame: FrameNode): Windowed<V, C> => Object.freeze({ kind: 'window' as const, agg, frame: Object.freeze(frame) });
  return {
    over: w => at({ kind: 'over', w: positive(w, 'window') }),
    tumbling: (w, options) => at({ kind: 'tumbling', w: positive(w, 'window'), previous: options?.previous ?? false }),
    hopping: (w, h) => at({ kind: 'hopping', w: positive(w, 'window'), h: positive(h, 'hop') }),
    lifetime: () => at({ kind: 'lifetime' }),
    perSession: ({ gap }) => at({ kind: 'session', gap: positive(gap, 'gap') }),
  };
}

function positive(text: DurationText, what: string): number {
  return attempt(() => {
    const ms = parseDuration(text, what);
    if (ms > 0) return ms;
    throw new FabraError('BAD_DURATION', `${what} ${JSON.stringify(text)} must be above zero`, { hint: "Write a number and a unit: '30s', '5m', '1.5h', '2d'." });
  }, 1);
}

function agg<V, C>(node: AggNode): Agg<V, C> {
  return Object.freeze({
    ...framed<V, C>(node),
    node,
    where: (filter: Filter<C>) => agg<V, C>({ ...node, where: node.where ? { and: [node.where, filter] } : filter }),
  });
}

/** One event or several of the same stream. */
type Events = EventDef | readonly [EventDef, ...EventDef[]];
type ColumnsOfEvent<E> = E extends EventDef<string, infer C> ? C : never;
/** Columns that all members of a union have, with the union of their types. */
type Shared<C> = Pick<C, keyof C>;
/** Columns of an event, or those that several share. */
type Columns<E> = E extends readonly EventDef[] ? Shared<ColumnsOfEvent<E[number]>> : ColumnsOfEvent<E>;
type Of<C, T> = { [K in keyof C]-?: NonNullable<C[K]> extends T ? K : never }[keyof C] & string;
type Any<E> = keyof Columns<E> & string;
type Value<E, K> = NonNullable<Columns<E>[K & keyof Columns<E>]>;
type Numeric = number | bigint;
type Sorted = number | bigint | string;
const list = (events: Events): EventDef[] => (Array.isArray(events) ? [...(events as readonly EventDef[])] : [events as EventDef]);
const over = <V, E>(op: string, events: Events, rest: Omit<Partial<AggNode>, 'op' | 'events'> = {}): Agg<V, Columns<E>> => agg({ op, events: list(events), ...rest });

/** Number of events. 0 when there is none. @example count(view).over('5m') */
export const count = <E extends readonly [EventDef, ...EventDef[]]>(...events: E): Agg<number, Columns<E>> => over('count', events);

/** Exact sum; nulls skipped, 0 when empty. @example sum(purchase, 'revenue').over('24h') */
export const sum = <E extends Events, K extends Of<Columns<E>, Numeric>>(events: E, column: K): Agg<Value<E, K> extends bigint ? bigint : number, Columns<E>> =>
  over('sum', events, { column });

/** Exact sum over count of the non-null, rounded once; null when empty. @example avg(purchase, 'price').over('1h') */
export const avg = <E extends Events, K extends Of<Columns<E>, Numeric>>(events: E, column: K): Agg<number | null, Columns<E>> => over('avg', events, { column });

/** Smallest value; strings by UTF-8 bytes; null when empty. @example min(purchase, 'price').over('1h') */
export const min = <E extends Events, K extends Of<Columns<E>, Sorted>>(events: E, column: K): Agg<Value<E, K> | null, Columns<E>> => over('min', events, { column });

/** Greatest value; null when empty. @example max(purchase, 'price').over('1h') */
export const max = <E extends Events, K extends Of<Columns<E>, Sorted>>(events: E, column: K): Agg<Value<E, K> | null, Columns<E>> => over('max', events, { column });

/** Sample standard deviation (n-1); null under two values. @example stddev(purchase, 'price').over('24h') */
export const stddev = <E extends Events, K extends Of<Columns<E>, Numeric>>(events: E, column: K): Agg<number | null, Columns<E>> => over('stddev', events, { column });

/** Number of different non-null values, exact. @example countDistinct(view, 'product_id').over('24h') */
export const countDistinct = <E extends Events, K extends Any<E>>(events: E, column: K): Agg<number, Columns<E>> => over('countDistinct', events, { column });

/** Estimate by HyperLogLog (12 bits, standard error 1.6 %), the same number on every path. @example approxCountDistinct(view, 'product_id').over('7d') */
export const approxCountDistinct = <E extends Events, K extends Any<E>>(events: E, column: K): Agg<number, Columns<E>> => over('approxCountDistinct', events, { column });

/** Value of the oldest event by (time, id), null kept. @example first(view, 'geo.country').lifetime() */
export const first = <E extends Events, K extends Any<E>>(events: E, column: K): Agg<Value<E, K> | null, Columns<E>> => over('first', events, { column });

/** Value of the newest event by (time, id), null kept. @example last(view, 'product_id').over('1h') */
export const last = <E extends Events, K extends Any<E>>(events: E, column: K): Agg<Value<E, K> | null, Columns<E>> => over('last', events, { column });

/** Values of the n oldest events, oldest first. @example firstN(view, 'product_id', 5).over('1h') */
export const firstN = <E extends Events, K extends Any<E>>(events: E, column: K, n: number): Agg<Columns<E>[K & keyof Columns<E>][], Columns<E>> =>
  over('firstN', events, { column, n });

/** Values of the n newest events, newest first. @example lastN(view, 'product_id', 5).over('1h') */
export const lastN = <E extends Events, K extends Any<E>>(events: E, column: K, n: number): Agg<Columns<E>[K & keyof Columns<E>][], Columns<E>> =>
  over('lastN', events, { column, n });

/** The k most frequent values, ties by value ascending. @example topK(view, 'product_id', 3).over('24h') */
export const topK = <E extends Events, K extends Any<E>>(events: E, column: K, k: number): Agg<Value<E, K>[], Columns<E>> => over('topK', events, { column, n: k });

/**
 * Nearest-rank percentile, exact up to `cap` values (default 100,000); more is ERROR(CAP_EXCEEDED): use approxPercentile then.
 * @param q above 0, at most 1.
 * @example percentile(purchase, 'price', 0.95).over('24h')
 */
export const percentile = <E extends Events, K extends Of<Columns<E>, Numeric>>(
  events: E,
  column: K,
  q: number,
  options: { cap?: number } = {},
): Agg<Value<E, K> | null, Columns<E>> => over('percentile', events, { column, q, cap: options.cap ?? 100_000 });

/** Percentile by a sketch with integer buckets, relative error at most 0.8 %, the same number on every path. @example approxPercentile(view, 'price', 0.5).over('7d') */
export const approxPercentile = <E extends Events, K extends Of<Columns<E>, Numeric>>(events: E, column: K, q: number): Agg<Value<E, K> | null, Columns<E>> =>
  over('approxPercentile', events, { column, q });

/** Seconds between the oldest and the newest event; null when there is none. @example span(view, cart).perSession({ gap: '30m' }) */
export const span = <E extends readonly [EventDef, ...EventDef[]]>(...events: E): Agg<number | null, Columns<E>> => over('span', events);

/**
 * Exact quotient of two aggregates over the same frame, rounded once; null when either is null. A zero denominator gives `zero`, else null.
 * @example ratio(count(purchase), count(view)).over('24h')
 */
export function ratio<A, B, Z extends number | null = null>(
  num: Agg<number | bigint | null, A>,
  den: Agg<number | bigint | null, B>,
  options: { zero?: Z } = {},
): Framed<number | null, A | B> {
  return framed({ op: 'ratio', num: num.node, den: den.node, ...(options.zero != null && { zero: options.zero }) });
}
