/** When a row is due: by rate, by event time, or at once. Open loop: a late start never shifts the rest. */

export interface Pace {
  /** Seconds from the start at which the i-th row (from 0) with this event time is due. */
  due(i: number, ts: number | null): number;
}

/** Rows with jumps above this are not waited for: a stray future time must not stop a replay. */
const LONGEST_WAIT_MS = 3_600_000;

export function paceOf(options: { eps?: number; speed?: number }): Pace | null {
  if (options.eps !== undefined) {
    const { eps } = options;
    return { due: i => i / eps };
  }
  if (options.speed !== undefined) return eventTime(options.speed);
  return null;
}

function eventTime(speed: number): Pace {
  let newest: number | null = null;
  let at = 0;
  return {
    due(_i, ts) {
      if (ts === null) return at;
      if (newest === null) newest = ts;
      else if (ts > newest && ts - newest <= LONGEST_WAIT_MS) {
        at += (ts - newest) / 1000 / speed;
        newest = ts;
      }
      return at;
    },
  };
}
