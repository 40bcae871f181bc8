import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AggState, finishAgg, finishCell, finishRatio } from '../../src/engine/finish.ts';
import { doubleToFraction, ratioToDouble, times } from '../../src/lib/rational.ts';
import type { AggPlan, FramePlan } from '../../src/registry/types.ts';
import { column, featurePlan, of } from '../oracle/build.ts';
import { ratioToDouble as naive } from '../oracle/exact.ts';

const PRICE = of(column('price', 'decimal', 2));
const INT = of(column('n', 'int'));
const BIG = of(column('big', 'int64'));
const agg = (op: AggPlan['op'], col?: AggPlan['column']): AggPlan => ({ op, stream: 's', events: ['e'], ...(col && { column: col }) });
const st = (state: Partial<AggState>): AggState => ({ n: 1, ts: 5, ...state });

describe('ratioToDouble', () => {
  const any = fc.oneof(fc.maxSafeInteger(), fc.bigInt({ min: -(2n ** 127n), max: 2n ** 127n }));
  it('is the correctly rounded quotient, whatever the sizes', () => {
    fc.assert(
      fc.property(any, any, (a, b) => BigInt(b) === 0n || Object.is(ratioToDouble(a, b), naive(BigInt(a), BigInt(b)))),
      { numRuns: 3000 },
    );
  });
  it('rounds halves to even and keeps no negative zero', () => {
    expect(ratioToDouble(2n ** 53n + 1n, 1n)).toBe(2 ** 53);
    expect(ratioToDouble(2n ** 53n + 3n, 1n)).toBe(2 ** 53 + 4);
    expect(Object.is(ratioToDouble(0, -7), 0)).toBe(true);
  });
  it('multiplies exactly and takes doubles apart', () => {
    expect(times(2 ** 30, 2 ** 30)).toBe(2n ** 60n);
    expect(times(3, 4)).toBe(12);
    expect(doubleToFraction(0.375)).toEqual([3, 8n]);
  });
});

describe('finishAgg', () => {
  it.each([
    ['count', agg('count'), { n: 3 }, 3],
    ['sum of decimals', agg('sum', PRICE), { s: 2990 }, 29.9],
    ['all-null sum', agg('sum', PRICE), { n: 0, s: 0 }, 0],
    ['int64 sum', agg('sum', BIG), { s: 7 }, 7n],
    ['avg', agg('avg', PRICE), { n: 3, s: 100 }, 1 / 3],
    ['avg of none', agg('avg', PRICE), { n: 0, s: 0 }, null],
    ['stddev of one', agg('stddev', INT), { n: 1, s: 4, q: 16n }, null],
    ['span', agg('span'), { min: 1000, max: 251_000 }, 250],
    ['span of none', agg('span'), { n: 0 }, null],
    ['list', agg('lastN', PRICE), { list: [150, null] }, [1.5, null]],
    ['empty list', agg('topK', PRICE), { n: 0 }, []],
    ['min of none', agg('min', PRICE), { n: 0, v: null }, null],
    ['last may be null', agg('last', PRICE), { n: 2, v: null }, null],
  ] as const)('%s', (_, plan, state, value) => {
    expect(finishAgg(plan, st({ ...state, list: 'list' in state ? [...state.list] : undefined }))).toEqual({ value });
  });
  it('S9 sample deviation', () => {
    const values = [2, 4, 4, 4, 5, 5, 7, 9];
    const q = values.reduce((sum, v) => sum + BigInt(v * v), 0n);
    expect(finishAgg(agg('stddev', INT), st({ n: 8, s: 40, q })).value).toBeCloseTo(2.138089935, 9);
  });
  it.each([
    ['int beyond 2^53-1', agg('sum', INT), 2n ** 53n],
    ['int64 beyond 2^63-1', agg('sum', BIG), 2n ** 63n],
    ['avg beyond int64', agg('avg', PRICE), -(2n ** 63n) - 1n],
  ])('overflow: %s', (_, plan, s) => {
    expect(finishAgg(plan, st({ s }))).toEqual({ value: null, error: 'OVERFLOW' });
  });
  it('the ends of int64 are still numbers', () => {
    expect(finishAgg(agg('sum', BIG), st({ s: -(2n ** 63n) })).value).toBe(-(2n ** 63n));
    expect(finishAgg(agg('sum', INT), st({ s: Number.MAX_SAFE_INTEGER })).value).toBe(Number.MAX_SAFE_INTEGER);
  });
});

describe('finishRatio', () => {
  const plan = { op: 'ratio', num: agg('sum', PRICE), den: agg('count') } as const;
  it('divides exactly, once', () => {
    expect(finishRatio(plan, st({ s: 10 }), st({ n: 3 })).value).toBe(10 / 300);
  });
  it('zero denominators, nulls and errors', () => {
    expect(finishRatio(plan, st({ s: 10 }), st({ n: 0 }))).toEqual({ value: null });
    expect(finishRatio({ ...plan, zero: -1 }, st({ s: 10 }), st({ n: 0 }))).toEqual({ value: -1 });
    expect(finishRatio({ ...plan, num: agg('avg', PRICE) }, st({ n: 0 }), st({ n: 2 }))).toEqual({ value: null });
    expect(finishRatio(plan, st({ s: 2n ** 64n }), st({ n: 2 }))).toEqual({ value: null, error: 'OVERFLOW' });
  });
});

describe('finishCell', () => {
  const window: FramePlan = { kind: 'over', w: 1000 };
  const life: FramePlan = { kind: 'lifetime' };
  const max = agg('max', INT);
  const none = st({ n: 0, v: null, ts: null });
  const f = (frame: FramePlan, rest = {}) => featurePlan('u', 'f', max, frame, rest);
  it('windows are present or null, never missing or old', () => {
    expect(finishCell(f(window, { ttl: 1 }), st({ v: 3 }), null, false, 10_000)).toEqual({ value: 3, status: 'PRESENT', ts: 5 });
    expect(finishCell(f(window), none, null, false, 10)).toEqual({ value: null, status: 'NULL_VALUE', ts: null });
    expect(finishCell(f(window, { default: 9 }), none, null, false, 10)).toEqual({ value: 9, status: 'PRESENT', ts: null });
  });
  it('lifetimes are missing, old, null or present', () => {
    expect(finishCell(f(life), none, null, false, 10).status).toBe('NOT_FOUND');
    expect(finishCell(f(life, { default: 9 }), none, null, false, 10)).toEqual({ value: 9, status: 'NOT_FOUND', ts: null });
    expect(finishCell(f(life, { ttl: 10 }), st({ v: 3 }), null, true, 15).status).toBe('PRESENT');
    expect(finishCell(f(life, { ttl: 10 }), st({ v: 3 }), null, true, 16)).toEqual({ value: null, status: 'OUTSIDE_MAX_AGE', ts: 5 });
    expect(finishCell(f(life), none, null, true, 10).status).toBe('NULL_VALUE');
  });
  it('an error is never replaced by the default', () => {
    const cell = finishCell(f(window, { default: 9 }), st({ error: 'CAP_EXCEEDED' }), null, true, 10);
    expect(cell).toEqual({ value: null, status: 'ERROR', ts: 5, reason: 'CAP_EXCEEDED' });
  });
});
