import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findProject, namedProject } from '../../src/config/find.ts';
import { redact, resolveConfig } from '../../src/config/resolve.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'fabra-config-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const config = (body: string): void => writeFileSync(path.join(dir, 'fabra.config.ts'), `import { defineConfig, env } from 'fabra';\nexport default defineConfig(${body});\n`);
const resolve = (env: NodeJS.ProcessEnv = {}, flags = {}) => resolveConfig({ dir, env, flags });

describe('configuration', () => {
  it('needs none', async () => {
    const c = await resolve();
    expect(c).toMatchObject({
      dir,
      file: null,
      online: 'embedded',
      bus: 'embedded',
      env: 'dev',
      apiKey: null,
      workerBatchSize: null,
      workerPollInterval: 1,
      consumerGroup: 'fabra_workers',
    });
    expect(c.offline).toBe(path.join(dir, '.fabra/offline'));
    expect(c.features).toBe(path.join(dir, 'features.ts'));
    expect(new Set(Object.values(c.origins))).toEqual(new Set(['default']));
  });

  it('takes the file, then .env, then the environment, then flags, and says which', async () => {
    config("{ offline: 'file:history', features: 'src/features.ts' }");
    writeFileSync(path.join(dir, '.env'), 'FABRA_ENV=staging\nFABRA_WORKER_BATCH_SIZE=7\nFABRA_API_KEY=from-file\n');
    const env: NodeJS.ProcessEnv = { FABRA_API_KEY: 'from-shell', FABRA_WORKER_POLL_INTERVAL: '0.25' };
    const c = await resolve(env, { workerBatchSize: 500 });
    expect(c).toMatchObject({
      offline: path.join(dir, 'history'),
      features: path.join(dir, 'src/features.ts'),
      env: 'staging',
      apiKey: 'from-shell',
      workerBatchSize: 500,
      workerPollInterval: 0.25,
    });
    expect(c.origins).toEqual({
      online: 'default',
      offline: 'fabra.config.ts',
      bus: 'default',
      features: 'fabra.config.ts',
      env: '.env FABRA_ENV',
      apiKey: 'env FABRA_API_KEY',
      workerBatchSize: 'flag --batch-size',
      workerPollInterval: 'env FABRA_WORKER_POLL_INTERVAL',
      consumerGroup: 'default',
    });
    // The definitions' own code sees what .env sets.
    expect(env.FABRA_ENV).toBe('staging');
  });

  it('an empty variable is no value', async () => {
    expect((await resolve({ FABRA_ENV: '', FABRA_API_KEY: '' })).origins).toMatchObject({ env: 'default', apiKey: 'default' });
  });

  it.each([
    ['online', { FABRA_ONLINE_URL: 'redis://user:secret@host:6379' }],
    ['bus', { FABRA_BUS_URL: 'kafka://broker:9092' }],
    ['offline', { FABRA_OFFLINE_URL: 's3://bucket/x' }],
    ['offline', { FABRA_OFFLINE_URL: 'file:' }],
  ])('refuses a %s it cannot use, without its password', async (key, env) => {
    const e = await resolve(env as NodeJS.ProcessEnv).catch((x: Error) => x);
    expect(e).toMatchObject({ code: 'UNSUPPORTED', exitCode: 2, message: expect.stringMatching(new RegExp(`^${key} is .*from env FABRA_`)), hint: expect.any(String) });
    expect((e as Error).message).not.toContain('secret');
  });

  it.each([
    ['FABRA_WORKER_BATCH_SIZE', '0'],
    ['FABRA_WORKER_BATCH_SIZE', '1.5'],
    ['FABRA_WORKER_POLL_INTERVAL', 'soon'],
  ])('refuses %s=%s', async (name, value) => {
    await expect(resolve({ [name]: value })).rejects.toMatchObject({ code: 'BAD_CONFIG', message: expect.stringContaining(name), hint: expect.stringContaining(name) });
  });

  it('names every wrong setting of the file', async () => {
    config('{ onlin: "embedded", bus: 5 } as never');
    await expect(resolve()).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      problems: expect.arrayContaining([expect.objectContaining({ hint: 'Did you mean: online?' }), expect.objectContaining({ message: expect.stringContaining('bus') })]),
    });
  });

  it('needs a default export, and the file that is named', async () => {
    writeFileSync(path.join(dir, 'fabra.config.ts'), 'export const x = 1;\n');
    await expect(resolve()).rejects.toMatchObject({ code: 'BAD_CONFIG', message: 'fabra.config.ts has no default export' });
    await expect(resolveConfig({ dir, file: 'other.ts', env: {} })).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  });

  it('hides passwords', () => {
    expect(redact('postgres://me:pw@db/x')).toBe('postgres://me:***@db/x');
    expect(redact('embedded')).toBe('embedded');
  });
});

describe('the project folder', () => {
  it('is the nearest one upwards', () => {
    writeFileSync(path.join(dir, 'features.ts'), '');
    const deep = path.join(dir, 'a/b');
    mkdirSync(deep, { recursive: true });
    expect(findProject(deep)).toBe(dir);
    writeFileSync(path.join(dir, 'a/fabra.config.ts'), '');
    expect(findProject(deep)).toBe(path.join(dir, 'a'));
  });
  it('or an error that says how to start one', () => {
    expect(() => findProject(dir)).toThrow(expect.objectContaining({ code: 'NO_PROJECT', hint: expect.stringContaining('fabra init') }));
    expect(() => namedProject('nowhere', dir)).toThrow(expect.objectContaining({ code: 'NO_PROJECT' }));
    expect(namedProject('.', dir)).toBe(dir);
  });
});
