/** `fabra backfill`: computes new and changed features from the log now, without waiting for a worker. */
import { compileGroups } from '../../engine/group.ts';
import { compileUnits } from '../../engine/units.ts';
import { runWorker } from '../../runtime/worker.ts';
import { withCompiled } from '../open.ts';
import { plural } from '../output.ts';
import { openProgress } from '../progress/index.ts';
import type { Run } from '../spec.ts';

export const run: Run = call =>
  withCompiled(call, async (project, compiled) => {
    const { out, signal } = call;
    const parts = [...compileGroups(compiled.registry).groups.values(), ...compileUnits(compiled.registry).folds];
    const statuses = await Promise.all(parts.map(p => project.online.groupStatus(p)));
    const waiting = parts.filter((_, i) => statuses[i] && !statuses[i].ready).map(p => p.id);
    const progress = await openProgress(out, 'backfill', 'events');
    try {
      const summary = await runWorker(project, compiled, {
        untilIdle: true,
        signal,
        batchSize: project.config.workerBatchSize ?? undefined,
        onProgress: p => progress.update(p.counters.read, p.counters.read + p.lag),
        onBackfill: (done, total) => progress.update(done, total),
      });
      progress.end();
      out.answer({ groups: waiting, read: summary.read, seconds: summary.seconds }, () => [
        waiting.length === 0 ? 'nothing was waiting for a backfill' : `${plural(waiting.length, 'group')} of windows and folds computed from the log: ${waiting.join(', ')}`,
      ]);
    } finally {
      progress.end();
    }
    return 0;
  });
