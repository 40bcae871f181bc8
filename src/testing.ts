/**
 * Features under test: events in, values out, by the real engine, worker and handlers, on a private store that is gone afterwards
 * and a clock that the test owns. No server, no project, no waiting.
 */
import type { Asked, CellsAsked, InputOfEvent, Instant, KeysAsked, Keyless, PushedRow, ReadArgs, RowAsked } from './define/asked.ts';
import type { AnyFeature } from './define/feature.ts';
import type { EventDef } from './define/stream.ts';
import type { Harness } from './runtime/testing/harness.ts';
import { shape } from './store.ts';

export interface TestOptions {
  /** Day that times like `'12:05'` are on, default `'2025-01-15'` (UTC). */
  day?: string;
  /** Definitions that are not asked for and still needed: features that a handler gets or sets, events that feed nothing. */
  with?: readonly object[];
}

export interface EventOptions {
  /** Event id; two events of one id and time are one delivered twice. A number counted up when unset. */
  id?: string;
  /** Stands for the key column that the payload leaves out. */
  entityId?: string | number;
}

/** `'12:05'`, `'12:05:30.250'` on the test's day, or any instant. */
export type TestTime = Instant;

/** A row for {@link FeatureTest.rows}: keys, `value`, and `at` instead of `timestamp`. */
export type TestRow<F extends AnyFeature> = Omit<PushedRow<F>, 'timestamp'> & { at?: TestTime };

/** A handler's event that was given up. */
export interface TestDeadLetter {
  feature: string;
  event_type: string;
  event_id: string;
  attempts: number;
  /** The last error. */
  error: string;
}

/** How events were judged, as `fabra status` counts them. */
export interface TestCounts {
  read: number;
  applied: number;
  late: number;
  duplicate: number;
  quarantined: number;
  rejected: number;
}

export interface FeatureTest<A extends Asked> extends AsyncDisposable {
  /**
   * An event arrives, with its time: the order of the calls is the order of arrival. Nothing is read before the next {@link FeatureTest.at}.
   * @example t.event(view, { user_id: 'u1', product_id: 'p1' }, '12:00')
   */
  event<E extends EventDef>(event: E, payload: Keyless<E>, at: TestTime, options: EventOptions & { entityId: string | number }): this;
  event<E extends EventDef>(event: E, payload: InputOfEvent<E>, at: TestTime, options?: EventOptions): this;
  /**
   * Rows of a feature by SQL or of a pushed one, instead of its source.
   * @example t.rows(favorite, [{ user_id: 'u1', value: 'books', at: '11:00' }])
   */
  rows<F extends AnyFeature>(feature: F, rows: TestRow<F> | readonly TestRow<F>[]): this;
  /**
   * Values at an instant, after everything that was given so far has arrived and its handlers are done. Keys may be left out where
   * the events have only one.
   * @throws FabraError BAD_EVENT, BAD_VALUE for what was given; COMPILE_FAILED for the features; BAD_KEY.
   * @example const { user_views_5m } = await t.at('12:05', { user_id: 'u1' })
   */
  at(time: TestTime, keys: readonly KeysAsked<A>[], ...options: TestArgs<A, true>): Promise<RowAsked<A>[]>;
  at(time: TestTime, ...given: AtArgs<A>): Promise<RowAsked<A>>;
  /** The same with status, time and reason of every value. */
  cells(time: TestTime, keys: readonly KeysAsked<A>[], ...options: TestArgs<A, true>): Promise<CellsAsked<A>[]>;
  cells(time: TestTime, ...given: AtArgs<A>): Promise<CellsAsked<A>>;
  /** Events that handlers gave up. */
  deadLetters(): Promise<TestDeadLetter[]>;
  /** How many events counted, were late, were duplicates. */
  counts(): Promise<TestCounts>;
  /** Removes the store; the end of the process does too. */
  close(): Promise<void>;
}
type TestArgs<A, M extends boolean> = ReadArgs<A, M, Record<never, never>>;
type AtArgs<A> = TestArgs<A, false> extends [unknown] ? [keys: KeysAsked<A>, ...options: TestArgs<A, false>] : [keys?: KeysAsked<A>, ...options: TestArgs<A, false>];

/**
 * Begins a test of features, aliases or a service.
 * @example
 * const t = testFeatures([userViews5m])
 * t.event(view, { user_id: 'u1' }, '12:00')
 * assert.deepEqual(await t.at('12:04'), { user_views_5m: 1 })
 * assert.deepEqual(await t.at('12:06'), { user_views_5m: 0 })
 */
export function testFeatures<const A extends Asked>(features: A, options: TestOptions = {}): FeatureTest<A> {
  // Loaded at the first `at`: a test file that only declares costs nothing.
  let harness: Promise<Harness> | null = null;
  const steps: ((h: Harness) => void)[] = [];
  const ready = async (): Promise<Harness> => {
    harness ??= import('./runtime/testing/harness.ts').then(async ({ Harness }) => new Harness(await stores(), features, options));
    const h = await harness;
    for (const step of steps.splice(0)) step(h);
    return h;
  };
  const read = async (time: TestTime, keys: unknown, given: unknown, whole: boolean): Promise<unknown> => {
    const { names, cells, many } = await (await ready()).read(time, keys, given);
    return shape({ names, cells }, many ? [] : {}, c => (whole ? c : c.value));
  };
  const test = {
    event(event: unknown, payload: object, at: TestTime, more: EventOptions = {}) {
      steps.push(h => h.event(event, payload as Record<string, unknown>, at, more));
      return test;
    },
    rows(feature: unknown, rows: unknown) {
      steps.push(h => h.rows(feature, (Array.isArray(rows) ? rows : [rows]) as Record<string, unknown>[]));
      return test;
    },
    at: (time: TestTime, keys?: unknown, given?: unknown) => read(time, keys, given, false),
    cells: (time: TestTime, keys?: unknown, given?: unknown) => read(time, keys, given, true),
    deadLetters: async () => (await ready()).deadLetters(),
    counts: async () => (await ready()).counts(),
    close: async () => (await harness)?.close(),
    [Symbol.asyncDispose]: async () => (await harness)?.close(),
  };
  return test as unknown as FeatureTest<A>;
}

/** Stores in a folder of their own, opened with the test's clock. */
async function stores(): Promise<ConstructorParameters<typeof Harness>[0]> {
  const [{ openStores }, { resolveConfig }] = await Promise.all([import('./cli/wire.ts'), import('./config/resolve.ts')]);
  return async (dir, clock) => {
    const config = await resolveConfig({ dir, env: {} });
    return openStores(config, { store: `${dir}/store`, offline: `${dir}/offline`, clock, threads: 1 });
  };
}
