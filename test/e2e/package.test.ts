/** The package as a consumer gets it: what is packed, and what an editor makes of its types. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fabra } from '../support/bin.ts';
import { cleanUp, newDir, ROOT } from '../support/project.ts';

const NPM = (() => {
  try {
    return execFileSync('npm', ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return null;
  }
})();

const PROGRAM = `
import { createWorker, openStore, type RowOf, type Store } from 'fabra';
import { createClient } from 'fabra/client';
import { testFeatures } from 'fabra/testing';
import { checkout, purchase, spent } from './features.js';

type Row = RowOf<typeof checkout>;
export async function main(): Promise<Row> {
  const store: Store = await openStore();
  await store.publish(purchase, { user_id: 'u1', amount: 1 });
  await createWorker(store, { untilIdle: true }).run();
  const client = createClient({ url: 'http://localhost:8080' });
  const row = await client.features<typeof checkout>('checkout', { user_id: 'u1' }, { request: { total: 1 } });
  const n: number = row.spent;
  const t = testFeatures([spent]);
  t.event(purchase, { user_id: 'u1', amount: n }, '12:00');
  const { spent: now } = await t.at('12:05');
  const again: number = now;
  return { ...row, spent: again };
}
export async function wrong(store: Store): Promise<void> {
  // @ts-expect-error the request is missing
  await store.features(checkout, { user_id: 'u1' });
  // @ts-expect-error no such column
  await store.publish(purchase, { user_id: 'u1', amuont: 1 });
  // @ts-expect-error no such feature in the row
  (await store.features([spent], { user_id: 'u1' })).spend;
}
`;
const WEB = `
import { createClient } from 'fabra/client';
import type { checkout, purchase } from './features.js';
const client = createClient({ url: location.origin });
await client.publish<typeof purchase>('purchase', { user_id: 'u1', amount: 1 });
const row = await client.features<typeof checkout>('checkout', { user_id: 'u1' }, { request: { total: 1 } });
document.title = row.spent.toFixed(2);
`;
const FEATURES = `
import { count, derive, entity, feature, service, stream, sum } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id' });
const shop = stream('shop');
export const purchase = shop.event('purchase', z.object({ user_id: z.string(), amount: z.number() }));
export const purchases = feature(user, 'purchases', count(purchase).over('1h'));
export const spent = feature(user, 'spent', sum(purchase, 'amount').lifetime(), { default: 0 });
export const discount = feature(user, 'discount', derive({ inputs: { spent }, request: z.object({ total: z.number() }), compute: ({ spent: s }, { request }) => s * request.total }));
export const checkout = service('checkout', [purchases, spent, discount]);
`;

describe.skipIf(NPM === null)('the packed package (skipped without npm)', () => {
  let dir: string;
  let packed: string;
  beforeAll(async () => {
    // Builds what is not built yet.
    expect(await fabra(['--version'])).toMatchObject({ code: 0 });
    dir = newDir('package');
    const [{ filename }] = JSON.parse(
      execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', dir], { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    );
    // The package itself from the tarball; what it depends on as it is installed here, since a test takes nothing from the network.
    packed = path.join(dir, 'node_modules/fabra');
    mkdirSync(packed, { recursive: true });
    execFileSync('tar', ['-xzf', path.join(dir, filename), '-C', packed, '--strip-components=1']);
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(packed, 'node_modules'), 'dir');
    for (const name of ['zod', '@types']) symlinkSync(path.join(ROOT, 'node_modules', name), path.join(dir, 'node_modules', name), 'dir');
    writeFileSync(path.join(dir, 'package.json'), '{ "type": "module", "private": true }\n');
    writeFileSync(path.join(dir, 'features.ts'), FEATURES);
    writeFileSync(path.join(dir, 'main.ts'), PROGRAM);
    writeFileSync(path.join(dir, 'web.ts'), WEB);
  }, 120_000);
  afterAll(cleanUp);

  it('has every entry of its exports, with types, and no sources or tests', () => {
    const { exports, bin } = JSON.parse(readFileSync(path.join(packed, 'package.json'), 'utf8')) as {
      exports: Record<string, string | Record<string, string>>;
      bin: Record<string, string>;
    };
    expect(Object.keys(exports)).toEqual(['.', './client', './testing', './package.json']);
    for (const file of [...Object.values(exports).flatMap(e => (typeof e === 'string' ? [e] : Object.values(e))), ...Object.values(bin)])
      expect(existsSync(path.join(packed, file)), file).toBe(true);
    expect(existsSync(path.join(packed, 'src'))).toBe(false);
    expect(existsSync(path.join(packed, 'test'))).toBe(false);
  });

  /** What `tsc` finds wrong. */
  function problems(include: string, options: object): string {
    const compilerOptions = { strict: true, noEmit: true, target: 'es2022', ...options };
    writeFileSync(path.join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: [include] }));
    try {
      return execFileSync(process.execPath, [path.join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', dir], { encoding: 'utf8', stdio: 'pipe' });
    } catch (e) {
      return (e as { stdout: string }).stdout || String(e);
    }
  }
  for (const [module, moduleResolution, skipLibCheck] of [
    ['node16', 'node16', true],
    ['esnext', 'bundler', true],
    ['nodenext', 'nodenext', false],
  ] as const)
    it(`its types hold with moduleResolution ${moduleResolution}${skipLibCheck ? '' : ', libraries checked too'}`, () => {
      expect(problems('main.ts', { module, moduleResolution, skipLibCheck, types: ['node'] })).toBe('');
    }, 60_000);

  it('the client needs no types of Node', () => {
    expect(problems('web.ts', { module: 'esnext', moduleResolution: 'bundler', lib: ['es2022', 'dom'], types: [], skipLibCheck: true })).toBe('');
  }, 60_000);

  it('a mistake in such a program is seen', () => {
    writeFileSync(path.join(dir, 'wrong.ts'), WEB.replace('row.spent', 'row.spend'));
    expect(problems('wrong.ts', { module: 'esnext', moduleResolution: 'bundler', lib: ['es2022', 'dom'], types: [], skipLibCheck: true })).toMatch(/'spend' does not exist/);
  }, 60_000);

  it('importing it loads no driver', () => {
    const script = `
      await import('fabra'); await import('fabra/client'); await import('fabra/testing');
      console.log(JSON.stringify(process.report.getReport().sharedObjects.filter(f => /lmdb|duckdb/.test(f))));`;
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: dir, encoding: 'utf8' });
    expect(JSON.parse(out)).toEqual([]);
  });
});
