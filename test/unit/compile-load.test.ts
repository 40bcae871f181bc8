import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { entity } from '../../src/index.ts';
import { FabraError, type Problem } from '../../src/lib/errors.ts';
import { compileProject } from '../../src/registry/compile.ts';
import { loadDefinitions } from '../../src/registry/load.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'fabra-load-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const write = (name: string, text: string): string => {
  const file = path.join(dir, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
};
const failure = async (file: string): Promise<FabraError> => {
  const e: unknown = await compileProject(file).then(
    () => null,
    (x: unknown) => x,
  );
  expect(e).toBeInstanceOf(FabraError);
  return e as FabraError;
};
const problems = async (file: string): Promise<Problem[]> => (await failure(file)).problems ?? [];

const HEAD = `import { count, entity, feature, stream } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id' });
const s = stream('ev');
const view = s.event('view', z.object({ user_id: z.string() }));
`;

describe('loading', () => {
  it('takes fabra and zod from this process, whatever is installed in the project', async () => {
    write('node_modules/zod/package.json', '{"name":"zod","type":"module","exports":"./i.js"}');
    write('node_modules/zod/i.js', 'throw new Error("the wrong zod")');
    const file = write(
      'features.ts',
      `import { entity } from 'fabra'; import * as f from 'fabra'; import { z } from 'zod'; import zd, { ZodObject } from 'zod'; import * as mini from 'zod/mini';
       export { entity, z, zd, ZodObject }; export const same = f.entity === entity; export const m = typeof mini.object; export const schema = z.object({});`,
    );
    const { exports } = await loadDefinitions(file);
    expect(exports.entity).toBe(entity);
    expect(exports.z).toBe(z);
    expect(exports.same).toBe(true);
    expect(exports.m).toBe('function');
    expect(exports.schema).toBeInstanceOf(z.ZodObject);
  });

  it('bundles local files, leaves packages to the project, and lists its inputs', async () => {
    write('node_modules/rates/package.json', '{"name":"rates","type":"module","exports":"./i.js"}');
    write('node_modules/rates/i.js', 'export default { usd: 0.9 };');
    write('lib/table.json', '{"eur": 1}');
    const other = write('lib/rates.ts', `import rates from 'rates'; import table from './table.json'; export const all: Record<string, number> = { ...rates, ...table };`);
    const file = write('features.ts', `import { all } from './lib/rates.ts'; export const usd = all.usd; export const eur = all.eur;`);
    const loaded = await loadDefinitions(file);
    expect([loaded.exports.usd, loaded.exports.eur]).toEqual([0.9, 1]);
    expect(loaded.files).toEqual([file, other, path.join(dir, 'lib/table.json')]);
  });

  it('reuses the bundle until an input changes', async () => {
    const rates = write('rates.ts', 'export const eur = 1;');
    const file = write('features.ts', `export { eur } from './rates.ts';`);
    const first = await loadDefinitions(file);
    const again = await loadDefinitions(file);
    expect(again.fingerprint).toBe(first.fingerprint);
    expect(again.exports).toBe(first.exports);
    writeFileSync(rates, 'export const eur = 2;');
    const changed = await loadDefinitions(file);
    expect(changed.exports.eur).toBe(2);
    expect(changed.fingerprint).not.toBe(first.fingerprint);
    const build = path.join(dir, '.fabra/build');
    expect(readdirSync(build).filter(n => n.endsWith('.mjs'))).toHaveLength(2);
    // A damaged bundle is made again.
    for (const n of readdirSync(build).filter(x => x.endsWith('.mjs'))) writeFileSync(path.join(build, n), 'export const eur = 3;');
    expect((await loadDefinitions(file)).exports.eur).toBe(2);
    expect(existsSync(path.join(build, 'features.ts.manifest.json'))).toBe(true);
  });

  it('drops bundles of earlier days', async () => {
    const file = write('features.ts', 'export const a = 1;');
    await loadDefinitions(file);
    const build = path.join(dir, '.fabra/build');
    const long = new Date('2020-01-01');
    for (const n of readdirSync(build)) utimesSync(path.join(build, n), long, long);
    writeFileSync(file, 'export const a = 2;');
    await loadDefinitions(file);
    expect(readdirSync(build).filter(n => n.endsWith('.mjs'))).toHaveLength(1);
  });

  it('compiles the same project many times at once', async () => {
    const file = write('features.ts', `${HEAD}export const a = feature(user, 'a', count(view).over('5m'));`);
    const all = await Promise.all(Array.from({ length: 8 }, () => compileProject(file)));
    expect(new Set(all.map(c => c.registry.hash)).size).toBe(1);
    expect(readdirSync(path.join(dir, '.fabra/build')).filter(n => n.endsWith('.tmp'))).toEqual([]);
  });
});

describe('errors', () => {
  it('no file', async () => {
    const e = await failure(path.join(dir, 'features.ts'));
    expect(e.code).toBe('NO_PROJECT');
    expect(e.hint).toContain('fabra init');
    expect(e.exitCode).toBe(2);
  });

  it('syntax, in any file, with its line', async () => {
    write('rates.ts', 'export const a = 1;\nexport const b = ;\n');
    const file = write('features.ts', `import { a } from './rates.ts';\nexport const x = a;\n`);
    expect(await problems(file)).toMatchObject([{ code: 'COMPILE_FAILED', message: 'Unexpected ";"', where: 'rates.ts:2:18' }]);
  });

  it('imports that lead nowhere', async () => {
    const file = write('features.ts', `import { x } from './nope.ts';\nimport { cont, entity } from 'fabra';\nexport const y = [x, cont, entity];\n`);
    const found = await problems(file);
    expect(found.map(p => p.where)).toContain('features.ts:1:19');
    const other = write('other.ts', `import { cont, entity } from 'fabra';\nexport const y = [cont, entity];\n`);
    expect(await problems(other)).toMatchObject([{ message: "'fabra' has no export 'cont'", hint: 'Did you mean: count?', where: 'other.ts:1:10' }]);
    const third = write('third.ts', `\nimport pad from 'left-padd';\nexport const y = pad;\n`);
    expect(await problems(third)).toMatchObject([{ message: "the package 'left-padd' is not installed", hint: 'npm install left-padd', where: 'third.ts:2:17' }]);
    const fourth = write('fourth.ts', `import { q } from 'fabra/nope';\nexport const y = q;\n`);
    expect(await problems(fourth)).toMatchObject([{ message: "there is no module 'fabra/nope'", where: 'fourth.ts:1:19' }]);
  });

  it('an exception of its code: the line, never a stack', async () => {
    const file = write('features.ts', `const o: { x: { y: number } } | undefined = undefined as never;\n\nexport const a = o!.x.y;\n`);
    const e = await failure(file);
    expect(e.problems).toMatchObject([{ code: 'BAD_DEFINITION', where: 'features.ts:3:21' }]);
    expect(JSON.stringify(e)).not.toMatch(/\.mjs|\bat \w+ \(/);
  });

  it('all mistakes at once, each at its line, again on the next run', async () => {
    const file = write(
      'features.ts',
      `${HEAD}export const a = feature(user, 'a', count(view).over('5 minutes' as any));
export const b = feature(user, 'b', count(view).where({ usr_id: 'x' } as any).over('1h'), { ttl: '3 days' as any });
export const c = feature(user, 'a', count(view).over('0m'));
`,
    );
    const expected = [
      { code: 'BAD_DURATION', where: 'features.ts:6:49' },
      { code: 'BAD_DURATION', where: 'features.ts:7:18' },
      { code: 'BAD_DEFINITION', message: "feature 'b': the event 'view' has no column 'usr_id'", hint: 'Did you mean: user_id?', where: 'features.ts:7:18' },
      { code: 'NAME_COLLISION', message: "two features are named 'user.a'", hint: 'The other is at features.ts:6:18; rename one.', where: 'features.ts:8:18' },
      { code: 'BAD_DURATION', where: 'features.ts:8:49' },
    ];
    expect(await problems(file)).toMatchObject(expected);
    expect(await problems(file)).toMatchObject(expected);
  });

  it('mistakes before an exception are told with it', async () => {
    const file = write('features.ts', `import { entity } from 'fabra';\nexport const e = entity('e', { key: 'k', ttl: 'x' as any });\nthrow new Error('stop');\n`);
    expect((await problems(file)).map(p => p.where)).toEqual(['features.ts:2:18', 'features.ts:3:7']);
  });

  it('nothing is written when it fails', async () => {
    const file = write('features.ts', 'const x = ;');
    await failure(file);
    expect(existsSync(path.join(dir, '.fabra'))).toBe(false);
    expect(readFileSync(file, 'utf8')).toBe('const x = ;');
  });
});
