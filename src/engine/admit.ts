/**
 * Admission: quarantined, late or on time, decided from the partition's earlier offsets alone, so that any batch size and
 * any restart decide the same. The state is a handful of numbers and moves with the mark.
 */

/** Ahead of its own append time by more than this: the producer's clock is wrong. */
export const APPEND_AHEAD = 300_000;
/** Consecutive events beyond `maxAhead` that make the stream's time follow them. */
export const REBASE_AFTER = 100;

export interface AdmitState {
  /** Greatest event time so far; null before the first. */
  max: number | null;
  /** Consecutive events beyond `max + maxAhead`, and the greatest time among them. */
  ahead: number;
  aheadMax: number;
  /** Events far behind a max that the first event alone has set, and the greatest time among them; -1 once settled. */
  behind: number;
  behindMax: number;
}

export const newAdmitState = (): AdmitState => ({ max: null, ahead: 0, aheadMax: 0, behind: -1, behindMax: 0 });

export interface AdmitRules {
  lateness: number;
  maxAhead: number | null;
}

export type Admission = 'ok' | 'late' | 'quarantined';

/** Judges the next event of a partition and moves the state. */
export function admit(state: AdmitState, rules: AdmitRules, ts: number, appended: number): Admission {
  if (ts > appended + APPEND_AHEAD) {
    state.ahead = 0;
    return 'quarantined';
  }
  const { max } = state;
  if (max === null) {
    state.max = ts;
    state.behind = rules.maxAhead === null ? -1 : 0;
    return 'ok';
  }
  if (rules.maxAhead !== null && ts > max + rules.maxAhead) {
    state.aheadMax = state.ahead === 0 ? ts : Math.max(state.aheadMax, ts);
    if (++state.ahead >= REBASE_AFTER) rebase(state, state.aheadMax);
    return 'quarantined';
  }
  state.ahead = 0;
  const late = ts < max - rules.lateness;
  if (state.behind >= 0) {
    if (late && ts < max - rules.maxAhead!) {
      state.behindMax = state.behind === 0 ? ts : Math.max(state.behindMax, ts);
      if (++state.behind >= REBASE_AFTER) rebase(state, state.behindMax);
      return 'late';
    }
    state.behind = -1;
  }
  if (ts > max) state.max = ts;
  return late ? 'late' : 'ok';
}

function rebase(state: AdmitState, max: number): void {
  state.max = max;
  state.ahead = 0;
  state.behind = -1;
}
