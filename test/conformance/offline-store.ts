/** What every offline store must do. */
import { afterEach, describe, expect, it } from 'vitest';
import { newAdmitState } from '../../src/engine/admit.ts';
import { Decoder } from '../../src/engine/decode.ts';
import { Router } from '../../src/engine/route.ts';
import type { EventBus } from '../../src/ports/event-bus.ts';
import type { HistoryRow, OfflineStore } from '../../src/ports/offline-store.ts';
import type { Lease, Mark, OnlineStore } from '../../src/ports/online-store.ts';
import type { Registry, WindowFeaturePlan } from '../../src/registry/types.ts';
import { prepare } from '../../src/runtime/batch.ts';
import { plain } from '../support/dump.ts';
import { bytesOf, CODE, days, type Fact, REGISTRY, STREAM, STRICTER, T0 } from './fixture.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const APPENDED = T0 + 100 * DAY;
const GRACE = 20 * 60_000;

export interface HistoryUnderTest {
  history: OfflineStore;
  other(): Promise<OfflineStore>;
  bus: EventBus;
  /** Gives the lease. */
  online: OnlineStore;
  /** Moves the store's clock; returns the new time. */
  pass(ms: number): number;
  close(): Promise<void>;
}

export function offlineStoreConformance(name: string, makeStore: () => Promise<HistoryUnderTest>): void {
  describe(`${name} as an offline store`, () => {
    const open: HistoryUnderTest[] = [];
    afterEach(async () => {
      for (const h of open.splice(0)) await h.close();
    });

    // Late, broken and odd ones among hourly events of four days.
    const facts: Fact[] = days(100);
    facts[40] = { ...facts[40]!, ts: T0 - 5 * DAY };
    // On time by ten minutes of lateness, late by one.
    facts[45] = { ...facts[45]!, ts: facts[44]!.ts - 5 * 60_000 };
    facts[50] = { ...facts[50]!, type: 'broken' };
    facts[51] = { ...facts[51]!, ts: APPENDED + DAY };
    facts[60] = { ...facts[60]!, id: 'odd "\u0000\' é \u{1f600}' };
    const plan = REGISTRY.streams[STREAM]!;

    /** A log with the facts, and the rows of it. */
    async function start() {
      const s = await makeStore();
      open.push(s);
      await s.bus.append(
        STREAM,
        facts.map((f, i) => ({ bytes: f.type === 'broken' ? Buffer.from('{broken') : bytesOf(f, i) })),
        APPENDED,
      );
      const lease = await s.online.lease();
      return { ...s, lease };
    }

    async function rowsBetween(s: { bus: EventBus }, from: Mark, to: number, registry: Registry = REGISTRY): Promise<{ rows: HistoryRow[]; mark: Mark }> {
      const pipe = { plan: registry.streams[STREAM]!, decoder: new Decoder(registry, STREAM, CODE.schemas), router: new Router([]), declared: new Set<string>() };
      const prepared = prepare(pipe, 0, await s.bus.poll(STREAM, 0, from.next, to - from.next), from);
      return { rows: prepared.history, mark: prepared.mark };
    }

    async function write(s: HistoryUnderTest & { lease: Lease }, to: number, step: number): Promise<void> {
      for (let mark = await s.history.mark(STREAM, 0); mark.next < to; mark = await s.history.mark(STREAM, 0)) {
        const { rows, mark: next } = await rowsBetween(s, mark, Math.min(to, mark.next + step));
        await s.history.write(plan, REGISTRY, 0, rows, next, s.lease);
      }
    }

    const scanned = async (history: OfflineStore, from = 0, to = 1_000) => {
      const out: { offset: number; appended: number; text: string }[] = [];
      for await (const batch of history.scan(STREAM, 0, from, to))
        for (const r of batch) out.push({ offset: r.offset, appended: r.appended, text: Buffer.from(r.bytes).toString() });
      return out;
    };
    const kept = facts.map((f, i) => ({ offset: i, appended: APPENDED, text: f.type === 'broken' ? '' : bytesOf(f, i).toString() })).filter(r => r.text !== '');
    const features = Object.values(REGISTRY.features) as WindowFeaturePlan[];

    /** Everything a view can tell. */
    async function seen(history: OfflineStore, registry: Registry = REGISTRY, upTo?: number): Promise<string> {
      const view = await history.open({ registry, code: CODE }, upTo === undefined ? undefined : { [`${STREAM}/0`]: upTo });
      try {
        const at = [T0 + 5 * HOUR, T0 + DAY + 1, T0 + 3 * DAY, T0 + 4 * DAY + HOUR];
        const rows = { at: [...at, ...at], keys: { user: [...at.map(() => ['u1']), ...at.map(() => ['u2'])], place: [...at.map(() => ['u1', 'r1']), ...at.map(() => null)] } };
        const cells = await view.ask(Object.values(registry.features) as WindowFeaturePlan[], rows, true);
        const events = await view.events('user', ['u0'], STREAM, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);
        return plain({ audit: await view.audit(STREAM), cells, events });
      } finally {
        await view.close();
      }
    }

    it('is empty at first, and shows the log as its tail', async () => {
      const s = await start();
      expect(await s.history.mark(STREAM, 0)).toEqual({ next: 0, admit: newAdmitState() });
      expect(await s.history.files()).toEqual([]);
      expect(await scanned(s.history)).toEqual([]);
      expect(await s.history.stale(plan)).toBe(false);
      expect(await s.history.compact(s.lease, s.pass(0))).toBe(0);
      const view = await s.history.open({ registry: REGISTRY, code: CODE });
      expect(await view.audit(STREAM)).toMatchObject({ rows: 99, late: 1, quarantined: 1, differ: 0 });
      await view.close();
      expect(features.length).toBeGreaterThan(5);
    });

    it('shows the same however much of the log is in files, and cut at a position', async () => {
      const s = await start();
      const [whole, half] = [await seen(s.history), await seen(s.history, REGISTRY, 70)];
      expect(half).not.toBe(whole);
      for (const to of [30, 55, 100]) {
        await write(s, to, 25);
        expect((await s.history.mark(STREAM, 0)).next).toBe(to);
        expect(await seen(s.history)).toBe(whole);
        expect(await seen(await s.other())).toBe(whole);
        expect(await seen(s.history, REGISTRY, 70)).toBe(half);
      }
    });

    it('gives back the original bytes in offset order, any part of them', async () => {
      const s = await start();
      await write(s, 100, 9);
      for (const [from, to] of [
        [0, 1_000],
        [0, 1],
        [9, 18],
        [45, 56],
        [50, 51],
        [99, 100],
        [100, 200],
      ] as const) {
        expect(await scanned(s.history, from, to)).toEqual(kept.filter(r => r.offset >= from && r.offset < to));
      }
    });

    it('lists files that cover the log once: offsets contiguous, rows counted', async () => {
      const s = await start();
      await write(s, 100, 20);
      const files = await s.history.files(STREAM);
      expect(files.reduce((n, f) => n + f.rows, 0)).toBe(kept.length);
      const ranges = [...new Set(files.map(f => `${f.from}-${f.to}`))].sort((a, b) => Number(a.split('-')[0]) - Number(b.split('-')[0]));
      expect(ranges).toEqual(['0-20', '20-40', '40-60', '60-80', '80-100']);
      for (const f of files) expect([f.stream, f.partition, f.minTs <= f.maxTs, f.bytes > 0]).toEqual([STREAM, 0, true, true]);
    });

    it('moves its mark over rejected events, also when a batch holds nothing else', async () => {
      const s = await start();
      await write(s, 50, 25);
      await write(s, 51, 1);
      expect((await s.history.mark(STREAM, 0)).next).toBe(51);
      await write(s, 100, 49);
      expect(await scanned(s.history)).toEqual(kept);
    });

    it('holds staged rows back until they are written, once', async () => {
      const s = await start();
      const whole = await seen(s.history);
      const { rows, mark } = await rowsBetween(s, await s.history.mark(STREAM, 0), 40);
      await s.history.stage(plan, REGISTRY, rows.slice(0, 15));
      expect(await s.history.files()).toEqual([]);
      expect(await seen(s.history)).toBe(whole);
      await s.history.stage(plan, REGISTRY, rows.slice(15, 30));
      await s.history.write(plan, REGISTRY, 0, rows.slice(30), mark, s.lease);
      expect(await scanned(s.history)).toEqual(kept.filter(r => r.offset < 40));
      await write(s, 100, 30);
      expect(await scanned(s.history)).toEqual(kept);
    });

    it('a write that fails leaves no row behind: the next one from the log has each once', async () => {
      const s = await start();
      await write(s, 20, 20);
      const { rows, mark } = await rowsBetween(s, await s.history.mark(STREAM, 0), 40);
      await s.history.stage(plan, REGISTRY, rows.slice(0, 10));
      const old = { ...s.lease, epoch: s.lease.epoch - 1 };
      await expect(s.history.write(plan, REGISTRY, 0, rows.slice(10), mark, old)).rejects.toMatchObject({ code: 'FENCED' });
      expect((await s.history.mark(STREAM, 0)).next).toBe(20);
      expect(await scanned(s.history)).toEqual(kept.filter(r => r.offset < 20));
      await write(s, 100, 20);
      expect(await scanned(s.history)).toEqual(kept);
    });

    it('joins small files without changing an answer; views opened before still answer, replaced files go late', async () => {
      const s = await start();
      await write(s, 100, 2);
      const before = await s.history.files();
      const whole = await seen(s.history);
      const view = await s.history.open({ registry: REGISTRY, code: CODE });
      const gone = await s.history.compact(s.lease, s.pass(1_000));
      expect(gone).toBeGreaterThan(20);
      const after = await s.history.files();
      expect(after.length).toBeLessThan(before.length / 2);
      expect(after.reduce((n, f) => n + f.rows, 0)).toBe(kept.length);
      expect(await seen(s.history)).toBe(whole);
      expect(await scanned(s.history)).toEqual(kept);
      expect((await view.audit(STREAM)).rows).toBe(kept.length);
      await view.close();
      await s.history.compact(s.lease, s.pass(GRACE));
      expect(await seen(s.history)).toBe(whole);
      expect(await scanned(await s.other(), 10, 60)).toEqual(kept.filter(r => r.offset >= 10 && r.offset < 60));
      const old = { ...s.lease, epoch: s.lease.epoch - 1 };
      await s.history.write(plan, REGISTRY, 0, [], { ...(await s.history.mark(STREAM, 0)), next: 101 }, s.lease);
      await expect(s.history.write(plan, REGISTRY, 0, [], { next: 102, admit: newAdmitState() }, old)).rejects.toMatchObject({ code: 'FENCED' });
    });

    it('knows files judged by other rules, answers by the new ones meanwhile, and rewrites them in one step', async () => {
      const s = await start();
      await write(s, 60, 15);
      const strict = STRICTER.streams[STREAM]!;
      expect(await s.history.stale(plan)).toBe(false);
      expect(await s.history.stale(strict)).toBe(true);
      const [loose, tight] = [await seen(s.history), await seen(s.history, STRICTER)];
      expect(tight).not.toBe(loose);
      // All rows anew, from the original bytes; a reader has either all old files or all new ones.
      const mark = await s.history.mark(STREAM, 0);
      let next: Mark = { next: 0, admit: newAdmitState() };
      async function* again() {
        for (let at = 0; at < 60; at += 20) {
          const part = await rowsBetween(s, next, at + 20, STRICTER);
          next = part.mark;
          yield part.rows;
          expect(await seen(s.history)).toBe(loose);
        }
      }
      await s.history.rewrite(strict, STRICTER, again(), () => ({ ...next, next: mark.next }), s.lease);
      expect(await s.history.stale(strict)).toBe(false);
      expect(await s.history.stale(plan)).toBe(true);
      expect(await seen(s.history, STRICTER)).toBe(tight);
      expect(await scanned(s.history)).toEqual(kept.filter(r => r.offset < 60));
      expect((await s.history.mark(STREAM, 0)).next).toBe(60);
    });
  });
}
