/** Rows of a view or a handler as a relation: everything recorded, and what the SQL gives now. */
import { join } from 'node:path';
import type { TableRow, TableUnit } from '../../engine/units.ts';
import { splitKey } from '../../lib/text.ts';
import type { ViewCode } from '../../ports/table-store.ts';
import type { ViewPlan } from '../../registry/types.ts';
import { ident, text } from '../../sql/columns.ts';
import type { Duck } from '../duckdb/engine.ts';
import type { Embedded } from '../embedded/env.ts';
import { peek } from '../embedded/outbox.ts';
import { type TableFile, TableManifest } from './manifest.ts';
import { openSource } from './open-source.ts';
import { kColumns, readRows, stage } from './stage.ts';

export interface RelateOptions {
  env: Embedded;
  /** Folder of the offline store. */
  dir: string;
  /** Folder of the project: paths of sources are relative to it. */
  project: string;
  registry: ViewCode['registry'];
  /** Without `types`, values are not checked again. */
  code: Partial<ViewCode['code']>;
}

const ROW = ['eff', 'ts', 'created', 'text', 'gone'] as const;
const columnTypes = (keys: number): string => [...kColumns(keys).map(k => `${k} VARCHAR`), 'eff BIGINT', 'ts BIGINT', 'created BIGINT', 'text VARCHAR', 'gone BOOLEAN'].join(', ');

/**
 * Makes the DuckDB table `table:ID` with columns `k0…kn VARCHAR, eff, ts, created BIGINT, text VARCHAR, gone BOOLEAN`: all
 * recorded rows (runs, pushes, the outbox), once each; for a view of SQL with a time column also what the SQL gives now.
 * @throws FabraError SOURCE_FAILED, BAD_QUERY, BAD_VALUE from the SQL.
 */
export async function relateTable(db: Duck, options: RelateOptions, table: ViewPlan | TableUnit): Promise<string> {
  const name = `table:${table.id}`;
  const keys = options.registry.entities[table.entity]!.key.length;
  const n = db.next();
  const parts = [await recorded(db, options, table, `recorded${n}`)];
  const live = 'sql' in table && table.sql !== null && table.time !== null;
  if (live) {
    await stageNow(db, options, table, `now${n}`);
    parts.push(`SELECT ${kColumns(keys).concat('ts AS eff', 'ts', 'created', 'text', 'false AS gone', '1 AS src').join(', ')} FROM ${ident(`now${n}`)}`);
  }
  await db.run(`CREATE TABLE ${ident(name)} AS SELECT DISTINCT ${[...kColumns(keys), ...ROW].join(', ')} FROM (${parts.join(' UNION ALL ')})`);
  await db.run(`DROP TABLE ${ident(`recorded${n}`)}`);
  if (live) await db.run(`DROP TABLE ${ident(`now${n}`)}`);
  return name;
}

async function stageNow(db: Duck, options: RelateOptions, view: ViewPlan, into: string): Promise<void> {
  const code: ViewCode = { registry: options.registry, code: { addresses: options.code.addresses ?? new Map(), types: options.code.types ?? new Map() } };
  const source = await openSource({ db, view, code, project: options.project });
  try {
    await stage(db, into, options.registry.entities[view.entity]!.key.length, readRows(source, view, code, { db, counted: { read: 0, skipped: 0 } }));
  } finally {
    await source.close();
  }
}

/**
 * All recorded rows of a table, with where they came from (`src`: 1 a run, 0 from outside): fills the DuckDB table `rest` with the
 * outbox's tail and gives the SQL over both. Files and tail are of one snapshot. `newest`: of a result listed under many times,
 * the last alone.
 */
export async function recorded(
  db: Duck,
  options: Pick<RelateOptions, 'env' | 'dir' | 'registry'>,
  table: Pick<ViewPlan, 'id' | 'hash' | 'entity'>,
  rest: string,
  newest = false,
): Promise<string> {
  const keys = options.registry.entities[table.entity]!.key.length;
  const manifest = new TableManifest(options.env);
  options.env.refresh();
  const files = manifest.files(table.id, table.hash);
  const tail = peek(options.env, 0, Number.MAX_SAFE_INTEGER).filter(r => r.table.id === table.id && r.table.hash === table.hash);
  await db.run(`CREATE TABLE ${ident(rest)} (${columnTypes(keys)})`);
  await appendRows(db, rest, keys, tail);
  return [...fileParts(options.dir, files, keys, newest), `SELECT ${[...kColumns(keys), ...ROW].join(', ')}, 0 AS src FROM ${ident(rest)}`].join(' UNION ALL ');
}

/** Appends rows to a DuckDB table of {@link ROW} and keys. */
export async function appendRows(db: Duck, table: string, keys: number, rows: readonly { key: string; row: TableRow }[]): Promise<void> {
  if (rows.length === 0) return;
  const split = rows.map(r => splitKey(r.key, keys));
  await db.append(table, [
    ...kColumns(keys).map((_, i) => ({ type: 'VARCHAR' as const, values: split.map(k => k[i]!) })),
    { type: 'BIGINT', values: rows.map(r => r.row.eff) },
    { type: 'BIGINT', values: rows.map(r => r.row.ts) },
    { type: 'BIGINT', values: rows.map(r => r.row.created) },
    { type: 'VARCHAR', values: rows.map(r => r.row.text) },
    { type: 'BOOLEAN', values: rows.map(r => r.row.gone) },
  ]);
}

export const createRows = (table: string, keys: number): string => `CREATE TABLE ${ident(table)} (${columnTypes(keys)})`;

/** Files with their own times, and those whose rows have the time they are listed under. */
function fileParts(dir: string, files: readonly TableFile[], keys: number, newest: boolean): string[] {
  const path = (f: TableFile): string => text(join(dir, f.file));
  const read = (list: string, more = '') => `read_parquet([${list}], hive_partitioning = false${more})`;
  const parts: string[] = [];
  for (const from of ['run', 'given'] as const) {
    const some = files.filter(f => f.from === from && f.at === null);
    if (some.length > 0) parts.push(`SELECT ${[...kColumns(keys), ...ROW].join(', ')}, ${from === 'run' ? 1 : 0} AS src FROM ${read(some.map(path).join(', '))}`);
  }
  const timed = files.filter(f => f.at !== null);
  const last = new Map(timed.map(f => [f.file, f.at!]));
  for (const f of timed) last.set(f.file, Math.max(f.at!, last.get(f.file)!));
  for (const [file, times] of timesOf(timed)) {
    const at = newest ? [last.get(file)!] : times;
    parts.push(
      `SELECT ${kColumns(keys)
        .map(k => `r.${k}`)
        .concat('a.at AS eff', 'a.at AS ts', 'r.created', 'r.text', 'false AS gone')
        .join(', ')}, 1 AS src FROM ${read(text(join(dir, file)))} r, (SELECT unnest([${at.join(', ')}]::BIGINT[]) AS at) a`,
    );
  }
  return parts;
}

function timesOf(files: readonly TableFile[]): Map<string, number[]> {
  const out = new Map<string, number[]>();
  // One listing a run: a copy of the list for each would be quadratic within days.
  for (const f of files) {
    const times = out.get(f.file);
    if (times) times.push(f.at!);
    else out.set(f.file, [f.at!]);
  }
  return out;
}
