/**
 * A value inside the engines: scaled integers are `number` while safe and `bigint` beyond 2^53, so that sums are
 * exact on the fast path and stay exact off it.
 */
export type Exact = number | bigint;
export type ColumnValue = string | boolean | Exact | null;

/** What a reader gets: doubles, strings, booleans, BigInt for int64, lists of them, or null. */
export type Value = string | number | boolean | bigint | null | Value[] | { [key: string]: Value };

export type CellStatus = 'PRESENT' | 'NULL_VALUE' | 'NOT_FOUND' | 'OUTSIDE_MAX_AGE' | 'DEFAULTED' | 'ERROR';

/** One answer. `ts` is the epoch ms of the newest contributing event or row, null when none contributed. */
export interface Cell {
  value: Value;
  status: CellStatus;
  ts: number | null;
  /** Why, for DEFAULTED and ERROR: `backfilling`, `OVERFLOW`, ... */
  reason?: string;
  /** For people: what the code or the source said. Never part of a comparison. */
  detail?: string;
}

/** One decoded, accepted event of a stream: its place in the log, its time, id, type and column values by dotted name. */
export interface DecodedEvent {
  /** Source partition and offset. */
  p: number;
  o: number;
  /** Append time of the log, epoch ms. */
  appended: number;
  ts: number;
  id: string;
  type: string;
  /** Declared columns only; absent or null = null. Numbers are scaled by their column's places. */
  columns: Record<string, ColumnValue>;
  /** What folds and handlers get; only where the decoder's registry has one for the type. */
  payload?: unknown;
}

export type Verdict = 'rejected' | 'quarantined' | 'late' | 'duplicate' | 'applied' | 'ignored';
