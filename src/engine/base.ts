/**
 * Trimming: whole days below the floor are dropped. What lifetime values and open sessions still need of them is folded
 * into one base record per key first, in (time, id) order.
 */
import { floorTo } from '../lib/time.ts';
import { compareUtf8 } from '../lib/text.ts';
import { Acc, accFromJson, accToJson, addRow } from './accumulate.ts';
import type { Group } from './group.ts';
import { RowView } from './row.ts';
import { eachRow, isLeaf, LADDER, type NodeReader, type NodeWriter } from './tree.ts';

export interface CarriedSession {
  start: number;
  last: number;
  /** By unit index. */
  units: Map<number, Acc>;
}

export interface Base {
  /** Everything before this instant is folded in. */
  end: number;
  /** By unit index. */
  lifetime: Map<number, Acc>;
  /** By frame index: the newest session among what was dropped. */
  sessions: Map<number, CarriedSession>;
}

interface BaseJson {
  end: number;
  life: [number, unknown][];
  sess: [number, number, number, [number, unknown][]][];
}

export function readBase(_group: Group, bytes: Buffer | undefined): Base | null {
  if (!bytes) return null;
  const json = JSON.parse(bytes.toString('utf8')) as BaseJson;
  const accs = (list: [number, unknown][]) => new Map(list.map(([i, a]) => [i, accFromJson(a)]));
  return {
    end: json.end,
    lifetime: accs(json.life),
    sessions: new Map(json.sess.map(([i, start, last, units]) => [i, { start, last, units: accs(units) }])),
  };
}

function baseBytes(base: Base): Buffer {
  const list = (m: Map<number, Acc>): [number, unknown][] => [...m].map(([i, a]) => [i, accToJson(a)]);
  const json: BaseJson = { end: base.end, life: list(base.lifetime), sess: [...base.sessions].map(([i, s]) => [i, s.start, s.last, list(s.units)]) };
  return Buffer.from(JSON.stringify(json), 'utf8');
}

/** Drops a key's days that end at or before the floor. Returns the number of rows dropped. */
export function trimKey(group: Group, nodes: NodeWriter, floor: number): number {
  const end = floorTo(floor, LADDER[0]);
  const days = [...nodes.range(0, Number.NEGATIVE_INFINITY, end)];
  if (days.length === 0) return 0;
  const view = new RowView(group.columns.length);
  const base: Base = (group.needsBase ? readBase(group, nodes.base()) : null) ?? { end, lifetime: new Map(), sessions: new Map() };
  let dropped = 0;
  for (const { start, bytes } of days) {
    const rows = takeRows(nodes, view, 0, start, bytes);
    dropped += rows.length;
    if (group.needsBase) foldRows(group, base, view, rows);
  }
  if (group.needsBase) {
    base.end = Math.max(base.end, end);
    nodes.putBase(baseBytes(base));
  }
  return dropped;
}

interface Taken {
  ts: number;
  id: string;
  bytes: Buffer;
}

/** All rows under a node, removing it and what is below. */
function takeRows(nodes: NodeWriter, view: RowView, level: number, start: number, bytes: Buffer): Taken[] {
  const out: Taken[] = [];
  if (isLeaf(bytes)) eachRow(bytes, view, v => out.push({ ts: v.ts, id: v.id, bytes: Buffer.from(v.bytes()) }));
  else for (const child of [...childrenOf(nodes, level, start)]) out.push(...takeRows(nodes, view, level + 1, child.start, child.bytes));
  nodes.remove(level, start);
  return out;
}

const childrenOf = (nodes: NodeReader, level: number, start: number) => nodes.range(level + 1, start, start + LADDER[level]!);

function foldRows(group: Group, base: Base, view: RowView, rows: Taken[]): void {
  rows.sort((a, b) => a.ts - b.ts || compareUtf8(a.id, b.id));
  for (const { bytes } of rows) {
    view.seek(bytes, 0);
    const bit = 1 << view.type;
    for (const frame of group.frames) if (frame.plan.kind === 'session' && (frame.types & bit) !== 0) advance(base, frame.index, frame.plan.gap, view.ts);
    for (const unit of group.units) {
      if ((unit.slot.types & bit) === 0 || (unit.slot.where !== null && !unit.slot.where(view))) continue;
      if (unit.frame.plan.kind === 'lifetime') addRow(unit.slot, accOf(base.lifetime, unit.index), view);
      else if (unit.frame.plan.kind === 'session') addRow(unit.slot, accOf(base.sessions.get(unit.frame.index)!.units, unit.index), view);
    }
  }
}

function advance(base: Base, frame: number, gap: number, ts: number): void {
  const session = base.sessions.get(frame);
  if (session && ts - session.last <= gap) session.last = ts;
  else base.sessions.set(frame, { start: ts, last: ts, units: new Map() });
}

function accOf(map: Map<number, Acc>, index: number): Acc {
  let acc = map.get(index);
  if (!acc) map.set(index, (acc = new Acc()));
  return acc;
}
