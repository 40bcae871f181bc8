import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { readInstant } from '../../src/lib/time.ts';
import { compileProject } from '../../src/registry/compile.ts';
import { readHeader, readRows, rowWriter } from '../../src/runtime/files/index.ts';
import { CLICKSTREAM_COLUMNS, clickstreamCounts, clickstreamLines, DEFAULT_SAMPLE, type SampleCounts, type SampleOptions } from '../../src/runtime/sample/clickstream.ts';
import { Heap } from '../../src/runtime/sample/heap.ts';
import { mix32, random, xoshiro128 } from '../../src/runtime/sample/random.ts';
import { writeClickstream } from '../../src/runtime/sample/write.ts';

const sample = (events: number, seed = 42): SampleOptions => ({ events, seed, day: '2025-01-15' });
const sha256 = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');
const text = (o: SampleOptions): string => `${[...clickstreamLines(o)].join('\n')}\n`;
/** Only the city may be quoted, and it is the last cell. */
const cells = (line: string): string[] => {
  const parts = line.split(',');
  return [...parts.slice(0, 11), parts.slice(11).join(',')];
};

/** The rules of docs/semantics.md in the plainest way, over the finished file: the schema by hand, no running anything. */
function naive(lines: string[]): SampleCounts {
  const counts: SampleCounts = { lines: 0, good: 0, outOfOrder: 0, duplicate: 0, late: 0, futureDated: 0, malformed: 0, byType: {} };
  const seen: { id: string; ts: number; keys: Set<string> }[] = [];
  const byId = new Map<string, typeof seen>();
  const known: number[] = [];
  let max = Number.NEGATIVE_INFINITY;
  for (const line of lines) {
    counts.lines++;
    const [id, at, user, session, type, product, price, , mobile] = cells(line) as [string, string, string, string, string, string, string, string, string];
    const ts = Date.parse(at);
    if (!id || Number.isNaN(ts) || !user || !session || !(price === '' || Number(price) >= 0) || !['true', 'false'].includes(mobile)) {
      counts.malformed++;
      continue;
    }
    if (ts > max + 2 * 86_400_000 && known.length > 0) {
      counts.futureDated++;
      continue;
    }
    known.push(ts);
    const wasMax = max;
    max = Math.max(max, ts);
    if (ts < wasMax - 600_000) {
      counts.late++;
      continue;
    }
    const keys = [`u ${user}`, `s ${user} ${session}`, ...(product ? [`p ${product}`] : [])];
    const earlier = byId.get(id) ?? [];
    byId.set(id, earlier);
    const fresh = keys.filter(k => !earlier.some(e => e.ts === ts && e.keys.has(k)));
    earlier.push({ id, ts, keys: new Set(keys) });
    if (fresh.length === 0) {
      counts.duplicate++;
      continue;
    }
    if (fresh.length < keys.length) throw new Error(`${id} is a duplicate for some keys only`);
    counts.good++;
    if (ts < wasMax) counts.outOfOrder++;
    counts.byType[type] = (counts.byType[type] ?? 0) + 1;
  }
  return counts;
}

