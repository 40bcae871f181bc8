import { compareUtf8 } from '../lib/text.ts';
import type { FilterPlan } from '../registry/types.ts';
import type { RowView } from './row.ts';
import type { ColumnValue } from './values.ts';

export type Predicate = (row: RowView) => boolean;

/** Compiles a filter to a predicate over encoded rows. Two-valued: a comparison with null is false, `not` is the complement. */
export function compileFilter(plan: FilterPlan, columnIndex: (name: string) => number): Predicate {
  switch (plan.op) {
    case 'and': {
      const all = plan.args.map(a => compileFilter(a, columnIndex));
      return row => all.every(p => p(row));
    }
    case 'or': {
      const any = plan.args.map(a => compileFilter(a, columnIndex));
      return row => any.some(p => p(row));
    }
    case 'not': {
      const inner = compileFilter(plan.arg, columnIndex);
      return row => !inner(row);
    }
    case 'isNull': {
      const at = columnIndex(plan.column);
      return row => row.col(at) === null;
    }
    case 'in': {
      const at = columnIndex(plan.column);
      return row => {
        const v = row.col(at);
        return v !== null && plan.values.some(x => compareValue(v, literal(v, x)) === 0);
      };
    }
    default:
      return comparison(plan.op, plan.value, columnIndex(plan.column));
  }
}

function comparison(op: 'eq' | 'gt' | 'gte' | 'lt' | 'lte', value: string | boolean, at: number): Predicate {
  const test = { eq: (c: number) => c === 0, gt: (c: number) => c > 0, gte: (c: number) => c >= 0, lt: (c: number) => c < 0, lte: (c: number) => c <= 0 }[op];
  const big = typeof value === 'string' && /^-?\d+$/.test(value) ? BigInt(value) : null;
  const num = big !== null && big >= -9007199254740991n && big <= 9007199254740991n ? Number(big) : big;
  return row => {
    const v = row.col(at);
    if (v === null) return false;
    return test(compareValue(v, typeof v === 'number' || typeof v === 'bigint' ? num : value));
  };
}

const literal = (sample: ColumnValue, x: string | boolean): ColumnValue => (typeof sample === 'number' || typeof sample === 'bigint' ? BigInt(x as string) : x);

/** Order of two non-null column values of one kind: strings by UTF-8 bytes, false before true, numbers by size. */
export function compareValue(a: ColumnValue, b: ColumnValue): number {
  if (typeof a === 'string' && typeof b === 'string') return compareUtf8(a, b);
  // biome-ignore lint/suspicious/noDoubleEquals: 1 == 1n is the point.
  if (a == b) return 0;
  return a! < b! ? -1 : 1;
}
