/** The rows to label: reading the file, finding the time of each row, and refusing what cannot be labelled. */
import { existsSync } from 'node:fs';
import { FabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import { readInstant } from '../../lib/time.ts';
import type { HistoryView, Spine } from '../../ports/offline-store.ts';
import type { HistoricalOptions } from './index.ts';
import type { Layout } from './layout.ts';
import { formatOf, readHeader, readRows, TruncatedInput } from '../files/index.ts';

const DEFAULT_TIME = 'event_timestamp';
/** Row numbers named in an error. */
const NAMED = 5;
const BATCH = 8_192;

export const badSpine = (message: string, hint: string): FabraError => new FabraError('BAD_SPINE', message, { hint });

/** The rows to label, from wherever they come. @throws FabraError BAD_SPINE, BAD_FLAG, FILE_NOT_FOUND. */
export async function openRows(view: HistoryView, given: HistoricalOptions['spine'], layout: Layout): Promise<Spine> {
  if (typeof given === 'string') return loadSpine(view, given);
  if ('sql' in given) {
    try {
      return await view.spine(given);
    } catch (e) {
      throw badSpine(
        `--spine-sql: ${(e as Error).message.split('\n')[0]}`,
        'One SELECT, its files relative to here: --spine-sql "select user_id, seen_at as event_timestamp from \'labels.parquet\'"',
      );
    }
  }
  const changes = layout.sources();
  const [first, other] = [...new Set(changes.map(f => f.entity))];
  if (first === undefined)
    throw new FabraError('BAD_FLAG', 'none of these features has rows of its own to list', {
      hint: 'Ask a feature of SQL, a pushed one or one of a handler too; or give --spine.',
    });
  if (other !== undefined)
    throw new FabraError('BAD_FLAG', `without a spine, the rows are those of one entity; these are of ${first} and ${other}`, {
      hint: 'Ask for features of one of them, or give --spine.',
    });
  return view.spine({ changes, from: given.from, to: given.to });
}

/** Takes a CSV or Parquet file in. @throws FabraError BAD_SPINE, FILE_NOT_FOUND. */
export async function loadSpine(view: HistoryView, file: string): Promise<Spine> {
  if (!existsSync(file)) throw new FabraError('FILE_NOT_FOUND', `no such file: ${file}`, { hint: 'Check the path of the spine.' });
  const format = await formatOf(file);
  if (format === 'ndjson') throw badSpine(`${file} is neither CSV nor Parquet`, 'Write the rows to label as CSV with a header, or as Parquet.');
  return format === 'parquet' ? loadParquet(view, file) : loadCsv(view, file);
}

async function loadParquet(view: HistoryView, file: string): Promise<Spine> {
  try {
    return await view.spine({ parquet: file });
  } catch (e) {
    throw badSpine(`${file} cannot be read as Parquet: ${(e as Error).message.split('\n')[0]}`, 'Write it again, or give CSV.');
  }
}

async function loadCsv(view: HistoryView, file: string): Promise<Spine> {
  let columns: string[] | null;
  try {
    columns = await readHeader(file);
  } catch (e) {
    throw e instanceof TruncatedInput ? cut(file, e) : badSpine((e as Error).message, (e as FabraError).hint ?? 'The first line must name the columns.');
  }
  if (!columns || columns.length === 0 || columns.every(c => c === '')) throw badSpine(`${file} is empty`, 'A spine names a key and a time per row, under a header.');
  const lower = columns.map(c => c.toLowerCase());
  const twice = columns.find((_, i) => lower.indexOf(lower[i]!) !== i);
  if (twice !== undefined) throw badSpine(`the header names the column ${JSON.stringify(twice)} twice (upper and lower case are the same here)`, 'Rename one of them.');
  const unnamed = columns.indexOf('');
  if (unnamed >= 0) throw badSpine(`column ${unnamed + 1} of the header has no name`, 'Name every column.');
  return view.spine({ columns, batches: batches(file, columns) });
}

const cut = (file: string, e: Error): FabraError =>
  new FabraError('TRUNCATED_INPUT', `${file}: ${e.message}`, { hint: 'Copy the file again: a part of it is missing. Nothing was written.', cause: e });

async function* batches(file: string, columns: readonly string[]): AsyncGenerator<{ lines: number[]; cells: (string | null)[][] }> {
  const bad: { line: number; error: string }[] = [];
  const empty = () => ({ lines: [] as number[], cells: columns.map((): (string | null)[] => []) });
  let held = empty();
  try {
    for await (const { rows } of readRows(file, { format: 'csv' })) {
      for (const r of rows) {
        if (r.values === null) {
          bad.push({ line: r.line, error: r.error ?? 'unreadable' });
          continue;
        }
        held.lines.push(r.line);
        for (let i = 0; i < columns.length; i++) held.cells[i]!.push((r.values[columns[i]!] as string | null) ?? null);
      }
      if (held.lines.length < BATCH) continue;
      yield held;
      held = empty();
    }
  } catch (e) {
    throw e instanceof TruncatedInput ? cut(file, e) : e;
  }
  if (bad.length > 0) throw badSpine(`${file}: ${where(bad.map(b => b.line))}: ${bad[0]!.error}`, 'Every row needs as many cells as the header has names.');
  if (held.lines.length > 0) yield held;
}

/** `line 3`, `lines 3, 7 and 12 more` */
export function where(lines: readonly number[], more = 0): string {
  const rest = lines.length - NAMED + more;
  const named = lines.slice(0, NAMED).join(', ');
  return `${lines.length + more === 1 ? 'line' : 'lines'} ${named}${rest > 0 && lines.length + more > NAMED ? ` and ${rest} more` : ''}`;
}

/** A cell as an instant: ISO text or epoch milliseconds. */
function instantOf(v: unknown): number | null {
  return typeof v === 'string' || typeof v === 'number' || typeof v === 'bigint' ? readInstant(v) : null;
}

const DIGITS = /^\s*-?\d+\s*$/;

/**
 * The column that says when: `event_timestamp`, else the only one that holds instants (numbers count only where no column of
 * times does). Key columns are none.
 */
export async function timeColumn(spine: Spine, wanted: string | undefined, keys: ReadonlySet<string>): Promise<string> {
  const names = spine.columns.map(c => c.name);
  if (wanted !== undefined) {
    if (!names.includes(wanted)) throw badSpine(`the spine has no column '${wanted}'`, `${suggest(wanted, names)} Name the time column with --time.`);
    return wanted;
  }
  if (names.includes(DEFAULT_TIME)) return DEFAULT_TIME;
  const candidates = spine.columns.filter(c => !keys.has(c.name) && (c.kind === 'text' || c.kind === 'time' || c.kind === 'integer'));
  const found = candidates.map(c => ({ name: c.name, all: true, some: c.kind === 'time', digits: c.kind === 'integer' }));
  for await (const { values } of spine.scan(candidates.map(c => c.name)))
    values.forEach((list, i) => {
      if (found[i]!.all) judge(found[i]!, list);
    });
  const times = found.filter(f => f.all && f.some && !f.digits);
  const usable = times.length > 0 ? times : found.filter(f => f.all && f.some);
  if (usable.length === 1) return usable[0]!.name;
  if (usable.length === 0) throw badSpine(`the spine has no column '${DEFAULT_TIME}' and none that holds times: it has ${names.join(', ')}`, 'Name the time column with --time.');
  throw badSpine(`the spine has several columns of times: ${usable.map(u => u.name).join(', ')}`, `Name one: --time ${usable[0]!.name}`);
}

function judge(column: { all: boolean; some: boolean; digits: boolean }, values: readonly unknown[]): void {
  for (const v of values) {
    if (v === null) continue;
    const t = instantOf(v);
    // Numbers below a billion are counts and ids, not epoch milliseconds.
    if (t === null || (typeof v !== 'string' && column.digits && Math.abs(t) < 1e9)) {
      column.all = false;
      return;
    }
    column.some = true;
    if (typeof v === 'string' && DIGITS.test(v)) column.digits = true;
  }
}

/** Reads the instants of all rows into the spine. @throws FabraError BAD_SPINE naming the lines that have none. */
export async function setTimes(spine: Spine, column: string): Promise<void> {
  const bad: number[] = [];
  let more = 0;
  let sample: unknown;
  async function* instants(): AsyncGenerator<number[]> {
    for await (const { lines, values } of spine.scan([column])) {
      const out: number[] = [];
      for (let i = 0; i < lines.length; i++) {
        const t = instantOf(values[0]![i]);
        if (t === null) {
          sample ??= values[0]![i];
          if (bad.length < NAMED) bad.push(lines[i]!);
          else more++;
        }
        out.push(t ?? 0);
      }
      yield out;
    }
  }
  await spine.setTimes(instants());
  if (bad.length === 0) return;
  const what = sample === undefined || sample === null ? 'is empty' : `is no instant: ${JSON.stringify(String(sample))}`;
  throw badSpine(`${where(bad, more)}: ${column} ${what}`, 'Times are ISO 8601 (2025-01-15T12:05:00Z; without a zone: UTC) or epoch milliseconds.');
}
