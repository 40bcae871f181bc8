/** The one place that names adapters: configuration in, ports out. */
import path from 'node:path';
import { findProject, namedProject } from '../config/find.ts';
import { type ResolvedConfig, resolveConfig } from '../config/resolve.ts';
import type { ConfigValues } from '../config/schema.ts';
import { systemClock } from '../lib/clock.ts';
import { type Logger, silentLogger } from '../lib/log.ts';
import type { Project } from '../runtime/project.ts';
import type { Invocation } from './spec.ts';

export interface OpenedProject extends Project {
  config: ResolvedConfig;
}

export interface OpenOptions {
  /** Settings that this command's flags override. */
  flags?: Partial<ConfigValues>;
  log?: Logger;
  /** Threads of the query engine. */
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

/** Folder of the embedded store of a project. */
export const storeDir = (dir: string): string => path.join(dir, '.fabra', 'store');

/** Opens a project's stores; drivers load here and not before. */
export async function openProject(call: Call, options: OpenOptions = {}): Promise<OpenedProject> {
  const config = await openConfig(call, options.flags);
  return openStores(config, storeDir(config.dir), config.offline, options);
}

export async function openStores(config: ResolvedConfig, store: string, offline: string, options: OpenOptions = {}): Promise<OpenedProject> {
  const [{ openEmbedded }, { EmbeddedOnlineStore }, { EmbeddedBus }, { EmbeddedCatalog }, { openHistory }] = await Promise.all([
    import('../stores/embedded/env.ts'),
    import('../stores/embedded/online.ts'),
    import('../bus/embedded.ts'),
    import('../stores/embedded/catalog.ts'),
    import('../stores/history/open.ts'),
  ]);
  const env = await openEmbedded(store);
  const bus = new EmbeddedBus(env);
  const history = openHistory({ env, bus, dir: offline, clock: systemClock, threads: options.threads });
  return {
    dir: config.dir,
    config,
    bus,
    online: new EmbeddedOnlineStore(env),
    history,
    catalog: new EmbeddedCatalog(env),
    clock: systemClock,
    log: options.log ?? silentLogger,
    close: () => env.close(),
  };
}

/** Opens, runs, closes, whatever happens. */
export async function withProject<T>(call: Call, action: (project: OpenedProject) => Promise<T>, options: OpenOptions = {}): Promise<T> {
  const project = await openProject(call, options);
  try {
    return await action(project);
  } finally {
    await project.close();
  }
}
