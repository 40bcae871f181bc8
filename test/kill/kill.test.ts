/**
 * SIGKILL at random moments, 30 times in one run over the log: the end must equal a clean run key for key. The kills fall
 * while marks move (counted), and with state and mark in two transactions the end differs (the negative control).
 */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { compileGroups } from '../../src/engine/group.ts';
import type { NewRecord } from '../../src/ports/event-bus.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { endChildren, runChild, startChild } from '../support/build-child.ts';
import type { Job } from '../support/child.ts';
import { type Dump, differing, dump, dumpHistory, dumpValues, type HistoryDump } from '../support/dump.ts';
import { appendAll, cleanUp, compileAt, newShop, sampleRecords, SHOP_STREAM, type TestProject } from '../support/project.ts';

const DAY = Date.parse('2025-01-15T00:00:00Z');
const HOUR = 3_600_000;
const INSTANTS = [DAY + 6 * HOUR, DAY + 12 * HOUR + 1_234, DAY + 19 * HOUR + 30 * 60_000, DAY + 24 * HOUR - 1, DAY + 30 * HOUR];

interface Total {
  read: number;
  applied: number;
  duplicate: number;
}
const total = (d: Dump): Total => {
  const sum = { read: 0, applied: 0, duplicate: 0 };
  for (const c of Object.values(d.counters[SHOP_STREAM] as Record<string, Total>)) for (const k of Object.keys(sum) as (keyof Total)[]) sum[k] += c[k];
  return sum;
};

afterEach(endChildren);
afterAll(cleanUp);

/** Runs the worker in a process of its own to the end of the log. */
async function finish(dir: string, job: Partial<Extract<Job, { role: 'worker' }>> = {}): Promise<void> {
  const end = await runChild({ dir, role: 'worker', ...job });
  expect(end, end.errors).toMatchObject({ code: 0 });
}

async function whole(project: TestProject, compiled: Compiled): Promise<{ state: Dump; history: HistoryDump }> {
  return { state: await dump(project, compiled, INSTANTS), history: await dumpHistory(project, compiled, SHOP_STREAM) };
}

/** The first places where two lists differ; short, since a report of all would be long. */
function unlike(a: readonly string[], b: readonly string[]): [number, string?, string?][] {
  const out: [number, string?, string?][] = [];
  for (let i = 0; i < Math.max(a.length, b.length) && out.length < 3; i++) if (a[i] !== b[i]) out.push([i, a[i], b[i]]);
  return out;
}

function expectSame(got: { state: Dump; history: HistoryDump }, clean: { state: Dump; history: HistoryDump }): void {
  expect(differing(got.state.values, clean.state.values).slice(0, 3)).toEqual([]);
  expect(got.state.counters).toEqual(clean.state.counters);
  expect(unlike(got.state.dead, clean.state.dead)).toEqual([]);
  expect(got.state.marks).toEqual(clean.state.marks);
  expect(unlike(got.history.rows, clean.history.rows)).toEqual([]);
  expect(unlike(got.history.viewRows, got.history.rows)).toEqual([]);
}

interface Schedule {
  kills: number;
  /** Kills with progress since the last one, before the end of the log. */
  moving: number;
  /** Those that fell between two files of history. */
  historyMoved: number;
  /** Mark right after each kill. */
  marks: number[];
}

/** Kills the worker `kills` times, each time a random moment after its mark has moved; the log ends far behind the last. */
async function killWhileMoving(dir: string, project: TestProject, size: number, kills: number, job: Partial<Extract<Job, { role: 'worker' }>>): Promise<Schedule> {
  const out: Schedule = { kills: 0, moving: 0, historyMoved: 0, marks: [] };
  const mark = async () => (await project.online.streamMark(SHOP_STREAM, 0)).next;
  let before = await mark();
  let filed = (await project.history.mark(SHOP_STREAM, 0)).next;
  for (let k = 0; k < kills; k++) {
    const child = await startChild({ dir, role: 'worker', ...job });
    const wanted = before + Math.floor(Math.random() * (size / kills) * 0.8);
    while (child.process.exitCode === null && (await mark()) <= wanted) await sleep(2);
    await sleep(Math.random() * 15);
    child.process.kill('SIGKILL');
    const end = await child.ended;
    expect(end.signal, `ended by itself: ${child.errors()}`).toBe('SIGKILL');
    out.kills++;
    const now = await mark();
    expect(now, 'a committed mark never goes back').toBeGreaterThanOrEqual(before);
    if (now > before && now < size) out.moving++;
    const nowFiled = (await project.history.mark(SHOP_STREAM, 0)).next;
    if (nowFiled > filed) out.historyMoved++;
    filed = nowFiled;
    before = now;
    out.marks.push(now);
  }
  return out;
}

