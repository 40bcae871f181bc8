/** `fabra replay`: a file's events into the log, at a rate or as fast as it goes. */
import path from 'node:path';
import { FabraError } from '../../lib/errors.ts';
import { type ReplayOptions, type ReplaySummary, replay } from '../../runtime/replayer.ts';
import { grouped, plural } from '../output.ts';
import { withCompiled } from '../open.ts';
import { openProgress } from '../progress/index.ts';
import { countLines } from '../progress/lines.ts';
import type { Invocation, Run } from '../spec.ts';
import { parquetRows } from '../wire.ts';

export const run: Run = call =>
  withCompiled(call, async (project, compiled) => {
    const { out, signal } = call;
    const options = optionsOf(call);
    const progress = await openProgress(out, 'replay', 'events');
    let total: number | null = null;
    if (!out.json && !out.quiet && !options.loop) void expected(options).then(n => (total = n));
    try {
      const summary = await replay(project, compiled, options, p => progress.update(p.read, total, p.rejected > 0 ? `rejected ${grouped(p.rejected)}` : ''), signal);
      progress.end();
      out.answer(summary, () => lines(summary));
      if (summary.reached === false) out.warn(`${grouped(options.eps!)} events/s were asked for, ${grouped(Math.round(summary.eps))} were reached`);
      if (summary.rejects !== null) out.note(`rejected rows, with line and reason: ${summary.rejects}`);
      if (project.writer() === null) out.note('', 'next: fabra worker --until-idle');
    } finally {
      progress.end();
    }
    return 0;
  });

function optionsOf({ args, flags, cwd }: Invocation): ReplayOptions {
  const f = flags as Partial<ReplayOptions> & { max?: boolean; rejects?: string };
  const paces = [f.eps !== undefined && '--eps', f.speed !== undefined && '--speed', f.max && '--max'].filter(Boolean);
  if (paces.length > 1) throw new FabraError('BAD_FLAG', `${paces.join(' and ')} exclude each other`, { hint: 'Give one pace: --eps 500, --speed 10x or --max.' });
  const { stream, eps, speed, shiftTo, limit, loop, from, to } = f;
  return {
    file: path.resolve(cwd, args[0]!),
    rejects: f.rejects === undefined ? undefined : path.resolve(cwd, f.rejects),
    parquet: parquetRows,
    ...{ stream, eps, speed, shiftTo, limit, loop, from, to },
  };
}

async function expected({ file, limit, from, to }: ReplayOptions): Promise<number | null> {
  if (from !== undefined || to !== undefined) return limit ?? null;
  const all = await countLines(file);
  return all === null ? (limit ?? null) : Math.min(all, limit ?? all);
}

const lines = (s: ReplaySummary): string[] => [
  `${plural(s.read, 'row')} read, ${grouped(s.published)} published, ${grouped(s.rejected)} rejected in ${s.seconds.toFixed(1)} s${s.seconds > 0 ? `, ${grouped(Math.round(s.eps))} events/s` : ''}`,
];
