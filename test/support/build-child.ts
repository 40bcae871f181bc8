/** Child processes need JavaScript: the sources as they are now, bundled once per content under node_modules/.cache. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { ROOT } from './project.ts';
import type { Job } from './child.ts';

let built: Promise<string> | undefined;

export const childFile = (): Promise<string> => (built ??= make());

async function make(): Promise<string> {
  const made = await build({
    entryPoints: [join(ROOT, 'test/support/child.ts')],
    absWorkingDir: ROOT,
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    logLevel: 'silent',
  });
  const text = made.outputFiles[0]!.text;
  const dir = join(ROOT, 'node_modules/.cache/fabra-test');
  const file = join(dir, `child-${createHash('sha256').update(text).digest('hex').slice(0, 16)}.mjs`);
  if (!existsSync(file)) {
    mkdirSync(dir, { recursive: true });
    writeFileSync(`${file}.${process.pid}`, text);
    renameSync(`${file}.${process.pid}`, file);
  }
  return file;
}

export interface Child {
  process: ChildProcess;
  /** Lines it printed so far, parsed. */
  lines: Record<string, unknown>[];
  /** Text on its error stream. */
  errors(): string;
  /** Resolves at its end. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** The next line with this property. */
  until(property: string): Promise<Record<string, unknown>>;
}

const running = new Set<ChildProcess>();

/** Ends what a failed test left running. */
export function endChildren(): void {
  for (const p of running) p.kill('SIGKILL');
}

export async function startChild(job: Job): Promise<Child> {
  const child = spawn(process.execPath, [await childFile(), JSON.stringify(job)], { cwd: job.dir, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_OPTIONS: '' } });
  running.add(child);
  const lines: Record<string, unknown>[] = [];
  let errors = '';
  let wake = () => {};
  let open = true;
  createInterface({ input: child.stdout }).on('line', text => {
    lines.push(JSON.parse(text) as Record<string, unknown>);
    wake();
  });
  child.stderr.on('data', (d: Buffer) => (errors += d.toString()));
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(resolve =>
    child.on('close', (code, signal) => {
      running.delete(child);
      open = false;
      wake();
      resolve({ code, signal });
    }),
  );
  let seen = 0;
  const until = async (property: string) => {
    for (;;) {
      while (seen < lines.length) {
        const line = lines[seen++]!;
        if (property in line) return line;
      }
      if (!open)
        throw new Error(
          `the child ended without ${property}: ${errors} ${lines
            .map(l => JSON.stringify(l))
            .join(' ')
            .slice(-2000)}`,
        );
      await new Promise<void>(resolve => (wake = resolve));
    }
  };
  return { process: child, lines, errors: () => errors, ended, until };
}

/** Runs a child to its end. */
export async function runChild(job: Job): Promise<{ code: number | null; signal: NodeJS.Signals | null; lines: Record<string, unknown>[]; errors: string }> {
  const child = await startChild(job);
  const end = await child.ended;
  return { ...end, lines: child.lines, errors: child.errors() };
}
