/** What a command is: enough for --help without loading any of its code, and what its code is given when it runs. */
import type { Output } from './output.ts';

export interface OptionSpec {
  /** As commander reads it: `--limit <n>`. */
  flags: string;
  text: string;
  /** Turns the text into its value; throws FabraError BAD_FLAG. */
  parse?: (value: string, flag: string) => unknown;
}

export type CommonFlag = 'asOf' | 'features' | 'service' | 'yes';

export interface CommandSpec {
  /** `get`, or `events tail` for a command inside a group. */
  name: string;
  /** As commander reads them: `<entity> <key>`. */
  args?: string;
  summary: string;
  options?: OptionSpec[];
  /** Of the common flags beside --project, --config, --json and --quiet, those that mean something here. */
  common?: CommonFlag[];
  /** Lines a user can type. */
  examples: string[];
  /** Stops by itself when the signal aborts (after its batch, say); others end at once. */
  graceful?: boolean;
  /** SIGTERM is the ordinary end of it: exit 0. */
  daemon?: boolean;
  load(): Promise<{ run: Run }>;
}

/** Flags of all commands, parsed. */
export interface CommonOptions {
  project?: string;
  config?: string;
  /** Epoch ms. */
  asOf?: number;
  features?: string[];
  service?: string;
  yes: boolean;
  json: boolean;
  quiet: boolean;
}

export interface Invocation {
  args: (string | undefined)[];
  /** The command's own options by camelCase name. */
  flags: Record<string, unknown>;
  common: CommonOptions;
  out: Output;
  signal: AbortSignal;
  env: NodeJS.ProcessEnv;
  cwd: string;
}

/** May return an exit code other than 0; errors are thrown. */
export type Run = (call: Invocation) => Promise<number | undefined>;
