/** A bad day: each wrong thing a user can hand in has a clear error, the right exit code, and leaves nothing half done. */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fabra } from '../support/bin.ts';

let dir: string;
let shop: string;
let good: string;
beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'fabra-bad-'));
  shop = path.join(dir, 'shop');
  await fabra(['init', 'shop', '--events', '500'], { cwd: dir });
  good = readFileSync(path.join(shop, 'features.ts'), 'utf8');
  await fabra(['apply'], { cwd: shop });
}, 120_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Failure {
  error: { code: string; message: string; hint: string | null; problems?: { code: string; message: string; where?: string; hint?: string }[] };
}

/** Fails with this exit code and code, in both forms, without a stack trace. */
async function fails(args: string[], code: string, exit = 2): Promise<Failure['error']> {
  const people = await fabra(args, { cwd: shop });
  expect({ args, exit: people.code, stdout: people.stdout }).toEqual({ args, exit, stdout: '' });
  expect(people.stderr).toContain(code);
  expect(people.stderr).toContain('->');
  expect(people.stderr).not.toMatch(/^\s+at .+:\d+:\d+\)?$/m);
  const json = await fabra([...args, '--json'], { cwd: shop });
  expect(json.code).toBe(exit);
  const { error } = json.json<Failure>();
  expect(error.code).toBe(code);
  return error;
}
const logEnd = async () => (await fabra(['status', '--json'], { cwd: shop })).stdout;

