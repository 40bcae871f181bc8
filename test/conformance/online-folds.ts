/** What every online store must do with folds, and with all that one commit moves. */
import { afterEach, describe, expect, it } from 'vitest';
import type { OnlineStore } from '../../src/ports/online-store.ts';
import { Driver, groupsOf, REGISTRY, STREAM } from './fixture.ts';
import type { StoreUnderTest } from './online-store.ts';
import { dueAt, type Draft, Feed, fold, foldsAt, HOUR, LATENESS, recorded, T0, trigger } from './units.ts';

const basket = fold('user.basket');
const both = fold('user.both', ['log', 'web']);
const mail = trigger('user.mail');
const units = { folds: [basket, both], triggers: [mail], tables: [recorded(mail)] };
const KEYS = ['u', 'v', 'é,1'];
const MINUTE = 60_000;

/** Every minute one or two, some late by less than the lateness, some twice. */
const log = (n: number, letter = 'e'): Draft[] =>
  Array.from({ length: n }, (_, i) => ({
    ts: T0 + (i - (i % 4 === 3 ? 7 : 0)) * MINUTE,
    id: i % 9 === 8 ? `${letter}${i - 3} ` : `${letter}${i} `,
    key: KEYS[i % 2 === 0 ? 0 : i % 3]!,
  }));

