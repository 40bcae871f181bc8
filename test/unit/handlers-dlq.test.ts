/** Dead letters that get another chance, and events that are sent again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { purgeLetters, retryLetters } from '../../src/runtime/dlq.ts';
import { Publisher } from '../../src/runtime/publish.ts';
import { define, eventsOf, foldAt, newHandlers, type Running, STREAM, valueAt, waitingOf, work } from '../support/handlers.ts';
import { appendAll, cleanUp } from '../support/project.ts';

afterAll(cleanUp);

const counter = (
  body: string,
) => `export const n = feature(user, 'n', on(click, { type: z.number(), retries: { max: 3, delay: '2ms' }, handle: ({ event, current }) => { ${body} return (current ?? 0) + 1; } }));
export const m = feature(user, 'm', on(click, { type: z.number(), handle: ({ current }) => (current ?? 0) + 1 }));
export const f = feature(user, 'f', fold(click, { state: z.number(), initial: 0, step: s => s + 1 }));
`;
const BROKEN = counter("if (event.payload.n === 9) throw new Error('broken');");
const MENDED = counter('');
const letters = async (run: Running) => (await run.project.online.deadLetters(0, 100)).map(l => l.seq);

async function broken(name: string): Promise<Running> {
  const run = await newHandlers(name, BROKEN, eventsOf([{}, { n: 9 }, {}, { user_id: 'u2', n: 9 }]));
  await work(run);
  expect(await letters(run)).toHaveLength(2);
  return run;
}

async function mended(run: Running): Promise<Running> {
  const compiled = await define(run.dir, MENDED);
  await applyRegistry(run.project, compiled, { newVersion: false, consent: false });
  return { ...run, compiled };
}

describe('a handler that is mended', () => {
  it('gets its events again, exactly once, and other features of them do not', async () => {
    const run = await mended(await broken('mended'));
    const [first, second] = await letters(run);
    expect(await retryLetters(run.project, run.compiled, { seqs: [first!], all: false })).toEqual([{ seq: first, ok: true, what: 'requeued' }]);
    await expect(retryLetters(run.project, run.compiled, { seqs: [first!], all: false })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await waitingOf(run)).toEqual({ 'user.m': 0, 'user.n': 1 });
    expect(await work(run)).toMatchObject({ read: 0, handled: 1, dead: 0 });
    expect(await valueAt(run, 'user.n', 'u1')).toBe(3);
    expect(await retryLetters(run.project, run.compiled, { seqs: [], all: true, feature: 'n' })).toEqual([{ seq: second, ok: true, what: 'requeued' }]);
    expect(await retryLetters(run.project, run.compiled, { seqs: [], all: true })).toEqual([]);
    await work(run);
    expect([await valueAt(run, 'user.n', 'u2'), await valueAt(run, 'user.m', 'u1'), await foldAt(run, 'user.f', 'u1'), await foldAt(run, 'user.f', 'u2')]).toEqual([1, 3, 3, 1]);
    expect(await letters(run)).toEqual([]);
    await run.project.close();
  });

  it('takes them up while it runs', async () => {
    const run = await mended(await broken('running'));
    const stop = new AbortController();
    const running = work(run, { untilIdle: false, signal: stop.signal });
    await retryLetters(run.project, run.compiled, { seqs: [], all: true });
    const deadline = Date.now() + 10_000;
    while ((await valueAt(run, 'user.n', 'u1')) !== 3 || (await valueAt(run, 'user.n', 'u2')) !== 1) {
      expect(Date.now()).toBeLessThan(deadline);
      await sleep(5);
    }
    stop.abort();
    expect(await running).toMatchObject({ handled: 2 });
    await run.project.close();
  });

  it('that still fails makes a new letter, with all its attempts', async () => {
    const run = await broken('still');
    await retryLetters(run.project, run.compiled, { seqs: [], all: true });
    expect(await work(run)).toMatchObject({ handled: 0, retried: 6, dead: 2 });
    const again = await run.project.online.deadLetters(0, 10);
    expect(again.map(l => [l.letter.handler!.attempts, l.letter.handler!.event_id, l.letter.offset]).sort()).toEqual([
      [4, 'e1', 1],
      [4, 'e3', 3],
    ]);
    await run.project.close();
  });

  it('must be the applied one, and known', async () => {
    const run = await broken('unknown');
    const [seq] = await letters(run);
    const other = await define(run.dir, "export const x = feature(user, 'x', on(click, { type: z.number(), handle: () => 1 }));");
    await expect(retryLetters(run.project, other, { seqs: [], all: true })).rejects.toMatchObject({ code: 'NOT_APPLIED' });
    await expect(retryLetters(run.project, run.compiled, { seqs: [], all: true, feature: 'nn' })).rejects.toMatchObject({
      code: 'UNKNOWN_FEATURE',
      hint: expect.stringContaining('user.n'),
    });
    await applyRegistry(run.project, other, { newVersion: false, consent: true });
    expect(await retryLetters(run.project, other, { seqs: [seq!], all: false })).toEqual([{ seq, ok: false, why: 'user.n is no handler any more' }]);
    expect(await purgeLetters(run.project.online, { seqs: [seq!], all: false })).toBe(1);
    expect(await purgeLetters(run.project.online, { seqs: [], all: true })).toBe(1);
    expect(await letters(run)).toEqual([]);
    await run.project.close();
  });
});

describe('rejected events', () => {
  it('go back into the log when the definitions of now take them, once; the others say why not', async () => {
    const wants = (n: string) =>
      `const strict = stream('strict', { id: 'position', time: 'ts', type: null }).event('strict', z.object({ user_id: z.string(), n: ${n} }));
       export const sum = feature(user, 'sum', on(strict, { type: z.number(), handle: ({ event, current }) => (current ?? 0) + Number(event.payload.n) }));`;
    const run = await newHandlers('rejects', wants('z.number()'));
    const bytes = (e: object) => ({ bytes: Buffer.from(JSON.stringify({ ts: 1, user_id: 'u1', ...e })) });
    await appendAll(run.project, 'strict', [bytes({ n: 1 }), bytes({ n: '2' }), { bytes: Buffer.from('{') }]);
    expect(await work(run)).toMatchObject({ rejected: 2, handled: 1 });
    const compiled = await define(run.dir, wants('z.coerce.number()'));
    await applyRegistry(run.project, compiled, { newVersion: true, consent: true });
    const now = { ...run, compiled };
    const results = await retryLetters(run.project, compiled, { seqs: [], all: true });
    expect(results).toEqual([
      { seq: 1, ok: true, what: 'appended', position: 'strict/0/3' },
      { seq: 2, ok: false, why: expect.stringContaining('not JSON') },
    ]);
    // Killed between the two steps it would be appended again: the event keeps the id of its first place.
    await run.project.bus.append('strict', [{ ...bytes({ n: '2' }), id: '0-1' }], 1);
    await work(now);
    expect(await valueAt(now, 'user.sum', 'u1')).toBe(3);
    expect(await letters(now)).toEqual([2]);
    await run.project.close();
  });
});

describe('an event that its sender repeats', () => {
  it('without its time gets the time of the first: counted once', async () => {
    const run = await newHandlers('again', MENDED);
    const publisher = new Publisher(run.project, run.compiled);
    const send = (event_id: string | undefined, more: object = {}) => publisher.publish([{ event: { event_type: 'click', event_id, ...more, payload: { user_id: 'u1' } } }]);
    for (let i = 0; i < 3; i++) {
      expect(await send('same')).toMatchObject([{ ok: true, event_id: 'same' }]);
      await sleep(5);
    }
    await publisher.publish([
      { event: { event_type: 'click', event_id: 'two', payload: { user_id: 'u1' } } },
      { event: { event_type: 'click', event_id: 'two', payload: { user_id: 'u1' } } },
    ]);
    await send('three', { timestamp: Date.now() });
    await send(undefined);
    expect(await work(run)).toMatchObject({ read: 7, applied: 4, duplicate: 3 });
    expect(await valueAt(run, 'user.n', 'u1', Date.now() + 60_000)).toBe(4);
    expect(await foldAt(run, 'user.f', 'u1', Date.now() + 60_000)).toBe(4);
    // One that says another time is another event: the sender knows.
    await send('three', { timestamp: Date.now() + 1_000 });
    expect(await work(run)).toMatchObject({ applied: 1 });
    await run.project.close();
  });

  it('in a stream without an id column, too', async () => {
    const run = await newHandlers(
      'again-position',
      `const plain = stream('plain', { id: 'position', time: 'ts', type: null }).event('plain', z.object({ user_id: z.string() }));
       export const n = feature(user, 'n', on(plain, { type: z.number(), handle: ({ current }) => (current ?? 0) + 1 }));`,
    );
    const publisher = new Publisher(run.project, run.compiled);
    for (let i = 0; i < 2; i++) {
      await publisher.publish([
        { event: { event_id: 'same', payload: { user_id: 'u1' } }, type: 'plain' },
        { event: { payload: { user_id: 'u1' } }, type: 'plain' },
      ]);
      await sleep(5);
    }
    await work(run);
    expect(await valueAt(run, 'user.n', 'u1', Date.now() + 60_000)).toBe(3);
    expect((await run.project.bus.bounds('plain')).end).toBe(4);
    expect(await run.project.online.counters(STREAM)).toEqual({});
    await run.project.close();
  });

  it('of one user and product with features of the same name: pushed values are apart', async () => {
    const run = await newHandlers(
      'same-name',
      `export const u = feature(user, 'score', pushed(z.number()));
       export const p = feature(product, 'score', pushed(z.number()));
       export const n = feature(user, 'n', on(click, { type: z.number(), handle: ({ set }) => { set(u, 1); set(p, 2); return 3; } }));`,
      eventsOf([{ product_id: 'p1' }]),
    );
    await work(run);
    expect([await valueAt(run, 'user.score', 'u1'), await valueAt(run, 'product.score', 'p1')]).toEqual([1, 2]);
    await run.project.close();
  });
});