describe('bad definitions', () => {
  async function broken(from: string | RegExp, to: string) {
    const text = good.replace(from, to);
    expect(text).not.toBe(good);
    writeFileSync(path.join(shop, 'features.ts'), text);
    try {
      const [compiled, applied] = [await fabra(['compile', '--json'], { cwd: shop }), await fabra(['apply', '--json'], { cwd: shop })];
      for (const ran of [compiled, applied]) {
        expect(ran.code).toBe(2);
        expect(ran.json<Failure>().error.code).toBe('COMPILE_FAILED');
        expect(ran.stdout).not.toMatch(/"\s*at .+:\d+:\d+\)/);
      }
      return compiled.json<Failure>().error.problems!;
    } finally {
      writeFileSync(path.join(shop, 'features.ts'), good);
    }
  }

  it('a syntax error: file and line', async () => {
    const [p] = await broken("const user = entity('user'", "const user = = entity('user'");
    expect(p!.where).toMatch(/^features\.ts:\d+:\d+$/);
  });
  it('duplicate names', async () => {
    const [p] = await broken("'user_add2cart_1h'", "'user_views_5m'");
    expect(p!.message).toContain('user_views_5m');
    expect(p!.where).toMatch(/^features\.ts:\d+/);
  });
  it('an unknown column, with what was meant', async () => {
    const [p] = await broken("sum(purchase, 'revenue').over('24h')", "sum(purchase, 'revenu').over('24h')");
    expect(`${p!.message} ${p!.hint}`).toContain('revenue');
  });
  it('an unknown entity', async () => {
    const [p] = await broken("feature(user, 'user_views_5m'", "feature({} as never, 'user_views_5m'");
    expect(p!.message.toLowerCase()).toContain('entity');
  });
  it('a bad duration', async () => {
    const [p] = await broken("count(view).over('5m')", "count(view).over('five minutes' as never)");
    expect(p!.message).toContain('five minutes');
  });
  it('several at once, all reported', async () => {
    const text = good.replace("'user_add2cart_1h'", "'user_views_5m'").replace("countDistinct(purchase, 'user_id')", "countDistinct(purchase, 'user_idd')");
    writeFileSync(path.join(shop, 'features.ts'), text);
    const ran = await fabra(['compile', '--json'], { cwd: shop });
    writeFileSync(path.join(shop, 'features.ts'), good);
    expect(ran.code).toBe(2);
    expect(ran.json<Failure>().error.problems!.map(p => p.code)).toEqual(['NAME_COLLISION', 'BAD_DEFINITION', 'NAME_COLLISION']);
  });
  it('no features.ts', async () => {
    const empty = mkdtempSync(path.join(dir, 'empty-'));
    const { code, stderr } = await fabra(['compile', '--project', empty], { cwd: empty });
    expect(code).toBe(2);
    expect(stderr).toContain('NO_PROJECT');
  });
});

describe('bad files', () => {
  const file = (name: string, data: string | Buffer): string => {
    writeFileSync(path.join(shop, name), data);
    return name;
  };

  it('a truncated gz: nothing of it is published', async () => {
    const before = await logEnd();
    const whole = readFileSync(path.join(shop, 'data/events.csv.gz'));
    const error = await fails(['replay', file('cut.csv.gz', whole.subarray(0, whole.length - 2_000))], 'TRUNCATED_INPUT');
    expect(error.message).toContain('cut.csv.gz');
    expect(await logEnd()).toBe(before);
  });
  it('a CSV with a wrong header names what is missing', async () => {
    const before = await logEnd();
    const error = await fails(['replay', file('header.csv', 'event,when,user\n1,2,3\n')], 'BAD_FILE');
    for (const column of ['event_id', 'event_ts', 'event_type']) expect(error.message).toContain(column);
    expect(await logEnd()).toBe(before);
  });
  it('an empty file', async () => {
    await fails(['replay', file('nothing.csv', '')], 'BAD_FILE');
  });
  it('a file that is not there', async () => {
    await fails(['replay', 'nope.csv'], 'FILE_NOT_FOUND');
  });
  it('bad lines go to the rejects with line number and reason; the good ones beside them go in', async () => {
    const head = 'event_id,event_ts,user_id,session_id,event_type,product_id,price,currency,device.mobile,device.os,geo.country,geo.city\n';
    const row = (id: string) => `${id},2025-01-15T12:00:00.000Z,u1,s1,page_view,,,EUR,true,iOS,DE,Berlin\n`;
    const name = file('some.csv', `${head}${row('a')}too,few\n${row('b')}`);
    const ran = await fabra(['replay', name, '--json'], { cwd: shop });
    expect(ran.code).toBe(0);
    expect(ran.json()).toMatchObject({ read: 3, published: 2, rejected: 1, seconds: expect.any(Number), eps: expect.any(Number) });
    const [line] = readFileSync(path.join(shop, `${name}.rejects.ndjson`), 'utf8')
      .trim()
      .split('\n');
    expect(JSON.parse(line!)).toMatchObject({ line: 3, reason: expect.any(String) });
  });
});

describe('bad spines', () => {
  const spine = (text: string | Buffer, name = 'spine.csv'): string => {
    writeFileSync(path.join(shop, name), text);
    return name;
  };
  const historical = (name: string, ...more: string[]) => ['historical', '--spine', name, '--features', 'user_views_5m', '--out', 'out.csv', ...more];

  it('empty', async () => {
    await fails(historical(spine('')), 'BAD_SPINE');
    expect(existsSync(path.join(shop, 'out.csv'))).toBe(false);
  });
  it('columns without rows give columns without rows', async () => {
    const args = ['historical', '--spine', spine('user_id,event_timestamp\n'), '--features', 'user_views_5m', '--out', 'none.csv'];
    expect((await fabra(args, { cwd: shop })).code).toBe(0);
    expect(readFileSync(path.join(shop, 'none.csv'), 'utf8').trim()).toBe('user_id,event_timestamp,user_views_5m');
  });
  it('without the key column', async () => {
    const error = await fails(historical(spine('usr,event_timestamp\nu1,2025-01-15T12:00:00Z\n')), 'BAD_SPINE');
    expect(error.message).toContain('user_id');
  });
  it('without a time, or with two', async () => {
    await fails(historical(spine('user_id,label\nu1,yes\n')), 'BAD_SPINE');
    await fails(historical(spine('user_id,a,b\nu1,2025-01-15T12:00:00Z,2025-01-15T12:00:00Z\n')), 'BAD_SPINE');
  });
  it('with a time that cannot be read', async () => {
    const error = await fails(historical(spine('user_id,event_timestamp\nu1,2025-01-15T12:00:00Z\nu2,noon\n')), 'BAD_SPINE');
    expect(error.message).toContain('line 3');
  });
  it('a feature that is not there', async () => {
    const error = await fails(
      ['historical', '--spine', spine('user_id,event_timestamp\nu1,2025-01-15T12:00:00Z\n'), '--features', 'user_views_5n', '--out', 'out.csv'],
      'UNKNOWN_FEATURE',
    );
    expect(error.hint).toContain('user_views_5m');
  });
  it('a truncated gz', async () => {
    const whole = gzipSync(`user_id,event_timestamp\n${'u1,2025-01-15T12:00:00Z\n'.repeat(5_000)}`);
    const { code, stderr } = await fabra(historical(spine(whole.subarray(0, whole.length - 20), 'spine.csv.gz')), { cwd: shop });
    expect(code).toBe(2);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(existsSync(path.join(shop, 'out.csv'))).toBe(false);
  });
});

describe('bad names and flags', () => {
  it('entity, feature, key, instant', async () => {
    expect((await fails(['get', 'usr', 'u1'], 'UNKNOWN_ENTITY')).hint).toContain('user');
    expect((await fails(['get', 'user', 'u1', '--features', 'user_viws_5m'], 'UNKNOWN_FEATURE')).hint).toContain('user_views_5m');
    await fails(['get', 'session', 'only_one_part'], 'BAD_KEY');
    await fails(['get', 'user', 'u1', '--as-of', 'yesterday-ish'], 'BAD_TIME');
  });
  it('nothing to compare is a failure, not a pass', async () => {
    const fresh = path.join(dir, 'fresh');
    await fabra(['init', 'fresh', '--template', 'minimal'], { cwd: dir });
    await fabra(['apply'], { cwd: fresh });
    const ran = await fabra(['parity', '--json'], { cwd: fresh });
    expect(ran.code).toBe(1);
    expect(ran.stdout).toContain('NOTHING_COMPARED');
  });
  it('a store of another format is refused with the reason', async () => {
    const other = path.join(dir, 'other');
    await fabra(['init', 'other', '--template', 'minimal'], { cwd: dir });
    appendFileSync(path.join(other, 'fabra.config.ts'), '');
    const ran = await fabra(['apply', '--json'], { cwd: other, env: { FABRA_ONLINE_URL: 'redis://127.0.0.1:6379' } });
    expect(ran.code).toBe(2);
    expect(ran.json<Failure>().error.code).toBe('UNSUPPORTED');
  });
});
