/** What most commands begin with: definitions compiled, stores open, and which registry is applied. */
import path from 'node:path';
import { FabraError } from '../lib/errors.ts';
import type { ConfigValues } from '../config/schema.ts';
import type { AppliedRegistry } from '../ports/catalog.ts';
import type { Compiled } from '../runtime/project.ts';
import type { Invocation } from './spec.ts';
import { type OpenedProject, openConfig, openStores, projectPlaces } from './wire.ts';

type Call = Pick<Invocation, 'common' | 'cwd' | 'env'>;

type Action<T> = (project: OpenedProject, compiled: Compiled) => Promise<T>;

/** For commands that only read. */
export const readCompiled = <T>(call: Call, action: Action<T>): Promise<T> => withCompiled(call, action, {}, true);

/** Compiles first, so that a mistake in the definitions touches no store. */
export async function withCompiled<T>(call: Call, action: Action<T>, flags: Partial<ConfigValues> = {}, readOnly = false): Promise<T> {
  const config = await openConfig(call, flags);
  const { compileProject } = await import('../registry/compile.ts');
  const compiled = await compileProject(config.features, config.dir);
  const project = await openStores(config, { ...projectPlaces(config, call.env), readOnly });
  try {
    return await action(project, compiled);
  } finally {
    await project.close();
  }
}

/** @throws FabraError NOT_APPLIED before the first apply. */
export async function appliedOf(project: OpenedProject): Promise<AppliedRegistry> {
  const applied = await project.catalog.applied();
  if (!applied) throw new FabraError('NOT_APPLIED', 'no definitions are applied yet', { hint: 'Run: fabra apply' });
  return applied;
}

/** Code of the definitions for what is applied: a derived feature or a fold that differs from its applied self is not run under its name. */
export async function servable(project: OpenedProject, compiled: Compiled): Promise<Compiled> {
  const { registry } = await appliedOf(project);
  const same = ([id]: [string, unknown]): boolean => registry.features[id]?.fingerprint === compiled.registry.features[id]?.fingerprint;
  const { derives, folds } = compiled.code;
  return { registry, code: { ...compiled.code, derives: new Map([...derives].filter(same)), folds: new Map([...folds].filter(same)) } };
}

/** A definitions file named as an argument: `fabra worker shop/features.ts` means the project in `shop`. */
export function withFile(call: Invocation, file: string | undefined): { call: Invocation; flags: Partial<ConfigValues> } {
  if (file === undefined) return { call, flags: {} };
  const full = path.resolve(call.cwd, file);
  const common = call.common.project === undefined ? { ...call.common, project: path.dirname(full) } : call.common;
  return { call: { ...call, common }, flags: { features: full } };
}
