/** Types of reading and publishing, the same for the store, the client and the test harness. */
import type { DurationText } from '../lib/duration.ts';
import type { AnyFeature, KeysOf, Listed, RequestOfService, RowOf, Service, ValueOf } from './feature.ts';
import type { EventDef } from './stream.ts';

/** What a read asks for: a service, or a list of features and aliases. */
export type Asked = Service | readonly Listed[];
type AsService<A> = A extends Service ? A : A extends readonly Listed[] ? Service<string, A, false> : never;
/** Key columns that a read needs. */
export type KeysAsked<A> = KeysOf<AsService<A>>;
/** Values by name. */
export type RowAsked<A> = RowOf<AsService<A>>;
/** Request data that its on-demand features need; `unknown` when none does. */
export type RequestAsked<A> = RequestOfService<AsService<A>>;

/** ISO 8601 text, epoch milliseconds or a Date. */
export type Instant = string | number | Date;

export interface ReadOptions {
  /** Values as they were at this instant; now when unset. */
  asOf?: Instant;
  /** Values older than this are stale, whatever their feature says; for all, or by name of the answer. */
  maxAge?: DurationText | Readonly<Record<string, DurationText>>;
  /** Stale values make the read fail with STALE_FEATURES. */
  strict?: boolean;
}
/** The third argument: required when on-demand code needs request data. `M`: one for all rows, or a list of one per row. */
export type ReadArgs<A, M extends boolean = false, O = ReadOptions> =
  Record<never, never> extends RequestAsked<A> ? [options?: O & { request?: RequestGiven<A, M> }] : [options: O & { request: RequestGiven<A, M> }];
type RequestGiven<A, M> = M extends true ? RequestAsked<A> | readonly RequestAsked<A>[] : RequestAsked<A>;

export type Status = 'PRESENT' | 'NULL_VALUE' | 'NOT_FOUND' | 'OUTSIDE_MAX_AGE' | 'DEFAULTED' | 'ERROR';

/** A value with where it comes from. */
export interface CellOf<V> {
  /** Null, whatever the type says, when the status is ERROR. */
  value: V | null;
  status: Status;
  /** Epoch ms of the newest event or row in it; null when there is none. */
  ts: number | null;
  /** Why, for DEFAULTED and ERROR. */
  reason?: string;
  /** Older than the `maxAge` that holds for it: both in milliseconds. */
  stale?: { age: number; maxAge: number };
}
/** Cells by name. */
export type CellsAsked<A> = { [N in keyof RowAsked<A>]: CellOf<RowAsked<A>[N]> };

/** What a sender of an event writes: the input of its schema. */
export type InputOfEvent<E> = E extends { readonly '~input'?: infer I } ? Exclude<I, undefined> : never;

export interface PublishOptions {
  /** What makes a second delivery a duplicate; made up when unset. */
  eventId?: string;
  /** Event time; now when unset. */
  timestamp?: Instant;
  /** Stands for the key column that the payload leaves out. */
  entityId?: string | number;
}
/** With `entityId`, the payload may leave its key out. */
export type Keyless<E> = Partial<InputOfEvent<E>>;
export interface WithEntity extends PublishOptions {
  entityId: string | number;
}
/** One of many events. */
export type Outgoing<E> = PublishOptions & ({ payload: InputOfEvent<E> } | { payload: Keyless<E>; entityId: string | number });

/** Where an event is: durable in the log. */
export interface Published {
  event_id: string;
  /** `stream/partition/offset`. */
  position: string;
}

/** A value for one key, from outside. */
export type PushedRow<F extends AnyFeature> = KeysAsked<readonly [F]> & {
  /** Null clears it. */
  value: NonNullable<ValueOf<F>> | null;
  /** From when on it counts; now when unset. */
  timestamp?: Instant;
};
export type { AnyFeature, EventDef };
