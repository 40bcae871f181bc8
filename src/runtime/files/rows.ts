/** Files of events as batches of rows: CSV, NDJSON (both also gzipped) and Parquet. */
import { createHash } from 'node:crypto';
import { byteChunks } from './bytes.ts';
import { CsvParser } from './csv.ts';
import { badFile, TruncatedInput } from './errors.ts';
import { lineBlocks, mark } from './lines.ts';
import type { FileFormat, FileRow, ReadOptions, RowBatch } from './types.ts';

const FINGERPRINT_BYTES = 4096;

/**
 * All rows in order, in batches of about 1,000, in bounded memory. A row that cannot be read has an `error`; the rows
 * beside it are not touched.
 * @throws TruncatedInput after the last whole row of a cut or damaged gzip file; FabraError BAD_FILE when it is not such
 * a file at all; ENOENT passes through.
 */
export async function* readRows(path: string, options: ReadOptions = {}): AsyncGenerator<RowBatch> {
  const format = options.format ?? (await formatOf(path));
  const size = options.batch ?? 1000;
  if (format === 'parquet') return yield* parquetRows(path, options);
  let rows: FileRow[] = [];
  const reader = format === 'csv' ? csvReader(path, options) : ndjsonReader(path);
  try {
    for await (const block of lineBlocks(path)) {
      reader.push(block, rows);
      if (rows.length < size) continue;
      const ready = rows;
      rows = [];
      yield* inBatches(ready, size);
    }
    reader.end(rows);
  } catch (e) {
    if (rows.length > 0) yield* inBatches(rows, size);
    if (e instanceof TruncatedInput) e.line = reader.line;
    throw e;
  }
  if (rows.length > 0) yield* inBatches(rows, size);
}

/**
 * Column names of a CSV file, empty for an empty file; null for formats without a header.
 * @throws FabraError BAD_FILE when the header cannot be read.
 */
export async function readHeader(path: string, options: ReadOptions = {}): Promise<string[] | null> {
  if ((options.format ?? (await formatOf(path))) !== 'csv') return null;
  const parser = new CsvParser(path, delimiterOf(path, options));
  for await (const block of lineBlocks(path)) {
    parser.push(block, false, []);
    if (parser.header) return parser.header;
  }
  parser.push('', true, []);
  return parser.header ?? [];
}

/**
 * Hex SHA-256 of how the content begins: the first two lines that are not blank (the header and the first row), 4 KiB at
 * most. Compressed or not, with LF or CRLF, and however many lines are appended, a file keeps it. Binary formats: the
 * first 4 KiB.
 */
export async function fileFingerprint(path: string): Promise<string> {
  const head = await firstBytes(path, FINGERPRINT_BYTES);
  if (head.subarray(0, 4).toString('latin1') === 'PAR1') return sha256(head);
  const lines = head
    .toString('latin1')
    .split('\n')
    .map(line => line.replace(/\r$/, ''));
  return sha256(
    Buffer.from(
      lines
        .filter(line => line !== '')
        .slice(0, 2)
        .join('\n'),
      'latin1',
    ),
  );
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** The start of the decompressed content. */
async function firstBytes(path: string, n: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of byteChunks(path)) {
    parts.push(chunk);
    length += chunk.length;
    if (length >= n) break;
  }
  return Buffer.concat(parts).subarray(0, n);
}

/** By extension (`.gz` aside), else by what the content begins with. */
export async function formatOf(path: string): Promise<FileFormat> {
  const extension = /\.(\w+)(?:\.gz)?$/i.exec(path)?.[1]?.toLowerCase();
  if (extension === 'csv' || extension === 'tsv') return 'csv';
  if (extension === 'ndjson' || extension === 'jsonl' || extension === 'json') return 'ndjson';
  if (extension === 'parquet' || extension === 'pq') return 'parquet';
  const head = (await firstBytes(path, 64)).toString('latin1');
  if (head.startsWith('PAR1')) return 'parquet';
  return /^(?:\u00ef\u00bb\u00bf)?\s*[{[]/.test(head) ? 'ndjson' : 'csv';
}

const delimiterOf = (path: string, options: ReadOptions): string => options.delimiter ?? (/\.tsv(\.gz)?$/i.test(path) ? '\t' : ',');

interface Reader {
  /** Last whole line read. */
  readonly line: number;
  push(block: string, out: FileRow[]): void;
  end(out: FileRow[]): void;
}

function csvReader(path: string, options: ReadOptions): Reader {
  const parser = new CsvParser(path, delimiterOf(path, options));
  return {
    get line() {
      return parser.line;
    },
    push: (block, out) => parser.push(block, false, out),
    end: out => parser.push('', true, out),
  };
}

function ndjsonReader(path: string): Reader {
  let line = 0;
  return {
    get line() {
      return line;
    },
    push(block, out) {
      for (let at = 0; at < block.length; ) {
        const newline = block.indexOf('\n', at);
        const end = newline < 0 ? block.length : newline;
        const raw = block.slice(at, end > at && block.charCodeAt(end - 1) === 13 ? end - 1 : end);
        at = end + 1;
        line++;
        if (raw.trim() === '') continue;
        if (line === 1 && raw.trimStart().startsWith('[')) throw badFile(path, 'is a JSON array', `Write one object per line: jq -c '.[]' ${path} > events.ndjson`);
        out.push(jsonRow(line, raw));
      }
    },
    end() {},
  };
}

function jsonRow(line: number, raw: string): FileRow {
  const row: FileRow = { line, values: null, raw };
  try {
    const value: unknown = JSON.parse(raw);
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) row.values = value as Record<string, unknown>;
    else row.error = 'the line is not a JSON object';
  } catch (e) {
    row.error = `the line is not JSON: ${(e as Error).message}`;
  }
  return mark(row);
}

async function* parquetRows(path: string, options: ReadOptions): AsyncGenerator<RowBatch> {
  if (!options.parquet) throw badFile(path, 'Parquet cannot be read here', 'Turn it into CSV or NDJSON.');
  let line = 0;
  for await (const records of options.parquet(path)) {
    const rows = records.map(values => ({ line: ++line, values, raw: '' }));
    yield* inBatches(rows, options.batch ?? 1000);
  }
}

/** Blocks of short lines hold many rows: split what is far above the size. */
function* inBatches(rows: FileRow[], size: number): Generator<RowBatch> {
  if (rows.length <= 2 * size) {
    if (rows.length > 0) yield { rows };
    return;
  }
  for (let i = 0; i < rows.length; i += size) yield { rows: rows.slice(i, i + size) };
}
