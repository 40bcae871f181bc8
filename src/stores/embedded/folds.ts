/** Folds in the store: their events and snapshots lie where windows have their nodes, under a namespace of their own. */
import { putFold, readFold, settleFold } from '../../engine/fold.ts';
import type { FoldUnit } from '../../engine/units.ts';
import { HOUR } from '../../lib/duration.ts';
import { floorTo } from '../../lib/time.ts';
import type { FoldAnswer, FoldRead, FoldUpdate } from '../../ports/online-store.ts';
import type { Embedded } from './env.ts';
import { keyOfDay, nsRange, writeStart } from './keys.ts';
import { LmdbNodes, LmdbNodeWriter } from './nodes.ts';
import { markOf, requireUnit, streamMarkOf, type UnitSpace, unitMarkName, unitSpaceOf } from './spaces.ts';

/** What a read needs to know of a fold, decoded. */
export interface KnownFold {
  space: UnitSpace | undefined;
  /** It holds, of all its streams, all that their marks say. */
  ready: boolean;
  /** Next offset by stream. */
  next: Record<string, number>;
}

export function knowFold(env: Embedded, unit: FoldUnit): KnownFold {
  const space = unitSpaceOf(env, 'fold', unit);
  const next: Record<string, number> = {};
  if (!space) return { space, ready: false, next };
  for (const s of unit.streams) next[s] = markOf(env, unitMarkName(space.ns, s, 0)).next;
  return { space, ready: unit.streams.every(s => next[s]! >= streamMarkOf(env, s).next), next };
}

export function readOneFold(env: Embedded, known: KnownFold, { unit, key, at }: FoldRead): FoldAnswer {
  if (!known.space || !known.ready) return { ready: false, floor: null, state: null };
  return { ready: true, ...readFold(unit, key, new LmdbNodes(env.state, known.space.ns, key), at) };
}

/** Inside a write transaction. */
export function putFolds(env: Embedded, updates: readonly FoldUpdate[]): void {
  for (const { unit, key, events } of updates) putFold(unit, key, new LmdbNodeWriter(env, requireUnit(env, 'fold', unit).ns, key), events);
}

/** Inside a write transaction; true when there is more. */
export function settleFolds(env: Embedded, unit: FoldUnit, limit: number): boolean {
  const space = unitSpaceOf(env, 'fold', unit);
  if (!space || !unit.code) return false;
  const below = settledBelow(env, unit, space);
  if (below === null) return false;
  const end = Buffer.alloc(9);
  end.writeUInt16BE(space.ns, 0);
  writeStart(end, 2, below);
  const due = [...env.days.getKeys({ start: nsRange(space.ns).start, end, limit })];
  for (const index of due) {
    const key = keyOfDay(index);
    settleFold(unit, key, new LmdbNodeWriter(env, space.ns, key), below);
    env.days.removeSync(index);
  }
  return due.length === limit;
}

/** Nothing can arrive below it: behind every stream of the fold by the retention, a whole hour. Null while a stream may still go back. */
function settledBelow(env: Embedded, unit: FoldUnit, space: UnitSpace): number | null {
  let below = Number.POSITIVE_INFINITY;
  for (const s of unit.streams) {
    const { max, behind } = markOf(env, unitMarkName(space.ns, s, 0)).admit;
    if (max === null || behind >= 0) return null;
    below = Math.min(below, max - unit.retention);
  }
  return floorTo(below, HOUR);
}
