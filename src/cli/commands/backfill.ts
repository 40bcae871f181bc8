/** `fabra backfill`: computes new and changed features from the log now, without waiting for a worker. */
import { compileGroups } from '../../engine/group.ts';
import { runWorker } from '../../runtime/worker.ts';
import { withCompiled } from '../open.ts';
import { plural } from '../output.ts';
import { openProgress } from '../progress/index.ts';
import type { Run } from '../spec.ts';

export const run: Run = call =>
  withCompiled(call, async (project, compiled) => {
    const { out, signal } = call;
    const groups = [...compileGroups(compiled.registry).groups.values()];
    const statuses = await Promise.all(groups.map(g => project.online.groupStatus(g)));
    const waiting = groups.filter((_, i) => statuses[i] && !statuses[i].ready).map(g => g.id);
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
        waiting.length === 0 ? 'nothing was waiting for a backfill' : `${plural(waiting.length, 'group')} computed from the log: ${waiting.join(', ')}`,
      ]);
    } finally {
      progress.end();
    }
    return 0;
  });
