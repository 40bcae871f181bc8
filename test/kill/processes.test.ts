/** Several processes on one project: who may write, what a stopped or outdated writer can do, and readers beside it all. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { newAdmitState } from '../../src/engine/admit.ts';
import { compileGroups } from '../../src/engine/group.ts';
import type { CommitBatch, Lease } from '../../src/ports/online-store.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { endChildren, runChild, startChild } from '../support/build-child.ts';
import { dump, dumpHistory, differing } from '../support/dump.ts';
import { cleanUp, newShop, openTestProject, SHOP_STREAM, sampleRecords } from '../support/project.ts';

afterEach(endChildren);
afterAll(cleanUp);

const AFTER = Date.parse('2025-01-16T06:00:00Z');
const INSTANTS = [Date.parse('2025-01-15T15:00:00Z'), AFTER];

describe('one writer', () => {
  it('a stopped worker keeps the lease: another is refused; after its end another takes over and nothing is lost', { timeout: 60_000 }, async () => {
    const records = sampleRecords(8_000, 5);
    const clean = await newShop('clean', records);
    expect((await runChild({ dir: clean.dir, role: 'worker' })).code).toBe(0);
    const run = await newShop('stopped', records);
    // Stopped while it rests between rows and mark, inside the transaction: the worst place to stop at.
    const a = await startChild({ dir: run.dir, role: 'worker', store: 'pausing', chance: 0.2, restMs: 50, batchSize: 50 });
    await a.until('pausing');
    await a.until('pausing');
    a.process.kill('SIGSTOP');

    // It may hold the store's write lock too, so B waits for that or is refused; in no case does it take the lease.
    const b = await startChild({ dir: run.dir, role: 'worker' });
    await sleep(1_500);
    expect(b.lines.find(l => 'done' in l)).toBeUndefined();
    const reader = await runChild({ dir: run.dir, role: 'get', instants: INSTANTS, keys: 50 });
    expect(reader, reader.errors).toMatchObject({ code: 0 });

    a.process.kill('SIGCONT');
    const end = await b.ended;
    expect(end.code, b.errors()).toBe(3);
    expect(b.lines[b.lines.length - 1]).toMatchObject({ error: { code: 'WRITER_BUSY' } });

    a.process.kill('SIGSTOP');
    a.process.kill('SIGKILL');
    expect((await a.ended).signal).toBe('SIGKILL');
    expect((await run.project.online.streamMark(SHOP_STREAM, 0)).next).toBeLessThan(records.length);
    const c = await runChild({ dir: run.dir, role: 'worker' });
    expect(c, c.errors).toMatchObject({ code: 0 });

    const [x, y] = [await dump(run.project, run.compiled, INSTANTS), await dump(clean.project, clean.compiled, INSTANTS)];
    expect(differing(x.values, y.values).slice(0, 3)).toEqual([]);
    expect(x.counters).toEqual(y.counters);
    await run.project.close();
    await clean.project.close();
  });

  it('a stopped worker outside a transaction: another is told who writes, at once', { timeout: 30_000 }, async () => {
    const run = await newShop('busy', []);
    const a = await startChild({ dir: run.dir, role: 'worker', forever: true });
    await a.until('started');
    await sleep(300);
    a.process.kill('SIGSTOP');
    const began = Date.now();
    const b = await runChild({ dir: run.dir, role: 'lease' });
    expect(b.code).toBe(3);
    expect(b.lines[0]).toMatchObject({ error: { code: 'WRITER_BUSY' } });
    expect(JSON.stringify(b.lines[0])).toContain(String(a.process.pid));
    expect(Date.now() - began).toBeLessThan(5_000);
    a.process.kill('SIGKILL');
    await a.ended;
    expect(await runChild({ dir: run.dir, role: 'lease' })).toMatchObject({ code: 0 });
    await run.project.close();
  });

  it('an older lease is FENCED everywhere and changes nothing', async () => {
    const run = await newShop('fenced', sampleRecords(100, 1));
    const { env, online, history } = run.project;
    const groups = [...compileGroups(run.compiled.registry).groups.values()];
    const old = await online.lease();
    // Its owner seems gone to the next one: another machine's container on the same folder, say.
    env.write(() => env.meta.put('lease', { ...(env.meta.get('lease') as object), pid: 2 ** 22 + 1 }));
    const next = await online.lease();
    expect(next.epoch).toBeGreaterThan(old.epoch);

    const batch = (lease: Lease, expect_: number, to: number): CommitBatch => ({
      stream: SHOP_STREAM,
      partition: 0,
      lease,
      expect: expect_,
      mark: { next: to, admit: newAdmitState() },
      groups,
      live: true,
      updates: [],
      dead: [],
      count: () => ({ page_view: { read: to } }),
    });
    const before = await dump(run.project, run.compiled, INSTANTS);
    expect(await online.commit(batch(old, 0, 10))).toEqual({ status: 'fenced' });
    expect(await online.trim(old, groups, 100)).toBe(false);
    const plan = run.compiled.registry.streams[SHOP_STREAM]!;
    await expect(history.write(plan, run.compiled.registry, 0, [], { next: 10, admit: newAdmitState() }, old)).rejects.toMatchObject({ code: 'FENCED' });
    expect(await dump(run.project, run.compiled, INSTANTS)).toEqual(before);

    expect(await online.commit(batch(next, 0, 10))).toEqual({ status: 'ok' });
    expect(await online.commit(batch(next, 0, 10))).toEqual({ status: 'dup' });
    expect(await online.commit(batch(next, 20, 30))).toEqual({ status: 'rollback', next: 10 });
    // The old owner's release leaves the new owner's lease alone.
    await old.release();
    await expect(new EmbeddedOnlineStore(env).lease()).rejects.toMatchObject({ code: 'WRITER_BUSY' });
    await next.release();
    await (await online.lease()).release();
    await run.project.close();
  });
});

describe('all at once', () => {
  it('worker, appender, reader, get and history views share a project without a lock error', { timeout: 60_000 }, async () => {
    const run = await newShop('crowd', []);
    const { dir } = run;
    const events = 12_000;
    const forMs = 9_000;
    const worker = await startChild({ dir, role: 'worker', forever: true, batchSize: 200, historyRows: 1_000 });
    await worker.until('started');
    const others = await Promise.all([
      startChild({ dir, role: 'append', events, seed: 9, slice: 100, restMs: 30 }),
      startChild({ dir, role: 'reader', forMs, at: AFTER }),
      startChild({ dir, role: 'view', forMs }),
    ]);
    let gets = 0;
    for (const end = Date.now() + forMs; Date.now() < end; gets++) {
      const got = await runChild({ dir, role: 'get', instants: INSTANTS, keys: 20 });
      expect(got, got.errors).toMatchObject({ code: 0 });
    }
    for (const o of others) expect(await o.ended, o.errors()).toMatchObject({ code: 0 });
    while ((await run.project.online.streamMark(SHOP_STREAM, 0)).next < events) await sleep(20);
    worker.process.kill('SIGTERM');
    expect(await worker.ended, worker.errors()).toMatchObject({ code: 0 });
    expect(worker.lines[worker.lines.length - 1]).toMatchObject({ done: true });

    const [, reader, view] = others;
    const read = reader!.lines[reader!.lines.length - 1]!;
    const viewed = view!.lines[view!.lines.length - 1]!;
    console.log(`gets ${gets}; reader ${JSON.stringify(read)}; views ${JSON.stringify(viewed)}`);
    expect(read).toMatchObject({ done: true, backwards: 0, torn: 0 });
    expect(read.loops).toBeGreaterThan(5);
    expect(viewed).toMatchObject({ done: true, problems: [] });
    expect(viewed.loops).toBeGreaterThan(5);
    expect(gets).toBeGreaterThan(5);

    const clean = await newShop('clean', sampleRecords(events, 9));
    expect((await runChild({ dir: clean.dir, role: 'worker' })).code).toBe(0);
    const [x, y] = [await dump(run.project, run.compiled, INSTANTS), await dump(clean.project, clean.compiled, INSTANTS)];
    expect(differing(x.values, y.values).slice(0, 3)).toEqual([]);
    expect(x.counters).toEqual(y.counters);
    await run.project.close();
    await clean.project.close();
  });
});

describe('joining files of history', () => {
  it('killed at random while a reader counts: no row twice, none missing, no file left over', { timeout: 60_000 }, async () => {
    const run = await newShop('compact', sampleRecords(6_000, 13));
    const { dir } = run;
    expect((await runChild({ dir, role: 'worker' })).code).toBe(0);
    const { project, compiled } = run;
    const before = await dumpHistory(project, compiled, SHOP_STREAM);
    const view = await startChild({ dir, role: 'view', forMs: 10_000 });
    await view.until('rows');
    const plan = compiled.registry.streams[SHOP_STREAM]!;
    let kills = 0;
    let joined = 0;
    let orphans = 0;
    for (let round = 0; round < 6; round++) {
      // Twenty small files again: the same rows rewritten, in one swap of the manifest.
      const lease = await project.online.lease();
      const { rows, mark } = await rowsOf(project, compiled);
      async function* slices() {
        for (let at = 0; at < rows.length; at += 300) yield rows.slice(at, at + 300);
      }
      await project.history.rewrite(plan, compiled.registry, slices(), () => mark, lease);
      await lease.release();
      for (let k = 0; k < 4; k++) {
        // The first of each round dies between the new file and the manifest, the others anywhere.
        const child = await startChild({ dir, role: 'compactor', forMs: 5_000, dieUnlisted: k === 0 });
        if (k > 0) {
          await child.until('started');
          await sleep(Math.random() * 200);
          child.process.kill('SIGKILL');
        }
        const end = await child.ended;
        if (end.signal === 'SIGKILL') kills++;
      }
      orphans += onDisk(dir).length - (await listed(project)).length;
      const now = await dumpHistory(project, compiled, SHOP_STREAM);
      expect(now.rows.length).toBe(before.rows.length);
      expect(now.rows.every((r, i) => r === before.rows[i])).toBe(true);
      expect(now.viewRows.every((r, i) => r === before.rows[i])).toBe(true);
      const done = await runChild({ dir, role: 'compactor', forMs: 5_000 });
      expect(done, done.errors).toMatchObject({ code: 0 });
      if ((await project.history.files(SHOP_STREAM)).length < 20) joined++;
      expect((await dumpHistory(project, compiled, SHOP_STREAM)).rows).toEqual(before.rows);
    }
    expect(await view.ended, view.errors()).toMatchObject({ code: 0 });
    const viewed = view.lines[view.lines.length - 1]!;
    console.log(`compactors killed ${kills}, rounds joined ${joined}, files left by kills ${orphans}; views ${JSON.stringify(viewed)}`);
    expect(viewed).toMatchObject({ done: true, problems: [], last: before.rows.length });
    expect(kills).toBeGreaterThan(10);
    expect(orphans, 'kills between a new file and its manifest').toBeGreaterThanOrEqual(6);
    expect(joined).toBe(6);

    // The next writer removes what killed ones left; replaced files go once their grace is over.
    const later = await openTestProject(dir);
    const lease = await later.online.lease();
    const { mark } = await rowsOf(later, compiled);
    await later.history.write(plan, compiled.registry, 0, [], { ...mark, next: mark.next + 1 }, lease);
    expect(onDisk(dir).sort()).toEqual((await listed(later)).sort());
    await later.history.compact(lease, Date.now() + 3_600_000);
    expect(onDisk(dir).sort()).toEqual((await later.history.files()).map(f => f.file).sort());
    await lease.release();
    await later.close();
    await project.close();
  });
});

describe('a run that fails inside a process that goes on', () => {
  it('leaves no rows for the next run to write twice', { timeout: 30_000 }, async () => {
    const records = sampleRecords(9_000, 17);
    const clean = await newShop('clean', records);
    const run = await newShop('again', records);
    class Failing extends EmbeddedOnlineStore {
      failures = 1;
      override async commit(batch: CommitBatch) {
        // Past the first rows handed to history's staging, before the first file.
        if (batch.mark.next > 7_000 && this.failures-- > 0) throw new Error('the network, say');
        return super.commit(batch);
      }
    }
    const project = { ...run.project, online: new Failing(run.project.env) };
    const options = { untilIdle: true, batchSize: 500, signal: new AbortController().signal };
    await expect(runWorker(project, run.compiled, options)).rejects.toThrow('the network, say');
    // And one that fails in history, after its rows were taken: a file is where a folder must be.
    const blocked = join(run.dir, '.fabra', 'offline', SHOP_STREAM, 'event_date=2025-01-15');
    mkdirSync(join(run.dir, '.fabra', 'offline', SHOP_STREAM), { recursive: true });
    writeFileSync(blocked, '');
    await expect(runWorker(project, run.compiled, options)).rejects.toThrow();
    rmSync(blocked);
    await runWorker(project, run.compiled, options);
    await runWorker(clean.project, clean.compiled, options);
    const [a, b] = [await dumpHistory(run.project, run.compiled, SHOP_STREAM), await dumpHistory(clean.project, clean.compiled, SHOP_STREAM)];
    expect(a.rows.length).toBe(b.rows.length);
    expect(a.rows).toEqual(b.rows);
    await run.project.close();
    await clean.project.close();
  });
});

type Opened = Awaited<ReturnType<typeof openTestProject>>;
type Shop = Awaited<ReturnType<typeof newShop>>;

async function rowsOf(project: Opened, compiled: Shop['compiled']) {
  const { prepare } = await import('../../src/runtime/batch.ts');
  const { Decoder } = await import('../../src/engine/decode.ts');
  const { Router } = await import('../../src/engine/route.ts');
  const plan = compiled.registry.streams[SHOP_STREAM]!;
  const pipe = { plan, decoder: new Decoder(compiled.registry, SHOP_STREAM, compiled.code.schemas), router: new Router([]), declared: new Set<string>() };
  const mark = await project.history.mark(SHOP_STREAM, 0);
  const rows = [];
  let at = { next: 0, admit: newAdmitState() };
  for await (const records of project.history.scan(SHOP_STREAM, 0, 0, mark.next)) {
    const prepared = prepare(pipe, 0, records, at);
    at = prepared.mark;
    rows.push(...prepared.history);
  }
  return { rows, mark };
}

const onDisk = (dir: string): string[] => (readdirSync(join(dir, '.fabra', 'offline'), { recursive: true }) as string[]).filter(f => f.endsWith('.parquet'));

/** Files the manifest knows: live ones, and replaced ones within their grace. */
async function listed(project: Opened): Promise<string[]> {
  project.env.refresh();
  const buried = [...project.env.meta.getKeys({ start: 'hg:', end: 'hg:\uffff' })].map(k => k.slice(3));
  return [...(await project.history.files()).map(f => f.file), ...buried];
}
