/** One finish for rows, handlers and folds, online and over history. */
import { describe, expect, it } from 'vitest';
import { foldCell, rowCell } from '../../src/engine/cells.ts';
import type { FoldFeaturePlan, TableFeaturePlan } from '../../src/registry/types.ts';

const base = { id: 'u.f', entity: 'u', name: 'f', ttl: null, fingerprint: '', version: 1 };
const fold = (more: Partial<FoldFeaturePlan> = {}): FoldFeaturePlan => ({ ...base, kind: 'fold', events: [], code: '', type: { base: 'int64', list: false }, ...more });
const table = (more: Partial<TableFeaturePlan> = {}): TableFeaturePlan => ({ ...base, kind: 'table', view: 'u.f', at: 0, type: { base: 'int64', list: false }, ...more });
const row = (text: string, ts = 100) => ({ eff: ts, ts, created: null, text, gone: false });

describe('folds', () => {
  it('a bigint that 64 bits cannot hold is an error, not a digit too many', () => {
    expect(foldCell(fold(), { value: 2n ** 63n - 1n, ts: 5 }, 10)).toEqual({ value: 2n ** 63n - 1n, status: 'PRESENT', ts: 5 });
    expect(foldCell(fold({ default: '7' }), { value: 2n ** 63n, ts: 5 }, 10)).toEqual({ value: null, status: 'ERROR', ts: 5, reason: 'OVERFLOW' });
    expect(foldCell(fold(), { value: [1n, -(2n ** 63n) - 1n], ts: 5 }, 10).status).toBe('ERROR');
  });
  it('no event, too old, a value that throws', () => {
    expect(foldCell(fold({ default: '7' }), null, 10)).toEqual({ value: 7n, status: 'NOT_FOUND', ts: null });
    expect(foldCell(fold({ ttl: 4 }), { value: 1n, ts: 5 }, 10)).toEqual({ value: null, status: 'OUTSIDE_MAX_AGE', ts: 5 });
    expect(foldCell(fold({ ttl: 0 }), { value: 1n, ts: 5 }, 10 ** 12).status).toBe('PRESENT');
    expect(foldCell(fold({ default: '7' }), { error: 'no', ts: 5 }, 10)).toEqual({ value: null, status: 'ERROR', ts: 5, reason: 'COMPUTE: no' });
  });
});

describe('rows', () => {
  it('of age exactly the ttl count, a millisecond later they do not (P3, P4, T45)', () => {
    expect(rowCell(table({ ttl: 50 }), row('["9007199254740993"]'), 150)).toEqual({ value: 9007199254740993n, status: 'PRESENT', ts: 100 });
    expect(rowCell(table({ ttl: 50 }), row('["1"]'), 151)).toEqual({ value: null, status: 'OUTSIDE_MAX_AGE', ts: 100 });
  });
  it('gone or never there is NOT_FOUND, null is NULL_VALUE; a default stands for both', () => {
    expect(rowCell(table(), { ...row(''), gone: true }, 200)).toEqual({ value: null, status: 'NOT_FOUND', ts: null });
    expect(rowCell(table({ default: '9' }), row('[null]'), 200)).toEqual({ value: 9n, status: 'NULL_VALUE', ts: 100 });
  });
});
