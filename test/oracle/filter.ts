import type { ColumnValue, DecodedEvent } from '../../src/engine/values.ts';
import type { FilterPlan } from '../../src/registry/types.ts';
import { compareValues, isNumber } from './exact.ts';

/** The column of an event; a column it does not have is null. */
export function columnOf(event: DecodedEvent, name: string): ColumnValue {
  return Object.hasOwn(event.columns, name) ? (event.columns[name] ?? null) : null;
}

/** Literals of numeric columns are scaled integer text. */
function literal(column: ColumnValue, value: string | boolean): ColumnValue {
  return isNumber(column) ? BigInt(value) : value;
}

/** Two-valued: null is missing and a comparison with it is false. */
export function passes(filter: FilterPlan | undefined, event: DecodedEvent): boolean {
  if (filter === undefined) return true;
  switch (filter.op) {
    case 'not':
      return !passes(filter.arg, event);
    case 'and':
    case 'or':
      return filter.op === 'and' ? filter.args.every(arg => passes(arg, event)) : filter.args.some(arg => passes(arg, event));
    case 'isNull':
      return columnOf(event, filter.column) === null;
    case 'in': {
      const value = columnOf(event, filter.column);
      return value !== null && filter.values.some(v => compareValues(value, literal(value, v)) === 0);
    }
    default: {
      const value = columnOf(event, filter.column);
      return value !== null && holds(filter.op, compareValues(value, literal(value, filter.value)));
    }
  }
}

function holds(op: 'eq' | 'gt' | 'gte' | 'lt' | 'lte', order: number): boolean {
  if (op === 'eq') return order === 0;
  if (op === 'gt') return order > 0;
  if (op === 'gte') return order >= 0;
  return op === 'lt' ? order < 0 : order <= 0;
}
