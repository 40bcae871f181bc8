/** Aggregates and their frames -> plans, with every argument checked as the types would have in the editor. */
import type { AggNode, RatioNode } from '../define/aggregate.ts';
import type { Feature } from '../define/feature.ts';
import type { EventDef } from '../define/stream.ts';
import { isEvent, sides } from './collect.ts';
import { kindName, suggestColumn } from './columns.ts';
import { compileFilter, decimals } from './filters.ts';
import type { Problems } from './problems.ts';
import type { AggOp, AggPlan, ColumnKind, ColumnPlan, EventPlan, FramePlan, RatioPlan, ValueType } from './types.ts';

export interface AggContext {
  problems: Problems;
  feature: Feature;
  label: string;
  /** Plan of an event; undefined when its own problems are already reported. */
  plan(event: EventDef): EventPlan | undefined;
}

const NUMBERS: ColumnKind[] = ['int', 'decimal', 'int64'];
const ANY: ColumnKind[] = ['string', 'bool', ...NUMBERS];
/** Column kinds an aggregate takes; null when it takes no column. */
const TAKES: Record<AggOp, ColumnKind[] | null> = {
  count: null,
  span: null,
  sum: NUMBERS,
  avg: NUMBERS,
  stddev: NUMBERS,
  percentile: NUMBERS,
  approxPercentile: NUMBERS,
  min: ['string', ...NUMBERS],
  max: ['string', ...NUMBERS],
  countDistinct: ANY,
  approxCountDistinct: ANY,
  first: ANY,
  last: ANY,
  firstN: ANY,
  lastN: ANY,
  topK: ANY,
};
const LISTS = new Set(['firstN', 'lastN', 'topK']);
/** A list longer than this is an export, not a feature. */
const MAX_N = 10_000;
const MAX_CAP = 10_000_000;

/** Null after problems were reported. */
export function compileAgg(node: AggNode | RatioNode, frame: FramePlan, context: AggContext): AggPlan | RatioPlan | null {
  const { problems, feature, label } = context;
  const plans = sides(node).map(side => compileSide(side, context));
  const [first, second] = plans;
  if (!('num' in node)) return first ?? null;
  if (!first || !second) return null;
  for (const side of plans) {
    const type = side && valueTypeOf(side);
    if (type && (type.list || type.base === 'string' || type.base === 'boolean')) problems.add(feature, `${label}: a ratio needs numbers, ${side.op} is none`);
  }
  if (frame.kind === 'session' && first.stream !== second.stream)
    problems.add(
      feature,
      `${label}: a ratio per session takes both sides from one stream, these are '${first.stream}' and '${second.stream}'`,
      'A session is a run of events of one stream.',
    );
  if (node.zero !== undefined && !Number.isFinite(node.zero)) problems.add(feature, `${label}: zero must be a finite number`);
  return { op: 'ratio', num: first, den: second, ...(node.zero !== undefined && { zero: node.zero + 0 }) };
}

function compileSide(node: AggNode, context: AggContext): AggPlan | null {
  const { problems, feature, label } = context;
  const events = [...new Set(node.events)];
  if (!events.length || !events.every(isEvent)) {
    problems.add(
      feature,
      `${label}: ${node.op}() was given something that is not an event`,
      'Use values made by stream.event(…); one that is declared further down is not there yet.',
    );
    return null;
  }
  const streams = [...new Set(events.map(e => e.stream))];
  if (streams.length > 1) {
    problems.add(
      feature,
      `${label}: ${node.op}() takes events of one stream, these are of ${streams.map(s => `'${s.name}'`).join(' and ')}`,
      'Make one feature per stream and combine them with derive.',
    );
    return null;
  }
  checkKey(events, context);
  const before = problems.list.length;
  const column = columnFor(node, events, context);
  const where =
    node.where && compileFilter(node.where, { problem: (m, hint) => problems.add(feature, `${label}: ${m}`, hint), column: name => sharedColumn(name, events, context) });
  const numbers = argumentsOf(node, context);
  if (problems.list.length > before) return null;
  return { op: node.op as AggOp, stream: streams[0]!.name, events: events.map(e => e.type).sort(), ...(column && { column }), ...(where && { where }), ...numbers };
}

