/** Answers of the stores as cells. */
import { defaultOf, foldCell, rowCell } from '../../engine/cells.ts';
import { finishCell } from '../../engine/finish.ts';
import { needs } from '../../engine/read.ts';
import type { Cell } from '../../engine/values.ts';
import type { FoldAnswer, ReadAnswer, TableAnswer } from '../../ports/online-store.ts';
import type { LiveRow } from './live.ts';
import type { PlannedStored } from './plan.ts';

export const EXPIRED = 'AS_OF_EXPIRED';

/** What was read for one row, by the places of its scope; null: the row has no such key. */
export interface RowAnswers {
  items: readonly (ReadAnswer | null)[];
  folds: readonly (FoldAnswer | null)[];
  tables: readonly (TableAnswer | null)[];
  views: readonly (LiveRow | null)[];
}

export function storedCell(s: PlannedStored, mine: RowAnswers, at: number): Cell {
  switch (s.kind) {
    case 'window':
      return windowCell(s, mine.items, at);
    case 'fold': {
      const answer = mine.folds[s.at];
      if (!answer) return keyless(s.feature);
      if (!answer.ready) return { value: defaultOf(s.feature), status: 'DEFAULTED', ts: null, reason: 'backfilling' };
      if (answer.floor !== null && at < answer.floor) return expired();
      return foldCell(s.feature, answer.state, at);
    }
    case 'table': {
      const answer = mine.tables[s.at];
      if (!answer) return keyless(s.feature);
      // A pushed row counts before the first run of the view's SQL, too.
      if (!answer.ready && answer.row === null) return { value: defaultOf(s.feature), status: 'DEFAULTED', ts: null, reason: 'not_materialized' };
      if (answer.row === null && answer.floor !== null) return expired();
      return rowCell(s.feature, answer.row, at);
    }
    case 'live': {
      const answer = mine.views[s.at];
      if (!answer) return keyless(s.feature);
      if ('reason' in answer) return { value: defaultOf(s.feature), status: 'DEFAULTED', ts: null, ...answer };
      return rowCell(s.feature, answer.row, at);
    }
    case 'codeless':
      return { value: null, status: 'ERROR', ts: null, reason: 'NO_CODE' };
  }
}

/** Below which instant an expired cell's detail is gone. */
export function floorOf(s: PlannedStored, mine: RowAnswers): number {
  const floors = s.kind === 'window' ? s.sides.map(x => mine.items[x.item]?.floor) : s.kind === 'codeless' ? [] : [(s.kind === 'fold' ? mine.folds : mine.tables)[s.at]?.floor];
  return Math.max(...floors.map(f => f ?? Number.NEGATIVE_INFINITY));
}

const expired = (): Cell => ({ value: null, status: 'ERROR', ts: null, reason: EXPIRED });
const keyless = (f: PlannedStored['feature']): Cell => ({ value: defaultOf(f), status: 'ERROR', ts: null, reason: 'MISSING_KEY' });

function windowCell(w: PlannedStored & { kind: 'window' }, items: RowAnswers['items'], at: number): Cell {
  const f = w.feature;
  let floor = Number.NEGATIVE_INFINITY;
  for (const { item } of w.sides) {
    const answer = items[item];
    if (!answer) return keyless(f);
    if (answer.states === null) return { value: defaultOf(f), status: 'DEFAULTED', ts: null, reason: 'backfilling' };
    if (answer.floor !== null && answer.floor > floor) floor = answer.floor;
  }
  if (needs(f.frame, at) < floor) return expired();
  const state = (s: { item: number; at: number }) => items[s.item]!.states![s.at]!;
  return finishCell(
    f,
    state(w.num),
    w.den && state(w.den),
    w.seen.some(s => state(s).ts !== null),
    at,
  );
}
