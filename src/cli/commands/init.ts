/** `fabra init`: a project that works, from a template. It appears whole or not at all. */
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { FabraError, toFabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import { CLICKSTREAM_FILE, sampleOf, writeSample } from '../../runtime/sample/project.ts';
import { plural } from '../output.ts';
import type { Invocation, Run } from '../spec.ts';

const TEMPLATES = fileURLToPath(new URL('../../../templates/', import.meta.url));
/** Of every project: commented settings. */
const ENV_FILE = '_env';
/** What work in the templates themselves leaves behind. */
const LEFT_OUT = /(^|[\\/])(\.fabra|node_modules)[\\/]/;

interface Target {
  dir: string;
  /** As the user would type it. */
  shown: string;
  template: string;
  events: number;
}

export const run: Run = async ({ args, flags, common, cwd, out }) => {
  const template = (flags.template as string | undefined) ?? 'clickstream';
  const dir = path.resolve(cwd, common.project ?? '.', args[0] ?? '.');
  const target: Target = { dir, shown: path.relative(cwd, dir) || '.', template, events: (flags.events as number | undefined) ?? 100_000 };
  await checkTemplate(template);
  await checkFolder(target, flags.force === true);
  const { files, events } = await contentsOf(target);
  const dryRun = flags.dryRun === true;
  if (!dryRun) await write(target, events, out);
  out.answer({ dir, template, files, events, dryRun }, () => [
    `${dryRun ? 'would write' : 'wrote'} ${plural(files.length, 'file')} into ${target.shown}${events > 0 ? `, ${plural(events, 'event')} among them` : ''}`,
    ...files.map(f => `  ${f}`),
  ]);
  if (!dryRun) out.note('', 'next:', ...next(target).map(line => `  ${line}`));
  return 0;
};

function next(t: Target): string[] {
  const cd = t.shown === '.' ? [] : [`cd ${t.shown}`];
  const sample = t.template === 'clickstream' ? CLICKSTREAM_FILE : 'data/events.ndjson';
  return [...cd, 'fabra apply', `fabra replay ${sample}`, 'fabra worker --until-idle', 'fabra parity'];
}

async function checkTemplate(name: string): Promise<void> {
  const known = (await readdir(TEMPLATES, { withFileTypes: true })).filter(e => e.isDirectory()).map(e => e.name);
  if (!known.includes(name)) throw new FabraError('UNKNOWN_TEMPLATE', `there is no template '${name}'`, { hint: suggest(name, known) });
}

async function checkFolder({ dir, shown }: Target, force: boolean): Promise<void> {
  let entries: string[];
  try {
    entries = await readdir(dir);
  } catch (e) {
    const { code } = e as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    if (code === 'ENOTDIR') throw new FabraError('FILE_EXISTS', `${shown} is a file`, { hint: 'Name another folder: fabra init shop' });
    throw toFabraError(e);
  }
  if (entries.length > 0 && !force)
    throw new FabraError('DIRECTORY_NOT_EMPTY', `the folder ${shown} is not empty`, { hint: 'Name a new one: fabra init shop; or --force to write beside what is there.' });
}

/** Names as they will be in the project; a leading `_` stands for a dot, which npm would not pack. */
const placed = (name: string): string =>
  name
    .split(path.sep)
    .map(p => p.replace(/^_/, '.'))
    .join('/');

async function templateFiles(template: string): Promise<string[]> {
  const root = path.join(TEMPLATES, template);
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter(e => e.isFile())
    .map(e => path.relative(root, path.join(e.parentPath, e.name)))
    .filter(name => !LEFT_OUT.test(name));
}

async function contentsOf({ template, events }: Target): Promise<{ files: string[]; events: number }> {
  const sample = await sampleOf(template, events);
  const names = new Set([...(await templateFiles(template)).map(placed), ...sample.files, '.env']);
  return { files: [...names].sort(), events: sample.events };
}

/** Everything is made in a folder beside the target and then moved in. */
async function write(target: Target, events: number, out: Invocation['out']): Promise<void> {
  const { dir } = target;
  const inside = existsSync(dir);
  const stage = inside ? path.join(dir, `.fabra-init-${process.pid}`) : `${dir}.fabra-init-${process.pid}`;
  try {
    if (events > 0) out.note(`writing a sample of ${plural(events, 'event')}`);
    await mkdir(stage, { recursive: true });
    await fill(stage, target);
    if (!inside) await rename(stage, dir);
    else {
      await cp(stage, dir, { recursive: true, force: true });
      await chmod(path.join(dir, '.env'), 0o600);
    }
  } catch (e) {
    throw toFabraError(e);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

async function fill(stage: string, { dir, template, events }: Target): Promise<void> {
  const root = path.join(TEMPLATES, template);
  const project =
    path
      .basename(dir)
      .toLowerCase()
      .replace(/[^a-z0-9._-]+/g, '-')
      .replace(/^[._-]+/, '') || 'features';
  for (const name of await templateFiles(template)) {
    const to = path.join(stage, placed(name));
    await mkdir(path.dirname(to), { recursive: true });
    const bytes = await readFile(path.join(root, name));
    await writeFile(to, bytes.includes('{{project}}') ? bytes.toString('utf8').replaceAll('{{project}}', project) : bytes);
  }
  await writeFile(path.join(stage, '.env'), await readFile(path.join(TEMPLATES, ENV_FILE)), { mode: 0o600 });
  await writeSample(template, stage, events);
}
