/** Filter objects -> FilterPlan: literals checked against their column and scaled, so that no engine has to guess. */
import { scaleText } from '../lib/decimal.ts';
import { suggest } from '../lib/text.ts';
import { kindName } from './columns.ts';
import { isWellFormed } from './problems.ts';
import type { ColumnPlan, FilterPlan } from './types.ts';

export interface FilterScope {
  /** Reports a problem of the feature. */
  problem(message: string, hint?: string): void;
  /** The column all events of the aggregate share; null after the problem is reported. */
  column(name: string): ColumnPlan | null;
}

type Leaf = Extract<FilterPlan, { op: 'eq' | 'gt' | 'gte' | 'lt' | 'lte' }>['op'];
const OPERATORS = ['eq', 'in', 'gt', 'gte', 'lt', 'lte', 'not'] as const;
const ORDERED = new Set(['gt', 'gte', 'lt', 'lte']);

const all = (args: FilterPlan[]): FilterPlan | undefined => (args.length > 1 ? { op: 'and', args } : args[0]);
const isPlain = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** Undefined for a filter that lets all pass, or after a problem. */
export function compileFilter(filter: unknown, scope: FilterScope): FilterPlan | undefined {
  if (!isPlain(filter)) {
    scope.problem('a filter is not an object', 'Write where({ column: value }) or where({ column: { gt: 1 } }): filters are data, so that every engine can run them.');
    return undefined;
  }
  const args: FilterPlan[] = [];
  for (const key of Object.keys(filter).sort()) {
    const value = filter[key];
    const made = key === 'and' || key === 'or' ? group(key, value, scope) : key === 'not' ? negate(compileFilter(value, scope)) : onColumn(key, value, scope);
    if (made) args.push(made);
  }
  return all(args);
}

const negate = (arg: FilterPlan | undefined): FilterPlan | undefined => arg && { op: 'not', arg };

function group(op: 'and' | 'or', value: unknown, scope: FilterScope): FilterPlan | undefined {
  if (!Array.isArray(value) || value.length === 0) {
    scope.problem(`'${op}' needs a list of filters`, `Write ${op}: [{ … }, { … }].`);
    return undefined;
  }
  const args = value.map(v => compileFilter(v, scope)).filter(v => v !== undefined);
  return args.length > 1 ? { op, args } : args[0];
}

function onColumn(name: string, condition: unknown, scope: FilterScope): FilterPlan | undefined {
  const column = scope.column(name);
  return column ? compileCondition(column, condition, scope) : undefined;
}

function compileCondition(column: ColumnPlan, condition: unknown, scope: FilterScope): FilterPlan | undefined {
  if (!isPlain(condition)) {
    const value = literal(column, condition, scope);
    return value === undefined ? undefined : { op: 'eq', column: column.name, value };
  }
  const keys = Object.keys(condition).sort();
  if (!keys.length) scope.problem(`the condition on '${column.name}' is empty`, 'Write a value, or an operator: { gt: 1 }.');
  return all(keys.map(op => operator(column, op, condition[op], scope)).filter(v => v !== undefined));
}

function operator(column: ColumnPlan, op: string, value: unknown, scope: FilterScope): FilterPlan | undefined {
  if (!OPERATORS.includes(op as (typeof OPERATORS)[number])) {
    scope.problem(`'${op}' on '${column.name}' is not a filter operator`, suggest(op, OPERATORS));
    return undefined;
  }
  if (op === 'not') return negate(compileCondition(column, value, scope));
  if (op === 'in') return member(column, value, scope);
  if (ORDERED.has(op) && column.kind === 'bool') {
    scope.problem(`'${op}' does not apply to the boolean column '${column.name}'`, 'Use eq or not.');
    return undefined;
  }
  const scaled = literal(column, value, scope);
  return scaled === undefined ? undefined : { op: op as Leaf, column: column.name, value: scaled };
}

function member(column: ColumnPlan, value: unknown, scope: FilterScope): FilterPlan | undefined {
  if (!Array.isArray(value) || value.length === 0) {
    scope.problem(`'in' on '${column.name}' needs a list with at least one value`, "Write in: ['a', 'b'].");
    return undefined;
  }
  const values = value.map(v => literal(column, v, scope)).filter(v => v !== undefined);
  return { op: 'in', column: column.name, values };
}

function literal(column: ColumnPlan, value: unknown, scope: FilterScope): string | boolean | undefined {
  const wrong = (hint: string): undefined => scope.problem(`the filter on '${column.name}' has ${shown(value)}, the column is ${kindName(column)}`, hint) as undefined;
  if (value === null)
    return scope.problem(`the filter on '${column.name}' compares with null`, 'Null is missing, a comparison with it is always false: leave it out, or use not.') as undefined;
  switch (column.kind) {
    case 'bool':
      return typeof value === 'boolean' ? value : wrong('Write true or false.');
    case 'string':
      return typeof value === 'string' && isWellFormed(value) ? value : wrong('Write a text.');
    default:
      return number(column, value, scope, wrong);
  }
}

function number(column: ColumnPlan, value: unknown, scope: FilterScope, wrong: (hint: string) => undefined): string | undefined {
  const places = column.places ?? 0;
  if (typeof value !== 'bigint' && !(typeof value === 'number' && Number.isFinite(value))) return wrong('Write a number.');
  if (typeof value === 'bigint' && column.kind !== 'int64') return wrong('Write a plain number; BigInt is for int64 columns.');
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value) && column.kind !== 'decimal')
    return wrong('A number this large is not exact: use int64() and a BigInt (12n).');
  if (decimals(String(value)) > places)
    return scope.problem(
      `the filter on '${column.name}' has ${value}, more decimal places than ${kindName(column)} holds`,
      places ? `Values are rounded to ${places} places, so it could never be equal: shorten it or declare more places.` : 'Write a whole number.',
    ) as undefined;
  const scaled = scaleText(String(value), places);
  return scaled === null ? wrong('The number is outside 64 bits.') : String(scaled);
}

/** Decimal places of a number's shortest text: `1e-7` has 7. */
export function decimals(text: string): number {
  const m = /^-?\d+(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text);
  return m ? Math.max(0, (m[1]?.length ?? 0) - Number(m[2] ?? 0)) : 0;
}

const shown = (v: unknown): string => {
  if (typeof v === 'string') return `the text ${JSON.stringify(v)}`;
  if (typeof v === 'bigint') return `${v}n`;
  return Array.isArray(v) ? 'a list' : typeof v === 'object' ? 'an object' : String(v);
};
