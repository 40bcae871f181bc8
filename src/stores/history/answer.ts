/** Cells of stored features at the rows of a spine: windows in SQL, rows by ASOF join, folds by their own code; streamed side by side. */
import { approx } from '../../engine/approx.ts';
import { rowCell } from '../../engine/cells.ts';
import type { TableRow } from '../../engine/units.ts';
import type { Cell } from '../../engine/values.ts';
import type { HistoryCode } from '../../ports/offline-store.ts';
import type { FoldFeaturePlan, OnFeaturePlan, StoredFeaturePlan, TableFeaturePlan, WindowFeaturePlan } from '../../registry/types.ts';
import { ident } from '../../sql/columns.ts';
import { countingSql, type RowsSql, rowsAtSql } from '../../sql/rows.ts';
import type { Duck, DuckValue } from '../duckdb/engine.ts';
import { pointInTime } from '../duckdb/point-in-time.ts';
import { foldCells } from './folds.ts';
import { type Columns, Lockstep } from './lockstep.ts';

/** What of a view an answer needs. */
export interface AnswerHost {
  readonly db: Duck;
  readonly compiled: HistoryCode;
  /** Relations by stream for the point-in-time SQL. */
  logs(): Record<string, string>;
  /** Makes the relation `table:ID` once and names it. */
  table(id: string): Promise<string>;
}

export interface Question {
  /** Relation with `rid` (0..n-1), `t` and the columns that `keySets` name. */
  spine: string;
  /** Lists of key columns; asks name one by its place. */
  keySets: readonly (readonly string[])[];
  asks: readonly { feature: StoredFeaturePlan; keys: number }[];
  rows: number;
  wantTs: boolean;
  asOfCreated: boolean;
}

type Row = TableFeaturePlan | OnFeaturePlan;
type Part = { asks: number[]; stream: AsyncGenerator<Columns<Cell>> };

const CHUNK = 2048;

/** Chunks with one list of cells per ask. */
export async function* answer(host: AnswerHost, q: Question): AsyncGenerator<{ rows: number; cells: Cell[][] }> {
  const parts = partsOf(host, q);
  const steps = parts.map(p => new Lockstep(p.stream));
  try {
    for (let at = 0; at < q.rows; at += CHUNK) {
      const rows = Math.min(CHUNK, q.rows - at);
      const cells: Cell[][] = q.asks.map(() => []);
      for (const [p, step] of steps.entries()) (await step.take(rows)).forEach((column, i) => (cells[parts[p]!.asks[i]!] = column));
      yield { rows, cells };
    }
  } finally {
    for (const step of steps) await step.close();
  }
}

/** Asks that one query answers: windows of one choice of key columns, features of one table, folds of the same events. */
function partsOf(host: AnswerHost, q: Question): Part[] {
  const byPart = new Map<string, number[]>();
  q.asks.forEach(({ feature: f, keys }, i) => {
    // An entity has one list of key columns per query: the same feature under another alias is another query.
    const place = f.kind === 'window' ? `window/${windowRound(q, i)}` : f.kind === 'fold' ? `fold/${f.entity}/${keys}/${f.events.join()}` : `rows/${keys}/${tableOf(f)}`;
    byPart.set(place, [...(byPart.get(place) ?? []), i]);
  });
  return [...byPart.values()].map(asks => {
    const first = q.asks[asks[0]!]!;
    const keys = q.keySets[first.keys]!;
    const features = asks.map(i => q.asks[i]!.feature);
    if (first.feature.kind === 'window') return { asks, stream: windowCells(host, q, asks) };
    if (first.feature.kind === 'fold') return { asks, stream: foldCells(host, { spine: q.spine, keys, folds: features as FoldFeaturePlan[] }) };
    return { asks, stream: tableCells(host, q, features as Row[], keys) };
  });
}

/** How many other lists of key columns the entity had before this ask. */
function windowRound(q: Question, i: number): number {
  const { feature, keys } = q.asks[i]!;
  const seen: number[] = [];
  for (const a of q.asks.slice(0, i + 1)) if (a.feature.kind === 'window' && a.feature.entity === feature.entity && !seen.includes(a.keys)) seen.push(a.keys);
  return seen.indexOf(keys);
}

const tableOf = (f: Row): string => (f.kind === 'table' ? f.view : f.id);

async function* windowCells(host: AnswerHost, q: Question, asks: readonly number[]): AsyncGenerator<Columns<Cell>> {
  const keyColumns: Record<string, string[]> = {};
  for (const i of asks) keyColumns[q.asks[i]!.feature.entity] = [...q.keySets[q.asks[i]!.keys]!];
  const features = asks.map(i => q.asks[i]!.feature as WindowFeaturePlan);
  const { registry } = host.compiled;
  for await (const { rows, cells } of pointInTime(host.db, { registry, features, logs: host.logs(), spine: q.spine, keyColumns, approx, wantTs: q.wantTs }))
    yield { rows, columns: cells };
}

async function* tableCells(host: AnswerHost, q: Question, features: readonly Row[], keys: readonly string[]): AsyncGenerator<Columns<Cell>> {
  const { db } = host;
  const first = features[0]!;
  const handler = first.kind === 'on';
  const name = `rows${db.next()}`;
  const [counting, found] = [`${name}_counting`, `${name}_found`];
  // What a handler recorded has its turn's number where rows of a source have the time they were written.
  const sql: RowsSql = { relation: await host.table(tableOf(first)), spine: q.spine, keys, inclusive: !handler, asOfCreated: q.asOfCreated && !handler };
  try {
    await db.run(`CREATE TABLE ${ident(counting)} AS ${countingSql(sql)}`);
    await db.run(`CREATE TABLE ${ident(found)} AS ${rowsAtSql(sql, counting)}`);
    await db.run(`DROP TABLE ${ident(counting)}`);
    for await (const { rows, columns } of db.stream(`SELECT t, ts, text, gone FROM ${ident(found)}`)) {
      const [t, ts, text, gone] = columns as [number[], DuckValue[], DuckValue[], DuckValue[]];
      const row = (i: number): TableRow | null =>
        ts[i] === null ? null : { eff: ts[i] as number, ts: ts[i] as number, created: null, text: String(text[i] ?? ''), gone: gone[i] === true };
      const found = Array.from({ length: rows }, (_, i) => row(i));
      yield { rows, columns: features.map(f => found.map((r, i) => rowCell(f, r, t[i]!))) };
    }
  } finally {
    for (const table of [counting, found]) await db.run(`DROP TABLE IF EXISTS ${ident(table)}`);
  }
}
