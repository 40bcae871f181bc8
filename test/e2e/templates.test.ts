/** Every template as a user gets it: init, its own test, then the commands of its README as they are printed, and dev with its curl lines. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { BIN, fabra } from '../support/bin.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const TEMPLATES = readdirSync(path.join(ROOT, 'templates'), { withFileTypes: true })
  .filter(e => e.isDirectory())
  .map(e => e.name);

const made: string[] = [];
afterAll(() => {
  for (const dir of made) rmSync(dir, { recursive: true, force: true });
});

/** A project of the template, with what `npm install` would bring. */
async function project(template: string): Promise<string> {
  const root = mkdtempSync(path.join(tmpdir(), 'fabra-template-'));
  made.push(root);
  const { code, stderr } = await fabra(['init', 'shop', '--template', template, ...(template === 'clickstream' ? ['--events', '5000'] : [])], { cwd: root });
  expect(code, stderr).toBe(0);
  const dir = path.join(root, 'shop');
  mkdirSync(path.join(dir, 'node_modules'));
  symlinkSync(ROOT, path.join(dir, 'node_modules/fabra'));
  for (const name of ['zod', '@types', 'vitest', 'typescript', '.bin']) symlinkSync(path.join(ROOT, 'node_modules', name), path.join(dir, 'node_modules', name));
  return dir;
}

