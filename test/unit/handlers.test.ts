/** Handlers on the embedded store: what they are given, what they leave, and what becomes of failures. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { compileUnits } from '../../src/engine/units.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { jsonLogger } from '../../src/lib/log.ts';
import { reasonOf, retryAt } from '../../src/runtime/handlers/retry.ts';
import { DAY, define, eventsOf, foldAt, newHandlers, type Running, rowAt, type Sent, STREAM, valueAt, waitingOf, work } from '../support/handlers.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { NonRetriableError, RetryAfterError } from '../../src/index.ts';
import { appendAll, cleanUp } from '../support/project.ts';

afterAll(cleanUp);

const notes = (run: Running): string[] => readFileSync(join(run.dir, 'notes.txt'), 'utf8').trim().split('\n');
const times = <T>(n: number, of: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => of(i));
const dead = (run: Running) => run.project.online.deadLetters(0, 100);
const FAST = "retries: { max: 3, delay: '5ms', backoff: 'fixed' }";

async function ran(name: string, features: string, sent: readonly Sent[]): Promise<Running> {
  const run = await newHandlers(name, features, eventsOf(sent));
  await work(run);
  return run;
}

describe('what a handler does', () => {
  it('makes a value of an event; types without a feature are passed over (T53, T55)', async () => {
    const run = await newHandlers(
      'value',
      `export const last = feature(user, 'last_n', on(buy, { type: z.number(), handle: ({ event }) => event.payload.n }));`,
      eventsOf([{ type: 'other' }, { type: 'buy', n: 42 }, { type: 'unheard of' }]),
    );
    expect(await work(run)).toMatchObject({ read: 3, applied: 1, ignored: 2, handled: 1, retried: 0, dead: 0 });
    expect(await rowAt(run, 'user.last_n', 'u1')).toMatchObject({ ts: DAY + 1_000, text: '[42]' });
    expect((await run.project.online.streamMark(STREAM, 0)).next).toBe(3);
    await run.project.close();
  });

  it('one event updates three entities, each with its own key (T69)', async () => {
    const n = (entity: string) => `export const ${entity}N = feature(${entity}, 'n', on(click, { type: z.number(), handle: ({ current }) => (current ?? 0) + 1 }));`;
    const run = await newHandlers('three', n('user') + n('product') + n('session'), eventsOf([{ product_id: 'p1', session_id: 's:1' }, { product_id: 'p1' }]));
    expect(await work(run)).toMatchObject({ applied: 2, keyless: 1, handled: 5 });
    expect(await valueAt(run, 'user.n', 'u1')).toBe(2);
    expect(await valueAt(run, 'product.n', 'p1')).toBe(2);
    expect(await valueAt(run, 'session.n', ['u1', 's:1'])).toBe(1);
    await run.project.close();
  });

  it('is given the event, its key, the attempt and the value so far', async () => {
    const run = await ran(
      'given',
      `export const seen = feature(session, 'seen', on([click, buy], { type: z.string(), handle: ({ event, key, current, attempt, signal }) =>
        JSON.stringify({ event, key, current: current?.length ?? null, attempt, signal: signal.aborted }) }));`,
      [
        { id: 'a', session_id: 's,1', n: 1.5, product_id: null },
        { id: 'b', type: 'buy', session_id: 's,1' },
      ],
    );
    const first = JSON.parse((await valueAt(run, 'session.seen', ['u1', 's,1'], DAY + 500)) as string);
    expect(first).toEqual({
      event: { event_type: 'click', event_id: 'a', entity_id: 'u1,s,1', timestamp: DAY, payload: { user_id: 'u1', session_id: 's,1', n: 1.5, product_id: null } },
      key: { user_id: 'u1', session_id: 's,1' },
      current: null,
      attempt: 1,
      signal: false,
    });
    const second = JSON.parse((await valueAt(run, 'session.seen', ['u1', 's,1'])) as string);
    expect(second).toMatchObject({ event: { event_type: 'buy', event_id: 'b' }, current: JSON.stringify(first).length });
    await run.project.close();
  });

  it('undefined leaves the value, null clears it, 1,000 on one key are 1,000 (T62)', async () => {
    const run = await ran(
      'leave',
      `export const last = feature(user, 'last', on(click, { type: z.number(), handle: ({ event }) => event.payload.n === 0 ? undefined : event.payload.n === -1 ? null : event.payload.n }));
       export const n = feature(user, 'n', on(click, { type: z.number(), handle: async ({ current }) => { await null; return (current ?? 0) + 1; } }));`,
      [{ n: 7 }, { n: 0 }, { user_id: 'u2', n: 7 }, { user_id: 'u2', n: -1 }, ...times(1_000, () => ({ user_id: 'u3', n: 0 }))],
    );
    expect(await valueAt(run, 'user.last', 'u1')).toBe(7);
    expect(await rowAt(run, 'user.last', 'u2')).toMatchObject({ text: '[null]' });
    expect(await rowAt(run, 'user.last', 'u3')).toBeNull();
    expect(await valueAt(run, 'user.n', 'u3')).toBe(1_000);
    await run.project.close();
  });

  it('a last value goes by the time of its event, one built on the value so far by the log (T64)', async () => {
    const run = await ran(
      'older',
      `export const last = feature(user, 'last', on(click, { type: z.number(), handle: ({ event }) => event.payload.n }));
       export const sum = feature(user, 'sum', on(click, { type: z.number(), handle: ({ event, current }) => (current ?? 0) + event.payload.n }));`,
      [
        { n: 2, at: 60_000 },
        { n: 1, at: 0 },
        { n: 5, at: 60_000 },
      ],
    );
    expect(await valueAt(run, 'user.last', 'u1')).toBe(5);
    expect(await valueAt(run, 'user.last', 'u1', DAY + 1_000)).toBe(1);
    expect(await rowAt(run, 'user.sum', 'u1')).toMatchObject({ text: '[8]', ts: DAY + 60_000 });
    await run.project.close();
  });

  it('the same event twice counts once, in folds too; a fold keeps a balance (T63, T65)', async () => {
    const same = { type: 'buy', id: 'one', n: 100, at: 0 };
    const run = await newHandlers(
      'twice',
      `export const n = feature(user, 'n', on(buy, { type: z.number(), handle: ({ current }) => (current ?? 0) + 1 }));
       export const balance = feature(user, 'balance', fold([buy, click], { state: z.number(), initial: 0, step: (s, e) => s + (e.event_type === 'buy' ? e.payload.n : -e.payload.n) }));`,
      eventsOf([same, { type: 'click', id: 'two', n: 30, at: 10 }, same]),
    );
    expect(await work(run, { batchSize: 2 })).toMatchObject({ read: 3, applied: 2, duplicate: 1, handled: 1 });
    await appendAll(run.project, STREAM, eventsOf([same]));
    expect(await work(run)).toMatchObject({ read: 1, duplicate: 1, handled: 0 });
    expect(await valueAt(run, 'user.n', 'u1')).toBe(1);
    expect(await foldAt(run, 'user.balance', 'u1')).toBe(70);
    await run.project.close();
  });

  it('reads other features and writes pushed ones, and sees what the turn before it wrote', async () => {
    const run = await ran(
      'get-set',
      `export const score = feature(product, 'score', pushed(z.number()));
       export const clicks = feature(user, 'clicks', count(click).lifetime());
       export const f = feature(user, 'f', fold(click, { state: z.number(), initial: 0, step: s => s + 1 }));
       export const last = feature(user, 'last', on(click, { type: z.string(), handle: ({ event }) => event.event_id }));
       export const n = feature(user, 'n', on(click, { type: z.string(), handle: async ({ event, current, get, set }) => {
         const before = await get(score);
         set(score, (before ?? 0) + 1);
         set(score, -1, { product_id: 'p2' });
         set(score, (before ?? 0) + 10, { product_id: 'p2' });
         return [event.event_id, before, await get(score, { product_id: 'p2' }), await get(n) === current, await get(clicks), await get(f), await get(last, { user_id: 'nobody' })].join();
       } }));`,
      times(5, () => ({ product_id: 'p1' })),
    );
    expect(await valueAt(run, 'product.score', 'p1')).toBe(5);
    expect(await valueAt(run, 'product.score', 'p2')).toBe(14);
    expect(await valueAt(run, 'user.n', 'u1')).toBe('e4,4,13,true,5,5,');
    await run.project.close();
  });
});

describe('failures', () => {
  it('throws twice, then succeeds: the value is right and the dead letters are empty (T60)', async () => {
    const run = await newHandlers(
      'third-time',
      `export const n = feature(user, 'n', on(click, { type: z.number(), ${FAST}, handle: ({ current, attempt }) => { if (attempt < 3) throw new Error('no ' + attempt); return (current ?? 0) + 1; } }));`,
      eventsOf([{}, {}]),
    );
    expect(await work(run)).toMatchObject({ handled: 2, retried: 4, dead: 0 });
    expect(await valueAt(run, 'user.n', 'u1')).toBe(2);
    expect(await dead(run)).toEqual([]);
    await run.project.close();
  });

  it('always throws: one dead letter after 4 attempts; other features of the event apply once and the queue goes on (T59)', async () => {
    const run = await newHandlers(
      'always',
      `export const bad = feature(user, 'bad', on(click, { type: z.number(), ${FAST}, handle: ({ event, attempt }) => { note(event.event_id + ' ' + attempt); if (event.payload.n === 1) throw new TypeError('nothing there'); return 1; } }));
       export const good = feature(user, 'good', on(click, { type: z.number(), handle: ({ current }) => (current ?? 0) + 1 }));
       export const clicks = feature(user, 'clicks', fold(click, { state: z.number(), initial: 0, step: s => s + 1 }));`,
      eventsOf([{ id: 'x', n: 1 }, { id: 'y' }]),
    );
    expect(await work(run)).toMatchObject({ handled: 3, retried: 3, dead: 1 });
    expect(notes(run)).toEqual(['x 1', 'x 2', 'x 3', 'x 4', 'y 1']);
    const [one, ...more] = await dead(run);
    expect(more).toEqual([]);
    expect(one!.letter).toMatchObject({
      stream: STREAM,
      offset: 0,
      reason: 'TypeError: nothing there',
      handler: { feature: 'user.bad', key: 'u1', attempts: 4, event_type: 'click', event_id: 'x', ts: DAY },
    });
    expect(JSON.parse(Buffer.from(one!.letter.bytes).toString())).toEqual({ type: 'click', id: 'x', user_id: 'u1', n: 1, ts: DAY });
    expect(await valueAt(run, 'user.good', 'u1')).toBe(2);
    expect(await foldAt(run, 'user.clicks', 'u1')).toBe(2);
    await run.project.close();
  });

  it('holds the later events of its pair in order while other pairs go on', async () => {
    const run = await newHandlers(
      'hold',
      `export const n = feature(user, 'n', on(click, { type: z.number(), retries: { max: 3, delay: '150ms' }, handle: ({ event, attempt }) => {
         if (event.event_id === 'e0' && attempt < 3) { note('fails'); throw new Error('later'); }
         note(event.event_id); return 1; } }));`,
      eventsOf([{}, {}, { user_id: 'u2' }, {}, { user_id: 'u2' }]),
    );
    await work(run);
    const all = notes(run);
    expect(all.filter(l => ['e0', 'e1', 'e3'].includes(l))).toEqual(['e0', 'e1', 'e3']);
    expect(all.indexOf('e4')).toBeLessThan(all.indexOf('e0'));
    expect(all.filter(l => l === 'fails')).toHaveLength(2);
    await run.project.close();
  });

  it('what cannot be retried is given up at once, what says when waits for that', async () => {
    const run = await newHandlers(
      'errors',
      `export const a = feature(user, 'a', on(click, { type: z.number(), ${FAST}, handle: () => { note('a'); throw new NonRetriableError('never'); } }));
       export const b = feature(user, 'b', on(click, { type: z.number(), retries: { delay: '1h' , maxDelay: '1h' }, handle: ({ attempt }) => { if (attempt === 1) throw new RetryAfterError('soon', '10ms'); return attempt; } }));`,
      eventsOf([{}]),
    );
    expect(await work(run)).toMatchObject({ handled: 1, retried: 1, dead: 1 });
    expect(notes(run)).toEqual(['a']);
    expect((await dead(run)).map(l => [l.letter.handler!.feature, l.letter.handler!.attempts, l.letter.reason])).toEqual([['user.a', 1, 'NonRetriableError: never']]);
    expect(await valueAt(run, 'user.b', 'u1')).toBe(2);
    await run.project.close();
  });

  it('values that do not fit fail: those returned and those set', async () => {
    const none = 'retries: { max: 0 }';
    const run = await ran(
      'misfit',
      `export const pushedN = feature(user, 'pushed_n', pushed(z.number()));
       const handler = (name, handle) => feature(user, name, on(click, { type: z.number(), ${none}, handle }));
       export const a = handler('a', () => 'text');
       export const b = handler('b', ({ set }) => { set(pushedN, 'text'); return 1; });
       export const c = handler('c', ({ set }) => { set(a, 1); return 1; });
       export const d = handler('d', async ({ get }) => get({ name: 'nothing', entity: user }));
       export const e = handler('e', () => Infinity);
       const gone = { name: 'nothing', entity: user };
       export const f = handler('f', async ({ get }) => { const both = [get(gone), get(gone)]; return (await both[0]) ?? (await both[1]); });
       export const g = feature(user, 'g', on(click, { type: z.any(), ${none}, handle: () => new Map() }));
       export const h = feature(user, 'h', on(click, { type: z.any(), ${none}, handle: () => ({ list: [1, 'x', null, { deep: 10n }] }) }));`,
      [{}],
    );
    const reasons = Object.fromEntries((await dead(run)).map(l => [l.letter.handler!.feature, l.letter.reason]));
    expect(reasons).toEqual({
      'user.a': expect.stringMatching(/^BAD_VALUE: user\.a: .*number/),
      'user.b': expect.stringMatching(/^BAD_VALUE: set\(user\.pushed_n\)/),
      'user.c': expect.stringMatching(/^BAD_VALUE: set\(user\.a\): only pushed/),
      'user.d': expect.stringMatching(/^UNKNOWN_FEATURE/),
      'user.e': expect.stringMatching(/^BAD_VALUE/),
      'user.f': expect.stringMatching(/^UNKNOWN_FEATURE/),
      'user.g': expect.stringMatching(/^BAD_VALUE.*Map/),
    });
    expect(await rowAt(run, 'user.pushed_n', 'u1')).toBeNull();
    expect(await valueAt(run, 'user.h', 'u1')).toEqual({ list: [1, 'x', null, { deep: '10' }] });
    await run.project.close();
  });

  it('an attempt has its time; what goes on afterwards changes nothing', async () => {
    const run = await newHandlers(
      'timeout',
      `export const score = feature(user, 'score', pushed(z.number()));
       export const slow = feature(user, 'slow', on(click, { type: z.number(), timeout: '30ms', ${FAST}, handle: async ({ attempt, set, signal }) => {
         if (attempt === 2) return 2;
         await new Promise(r => signal.addEventListener('abort', r));
         try { set(score, 1); note('set'); } catch (e) { note(e.code + ' ' + signal.aborted); }
         return 1; } }));
       export const deaf = feature(user, 'deaf', on(click, { type: z.number(), timeout: '30ms', retries: { max: 0 }, handle: () => new Promise(() => {}) }));`,
      eventsOf([{}]),
    );
    expect(await work(run)).toMatchObject({ handled: 1, retried: 1, dead: 1 });
    expect(await valueAt(run, 'user.slow', 'u1')).toBe(2);
    expect(await rowAt(run, 'user.score', 'u1')).toBeNull();
    expect(notes(run)).toEqual(['TIMEOUT true']);
    expect((await dead(run))[0]!.letter.reason).toMatch(/^TIMEOUT: .*30 ms/);
    await run.project.close();
  });

  it('an event that cannot be decoded, or lacks a field, is a dead letter of no handler (T57, T58)', async () => {
    const run = await newHandlers('rejected', `export const n = feature(user, 'n', on(click, { type: z.number(), handle: () => 1 }));`, [
      { bytes: Buffer.from('{"type":"click","id":') },
      ...eventsOf([{ user_id: undefined }, {}]),
    ]);
    expect(await work(run)).toMatchObject({ read: 3, rejected: 2, handled: 1 });
    const letters = (await dead(run)).map(l => l.letter);
    expect(letters.map(l => [l.stream, l.offset, l.handler])).toEqual([
      [STREAM, 0, undefined],
      [STREAM, 1, undefined],
    ]);
    expect(letters[0]!.reason).toContain('not JSON');
    expect(letters[1]!.reason).toContain('user_id');
    await run.project.close();
  });
});

describe('when a turn is tried again', () => {
  const retries = { max: 3, backoff: 'exponential', delay: 1_000, maxDelay: 3_000 } as const;
  const plain = new Error('x');
  it.each([
    [1, 1_000],
    [2, 2_000],
    [3, 3_000],
    [4, null],
  ])('attempt %i: %s', (attempts, wait) => expect(retryAt(plain, attempts, retries, 500)).toBe(wait && wait + 500));
  it('fixed pauses stay', () => expect(retryAt(plain, 3, { ...retries, backoff: 'fixed' }, 0)).toBe(1_000));
  it('errors say it themselves, also those of another copy of fabra', () => {
    class Theirs extends NonRetriableError {}
    class OfAnotherCopy extends Error {
      override readonly name = 'RetryAfterError';
      readonly after = '7s';
    }
    expect(retryAt(new Theirs('x'), 1, retries, 0)).toBeNull();
    expect(retryAt(new OfAnotherCopy('x'), 1, retries, 10)).toBe(7_010);
    expect(retryAt(new RetryAfterError('x', new Date(9_000)), 1, retries, 10)).toBe(9_000);
    expect(retryAt(new RetryAfterError('x', new Date(5)), 1, retries, 10)).toBe(10);
    expect(retryAt(new RetryAfterError('x', 'soon' as '1s'), 1, retries, 10)).toBe(1_010);
    expect(retryAt(new RetryAfterError('x', '1s'), 4, retries, 10)).toBeNull();
    expect(reasonOf('text')).toBe('threw text');
    expect(reasonOf(new Error(''))).toBe('an error without a message');
  });
});

describe('beside the worker', () => {
  it('a handler added while an older worker ran gets the events since then, and none before; a new fold gets all', async () => {
    const first = `export const n = feature(user, 'n', on(click, { type: z.number(), handle: ({ current }) => (current ?? 0) + 1 }));`;
    const run = await newHandlers('added', first, eventsOf(times(5, () => ({}))));
    await work(run);
    const wider = await define(
      run.dir,
      `${first}export const m = feature(user, 'm', on(click, { type: z.string(), handle: ({ event, current }) => (current ?? '') + event.event_id + ' ' }));
       export const all = feature(user, 'all', fold(click, { state: z.number(), initial: 0, step: s => s + 1 }));`,
    );
    await applyRegistry(run.project, wider, { newVersion: false, consent: false });
    await appendAll(
      run.project,
      STREAM,
      eventsOf([
        { id: 'a', at: 10_000 },
        { id: 'b', at: 11_000 },
      ]),
    );
    // The older process goes on with what it knows.
    const { runWorker } = await import('../../src/runtime/worker.ts');
    await expect(runWorker(run.project, run.compiled, { untilIdle: true, signal: new AbortController().signal })).rejects.toMatchObject({ code: 'NOT_APPLIED' });
    const old = { ...run.project, catalog: { ...run.project.catalog, applied: async () => ({ registry: run.compiled.registry, revision: 1, at: 0 }) } };
    const adopting = Object.assign(Object.create(run.project.online) as typeof run.project.online, { adopt: async () => {} });
    await runWorker({ ...old, online: adopting }, run.compiled, { untilIdle: true, signal: new AbortController().signal });
    await appendAll(run.project, STREAM, eventsOf([{ id: 'c', at: 12_000 }]));
    const now = { ...run, compiled: wider };
    await work(now);
    expect(await valueAt(now, 'user.m', 'u1')).toBe('a b c ');
    expect(await foldAt(now, 'user.all', 'u1'), 'a fold begins with the log').toBe(8);
    expect(await valueAt(now, 'user.n', 'u1')).toBe(8);
    await run.project.close();
  });

  it('a worker that is told to stop lets running handlers finish and leaves the others queued (T67)', async () => {
    const run = await newHandlers(
      'stop',
      `export const n = feature(user, 'n', on(click, { type: z.number(), handle: async () => { note('begins'); await new Promise(r => setTimeout(r, 300)); return 1; } }));`,
      eventsOf(times(20, i => ({ user_id: `u${i % 10}` }))),
    );
    const stop = new AbortController();
    const running = work(run, { untilIdle: false, signal: stop.signal });
    while (readNotes(run) < 10) await sleep(5);
    stop.abort();
    expect(await running).toMatchObject({ read: 20, handled: 10, dead: 0, retried: 0 });
    expect(await waitingOf(run)).toEqual({ 'user.n': 10 });
    expect(await work(run)).toMatchObject({ read: 0, handled: 10 });
    expect(await waitingOf(run)).toEqual({ 'user.n': 0 });
    await run.project.close();
  });

  it('a handler that goes on past the grace is told by its signal; its event stays queued as if it had not been tried', async () => {
    const run = await newHandlers(
      'grace',
      `export const n = feature(user, 'n', on(click, { type: z.number(), handle: async ({ attempt, signal }) => {
         note('attempt ' + attempt + ' ' + signal.aborted);
         if (existsSync(import.meta.dirname + '/free')) return 1;
         await new Promise(r => signal.addEventListener('abort', r));
         note('told');
         throw new Error('stopped'); } }));`,
      eventsOf([{}]),
    );
    const stop = new AbortController();
    // The five seconds of grace pass at once.
    run.project.clock = { now: systemClock.now, sleep: (ms, signal) => systemClock.sleep(ms === 5_000 ? 20 : ms, signal) };
    const running = work(run, { untilIdle: false, signal: stop.signal });
    while (readNotes(run) < 1) await sleep(5);
    stop.abort();
    expect(await running).toMatchObject({ handled: 0, retried: 0, dead: 0 });
    writeFileSync(join(run.dir, 'free'), '');
    expect(await work(run)).toMatchObject({ handled: 1 });
    expect(notes(run)).toEqual(['attempt 1 false', 'told', 'attempt 1 false']);
    await run.project.close();
  });

  it('a pair that another process changed meanwhile is run again from what is there', async () => {
    const run = await newHandlers(
      'conflict',
      `export const n = feature(user, 'n', on(click, { type: z.string(), handle: async ({ event, current, get }) => {
         note(event.event_id);
         while (!existsSync(import.meta.dirname + '/go')) await new Promise(r => setTimeout(r, 5));
         return (current ?? '') + event.event_id + ' '; } }));`,
      eventsOf([{}, {}, {}]),
    );
    const running = work(run);
    while (readNotes(run) < 1) await sleep(5);
    const { online, env } = run.project;
    const { triggers } = compileUnits(run.compiled.registry);
    const { queues } = await online.dueTurns(triggers, Date.now(), { queues: 1, turns: 1 }, new Set());
    const { unit, key, version, turns } = queues[0]!;
    const lease = { epoch: (env.meta.get('lease') as { epoch: number }).epoch, release: async () => {} };
    const theirs = { eff: DAY, ts: DAY, created: turns[0]!.seq, text: '["theirs "]', gone: false };
    expect(await online.commitTurns(lease, [{ unit, key, version, done: [{ seq: turns[0]!.seq, row: theirs, puts: [] }] }])).toEqual(['ok']);
    writeFileSync(join(run.dir, 'go'), '');
    expect(await running).toMatchObject({ handled: 2 });
    expect(await valueAt(run, 'user.n', 'u1')).toBe('theirs e1 e2 ');
    await run.project.close();
  });

  it('says of every handled event what it did, in the log', async () => {
    const run = await newHandlers(
      'logs',
      `export const score = feature(user, 'score', pushed(z.number()));
       export const n = feature(user, 'n', on(click, { type: z.number(), ${FAST}, handle: ({ event, set, attempt }) => { if (event.payload.n) { if (attempt === 1) throw new Error('once'); set(score, 1); } return event.payload.n ?? undefined; } }));`,
      eventsOf([{ n: 1 }, { user_id: 'u2' }]),
    );
    const lines: Record<string, unknown>[] = [];
    run.project.log = jsonLogger(line => lines.push(JSON.parse(line)), 'debug');
    await work(run);
    const handled = lines.filter(l => l.event === 'handled').sort((a, b) => (String(a.event_id) < String(b.event_id) ? -1 : 1));
    expect(handled).toEqual([
      {
        level: 'debug',
        event: 'handled',
        feature: 'user.n',
        event_type: 'click',
        entity_id: 'u1',
        event_id: 'e0',
        duration_ms: expect.any(Number),
        features_updated: ['user.n', 'user.score'],
      },
      { level: 'debug', event: 'handled', feature: 'user.n', event_type: 'click', entity_id: 'u2', event_id: 'e1', duration_ms: expect.any(Number), features_updated: [] },
    ]);
    expect(lines.filter(l => l.event === 'handler_failed')).toMatchObject([{ level: 'warn', event_id: 'e0', attempts: 1, error: 'once' }]);
    expect(lines.some(l => l.level === 'info' && l.event === 'handlers_committed')).toBe(true);
    await run.project.close();
  });
});

function readNotes(run: Running): number {
  try {
    return notes(run).length;
  } catch {
    return 0;
  }
}
