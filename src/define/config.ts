/** `fabra.config.ts`: where state, history and the log live. */
export interface FabraConfig {
  /** Online store: `embedded` (under `.fabra/`). */
  online?: string;
  /** History: `file:DIR`. */
  offline?: string;
  /** Event log: `embedded`. */
  bus?: string;
  /** File with the definitions; default `features.ts`. */
  features?: string;
  /** Name of the environment, for people and logs. */
  env?: string;
  /** Key that the server asks for. */
  apiKey?: string;
  /** Events a commit. */
  workerBatchSize?: number;
  /** Longest pause of an idle worker, seconds. */
  workerPollInterval?: number;
  consumerGroup?: string;
}

/** A project's configuration, checked by type. @example export default defineConfig({ online: env('FABRA_ONLINE_URL', 'embedded') }) */
export const defineConfig = (config: FabraConfig): Readonly<FabraConfig> => Object.freeze({ ...config });

/** An environment variable, or `fallback` when it is unset or empty. */
export function env(name: string, fallback: string): string {
  const value = process.env[name];
  return value === undefined || value === '' ? fallback : value;
}
