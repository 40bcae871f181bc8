/** A Postgres of the test's own: a fresh cluster in a temporary folder, on a free port. Without its programs, tests that need it skip. */
import { execFileSync, spawn } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

export interface TestPostgres {
  /** With user and password. */
  url: string;
  /** Runs statements; answers with the last one's rows. */
  run(sql: string): Promise<Record<string, unknown>[]>;
  /** Ends the server at once, as a crash does. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

export const PASSWORD = 's3cret/word';

function programs(): string | null {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [...versions.map(v => join(root, v, 'bin')), ...(process.env.PATH ?? '').split(delimiter)];
  return folders.find(f => existsSync(join(f, 'initdb')) && existsSync(join(f, 'postgres'))) ?? null;
}

/** Postgres refuses to run as root. */
function account(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const lines = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map(l => l.split(':'));
  const found = lines.find(l => l[0] === 'postgres') ?? lines.find(l => l[0] === 'nobody');
  return found && { uid: Number(found[2]), gid: Number(found[3]) };
}

/** Why tests with a real Postgres cannot run here; null when they can. */
export const noPostgres: string | null = programs() === null ? 'no initdb and postgres found (apt-get install postgresql)' : null;

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
      .on('error', reject)
      .listen(0, '127.0.0.1', () => {
        const { port } = server.address() as { port: number };
        server.close(() => resolve(port));
      });
  });

export async function startPostgres(): Promise<TestPostgres> {
  const bin = programs()!;
  const who = account();
  const dir = mkdtempSync(join(tmpdir(), 'fabra-pg-'));
  writeFileSync(join(dir, 'password'), PASSWORD, { mode: 0o644 });
  if (who) chownSync(dir, who.uid, who.gid);
  const env = { PATH: process.env.PATH, LC_ALL: 'C' };
  const data = join(dir, 'data');
  execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'fabra', '-A', 'scram-sha-256', `--pwfile=${join(dir, 'password')}`, '-E', 'UTF8', '-N'], {
    ...who,
    env,
    cwd: dir,
    stdio: 'pipe',
  });
  const port = await freePort();
  const settings = ['fsync=off', 'full_page_writes=off', 'shared_buffers=16MB', 'listen_addresses=127.0.0.1', `unix_socket_directories=${dir}`].flatMap(s => ['-c', s]);
  const server = spawn(join(bin, 'postgres'), ['-D', data, '-p', String(port), ...settings], { ...who, env, cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  server.stderr.on('data', (d: Buffer) => (errors += d.toString()));
  const ended = new Promise<void>(resolve => server.on('close', () => resolve()));
  const end = async (signal: NodeJS.Signals) => {
    server.kill(signal);
    await ended;
  };
  const url = `postgres://fabra:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/postgres`;
  const client = await connect(
    url,
    () => server.exitCode ?? server.signalCode,
    () => errors,
  );
  return {
    url,
    run: async sql => {
      const result = (await client.query(sql)) as pg.QueryResult | pg.QueryResult[];
      return (Array.isArray(result) ? result.at(-1)! : result).rows as Record<string, unknown>[];
    },
    crash: () => end('SIGQUIT'),
    stop: async () => {
      await client.end().catch(() => {});
      await end('SIGINT');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function connect(url: string, ended: () => unknown, errors: () => string): Promise<pg.Client> {
  for (const deadline = Date.now() + 30_000; ; ) {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    try {
      await client.connect();
      return client;
    } catch (e) {
      if (ended() !== null || Date.now() > deadline) throw new Error(`Postgres did not start: ${errors()}`, { cause: e });
      await sleep(50);
    }
  }
}
