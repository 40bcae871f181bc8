/** `fabra parity`: the store's answers against history's. Exit 1 when one value differs, or when nothing was compared. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { FabraError, toFabraError } from '../../lib/errors.ts';
import { parseKey } from '../../lib/text.ts';
import type { Compiled } from '../../runtime/project.ts';
import { type ParityOptions, type ParityReport, runParity } from '../../runtime/parity/index.ts';
import { parityFiles, parityJson, parityText, worstLines } from '../../runtime/parity/report.ts';
import { readCompiled } from '../open.ts';
import { columns, grouped } from '../output.ts';
import { openProgress } from '../progress/index.ts';
import { chosenFeatures, entityOf } from '../select.ts';
import type { Invocation, Run } from '../spec.ts';
import { type OpenedProject, openStores } from '../wire.ts';

const REPORTS = 'artifacts/reports';

export const run: Run = call =>
  readCompiled(call, async (project, compiled) => {
    const { flags, out } = call;
    const report = await compare(call, project, compiled);
    const dir = path.resolve(project.dir, (flags.report as string | undefined) ?? REPORTS);
    await write(dir, report);
    out.answer(parityJson(report), () => lines(report, out));
    out.note(`reports in ${path.relative(call.cwd, dir) || '.'}`);
    if (!report.ok) throw breach(report);
    return 0;
  });

async function compare(call: Invocation, project: OpenedProject, compiled: Compiled): Promise<ParityReport> {
  const { common, flags, out, signal } = call;
  const progress = await openProgress(out, 'parity', 'values');
  const options: ParityOptions = {
    features: chosenFeatures(compiled.registry, common) ?? undefined,
    lenient: common.features === undefined,
    keys: keysOf(compiled, flags.keys as string | undefined),
    comparisons: flags.comparisons as number | undefined,
    seed: flags.seed as number | undefined,
    signal,
    onProgress: p => progress.update(p.done, p.total, p.phase === 'replay' ? 'reading the log again' : ''),
  };
  try {
    if (flags.replay !== true) return await runParity(project, compiled, options);
    return await onScratch(project, scratch => runParity(project, compiled, { ...options, replay: { online: scratch.online } }));
  } finally {
    progress.end();
  }
}

/** A store beside the project's own, gone afterwards. */
async function onScratch<T>(project: OpenedProject, action: (scratch: OpenedProject) => Promise<T>): Promise<T> {
  const dir = path.join(project.dir, '.fabra', `parity-${process.pid.toString(36)}${Math.random().toString(36).slice(2, 8)}`);
  try {
    const scratch = await openStores(project.config, { store: path.join(dir, 'store'), offline: path.join(dir, 'offline') });
    try {
      return await action(scratch);
    } finally {
      await scratch.close();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** `user=u1;u2` */
function keysOf({ registry }: Compiled, text: string | undefined): ParityOptions['keys'] {
  if (text === undefined) return undefined;
  const at = text.indexOf('=');
  if (at < 1) throw new FabraError('BAD_FLAG', `--keys needs entity=key, not ${JSON.stringify(text)}`, { hint: "For example --keys 'user=u1;u2'" });
  const entity = entityOf(registry, text.slice(0, at));
  return {
    [entity.name]: text
      .slice(at + 1)
      .split(';')
      .map(k => parseKey(k, entity.key)),
  };
}

async function write(dir: string, report: ParityReport): Promise<void> {
  try {
    await mkdir(dir, { recursive: true });
    for (const [name, text] of Object.entries(parityFiles(report))) await writeFile(path.join(dir, name), text);
  } catch (e) {
    throw toFabraError(e);
  }
}

function lines(r: ParityReport, out: Invocation['out']): string[] {
  const head = ['FEATURE', 'COMPARED', 'WITH EVENTS', 'DIFFERENT', 'SKIPPED'];
  const rows = r.p0.features.map(f => [f.feature, grouped(f.total), grouped(f.nonempty), grouped(f.mismatch), grouped(f.skipped)]);
  return [
    ...columns([head, ...rows], [1, 2, 3, 4]),
    '',
    ...r.worst.flatMap(w => [...worstLines(w), '']),
    ...parityText.audit(r),
    ...parityText.summary(r),
    r.ok ? out.paint('green', `the same, in ${r.seconds.toFixed(1)} s`) : out.paint('red', 'different'),
  ];
}

function breach(r: ParityReport): FabraError {
  const bad = r.p0.features.filter(f => f.mismatch > 0);
  if (bad.length === 0) return new FabraError('PARITY_BREACH', 'the log holds verdicts that its own order does not give', { hint: 'The audit lines say which stream.' });
  const offending = r.worst.flatMap(w => w.offending)[0];
  const names = bad
    .slice(0, 5)
    .map(f => f.feature)
    .join(', ');
  return new FabraError(
    'PARITY_BREACH',
    `${grouped(r.p0.mismatched)} of ${grouped(r.p0.compared)} values differ: ${names}${bad.length > 5 ? ', …' : ''}${offending ? `; first at event ${offending.id}` : ''}`,
    {
      hint: `See why: fabra explain ${r.worst[0]!.entity} KEY FEATURE --at T, and ${REPORTS}/parity_report.md`,
    },
  );
}