/** Words of a line as the shell cuts them, and its comment. */
function cut(line: string): { words: string[]; comment: string } {
  const words: string[] = [];
  let comment = '';
  for (const m of line.matchAll(/\s*(?:#\s*(.*)|((?:'[^']*'|[^\s'#]+)+))/g))
    if (m[2] === undefined) comment = m[1]!;
    else words.push(m[2].replace(/'([^']*)'/g, '$1'));
  return { words, comment };
}

const commandsOf = (dir: string) =>
  readFileSync(path.join(dir, 'README.md'), 'utf8')
    .split('\n')
    .filter(l => l.startsWith('    '))
    .map(l => cut(l.trim()));

/** The project's own variables only. */
const clean = (): NodeJS.ProcessEnv => Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(FABRA_|VITEST|NODE_OPTIONS$|NODE_ENV$|npm_)/.test(name)));
const run = (dir: string, file: string, args: string[]): string => execFileSync(file, args, { cwd: dir, env: clean(), encoding: 'utf8', stdio: 'pipe' });

interface Answer {
  features: Record<string, { value: unknown; status: string }>;
}

/** Runs a line; what its comment says of a `get` is what it gives. */
async function runLine(dir: string, words: string[], comment: string): Promise<void> {
  if (words[0] === 'npm') {
    run(dir, 'npm', words.slice(1));
    return;
  }
  const args = words.slice(2);
  const { code, stdout, stderr } = await fabra(args, { cwd: dir });
  expect(code, `${words.join(' ')}\n${stdout}${stderr}`).toBe(0);
  if (args[0] !== 'get') return;
  const { features } = (await fabra([...args, '--json'], { cwd: dir })).json<Answer & Record<string, unknown>>();
  for (const [name, { status }] of Object.entries(features)) expect(status, `${words.join(' ')}: ${name}`).not.toMatch(/ERROR|DEFAULTED/);
  for (const [, name, value] of comment.matchAll(/\b([a-z]\w*_\w+) (-?\d[\d.]*)/g)) expect(features[name!]?.value, `${words.join(' ')}: ${name}`).toBe(Number(value));
}

/** `fabra dev` on a port of its own until `action` is done. */
async function withDev(dir: string, action: (url: string) => Promise<void>): Promise<void> {
  const child = spawn(process.execPath, [BIN, 'dev', '--port', '0'], { cwd: dir, env: clean(), stdio: 'pipe' });
  let said = '';
  const over = new Promise<number | null>(resolve => child.on('close', resolve));
  try {
    const url = await new Promise<string>((resolve, reject) => {
      for (const from of [child.stdout, child.stderr])
        from.setEncoding('utf8').on('data', (t: string) => {
          const found = /http:\/\/[\d.]+:\d+/.exec((said += t));
          if (found) resolve(found[0]);
        });
      void over.then(code => reject(new Error(`dev ended with ${code}: ${said}`)));
    });
    await action(url);
  } finally {
    child.kill('SIGTERM');
  }
  expect(await over, said).toBe(0);
}

/** The printed curl line, on the port that dev got. */
async function post(url: string, words: string[]): Promise<{ metadata: { names: string[] }; results: { values: unknown[]; statuses: string[] }[] }> {
  const [target] = words.filter(w => w.startsWith('localhost:'));
  const body = words[words.indexOf('-d') + 1]!;
  const response = await fetch(target!.replace(/^localhost:\d+/, url), { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  expect(response.status, body).toBe(200);
  return (await response.json()) as { metadata: { names: string[] }; results: { values: unknown[]; statuses: string[] }[] };
}

describe.each(TEMPLATES)('template %s', template => {
  it('init gives a project that type-checks, whose test passes and whose README is true', { timeout: 240_000 }, async () => {
    const dir = await project(template);
    expect(statSync(path.join(dir, '.env')).mode & 0o777).toBe(0o600);
    expect(existsSync(path.join(dir, 'test/features.test.ts'))).toBe(true);
    run(dir, 'npm', ['run', 'check']);
    const lines = commandsOf(dir);
    const first = lines.findIndex(l => l.words[2] === 'dev');
    expect(lines.slice(0, first).map(l => (l.words[0] === 'npm' ? 'npm test' : l.words[2]))).toEqual(
      expect.arrayContaining(['npm test', 'apply', 'replay', 'worker', 'get', 'parity']),
    );
    for (const { words, comment } of lines.slice(0, first)) await runLine(dir, words, comment);
    await told(dir, template);
    const curls = lines.slice(first).filter(l => l.words[0] === 'curl');
    await withDev(dir, async url => {
      for (const { words } of curls) {
        const { metadata, results } = await post(url, words);
        expect(results).toHaveLength(metadata.names.length);
        for (const r of results)
          expect(
            r.statuses.every(s => s === 'PRESENT'),
            JSON.stringify({ metadata, results }),
          ).toBe(true);
      }
    });
  });
});

/** What the sample is made to show. */
async function told(dir: string, template: string): Promise<void> {
  const ask = async (...args: string[]) => (await fabra([...args, '--json'], { cwd: dir })).json<Answer & Record<string, unknown>>().features;
  const report = JSON.parse(readFileSync(path.join(dir, 'artifacts/reports/parity_report.json'), 'utf8'));
  expect(report).toMatchObject({ ok: true, p0: { mismatched: 0 } });
  expect(report.p0.compared).toBeGreaterThan(1_000);
  if (template === 'recommendations') {
    expect(report.left_out.map((l: { feature: string }) => l.feature)).toEqual(expect.arrayContaining(['user.favorite_category', 'user.last_viewed_category']));
    const of = (at: string) => ask('get', 'user', 'u_15', '--with', 'product_id=sku_02', '--service', 'recommend', '--as-of', at);
    expect(await of('2025-01-15T18:15:00Z')).toMatchObject({ favorite_category: { value: 'shoes' }, last_viewed_category: { value: 'shoes' }, views_30m: { value: 7 } });
    const cold = (await of('2024-12-01T00:00:00Z')).favorite_category;
    expect(cold).toMatchObject({ value: 'unknown', status: 'NOT_FOUND' });
  }
  if (template === 'fraud') {
    expect(report.p0.features.find((f: { feature: string }) => f.feature === 'customer.balance').nonempty).toBeGreaterThan(100);
    const at = ['--as-of', '2025-01-14T22:05:00Z'];
    const of = (n: string, terminal: string, amount: number) =>
      ask('get', 'card', `card_0${n}`, '--with', `customer_id=c_${n},terminal_id=${terminal}`, '--service', 'decide', '--request', `{"amount": ${amount}}`, ...at);
    expect(await of('13', 'term_07', 250)).toMatchObject({ decision: { value: 'review' } });
    expect(await of('13', 'term_07', 2_000)).toMatchObject({ decision: { value: 'decline' } });
    expect(await of('02', 'term_03', 20)).toMatchObject({ decision: { value: 'approve' } });
    expect((await ask('get', 'customer', 'c_13', ...at)).balance).toMatchObject({ status: 'PRESENT', value: expect.closeTo(balanceOf(dir, 'c_13'), 9) });
  }
}

/** By hand, from the sample. */
function balanceOf(dir: string, customer: string): number {
  const events = readFileSync(path.join(dir, 'data/events.ndjson'), 'utf8')
    .trim()
    .split('\n')
    .map(l => JSON.parse(l) as { customer_id: string; kind?: string; amount: number });
  return events.filter(e => e.customer_id === customer && e.kind).reduce((sum, e) => sum + (e.kind === 'credit' ? 1 : -1) * Math.round(e.amount * 100), 0) / 100;
}