describe('30 kills in one run over the log', () => {
  it('end in the state of one clean run, key for key, history row for row', { timeout: 120_000 }, async () => {
    const records = sampleRecords(60_000);
    // Small files, so that kills fall between them also when the machine is busy.
    const job = { batchSize: 40, historyRows: 1_000 };
    const clean = await newShop('clean', records);
    const killed = await newShop('killed', records);
    await finish(clean.dir, { historyRows: 20_000 });
    const schedule = await killWhileMoving(killed.dir, killed.project, records.length, 30, job);
    await finish(killed.dir, { historyRows: 2_000 });
    const a = await whole(clean.project, clean.compiled);
    const b = await whole(killed.project, killed.compiled);
    console.log(
      `kills ${schedule.kills}, while marks moved ${schedule.moving}, with files written since the last ${schedule.historyMoved}; keys compared ${a.state.values.size} at ${INSTANTS.length} instants; history rows ${a.history.rows.length}, files ${a.history.files} and ${b.history.files}`,
    );
    expect(schedule.moving).toBeGreaterThanOrEqual(25);
    expect(schedule.historyMoved).toBeGreaterThanOrEqual(10);
    expect(a.state.values.size).toBeGreaterThan(1_000);
    expectSame(b, a);
    await clean.project.close();
    await killed.project.close();
  });
});

describe('a new feature after the log was trimmed', () => {
  it('is backfilled from history across kills to what it would have been from the start', { timeout: 120_000 }, async () => {
    const records = sampleRecords(30_000, 31);
    const more = `
export const purchasesLifetime = feature(product, 'purchases_lifetime', count(purchase).lifetime());
export const buyersByCity = feature(session, 'cities', countDistinct([click, cart], 'geo.city').over('12h'));
`;
    const extend = async (dir: string) => {
      appendFileSync(join(dir, 'features.ts'), more);
      return compileAt(dir);
    };
    const run = await newShop('backfill', records);
    await finish(run.dir, { historyRows: 2_000 });
    const users = [...compileGroups(run.compiled.registry).groups.values()].filter(g => g.entity === 'user');
    expect((await run.project.bus.bounds(SHOP_STREAM)).start, 'most of the log is in history only').toBeGreaterThan(10_000);
    const before = await dumpValues(run.project.online, users, INSTANTS);
    const wider = await extend(run.dir);
    await applyRegistry(run.project, wider, { newVersion: true, consent: true });
    const groups = [...compileGroups(wider.registry).groups.values()].filter(g => g.entity !== 'user');
    const at = async () => Math.min(...(await Promise.all(groups.map(async g => (await run.project.online.groupStatus(g))!.marks[0]!.next))));
    let moving = 0;
    for (let k = 0; k < 8; k++) {
      const from = await at();
      const child = await startChild({ dir: run.dir, role: 'worker', historyRows: 2_000 });
      while (child.process.exitCode === null && (await at()) <= from) await sleep(2);
      await sleep(Math.random() * 10);
      child.process.kill('SIGKILL');
      expect((await child.ended).signal, child.errors()).toBe('SIGKILL');
      const now = await at();
      if (now > from && now < records.length) moving++;
      if (now >= records.length) break;
      expect((await run.project.online.groupStatus(groups[0]!))!.ready).toBe(false);
      // What was there answers all the while.
      expect(differing(await dumpValues(run.project.online, users, INSTANTS), before)).toEqual([]);
    }
    expect(moving).toBeGreaterThanOrEqual(3);
    await finish(run.dir, { historyRows: 2_000 });

    const clean = await newShop('from-start', []);
    const same = await extend(clean.dir);
    await applyRegistry(clean.project, same, { newVersion: true, consent: true });
    await appendAll(clean.project, SHOP_STREAM, records);
    await finish(clean.dir, { historyRows: 2_000 });
    const [a, b] = [await whole(run.project, wider), await whole(clean.project, same)];
    console.log(`backfill: kills while it moved ${moving}; keys compared ${b.state.values.size}`);
    expectSame(a, b);
    expect(differing(await dumpValues(run.project.online, users, INSTANTS), before)).toEqual([]);
    await run.project.close();
    await clean.project.close();
  });
});

