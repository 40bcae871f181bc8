/** Filters as two-valued SQL: never NULL, so that NOT is the complement. */
import type { FilterPlan, Registry } from '../registry/types.ts';
import { anyOf, columnPlans, ident, integer, physicalColumn, text } from './columns.ts';

const OPERATOR = { eq: '=', gt: '>', gte: '>=', lt: '<', lte: '<=' } as const;

export function filterSql(registry: Registry, stream: string, events: readonly string[], filter: FilterPlan): string {
  const go = (f: FilterPlan): string => filterSql(registry, stream, events, f);
  switch (filter.op) {
    case 'and':
      return filter.args.length === 0 ? 'true' : `(${filter.args.map(go).join(' AND ')})`;
    case 'or':
      return filter.args.length === 0 ? 'false' : `(${filter.args.map(go).join(' OR ')})`;
    case 'not':
      return `(NOT ${go(filter.arg)})`;
    default:
      return leaf(registry, stream, events, filter);
  }
}

type Leaf = Exclude<FilterPlan, { op: 'and' | 'or' | 'not' }>;

function leaf(registry: Registry, stream: string, events: readonly string[], filter: Leaf): string {
  const plans = columnPlans(registry, stream, events, filter.column);
  if (plans.length === 0) return filter.op === 'isNull' ? 'true' : 'false';
  const column = anyOf(
    plans.map(p => ident(physicalColumn(p.name, p.kind, p.places))),
    'NULL',
  );
  const literal = (v: string | boolean): string => (typeof v === 'boolean' ? String(v) : plans[0]?.kind === 'string' ? text(v) : integer(v));
  if (filter.op === 'isNull') return `(${column} IS NULL)`;
  if (filter.op === 'in') return filter.values.length === 0 ? 'false' : `coalesce(${column} IN (${filter.values.map(literal).join(', ')}), false)`;
  return `coalesce(${column} ${OPERATOR[filter.op]} ${literal(filter.value)}, false)`;
}
