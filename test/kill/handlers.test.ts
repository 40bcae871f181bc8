/**
 * Handlers under SIGKILL: every effect is recorded exactly once per event, whatever dies when; and with the outcome and the queue
 * in two transactions it is not (the negative controls).
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { endChildren, runChild, startChild } from '../support/build-child.ts';
import type { Job } from '../support/child.ts';
import { eventsOf, foldAt, newHandlers, type Running, rowAt, valueAt, waitingOf } from '../support/handlers.ts';
import { cleanUp } from '../support/project.ts';

afterEach(endChildren);
afterAll(cleanUp);

const LATER = Date.now() + 86_400_000;
const times = <T>(n: number, of: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => of(i));
const sum = (list: readonly unknown[]): number => list.reduce((a: number, b) => a + Number(b ?? 0), 0);
const notes = (run: Running): string[] => readFileSync(join(run.dir, 'notes.txt'), 'utf8').trim().split('\n');
const waiting = async (run: Running): Promise<number> => sum(Object.values(await waitingOf(run)));

/** Counts, keeps each event's id, and has an effect outside. Slow enough for many commits. */
const FEATURES = `
export const n = feature(user, 'n', on(click, { type: z.number(), handle: async ({ event, current }) => { note(event.event_id); await new Promise(r => setTimeout(r, 10)); return (current ?? 0) + 1; } }));
export const ids = feature(user, 'ids', on(click, { type: z.string(), handle: ({ event }) => event.event_id }));
export const f = feature(user, 'f', fold(click, { state: z.number(), initial: 0, step: s => s + 1 }));
`;
const USERS = 10;

async function crowd(name: string, events: number): Promise<Running> {
  return newHandlers(name, FEATURES, eventsOf(times(events, i => ({ user_id: `u${i % USERS}`, at: i }))));
}

interface Recorded {
  /** Sums over all keys. */
  n: number;
  f: number;
  /** Event ids recorded by `ids`, as often as they are. */
  ids: string[];
}

/** What the store recorded: the values, and all rows on their way to history. */
async function recorded(run: Running): Promise<Recorded> {
  const users = times(USERS, i => `u${i}`);
  const rows = (await run.project.online.outbox(0, 1_000_000)).filter(r => r.table.id === 'user.ids');
  return {
    n: sum(await Promise.all(users.map(u => valueAt(run, 'user.n', u)))),
    f: sum(await Promise.all(users.map(u => foldAt(run, 'user.f', u)))),
    ids: rows.map(r => (JSON.parse(r.row.text) as [string])[0]),
  };
}

const workerOf = (dir: string, job: Partial<Extract<Job, { role: 'worker' }>> = {}): Job => ({ dir, role: 'worker', ...job });

async function finish(run: Running): Promise<void> {
  const end = await runChild(workerOf(run.dir));
  expect(end, end.errors).toMatchObject({ code: 0 });
}

describe('20 kills during 5,000 handled events', () => {
  it('record every effect exactly once per event id', { timeout: 180_000 }, async () => {
    const EVENTS = 5_000;
    const run = await crowd('kills', EVENTS);
    let moving = 0;
    const left = async () => EVENTS - (await run.project.online.streamMark('actions', 0)).next + (await waitingOf(run))['user.n']!;
    for (let k = 0; k < 20; k++) {
      const before = await left();
      const child = await startChild(workerOf(run.dir, { batchSize: 300 }));
      const wanted = before - 1 - Math.floor(Math.random() * (EVENTS / 20) * 0.5);
      while (child.process.exitCode === null && (await left()) > wanted) await sleep(2);
      await sleep(Math.random() * 60);
      child.process.kill('SIGKILL');
      expect((await child.ended).signal, child.errors()).toBe('SIGKILL');
      if ((await waiting(run)) > 0 || (await run.project.online.streamMark('actions', 0)).next < EVENTS) moving++;
    }
    await finish(run);
    const got = await recorded(run);
    const runs = notes(run);
    console.log(
      `20 kills, ${moving} before the end; handler ran ${runs.length} times for ${EVENTS} events; recorded n ${got.n}, ids ${got.ids.length} of which different ${new Set(got.ids).size}, fold ${got.f}`,
    );
    expect(moving).toBeGreaterThanOrEqual(15);
    expect(got).toMatchObject({ n: EVENTS, f: EVENTS });
    expect(got.ids).toHaveLength(EVENTS);
    expect(new Set(got.ids).size).toBe(EVENTS);
    expect(new Set(runs).size).toBe(EVENTS);
    expect(await run.project.online.deadCount()).toBe(0);
    expect(await waiting(run)).toBe(0);
    await run.project.close();
  });
});

