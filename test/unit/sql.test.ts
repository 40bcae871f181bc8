import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AggPlan, FilterPlan, FramePlan, WindowFeaturePlan } from '../../src/registry/types.ts';
import { ident, integer, physicalColumn, text } from '../../src/sql/columns.ts';
import { widthOf } from '../../src/sql/group.ts';
import { planFeatures } from '../../src/sql/plan.ts';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import { column, type Draft, entityPlan, ev, eventPlan, featurePlan, logOf, of, registry, streamPlan } from '../oracle/build.ts';
import { type Ask, SqlSubject } from './sql-subject.ts';

let db: Duck;
beforeAll(async () => {
  db = await Duck.open({ threads: 2 });
});
afterAll(() => db.close());

const NAME = column('name', 'string');
const BIG = column('big', 'int64');
const N = column('n', 'int');
const COLUMNS = [column('user_id', 'string'), column('shop', 'int'), NAME, BIG, N];
const HOUR: FramePlan = { kind: 'over', w: 3_600_000 };
const agg = (op: AggPlan['op'], col?: typeof NAME, rest: Partial<AggPlan> = {}): AggPlan => ({ op, stream: 'clicks', events: ['view'], ...(col && { column: of(col) }), ...rest });
const world = (features: WindowFeaturePlan[]) =>
  registry({
    entities: [entityPlan('user', ['user_id']), entityPlan('pair', ['user_id', 'shop'])],
    streams: [streamPlan('clicks')],
    events: [eventPlan('clicks', 'view', COLUMNS)],
    features,
  });
const view = (ts: number, columns: Draft['columns'], rest: Partial<Draft> = {}): Draft => ev('view', ts, { user_id: 'u1', ...columns }, rest);

/** Values of the features at T for one key. */
async function values(features: WindowFeaturePlan[], drafts: Draft[], T: number, key: (string | null)[] = ['u1'], entity = 'user'): Promise<unknown[]> {
  const plans = world(features);
  const subject = await SqlSubject.open(plans, { clicks: logOf(drafts) }, db);
  const cells = await subject.cells(features, [{ entity, key, T }]);
  await subject.close();
  return cells.map(c => c[0]?.value);
}

describe('text that becomes SQL', () => {
  it('is quoted', async () => {
    expect(physicalColumn('price', 'decimal', 2)).toBe('price:d2');
    expect(physicalColumn('device.mobile', 'bool')).toBe('device.mobile:b');
    expect(ident('a"b')).toBe('"a""b"');
    const nasty = `x'; DROP TABLE t; --\0"\\ é`;
    expect(await db.rows(`SELECT ${text(nasty)} AS v`)).toEqual([{ v: nasty }]);
    expect(() => integer('1; DROP TABLE t')).toThrow('not an integer');
    expect(await db.rows(`SELECT ${integer('9223372036854775808')} AS v`)).toEqual([{ v: 2n ** 63n }]);
  });
  it.each(["x'; drop table t;--", 'a\0b', '', '%', 'é\u{1F600}'])('a filter and a key of %j find just themselves', async name => {
    const where: FilterPlan = { op: 'eq', column: 'name', value: name };
    const feature = featurePlan('user', 'c', agg('count', undefined, { where }), HOUR);
    const drafts = [view(1, { name }), view(2, { name: `${name}x` }), view(3, { name: null }), view(4, { name, user_id: `${name}k` })];
    expect(await values([feature], drafts, 10)).toEqual([1]);
    expect(await values([feature], drafts, 10, [`${name}k`])).toEqual([1]);
  });
});

describe('the plan', () => {
  it('shares matches, slots, instants and tasks among features', () => {
    const frames: FramePlan[] = [HOUR, { kind: 'over', w: 1000 }, { kind: 'lifetime' }];
    const features = frames.flatMap((frame, i) =>
      (['count', 'sum', 'avg', 'min', 'max', 'countDistinct'] as const).map(op => featurePlan('user', `${op}${i}`, agg(op, op === 'count' ? undefined : N), frame)),
    );
    const [group] = planFeatures(world(features), features, true).groups;
    expect([group?.matches.length, group?.slots.length, group?.totals.length, group?.instants.length, group?.tasks.length]).toEqual([1, 2, 1, 4, 2]);
  });
  it('widens totals only when it must', () => {
    expect(widthOf(1000n, 1_000_000n)).toEqual({ sum: 'BIGINT', squares: 'BIGINT' });
    expect(widthOf(1000n, 2n ** 40n)).toEqual({ sum: 'BIGINT', squares: 'HUGEINT' });
    expect(widthOf(10n, 2n ** 63n)).toEqual({ sum: 'HUGEINT', squares: 'limbs' });
  });
});

describe('large numbers', () => {
  it('squares of the largest int64 values are exact', async () => {
    const [low, high] = [-(2n ** 63n) + 1n, 2n ** 63n - 1n];
    const drafts = [low, high, low, high, 3n].map((big, i) => view(i + 1, { big }));
    const features = (['stddev', 'min', 'max', 'sum', 'avg'] as const).map(op => featurePlan('user', op, agg(op, BIG), HOUR));
    const [stddev, ...rest] = await values(features, drafts, 10);
    expect(stddev).toBe(Math.sqrt((2 ** 63) ** 2));
    expect(rest).toEqual([low, high, 3n, 0.6]);
    const some = await values(
      [featurePlan('user', 'd', agg('stddev', BIG), HOUR)],
      [2n ** 40n, 2n ** 40n + 2n].map((big, i) => view(i + 1, { big })),
      10,
    );
    expect(some).toEqual([Math.SQRT2]);
  });
});

