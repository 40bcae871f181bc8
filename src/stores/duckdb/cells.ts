/** From result columns to cells: which columns a feature needs, and how a row of them becomes an AggState. */
import { type AggState, finishCell } from '../../engine/finish.ts';
import type { Cell, ColumnValue, Exact } from '../../engine/values.ts';
import type { AggPlan } from '../../registry/types.ts';
import { squareParts, type Width } from '../../sql/group.ts';
import { capOf, type FeatureSides, type Group, type Plan, type Seen, type Side } from '../../sql/plan.ts';
import type { DuckValue } from './read.ts';

/** Estimators of the approximate aggregates: over the non-null values of a frame, as columns hold them. */
export interface Approx {
  distinct(values: ColumnValue[]): number;
  percentile(values: ColumnValue[], q: { num: number; den: number }): ColumnValue;
}

/** The columns asked of the final query, each once. */
export class Outputs {
  readonly sql: string[] = [];
  private readonly known = new Map<string, number>();

  add(sql: string): number {
    const found = this.known.get(sql);
    if (found !== undefined) return found;
    this.known.set(sql, this.sql.length);
    return this.sql.push(sql) - 1;
  }
}

/** Names a group's result columns: by running column and instant, or by task and span. */
export interface Located {
  at(name: string): string;
  task(index: number, column: string): string;
  widths: readonly Width[];
}

/** The names of running columns at instants that a group's features and tasks read. */
export function usedColumns(plan: Plan, group: number, widths: readonly Width[]): Set<string> {
  const used = new Set<string>();
  const both = (name: string, span: [number, number]): void => {
    used.add(`${name}_${span[0]}`);
    used.add(`${name}_${span[1]}`);
  };
  const { totals } = plan.groups[group] as Group;
  for (const feature of plan.features) {
    for (const side of [feature.num, feature.den]) {
      if (side === null || side.group !== group) continue;
      both(`n${side.slot}`, side.span);
      if (side.newest) used.add(`l${side.slot}_${side.span[1]}`);
      const total = totals[side.total];
      if (total === undefined) continue;
      both(`s${side.total}`, side.span);
      if (side.agg.op !== 'stddev') continue;
      for (let k = 0; k < squareParts(widths[total.column] as Width); k++) both(`q${side.total}p${k}`, side.span);
    }
    for (const seen of feature.seen) if (seen.group === group) both(`n${seen.slot}`, seen.span);
  }
  return used;
}

type Columns = readonly (readonly DuckValue[])[];
type ReadState = (columns: Columns, row: number) => AggState;

function squares(parts: readonly bigint[]): bigint {
  const [h = 0n, m = 0n, l = 0n] = parts;
  return parts.length === 1 ? h : (h << 64n) + (m << 33n) + l;
}

function stateReader(side: Side, group: Located, totals: Group['totals'], out: Outputs, approx: Approx): ReadState {
  const delta = (name: string): number => out.add(`${group.at(`${name}_${side.span[1]}`)} - ${group.at(`${name}_${side.span[0]}`)}`);
  const n = delta(`n${side.slot}`);
  const l = side.newest ? out.add(group.at(`l${side.slot}_${side.span[1]}`)) : -1;
  const base: ReadState = (columns, row) => {
    const count = columns[n]?.[row] as number;
    return { n: count, ts: l >= 0 && count > 0 ? (columns[l]?.[row] as number) : null };
  };
  const total = totals[side.total];
  if (total !== undefined) {
    const s = delta(`s${side.total}`);
    const parts = side.agg.op === 'stddev' ? squareParts(group.widths[total.column] as Width) : 0;
    const q = Array.from({ length: parts }, (_, k) => delta(`q${side.total}p${k}`));
    return (columns, row) => {
      const st = base(columns, row);
      st.s = columns[s]?.[row] as Exact;
      if (parts > 0) st.q = squares(q.map(c => BigInt(columns[c]?.[row] as Exact)));
      return st;
    };
  }
  const { task } = side;
  if (task === null) return base;
  const v = out.add(group.task(task.index, `${side.agg.op === 'max' ? 'w' : 'v'}${task.span}`));
  const fill = filler(side.agg, approx);
  return (columns, row) => {
    const st = base(columns, row);
    fill(st, columns[v]?.[row] ?? null);
    return st;
  };
}

/** Puts a task's answer into the state, as the aggregate means it. */
function filler(agg: AggPlan, approx: Approx): (st: AggState, v: DuckValue) => void {
  const q = agg.q ?? { num: 1, den: 1 };
  switch (agg.op) {
    case 'first':
    case 'last':
      return (st, v) => void (st.v = v === null ? null : ((v as ColumnValue[])[0] ?? null));
    case 'firstN':
    case 'lastN':
    case 'topK':
      return (st, v) => void (st.list = (v ?? []) as ColumnValue[]);
    case 'countDistinct':
      return (st, v) => void (st.n = (v ?? 0) as number);
    case 'approxCountDistinct':
      return (st, v) => void (st.n = v === null ? 0 : approx.distinct(v as ColumnValue[]));
    case 'approxPercentile':
      return (st, v) => void (st.v = v === null ? null : approx.percentile(v as ColumnValue[], q));
    case 'percentile':
      return (st, v) => {
        if (st.n > capOf(agg)) st.error = 'CAP_EXCEEDED';
        else st.v = v as ColumnValue;
      };
    case 'span':
      return (st, v) => {
        st.min = (v ?? 0) as number;
        st.max = st.ts ?? 0;
      };
    default:
      return (st, v) => void (st.v = v as ColumnValue);
  }
}

export type ReadCells = (columns: Columns, rows: number, times: readonly DuckValue[]) => Cell[];

/** The cells of one feature over a chunk of rows. */
export function cellReader(sides: FeatureSides, plan: Plan, groups: readonly Located[], out: Outputs, approx: Approx, wantTs: boolean): ReadCells {
  const { feature } = sides;
  const reader = (side: Side): ReadState => stateReader(side, groups[side.group] as Located, (plan.groups[side.group] as Group).totals, out, approx);
  const num = reader(sides.num);
  const den = sides.den === null ? null : reader(sides.den);
  const seen = sides.seen.map((s: Seen) => {
    const at = (i: number): string => (groups[s.group] as Located).at(`n${s.slot}_${i}`);
    return out.add(`${at(s.span[1])} - ${at(s.span[0])}`);
  });
  const ages = feature.frame.kind === 'lifetime' || feature.frame.kind === 'session';
  return (columns, rows, times) => {
    const cells = new Array<Cell>(rows);
    for (let i = 0; i < rows; i++) {
      const found = ages && seen.some(c => (columns[c]?.[i] as number) > 0);
      const cell = finishCell(feature, num(columns, i), den === null ? null : den(columns, i), found, times[i] as number);
      if (!wantTs && !ages) cell.ts = null;
      cells[i] = cell;
    }
    return cells;
  };
}
