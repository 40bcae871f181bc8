/** What every online store must do with events that wait for handlers. */
import { afterEach, describe, expect, it } from 'vitest';
import type { OnlineStore } from '../../src/ports/online-store.ts';
import type { StoreUnderTest } from './online-store.ts';
import { ALL, type Draft, doneOf, dueAt, failedOf, Feed, HOUR, LATENESS, NONE, queueOf, recorded, rowOf, rowsAt, T0, table, trigger } from './units.ts';

const mail = trigger('user.mail');
const both = trigger('user.both', ['log', 'web']);
const pushed = table('user.score');
const triggers = [mail, both];
const tables = [recorded(mail), recorded(both), pushed];
const NOW = T0 + 10 * HOUR;
const drafts = (text: string): Draft[] => text.split(' ').map((id, i) => ({ ts: T0 + i, id, key: id[0]! }));

export function onlineTurnConformance(name: string, makeStore: () => Promise<StoreUnderTest>): void {
  describe(`${name} as an online store: queues of handlers`, () => {
    const open: StoreUnderTest[] = [];
    const fresh = async (): Promise<StoreUnderTest> => {
      const made = await makeStore();
      open.push(made);
      await made.store.adopt([], { folds: [], triggers, tables });
      return made;
    };
    afterEach(async () => {
      for (const s of open.splice(0)) await s.close();
    });
    /** Events of pairs `a`, `b` … (the first letter is the key) in the queues of `mail`. */
    async function queued(text: string) {
      const s = await fresh();
      const lease = await s.store.lease();
      const feed = new Feed(s.store, { triggers: [mail] });
      await feed.commit(lease, drafts(text));
      return { ...s, lease, feed };
    }
    const look = async (s: OnlineStore) => ({
      due: await s.dueTurns(triggers, NOW, ALL, NONE),
      waiting: await s.waiting(triggers),
      rows: await rowsAt(s, recorded(mail), ['a', 'b'], NOW),
      pushed: await rowsAt(s, pushed, ['a', 'b'], NOW),
      outbox: await s.outbox(0, 100),
      dead: await s.deadCount(),
    });

    it('queues events by feature and key in the order of the log, oldest queue first, the same on every handle', async () => {
      const { store, other, feed, lease } = await queued('b1 a1 b2 c1 a2 b1');
      for (const s of [store, await other()]) {
        expect(await dueAt(s, triggers, NOW)).toEqual(['user.mail b: b1 b2 b1', 'user.mail a: a1 a2', 'user.mail c: c1']);
        expect(await s.waiting(triggers)).toEqual({ 'user.mail': 6, 'user.both': 0 });
      }
      const { queues } = await store.dueTurns([mail], NOW, ALL, NONE);
      expect(queues[0]!.turns[0]!.event).toMatchObject({ stream: 'log', partition: 0, offset: 0, ts: T0, id: 'b1', type: 'x', payload: '{"v":1}' });
      expect(queues.map(q => [q.current, q.version])).toEqual(Array(3).fill([null, 0]));
      const numbers = queues.flatMap(q => q.turns.map(t => t.seq));
      expect(new Set(numbers).size).toBe(6);
      // The same events once more, from the log again: none is new.
      const again = new Feed(store, { triggers: [mail] });
      again.mark = { next: 6, admit: feed.mark.admit };
      await again.commit(lease, drafts('b1 a1 b2 c1 a2 b1'));
      expect(again.last.turns.some(e => e.applied)).toBe(false);
      expect((await store.waiting([mail]))['user.mail']).toBe(6);
    });

    it('takes no more queues and turns than asked for, none that is busy, and says that there are more', async () => {
      const { store } = await queued('a1 b1 c1 a2 b2 a3');
      expect(await dueAt(store, [mail], NOW, { queues: 2, turns: 2 })).toEqual(['user.mail a: a1 a2', 'user.mail b: b1 b2']);
      expect((await store.dueTurns([mail], NOW, { queues: 2, turns: 2 }, NONE)).nextAt).toBe(NOW);
      expect((await store.dueTurns([mail], NOW, { queues: 3, turns: 2 }, NONE)).nextAt).toBeNull();
      const busy = new Set(['user.mail\u0000a', 'user.both\u0000b']);
      expect(await dueAt(store, [mail], NOW, { queues: 1, turns: 9 }, busy)).toEqual(['user.mail b: b1 b2']);
      expect(await dueAt(store, [], NOW)).toEqual([]);
    });

    it('a new handler starts where its streams are; a stream it was left out of falls behind', async () => {
      const { store, lease } = await fresh().then(async s => ({ ...s, lease: await s.store.lease() }));
      const feed = new Feed(store, { triggers: [mail] });
      await feed.commit(lease, drafts('a1 a2'));
      const late = trigger('user.late');
      await store.adopt([], { folds: [], triggers: [mail, late], tables });
      expect((await store.groupStatus(late, 'log'))!).toMatchObject({ ready: true, marks: { 0: { next: 2 } } });
      expect(await store.groupStatus(both)).toBeNull();
      const more = new Feed(store, { triggers: [mail, late] });
      more.mark = feed.mark;
      await more.commit(lease, drafts('a3'));
      expect(await dueAt(store, [late], NOW)).toEqual(['user.late a: a3']);
      feed.mark = more.mark;
      await feed.commit(lease, drafts('a4'));
      expect((await store.groupStatus(late, 'log'))!).toMatchObject({ ready: false, marks: { 0: { next: 3 } } });
    });

    it('commits outcomes: events leave, rows and pushed values come, all or nothing, and go to history', async () => {
      const { store, other, lease } = await queued('a1 a2 b1 a3');
      const q = await queueOf(store, mail, 'a');
      const outcome = doneOf(q, 2);
      const done = [
        { ...outcome.done[0]!, puts: [{ table: pushed, key: 'b', row: rowOf(T0, { text: '[7]' }) }] },
        { ...outcome.done[1]!, row: null },
      ];
      expect(await store.commitTurns(lease, [{ ...outcome, done }])).toEqual(['ok']);
      const after = await look(await other());
      expect(after).toMatchObject({ waiting: { 'user.mail': 2 }, rows: ['["a1"]', null], pushed: [null, '[7]'], dead: 0 });
      expect(after.outbox.map(r => [r.table.id, r.key, r.row.text])).toEqual([
        ['user.mail', 'a', '["a1"]'],
        ['user.score', 'b', '[7]'],
      ]);
      const now = await queueOf(store, mail, 'a');
      expect([now.version, now.current!.text, now.turns.map(t => t.event.id)]).toEqual([1, '["a1"]', ['a3']]);
      // What it returned counts after the event's instant, as everything an event brings does.
      expect(await rowsAt(store, recorded(mail), ['a'], T0)).toEqual([null]);
      expect(await rowsAt(store, recorded(mail), ['a'], T0 + 1)).toEqual(['["a1"]']);
      await store.commitTurns(lease, [doneOf(now, 1), doneOf(await queueOf(store, mail, 'b'), 1)]);
      expect(await dueAt(store, [mail], NOW)).toEqual([]);
      expect(await store.waiting([mail])).toEqual({ 'user.mail': 0 });
      // A table that is gone: nothing of the outcome happens.
      const feed = new Feed(store, { triggers: [mail] });
      feed.mark = await store.streamMark('log', 0);
      await feed.commit(lease, [{ ts: T0 + 9, id: 'a9', key: 'a' }]);
      const before = await look(store);
      const bad = doneOf(await queueOf(store, mail, 'a'), 1);
      const gone = { table: table('user.gone'), key: 'a', row: rowOf(T0) };
      await expect(store.commitTurns(lease, [{ ...bad, done: [{ ...bad.done[0]!, puts: [gone] }] }])).rejects.toMatchObject({ code: 'NOT_APPLIED' });
      expect(await look(store)).toEqual(before);
    });

    it('an outcome against another version is a conflict and changes nothing; events put behind are none', async () => {
      const { store, lease, feed } = await queued('a1 a2 a3');
      const q = await queueOf(store, mail, 'a');
      await feed.commit(lease, [{ ts: T0 + 8, id: 'a4', key: 'a' }]);
      expect(await store.commitTurns(lease, [doneOf(q, 1)])).toEqual(['ok']);
      const before = await look(store);
      expect(await store.commitTurns(lease, [doneOf(q, 2), failedOf(q, 'dead')])).toEqual(['conflict', 'conflict']);
      const now = await queueOf(store, mail, 'a');
      const skips = doneOf({ ...now, turns: now.turns.slice(1) }, 1);
      expect(await store.commitTurns(lease, [skips]), 'only the first ones').toEqual(['conflict']);
      expect(await look(store)).toEqual(before);
      expect(now.turns.map(t => t.event.id)).toEqual(['a2', 'a3', 'a4']);
      await store.adopt([], { folds: [], triggers: [both], tables });
      expect(await store.commitTurns(lease, [doneOf(now, 1)]), 'the handler is gone').toEqual(['conflict']);
    });

    it('under an old lease nothing is taken', async () => {
      const { store, lease, other } = await queued('a1 b1');
      await lease.release();
      await (await other()).lease();
      const before = await look(store);
      expect(await store.commitTurns(lease, [doneOf(await queueOf(store, mail, 'a'), 1), failedOf(await queueOf(store, mail, 'b'), 'dead')])).toEqual(['fenced', 'fenced']);
      expect(await store.settle(lease, [], triggers, 10)).toBe(false);
      expect(await look(store)).toEqual(before);
    });

    it('a failure holds its own pair until its time, and nobody else; its attempts stay', async () => {
      const { store, other, lease } = await queued('a1 a2 b1');
      expect(await store.commitTurns(lease, [failedOf(await queueOf(store, mail, 'a'), { retryAt: NOW + 5 })])).toEqual(['ok']);
      const reader = await other();
      expect(await dueAt(reader, triggers, NOW + 4)).toEqual(['user.mail b: b1']);
      expect((await reader.dueTurns(triggers, NOW + 4, ALL, NONE)).nextAt).toBe(NOW + 5);
      expect((await reader.dueTurns(triggers, NOW + 4, ALL, new Set(['user.mail\u0000a']))).nextAt).toBeNull();
      expect(await dueAt(reader, triggers, NOW + 5), 'the older event first').toEqual(['user.mail a: a1!1 a2', 'user.mail b: b1']);
      expect(await reader.waiting([mail])).toEqual({ 'user.mail': 3 });
      const q2 = await queueOf(store, mail, 'a');
      expect(await store.commitTurns(lease, [failedOf(q2, { retryAt: NOW + 50 })])).toEqual(['ok']);
      expect(await store.commitTurns(lease, [failedOf(q2, { retryAt: NOW + 99 })]), 'the same failure once more').toEqual(['conflict']);
      expect(await dueAt(reader, triggers, NOW + 50)).toEqual(['user.mail a: a1!2 a2', 'user.mail b: b1']);
      // Some done, then one that failed: that one starts with its own attempts.
      const q = await queueOf(store, mail, 'a');
      const [second] = q.turns.slice(1);
      const failed = { seq: second!.seq, attempts: 1, error: 'e', retryAt: NOW + 60 };
      expect(await store.commitTurns(lease, [{ ...doneOf(q, 1), failed }])).toEqual(['ok']);
      expect(await dueAt(reader, [mail], NOW + 60)).toEqual(['user.mail a: a2!1', 'user.mail b: b1']);
      expect(await rowsAt(reader, recorded(mail), ['a'], NOW)).toEqual(['["a1"]']);
    });

    it('a dead event leaves the queue with its letter, and goes back to the end of it once', async () => {
      const { store, other, lease } = await queued('a1 a2 b1');
      const log = { stream: 'log', partition: 0, offset: 99, at: T0, reason: 'not JSON', bytes: Buffer.from('{') };
      const feed = new Feed(store, { triggers: [mail] });
      feed.mark = await store.streamMark('log', 0);
      await feed.commit(lease, [], { dead: [log], mark: { ...feed.mark, next: 4 } });
      await store.commitTurns(lease, [failedOf(await queueOf(store, mail, 'a'), { retryAt: NOW })]);
      expect(await store.commitTurns(lease, [failedOf(await queueOf(store, mail, 'a'), 'dead')])).toEqual(['ok']);
      expect(await dueAt(store, [mail], NOW)).toEqual(['user.mail a: a2', 'user.mail b: b1']);
      const letters = await (await other()).deadLetters(0, 10);
      expect(letters.map(l => l.letter)).toEqual([
        log,
        {
          ...{ stream: 'log', partition: 0, offset: 0, at: T0 + 1, reason: 'no luck', bytes: Buffer.from('{"v":1}') },
          handler: { feature: 'user.mail', key: 'a', attempts: 2, event_type: 'x', event_id: 'a1', ts: T0 },
        },
      ]);
      const seqs = letters.map(l => l.seq);
      expect(await store.requeue([...seqs, 12_345], [both]), 'of another handler').toEqual([]);
      expect(await store.requeue([...seqs, 12_345], [mail])).toEqual([seqs[1]]);
      expect(await store.requeue(seqs, [mail])).toEqual([]);
      expect(await dueAt(store, [mail], NOW)).toEqual(['user.mail a: a2 a1', 'user.mail b: b1']);
      expect(await store.waiting([mail])).toEqual({ 'user.mail': 3 });
      expect(await store.deadCount()).toBe(1);
      expect(await store.purge([...seqs, 12_345])).toBe(1);
      expect(await store.deadCount()).toBe(0);
      // One that waits for nothing else is due at once.
      await store.commitTurns(lease, [doneOf(await queueOf(store, mail, 'a'), 2), failedOf(await queueOf(store, mail, 'b'), 'dead')]);
      expect(await dueAt(store, [mail], NOW)).toEqual([]);
      const [last] = await store.deadLetters(0, 10);
      expect(last!.seq, 'numbers are never used again').toBeGreaterThan(Math.max(...seqs));
      expect(await store.requeue([last!.seq], [mail])).toEqual([last!.seq]);
      expect(await dueAt(store, [mail], NOW)).toEqual(['user.mail b: b1']);
    });

    it('knows ids of events while they can come again on time, and no longer', async () => {
      const { store } = await fresh();
      const lease = await store.lease();
      const feed = new Feed(store, { triggers: [both] });
      const log = Array.from({ length: 300 }, (_, i): Draft => ({ ts: T0 + i * 60_000, id: `e${i}`, key: `k${i % 3}` }));
      await feed.commit(lease, log);
      let calls = 1;
      while (await store.settle(lease, [], triggers, 3)) calls++;
      expect(calls).toBeGreaterThan(1);
      const floor = Math.floor((feed.mark.admit.max! - LATENESS - HOUR) / HOUR) * HOUR;
      const before = (await store.waiting([both]))['user.both']!;
      // Past all admission (a worker would not), to see what is remembered.
      const batch = feed.batch(lease, []);
      const events = log.map((d, i) => ({ stream: 'log', partition: 0, offset: i, appended: d.ts, ts: d.ts, id: d.id, type: 'x', payload: '{}', applied: false }));
      const turns = [0, 1, 2].map(k => ({ unit: both, key: `k${k}`, events: events.filter((_, i) => i % 3 === k) }));
      await store.commit({ ...batch, mark: { ...batch.mark, next: batch.expect + 1 }, turns });
      expect(events.filter(e => e.applied).map(e => e.ts)).toEqual(log.filter(d => d.ts < floor).map(d => d.ts));
      expect((await store.waiting([both]))['user.both']).toBe(before + events.filter(e => e.applied).length);
    });

    it('forgets queues and what was recorded of handlers that are gone', async () => {
      const { store, lease } = await queued('a1 a2');
      await store.commitTurns(lease, [doneOf(await queueOf(store, mail, 'a'), 1)]);
      await store.adopt([], { folds: [], triggers: [both], tables: [recorded(both)] });
      expect(await dueAt(store, triggers, NOW)).toEqual([]);
      expect(await store.waiting(triggers)).toEqual({ 'user.mail': 0, 'user.both': 0 });
      expect(await rowsAt(store, recorded(mail), ['a'], NOW)).toEqual([null]);
      await store.adopt([], { folds: [], triggers, tables });
      expect(await dueAt(store, triggers, NOW)).toEqual([]);
      expect(await rowsAt(store, recorded(mail), ['a'], NOW)).toEqual([null]);
    });
  });
}
