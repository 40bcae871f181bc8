/**
 * A project's features in this process, without a server: reading, publishing, and the worker. Drivers load with
 * {@link openStore}, not before.
 */
import type {
  Asked,
  CellOf,
  CellsAsked,
  InputOfEvent,
  KeysAsked,
  Keyless,
  Outgoing,
  Published,
  PublishOptions,
  PushedRow,
  ReadArgs,
  RowAsked,
  WithEntity,
} from './define/asked.ts';
import type { AnyFeature, ValueOf } from './define/feature.ts';
import type { EventDef } from './define/stream.ts';
import { FabraError } from './lib/errors.ts';
import type { AccessAnswer, AccessOptions, FeatureAccess, OutgoingEvent } from './runtime/access.ts';
import type { Compiled, Project } from './runtime/project.ts';
import type { WorkerSummary } from './runtime/worker.ts';

export interface OpenOptions {
  /** Folder of the project; default: the one that the working directory is in. */
  project?: string;
  /** Configuration file, when it is not the folder's own. */
  config?: string;
  /** Applies the definitions when they differ compatibly from what is applied, as `fabra apply` does. */
  apply?: boolean;
}

/** What became of one event of many. */
export type PublishOutcome = ({ ok: true } & Published) | { ok: false; error: FabraError };

/** An open project. Made by {@link openStore}. */
export interface Store extends AsyncDisposable {
  /** Folder of the project. */
  readonly dir: string;
  /**
   * Values of a service or a list of features, by name; an array of keys gives an array of rows. What is missing is null (or the
   * declared default), also after an error: {@link Store.cells} tells them apart.
   * @throws FabraError UNKNOWN_FEATURE, BAD_KEY, BAD_REQUEST, STALE_FEATURES (`strict`), AS_OF_EXPIRED, STORE_FAILED.
   * @example const row = await store.features(ranking, { user_id: 'u1', product_id: 'p9' }, { request: { cart_total: 80 } })
   */
  features<const A extends Asked>(asked: A, keys: readonly KeysAsked<A>[], ...options: ReadArgs<A, true>): Promise<RowAsked<A>[]>;
  features<const A extends Asked>(asked: A, keys: KeysAsked<A>, ...options: ReadArgs<A>): Promise<RowAsked<A>>;
  /** The same with status, time and reason of every value. */
  cells<const A extends Asked>(asked: A, keys: readonly KeysAsked<A>[], ...options: ReadArgs<A, true>): Promise<CellsAsked<A>[]>;
  cells<const A extends Asked>(asked: A, keys: KeysAsked<A>, ...options: ReadArgs<A>): Promise<CellsAsked<A>>;
  /** One value. @example const n = await store.get(userViews5m, { user_id: 'u1' }) */
  get<F extends AnyFeature>(feature: F, keys: KeysAsked<readonly [F]>, ...options: ReadArgs<readonly [F]>): Promise<ValueOf<F>>;
  /**
   * Publishes an event; it is on disk when this resolves, and counts once a worker has read it.
   * @throws FabraError UNKNOWN_EVENT, BAD_EVENT, OVERLOADED, DISK_FULL.
   * @example await store.publish(purchase, { user_id: 'u1', amount: 9.99 }, { eventId: 'order-17' })
   */
  publish<E extends EventDef>(event: E, payload: Keyless<E>, options: WithEntity): Promise<Published>;
  publish<E extends EventDef>(event: E, payload: InputOfEvent<E>, options?: PublishOptions): Promise<Published>;
  /** Publishes many in one flush; a bad one costs no good one. */
  publishMany<E extends EventDef>(event: E, events: readonly Outgoing<E>[]): Promise<PublishOutcome[]>;
  /**
   * Gives values to a {@link pushed} feature (or one by SQL); the newest time wins, in any order of writes. Served when resolved.
   * @throws FabraError UNKNOWN_FEATURE, BAD_KEY, BAD_VALUE; nothing is written then.
   * @example await store.push(segment, [{ user_id: 'u1', value: 'vip' }])
   */
  push<F extends AnyFeature>(feature: F, rows: PushedRow<F> | readonly PushedRow<F>[]): Promise<void>;
  /** Stops the workers of this store, writes what was taken, and closes. */
  close(): Promise<void>;
}

