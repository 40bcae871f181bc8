/** A full disk: a clear error and exit 3, nothing half done, and the same command goes on once there is room. Needs root for a small tmpfs. */
import { execFileSync } from 'node:child_process';
import { cpSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { endChildren, runChild } from '../support/build-child.ts';
import type { Job } from '../support/child.ts';
import { differing, dump, dumpHistory } from '../support/dump.ts';
import { cleanUp, compileAt, newDir, newShop, openTestProject, ROOT, SHOP_STREAM, sampleRecords } from '../support/project.ts';

const mounted: string[] = [];

function tmpfs(size: string): string | null {
  const dir = newDir('full');
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', dir], { stdio: 'ignore' });
  } catch {
    return null;
  }
  mounted.push(dir);
  return dir;
}
const resize = (dir: string, size: string) => execFileSync('mount', ['-o', `remount,size=${size}`, dir]);

const canMount = (() => {
  const dir = process.getuid?.() === 0 ? tmpfs('1m') : null;
  return dir !== null;
})();

afterEach(endChildren);
afterAll(() => {
  for (const dir of mounted) execFileSync('umount', ['-l', dir]);
  cleanUp();
});

const EVENTS = 12_000;
const INSTANTS = [Date.parse('2025-01-15T18:00:00Z'), Date.parse('2025-01-16T01:00:00Z')];

/** Runs a command again and again, giving it a little more room each time it fails for want of room. */
async function untilThereIsRoom(job: Job, room: () => void): Promise<{ failures: number; inHistory: number }> {
  let inHistory = 0;
  for (let failures = 0; ; failures++) {
    const end = await runChild(job);
    if (end.code === 0) return { failures, inHistory };
    expect(end.signal, end.errors).toBeNull();
    expect(end.lines[end.lines.length - 1], end.errors).toMatchObject({ error: { code: 'DISK_FULL' }, how: 'thrown' });
    expect(end.code).toBe(3);
    if (end.errors.includes('HistoryFeed')) inHistory++;
    room();
  }
}

// Where mounting is not allowed (no root, or a container without the right) there is no small disk to fill.
describe.skipIf(!canMount)(canMount ? 'a full disk' : 'a full disk (skipped: a small tmpfs cannot be mounted here; run as root)', () => {
  it('stops appends and the worker with DISK_FULL; with room the same commands finish like a clean run', { timeout: 120_000 }, async () => {
    const clean = await newShop('roomy', sampleRecords(EVENTS, 3));
    expect((await runChild({ dir: clean.dir, role: 'worker' })).code).toBe(0);

    let size = 2_048;
    const dir = tmpfs(`${size}k`)!;
    cpSync(join(ROOT, 'templates/clickstream'), dir, { recursive: true });
    const compiled = await compileAt(dir);
    const more = (kb: number) => () => resize(dir, `${(size += kb)}k`);
    {
      const project = await openTestProject(dir);
      await applyRegistry(project, compiled, { newVersion: false, consent: false });
      await project.close();
    }
    const appends = await untilThereIsRoom({ dir, role: 'append', events: EVENTS, seed: 3, slice: 500 }, more(512));
    const works = await untilThereIsRoom({ dir, role: 'worker', batchSize: 200, historyRows: 3_000 }, more(256));
    console.log(`full while appending ${appends.failures} times, while working ${works.failures} times (${works.inHistory} in history); ${size} kB in the end`);
    expect(appends.failures).toBeGreaterThanOrEqual(2);
    expect(works.failures).toBeGreaterThan(3);
    expect(works.inHistory).toBeGreaterThan(0);

    const project = await openTestProject(dir);
    const [a, b] = [await dump(project, compiled, INSTANTS), await dump(clean.project, clean.compiled, INSTANTS)];
    expect(differing(a.values, b.values).slice(0, 3)).toEqual([]);
    expect(a.counters).toEqual(b.counters);
    expect(a.dead.length).toBe(b.dead.length);
    const [ha, hb] = [await dumpHistory(project, compiled, SHOP_STREAM), await dumpHistory(clean.project, clean.compiled, SHOP_STREAM)];
    expect(ha.rows.length).toBe(hb.rows.length);
    expect(ha.rows.every((r, i) => r === hb.rows[i])).toBe(true);
    await project.close();
    await clean.project.close();
  });

  it('is no place to make a store: an error, not a crash', async () => {
    const dir = tmpfs('1m')!;
    const ballast = join(dir, 'ballast');
    for (const free of [0, 4, 8, 16, 64]) {
      rmSync(join(dir, '.fabra'), { recursive: true, force: true });
      writeFileSync(ballast, '');
      const left = Number(execFileSync('df', ['--output=avail', '-k', dir]).toString().split('\n')[1]);
      writeFileSync(ballast, Buffer.alloc((left - free) * 1024));
      const end = await runChild({ dir, role: 'lease' });
      expect(end, end.errors).toMatchObject({ code: 3, signal: null });
      expect(end.lines[0]).toMatchObject({ error: { code: 'DISK_FULL' }, how: 'thrown' });
    }
    truncateSync(ballast, 0);
    resize(dir, '8m');
    expect(await runChild({ dir, role: 'lease' })).toMatchObject({ code: 0 });
  });
});
