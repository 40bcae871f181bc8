/** The pages of the documentation that hold whole programs, run as printed. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BIN, fabra } from '../support/bin.ts';
import { blocksOf, runFile, writePage } from '../support/docs.ts';
import { cleanUp, newDir } from '../support/project.ts';

const children = new Set<ChildProcess>();
const servers: Server[] = [];
afterAll(async () => {
  const ended = [...children].map(c => new Promise(resolve => c.once('exit', resolve)));
  for (const c of children) c.kill('SIGTERM');
  await Promise.all(ended);
  for (const s of servers) s.close();
  cleanUp();
});

/** A `fabra` that stays; resolves with the first JSON document on stdout, or null when it prints none. */
function start(dir: string, args: string[], env: Record<string, string> = {}): { child: ChildProcess; first: Promise<{ url: string }>; log: () => string } {
  const child = spawn(process.execPath, [BIN, ...args], { cwd: dir, env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env }, stdio: 'pipe' });
  children.add(child);
  child.once('exit', () => children.delete(child));
  let stdout = '';
  let all = '';
  child.stderr!.setEncoding('utf8').on('data', (t: string) => (all += t));
  const first = new Promise<{ url: string }>((resolve, reject) => {
    child.stdout!.setEncoding('utf8').on('data', (t: string) => {
      stdout += t;
      all += t;
      if (stdout.trimEnd().endsWith('}')) resolve(JSON.parse(stdout) as { url: string });
    });
    child.once('exit', code => reject(new Error(`fabra ${args.join(' ')} ended with ${code}: ${all}`)));
  });
  first.catch(() => {});
  return { child, first, log: () => all };
}

/** A shell block as printed, with the server's own address. */
async function shell(dir: string, text: string, url = ''): Promise<string> {
  const bin = path.join(dir, '.bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(path.join(bin, 'fabra'), `#!/bin/sh\nexec "${process.execPath}" "${BIN}" "$@"\n`);
  chmodSync(path.join(bin, 'fabra'), 0o755);
  const { stdout } = await promisify(execFile)(
    'bash',
    ['-euo', 'pipefail', '-c', text.replaceAll('http://localhost:8080', url).replaceAll('curl ', 'curl -sS --fail-with-body ')],
    {
      cwd: dir,
      env: { HOME: process.env.HOME, PATH: `${bin}:${process.env.PATH}` },
      encoding: 'utf8',
    },
  );
  return stdout;
}

async function until<T>(look: () => Promise<T>, good: (v: T) => boolean, what: string): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const v = await look();
    if (good(v)) return v;
    if (Date.now() > deadline) throw new Error(`${what}: still ${JSON.stringify(v)}`);
    await new Promise(r => setTimeout(r, 50));
  }
}