interface Inside {
  project: Project;
  compiled: Compiled;
  access: FeatureAccess;
  /** As configured. */
  batchSize: number | undefined;
  pollMs: number | undefined;
  workers: Set<Worker>;
  closing: Promise<void> | null;
}

const insides = new WeakMap<Store, Inside>();

/**
 * Opens a project: its configuration, its definitions and its stores.
 * @throws FabraError NO_PROJECT, COMPILE_FAILED, NOT_APPLIED (unless `apply`), BAD_CONFIG, STORE_FAILED.
 * @example const store = await openStore(); const { user_views_5m } = await store.features([userViews5m], { user_id: 'u1' })
 */
export async function openStore(options: OpenOptions = {}): Promise<Store> {
  const [wire, { compileProject }, { planApply, applyRegistry }, { FeatureAccess }] = await Promise.all([
    import('./cli/wire.ts'),
    import('./registry/compile.ts'),
    import('./runtime/apply.ts'),
    import('./runtime/access.ts'),
  ]);
  const call = { common: { project: options.project, config: options.config, yes: false, json: false, quiet: true }, cwd: process.cwd(), env: process.env };
  const config = await wire.openConfig(call);
  const compiled: Compiled = await compileProject(config.features, config.dir);
  const project = await wire.openStores(config, wire.projectPlaces(config, process.env));
  try {
    if (options.apply) await applyRegistry(project, compiled, { newVersion: false, consent: false });
    const applied = await project.catalog.applied();
    if (!applied) throw new FabraError('NOT_APPLIED', 'no definitions are applied yet', { hint: 'Run: fabra apply' });
    const { diff } = await planApply(project, compiled);
    if (diff.changes.length > 0)
      throw new FabraError('NOT_APPLIED', `the definitions differ from the applied ones (revision ${applied.revision})`, { hint: 'Run: fabra plan, then fabra apply' });
    const runs = { registry: applied.registry, code: compiled.code };
    const { workerBatchSize, workerPollInterval, origins } = config;
    return storeOf({
      project,
      compiled: runs,
      access: new FeatureAccess(project, runs),
      batchSize: workerBatchSize ?? undefined,
      pollMs: origins.workerPollInterval === 'default' ? undefined : workerPollInterval * 1000,
      workers: new Set(),
      closing: null,
    });
  } catch (e) {
    await project.close();
    throw e;
  }
}

function requireOpen(inside: Inside): void {
  if (inside.closing) throw new FabraError('STORE_FAILED', 'this store is closed', { hint: 'Open another: await openStore().' });
}

function storeOf(inside: Inside): Store {
  const { project, access } = inside;
  const open = (): void => requireOpen(inside);
  const read = async (asked: unknown, keys: unknown, options: unknown): Promise<AccessAnswer> => {
    open();
    return access.read(asked, Array.isArray(keys) ? keys : [keys], options as AccessOptions | undefined);
  };
  const close = async (): Promise<void> => {
    await Promise.all([...inside.workers].map(w => w.stop()));
    await access.publisher.drain();
    await project.close();
  };
  const store = {
    dir: project.dir,
    features: async (asked: unknown, keys: unknown, options?: unknown) => shape(await read(asked, keys, options), keys, c => c.value),
    cells: async (asked: unknown, keys: unknown, options?: unknown) => shape(await read(asked, keys, options), keys, c => c),
    get: async (feature: unknown, keys: unknown, options?: unknown) => (await read(feature, [keys], options)).cells[0]![0]!.value,
    publish: async (event: unknown, payload: unknown, options: object = {}): Promise<Published> => {
      open();
      const [result] = await access.publish(event, [{ ...options, payload } as OutgoingEvent]);
      if (!result!.ok) throw result!.error;
      return { event_id: result!.event_id, position: result!.position };
    },
    publishMany: async (event: unknown, events: readonly unknown[]): Promise<PublishOutcome[]> => {
      open();
      const results = await access.publish(event, events as OutgoingEvent[]);
      return results.map(r => (r.ok ? { ok: true, event_id: r.event_id, position: r.position } : r));
    },
    push: async (feature: unknown, rows: unknown): Promise<void> => {
      open();
      await access.push(feature, Array.isArray(rows) ? rows : [rows]);
    },
    close: () => (inside.closing ??= close()),
    [Symbol.asyncDispose]: () => store.close(),
  } as unknown as Store;
  insides.set(store, inside);
  return store;
}

