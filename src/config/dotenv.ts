import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseEnv } from 'node:util';
import { toFabraError } from '../lib/errors.ts';

/** Puts what `.env` of the project sets, and the environment does not, into `env`; returns the names. */
export function loadDotEnv(dir: string, env: NodeJS.ProcessEnv): Set<string> {
  let text: string;
  try {
    text = readFileSync(path.join(dir, '.env'), 'utf8');
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return new Set();
    throw toFabraError(e);
  }
  const set = new Set<string>();
  for (const [name, value] of Object.entries(parseEnv(text))) {
    if (env[name] !== undefined || value === undefined) continue;
    env[name] = value;
    set.add(name);
  }
  return set;
}
