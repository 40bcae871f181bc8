/** What every online store must do. `makeStore` gives an empty one, and further handles onto the same data. */
import { afterEach, describe, expect, it } from 'vitest';
import { needs } from '../../src/engine/read.ts';
import { compareUtf8, joinKey } from '../../src/lib/text.ts';
import type { OnlineStore } from '../../src/ports/online-store.ts';
import { allKeys, dumpValues, plain } from '../support/dump.ts';
import { CODE, Driver, days, type Fact, groupsOf, readerOf, REGISTRY, STREAM, T0, USERS_ONLY } from './fixture.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const WHEN = [T0 + 90 * 60_000, T0 + 7 * HOUR + 1, T0 + DAY, T0 + 2 * DAY + 5];

export interface StoreUnderTest {
  store: OnlineStore;
  /** A second handle, as another process has it. */
  other(): Promise<OnlineStore>;
  close(): Promise<void>;
}

export function onlineStoreConformance(name: string, makeStore: () => Promise<StoreUnderTest>): void {
  describe(`${name} as an online store`, () => {
    const open: StoreUnderTest[] = [];
    const fresh = async (): Promise<StoreUnderTest> => {
      const made = await makeStore();
      open.push(made);
      return made;
    };
    afterEach(async () => {
      for (const s of open.splice(0)) await s.close();
    });

    const groups = groupsOf(REGISTRY);
    const [place, user] = [...groups].sort((a, b) => (a.id < b.id ? -1 : 1)) as [(typeof groups)[0], (typeof groups)[0]];
    const values = (store: OnlineStore, of = groups) => dumpValues(store, of, WHEN);

    async function filled(facts: readonly Fact[], batch = 16): Promise<StoreUnderTest & { driver: Driver }> {
      const s = await fresh();
      await s.store.adopt(groups);
      const driver = new Driver(s.store, REGISTRY, facts);
      const lease = await s.store.lease();
      await driver.all(lease, batch);
      await lease.release();
      return { ...s, driver };
    }

    it('commits once: again is dup, behind is rollback, an old lease is fenced, and none of the three changes anything', async () => {
      const { store } = await fresh();
      await store.adopt(groups);
      const driver = new Driver(store, REGISTRY, days(60));
      const old = await store.lease();
      expect(await driver.commit(old, 20)).toEqual({ status: 'ok' });
      await old.release();
      const lease = await store.lease();
      expect(lease.epoch).toBeGreaterThan(old.epoch);
      expect(await driver.commit(lease, 40)).toEqual({ status: 'ok' });
      const [before, counters, mark] = [await values(store), await store.counters(STREAM), await store.streamMark(STREAM, 0)];
      expect(mark.next).toBe(40);

      const start = { next: 0, admit: { max: null, ahead: 0, aheadMax: 0, behind: -1, behindMax: 0 } };
      expect(await driver.commit(lease, 20, { from: start })).toEqual({ status: 'dup' });
      expect(await driver.commit(lease, 40, { from: start })).toEqual({ status: 'dup' });
      expect(await driver.commit(lease, 60, { from: { ...mark, next: 50 } })).toEqual({ status: 'rollback', next: 40 });
      expect(await driver.commit(old, 60)).toEqual({ status: 'fenced' });
      expect(await store.trim(old, groups, 10)).toBe(false);
      expect(await values(store)).toEqual(before);
      expect(await store.counters(STREAM)).toEqual(counters);
      expect(await store.streamMark(STREAM, 0)).toEqual(mark);
      expect(await driver.commit(lease, 60)).toEqual({ status: 'ok' });
    });

    it('has one writer at a time', async () => {
      const { store, other } = await fresh();
      const lease = await store.lease();
      await expect((await other()).lease()).rejects.toMatchObject({ code: 'WRITER_BUSY', exitCode: 3 });
      await lease.release();
      const next = await (await other()).lease();
      expect(next.epoch).toBeGreaterThan(lease.epoch);
      await lease.release();
      await expect(store.lease()).rejects.toMatchObject({ code: 'WRITER_BUSY' });
      await next.release();
    });

    it('gives the same values and counters for any batch size, in memory of every handle', async () => {
      const facts = days(150, 20 * 60_000);
      const one = await filled(facts, 1);
      const seven = await filled(facts, 7);
      const big = await filled(facts, 500);
      expect(await values(seven.store)).toEqual(await values(one.store));
      expect(await values(big.store)).toEqual(await values(one.store));
      expect(await values(await big.other())).toEqual(await values(one.store));
      expect(await seven.store.counters(STREAM)).toEqual(await one.store.counters(STREAM));
      expect(await big.store.streamMark(STREAM, 0)).toEqual(await one.store.streamMark(STREAM, 0));
    });

    it('drops what has the same time and id, in one batch or later, and counts it', async () => {
      const facts: Fact[] = [
        { ts: T0, id: 'a', who: 'u', room: 'r' },
        { ts: T0, id: 'a', who: 'u', room: 'r' },
        { ts: T0 + 1, id: 'a', who: 'u', room: 'r' },
        { ts: T0 + 2, id: 'b', who: 'u', room: 'r', type: 'broken' },
        { ts: T0, id: 'a', who: 'u', room: 'r' },
        // Another key of the same event: new for that one, so the event is applied.
        { ts: T0, id: 'a', who: 'v', room: 'r' },
      ];
      const { store } = await filled(facts, 4);
      expect(await store.counters(STREAM)).toMatchObject({ look: { read: 5, applied: 3, duplicate: 2 }, '(other)': { read: 1, rejected: 1 } });
      const read = await readerOf(store, REGISTRY).read({ features: ['user.ever'], rows: [{ who: 'u' }, { who: 'v' }], at: T0 + 10 });
      expect(read.cells.map(c => c[0]!.value)).toEqual([2, 1]);
      expect(await store.deadCount()).toBe(1);
      const [dead] = await store.deadLetters(0, 10);
      expect(dead!.letter).toMatchObject({ stream: STREAM, partition: 0, offset: 3, reason: 'broken' });
      expect(await store.deadLetters(dead!.seq, 10)).toEqual([]);
    });

    it('orders by time, then id by its UTF-8 bytes, whatever came first', async () => {
      const ids = ['ä', 'a', '\u{1f600}', '\uffee', 'B', 'a\u0000'];
      const facts = ids.map((id, i): Fact => ({ ts: T0 + (i === 4 ? 1 : 0), id, who: 'u', room: id }));
      const expected = [...facts].sort((a, b) => a.ts - b.ts || compareUtf8(a.id!, b.id!)).reverse();
      for (const order of [facts, [...facts].reverse()]) {
        const { store } = await filled(order, 2);
        const { cells } = await readerOf(store, REGISTRY).read({ features: ['user.rooms'], rows: [{ who: 'u' }], at: T0 + 10 });
        expect(cells[0]![0]!.value).toEqual(expected.slice(0, 3).map(f => f.room));
      }
    });

    it('reads to the millisecond around the start of every node, also of hot keys', async () => {
      // Busy enough to be split down to the second; on the boundary of a day, an hour, a minute, a second, and before 1970.
      for (const at of [T0, T0 + 5 * HOUR, T0 + 5 * HOUR + 60_000, T0 + 61_000, Date.parse('1969-12-31T12:00:00Z')]) {
        for (const n of [1, 300]) {
          const { store } = await filled(
            Array.from({ length: n }, (): Fact => ({ ts: at, who: 'u', room: 'r', type: 'buy', price: 7 })),
            500,
          );
          const reader = readerOf(store, REGISTRY);
          for (const d of [-1, 0, 1, 2, 3, 4, 5, 999, 1_000, 1_001]) {
            const { cells } = await reader.read({ features: ['user.ever', 'user.n_1d', 'user.spent_6h', 'user.visit'], rows: [{ who: 'u' }], at: at + d });
            const there = d > 0 ? n : 0;
            expect([at, n, d, ...cells[0]!.map(c => c.value ?? 0)]).toEqual([at, n, d, there, there, (there * 7) / 100, there]);
          }
          const late = await reader.read({ features: ['user.n_1d', 'user.spent_6h'], rows: [{ who: 'u' }], at: at + DAY });
          expect(late.cells[0]!.map(c => c.value)).toEqual([n, 0]);
          const later = await reader.read({ features: ['user.n_1d'], rows: [{ who: 'u' }], at: at + DAY + 1 });
          expect(later.cells[0]![0]!.value).toBe(0);
        }
      }
    });

    it('answers all items of a read from one commit', async () => {
      const { store, other } = await fresh();
      await store.adopt(groups);
      // Every event goes to both groups under one key: their lifetime and window counts must always agree with the position.
      const facts = Array.from({ length: 400 }, (_, i): Fact => ({ ts: T0 + i, who: 'u', room: 'r' }));
      const driver = new Driver(store, REGISTRY, facts);
      const lease = await store.lease();
      const reader = readerOf(await other(), REGISTRY);
      let done = false;
      let reads = 0;
      const reading = (async () => {
        while (!done) {
          const { cells, position } = await reader.read({ features: ['user.ever', 'user.n_1d', 'place.n_1d'], rows: [{ who: 'u', room: 'r' }], at: T0 + HOUR });
          expect(cells[0]!.map(c => c.value ?? 0)).toEqual(Array(3).fill(position[`${STREAM}/0`]));
          reads++;
          await new Promise(r => setImmediate(r));
        }
      })();
      while (driver.mark.next < facts.length) {
        await driver.commit(lease, driver.mark.next + 4);
        await new Promise(r => setImmediate(r));
      }
      done = true;
      await reading;
      expect(reads).toBeGreaterThan(10);
    });

    it('keeps odd keys apart and lists each once, page by page', async () => {
      const odd = [
        'a',
        'aa',
        'a\u0000',
        '\u0000',
        'a:b',
        'a,b',
        'a%2Cb',
        '%',
        ':',
        '1:a',
        'é',
        'e\u0301',
        '\u{1f600}',
        '\uffee',
        ' ',
        'A',
        '/',
        '__proto__',
        'x'.repeat(1_024),
        'x'.repeat(1_023),
        'ü'.repeat(512),
      ];
      const pairs: [string, string][] = [
        ['a:b', 'c'],
        ['a', 'b:c'],
        ['ab', 'c'],
        ['a', 'bc'],
        ['1:a', '1:b'],
        ['1', 'a1:b'],
        ['x'.repeat(512), 'y'.repeat(512)],
      ];
      const facts: Fact[] = [];
      odd.forEach((who, i) => {
        for (let n = 0; n <= i; n++) facts.push({ ts: T0 + n, id: `k${i}-${n}`, who });
      });
      pairs.forEach(([who, room], i) => {
        for (let n = 0; n <= i; n++) facts.push({ ts: T0 + n, id: `p${i}-${n}`, type: 'buy', who: `${who}`, room });
      });
      const { store } = await filled(facts, 50);
      const reader = readerOf(store, REGISTRY);
      const single = await reader.read({ features: ['place.n_1d'], rows: pairs.map(([who, room]) => ({ who, room })), at: T0 + HOUR });
      expect(single.cells.map(c => c[0]!.value)).toEqual(pairs.map((_, i) => i + 1));
      const expected = odd.map((who, i) => i + 1 + pairs.reduce((n, [w], j) => n + (w === who ? j + 1 : 0), 0));
      const users = await reader.read({ features: ['user.ever'], rows: odd.map(who => ({ who })), at: T0 + HOUR });
      expect(users.cells.map(c => c[0]!.value)).toEqual(expected);

      const listed = await allKeys(store, user);
      expect([...listed].sort()).toEqual([...new Set([...odd, ...pairs.map(p => p[0])])].sort());
      expect([...(await allKeys(store, place))].sort()).toEqual(pairs.map(p => joinKey(p)).sort());
      for (const page of [1, 3, 7]) {
        const paged: string[] = [];
        for (let after: string | null = null; ; ) {
          const keys: string[] = await store.keys(user, after, page);
          paged.push(...keys);
          if (keys.length < page) break;
          after = keys[keys.length - 1]!;
        }
        expect(paged).toEqual(listed);
      }
    });

    it('trims whole days behind the floor: nothing above it changes, below it a read is AS_OF_EXPIRED before and after', async () => {
      const { store, driver } = await filled(days(24 * 6 * 4, 15 * 60_000), 50);
      const reader = readerOf(store, REGISTRY);
      const status = (await store.groupStatus(user))!;
      expect(status.floor).toBe(driver.mark.admit.max! - user.retention);
      const floor = status.floor!;
      const features = Object.values(REGISTRY.features);
      const rows = Array.from({ length: 4 }, (_, i) => ({ who: `u${i}`, room: `r${i}` }));
      const instants = [floor, floor + 1, floor + 6 * HOUR, floor + DAY, floor + DAY + 12_345, driver.mark.admit.max! + 1, driver.mark.admit.max! + 40 * HOUR];
      const ask = async () => {
        const out: string[] = [];
        for (const at of instants) {
          for (const f of features) {
            const want = { features: [f.id], rows, at };
            const old = f.kind === 'window' && needs(f.frame, at) < floor;
            if (old) await expect(reader.read(want)).rejects.toMatchObject({ code: 'AS_OF_EXPIRED' });
            else out.push(plain([f.id, at, (await reader.read(want)).cells]));
          }
        }
        return out;
      };
      const before = await ask();
      expect(before.length).toBeGreaterThan(25);
      const deep = { group: user, key: 'u1', at: T0 + DAY, units: user.units.filter(u => u.frame.plan.kind === 'over' && u.slot.op === 'count').map(u => u.index) };
      const detail = async () => (await store.read([deep])).answers[0]!.states![0]!.n;
      expect(await detail()).toBeGreaterThan(0);
      const lease = await store.lease();
      let calls = 1;
      while (await store.trim(lease, groups, 3)) calls++;
      expect(calls).toBeGreaterThan(1);
      expect(await detail()).toBe(0);
      expect(await ask()).toEqual(before);
      expect((await store.groupStatus(user))!.floor).toBe(floor);
      expect(await store.trim(lease, groups, 3)).toBe(false);
      // What was folded away still counts, and what comes next adds to it.
      const ever = async () => (await reader.read({ features: ['user.ever'], rows: [{ who: 'u1' }], at: driver.mark.admit.max! + HOUR })).cells[0]![0]!.value as number;
      expect(await ever()).toBe(24 * 6);
      expect((await allKeys(store, user)).length).toBe(4);
    });

    it('a new group reads as not ready until its backfill has caught up, and then like one that was there from the start', async () => {
      const facts = days(100);
      const clean = await filled(facts);
      const { store } = await fresh();
      const before = groupsOf(USERS_ONLY);
      await store.adopt(before);
      const driver = new Driver(store, USERS_ONLY, facts);
      const lease = await store.lease();
      while (driver.mark.next < 80) await driver.commit(lease, driver.mark.next + 20);

      await store.adopt(groups);
      expect((await store.groupStatus(place))!).toMatchObject({ ready: false, marks: { 0: { next: 0 } } });
      expect((await store.groupStatus(user))!).toMatchObject({ ready: true, marks: { 0: { next: 80 } } });
      const reader = readerOf(store, REGISTRY);
      const ask = () => reader.read({ features: ['user.ever', 'place.n_1d'], rows: [{ who: 'u1', room: 'r1' }], at: T0 + 81 * HOUR });
      const counters = await store.counters(STREAM);
      const back = new Driver(store, REGISTRY, facts);
      for (const to of [30, 60, 80]) {
        const { cells, position } = await ask();
        expect(cells[0]![1]).toMatchObject({ status: 'DEFAULTED', reason: 'backfilling' });
        expect(position[`${STREAM}/0`], 'position of what was answered').toBe(80);
        expect(await back.commit(lease, to, { groups: [place], live: false })).toEqual({ status: 'ok' });
      }
      expect(await store.counters(STREAM), 'a backfill counts nothing again').toEqual(counters);
      expect((await store.groupStatus(place))!.ready).toBe(true);
      expect((await ask()).cells[0]![1]!.status).toBe('PRESENT');
      await back.all(lease);
      expect(await values(store)).toEqual(await values(clean.store));
      expect(await store.counters(STREAM)).toEqual(await clean.store.counters(STREAM));
    });

    it('a group that a worker leaves out falls behind, also one that was there before the first event', async () => {
      const { store } = await fresh();
      await store.adopt(groups);
      expect((await store.groupStatus(place))!.ready).toBe(true);
      const lease = await store.lease();
      const facts = days(40);
      const unaware = new Driver(store, USERS_ONLY, facts);
      await unaware.commit(lease, 20);
      expect((await store.groupStatus(place))!.ready).toBe(false);
      expect((await store.groupStatus(user))!.ready).toBe(true);
      const back = new Driver(store, REGISTRY, facts);
      await back.commit(lease, 20, { groups: [place], live: false });
      expect((await store.groupStatus(place))!.ready).toBe(true);
      await back.all(lease);
      expect(await values(store)).toEqual(await values((await filled(facts)).store));
    });

    it('forgets groups that are gone, and starts anew when they come back', async () => {
      const { store, driver } = await filled(days(40));
      const users = groupsOf(USERS_ONLY);
      const kept = await values(store, users);
      await store.adopt(users);
      expect(await store.groupStatus(place)).toBeNull();
      expect(await store.keys(place, null, 10)).toEqual([]);
      expect(await values(store, users)).toEqual(kept);
      const lease = await store.lease();
      // A worker that has not heard of it stops, and nothing moves.
      const mark = await store.streamMark(STREAM, 0);
      const late = new Driver(store, REGISTRY, [...driver.facts, { ts: T0 + 50 * HOUR, who: 'u1', room: 'r1' }]);
      late.mark = driver.mark;
      await expect(late.commit(lease, 41)).rejects.toMatchObject({ code: 'NOT_APPLIED' });
      expect(await store.streamMark(STREAM, 0)).toEqual(mark);
      expect(await values(store, users)).toEqual(kept);
      await store.adopt(groups);
      expect((await store.groupStatus(place))!).toMatchObject({ ready: false, marks: { 0: { next: 0 } } });
      expect(await store.keys(place, null, 10)).toEqual([]);
    });

    it('has nothing at first', async () => {
      const { store } = await fresh();
      expect(await store.streamMark(STREAM, 0)).toMatchObject({ next: 0, admit: { max: null } });
      expect(await store.groupStatus(user)).toBeNull();
      expect(await store.counters(STREAM)).toEqual({});
      expect(await store.deadCount()).toBe(0);
      expect(await store.keys(user, null, 5)).toEqual([]);
      expect((await store.read([{ group: user, key: 'u', at: T0, units: [0] }])).answers).toEqual([{ states: null, floor: null }]);
      await store.adopt(groups);
      expect((await store.groupStatus(user))!).toMatchObject({ ready: true, floor: null });
      expect(CODE.derives.size).toBe(0);
    });
  });
}
