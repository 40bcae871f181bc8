/** The one place that names adapters: configuration in, ports out. */
import path from 'node:path';
import { findProject, namedProject } from '../config/find.ts';
import { type ResolvedConfig, resolveConfig } from '../config/resolve.ts';
import type { ConfigValues } from '../config/schema.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { jsonLogger, type Level, type Logger, silentLogger } from '../lib/log.ts';
import type { Project } from '../runtime/project.ts';
import type { Invocation } from './spec.ts';

export interface OpenedProject extends Project {
  config: ResolvedConfig;
  /** Process that writes the project's state now. */
  writer(): number | null;
}

/** Where stores are: a project's own, or scratch ones. */
export interface Places {
  store: string;
  offline: string;
  log?: Logger;
  /** The system's own when unset. */
  clock?: Clock;
  /** Nothing is written: no lock is taken, so a stopped writer holds nobody up. */
  readOnly?: boolean;
  /** Of the query engine. */
  threads?: number;
}

type Call = Pick<Invocation, 'common' | 'cwd' | 'env'>;

/** Settings alone: no store is opened. */
export async function openConfig(call: Call, flags: Partial<ConfigValues> = {}): Promise<ResolvedConfig> {
  const { project, config } = call.common;
  const dir = project === undefined ? findProject(call.cwd) : namedProject(project, call.cwd);
  const file = config === undefined ? undefined : path.resolve(call.cwd, config);
  return resolveConfig({ dir, file, env: call.env, flags });
}

/** FABRA_LOG_LEVEL=debug|info|warn|error puts JSON lines on stderr; unset, there are none. */
function logger(env: NodeJS.ProcessEnv): Logger {
  const level = env.FABRA_LOG_LEVEL;
  if (level === undefined || !['debug', 'info', 'warn', 'error'].includes(level)) return silentLogger;
  return jsonLogger(line => process.stderr.write(line), level as Level);
}

export const projectPlaces = (config: ResolvedConfig, env: NodeJS.ProcessEnv): Places => ({
  store: path.join(config.dir, '.fabra', 'store'),
  offline: config.offline,
  log: logger(env),
});

/** Opens stores; drivers load here and not before. */
export async function openStores(config: ResolvedConfig, places: Places): Promise<OpenedProject> {
  const [{ openEmbedded }, { EmbeddedOnlineStore }, { EmbeddedBus }, { EmbeddedCatalog }, { leaseHolder }, { openHistory }, { openTables }] = await Promise.all([
    import('../stores/embedded/env.ts'),
    import('../stores/embedded/online.ts'),
    import('../bus/embedded.ts'),
    import('../stores/embedded/catalog.ts'),
    import('../stores/embedded/lease.ts'),
    import('../stores/history/open.ts'),
    import('../stores/tables/open.ts'),
  ]);
  const clock = places.clock ?? systemClock;
  const env = await openEmbedded(places.store, { readOnly: places.readOnly });
  const bus = new EmbeddedBus(env);
  const history = openHistory({ env, bus, dir: places.offline, project: config.dir, clock, threads: places.threads });
  const tables = openTables({ env, dir: places.offline, project: config.dir, clock, threads: places.threads });
  return {
    dir: config.dir,
    config,
    bus,
    online: new EmbeddedOnlineStore(env),
    history,
    tables,
    catalog: new EmbeddedCatalog(env),
    clock,
    log: places.log ?? silentLogger,
    writer: () => leaseHolder(env),
    close: async () => {
      await history.close();
      await tables.close();
      await env.close();
    },
  };
}

/** Opens a project's own stores; the caller closes them. */
export async function openProject(call: Call, options: { flags?: Partial<ConfigValues>; log?: Logger; threads?: number; readOnly?: boolean } = {}): Promise<OpenedProject> {
  const config = await openConfig(call, options.flags);
  const places = projectPlaces(config, call.env);
  return openStores(config, { ...places, log: options.log ?? places.log, threads: options.threads, readOnly: options.readOnly });
}

/** Opens for reading, runs, closes, whatever happens. */
export async function withProject<T>(call: Call, action: (project: OpenedProject) => Promise<T>): Promise<T> {
  const project = await openProject(call, { readOnly: true });
  try {
    return await action(project);
  } finally {
    await project.close();
  }
}

/** Rows of a Parquet file. */
export async function* parquetRows(file: string): AsyncGenerator<Record<string, unknown>[]> {
  const reader = await import('../stores/duckdb/parquet.ts');
  yield* reader.parquetRows(file);
}