export function onlineFoldConformance(name: string, makeStore: () => Promise<StoreUnderTest>): void {
  describe(`${name} as an online store: folds`, () => {
    const open: StoreUnderTest[] = [];
    const fresh = async (): Promise<StoreUnderTest> => {
      const made = await makeStore();
      open.push(made);
      await made.store.adopt([], units);
      return made;
    };
    afterEach(async () => {
      for (const s of open.splice(0)) await s.close();
    });

    const instants = (drafts: readonly Draft[]) => [...new Set(drafts.flatMap(d => [d.ts, d.ts + 1]))];
    const all = async (store: OnlineStore, drafts: readonly Draft[]) => {
      const out: string[][] = [];
      for (const at of instants(drafts)) out.push(await foldsAt(store, units.folds, KEYS, at));
      return out;
    };

    async function filled(drafts: readonly Draft[], size: number): Promise<StoreUnderTest> {
      const s = await fresh();
      const lease = await s.store.lease();
      const feed = new Feed(s.store, units);
      for (let at = 0; at < drafts.length; at += size) expect(await feed.commit(lease, drafts.slice(at, at + size))).toEqual({ status: 'ok' });
      await lease.release();
      return s;
    }

    it('gives the value before any instant, in order of time, stream and id, for any batch size and on every handle', async () => {
      const drafts = log(120);
      const one = await filled(drafts, 1);
      const expected = await all(one.store, drafts);
      expect((await one.store.keys(basket, null, 10)).sort()).toEqual([...KEYS].sort());
      expect(await one.store.keys(basket, KEYS[2]!, 10)).toEqual([]);
      expect(new Set(expected.flat()).size).toBeGreaterThan(100);
      // The value before an instant is all that lies before it.
      for (const [i, at] of instants(drafts).entries()) {
        const ids = new Map(drafts.filter(d => d.key === 'u' && d.ts < at).map(d => [`${d.ts}/${d.id}`, d]));
        const ordered = [...ids.values()].sort((a, b) => a.ts - b.ts || (a.id < b.id ? -1 : 1));
        expect(expected[i]![0]).toBe(ordered.length ? `${ordered.map(d => d.id).join('')}@${ordered.at(-1)!.ts - T0}` : 'nothing');
      }
      for (const size of [7, 500]) {
        const other = await filled(drafts, size);
        expect(await all(other.store, drafts)).toEqual(expected);
        expect(await all(await other.other(), drafts)).toEqual(expected);
      }
    });

    it('sets `applied` before it asks for the counts, and drops copies in one batch or later', async () => {
      const { store } = await fresh();
      const lease = await store.lease();
      const feed = new Feed(store, units);
      const flags: boolean[][] = [];
      const count = () => {
        flags.push(feed.last.folds.filter((_, i) => i < feed.last.folds.length / 2).map(e => e.applied));
        flags.push(feed.last.turns.map(e => e.applied));
        return {};
      };
      const [a, again, b]: Draft[] = [
        { ts: T0, id: 'a' },
        { ts: T0, id: 'a' },
        { ts: T0 + 1, id: 'a' },
      ];
      await feed.commit(lease, [a!, again!, b!], { count });
      await feed.commit(lease, [{ ...a! }, { ts: T0, id: 'b' }], { count });
      expect(flags).toEqual([
        [true, false, true],
        [true, false, true],
        [false, true],
        [false, true],
      ]);
      expect(await foldsAt(store, [basket], ['u'], T0 + 9)).toEqual(['aba@1']);
      expect(await store.waiting([mail])).toEqual({ [mail.id]: 3 });
    });

    it('moves windows, folds, queues, marks and counters together, or nothing of them', async () => {
      const { store, other } = await fresh();
      const groups = groupsOf(REGISTRY);
      await store.adopt(groups, units);
      const old = await store.lease();
      await old.release();
      const lease = await store.lease();
      const feed = new Feed(store, units);
      await feed.commit(lease, log(20), { groups });
      const look = async (s: OnlineStore) => ({
        folds: await all(s, log(40)),
        due: await dueAt(s, [mail], T0),
        waiting: await s.waiting([mail]),
        marks: [await s.streamMark('log', 0), ...(await Promise.all([...groups, basket, both, mail].map(g => s.groupStatus(g, 'log'))))],
        counters: await s.counters('log'),
        dead: await s.deadCount(),
      });
      const before = await look(store);
      expect(before.marks.map(m => ('next' in m! ? m.next : m!.marks[0]!.next))).toEqual(Array(before.marks.length).fill(20));
      const next = log(40).slice(20);
      const dead = [{ stream: 'log', partition: 0, offset: 1, at: 1, reason: 'r', bytes: Buffer.from('b') }];
      expect(await feed.commit(old, next, { dead })).toEqual({ status: 'fenced' });
      expect(await feed.commit(lease, next, { dead, expect: 30 })).toEqual({ status: 'rollback', next: 20 });
      expect(await feed.commit(lease, next, { dead, mark: { ...feed.mark, next: 15 } })).toEqual({ status: 'dup' });
      const broken = () => {
        throw new Error('the last thing of a commit');
      };
      await expect(feed.commit(lease, next, { dead, count: broken })).rejects.toThrow('the last thing of a commit');
      await expect(feed.commit(lease, next, { dead, folds: [fold('user.other')] })).rejects.toMatchObject({ code: 'NOT_APPLIED' });
      expect(await look(store)).toEqual(before);
      expect(await feed.commit(lease, next, { groups })).toEqual({ status: 'ok' });
      expect(await look(await other())).not.toEqual(before);
      expect((await store.waiting([mail]))[mail.id]).toBe(new Set(log(40).map(d => d.ts + d.id + d.key)).size);
    });

    it('a new fold is not ready until it has caught up in all its streams, and then like one that was there from the start', async () => {
      const [first, second] = [log(60), log(50, 'w')];
      const clean = await fresh();
      const { store } = await fresh();
      const later = fold('user.later', ['log', 'web']);
      await clean.store.adopt([], { ...units, folds: [basket, later] });
      for (const s of [clean.store, store]) {
        const known = { folds: s === clean.store ? [basket, later] : [basket] };
        const lease = await s.lease();
        await new Feed(s, known, 'log').commit(lease, first);
        await new Feed(s, known, 'web').commit(lease, second);
        await lease.release();
      }
      await store.adopt([], { ...units, folds: [basket, later] });
      expect((await store.groupStatus(later, 'log'))!).toMatchObject({ ready: false, marks: { 0: { next: 0 } } });
      expect((await store.groupStatus(basket))!).toMatchObject({ ready: true, marks: { 0: { next: 60 } } });
      const counters = await store.counters('log');
      const lease = await store.lease();
      for (const [stream, drafts] of [
        ['web', second],
        ['log', first],
      ] as const) {
        const feed = new Feed(store, { folds: [later] }, stream);
        for (let at = 0; at < drafts.length; at += 20) {
          expect(await foldsAt(store, [later, basket], ['u'], T0 + HOUR)).toMatchObject(['not ready', expect.stringContaining('@')]);
          const { position } = await store.read([], { folds: [{ unit: later, key: 'u', at: T0 }], tables: [] });
          expect(position, 'what does not answer has no position').toEqual({});
          expect(await feed.commit(lease, drafts.slice(at, at + 20), { live: false })).toEqual({ status: 'ok' });
        }
        expect((await store.groupStatus(later, stream))!.ready).toBe(true);
        expect((await store.groupStatus(later))!.ready).toBe(stream === 'log');
      }
      expect(await store.counters('log'), 'a backfill counts nothing again').toEqual(counters);
      for (const at of instants([...first, ...second])) expect(await foldsAt(store, [later], KEYS, at)).toEqual(await foldsAt(clean.store, [later], KEYS, at));
      const { position } = await store.read([], { folds: [{ unit: later, key: 'u', at: T0 }], tables: [] });
      expect(position).toEqual({ 'log/0': 60, 'web/0': 50 });
    });

    it('a fold that a worker leaves out falls behind; one that is gone is forgotten, another hash starts anew', async () => {
      const { store } = await fresh();
      const drafts = log(30);
      const lease = await store.lease();
      const feed = new Feed(store, { folds: [basket] });
      await feed.commit(lease, drafts.slice(0, 10));
      expect((await store.groupStatus(both, 'log'))!.ready).toBe(false);
      expect(await foldsAt(store, [both, basket], ['u'], T0 + HOUR)).toEqual(['not ready', expect.stringContaining('@')]);

      await store.adopt([], { ...units, folds: [both] });
      expect(await store.groupStatus(basket)).toBeNull();
      await expect(feed.commit(lease, drafts.slice(10, 20))).rejects.toMatchObject({ code: 'NOT_APPLIED' });
      expect((await store.streamMark('log', 0)).next).toBe(10);
      const renewed = fold(basket.id, ['log'], 'h2');
      await store.adopt([], { ...units, folds: [both, renewed] });
      expect((await store.groupStatus(renewed))!).toMatchObject({ hash: 'h2', ready: false, marks: { 0: { next: 0 } } });
      await new Feed(store, { folds: [renewed] }).commit(lease, drafts.slice(0, 10), { live: false });
      expect(await foldsAt(store, [renewed], ['v'], T0)).toEqual(['nothing']);
      expect((await foldsAt(store, [renewed], ['u'], T0 + HOUR))[0]).toContain('e0 ');
      // Windows alone (as a registry without folds is adopted by a worker of before) leave folds as they are.
      await store.adopt([]);
      expect(await store.groupStatus(renewed)).not.toBeNull();
    });

    it('taken away and given back beside a running worker: it is told, so that nothing claims to hold what went', async () => {
      const { store } = await fresh();
      await store.adopt(groupsOf(REGISTRY), units);
      const lease = await store.lease();
      const feed = new Feed(store, units);
      const drafts = log(40);
      expect(await feed.commit(lease, drafts.slice(0, 20))).toEqual({ status: 'ok' });
      await store.adopt(groupsOf(REGISTRY), { folds: [both], triggers: [mail], tables: units.tables });
      await store.adopt(groupsOf(REGISTRY), units);
      await expect(feed.commit(lease, drafts.slice(20))).rejects.toMatchObject({ code: 'NOT_APPLIED', message: expect.stringContaining(basket.id) });
      expect((await store.groupStatus(basket, 'log'))!.ready).toBe(false);
      expect((await store.streamMark('log', 0)).next).toBe(20);
    });

    it('settles what nothing can precede: no read above changes, below it is said from where on they are known', async () => {
      const { store, other } = await fresh();
      const drafts = log(250);
      const old = await store.lease();
      await old.release();
      const lease = await store.lease();
      const feed = new Feed(store, { folds: [basket] });
      await feed.commit(lease, drafts);
      const at = drafts.flatMap(d => [d.ts, d.ts + 1]);
      const ask = async (s: OnlineStore) => Promise.all(at.map(t => foldsAt(s, [basket], KEYS, t)));
      const before = await ask(store);
      expect(await store.settle(old, [basket], [], 1_000)).toBe(false);
      expect(await ask(store)).toEqual(before);
      let calls = 1;
      while (await store.settle(lease, [basket], [], 2)) calls++;
      expect(calls).toBeGreaterThan(1);
      const after = await ask(await other());
      const floor = Math.floor((feed.mark.admit.max! - LATENESS - HOUR) / HOUR) * HOUR;
      let refused = 0;
      after.forEach((values, i) =>
        values.forEach((v, k) => {
          if (v.startsWith('below')) {
            refused++;
            expect(at[i]!).toBeLessThan(floor);
          } else expect([at[i], v]).toEqual([at[i], before[i]![k]]);
        }),
      );
      expect(refused).toBeGreaterThan(100);
      expect(refused).toBeLessThan(at.length * KEYS.length - 100);
      // What comes next builds on it, also out of order.
      const [last] = (await foldsAt(store, [basket], ['u'], T0 + 250 * MINUTE)) as [string];
      await feed.commit(lease, [
        { ts: T0 + 249 * MINUTE, id: 'z ' },
        { ts: T0 + 247 * MINUTE, id: 'y ' },
      ]);
      const [now] = (await foldsAt(store, [basket], ['u'], T0 + 250 * MINUTE)) as [string];
      expect(now.replace('y ', '').replace('z ', '').split('@')[0]).toBe(last.split('@')[0]);
      expect(now).toMatch(/y .*z @/);
      expect(await store.settle(lease, [basket], [], 2)).toBe(false);
    });

    it('answers folds and windows of a read from one commit', async () => {
      const { store, other } = await fresh();
      const groups = groupsOf(REGISTRY);
      const own = fold('user.own', [STREAM]);
      await store.adopt(groups, { folds: [own], triggers: [], tables: [] });
      const facts = Array.from({ length: 200 }, (_, i) => ({ ts: T0 + i, who: 'u', room: 'r' }));
      const driver = new Driver(store, REGISTRY, facts);
      const lease = await store.lease();
      const reader = await other();
      const user = groups.find(g => g.keyColumns.length === 1)!;
      const commit = (to: number) => {
        const feed = new Feed(store, { folds: [own] }, STREAM);
        feed.mark = driver.mark;
        const { folds, foldUpdates } = feed.batch(
          lease,
          facts.slice(driver.mark.next, to).map((f, i) => ({ ts: f.ts, id: `e${driver.mark.next + i} ` })),
        );
        return driver.commit(lease, to, { more: { folds: folds!, foldUpdates: foldUpdates! } });
      };
      let reads = 0;
      let done = false;
      const reading = (async () => {
        while (!done) {
          const { folds, answers, position } = await reader.read([{ group: user, key: 'u', at: T0 + HOUR, units: [0] }], {
            folds: [{ unit: own, key: 'u', at: T0 + HOUR }],
            tables: [],
          });
          const n = position[`${STREAM}/0`]!;
          const state = folds[0]!.state as { value: string[] } | null;
          expect([answers[0]!.states![0]!.n, state?.value.length ?? 0]).toEqual([n, n]);
          reads++;
          await new Promise(r => setImmediate(r));
        }
      })();
      for (let to = 4; to <= 200; to += 4) {
        expect(await commit(to)).toEqual({ status: 'ok' });
        await new Promise(r => setImmediate(r));
      }
      done = true;
      await reading;
      expect(reads).toBeGreaterThan(10);
    });
  });
}