describe('random numbers', () => {
  test('xoshiro128** gives the numbers of its reference code', () => {
    // State 1, 2, 3, 4: worked out from https://prng.di.unimi.it/xoshiro128starstar.c, also the vector of rand_xoshiro.
    const rng = xoshiro128(1, 2, 3, 4);
    expect([rng.u32(), rng.u32(), rng.u32(), rng.u32()]).toEqual([11520, 0, 5927040, 70819200]);
  });

  test('below(n) stays below n and reaches all; seeds beyond 2^32 differ; mix32 is MurmurHash3 fmix32', () => {
    const rng = random(7);
    const hits = new Map<number, number>();
    for (let i = 0; i < 60_000; i++) hits.set(rng.below(6), (hits.get(rng.below(6)) ?? 0) + 1);
    expect([...hits.keys()].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    expect(new Set([1, -1, 0, 2 ** 32, 2 ** 32 + 1, 2 ** 40].map(s => random(s).u32())).size).toBe(6);
    expect([mix32(0), mix32(1)]).toEqual([0, 0x514e28b7]);
  });

  test('the heap sorts, equal ones in the order they came', () => {
    const rng = random(3);
    const items = Array.from({ length: 500 }, (_, i) => ({ at: rng.below(50), i }));
    const heap = new Heap<{ at: number; i: number }>();
    for (const item of items) heap.push(item);
    const out = items.map(() => heap.pop()!);
    expect(out).toEqual([...items].sort((a, b) => a.at - b.at || a.i - b.i));
    expect(heap.pop()).toBeUndefined();
  });
});

describe('the sample clickstream', () => {
  test('the bytes are the same in every run and on every machine', () => {
    expect(text(sample(2000))).toBe(text(sample(2000)));
    expect(sha256(text(sample(2000)))).toBe('0283a22dabcdb08094dd389b589a8feff801e1166ea4b361163a32e485fa26c9');
    expect(text(sample(2000, 43))).not.toBe(text(sample(2000)));
  });

  test.each([
    [5_000, 42],
    [5_000, 7],
    [12_345, 1],
    [100_000, 42],
  ])('%d events, seed %d: a naive judge of the rows counts what the generator counts', (events, seed) => {
    const o = sample(events, seed);
    const [header, ...lines] = [...clickstreamLines(o)];
    expect(header).toBe(CLICKSTREAM_COLUMNS.join(','));
    const counts = clickstreamCounts(o);
    expect(naive(lines)).toEqual(counts);
    const of = (rate: number) => Math.floor((events * rate) / 10_000);
    expect(counts).toMatchObject({ lines: events, duplicate: of(80), late: of(60), futureDated: of(3), malformed: of(20) });
    expect(counts.good + counts.duplicate + counts.late + counts.futureDated + counts.malformed).toBe(events);
    expect(Object.values(counts.byType).reduce((a, b) => a + b)).toBe(counts.good);
    expect(counts.outOfOrder).toBeGreaterThan(of(150));
  });

  test.each([0, 1, 2, 3, 10, 100, 333])('any size works: %d', events => {
    const [, ...lines] = [...clickstreamLines(sample(events))];
    expect(naive(lines)).toEqual(clickstreamCounts(sample(events)));
    expect(lines).toHaveLength(events);
  });

  test('the default sample: a known day', () => {
    expect(clickstreamCounts(DEFAULT_SAMPLE)).toEqual({
      lines: 100_000,
      good: 98_370,
      outOfOrder: 2_670,
      duplicate: 800,
      late: 600,
      futureDated: 30,
      malformed: 200,
      byType: { page_view: 25_909, product_impression: 61_916, product_click: 7_831, add_to_cart: 1_847, purchase: 867 },
    });
  });

  test('it looks like a shop: funnel, popular products, returning users, currencies, mobile share, evening peak', () => {
    const rows = [...clickstreamLines(DEFAULT_SAMPLE)].slice(1).map(cells);
    const column = (i: number) => new Set(rows.map(r => r[i]!).filter(Boolean));
    const [users, sessions, products] = [column(2).size, column(3).size, column(5).size];
    expect(users).toBeGreaterThan(5_000);
    expect(users).toBeLessThan(8_000);
    expect(sessions).toBeGreaterThan(users * 1.4);
    expect(products).toBe(2_000);
    expect([...column(7)].sort()).toEqual(['CHF', 'CZK', 'EUR', 'GBP', 'PLN', 'SEK', 'USD']);
    expect([...column(9)].sort()).toEqual(['Android', 'Linux', 'Windows', 'iOS', 'macOS']);
    const mobile = rows.filter(r => r[8] === 'true').length / rows.length;
    expect(mobile > 0.5 && mobile < 0.7).toBe(true);
    const perHour = (h: string) => rows.filter(r => r[1]!.startsWith(`2025-01-15T${h}`)).length;
    expect(perHour('20')).toBeGreaterThan(8 * perHour('04'));
    const seen = new Map<string, number>();
    for (const r of rows) if (r[5]) seen.set(r[5], (seen.get(r[5]) ?? 0) + 1);
    const popularity = [...seen.values()].sort((a, b) => b - a);
    expect(popularity[0]!).toBeGreaterThan(20 * popularity[1000]!);
    expect(rows.filter(r => r[4] === 'page_view' && !r[5] && !r[6]).length).toBeGreaterThan(10_000);
    expect(rows.every(r => r[4] === 'page_view' || (r[5] && r[6]))).toBe(true);
  });

  test('a product has one price per currency, with two decimals; ids are unique but for duplicates', () => {
    const rows = [...clickstreamLines(DEFAULT_SAMPLE)].slice(1).map(cells);
    const prices = new Map<string, Set<string>>();
    for (const r of rows) {
      if (!r[6] || r[6] === 'n/a' || r[6].startsWith('-')) continue;
      expect(r[6]).toMatch(/^\d+\.\d\d$/);
      const key = `${r[5]} ${r[7]}`;
      prices.set(key, (prices.get(key) ?? new Set()).add(r[6]));
    }
    expect([...prices.values()].every(p => p.size === 1)).toBe(true);
    expect(new Set(rows.map(r => r[0])).size).toBe(rows.length - 800);
    expect(rows[0]![1]! >= '2025-01-15' && rows[0]![1]! < '2025-01-16').toBe(true);
  });

  test('the file holds the rows, is the same twice and leaves no part behind', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'fabra-sample-'));
    try {
      const counts = await writeClickstream(join(dir, 'a.csv.gz'), sample(3000));
      await writeClickstream(join(dir, 'b.csv.gz'), sample(3000));
      await writeClickstream(join(dir, 'c.csv'), sample(3000));
      const [a, b, c] = await Promise.all(['a.csv.gz', 'b.csv.gz', 'c.csv'].map(f => readFile(join(dir, f))));
      expect(counts).toEqual(clickstreamCounts(sample(3000)));
      expect(a!.equals(b!)).toBe(true);
      expect(gunzipSync(a!).toString()).toBe(text(sample(3000)));
      expect(c!.toString()).toBe(text(sample(3000)));
      // No time, no operating system in the gzip header.
      expect([...a!.subarray(4, 8), a![9]]).toEqual([0, 0, 0, 0, 255]);
      await expect(writeClickstream(join(dir, 'none', 'd.csv.gz'), sample(10))).rejects.toMatchObject({ code: 'ENOENT' });
      expect((await readdir(dir)).sort()).toEqual(['a.csv.gz', 'b.csv.gz', 'c.csv']);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });

  test('read back and typed by the template, exactly the malformed rows are rejected', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'fabra-sample-'));
    try {
      const file = join(dir, 'events.csv.gz');
      const counts = await writeClickstream(file, sample(20_000));
      const { registry, code } = await compileProject(join(import.meta.dirname, '../../templates/clickstream/features.ts'), dir);
      const header = (await readHeader(file))!;
      const events = new Map(Object.entries(registry.events).map(([key, e]) => [e.type, { schema: code.schemas.get(key)!, write: rowWriter(header, e.input) }]));
      const verdicts = { read: 0, rejected: 0 };
      for await (const { rows } of readRows(file)) {
        for (const row of rows) {
          verdicts.read++;
          const cells = row.values as Record<string, string>;
          const event = events.get(cells.event_type!)!;
          const parsed = event.schema.safeParse(JSON.parse(event.write(cells)));
          if (!parsed.success || !cells.event_id || readInstant(cells.event_ts) === null) verdicts.rejected++;
        }
      }
      expect(verdicts).toEqual({ read: 20_000, rejected: counts.malformed });
      const { events_raw } = registry.streams;
      expect(events_raw).toMatchObject({ lateness: 600_000, maxAhead: 172_800_000, id: { column: 'event_id' } });
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });

  test('bad options are refused', () => {
    expect(() => clickstreamCounts({ ...DEFAULT_SAMPLE, day: '2025-02-30' })).toThrow(/not a date/);
    expect(() => clickstreamCounts({ ...DEFAULT_SAMPLE, day: 'today' })).toThrow(/not a date/);
    expect(() => clickstreamCounts({ ...DEFAULT_SAMPLE, events: -1 })).toThrow(/whole number/);
    expect(() => clickstreamCounts({ ...DEFAULT_SAMPLE, seed: 0.5 })).toThrow(/whole number/);
  });
});
