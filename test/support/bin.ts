/** The real `fabra`, as a user's shell runs it. Built first when a source is newer than the build. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const BIN = path.join(ROOT, 'bin/fabra.js');

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
  /** Of stdout. */
  json<T = Record<string, unknown>>(): T;
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  input?: string;
}

/** Runs `fabra` to its end. Variables of the tests' own environment that fabra reads are not passed on. */
export async function fabra(args: readonly string[], { cwd, env = {}, input }: RunOptions = {}): Promise<Ran> {
  buildOnce();
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(FABRA_|NO_COLOR$|FORCE_COLOR$|NODE_OPTIONS$|VITEST)/.test(name)));
  const child = spawn(process.execPath, [BIN, ...args], { cwd, env: { ...clean, ...env }, stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (t: string) => (stdout += t));
  child.stderr.setEncoding('utf8').on('data', (t: string) => (stderr += t));
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  return { code, stdout, stderr, json: () => JSON.parse(stdout) };
}

const newest = (dir: string): number =>
  Math.max(...readdirSync(dir, { recursive: true, withFileTypes: true }).map(e => (e.isFile() ? statSync(path.join(e.parentPath, e.name)).mtimeMs : 0)));

const stale = (): boolean => newest(path.join(ROOT, 'src')) > (statSync(path.join(ROOT, 'dist/cli/main.js'), { throwIfNoEntry: false })?.mtimeMs ?? 0);

let fresh = false;
/** One build for all test processes: the first takes the lock, the others wait for it. */
function buildOnce(): void {
  if (fresh) return;
  const lock = path.join(ROOT, 'node_modules/.fabra-build');
  for (let waited = 0; stale(); waited += 200) {
    try {
      mkdirSync(lock);
    } catch {
      if (waited > 60_000) rmSync(lock, { recursive: true, force: true });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
      continue;
    }
    try {
      execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--noCheck'], { cwd: ROOT, stdio: 'pipe' });
    } finally {
      rmSync(lock, { recursive: true, force: true });
    }
    break;
  }
  fresh = true;
}
