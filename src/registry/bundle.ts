/**
 * features.ts and the local files it imports as one ES module under `.fabra/build`, reused while no input changed: esbuild
 * (about 40 ms with its start) is not even loaded then.
 */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { BuildFailure, Message, Metafile, Plugin } from 'esbuild';
import { FabraError, type Problem } from '../lib/errors.ts';
import { sha256 } from '../lib/hash.ts';
import { canonicalJson } from '../lib/json.ts';
import { suggest } from '../lib/text.ts';
import { HOSTED, host, hostKey, hostText } from './hosts.ts';

export interface Bundle {
  /** Absolute path of the module. */
  file: string;
  text: string;
  map: string;
  /** Absolute paths of the local files it was made of. */
  inputs: string[];
}

interface Manifest {
  format: number;
  bundle: string;
  /** Path relative to the project -> hash of its bytes; null for a file that is not there and would count if it were. */
  inputs: Record<string, string | null>;
  hosts: Record<string, string>;
}

const FORMAT = 3;
const buildDir = (project: string): string => path.join(project, '.fabra', 'build');
const manifestFile = (project: string, entry: string): string => path.join(buildDir(project), `${path.relative(project, entry).replace(/[^\w.-]/g, '_')}.manifest.json`);

/** @throws FabraError COMPILE_FAILED with a problem per syntax error or import that leads nowhere. */
export async function bundle(entry: string, project: string): Promise<Bundle> {
  return (await reuse(entry, project)) ?? (await build(entry, project));
}

async function hashFile(file: string): Promise<string | null> {
  try {
    return sha256(await readFile(file));
  } catch {
    return null;
  }
}

async function reuse(entry: string, project: string): Promise<Bundle | null> {
  try {
    const manifest = JSON.parse(await readFile(manifestFile(project, entry), 'utf8')) as Manifest;
    if (manifest.format !== FORMAT) return null;
    const names = Object.keys(manifest.inputs);
    const hashes = await Promise.all(names.map(n => hashFile(path.resolve(project, n))));
    if (names.some((n, i) => hashes[i] !== manifest.inputs[n])) return null;
    for (const [spec, key] of Object.entries(manifest.hosts)) {
      const module = await host(spec);
      if (!module || hostKey(module) !== key) return null;
    }
    const file = path.join(buildDir(project), manifest.bundle);
    const [text, map] = await Promise.all([readFile(file, 'utf8'), readFile(`${file}.map`, 'utf8')]);
    if (bundleName(text) !== manifest.bundle) return null;
    return { file, text, map, inputs: names.filter(n => n !== 'tsconfig.json').map(n => path.resolve(project, n)) };
  } catch {
    return null;
  }
}

const bundleName = (text: string): string => `${sha256(text).slice(0, 16)}.mjs`;

async function build(entry: string, project: string): Promise<Bundle> {
  const { build: run } = await import('esbuild');
  const hosts: Record<string, string> = {};
  const made = await run({
    entryPoints: [entry],
    absWorkingDir: project,
    outfile: path.join(buildDir(project), 'features.mjs'),
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    sourcemap: 'external',
    sourcesContent: false,
    metafile: true,
    charset: 'utf8',
    logLevel: 'silent',
    plugins: [hosted(hosts)],
  }).catch((e: unknown) => {
    throw failed(e);
  });
  const text = made.outputFiles.find(f => f.path.endsWith('.mjs'))?.text ?? '';
  const map = made.outputFiles.find(f => f.path.endsWith('.map'))?.text ?? '{}';
  const inputs = localInputs(made.metafile, project);
  const file = path.join(buildDir(project), bundleName(text));
  await save(file, text, map, entry, project, inputs, hosts);
  return { file, text, map, inputs };
}

const localInputs = (meta: Metafile, project: string): string[] =>
  Object.keys(meta.inputs)
    .filter(name => !name.startsWith('fabra-host:'))
    .map(name => path.resolve(project, name))
    .sort();

