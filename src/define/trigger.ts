/** Features that events trigger: `fold`, a pure state machine that history can replay, and `on`, a handler with effects. */
import type { z } from 'zod';
import { type DurationText, parseDuration } from '../lib/duration.ts';
import type { AnyFeature } from './feature.ts';
import { attempt, checkOptions, define } from './site.ts';
import type { EventDef } from './stream.ts';

/** An event as code sees it. `timestamp` is epoch ms. */
export interface EventValue<T extends string = string, P = unknown> {
  readonly event_type: T;
  readonly event_id: string;
  /** The entity's key; parts of a composite one joined by `,`. */
  readonly entity_id: string;
  readonly timestamp: number;
  readonly payload: P;
}

type OneOrMore = EventDef | readonly [EventDef, ...EventDef[]];
type Each<E> = E extends readonly EventDef[] ? E[number] : E;
/** The event that code gets: one member per event type, told apart by `event_type`. */
export type EventOf<E> = Each<E> extends infer D ? (D extends EventDef<infer T, infer _C, infer P> ? EventValue<T, P> : never) : never;
type ColumnsOfAll<E> = (Each<E> extends infer D ? (D extends EventDef<string, infer C> ? (c: C) => void : never) : never) extends (c: infer C) => void ? C : never;
const list = (events: OneOrMore): EventDef[] => (Array.isArray(events) ? [...(events as readonly EventDef[])] : [events as EventDef]);

/** A state machine over events in `(time, stream, id)` order. Made by {@link fold}. */
export interface Fold<V = unknown, C = unknown> {
  readonly kind: 'fold';
  readonly events: readonly EventDef[];
  readonly state: z.ZodType;
  readonly initial: unknown;
  readonly type: z.ZodType | null;
  readonly step: (state: never, event: never) => unknown;
  readonly value: ((state: never) => unknown) | null;
  readonly '~value'?: V;
  readonly '~columns'?: (c: C) => void;
}

/**
 * A value stepped by events. `step` and `value` are pure: no clock, no I/O, nothing changed in place; the same code runs over
 * the stream, at a read of the past and over history. The state is JSON.
 * @example fold([credit, debit], { state: z.number(), initial: 0, step: (s, { event_type, payload }) => s + (event_type === 'credit' ? payload.amount : -payload.amount) })
 */
export function fold<const E extends OneOrMore, S>(
  events: E,
  spec: { state: z.ZodType<S>; initial: NoInfer<S>; step: (state: S, event: EventOf<E>) => NoInfer<S>; value?: undefined; type?: undefined },
): Fold<S | null, ColumnsOfAll<E>>;
export function fold<const E extends OneOrMore, S, V>(
  events: E,
  spec: { state: z.ZodType<S>; initial: NoInfer<S>; step: (state: S, event: EventOf<E>) => NoInfer<S>; value: (state: NoInfer<S>) => V; type?: z.ZodType<NonNullable<NoInfer<V>>> },
): Fold<V | null, ColumnsOfAll<E>>;
export function fold(
  events: OneOrMore,
  spec: { state: z.ZodType; initial: unknown; step: (state: never, event: never) => unknown; value?: ((state: never) => unknown) | undefined; type?: z.ZodType | undefined },
): Fold {
  const { state, initial, step, value = null, type = null } = spec;
  const made = define({ kind: 'fold' as const, events: Object.freeze(list(events)), state, initial, type, step, value }, fold);
  checkOptions(made, spec, ['state', 'initial', 'step', 'value', 'type']);
  return made;
}

export interface Retries {
  /** Attempts after the first, default 3. */
  max?: number;
  /** `exponential` (default) doubles the pause each time, `fixed` keeps it. */
  backoff?: 'exponential' | 'fixed';
  /** First pause, default `'1s'`. */
  delay?: DurationText;
  /** Longest pause, default `'1m'`. */
  maxDelay?: DurationText;
}

type ValueOfFeature<F> = F extends { readonly '~value'?: infer V } ? Exclude<V, undefined> : never;

