/** The real binary, as a shell runs it. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BIN, fabra } from '../support/bin.ts';

let dir: string;
let shop: string;
beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'fabra-cli-'));
  shop = path.join(dir, 'shop');
  await fabra(['init', 'shop', '--events', '2000'], { cwd: dir });
}, 120_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('fabra', () => {
  it('--help and --version answer on stdout', async () => {
    for (const args of [['--help'], [], ['help', 'get'], ['--version'], ['get', '--help']]) {
      const { code, stdout, stderr } = await fabra(args);
      expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: '' });
      expect(stdout).not.toBe('');
    }
  });

  it('says what was meant: exit 2, on stderr, one document with --json', async () => {
    const people = await fabra(['compil']);
    expect(people).toMatchObject({ code: 2, stdout: '' });
    expect(people.stderr).toBe("error BAD_FLAG unknown command 'compil'\n  -> Did you mean: compile? All there is: fabra --help\n");
    const json = await fabra(['compile', '--outt', 'x', '--json']);
    expect(json).toMatchObject({ code: 2, stderr: '' });
    expect(json.json()).toEqual({ error: { code: 'BAD_FLAG', message: "unknown option '--outt'", hint: expect.stringContaining('Did you mean: --out?') } });
  });

  it('outside a project: how to start one', async () => {
    const { code, stderr } = await fabra(['compile'], { cwd: dir });
    expect(code).toBe(2);
    expect(stderr).toContain('NO_PROJECT');
    expect(stderr).toContain('fabra init shop');
    expect(stderr).not.toMatch(/^\s+at .*\.(js|ts):\d+/m);
  });

  it('ends quietly when its reader has gone', () => {
    const script = `${process.execPath} ${BIN} --help | head -1; echo "\${PIPESTATUS[0]}"`;
    expect(execFileSync('bash', ['-c', script], { encoding: 'utf8' })).toBe('Usage: fabra [options] [command]\n0\n');
  });
});

describe('fabra init', () => {
  it('writes a project that compiles, its .env for the owner alone', async () => {
    expect(statSync(path.join(shop, '.env')).mode & 0o777).toBe(0o600);
    expect(readFileSync(path.join(shop, '.gitignore'), 'utf8')).toContain('.fabra');
    const { code, json } = await fabra(['compile', '--json'], { cwd: path.join(shop, 'data') });
    expect(code).toBe(0);
    expect(json()).toMatchObject({ ok: true, entities: 3, streams: 1, hash: expect.stringMatching(/^[0-9a-f]{32,64}$/) });
  });

  it('leaves a folder that is not empty alone: exit 1', async () => {
    const before = readFileSync(path.join(shop, 'features.ts'), 'utf8');
    writeFileSync(path.join(shop, 'features.ts'), `${before}\n// mine\n`);
    const { code, json } = await fabra(['init', 'shop', '--json'], { cwd: dir });
    expect(code).toBe(1);
    expect(json()).toMatchObject({ error: { code: 'DIRECTORY_NOT_EMPTY', hint: expect.any(String) } });
    expect(readFileSync(path.join(shop, 'features.ts'), 'utf8')).toContain('// mine');
    writeFileSync(path.join(shop, 'features.ts'), before);
  });

  it('--dry-run writes nothing, a wrong template is named', async () => {
    const dry = await fabra(['init', 'other', '--dry-run', '--json'], { cwd: dir });
    expect(dry.json()).toMatchObject({ dryRun: true, template: 'clickstream', files: expect.arrayContaining(['features.ts', 'data/events.csv.gz', '.env']) });
    expect(statSync(path.join(dir, 'other'), { throwIfNoEntry: false })).toBeUndefined();
    const wrong = await fabra(['init', 'other', '--template', 'clikstream'], { cwd: dir });
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('Did you mean: clickstream?');
  });

  it('the smallest template compiles too', async () => {
    expect((await fabra(['init', 'small', '--template', 'minimal', '--quiet'], { cwd: dir })).code).toBe(0);
    expect((await fabra(['compile', '--json', '--project', 'small'], { cwd: dir })).json()).toMatchObject({ ok: true });
  });
});

describe('a project, end to end', () => {
  it('plan, apply, replay, worker, get, status answer in their stable shapes', async () => {
    const run = (...args: string[]) => fabra([...args, '--json'], { cwd: shop });
    expect((await run('plan')).json()).toMatchObject({ breaking: false, changes: expect.arrayContaining([expect.objectContaining({ op: 'add', kind: 'feature' })]) });
    expect((await run('worker', '--until-idle')).json()).toMatchObject({ error: { code: 'NOT_APPLIED', hint: expect.stringContaining('fabra apply') } });
    expect((await run('apply')).json()).toMatchObject({ revision: 1, changed: true });
    expect((await run('apply')).json()).toMatchObject({ revision: 1, changed: false, changes: [] });
    expect((await fabra(['plan'], { cwd: shop })).stdout).toBe('No changes\n');
    expect((await run('replay', 'data/events.csv.gz')).json()).toMatchObject({ read: 2000, published: 2000, rejected: 0, seconds: expect.any(Number), eps: expect.any(Number) });
    const worked = (await run('worker', '--until-idle')).json<Record<string, number>>();
    expect(worked.read).toBe(2000);
    expect(worked.rejected! + worked.quarantined! + worked.late! + worked.ignored! + worked.duplicate! + worked.applied!).toBe(2000);
    const tail = (await run('events', 'tail', '--limit', '1')).json<{ events: { event: { user_id: string } }[] }>();
    const user = tail.events[0]!.event.user_id;
    const got = (await run('get', 'user', user, '--features', 'user_views_5m,user_spend_lifetime', '--as-of', '2025-01-16T00:00:00Z')).json();
    expect(got).toEqual({
      entity: 'user',
      key: user,
      as_of: '2025-01-16T00:00:00.000Z',
      features: {
        user_views_5m: { value: expect.any(Number), status: 'PRESENT', ts: expect.toSatisfy((t: unknown) => t === null || /^2025-01-15T\d\d:\d\d:\d\d\.\d{3}Z$/.test(String(t))) },
        user_spend_lifetime: expect.objectContaining({ status: expect.any(String) }),
      },
    });
    expect((await run('status')).json()).toMatchObject({ revision: 1, worker: null, streams: [{ stream: 'events_raw', end: 2000, next: 2000, lag: 0 }] });
    expect((await run('get', 'usr', 'u1')).json()).toMatchObject({ error: { code: 'UNKNOWN_ENTITY', hint: 'Did you mean: user?' } });
    expect((await run('get', 'session', 'u1')).json()).toMatchObject({ error: { code: 'BAD_KEY' } });
    expect((await run('doctor')).json()).toMatchObject({ ok: true, settings: expect.arrayContaining([{ name: 'env', value: 'dev', from: '.env FABRA_ENV' }]) });
  }, 60_000);

  it('a running worker finishes its batch on SIGINT: 130, on SIGTERM: 0, with its answer', async () => {
    for (const [signal, expected] of [
      ['SIGINT', 130],
      ['SIGTERM', 0],
    ] as const) {
      const child = spawn(process.execPath, [BIN, 'worker', '--json'], { cwd: shop, stdio: 'pipe' });
      let out = '';
      child.stdout.on('data', (t: Buffer) => (out += t));
      for (let pid: unknown = null; pid !== child.pid; ) pid = (await fabra(['status', '--json'], { cwd: shop })).json().worker;
      child.kill(signal);
      const code = await new Promise(resolve => child.on('close', resolve));
      expect({ signal, code }).toEqual({ signal, code: expected });
      expect(JSON.parse(out)).toMatchObject({ read: 0, applied: 0 });
    }
  }, 60_000);

  it('every mistake of the definitions at once, with its line; nothing is touched', async () => {
    const before = readFileSync(path.join(shop, 'features.ts'), 'utf8');
    writeFileSync(path.join(shop, 'features.ts'), before.replace("over('5m')", "over('5 minutes')").replace("over('24h')", "over('a day')"));
    const { code, json } = await fabra(['apply', '--json'], { cwd: shop });
    writeFileSync(path.join(shop, 'features.ts'), before);
    expect(code).toBe(2);
    const { error } = json<{ error: { problems: { code: string; where: string }[] } }>();
    expect(error.problems.map(p => p.code)).toEqual(['BAD_DURATION', 'BAD_DURATION']);
    for (const p of error.problems) expect(p.where).toMatch(/^features\.ts:\d+:\d+$/);
    expect((await fabra(['status', '--json'], { cwd: shop })).json()).toMatchObject({ revision: 1 });
  });
});