/** One object per row; one alone when the keys were no list. */
export function shape<T>({ names, cells }: AccessAnswer, keys: unknown, of: (cell: CellOf<unknown>) => T): unknown {
  const rows = cells.map(row => Object.fromEntries(names.map((name, i) => [name, of(row[i]!)])));
  return Array.isArray(keys) ? rows : rows[0];
}

/** Keeps the features up to date: reads the log, runs handlers and schedules. One per project at a time. */
export interface Worker {
  /**
   * Runs until the signal aborts, {@link Worker.stop} is called or the store closes; what was read counts exactly once either way.
   * @throws FabraError WRITER_BUSY when another worker runs on this project; FENCED, STORE_FAILED (a closed store, too), DISK_FULL.
   */
  run(signal?: AbortSignal): Promise<WorkerSummary>;
  /** Finishes the batch; resolves when it is over. */
  stop(): Promise<void>;
}

export interface WorkerSettings {
  /** End when the log is read to its end, handlers are done and scheduled views have run once, instead of waiting for more. */
  untilIdle?: boolean;
  /** A scheduled view failed (its last good values stay), or its rows could not be written to history; the worker goes on. */
  onError?(error: { code: string; message: string; hint: string | null }, view: string | null): void;
}

/**
 * The worker of an open store.
 * @example const worker = createWorker(store); await worker.run(AbortSignal.timeout(60_000))
 */
export function createWorker(store: Store, settings: WorkerSettings = {}): Worker {
  const inside = insides.get(store);
  if (!inside) throw new FabraError('BAD_REQUEST', 'createWorker needs a store', { hint: 'Write createWorker(await openStore()).' });
  let stopping: AbortController | null = null;
  let running: Promise<WorkerSummary> | null = null;
  const worker: Worker = {
    async run(signal) {
      requireOpen(inside);
      if (running) throw new FabraError('WRITER_BUSY', 'this worker runs already', { hint: 'Wait for it, or stop it: await worker.stop().' });
      const own = new AbortController();
      stopping = own;
      inside.workers.add(worker);
      running = work(inside, settings, signal ? AbortSignal.any([signal, own.signal]) : own.signal).finally(() => {
        running = null;
        inside.workers.delete(worker);
      });
      return running;
    },
    async stop() {
      stopping?.abort();
      await running?.catch(() => {});
    },
  };
  return worker;
}

/** The worker with the schedule of views beside it, as `fabra worker` runs them. */
async function work({ project, compiled, batchSize, pollMs }: Inside, { untilIdle = false, onError }: WorkerSettings, signal: AbortSignal): Promise<WorkerSummary> {
  const [{ runWorker }, { withSchedule }] = await Promise.all([import('./runtime/worker.ts'), import('./runtime/schedule.ts')]);
  let works = (): void => {};
  const after = new Promise<void>(resolve => (works = resolve));
  return withSchedule(project, compiled, { signal, after, once: untilIdle, onError }, () => runWorker(project, compiled, { untilIdle, onStart: works, batchSize, pollMs, signal }));
}