describe('docs/recipes.md', () => {
  const blocks = blocksOf('recipes.md');
  const bash = (has: string): string => {
    const [block, ...more] = blocks.filter(b => b.kind === 'bash' && b.text.includes(has));
    expect(more, has).toEqual([]);
    return block!.text;
  };
  /** Answers of the risk service, in order; then the last one again. */
  let risk: { status: number; body: string }[] = [];
  let asked = 0;
  let dir: string;
  let url: string;
  let env: Record<string, string>;
  const get = async (user: string): Promise<Record<string, unknown>> => {
    const { features } = (await fabra(['get', 'user', user, '--json'], { cwd: dir })).json<{ features: Record<string, { value: unknown }> }>();
    return Object.fromEntries(Object.entries(features).map(([name, { value }]) => [name, value]));
  };

  beforeAll(async () => {
    dir = newDir('recipes');
    expect(writePage('recipes.md', dir)).toEqual(['features.ts', 'recommend.ts', 'client.ts']);
    mkdirSync(path.join(dir, 'data'));
    writeFileSync(path.join(dir, 'data/orders.csv'), blocks.find(b => b.kind === 'csv')!.text);
    const server = createServer((_request, response) => {
      const { status, body } = risk[Math.min(asked++, risk.length - 1)]!;
      response.writeHead(status).end(body);
    });
    servers.push(server);
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    env = { RISK_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/score` };
    expect(await fabra(['--version'])).toMatchObject({ code: 0 });
    await shell(dir, bash('fabra materialize'));
  }, 120_000);

  it('SQL, session and code in one call print what the page says', async () => {
    const printed = JSON.parse(await runFile(dir, 'recommend.ts'));
    expect(printed).toEqual(JSON.parse(blocks.find(b => b.kind === 'json')!.text));
  }, 60_000);

  it('publishing from TypeScript, by curl and on the command line; the worker and the reads', async () => {
    const serving = start(dir, ['serve', '--port', '0', '--json'], env);
    url = (await serving.first).url;
    const worker = start(dir, bash('fabra worker').trim().split(' ').slice(1), env);
    expect((await runFile(dir, 'client.ts', { env: { FABRA_URL: url } })).trim()).toBe('order-1');
    // Sent again, it is the same event.
    await runFile(dir, 'client.ts', { env: { FABRA_URL: url } });
    expect(JSON.parse(await shell(dir, bash('ingest/purchase'), url))).toMatchObject({ position: expect.stringMatching(/^shop\/0\/\d+$/) });
    await shell(dir, bash('/v1/events'), url);
    await shell(dir, bash('fabra publish refund'));
    const values = await until(
      () => get('user_123'),
      v =>
        v.transaction_count === 3 && v.balance === 30 && v.last_purchase !== null && v.last_login !== null && v.idempotent_total !== null && (v.idempotent_total as number) > 100,
      worker.log(),
    );
    expect(Math.abs(Date.now() - Date.parse(values.last_login as string))).toBeLessThan(3_600_000);
    expect(values).toMatchObject({
      last_purchase_amount: 99.99,
      total_purchases: 2,
      transaction_count: 3,
      balance: 30,
      spent: 99.99 + 99.99 - 9.99,
      idempotent_total: 99.99 + 99.99,
      last_purchase: { amount: 99.99, product_id: 'prod_456' },
      order_count: 0,
    });
    expect(await get('u1')).toMatchObject({ favorite_category: 'outdoor', order_count: 1 });
    const read = (await shell(dir, bash('/v1/features'), url)).split(/(?<=\})(?=\{)/).map(t => JSON.parse(t));
    expect(read[0].results.map((r: { values: unknown[] }) => r.values[0])).toEqual([99.99, 2, 3, 30]);
    expect(read[1].features).toMatchObject({ idempotent_total: { value: 99.99 + 99.99, status: 'PRESENT' }, last_login: { value: values.last_login } });
  }, 120_000);

  it('the risky feature: tried again, given up, and tried again after a fix', async () => {
    const send = (text: string, id: string) => fabra(['publish', 'risky_event', JSON.stringify({ user_id: 'u7', text }), '--event-id', id], { cwd: dir });
    risk = [
      { status: 500, body: '' },
      { status: 429, body: '' },
      { status: 200, body: '{"level": "low"}' },
    ];
    asked = 0;
    await send('first', 'r1');
    await until(
      () => get('u7'),
      v => v.risky_feature === 'low',
      'after two failures',
    );
    expect(asked).toBe(3);
    risk = [{ status: 503, body: '' }];
    asked = 0;
    await send('second', 'r2');
    const letters = async () => JSON.stringify(JSON.parse((await fabra(['dlq', 'list', '--json'], { cwd: dir })).stdout));
    await until(letters, text => text.includes('r2'), 'the dead letter');
    expect(asked).toBe(4);
    expect(await shell(dir, bash('dlq list').split('\n')[0]!)).toContain('risky_feature');
    risk = [{ status: 200, body: '{"level": "high"}' }];
    asked = 0;
    await shell(dir, bash('dlq retry'));
    await until(
      () => get('u7'),
      v => v.risky_feature === 'high',
      'after the retry',
    );
    expect(asked).toBe(1);
    expect(await letters()).not.toContain('r2');
    risk = [{ status: 422, body: 'no such user' }];
    asked = 0;
    await send('third', 'r3');
    await until(letters, text => text.includes('no such user'), 'refused at once');
    expect(asked).toBe(1);
  }, 120_000);
});

describe('other pages', () => {
  it('docs/testing.md: its tests pass with node --test', async () => {
    const dir = newDir('docs-testing');
    expect(writePage('testing.md', dir)).toEqual(['features.ts', 'features.test.ts']);
    await fabra(['--version']);
    const out = await runFile(dir, 'features.test.ts', { args: ['--test', '--test-reporter=tap'] });
    expect(out).toMatch(/^# pass 4$/m);
    expect(out).toMatch(/^# fail 0$/m);
  }, 120_000);

  it('docs/embedding.md: its program runs', async () => {
    const dir = newDir('docs-embedding');
    expect(writePage('embedding.md', dir)).toEqual(['features.ts', 'score.ts', 'web.ts']);
    await fabra(['--version']);
    writeFileSync(path.join(dir, 'main.ts'), "import { row, rows, reduction } from './score.ts';\nconsole.log(JSON.stringify({ row, rows, reduction }));\n");
    expect(JSON.parse(await runFile(dir, 'main.ts'))).toEqual({
      row: { purchases_1h: 1, spent: 120, discount: 5 },
      rows: [
        { spent: 120, segment: null },
        { spent: 0, segment: null },
      ],
      reduction: 5,
    });
  }, 120_000);
});
