/** `fabra materialize`: runs the SQL of features now and puts their rows online. */
import { FabraError, type ErrorCode } from '../../lib/errors.ts';
import { iso } from '../../lib/time.ts';
import type { Compiled } from '../../runtime/project.ts';
import { materialize, materializedViews, type ViewSummary } from '../../runtime/materializer.ts';
import { withCompiled } from '../open.ts';
import { columns, grouped, plural } from '../output.ts';
import { openProgress } from '../progress/index.ts';
import { featureId } from '../select.ts';
import type { Invocation, Run } from '../spec.ts';

export const run: Run = call =>
  withCompiled(call, async (project, compiled) => {
    const { out, signal, flags } = call;
    const views = chosen(compiled, call);
    const progress = await openProgress(out, 'materialize', 'rows');
    try {
      const summaries = await materialize(project, compiled, {
        views,
        from: flags.from as number | undefined,
        to: flags.to as number | undefined,
        incremental: flags.incremental === true,
        signal,
        onProgress: p => progress.update(p.done, p.total === 0 ? null : p.total, p.total === 0 ? `${p.view}: running its SQL` : p.view),
      });
      progress.end();
      for (const s of summaries) {
        if (s.error) out.note(`${s.view}: ${s.error.code} ${s.error.message}`, ...(s.error.hint === null ? [] : [`  ${s.error.hint}`]));
        if (s.status === 'failed') out.note('  its last good values stay');
        if (s.skipped > 0) out.note(`${s.view}: ${plural(s.skipped, 'row')} without a whole key left out`);
        if (s.status === 'ok' && s.read === 0) out.note(`${s.view}: its SQL gave no rows`);
      }
      out.answer({ views: summaries.map(json) }, () => lines(summaries));
      const failed = summaries.find(s => s.error !== null);
      return failed?.error ? new FabraError(failed.error.code as ErrorCode, '').exitCode : 0;
    } finally {
      progress.end();
    }
  });

/** Views of the features asked for, or all that are materialized. */
function chosen(compiled: Compiled, { flags, common }: Pick<Invocation, 'flags' | 'common'>): string[] {
  const { registry } = compiled;
  const asked = (flags.feature as string[] | undefined) ?? common.features;
  const all = materializedViews(compiled).map(v => v.id);
  if (asked === undefined) return all;
  return [
    ...new Set(
      asked.map(name => {
        const f = registry.features[featureId(registry, name)]!;
        if (f.kind === 'table' && all.includes(f.view)) return f.view;
        const why = f.kind !== 'table' ? 'has no SQL' : registry.views[f.view]!.sql === null ? 'is pushed' : 'is computed when it is read';
        throw new FabraError('BAD_FLAG', `feature '${f.id}' ${why}: there is nothing to materialize`, {
          hint:
            f.kind !== 'table'
              ? 'What comes from events is computed by fabra worker and fabra backfill.'
              : registry.views[f.view]!.sql === null
                ? 'Its values come by POST /push, store.push(…) or set in a handler.'
                : 'Write { materialize: true } in its query to have it precomputed.',
        });
      }),
    ),
  ];
}

const json = (s: ViewSummary): object => ({ ...s, from: s.from === null ? null : iso(s.from), to: iso(s.to) });

function lines(summaries: readonly ViewSummary[]): string[] {
  if (summaries.length === 0) return ['no feature is materialized: write { materialize: true } in a query'];
  return columns(
    [
      ['VIEW', 'STATE', 'READ', 'NEW', 'GONE', 'CHANGED KEYS', 'SECONDS'],
      ...summaries.map(s => [s.view, s.status, grouped(s.read), grouped(s.rows), grouped(s.gone), grouped(s.changed), s.seconds.toFixed(1)]),
    ],
    [2, 3, 4, 5, 6],
  );
}