/** What a handler is given. */
export interface HandlerContext<E, V> {
  readonly event: EventOf<E>;
  /** Key columns of the entity: `{ user_id: 'u1' }`. */
  readonly key: Readonly<Record<string, string>>;
  /**
   * The feature's value so far. A handler that takes it builds on it: its result counts from then on, whatever the event's
   * time. One that does not take it states a last value: the newest event time wins.
   */
  readonly current: V | null;
  /** 1 for the first. */
  readonly attempt: number;
  /** Value of another feature, for the event's keys unless others are given. */
  get<F extends AnyFeature>(feature: F, keys?: Readonly<Record<string, string>>): Promise<ValueOfFeature<F> | null>;
  /** Writes a {@link pushed} feature in the same commit. @throws when it is not one, or the value does not fit. */
  set<F extends AnyFeature>(feature: F, value: ValueOfFeature<F>, keys?: Readonly<Record<string, string>>): void;
  /** Aborted when the attempt's time is over or the worker stops. */
  readonly signal: AbortSignal;
}

/** A handler of events. Made by {@link on}. */
export interface On<V = unknown, C = unknown> {
  readonly kind: 'on';
  readonly events: readonly EventDef[];
  readonly type: z.ZodType | null;
  readonly retries: { readonly max: number; readonly backoff: 'exponential' | 'fixed'; readonly delay: number; readonly maxDelay: number };
  /** Milliseconds. */
  readonly timeout: number;
  readonly handle: (context: never) => unknown;
  readonly '~value'?: V;
  readonly '~columns'?: (c: C) => void;
}

/**
 * A handler run once per event and key, in the order of the log, one at a time per key. What it returns is recorded with the
 * event's id in one commit and never computed again; `undefined` leaves the value as it is, `null` clears it. A throw is tried
 * again by `retries`, then the event goes to the dead letters while everything else goes on.
 * @example on(view, { type: z.string(), retries: { max: 3 }, handle: async ({ event, signal }) => lookUp(event.payload.product_id, { signal }) })
 */
export function on<const E extends OneOrMore, V>(
  events: E,
  spec: {
    type: z.ZodType<V>;
    retries?: Retries;
    timeout?: DurationText;
    handle: (context: HandlerContext<E, NoInfer<V>>) => NoInfer<V> | null | undefined | Promise<NoInfer<V> | null | undefined>;
  },
): On<V | null, ColumnsOfAll<E>> {
  const { type, retries = {}, timeout = '30s', handle } = spec;
  const ms = (text: DurationText, what: string, instead: number): number => attempt(() => parseDuration(text, what), instead);
  const made = define(
    {
      kind: 'on' as const,
      events: Object.freeze(list(events)),
      type,
      retries: Object.freeze({
        max: retries.max ?? 3,
        backoff: retries.backoff ?? ('exponential' as const),
        delay: ms(retries.delay ?? '1s', 'delay of retries', 1_000),
        maxDelay: ms(retries.maxDelay ?? '1m', 'maxDelay of retries', 60_000),
      }),
      timeout: ms(timeout, 'timeout of a handler', 30_000),
      handle,
    },
    on,
  );
  checkOptions(made, spec, ['type', 'retries', 'timeout', 'handle']);
  const stray = Object.keys(retries).filter(k => !['max', 'backoff', 'delay', 'maxDelay'].includes(k));
  if (stray.length) checkOptions(made, { [`retries.${stray[0]}`]: 0 }, ['retries.max', 'retries.backoff', 'retries.delay', 'retries.maxDelay']);
  return made;
}

/** Thrown by a handler: trying again cannot help, the event goes to the dead letters at once. */
export class NonRetriableError extends Error {
  override readonly name = 'NonRetriableError';
}

/** Thrown by a handler: not before this time (a duration, or an instant). @example throw new RetryAfterError('rate limited', '30s') */
export class RetryAfterError extends Error {
  override readonly name = 'RetryAfterError';
  readonly after: DurationText | Date;
  constructor(message: string, after: DurationText | Date, options?: ErrorOptions) {
    super(message, options);
    this.after = after;
  }
}