/** A store that dies by chance at commits of turns until it has died often enough; then to the end without dying. */
async function dieAtTurns(store: 'dying-turns' | 'recorded-first' | 'dequeued-first', events: number): Promise<Recorded & { run: Running }> {
  const run = await crowd(store, events);
  for (let k = 0; k < 6; k++) {
    const end = await runChild(workerOf(run.dir, { store, chance: 0.4, batchSize: 100 }));
    expect(end.signal, end.errors).toBe('SIGKILL');
  }
  expect(await waiting(run)).toBeGreaterThan(0);
  const end = await runChild(workerOf(run.dir, { store, chance: 0 }));
  expect(end, end.errors).toMatchObject({ code: 0 });
  return { ...(await recorded(run)), run };
}

describe('the negative controls: killed between the outcome and its queue', () => {
  it('one transaction counts right; recording first repeats effects, dequeuing first loses them', { timeout: 180_000 }, async () => {
    const EVENTS = 3_000;
    const right = await dieAtTurns('dying-turns', EVENTS);
    const twice = await dieAtTurns('recorded-first', EVENTS);
    const lost = await dieAtTurns('dequeued-first', EVENTS);
    console.log(`one transaction ${right.n}, recorded first ${twice.n}, dequeued first ${lost.n} of ${EVENTS}`);
    expect([right.n, right.f, right.ids.length]).toEqual([EVENTS, EVENTS, EVENTS]);
    expect(twice.n).toBeGreaterThan(EVENTS);
    expect(lost.n).toBeLessThan(EVENTS);
    expect([twice.f, lost.f]).toEqual([EVENTS, EVENTS]);
    for (const { run } of [right, twice, lost]) await run.project.close();
  });
});

describe('two workers', () => {
  it('200 concurrent +1 of one key, the first worker killed midway and the second taking over: 200 (T61, T62)', { timeout: 60_000 }, async () => {
    const slow = 'await new Promise(r => setTimeout(r, 3));';
    const run = await newHandlers(
      'two',
      `export const n = feature(user, 'n', on(click, { type: z.number(), handle: async ({ event, current }) => { note(event.event_id); ${slow} return (current ?? 0) + 1; } }));`,
    );
    const a = await startChild(workerOf(run.dir, { forever: true }));
    await a.until('started');
    while (run.project.env.meta.get('lease') === undefined) await sleep(5);
    const b = await startChild(workerOf(run.dir, { forever: true, standby: true }));
    await b.until('standby');
    const half = (from: number): Promise<unknown> => runChild({ dir: run.dir, role: 'publish', type: 'click', ids: times(100, i => `e${from + i}`), payload: { user_id: 'u1' } });
    const publishing = Promise.all([half(0), half(100)]);
    while ((await valueAt(run, 'user.n', 'u1', LATER)) === null) await sleep(2);
    a.process.kill('SIGKILL');
    expect((await a.ended).signal).toBe('SIGKILL');
    const midway = (await valueAt(run, 'user.n', 'u1', LATER)) as number;
    await publishing;
    const deadline = Date.now() + 30_000;
    while ((await valueAt(run, 'user.n', 'u1', LATER)) !== 200 && Date.now() < deadline) await sleep(20);
    // The same ids once more, by another sender: HTTP retries of all of them.
    await half(0);
    while ((await run.project.online.streamMark('actions', 0)).next < 300) await sleep(10);
    b.process.kill('SIGTERM');
    expect(await b.ended, b.errors()).toMatchObject({ code: 0 });
    console.log(`killed at ${midway} of 200; the handler ran ${notes(run).length} times`);
    expect(midway).toBeLessThan(200);
    expect(await valueAt(run, 'user.n', 'u1', LATER)).toBe(200);
    expect(await waiting(run)).toBe(0);
    await run.project.close();
  });

  it('without --standby the second is refused; one that waits ends with 0 on SIGTERM', { timeout: 30_000 }, async () => {
    const run = await newHandlers('refused', FEATURES);
    const a = await startChild(workerOf(run.dir, { forever: true }));
    await a.until('started');
    while (run.project.env.meta.get('lease') === undefined) await sleep(5);
    expect((await runChild(workerOf(run.dir))).lines.at(-1)).toMatchObject({ error: { code: 'WRITER_BUSY' } });
    const b = await startChild(workerOf(run.dir, { forever: true, standby: true }));
    await b.until('standby');
    b.process.kill('SIGTERM');
    expect(await b.ended, b.errors()).toMatchObject({ code: 0 });
    a.process.kill('SIGTERM');
    expect(await a.ended, a.errors()).toMatchObject({ code: 0 });
    await run.project.close();
  });
});

