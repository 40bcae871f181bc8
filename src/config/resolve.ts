/** Settings from their sources: defaults < fabra.config.ts < .env < environment < flags. Each keeps where it came from. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { FabraError } from '../lib/errors.ts';
import { didYouMean } from '../lib/text.ts';
import { loadDotEnv } from './dotenv.ts';
import { CONFIG_FILE, FEATURES_FILE } from './find.ts';
import type { ConfigKey, ConfigValues } from './schema.ts';

export interface ConfigInput {
  /** Folder of the project. */
  dir: string;
  /** Configuration file, when it is not the folder's own. */
  file?: string;
  /** What `.env` sets and this does not is added to it. */
  env: NodeJS.ProcessEnv;
  flags?: Partial<ConfigValues>;
}

export interface ResolvedConfig {
  dir: string;
  /** The configuration file read, null when there is none. */
  file: string | null;
  online: 'embedded';
  /** Absolute folder of history. */
  offline: string;
  bus: 'embedded';
  /** Absolute path of the definitions. */
  features: string;
  env: string;
  apiKey: string | null;
  /** Null: 100, growing while there is a backlog. */
  workerBatchSize: number | null;
  /** Seconds. */
  workerPollInterval: number;
  consumerGroup: string;
  /** `default`, `fabra.config.ts`, `.env FABRA_ENV`, `env FABRA_ENV`, `flag --batch-size`. */
  origins: Record<ConfigKey, string>;
}

type Text = Record<ConfigKey, string | number | null>;

const DEFAULTS: Text = {
  online: 'embedded',
  offline: 'file:.fabra/offline',
  bus: 'embedded',
  features: FEATURES_FILE,
  env: 'dev',
  apiKey: null,
  workerBatchSize: null,
  workerPollInterval: 1,
  consumerGroup: 'fabra_workers',
};

const VARIABLES: Partial<Record<ConfigKey, string>> = {
  online: 'FABRA_ONLINE_URL',
  offline: 'FABRA_OFFLINE_URL',
  bus: 'FABRA_BUS_URL',
  env: 'FABRA_ENV',
  apiKey: 'FABRA_API_KEY',
  workerBatchSize: 'FABRA_WORKER_BATCH_SIZE',
  workerPollInterval: 'FABRA_WORKER_POLL_INTERVAL',
  consumerGroup: 'FABRA_WORKER_CONSUMER_GROUP',
};

/**
 * @throws FabraError BAD_CONFIG naming the source of a wrong value, UNSUPPORTED for a store this version does not have.
 */
export async function resolveConfig({ dir, file, env, flags = {} }: ConfigInput): Promise<ResolvedConfig> {
  const root = path.resolve(dir);
  const dotted = loadDotEnv(root, env);
  const source = configFile(root, file);
  const values: Text = { ...DEFAULTS };
  const origins = Object.fromEntries(Object.keys(DEFAULTS).map(k => [k, 'default'])) as Record<ConfigKey, string>;
  const take = (key: ConfigKey, value: string | number | undefined | null, origin: string): void => {
    if (value === undefined || value === null || value === '') return;
    values[key] = value;
    origins[key] = origin;
  };
  if (source) for (const [key, value] of Object.entries(await readConfig(source, root))) take(key as ConfigKey, value, path.relative(root, source));
  for (const [key, name] of Object.entries(VARIABLES) as [ConfigKey, string][]) take(key, env[name], `${dotted.has(name) ? '.env' : 'env'} ${name}`);
  for (const [key, value] of Object.entries(flags))
    take(key as ConfigKey, value, `flag --${key.replace(/^worker/, '').replace(/[A-Z]/g, (c, at: number) => `${at > 0 ? '-' : ''}${c.toLowerCase()}`)}`);
  return resolved(root, source, values, origins);
}

function configFile(root: string, named: string | undefined): string | null {
  if (named === undefined) {
    const own = path.join(root, CONFIG_FILE);
    return existsSync(own) ? own : null;
  }
  const file = path.resolve(root, named);
  if (!existsSync(file)) throw new FabraError('FILE_NOT_FOUND', `--config ${named}: there is no such file`, { hint: `Check the path; it is read from ${root}.` });
  return file;
}

async function readConfig(file: string, root: string): Promise<ConfigValues> {
  const [{ loadDefinitions }, { checkConfig }] = await Promise.all([import('../registry/load.ts'), import('./schema.ts')]);
  const name = path.relative(root, file);
  const module = await loadDefinitions(file, root);
  if (!('default' in module.exports))
    throw new FabraError('BAD_CONFIG', `${name} has no default export`, { hint: "Write: export default defineConfig({ online: 'embedded' })", where: name });
  return checkConfig(module.exports.default, name);
}

function resolved(root: string, file: string | null, v: Text, origins: Record<ConfigKey, string>): ResolvedConfig {
  const number = (key: ConfigKey, whole: boolean): number => {
    const n = Number(v[key]);
    if (!Number.isFinite(n) || n <= 0 || (whole && !Number.isSafeInteger(n)))
      throw new FabraError(
        'BAD_CONFIG',
        `${key} from ${origins[key]} needs ${whole ? 'a whole number of at least 1' : 'a number of seconds above 0'}, not ${JSON.stringify(v[key])}`,
        {
          hint: `For example ${VARIABLES[key]}=${whole ? 100 : 1.0}`,
        },
      );
    return n;
  };
  return {
    dir: root,
    file,
    online: embedded('online', String(v.online), origins.online),
    offline: folder(root, String(v.offline), origins.offline),
    bus: embedded('bus', String(v.bus), origins.bus),
    features: path.resolve(root, String(v.features)),
    env: String(v.env),
    apiKey: v.apiKey === null ? null : String(v.apiKey),
    workerBatchSize: v.workerBatchSize === null ? null : number('workerBatchSize', true),
    workerPollInterval: number('workerPollInterval', false),
    consumerGroup: String(v.consumerGroup),
    origins,
  };
}

function embedded(key: 'online' | 'bus', value: string, origin: string): 'embedded' {
  if (value === 'embedded') return value;
  throw unsupported(
    key,
    value,
    origin,
    didYouMean(value, ['embedded'])
      ? 'Did you mean: embedded?'
      : `This version keeps ${key === 'bus' ? 'the log' : 'state'} in the project's own folder: set ${key} to 'embedded', or leave it out.`,
  );
}

function folder(root: string, value: string, origin: string): string {
  const rest = value.startsWith('file:') ? value.slice(5).replace(/^\/\/(?=\/)/, '') : '';
  if (rest !== '') return path.resolve(root, rest);
  throw unsupported('offline', value, origin, "This version keeps history in files: write offline: 'file:.fabra/offline', or leave it out.");
}

const unsupported = (key: string, value: string, origin: string, hint: string): FabraError =>
  new FabraError('UNSUPPORTED', `${key} is ${JSON.stringify(redact(value))} (from ${origin}), which this version of fabra cannot use`, { hint });

/** A URL without its password. */
export const redact = (url: string): string => url.replace(/^([a-z][\w+.-]*:\/\/[^/@:]*):[^@]*@/i, '$1:***@');
