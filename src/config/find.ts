/** Where a project begins: the nearest folder upwards with its definitions or its configuration. */
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { FabraError } from '../lib/errors.ts';

export const CONFIG_FILE = 'fabra.config.ts';
export const FEATURES_FILE = 'features.ts';

/** @throws FabraError NO_PROJECT when no folder from `from` upwards is one. */
export function findProject(from: string): string {
  for (let dir = path.resolve(from); ; dir = path.dirname(dir)) {
    if (existsSync(path.join(dir, FEATURES_FILE)) || existsSync(path.join(dir, CONFIG_FILE))) return dir;
    if (path.dirname(dir) === dir) break;
  }
  throw new FabraError('NO_PROJECT', `there is no ${FEATURES_FILE} or ${CONFIG_FILE} in ${path.resolve(from)} or above`, {
    hint: 'Start a project: fabra init shop && cd shop; or name its folder: --project DIR',
  });
}

/** The folder that `--project` names: no search upwards, it says which one is meant. */
export function namedProject(dir: string, from: string): string {
  const full = path.resolve(from, dir);
  if (!statSync(full, { throwIfNoEntry: false })?.isDirectory())
    throw new FabraError('NO_PROJECT', `--project ${dir}: there is no such folder`, { hint: `Start one there: fabra init ${dir}` });
  return full;
}
