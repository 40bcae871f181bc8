/** `fabra historical`: training data from a file of keys and times. */
import path from 'node:path';
import { FabraError } from '../../lib/errors.ts';
import { runHistorical } from '../../runtime/historian/index.ts';
import { readCompiled } from '../open.ts';
import { grouped, plural } from '../output.ts';
import { openProgress } from '../progress/index.ts';
import { chosenFeatures } from '../select.ts';
import type { Run } from '../spec.ts';

export const run: Run = call =>
  readCompiled(call, async (project, compiled) => {
    const { common, cwd, flags, out, signal } = call;
    const features = chosenFeatures(compiled.registry, common);
    if (!features) throw new FabraError('BAD_FLAG', 'which features?', { hint: 'Name them: --features user_views_5m,user_cr_24h, or --service ranking' });
    const file = (name: 'spine' | 'out'): string => {
      const given = flags[name] as string | undefined;
      if (given === undefined)
        throw new FabraError('BAD_FLAG', `--${name} is missing`, { hint: 'For example: fabra historical --spine labels.csv --service ranking --out train.parquet' });
      return path.resolve(cwd, given);
    };
    const progress = await openProgress(out, 'historical', 'rows');
    try {
      const s = await runHistorical(project, compiled, {
        spine: file('spine'),
        out: file('out'),
        features,
        time: flags.time as string | undefined,
        fullNames: flags.fullNames === true,
        overwrite: flags.overwrite === true,
        signal,
        onProgress: p => progress.update(p.done, p.total, p.phase),
      });
      progress.end();
      out.answer({ rows: s.rows, features: s.features, columns: s.columns, time: s.time, errors: s.errors, seconds: s.seconds, out: s.file }, () => [
        `${plural(s.rows, 'row')} with ${plural(s.features.length, 'feature')} in ${s.seconds.toFixed(1)} s (${grouped(Math.round(s.rows / Math.max(s.seconds, 0.001)))}/s), as of ${s.time}: ${path.relative(cwd, s.file)}`,
      ]);
      for (const [id, e] of Object.entries(s.errors)) out.warn(`${id}: ${plural(e.cells, 'cell')} null for an error: ${e.reason}`);
    } finally {
      progress.end();
    }
    return 0;
  });