function hosted(hosts: Record<string, string>): Plugin {
  return {
    name: 'fabra-host',
    setup(b) {
      b.onResolve({ filter: HOSTED }, args => (args.kind === 'entry-point' ? null : { path: args.path, namespace: 'fabra-host', sideEffects: false }));
      b.onLoad({ filter: /.*/, namespace: 'fabra-host' }, async args => {
        const module = await host(args.path);
        if (!module) return { errors: [{ text: `there is no module '${args.path}'` }] };
        hosts[args.path] = hostKey(module);
        return { contents: hostText(args.path, module), loader: 'js' };
      });
    },
  };
}

let writes = 0;
/** Files appear whole or not at all, so that a worker and a CLI may compile at once. */
async function replaceFile(file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}.${writes++}.tmp`;
  await writeFile(temporary, text);
  await rename(temporary, file);
}

async function save(file: string, text: string, map: string, entry: string, project: string, inputs: string[], hosts: Record<string, string>): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  const watched = [...inputs, path.join(project, 'tsconfig.json')];
  const hashes = await Promise.all(watched.map(hashFile));
  const manifest: Manifest = {
    format: FORMAT,
    bundle: path.basename(file),
    inputs: Object.fromEntries(watched.map((f, i) => [path.relative(project, f), hashes[i] ?? null])),
    hosts,
  };
  await replaceFile(`${file}.map`, map);
  await replaceFile(file, text);
  await replaceFile(manifestFile(project, entry), canonicalJson(manifest, 1));
  await prune(path.dirname(file), file);
}

/** Keeps the folder small; what is less than a day older than the file just written stays, another process may be about to load it. */
async function prune(dir: string, written: string): Promise<void> {
  const old = (await stat(written)).mtimeMs - 86_400_000;
  for (const name of await readdir(dir)) {
    const file = path.join(dir, name);
    const info = await stat(file).catch(() => null);
    if (info && info.mtimeMs < old && /\.(mjs|map|tmp)$/.test(name)) await rm(file, { force: true });
  }
}

function failed(e: unknown): unknown {
  const errors = (e as Partial<BuildFailure>).errors;
  if (!errors?.length) return e;
  const problems = errors.map(problemOf);
  return new FabraError('COMPILE_FAILED', problems.length === 1 ? problems[0]!.message : `${problems.length} problems in the definitions`, {
    problems,
    hint: problems[0]!.hint,
    where: problems[0]!.where,
  });
}

function problemOf({ text, location }: Message): Problem {
  const where = location ? `${location.file}:${location.line}:${location.column + 1}` : undefined;
  const missing = /^No matching export in "fabra-host:([^"]+)" for import "([^"]+)"$/.exec(text);
  if (missing) {
    const [, spec, name] = missing as unknown as [string, string, string];
    return { code: 'COMPILE_FAILED', message: `'${spec}' has no export '${name}'`, hint: suggest(name, exportsOf(spec)), where };
  }
  const lost = /^Could not resolve "([^"]+)"$/.exec(text);
  if (lost) return { code: 'COMPILE_FAILED', message: `cannot find the file '${lost[1]}'`, hint: 'Check the path of the import.', where };
  if (text.startsWith('there is no module')) return { code: 'COMPILE_FAILED', message: text, hint: "Import from 'fabra' or 'zod'.", where };
  return { code: 'COMPILE_FAILED', message: text, hint: 'Fix the syntax there; your editor marks it too.', where };
}

const exportsOf = (spec: string): string[] => {
  const modules = (globalThis as unknown as Record<symbol, Record<string, object> | undefined>)[Symbol.for('fabra.modules')];
  return Object.keys(modules?.[spec] ?? {});
};

/** @throws FabraError NO_PROJECT when the definitions are not there. */
export function requireFile(file: string): void {
  if (existsSync(file)) return;
  throw new FabraError('NO_PROJECT', `no definitions at ${file}`, { hint: 'Run `fabra init shop` for a working project, or go to the folder that has features.ts.' });
}
