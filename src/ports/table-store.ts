/** Rows of SQL and pushed features: reading them from their sources, and their history. */
import type { TableRow, TableUnit } from '../engine/units.ts';
import type { Registry, ViewPlan } from '../registry/types.ts';
import type { JobLease, RowPut } from './online-store.ts';

/** A view with what is needed to run it. */
export interface ViewCode {
  registry: Registry;
  code: {
    /** Postgres addresses by source. */
    addresses: ReadonlyMap<string, string>;
    /** Schemas of the values, by feature id. */
    types: ReadonlyMap<string, { safeParse(v: unknown): { success: boolean } }>;
  };
}

export interface RunOptions {
  /** Rows with `from <= ts <= to`; null = unbounded. Without a time column all rows are read and `to` is their time. */
  from: number | null;
  to: number;
  /** Only what is not recorded yet is looked for; keys that are gone are not noticed. */
  incremental: boolean;
}

/** One run of a view's SQL, kept with its time. */
export interface ViewRun {
  id: number;
  view: string;
  /** The view's hash when it ran. */
  hash: string;
  /** When it began, epoch ms: what a row without a time column has as its time. */
  at: number;
  /** Interval of event time that it covers, both ends in it. */
  from: number | null;
  to: number;
  incremental: boolean;
  status: 'recorded' | 'online' | 'failed';
  /** Rows that the SQL gave, and those of them that are new. */
  read: number;
  rows: number;
  /** Rows that the SQL gave without a whole key: left out. */
  skipped: number;
  /** Rows put online so far, of `rows + gone`. */
  put: number;
  /** Keys that are gone from the source. */
  gone: number;
  error: string | null;
  /** When it was put online, epoch ms. */
  done: number | null;
}

export interface TableStore {
  /**
   * Checks a view against its source without reading its rows: key, time, created and value columns are there and their types fit.
   * @throws FabraError BAD_QUERY naming the columns; SOURCE_FAILED.
   */
  check(view: ViewPlan, code: ViewCode): Promise<void>;
  /** Registers the tables of an applied registry: runs and rows of those that are no longer there are forgotten. */
  adopt(tables: readonly TableUnit[]): Promise<void>;
  /**
   * Runs the SQL and records what is new: file first, then the manifest. A run that was recorded and not put online is returned
   * again instead. Values that do not fit their type fail the run (BAD_VALUE) and change nothing.
   */
  run(view: ViewPlan, code: ViewCode, options: RunOptions, job: JobLease, signal: AbortSignal): Promise<ViewRun>;
  /** Rows of a recorded run from the `after`-th on, in an order that never changes. */
  rowsOf(run: ViewRun, view: ViewPlan, code: ViewCode, after: number): AsyncIterable<{ key: string; row: TableRow }[]>;
  /** So many rows of a recorded run are online: where to go on after a kill. */
  advance(run: ViewRun, put: number, job: JobLease): Promise<void>;
  /** A recorded run is online now. */
  finished(run: ViewRun, job: JobLease): Promise<void>;
  /** Keeps a failed run with its error. */
  failed(view: ViewPlan, options: RunOptions, error: string, at: number): Promise<void>;
  /** Newest first; those long ago are forgotten, what they covered is not. */
  runs(view: string, limit: number): Promise<ViewRun[]>;
  /** Runs of a view that ended, ever. */
  counts(view: string): Promise<{ ok: number; failed: number }>;
  /** Event time covered by runs that are online, joined: `[from, to]` in order; null = unbounded. */
  intervals(view: ViewPlan): Promise<{ from: number | null; to: number }[]>;
  /** The row that counts at `at` for each key, straight from the source. @throws FabraError SOURCE_FAILED; stops at the signal. */
  lookup(view: ViewPlan, code: ViewCode, keys: readonly string[][], at: number, signal: AbortSignal): Promise<(TableRow | null)[]>;
  /** Rows given from outside, for history alone. */
  append(puts: readonly RowPut[]): Promise<void>;
  /** Moves rows that the online store recorded (its outbox) to files; returns how many. */
  flush(tables: ReadonlyMap<string, TableUnit>): Promise<number>;
  close(): Promise<void>;
}
