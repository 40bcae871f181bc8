/** Code of a page of the documentation, as files of a project. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { ROOT } from './project.ts';

export interface Block {
  kind: string;
  text: string;
}

/** Fenced blocks in order. */
export const blocksOf = (page: string): Block[] =>
  [...readFileSync(path.join(ROOT, 'docs', page), 'utf8').matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(m => ({ kind: m[1]!, text: m[2]! }));

/** `ts` blocks by the name in their first line; blocks of one name belong together. */
export function filesOf(page: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const { kind, text } of blocksOf(page)) {
    const name = kind === 'ts' ? /^\/\/ ([\w.-]+\.ts)\n/.exec(text)?.[1] : undefined;
    if (name !== undefined) files.set(name, (files.get(name) ?? '') + text);
  }
  return files;
}

/** Writes a page's files into a folder in which `fabra` and `zod` are installed. */
export function writePage(page: string, dir: string): string[] {
  const files = filesOf(page);
  for (const [name, text] of files) writeFileSync(path.join(dir, name), text);
  writeFileSync(path.join(dir, 'package.json'), '{ "type": "module", "private": true }\n');
  mkdirSync(path.join(dir, 'node_modules'), { recursive: true });
  const link = (name: string, to: string) => existsSync(path.join(dir, 'node_modules', name)) || symlinkSync(to, path.join(dir, 'node_modules', name), 'dir');
  link('fabra', ROOT);
  link('zod', path.join(ROOT, 'node_modules/zod'));
  return [...files.keys()];
}

/** Runs a TypeScript file of such a folder with Node, bundled as a project's own build would. */
export async function runFile(dir: string, name: string, { env = {}, args = [] }: { env?: Record<string, string>; args?: string[] } = {}): Promise<string> {
  const outfile = path.join(dir, name.replace(/\.ts$/, '.mjs'));
  await build({ entryPoints: [path.join(dir, name)], outfile, bundle: true, platform: 'node', format: 'esm', target: 'node20', packages: 'external', logLevel: 'silent' });
  const clean = Object.fromEntries(Object.entries(process.env).filter(([k]) => !/^(FABRA_|NODE_|VITEST)/.test(k)));
  const { stdout } = await promisify(execFile)(process.execPath, [...args, outfile], { cwd: dir, env: { ...clean, ...env }, encoding: 'utf8' });
  return stdout;
}
