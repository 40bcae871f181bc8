/** Making definitions the applied ones: what changes, what is breaking, and what needs consent. */
import { compileGroups } from '../engine/group.ts';
import { compileUnits } from '../engine/units.ts';
import { FabraError } from '../lib/errors.ts';
import { bumpVersions, type Change, diffRegistries, type RegistryDiff } from '../registry/diff.ts';
import type { Registry } from '../registry/types.ts';
import type { Compiled, Project } from './project.ts';

export interface ApplyOptions {
  /** Accept breaking changes: the features get a new version and are backfilled. */
  newVersion: boolean;
  /** Accept that removed features lose their data. */
  consent: boolean;
}

/** Groups (entity/stream) whose state starts anew: one kept window more, and all windows that share its state are computed again. */
export function rebuilt(applied: Registry, next: Registry): string[] {
  const old = compileGroups(applied).groups;
  return [...compileGroups(next).groups.values()].filter(g => old.get(g.id)?.hash !== g.hash).map(g => g.id);
}

export async function planApply(project: Project, compiled: Compiled): Promise<{ diff: RegistryDiff; next: Registry }> {
  const applied = await project.catalog.applied();
  const next = bumpVersions(applied?.registry ?? null, compiled.registry);
  return { diff: diffRegistries(applied?.registry ?? null, compiled.registry), next };
}

/**
 * Asks the sources of new and changed views whether columns and types fit; nothing is read.
 * @throws FabraError BAD_QUERY naming view and column, SOURCE_FAILED.
 */
export async function checkViews(project: Project, compiled: Compiled): Promise<void> {
  const applied = await project.catalog.applied();
  for (const view of Object.values(compiled.registry.views))
    if (view.sql !== null && applied?.registry.views[view.id]?.hash !== view.hash) await project.tables.check(view, compiled);
}

/**
 * Applies compiled definitions.
 * @throws FabraError BREAKING_CHANGE without `newVersion`, CONSENT_NEEDED when features go without `consent`; BAD_QUERY or
 * SOURCE_FAILED from a new or changed view, and nothing is applied.
 */
export async function applyRegistry(project: Project, compiled: Compiled, options: ApplyOptions): Promise<{ revision: number; changes: Change[]; changed: boolean }> {
  const { diff, next } = await planApply(project, compiled);
  const applied = await project.catalog.applied();
  if (applied && diff.changes.length === 0) return { revision: applied.revision, changes: [], changed: false };
  const breaking = diff.changes.filter(c => c.breaking);
  const removed = diff.changes.filter(c => c.op === 'remove' && c.kind === 'feature');
  // What is typed next has to pass both questions.
  const flags = `${breaking.length > 0 ? ' --new-version' : ''}${removed.length > 0 ? ' --yes' : ''}`;
  if (breaking.length > 0 && !options.newVersion)
    throw new FabraError('BREAKING_CHANGE', `${breaking.map(c => `${c.kind} ${c.name}`).join(', ')}: what is applied means something else`, {
      hint: `See it with: fabra plan. Then run: fabra apply${flags} (the features are computed anew from the log), or give them new names.`,
    });
  if (removed.length > 0 && !options.consent)
    throw new FabraError('CONSENT_NEEDED', `${removed.map(c => c.name).join(', ')}: removing them drops their data`, { hint: `Run: fabra apply${flags}` });
  await checkViews(project, compiled);
  const { folds, triggers, tables } = compileUnits(next);
  // Before anything else changes: what a table keeps must never outlive its rows online, or a run would find nothing new.
  await project.tables.adopt([...tables.values()]);
  const revision = await project.catalog.apply(next, project.clock.now());
  await project.online.adopt([...compileGroups(next).groups.values()], { folds, triggers, tables: [...tables.values()] });
  return { revision, changes: diff.changes, changed: true };
}
