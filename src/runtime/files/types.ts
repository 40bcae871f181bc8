/** One row of a file, good or not. */
export interface FileRow {
  /** Line the row starts on, the header being 1; in Parquet the row's number from 1. */
  line: number;
  /** Cells by column name (CSV: text, null when empty), or the line's object; null for a row in error. */
  values: Record<string, string | null> | Record<string, unknown> | null;
  /** The row's text without its line end; empty for Parquet. It may share memory with the block it was read in: do not keep many. */
  raw: string;
  /** Why there are no values. */
  error?: string;
}

export interface RowBatch {
  rows: FileRow[];
}

export type FileFormat = 'csv' | 'ndjson' | 'parquet';

export interface ReadOptions {
  /** By the name's extension otherwise, else by the content. */
  format?: FileFormat;
  /** One character; `,` otherwise, a tab for `.tsv`. */
  delimiter?: string;
  /** Rows per batch, about; 1,000 otherwise. */
  batch?: number;
  /** Reads a Parquet file in batches of rows. */
  parquet?: (path: string) => AsyncIterable<Record<string, unknown>[]>;
}