describe('a retry across a kill', () => {
  it('the pair waits for it on disk, its later events behind it, while other pairs go on', { timeout: 60_000 }, async () => {
    const run = await newHandlers(
      'held',
      `export const n = feature(user, 'n', on(click, { type: z.string(), retries: { max: 50, delay: '200ms', backoff: 'fixed' }, handle: ({ event, current, attempt }) => {
         note(event.event_id + ' ' + attempt);
         if (event.event_id === 'e0' && !existsSync(import.meta.dirname + '/mended')) throw new Error('not yet');
         return (current ?? '') + event.event_id + ' '; } }));`,
      eventsOf([{}, {}, { user_id: 'u2' }, {}, { user_id: 'u2' }]),
    );
    const tries = () => notes(run).filter(l => l.startsWith('e0 ')).length;
    for (let k = 0; k < 3; k++) {
      const child = await startChild(workerOf(run.dir, { forever: true }));
      await child.until('started');
      while ((await valueAt(run, 'user.n', 'u2')) !== 'e2 e4 ' || tries() < 2 * (k + 1)) await sleep(5);
      child.process.kill('SIGKILL');
      expect((await child.ended).signal).toBe('SIGKILL');
      expect(await waitingOf(run)).toEqual({ 'user.n': 3 });
    }
    expect(notes(run).filter(l => /^e[13] /.test(l))).toEqual([]);
    writeFileSync(join(run.dir, 'mended'), '');
    await finish(run);
    expect(await valueAt(run, 'user.n', 'u1')).toBe('e0 e1 e3 ');
    // Attempts count on over the kills; one that a kill cut off before its outcome was kept is made again.
    const attempts = notes(run)
      .filter(l => l.startsWith('e0 '))
      .map(l => Number(l.slice(3)));
    expect(attempts.every((n, i) => i === 0 || n === attempts[i - 1]! + 1 || n === attempts[i - 1])).toBe(true);
    expect(attempts.at(-1)).toBeGreaterThanOrEqual(4);
    await run.project.close();
  });

  it('SIGTERM with 10 in flight: they finish, none is lost, exit 0 (T67)', { timeout: 60_000 }, async () => {
    const run = await newHandlers(
      'term',
      `export const n = feature(user, 'n', on(click, { type: z.number(), handle: async ({ event, current, signal }) => { note(event.event_id); await new Promise(r => setTimeout(r, 400)); return (current ?? 0) + 1; } }));`,
      eventsOf(times(30, i => ({ user_id: `u${i % 10}` }))),
    );
    const child = await startChild(workerOf(run.dir, { forever: true }));
    const begun = () => {
      try {
        return notes(run).length;
      } catch {
        return 0;
      }
    };
    while (begun() < 10) await sleep(5);
    child.process.kill('SIGTERM');
    expect(await child.ended, child.errors()).toMatchObject({ code: 0 });
    expect(child.lines.at(-1)).toMatchObject({ done: true, summary: { handled: 10 } });
    expect(await waiting(run)).toBe(20);
    await finish(run);
    const values = await Promise.all(times(10, i => valueAt(run, 'user.n', `u${i}`)));
    expect(values).toEqual(times(10, () => 3));
    expect(notes(run)).toHaveLength(30);
    expect(await rowAt(run, 'user.n', 'u10')).toBeNull();
    await run.project.close();
  });
});
