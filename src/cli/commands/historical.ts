/** `fabra historical`: training data from keys and times. */
import path from 'node:path';
import { FabraError } from '../../lib/errors.ts';
import type { Registry } from '../../registry/types.ts';
import { type HistoricalOptions, runHistorical } from '../../runtime/historian/index.ts';
import { type AskedColumn, columnsOf } from '../../runtime/historian/layout.ts';
import { readCompiled } from '../open.ts';
import { grouped, plural } from '../output.ts';
import { openProgress } from '../progress/index.ts';
import { chosenFeatures } from '../select.ts';
import type { Invocation, Run } from '../spec.ts';

const EXAMPLE = 'For example: fabra historical --spine labels.csv --service ranking --out train.parquet';

/** What is asked for, aliases of a service included, and whether its columns have full names. */
function askedColumns(registry: Registry, { common, flags }: Invocation): { columns: readonly (string | AskedColumn)[]; full: boolean } {
  const ids = chosenFeatures(registry, common);
  if (!ids) throw new FabraError('BAD_FLAG', 'which features?', { hint: 'Name them: --features user_views_5m,user_cr_24h, or --service ranking' });
  const service = common.service === undefined ? null : registry.services[common.service]!;
  return { columns: service ? columnsOf(service) : ids, full: flags.fullNames === true || service?.fullNames === true };
}

/** The rows: a file, a SELECT, or all changes in a range. */
function rowsOf({ cwd, flags }: Invocation): HistoricalOptions['spine'] {
  const { spine, spineSql, from, to } = flags as { spine?: string; spineSql?: string; from?: number; to?: number };
  const range = from !== undefined || to !== undefined;
  if (Number(spine !== undefined) + Number(spineSql !== undefined) + Number(range) > 1)
    throw new FabraError('BAD_FLAG', '--spine, --spine-sql and --from/--to exclude each other', { hint: 'Give the rows one way.' });
  if (spine !== undefined) return path.resolve(cwd, spine);
  if (spineSql !== undefined) return { sql: spineSql, cwd };
  if (!range) throw new FabraError('BAD_FLAG', 'which rows? --spine is missing', { hint: `${EXAMPLE}; or every change in a range: --from -7d --to now` });
  if (from === undefined) throw new FabraError('BAD_FLAG', '--from is missing', { hint: 'For example --from -7d --to now' });
  return { from, to: to ?? Date.now() };
}

export const run: Run = call =>
  readCompiled(call, async (project, compiled) => {
    const { cwd, flags, out, signal } = call;
    const { columns, full } = askedColumns(compiled.registry, call);
    const spine = rowsOf(call);
    if (flags.out === undefined) throw new FabraError('BAD_FLAG', '--out is missing', { hint: EXAMPLE });
    const progress = await openProgress(out, 'historical', 'rows');
    try {
      const s = await runHistorical(project, compiled, {
        spine,
        out: path.resolve(cwd, flags.out as string),
        features: columns,
        time: flags.time as string | undefined,
        fullNames: full,
        asOfCreated: flags.asOfCreated === true,
        overwrite: flags.overwrite === true,
        signal,
        onProgress: p => progress.update(p.done, p.total, p.phase),
      });
      progress.end();
      out.answer({ rows: s.rows, features: s.features, columns: s.columns, time: s.time, errors: s.errors, seconds: s.seconds, out: s.file }, () => [
        `${plural(s.rows, 'row')} with ${plural(s.features.length, 'feature')} in ${s.seconds.toFixed(1)} s (${grouped(Math.round(s.rows / Math.max(s.seconds, 0.001)))}/s), as of ${s.time}: ${path.relative(cwd, s.file)}`,
      ]);
      for (const [id, e] of Object.entries(s.errors)) out.warn(`${id}: ${plural(e.cells, 'cell')} null for an error: ${e.reason}`);
      for (const id of s.uncreated) out.warn(`${id}: its source names no created column, so no row of it counts with --as-of-created`);
    } finally {
      progress.end();
    }
    return 0;
  });
