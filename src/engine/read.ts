/** Reading window state at T: raw edges, totals between, exact for any T whose detail is still there. */
import { floorTo } from '../lib/time.ts';
import type { FramePlan } from '../registry/types.ts';
import { Acc, addRow, mergeAcc, toState } from './accumulate.ts';
import { type Base, readBase } from './base.ts';
import type { AggState } from './finish.ts';
import type { Frame, Group, Unit } from './group.ts';
import { RowView } from './row.ts';
import { eachRow, isLeaf, LADDER, type NodeReader, rowCount, totalsOf } from './tree.ts';

const ALWAYS = Number.NEGATIVE_INFINITY;

/** `[start, end)` of a frame at T; a session's start depends on the events. */
export function boundsOf(plan: FramePlan, T: number): [number, number] {
  switch (plan.kind) {
    case 'over':
      return [T - plan.w, T];
    case 'tumbling': {
      const end = floorTo(T, plan.w);
      return plan.previous ? [end - plan.w, end] : [end, T];
    }
    case 'hopping': {
      const end = floorTo(T, plan.h);
      return [end - plan.w, end];
    }
    default:
      return [ALWAYS, T];
  }
}

/** Oldest instant whose detail a unit needs at T; lifetime and sessions need only T itself above the floor. */
export function needs(plan: FramePlan, T: number): number {
  return plan.kind === 'lifetime' || plan.kind === 'session' ? T : boundsOf(plan, T)[0];
}

interface Active {
  unit: Unit;
  from: number;
  to: number;
  acc: Acc;
}

/** Accumulated states of the wanted units of one key at T, in the order asked. */
export function readUnits(group: Group, nodes: NodeReader, T: number, wanted: readonly number[]): AggState[] {
  const view = new RowView(group.columns.length);
  const base = group.needsBase ? readBase(group, nodes.base()) : null;
  // Lifetime values and sessions look at all days: read once for both.
  const open = wanted.some(i => group.units[i]!.frame.plan.kind === 'lifetime' || group.units[i]!.frame.plan.kind === 'session');
  const days = open ? [...nodes.range(0, ALWAYS, T)] : null;
  const sessions = new Map<Frame, number | null>();
  const actives = wanted.map((index): Active => {
    const unit = group.units[index]!;
    const plan = unit.frame.plan;
    let [from, to] = boundsOf(plan, T);
    const acc = new Acc();
    if (plan.kind === 'session') {
      let start = sessions.get(unit.frame);
      if (start === undefined) sessions.set(unit.frame, (start = sessionStart(days!, nodes, view, base, unit.frame, plan.gap, T)));
      from = start ?? T;
      const carried = base?.sessions.get(unit.frame.index);
      if (carried && from < base!.end) mergeAcc(unit.slot, acc, carried.units.get(index) ?? new Acc());
    } else if (plan.kind === 'lifetime' && base) mergeAcc(unit.slot, acc, base.lifetime.get(index) ?? new Acc());
    return { unit, from, to, acc };
  });
  collect(
    group,
    nodes,
    view,
    days,
    actives.filter(a => a.from < a.to),
  );
  return actives.map(a => toState(a.unit.slot, a.acc));
}

type Day = { start: number; bytes: Buffer };

function collect(group: Group, nodes: NodeReader, view: RowView, days: Day[] | null, actives: Active[]): void {
  if (actives.length === 0) return;
  if (days) {
    for (const { start, bytes } of days) visit(group, nodes, view, 0, start, bytes, actives);
    return;
  }
  const from = Math.min(...actives.map(a => a.from));
  const to = Math.max(...actives.map(a => a.to));
  const span = LADDER[0];
  const first = floorTo(from, span);
  if ((to - first) / span <= 4) {
    // A few point reads beat opening a cursor.
    for (let start = first; start < to; start += span) {
      const bytes = nodes.get(0, start);
      if (bytes) visit(group, nodes, view, 0, start, bytes, actives);
    }
    return;
  }
  for (const { start, bytes } of nodes.range(0, first, to)) visit(group, nodes, view, 0, start, bytes, actives);
}

function visit(group: Group, nodes: NodeReader, view: RowView, level: number, start: number, bytes: Buffer, actives: Active[]): void {
  const end = start + LADDER[level]!;
  const here = actives.filter(a => a.from < end && a.to > start);
  if (here.length === 0) return;
  if (isLeaf(bytes)) return scan(bytes, view, here);
  let totals: Acc[] | null = null;
  const deeper: Active[] = [];
  for (const a of here) {
    if (a.unit.slot.tiled && a.from <= start && a.to >= end) {
      totals ??= totalsOf(group, bytes);
      mergeAcc(a.unit.slot, a.acc, totals[a.unit.slot.index]!);
    } else deeper.push(a);
  }
  if (deeper.length === 0) return;
  const from = Math.max(start, floorTo(Math.min(...deeper.map(a => a.from)), LADDER[level + 1]!));
  const to = Math.min(end, Math.max(...deeper.map(a => a.to)));
  for (const child of nodes.range(level + 1, from, to)) visit(group, nodes, view, level + 1, child.start, child.bytes, deeper);
}

function scan(leaf: Buffer, view: RowView, actives: Active[]): void {
  eachRow(leaf, view, row => {
    const { ts } = row;
    const bit = 1 << row.type;
    for (let i = 0; i < actives.length; i++) {
      const a = actives[i]!;
      const { slot } = a.unit;
      if (ts < a.from || ts >= a.to || (slot.types & bit) === 0) continue;
      if (slot.where === null || slot.where(row)) addRow(slot, a.acc, row);
    }
  });
}

/** Start of the newest session with an event before T, null when there is none. Walks back leaf by leaf until a gap shows. */
function sessionStart(days: Day[], nodes: NodeReader, view: RowView, base: Base | null, frame: Frame, gap: number, T: number): number | null {
  let start: number | null = null;
  for (const times of newestFirst(days, nodes, view, frame.types, 0, T)) {
    for (const ts of times) {
      if (start !== null && start - ts > gap) return start;
      start = ts;
    }
  }
  const carried = base?.sessions.get(frame.index);
  if (carried && (start === null || start - carried.last <= gap)) return carried.start;
  return start;
}

/** Event times of the given types below T, newest leaf first, descending inside. */
function* newestFirst(list: Day[], nodes: NodeReader, view: RowView, types: number, level: number, T: number): Generator<number[]> {
  for (const { start, bytes } of list.toReversed()) {
    if (!isLeaf(bytes)) {
      const end = Math.min(T, start + LADDER[level]!);
      yield* newestFirst([...nodes.range(level + 1, start, end)], nodes, view, types, level + 1, end);
      continue;
    }
    const times: number[] = [];
    eachRow(bytes, view, row => {
      if (row.ts < T && (types & (1 << row.type)) !== 0) times.push(row.ts);
    });
    yield times.sort((a, b) => b - a);
  }
}

/** Number of rows in the state of a key: for tests and `explain`. */
export function countRows(nodes: NodeReader): number {
  let n = 0;
  for (const { bytes } of nodes.range(0, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)) n += rowCount(bytes);
  return n;
}
