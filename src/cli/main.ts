/** The command line: parse, run the one command, turn what comes back into an exit code. */
import { readFileSync } from 'node:fs';
import { FabraError, toFabraError } from '../lib/errors.ts';
import { Output } from './output.ts';
import { buildProgram, type Chosen, parseFlags } from './program.ts';
import { GROUPS, COMMANDS } from './table.ts';

const version = (): string => (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

/** Runs this process's command and ends the process. */
export async function start(): Promise<void> {
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (e: NodeJS.ErrnoException) => {
      // Whoever read our output has gone (`fabra get … | head -1`): there is nobody left to tell.
      if (e.code === 'EPIPE') process.exit(process.exitCode ?? 0);
    });
  const code = await runCommand(process.argv.slice(2));
  process.exitCode = code;
  process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
}

async function runCommand(argv: readonly string[]): Promise<number> {
  let out = output(argv.includes('--json'), argv.includes('--quiet'));
  try {
    const program = buildProgram(COMMANDS, GROUPS, version(), text => process.stdout.write(text));
    const chosen = await program.parse(argv.length > 0 ? argv : ['--help']);
    if (!chosen) return 0;
    const { flags, common } = await parseFlags(chosen);
    out = output(common.json, common.quiet);
    const stop = listen(chosen, out);
    const { run } = await chosen.spec.load();
    const code = await run({ args: chosen.args, flags, common, out, signal: stop.signal, env: process.env, cwd: process.cwd() });
    return stop.code() ?? code ?? 0;
  } catch (e) {
    return failed(e, out);
  }
}

const output = (json: boolean, quiet: boolean): Output => new Output({ json, quiet, stdout: process.stdout, stderr: process.stderr, env: process.env });

function failed(e: unknown, out: Output): number {
  const error = toFabraError(e);
  out.fail(error);
  if (process.env.FABRA_DEBUG === '1')
    process.stderr.write(`${(e as Error).stack ?? String(e)}\n${error.cause instanceof Error && error.cause !== e ? `${error.cause.stack}\n` : ''}`);
  return error.exitCode;
}

/** SIGINT and SIGTERM: a graceful command is told and ends by itself, a second signal ends any command at once. */
function listen(chosen: Chosen, out: Output): { signal: AbortSignal; code(): number | undefined } {
  const abort = new AbortController();
  let code: number | undefined;
  const on = (name: 'SIGINT' | 'SIGTERM') => {
    const exit = name === 'SIGTERM' && chosen.spec.daemon ? 0 : 130;
    if (abort.signal.aborted || !chosen.spec.graceful) {
      out.fail(new FabraError('INTERRUPTED', 'interrupted', { hint: `Run it again: fabra ${chosen.spec.name}` }));
      process.exit(130);
    }
    code = exit;
    out.note('stopping (once more to stop at once)');
    abort.abort();
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => on(name));
  // What runs for months must not end for a promise that a handler started and did not await: the same event would end it again.
  if (chosen.spec.daemon)
    process.on('unhandledRejection', e =>
      out.warn(`a promise that nobody awaits was rejected: ${e instanceof Error ? e.message : String(e)} (await what handlers and on-demand code start)`),
    );
  return { signal: abort.signal, code: () => code };
}
