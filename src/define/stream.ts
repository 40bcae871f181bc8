import type { z } from 'zod';
import { type DurationText, parseDuration } from '../lib/duration.ts';
import type { ColumnsOf } from './columns.ts';
import { attempt, checkOptions, define } from './site.ts';

export interface StreamOptions {
  /**
   * Event id: a column, a hash of columns, or `'position'` (line of the replayed file, else offset in the log). It is what makes a
   * second delivery a duplicate. Default `event_id`.
   */
  id?: string | { hashOf: readonly string[] };
  /** Column of the event time. Default `timestamp`. */
  time?: string;
  /** Column of the event type. Default `event_type`; null for a log of one event type without such a column. */
  type?: string | null;
  /** How far behind the newest event of its partition an event may arrive. Default `10m`. */
  lateness?: DurationText;
  /** Quarantine events further ahead of the partition's newest than this; off by default. */
  maxAhead?: DurationText;
  description?: string;
}

/** An event type with its columns `C` (dotted names to types), its payload `P` (the schema's output) and what a sender writes, `I`. */
export interface EventDef<T extends string = string, C extends object = object, P = unknown, I = unknown> {
  readonly kind: 'event';
  readonly type: T;
  readonly stream: Stream;
  readonly schema: z.ZodType;
  /** Type only. */
  readonly '~columns'?: C;
  /** Type only. */
  readonly '~payload'?: P;
  /** Type only. */
  readonly '~input'?: I;
}

export interface Stream<N extends string = string> {
  readonly kind: 'stream';
  readonly name: N;
  readonly id: string | { readonly hashOf: readonly string[] };
  readonly time: string;
  /** Null when the log holds one event type and has no such column. */
  readonly type: string | null;
  /** Milliseconds. */
  readonly lateness: number;
  readonly maxAhead: number | null;
  readonly description?: string | undefined;
  /**
   * Declares an event type. Columns are the schema's output; a `transform` must state its output with `.pipe(z.object(…))`.
   * @example const view = clicks.event('page_view', z.object({ user_id: z.string() }))
   */
  event<const T extends string, S extends z.ZodType<object>>(type: T, schema: S): EventDef<T, ColumnsOf<z.output<S>>, z.output<S>, z.input<S>>;
}

/**
 * A log of events with its id, time and type columns and its rule for late ones.
 * @throws FabraError BAD_DURATION.
 * @example const clicks = stream('events_raw', { id: 'event_id', time: 'event_ts', type: 'event_type', lateness: '10m' })
 */
export function stream<const N extends string>(name: N, options: StreamOptions = {}): Stream<N> {
  const made: Stream<N> = define(
    {
      kind: 'stream' as const,
      name,
      id: options.id ?? 'event_id',
      time: options.time ?? 'timestamp',
      type: options.type === undefined ? 'event_type' : options.type,
      lateness: attempt(() => parseDuration(options.lateness ?? '10m', `lateness of stream ${name}`), 0),
      maxAhead: options.maxAhead === undefined ? null : attempt(() => parseDuration(options.maxAhead ?? '', `maxAhead of stream ${name}`), null),
      description: options.description,
      event<const T extends string, S extends z.ZodType<object>>(type: T, schema: S): EventDef<T, ColumnsOf<z.output<S>>, z.output<S>, z.input<S>> {
        return define({ kind: 'event' as const, type, stream: made as Stream, schema }, made.event);
      },
    },
    stream,
  );
  checkOptions(made, options, ['id', 'time', 'type', 'lateness', 'maxAhead', 'description']);
  return made;
}
