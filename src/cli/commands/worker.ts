/** `fabra worker`: reads the log and keeps the features up to date. */
import { withSchedule } from '../../runtime/schedule.ts';
import { runWorker, type WorkerProgress, type WorkerSummary } from '../../runtime/worker.ts';
import type { Counters } from '../../ports/online-store.ts';
import { columns, grouped, plural } from '../output.ts';
import { withCompiled, withFile } from '../open.ts';
import { openProgress } from '../progress/index.ts';
import type { Run } from '../spec.ts';

const VERDICTS = ['read', 'applied', 'late', 'duplicate', 'quarantined', 'rejected', 'ignored'] as const;

export const run: Run = async given => {
  const { call, flags } = withFile(given, given.args[0]);
  const { out, signal } = call;
  const untilIdle = call.flags.untilIdle === true;
  return withCompiled(
    call,
    async (project, compiled) => {
      const { workerBatchSize, workerPollInterval, origins } = project.config;
      const progress = await openProgress(out, 'worker', 'events');
      out.note(untilIdle ? 'reading the log to its end' : 'reading the log; Ctrl-C finishes the batch and stops');
      try {
        let works = () => {};
        const schedule = {
          signal,
          after: new Promise<void>(resolve => (works = resolve)),
          once: untilIdle,
          onError: (e: { code: string; message: string; hint: string | null }, view: string | null) =>
            out.note(`${view ?? 'recorded rows'}: ${e.code} ${e.message}${e.hint === null ? '' : ` (${e.hint})`}`),
        };
        const work = {
          untilIdle,
          onStart: works,
          standby: call.flags.standby === true,
          onStandby: () => out.note('another process works; this one takes over when it ends'),
          batchSize: workerBatchSize ?? undefined,
          // Unset, the worker's own: looking at an embedded log is cheap, so an idle one is looked at every 50 ms.
          pollMs: origins.workerPollInterval === 'default' ? undefined : workerPollInterval * 1000,
          signal,
          onBackfill: (done: number, total: number) => progress.update(done, total, 'new and changed features replay the log'),
          onProgress: (p: WorkerProgress) => progress.update(p.counters.read, p.counters.read + p.lag, dropped(p.counters)),
        };
        const summary = await withSchedule(project, compiled, schedule, () => runWorker(project, compiled, work));
        progress.end();
        out.answer(summary, () => lines(summary));
      } finally {
        progress.end();
      }
      return 0;
    },
    { ...flags, workerBatchSize: call.flags.batchSize as number | undefined, workerPollInterval: call.flags.pollInterval as number | undefined },
  );
};

const dropped = (c: Counters): string =>
  (['late', 'duplicate', 'quarantined', 'rejected'] as const)
    .filter(k => c[k] > 0)
    .map(k => `${k} ${grouped(c[k])}`)
    .join('  ');

function lines(s: WorkerSummary): string[] {
  const rate = s.seconds > 0 ? `, ${grouped(Math.round(s.read / s.seconds))}/s` : '';
  const types = Object.entries(s.byType).sort(([a], [b]) => (a < b ? -1 : 1));
  const row = (name: string, c: Counters): string[] => [name, ...VERDICTS.map(v => grouped(c[v]))];
  const table = columns(
    [['EVENT', ...VERDICTS.map(v => v.toUpperCase())], ...types.map(([type, c]) => row(type, c)), row('total', s)],
    VERDICTS.map((_, i) => i + 1),
  );
  const turns = s.handled + s.retried + s.dead > 0 ? [`handlers: ${grouped(s.handled)} done, ${grouped(s.retried)} tried again, ${grouped(s.dead)} given up`] : [];
  return [...(types.length > 0 ? [...table, ''] : []), `${plural(s.read, 'event')} read in ${s.seconds.toFixed(1)} s${rate}`, ...turns];
}
