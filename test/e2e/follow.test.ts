/** Processes that run while `apply` changes the definitions: serve and dev take them over, nobody restarts anything. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BIN, fabra } from '../support/bin.ts';

let dir: string;
let shop: string;
const children: ChildProcess[] = [];
beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'fabra-follow-'));
  shop = path.join(dir, 'shop');
  await fabra(['init', 'shop', '--template', 'minimal'], { cwd: dir });
  await fabra(['apply'], { cwd: shop });
  await fabra(['replay', 'data/events.ndjson'], { cwd: shop });
  await fabra(['worker', '--until-idle'], { cwd: shop });
}, 60_000);
afterAll(() => {
  for (const c of children) c.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

/** Starts a command and waits for the URL in its first document. */
async function start(args: string[]): Promise<{ url: string; child: ChildProcess }> {
  const child = spawn(process.execPath, [BIN, ...args, '--port', '0', '--json'], { cwd: shop, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  let text = '';
  for await (const chunk of child.stdout!) {
    text += chunk;
    const url = /"url": "([^"]+)"/.exec(text)?.[1];
    if (url) return { url, child };
  }
  throw new Error(`no url: ${text}`);
}
const read = async (url: string) =>
  (await (await fetch(`${url}/v1/features/user/ada?as_of=2025-01-15T23:00:00Z`)).json()) as { features: Record<string, { value: unknown; status: string }> };
async function until<T>(look: () => Promise<T>, ok: (t: T) => boolean): Promise<T> {
  for (let i = 0; ; i++) {
    const got = await look();
    if (ok(got) || i > 80) return got;
    await new Promise(r => setTimeout(r, 100));
  }
}
const addFeature = (name: string): void => {
  const file = path.join(shop, 'features.ts');
  writeFileSync(file, `${readFileSync(file, 'utf8')}\nexport const ${name} = feature(user, '${name}', count(purchase).lifetime());\n`);
};

describe('definitions applied beside running processes', () => {
  it('serve takes them over', async () => {
    const { url, child } = await start(['serve']);
    expect(Object.keys((await read(url)).features)).toEqual(['purchases_24h', 'spend_24h']);
    addFeature('purchases_ever');
    expect((await fabra(['apply'], { cwd: shop })).code).toBe(0);
    await fabra(['backfill'], { cwd: shop });
    const { features } = await until(
      () => read(url),
      r => r.features.purchases_ever?.status === 'PRESENT',
    );
    expect(features.purchases_ever!.value).toBe(features.purchases_24h!.value);
    expect(features.purchases_24h!.status).toBe('PRESENT');
    child.kill('SIGTERM');
    expect(await new Promise(r => child.on('exit', r))).toBe(0);
  }, 60_000);

  it('dev applies a compatible save by itself, and runs a breaking one once it is applied', async () => {
    const { url, child } = await start(['dev']);
    await new Promise(r => setTimeout(r, 500));
    addFeature('purchases_always');
    const added = await until(
      () => read(url),
      r => r.features.purchases_always?.status === 'PRESENT',
    );
    expect(added.features.purchases_always?.status).toBe('PRESENT');
    const file = path.join(shop, 'features.ts');
    writeFileSync(file, readFileSync(file, 'utf8').replace("count(purchase).over('24h')", "count(purchase).over('1h')"));
    await new Promise(r => setTimeout(r, 1_000));
    expect((await read(url)).features.purchases_24h!.value).toBe(added.features.purchases_24h!.value);
    expect((await fabra(['apply', '--new-version'], { cwd: shop })).code).toBe(0);
    const changed = await until(
      () => read(url),
      r => r.features.purchases_24h?.status === 'PRESENT' && r.features.purchases_24h.value === 0,
    );
    expect(changed.features.purchases_24h).toMatchObject({ value: 0, status: 'PRESENT' });
    child.kill('SIGTERM');
    expect(await new Promise(r => child.on('exit', r))).toBe(0);
  }, 60_000);
});