describe('batches and repeats', () => {
  it('sizes 1, 7 and 500 end alike, counters included; the log appended twice gives the same values', { timeout: 120_000 }, async () => {
    const records = sampleRecords(5_000, 11);
    const runs: { state: Dump; history: HistoryDump }[] = [];
    for (const batchSize of [500, 7, 1]) {
      const run = await newShop(`batch${batchSize}`, records);
      await finish(run.dir, { batchSize });
      runs.push(await whole(run.project, run.compiled));
      await run.project.close();
    }
    expectSame(runs[1]!, runs[0]!);
    expectSame(runs[2]!, runs[0]!);

    const twice = await newShop('twice', [...records, ...records]);
    await finish(twice.dir);
    const state = await dump(twice.project, twice.compiled, INSTANTS);
    expect(differing(state.values, runs[0]!.state.values)).toEqual([]);
    const once = total(runs[0]!.state);
    expect(total(state)).toMatchObject({ read: 2 * once.read, applied: once.applied });
    await twice.project.close();
  });
});

/** Runs a store that dies at commits by chance until it has died often enough, then to the end without dying. */
async function dieAtCommits(records: readonly NewRecord[], store: 'self-killing' | 'rows-first' | 'marks-first', kills: number) {
  const run = await newShop(store, records);
  const job = { store, batchSize: 25, historyRows: 2_000 } as const;
  for (let k = 0; k < kills; k++) {
    const end = await runChild({ dir: run.dir, role: 'worker', ...job, chance: 0.05 });
    expect(end.signal, end.errors).toBe('SIGKILL');
  }
  expect((await run.project.online.streamMark(SHOP_STREAM, 0)).next).toBeLessThan(records.length);
  await finish(run.dir, { ...job, chance: 0 });
  const result = await whole(run.project, run.compiled);
  await run.project.close();
  return result;
}

describe('the negative control: killed between the rows and the mark', () => {
  it('one transaction ends like a clean run; two, in either order, do not', { timeout: 120_000 }, async () => {
    const records = sampleRecords(15_000, 23);
    const run = await newShop('clean', records);
    await finish(run.dir);
    const clean = await whole(run.project, run.compiled);
    await run.project.close();
    const was = total(clean.state);

    expectSame(await dieAtCommits(records, 'self-killing', 8), clean);

    // State first: the batch comes again. Ids keep the values right, but counters and dead letters tell.
    const again = await dieAtCommits(records, 'rows-first', 8);
    const twice = total(again.state);
    expect(twice.read).toBe(was.read);
    expect(twice.duplicate).toBeGreaterThan(was.duplicate);
    expect(twice.applied).toBe(was.applied - (twice.duplicate - was.duplicate));

    // Mark first: the batch is lost, and values with it.
    const lost = await dieAtCommits(records, 'marks-first', 8);
    const wrong = differing(lost.state.values, clean.state.values);
    expect(total(lost.state).read).toBeLessThan(was.read);
    expect(wrong.length).toBeGreaterThan(0);
    console.log(
      `clean ${JSON.stringify(was)}; rows first ${JSON.stringify(twice)}, dead letters ${clean.state.dead.length} -> ${again.state.dead.length}; ` +
        `mark first ${JSON.stringify(total(lost.state))}, keys that differ ${wrong.length} of ${clean.state.values.size}`,
    );
  });
});
