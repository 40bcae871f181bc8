/** History: every event that was decodable, in files that are never changed in place, and the query engine over it. */
import type { Cell, DecodedEvent } from '../engine/values.ts';
import type { OnFeaturePlan, Registry, StoredFeaturePlan, StreamPlan, TableFeaturePlan, ValueType } from '../registry/types.ts';
import type { Schema } from '../engine/decode.ts';
import type { FoldCode } from '../engine/units.ts';
import type { Lease, Mark, Position } from './online-store.ts';

export interface HistoryRow {
  event: DecodedEvent;
  admission: 'ok' | 'late' | 'quarantined';
  /** The event as published. */
  text: string;
}

export interface HistoryFile {
  /** Path relative to the offline folder. */
  file: string;
  stream: string;
  partition: number;
  /** Offsets `[from, to)` of the log that it covers (rows of one date only). */
  from: number;
  to: number;
  rows: number;
  minTs: number;
  maxTs: number;
  /** Fingerprint of the rules that decoded and judged the rows. */
  rules: string;
  bytes: number;
}

export interface SampledEvent {
  ts: number;
  /** Key column -> its text. */
  row: Record<string, string>;
}

export interface KeyEvent {
  event: DecodedEvent;
  verdict: 'ok' | 'late' | 'quarantined' | 'duplicate';
  text: string;
}

/** What decodes the log's tail. */
export interface HistoryCode {
  registry: Registry;
  code: { schemas: ReadonlyMap<string, Schema>; folds?: ReadonlyMap<string, FoldCode>; addresses?: ReadonlyMap<string, string> };
}

/**
 * Rows to label: a Parquet file, one SELECT (paths in it relative to `cwd`), every change of rows with `from <= ts <= to`, or text
 * cells (null: an empty cell) with the lines they came from.
 */
export type SpineSource =
  | { parquet: string }
  | { sql: string; cwd: string }
  | { changes: readonly (TableFeaturePlan | OnFeaturePlan)[]; from: number; to: number }
  | { columns: readonly string[]; batches: AsyncIterable<{ lines: number[]; cells: (string | null)[][] }> };

export interface SpineColumn {
  name: string;
  kind: 'text' | 'time' | 'integer' | 'number' | 'other';
}

export interface SpineQuestion {
  /** Lists of the spine's columns that make a key, in the entity's order; empty for an entity without key. */
  keySets: readonly (readonly string[])[];
  /** What is asked: a feature, and the place of its key in `keySets`. A feature may be asked for several keys. */
  asks: readonly { feature: StoredFeaturePlan; keys: number }[];
  /** Columns to hand out too, as they are. */
  extra: readonly string[];
  /** Whether the keys are handed out, as text. */
  wantKeys: boolean;
  /** Only rows of tables written by then (`created <= t`) count; one without `created` never does. */
  asOfCreated: boolean;
}

export interface SpineChunk {
  /** Per ask, one cell per row. */
  cells: Cell[][];
  at: number[];
  /** Per key set: whether the row has all of it. */
  keyed: boolean[][];
  /** Per key set and part, as text, when wanted. */
  keys: (string | null)[][][];
  /** The further columns asked for. */
  extra: unknown[][];
}

/** A feature's column in the output: name, type, and per row its text (lists as JSON); null is null. */
export interface LabelColumn {
  name: string;
  type: ValueType;
}

/** Rows to label, inside the query engine; in input order everywhere. */
export interface Spine {
  readonly columns: readonly SpineColumn[];
  readonly rows: number;
  /** Values of some columns, with the line (Parquet: the row, from 1) of each row; times as epoch ms, floored. */
  scan(columns: readonly string[]): AsyncIterable<{ lines: number[]; values: unknown[][] }>;
  /** The instant of every row, in order. */
  setTimes(times: AsyncIterable<number[]>): Promise<void>;
  /** Stored features at every row. */
  ask(question: SpineQuestion): AsyncIterable<SpineChunk>;
  /** Writes all input columns and these to a file that must not be there yet. The labels' types count as they are after the last chunk. */
  write(file: string, format: 'csv' | 'parquet', labels: readonly LabelColumn[], chunks: AsyncIterable<(string | null)[][]>): Promise<void>;
  close(): Promise<void>;
}

