/** `fabra apply`: makes the definitions the ones that run. */
import { renderPlan } from '../../registry/diff.ts';
import { applyRegistry } from '../../runtime/apply.ts';
import { withCompiled } from '../open.ts';
import type { Run } from '../spec.ts';

export const run: Run = call =>
  withCompiled(call, async (project, compiled) => {
    const { common, flags, out } = call;
    const done = await applyRegistry(project, compiled, { newVersion: flags.newVersion === true, consent: common.yes });
    out.answer({ revision: done.revision, changed: done.changed, changes: done.changes }, () => [
      ...renderPlan({ changes: done.changes, breaking: done.changes.some(c => c.breaking) }),
      ...(done.changed ? [`applied as revision ${done.revision}`] : [`revision ${done.revision} is already what the definitions say`]),
    ]);
    if (done.changed) out.note('', 'next: fabra worker');
    return 0;
  });
