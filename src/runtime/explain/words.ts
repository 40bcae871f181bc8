/** Plans as a reader would say them. */
import { formatDuration } from '../../lib/duration.ts';
import type { AggPlan, FilterPlan, FramePlan, Registry, TableFeaturePlan } from '../../registry/types.ts';

/** `1234` at 2 places -> `12.34`. */
export function decimalText(v: number | bigint, places: number): string {
  const digits = (v < 0 ? -BigInt(v) : BigInt(v)).toString().padStart(places + 1, '0');
  const cut = digits.length - places;
  const fraction = digits.slice(cut).replace(/0+$/, '');
  return `${v < 0 ? '-' : ''}${digits.slice(0, cut)}${fraction === '' ? '' : `.${fraction}`}`;
}

/** `sum(revenue) of purchase where currency = EUR`. */
export function aggText(agg: AggPlan, registry: Registry): string {
  const { n, q, column } = agg;
  const args = [column?.name, n === undefined ? undefined : String(n), q === undefined ? undefined : String(q.num / q.den)].filter(a => a !== undefined);
  const where = agg.where ? ` where ${filterText(agg.where, agg, registry)}` : '';
  return `${agg.op}${args.length > 0 ? `(${args.join(', ')})` : ''} of ${agg.events.join(', ')}${where}`;
}

const SIGN = { eq: '=', gt: '>', gte: '>=', lt: '<', lte: '<=' } as const;

function filterText(f: FilterPlan, agg: AggPlan, registry: Registry): string {
  const go = (x: FilterPlan): string => filterText(x, agg, registry);
  switch (f.op) {
    case 'and':
    case 'or':
      return f.args.length === 1 ? go(f.args[0]!) : `(${f.args.map(go).join(` ${f.op} `)})`;
    case 'not':
      return `not ${go(f.arg)}`;
    case 'isNull':
      return `${f.column} is null`;
    case 'in':
      return `${f.column} in (${f.values.map(v => literal(v, f.column, agg, registry)).join(', ')})`;
    default:
      return `${f.column} ${SIGN[f.op]} ${literal(f.value, f.column, agg, registry)}`;
  }
}

function literal(v: string | boolean, name: string, agg: AggPlan, registry: Registry): string {
  const column = registry.events[`${agg.stream}/${agg.events[0]}`]?.columns.find(c => c.name === name);
  return typeof v === 'string' && column && column.kind !== 'string' && column.kind !== 'bool' ? decimalText(BigInt(v), column.places ?? 0) : String(v);
}

export function frameText(frame: FramePlan): string {
  switch (frame.kind) {
    case 'over':
      return `over ${formatDuration(frame.w)}`;
    case 'tumbling':
      return `tumbling ${formatDuration(frame.w)}${frame.previous ? ', previous' : ''}`;
    case 'hopping':
      return `hopping ${formatDuration(frame.w)} by ${formatDuration(frame.h)}`;
    case 'session':
      return `per session, gap ${formatDuration(frame.gap)}`;
    default:
      return 'over its lifetime';
  }
}

/** Where a row comes from. */
export function viewText(registry: Registry, f: TableFeaturePlan): string {
  const view = registry.views[f.view]!;
  if (view.sql === null) return 'rows pushed from outside';
  const how = !view.materialize ? 'asked at every read' : view.every === null ? 'materialized by hand' : `materialized every ${formatDuration(view.every)}`;
  return `SQL over ${view.source}, ${how}`;
}