/** A consistent view of history (files plus the log's tail) as of its opening. */
export interface HistoryView {
  /**
   * Values of stored features at rows given as arrays: one key per entity and row (null = none), one instant per row.
   * Cells per feature, one per row.
   */
  ask(features: readonly StoredFeaturePlan[], rows: { at: number[]; keys: Record<string, (string[] | null)[]> }, wantTs: boolean): Promise<Cell[][]>;
  /** Events of one key of an entity in a stream, in log order, with what became of each; `from <= ts < to`. `text`: as published. */
  events(entity: string, key: string[], stream: string, from: number, to: number): Promise<KeyEvent[]>;
  /** Distinct keys of an entity, in an order fixed by `seed`. */
  sampleKeys(entity: string, limit: number, seed: number): Promise<string[][]>;
  /**
   * Events of a type, chosen by `seed`, with the key columns they carry as text (empty and null ones left out). `spread` takes
   * one of each key before a second of any; otherwise every event is as likely. Late ones too, quarantined ones not.
   */
  sampleEvents(stream: string, type: string, options: { from: number; limit: number; seed: number; spread: boolean }): Promise<SampledEvent[]>;
  /** Keys of an entity with accepted events at or behind these positions, and the oldest such event's time. */
  changedKeys(entity: string, since: Position): Promise<{ key: string[]; minTs: number }[]>;
  /** Least and greatest time of accepted events; null when there is none. */
  range(): Promise<{ from: number; to: number } | null>;
  /** Takes in the rows to label, all columns as they are. */
  spine(source: SpineSource): Promise<Spine>;
  /** Event times of a key, for adversarial instants. */
  timesOf(entity: string, key: string[], limit: number, seed: number): Promise<number[]>;
  /**
   * Rows by admission, and how many of those recorded verdicts SQL decides otherwise (must be 0); null where SQL cannot tell,
   * since a run of strays may have re-based the stream's time.
   */
  audit(stream: string): Promise<{ rows: number; ok: number; late: number; quarantined: number; differ: number | null }>;
  close(): Promise<void>;
}

export interface OfflineStore {
  /**
   * Opens a view: files, and the log's tail decoded by the code of this registry. `upTo` cuts it at positions (next offset by
   * `stream/partition`), as a read of the online store returns them.
   */
  open(compiled: HistoryCode, upTo?: Position): Promise<HistoryView>;
  /** How far the history of a partition goes. */
  mark(stream: string, partition: number): Promise<Mark>;
  /** Takes rows that the next `write` of the stream will hold, in log order; nothing of them is visible or safe before. */
  stage(plan: StreamPlan, registry: Registry, rows: readonly HistoryRow[]): Promise<void>;
  /** Writes staged rows and these, of offsets `[mark.next, next.next)`: files first, synced, then the manifest in one transaction. */
  write(plan: StreamPlan, registry: Registry, partition: number, rows: readonly HistoryRow[], next: Mark, lease: Lease): Promise<void>;
  /** All rows with `from <= o < to` in offset order, in batches: original bytes with offset and append time. */
  scan(stream: string, partition: number, from: number, to: number): AsyncIterable<{ offset: number; appended: number; id: string | null; bytes: Uint8Array }[]>;
  /** Joins small files of a date; deletes replaced ones late. Returns how many files went. */
  compact(lease: Lease, now: number): Promise<number>;
  files(stream?: string): Promise<HistoryFile[]>;
  /** Whether files of a stream were decoded by other rules than the plan's. */
  stale(plan: StreamPlan): Promise<boolean>;
  /** Replaces all files of a stream by these rows (a changed schema or lateness): new files first, then one swap of the manifest; `next` is asked after the last row. */
  rewrite(plan: StreamPlan, registry: Registry, rows: AsyncIterable<readonly HistoryRow[]>, next: () => Mark, lease: Lease): Promise<void>;
  /** Frees what staging holds; rows staged and not written are in the log still. */
  close(): Promise<void>;
}
