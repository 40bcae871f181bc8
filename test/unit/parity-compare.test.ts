/** What parity calls the same, how it measures what is not (CASES.md S56), and its reports. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { count, derive, entity, feature, fold, on, pushed, query, source, sql, stream } from '../../src/index.ts';
import type { Cell } from '../../src/engine/values.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import { listEdit, relativeError, sameCell, sameValue, Tally } from '../../src/runtime/parity/compare.ts';
import { parityFiles } from '../../src/runtime/parity/report.ts';
import { instantNear, random } from '../../src/runtime/parity/sample.ts';
import { scopeOf } from '../../src/runtime/parity/scope.ts';
import type { ParityReport } from '../../src/runtime/parity/types.ts';

const cell = (value: Cell['value'], ts: number | null = 1, status: Cell['status'] = 'PRESENT'): Cell => ({ value, status, ts });

describe('the same', () => {
  it('is bit for bit', () => {
    expect(sameValue(0.1 + 0.2, 0.3)).toBe(false);
    expect(sameValue(0, -0)).toBe(false);
    expect(sameValue(1, 1n)).toBe(false);
    expect(sameValue([1, 'a', null, 2n], [1, 'a', null, 2n])).toBe(true);
    expect(sameValue([1, 2], [2, 1])).toBe(false);
    expect(sameValue({ a: [1] }, { a: [1] })).toBe(true);
    expect(sameValue({ a: 1 }, { b: 1 })).toBe(false);
    expect(sameValue(null, [])).toBe(false);
  });
  it('takes status and time in', () => {
    expect(sameCell(cell(1), cell(1))).toBe(true);
    expect(sameCell(cell(1), cell(1, 2))).toBe(false);
    expect(sameCell(cell(null, null, 'NOT_FOUND'), cell(null, null, 'NULL_VALUE'))).toBe(false);
  });
});

describe('how far apart', () => {
  it('S56: lists [4,3,1,2] and [3,1] are two deletes and no insert', () => {
    expect(listEdit([4, 3, 1, 2], [3, 1])).toEqual({ deletes: 2, inserts: 0 });
    expect(listEdit([3, 1], [4, 3, 1, 2])).toEqual({ deletes: 0, inserts: 2 });
    expect(listEdit(['a'], ['b'])).toEqual({ deletes: 1, inserts: 1 });
    expect(listEdit([], [])).toEqual({ deletes: 0, inserts: 0 });
  });
  it('measures numbers between 0 and 2', () => {
    expect(relativeError(0, 0)).toBe(0);
    expect(relativeError(1, 3)).toBe(1);
    expect(relativeError(0, 5)).toBe(2);
    expect(relativeError(-1, 1)).toBe(2);
  });
  it('counts pairs', () => {
    const t = new Tally('f');
    expect(t.add(cell(1), cell(1))).toBe(true);
    expect(t.add(cell(1), cell(3))).toBe(false);
    expect(t.add(cell(null), cell(3))).toBe(false);
    expect(t.add(cell(3), cell(null))).toBe(false);
    expect(t.add(cell(null, null, 'NULL_VALUE'), cell(null, null, 'NULL_VALUE'))).toBe(true);
    expect(t.add(cell([4, 3, 1, 2]), cell([3, 1]))).toBe(false);
    t.skip();
    expect(t.counts).toEqual({
      feature: 'f',
      total: 6,
      both_null: 1,
      online_null: 1,
      offline_null: 1,
      mismatch: 4,
      smape: 0.5,
      max_error: 2,
      list_deletes: 2,
      list_inserts: 0,
      skipped: 1,
      nonempty: 5,
    });
  });
});

describe('the sample', () => {
  it('repeats with its seed and reaches every edge', () => {
    const edges = { after: [300_000], grids: [60_000] };
    const bounds = { from: 0, to: 10_000_000, whole: null };
    const list = (seed: number) => {
      const rnd = random(seed);
      return Array.from({ length: 3_000 }, () => instantNear(5_000_123, edges, bounds, rnd));
    };
    expect(list(3)).toEqual(list(3));
    expect(list(3)).not.toEqual(list(4));
    const seen = new Set(list(3));
    for (const t of [5_000_122, 5_000_123, 5_000_124, 5_300_122, 5_300_123, 5_300_124, 4_980_000, 4_979_999, 4_980_001, 5_040_000]) expect(seen, String(t)).toContain(t);
    expect([...seen].some(t => t > bounds.to)).toBe(true);
  });
});

const report: ParityReport = {
  ok: false,
  mode: 'live',
  p0: { compared: 6, mismatched: 1, features: [{ ...new Tally('user.a|b').counts, total: 6, mismatch: 1, max_error: 2, smape: 0.5 }, new Tally('user.none').counts] },
  left: [{ feature: 'user.rows', reason: 'its rows come from SQL' }],
  worst: [
    {
      feature: 'user.a|b',
      entity: 'user',
      key: ['<u>&"1"'],
      at: 1_000,
      online: cell(1n),
      offline: cell([1, 2]),
      recount: cell(1n),
      right: 'online',
      frame: { from: null, to: 1_000 },
      events: 1,
      offending: [{ stream: 's', id: 'e\u00011', ts: 5, type: 'view', offset: 7, columns: { n: 5n }, note: 'offline does not count it' }],
      inputs: null,
    },
  ],
  audit: [
    { stream: 's', rows: 3, ok: 2, late: 1, quarantined: 0, differ: 0 },
    { stream: 't', rows: 0, ok: 0, late: 0, quarantined: 0, differ: null },
  ],
  nonempty: 5,
  skipped: { expired: 1, backfilling: 0, moving: 0 },
  rows: 3,
  instants: { from: 0, to: 1_000 },
  position: { 's/0': 3 },
  seed: 1,
  seconds: 0.1,
};

describe('what is compared', () => {
  const user = entity('user', { key: 'user_id' });
  const buy = stream('s').event('buy', z.object({ user_id: z.string() }));
  const [bought, balance, told] = [
    feature(user, 'bought', count(buy).over('1h')),
    feature(user, 'balance', fold(buy, { state: z.number(), initial: 0, step: s => s + 1 })),
    feature(user, 'told', on(buy, { type: z.string(), handle: () => 'x' })),
  ];
  const given = feature(user, 'given', pushed(z.string()));
  const rows = feature(user, 'rows', query(source('o', { file: 'o.csv' }), sql`select 1`, { type: z.string() }));
  const sum = feature(user, 'sum', derive({ inputs: { bought, balance }, compute: ({ bought, balance }) => bought + (balance ?? 0) }));
  const over = feature(user, 'over', derive({ inputs: { told }, compute: ({ told }) => told }));
  const asks = feature(user, 'asks', derive({ inputs: { bought }, compute: async ({ bought }) => bought }));
  const kept = feature(user, 'kept', derive({ inputs: { bought }, cache: '1m', compute: ({ bought }) => bought }));
  const { registry } = compileDefinitions({ list: [bought, balance, told, given, rows, sum, over, asks, kept] });

  it('windows, folds, and derived features over them; the others say why not', () => {
    const { asked, left } = scopeOf(registry, undefined);
    expect([...asked].sort()).toEqual(['user.balance', 'user.bought', 'user.sum']);
    expect(Object.fromEntries(left.map(l => [l.feature, l.reason]))).toEqual({
      'user.told': expect.stringContaining('effects'),
      'user.given': expect.stringContaining('pushed'),
      'user.rows': expect.stringContaining('SQL'),
      'user.over': 'it reads user.told, which is not compared',
      'user.asks': expect.stringContaining('async'),
      'user.kept': expect.stringContaining('cache'),
    });
  });
  it('one that is asked for and cannot be is an error that says what to do', () => {
    expect(() => scopeOf(registry, ['user.bought', 'user.told'])).toThrow(
      expect.objectContaining({ code: 'NOTHING_COMPARED', hint: 'Leave it out: fabra parity --features user.bought' }),
    );
    expect(() => scopeOf(registry, ['user.bougt'])).toThrow(expect.objectContaining({ code: 'UNKNOWN_FEATURE' }));
    expect(scopeOf(registry, ['user.bought', 'user.told'], false)).toMatchObject({ asked: ['user.bought'], left: [{ feature: 'user.told' }] });
    expect(scopeOf(registry, ['user.sum'])).toEqual({ asked: ['user.sum'], left: [] });
  });
});

describe('the reports', () => {
  const files = parityFiles(report);
  it('are four files', () => expect(Object.keys(files)).toEqual(['parity_report.json', 'parity_report.md', 'parity_report.xml', 'parity_report.html']));
  it('JSON: times are ISO 8601, int64 is text', () => {
    const json = JSON.parse(files['parity_report.json']!);
    expect(json).toMatchObject({ ok: false, p0: { compared: 6, mismatched: 1 }, instants: { from: '1970-01-01T00:00:00.000Z' } });
    expect(json.worst[0]).toMatchObject({
      at: '1970-01-01T00:00:01.000Z',
      online: { value: '1', ts: '1970-01-01T00:00:00.001Z' },
      frame: { from: null },
      offending: [{ columns: { n: '5' } }],
    });
  });
  it('JUnit: a failure per feature that differs, skips for what was not compared, nothing XML forbids', () => {
    const xml = files['parity_report.xml']!;
    expect(xml).toContain('tests="5" failures="1" skipped="3"');
    expect(xml).toContain('name="user.rows"><skipped message="its rows come from SQL"/>');
    expect(xml).toContain('<failure message="1 of 6 values differ">');
    expect(xml).toContain('%3Cu%3E');
    expect(xml).not.toContain('\u0001');
    expect(xml).not.toContain('<u>');
  });
  it('what was left out is named with its reason', () => {
    expect(JSON.parse(files['parity_report.json']!).left_out).toEqual(report.left);
    expect(files['parity_report.md']).toContain('- not compared: user.rows: its rows come from SQL');
  });
  it('Markdown and HTML escape what they show', () => {
    expect(files['parity_report.md']).toContain('user.a\\|b');
    expect(files['parity_report.html']).not.toContain('<u>');
  });
});
