// Bundles a benchmark (Node 20 runs no TypeScript) and runs it, on one core where the kernel lets us: node test/bench/run.mjs worker [args]
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const [name, ...args] = process.argv.slice(2);
const cores = process.env.FABRA_BENCH_CORES ?? '0';
const out = join(here, '../../node_modules/.cache/fabra-bench');
mkdirSync(out, { recursive: true });
const file = join(out, `${name}.mjs`);
await build({ entryPoints: [join(here, `${name}.ts`)], outfile: file, bundle: true, platform: 'node', format: 'esm', target: 'node20', packages: 'external', logLevel: 'error' });
const pinned = spawnSync('taskset', ['--version']).status === 0 && cores !== 'all';
const command = pinned ? ['taskset', ['-c', cores, process.execPath, '--expose-gc', file, ...args]] : [process.execPath, ['--expose-gc', file, ...args]];
console.log(`# ${name} on ${pinned ? `core ${cores}` : 'all cores'}, node ${process.version}`);
process.exit(spawnSync(command[0], command[1], { stdio: 'inherit', cwd: join(here, '../..') }).status ?? 1);
