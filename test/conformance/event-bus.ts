/** What every log must do. */
import { afterEach, describe, expect, it } from 'vitest';
import type { EventBus, LogRecord } from '../../src/ports/event-bus.ts';

export interface BusUnderTest {
  bus: EventBus;
  /** A second handle onto the same log. */
  other(): Promise<EventBus>;
  close(): Promise<void>;
}

const record = (i: number, size = 40) => ({ bytes: Buffer.from(`${i}:${'x'.repeat(size)}`), id: i % 3 === 0 ? `id ${i} é` : null });
const numberOf = (r: LogRecord) => Number(Buffer.from(r.bytes).toString().split(':')[0]);

export function eventBusConformance(name: string, makeBus: () => Promise<BusUnderTest>): void {
  describe(`${name} as an event bus`, () => {
    const open: BusUnderTest[] = [];
    const fresh = async () => {
      const made = await makeBus();
      open.push(made);
      return made;
    };
    afterEach(async () => {
      for (const b of open.splice(0)) await b.close();
    });

    it('is empty at first', async () => {
      const { bus } = await fresh();
      expect(await bus.poll('s', 0, 0, 10)).toEqual([]);
      expect(await bus.bounds('s', 0)).toEqual({ start: 0, end: 0 });
      await bus.trim('s', 0, 10);
      await bus.trim('s', 0, -10);
      expect(await bus.append('s', [], 1)).toMatchObject({ first: 0 });
      expect(await bus.bounds('s', 0)).toEqual({ start: 0, end: 0 });
    });

    it('gives back what was appended, from any offset, any number at a time, on every handle', async () => {
      const { bus, other } = await fresh();
      let n = 0;
      // Batches small and large, records small and large: whatever is stored together, offsets count one by one.
      for (const size of [1, 2, 700, 1, 30]) {
        const batch = Array.from({ length: size }, (_, i) => record(n + i, (n + i) % 97 === 0 ? 300_000 : 40));
        const { partition, first } = await bus.append('s', batch, 1_000 + n);
        expect([partition, first]).toEqual([0, n]);
        n += size;
      }
      await bus.flushed();
      expect(await bus.partitions('s')).toEqual([0]);
      for (const handle of [bus, await other()]) {
        expect(await handle.bounds('s', 0)).toEqual({ start: 0, end: n });
        for (let from = 0; from <= n; from += from < 20 || from > 690 ? 1 : 37) {
          for (const max of [1, 5, 10_000]) {
            const got = await handle.poll('s', 0, from, max);
            expect(got.map(r => r.offset)).toEqual(Array.from({ length: Math.min(max, n - from) }, (_, i) => from + i));
            for (const r of got) expect([numberOf(r), r.id]).toEqual([r.offset, record(r.offset).id]);
          }
        }
        expect((await handle.poll('s', 0, 3, 1))[0]!.appended).toBe(1_003);
        expect(await handle.poll('s', 0, n, 5)).toEqual([]);
        expect(await handle.poll('s', 0, n + 5, 5)).toEqual([]);
      }
    });

    it('keeps bytes as they are and streams apart', async () => {
      const { bus } = await fresh();
      const odd = [Buffer.alloc(0), Buffer.from([0, 255, 128, 10]), Buffer.alloc(1_500_000, 7), Buffer.from('{"ü":"\u{1f600}"}')];
      for (const stream of ['a', 'a:b', 'a:', 'ä'])
        await bus.append(
          stream,
          odd.map(bytes => ({ bytes, id: stream })),
          5,
        );
      for (const stream of ['a', 'a:b', 'a:', 'ä']) {
        const got = await bus.poll(stream, 0, 0, 10);
        expect(got.map(r => Buffer.from(r.bytes).equals(odd[r.offset]!))).toEqual([true, true, true, true]);
        expect(got.map(r => [r.id, r.appended])).toEqual(odd.map(() => [stream, 5]));
      }
    });

    it('trims from the start: at least all from `before` on stays, and offsets are never used again', async () => {
      const { bus, other } = await fresh();
      for (let i = 0; i < 40; i++)
        await bus.append(
          's',
          Array.from({ length: 25 }, (_, j) => record(i * 25 + j)),
          1,
        );
      await bus.append('t', [record(0)], 1);
      for (const before of [0, 1, 300, 299, 999]) {
        await bus.trim('s', 0, before);
        const { start, end } = await (await other()).bounds('s', 0);
        expect(end).toBe(1_000);
        expect(start).toBeLessThanOrEqual(before === 299 ? 300 : before);
        if (before >= 300) expect(start).toBeGreaterThan(0);
        const got = await bus.poll('s', 0, start, 10_000);
        expect(got.map(r => r.offset)).toEqual(Array.from({ length: end - start }, (_, i) => start + i));
        // From a position that is gone, what is left comes; its offset tells.
        expect((await bus.poll('s', 0, 0, 1))[0]!.offset).toBe(start);
      }
      await bus.trim('s', 0, 5_000);
      expect((await bus.bounds('s', 0)).end).toBe(1_000);
      expect((await bus.append('s', [record(1_000)], 1)).first).toBe(1_000);
      expect((await bus.poll('s', 0, 1_000, 5)).map(r => r.offset)).toEqual([1_000]);
      expect((await bus.poll('t', 0, 0, 5)).length).toBe(1);
    });

    it('two appenders at once: no offset lost or given twice, each one in its own order', async () => {
      const { bus, other } = await fresh();
      const second = await other();
      const firsts: number[] = [];
      const run = async (b: EventBus, who: number) => {
        for (let i = 0; i < 100; i++) firsts.push((await b.append('s', [record(who + 2 * i), record(who + 2 * i)], 1)).first);
      };
      await Promise.all([run(bus, 0), run(second, 1)]);
      expect([...firsts].sort((a, b) => a - b)).toEqual(Array.from({ length: 200 }, (_, i) => 2 * i));
      const got = (await bus.poll('s', 0, 0, 1_000)).map(numberOf);
      for (const who of [0, 1]) expect(got.filter(n => n % 2 === who)).toEqual(Array.from({ length: 200 }, (_, i) => who + 2 * Math.floor(i / 2)));
    });

    it('gives an id the instant it was first given, on every handle and for each stream; forgets it after a day', async () => {
      const { bus, other } = await fresh();
      const DAY = 86_400_000;
      const now = Date.parse('2025-03-01T00:00:00Z');
      const long = 'x'.repeat(5_000);
      expect(await bus.stamp('s', [], now)).toEqual([]);
      expect(await bus.stamp('s', ['a', 'b', 'a', 'é', long], now)).toEqual(Array(5).fill(now));
      const second = await other();
      expect(await second.stamp('s', ['b', 'c', long], now + 5)).toEqual([now, now + 5, now]);
      expect(await second.stamp('t', ['a'], now + 6)).toEqual([now + 6]);
      expect(await bus.stamp('s', ['a', 'c'], now + DAY - 1)).toEqual([now, now + 5]);
      // Two senders of one id at once: both get the same.
      const both = await Promise.all([bus.stamp('s', ['twice'], now + 7), second.stamp('s', ['twice'], now + 8)]);
      expect(both[0]).toEqual(both[1]);
      // A day and more later, once others have written.
      const later = now + 3 * DAY;
      for (let i = 0; i < 5; i++) await bus.stamp('s', [`later ${i}`], later);
      expect(await second.stamp('s', ['a', 'later 0'], later + 9)).toEqual([later + 9, later]);
      expect((await bus.append('s', [record(0)], now)).first).toBe(0);
      expect((await bus.poll('s', 0, 0, 5)).length).toBe(1);
    });
  });
}