/** The entity's key must be in every event, as something that reads as a text. */
function checkKey(events: EventDef[], context: AggContext): void {
  const { problems, feature, label } = context;
  for (const event of events) {
    const plan = context.plan(event);
    for (const key of plan ? feature.entity.key : []) {
      const column = plan!.columns.find(c => c.name === key);
      const what = `${label}: the event '${event.type}'`;
      if (!column) problems.add(feature, `${what} has no column '${key}', a key of entity '${feature.entity.name}'`, suggestColumn(key, plan!.columns));
      else if (column.kind === 'bool' || column.kind === 'decimal')
        problems.add(feature, `${what} has '${key}' as ${kindName(column)}: a key is a string or an integer`, 'Declare it as z.string(), z.int() or int64().');
    }
  }
}

/** A column that all events have, of one kind; nullable when it is in one of them. */
function sharedColumn(name: string, events: EventDef[], context: AggContext): ColumnPlan | null {
  const { problems, feature, label } = context;
  let shared = null as ColumnPlan | null;
  for (const event of events) {
    const plan = context.plan(event);
    if (!plan) return null;
    const column = plan.columns.find(c => c.name === name);
    if (!column) {
      problems.add(feature, `${label}: the event '${event.type}' has no column '${name}'`, suggestColumn(name, plan.columns));
      return null;
    }
    if (shared && kindName(shared) !== kindName(column)) {
      problems.add(feature, `${label}: '${name}' is ${kindName(shared)} in one event and ${kindName(column)} in '${event.type}'`, 'Give it the same type in each event.');
      return null;
    }
    shared = { ...column, nullable: column.nullable || (shared?.nullable ?? false) };
  }
  return shared;
}

function columnFor(node: AggNode, events: EventDef[], context: AggContext): AggPlan['column'] | undefined {
  const kinds = TAKES[node.op as AggOp];
  if (!kinds) return undefined;
  const column = sharedColumn(String(node.column), events, context);
  if (!column) return undefined;
  if (!kinds.includes(column.kind)) {
    context.problems.add(
      context.feature,
      `${context.label}: ${node.op} does not apply to '${column.name}', a ${kindName(column)} column`,
      `It takes ${kinds === NUMBERS ? 'numbers' : 'numbers and strings'}.`,
    );
    return undefined;
  }
  return { name: column.name, kind: column.kind, ...(column.places !== undefined && { places: column.places }) };
}

function argumentsOf(node: AggNode, context: AggContext): Pick<AggPlan, 'n' | 'q' | 'cap'> {
  const out: Pick<AggPlan, 'n' | 'q' | 'cap'> = {};
  const range = (what: string, v: number, top: number): boolean => {
    if (Number.isInteger(v) && v >= 1 && v <= top) return true;
    context.problems.add(context.feature, `${context.label}: ${node.op}: ${what} is ${v}, outside 1 to ${top}`, 'Write a whole number in that range.');
    return false;
  };
  if (LISTS.has(node.op) && range(node.op === 'topK' ? 'k' : 'n', node.n ?? Number.NaN, MAX_N)) out.n = node.n;
  if (node.op === 'percentile' && range('cap', node.cap ?? Number.NaN, MAX_CAP)) out.cap = node.cap;
  if (node.op === 'percentile' || node.op === 'approxPercentile') {
    const q = fraction(node.q ?? Number.NaN);
    if (q) out.q = q;
    else context.problems.add(context.feature, `${context.label}: ${node.op}: q is ${node.q}, outside 0 to 1`, 'Write 0.95 for the 95th percentile; at most 15 decimal places.');
  }
  return out;
}

/** A quantile as the fraction its shortest decimal text says, in lowest terms; null outside (0, 1]. */
export function fraction(q: number): { num: number; den: number } | null {
  if (!(q > 0 && q <= 1)) return null;
  const places = decimals(String(q));
  if (places > 15) return null;
  const den = 10 ** places;
  const num = Math.round(q * den);
  let [a, b] = [num, den];
  while (b) [a, b] = [b, a % b];
  return { num: num / a, den: den / a };
}

const BASE: Record<ColumnKind, ValueType['base']> = { string: 'string', bool: 'boolean', int: 'int', int64: 'int64', decimal: 'number' };

/** What a feature's value is. */
export function valueTypeOf(agg: AggPlan | RatioPlan): ValueType {
  switch (agg.op) {
    case 'count':
    case 'countDistinct':
    case 'approxCountDistinct':
      return { base: 'int', list: false };
    case 'ratio':
    case 'avg':
    case 'stddev':
    case 'span':
      return { base: 'number', list: false };
    default:
      return { base: BASE[agg.column?.kind ?? 'decimal'], list: LISTS.has(agg.op) };
  }
}
