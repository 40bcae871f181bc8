/** `fabra plan`: what `apply` would change. */
import { compileProject } from '../../registry/compile.ts';
import { diffRegistries, renderPlan } from '../../registry/diff.ts';
import type { Run } from '../spec.ts';
import { rebuilt } from '../../runtime/apply.ts';
import { openConfig, withProject } from '../wire.ts';

export const run: Run = async call => {
  const { common, cwd, env, out } = call;
  const config = await openConfig({ common, cwd, env });
  const { registry } = await compileProject(config.features, config.dir);
  const applied = await withProject(call, project => project.catalog.applied());
  const diff = diffRegistries(applied?.registry ?? null, registry);
  out.answer({ changes: diff.changes, breaking: diff.breaking, revision: applied?.revision ?? null }, () => renderPlan(diff));
  const removed = diff.changes.some(c => c.op === 'remove' && c.kind === 'feature');
  if (diff.breaking) out.note('', 'A breaking change needs a new version, so that old and new state never mix: fabra apply --new-version');
  else if (removed) out.note('', 'Removing features drops their data: fabra apply --yes');
  else if (diff.changes.length > 0) out.note('', 'next: fabra apply');
  const anew = applied ? rebuilt(applied.registry, registry) : [];
  if (anew.length > 0) out.note(`${anew.join(', ')}: computed anew from the log; reads say DEFAULTED (backfilling) until then`);
  return 0;
};