describe('keys', () => {
  const count = featurePlan('pair', 'c', agg('count'), HOUR);
  const pair = (user_id: string | null, shop: number | null, ts: number): Draft => view(ts, { user_id, shop });
  const drafts = [pair('a', 12, 1), pair('a1', 2, 2), pair('a', 12, 3), pair('', 12, 4), pair('a', null, 5), pair('a', -7, 6)];
  it.each([
    [['a', '12'], 2],
    [['a1', '2'], 1],
    [['a', '-7'], 1],
    [['a', '012'], 0],
    [['', '12'], 0],
    [['a', null], 0],
    [[null, null], 0],
  ] as const)('composite %j', async (key, n) => {
    expect(await values([count], drafts, 10, [...key], 'pair')).toEqual([n]);
  });
});

describe('duplicates', () => {
  const features = [featurePlan('user', 'c', agg('count'), HOUR), featurePlan('user', 'l', agg('last', N), HOUR)];
  it('the lowest place wins, per key, across partitions; another time is another event', async () => {
    const drafts = [
      view(5, { n: 1 }, { id: 'x', p: 1, o: 0 }),
      view(5, { n: 2 }, { id: 'x', p: 0, o: 9 }),
      view(5, { n: 3, user_id: 'u2' }, { id: 'x', p: 2, o: 0 }),
      view(6, { n: 4 }, { id: 'x', p: 3, o: 0 }),
    ];
    expect(await values(features, drafts, 6)).toEqual([1, 2]);
    expect(await values(features, drafts, 7)).toEqual([2, 4]);
    expect(await values(features, drafts, 7, ['u2'])).toEqual([1, 3]);
  });
});

describe('a key with many events', () => {
  it('tiles, lists and distinct over every range agree with plain arithmetic', async () => {
    const drafts = Array.from({ length: 700 }, (_, i) => view(i, { n: (i * 7919) % 263 }));
    const frames = [1, 2, 15, 16, 17, 33, 256, 300, 700].map((w): FramePlan => ({ kind: 'over', w }));
    const features = frames.flatMap((frame, i) =>
      (['min', 'max', 'countDistinct', 'percentile'] as const).map(op =>
        featurePlan('user', `${op}${i}`, agg(op, N, op === 'percentile' ? { q: { num: 9, den: 10 } } : {}), frame),
      ),
    );
    const plans = world(features);
    const subject = await SqlSubject.open(plans, { clicks: logOf(drafts) }, db);
    const asks: Ask[] = Array.from({ length: 60 }, (_, i) => ({ entity: 'user', key: ['u1'], T: 1 + i * 13 }));
    const cells = await subject.cells(features, asks, false);
    await subject.close();
    features.forEach((f, c) => {
      const w = f.frame.kind === 'over' ? f.frame.w : 0;
      asks.forEach(({ T }, r) => {
        const inside = drafts
          .filter(d => d.ts >= T - w && d.ts < T)
          .map(d => d.columns.n as number)
          .sort((a, b) => a - b);
        const distinct = new Set(inside).size;
        const expected = { min: inside[0], max: inside.at(-1), countDistinct: distinct, percentile: inside[Math.max(1, Math.ceil((9 * inside.length) / 10)) - 1] }[
          f.agg.op as 'min'
        ];
        expect(cells[c]?.[r]?.value, `${f.id} at ${T}`).toBe(expected ?? null);
      });
    });
  });
});

describe('the engine', () => {
  it('appends and streams typed columns', async () => {
    await db.run('CREATE TABLE typed (a BIGINT, b VARCHAR, c BOOLEAN, d INTEGER)');
    const n = 5000;
    const at = <T>(f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));
    await db.append('typed', [
      { type: 'BIGINT', values: at(i => (i % 3 === 0 ? null : i % 3 === 1 ? -i : 2n ** 60n + BigInt(i))) },
      { type: 'VARCHAR', values: at(i => (i === 7 ? 'a\0b' : `v${i}`)) },
      { type: 'BOOLEAN', values: at(i => i % 2 === 0) },
      { type: 'INTEGER', values: at(i => i) },
    ]);
    const rows = await db.rows('SELECT a, b, c, d, [a, 1] AS l, {x: d} AS s, a::HUGEINT * 2 AS h FROM typed');
    expect(rows.length).toBe(n);
    expect(rows[7]).toEqual({ a: -7, b: 'a\0b', c: false, d: 7, l: [-7, 1], s: { x: 7 }, h: -14 });
    expect(rows[8]).toEqual({ a: 2n ** 60n + 8n, b: 'v8', c: true, d: 8, l: [2n ** 60n + 8n, 1], s: { x: 8 }, h: 2n ** 61n + 16n });
    expect(rows[4998]?.a).toBe(null);
  });
  it('runs statements while a stream is open, and ends a stream early', async () => {
    let rows = 0;
    for await (const chunk of db.stream('SELECT * FROM range(10000)')) {
      rows += chunk.rows;
      await db.run('CREATE OR REPLACE TABLE between_chunks AS SELECT 1');
    }
    expect(rows).toBe(10_000);
    for await (const chunk of db.stream('SELECT * FROM range(10000)')) {
      expect(chunk.columns[0]?.[0]).toBe(0);
      break;
    }
  });
  it('speaks plainly of errors', async () => {
    await expect(db.run('SELECT * FROM nowhere')).rejects.toThrow(/nowhere/);
    await expect(db.rows('SELECT 1 +')).rejects.toThrow(/Parser Error/);
  });
});
