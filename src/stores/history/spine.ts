/** Rows to label as a DuckDB table: `c<i>` are their columns as they came, `rid` their order, `line` where they stood. */
import { toFabraError } from '../../lib/errors.ts';
import type { LabelColumn, Spine, SpineChunk, SpineColumn, SpineQuestion, SpineSource } from '../../ports/offline-store.ts';
import type { ValueType } from '../../registry/types.ts';
import { ident, text } from '../../sql/columns.ts';
import type { DuckValue } from '../duckdb/engine.ts';
import { type AnswerHost, answer } from './answer.ts';
import { loadChanges, loadParquet, loadSql, loadText, type TypedColumn } from './load.ts';
import { Lockstep } from './lockstep.ts';

/** Rows given to the appender at once. */
const APPEND = 20_480;

/** Makes the table of a source and says what its columns are. */
function loadSpine(host: AnswerHost, table: string, source: SpineSource): Promise<TypedColumn[]> {
  if ('parquet' in source) return loadParquet(host.db, table, source.parquet);
  if ('sql' in source) return loadSql(host.db, table, source);
  return 'changes' in source ? loadChanges(host, table, source) : loadText(host.db, table, source);
}

export async function openSpine(host: AnswerHost, source: SpineSource): Promise<FileSpine> {
  const table = `spine${host.db.next()}`;
  const columns = await loadSpine(host, table, source);
  const [n] = await host.db.rows(`SELECT count(*) AS n FROM ${ident(table)}`);
  return new FileSpine(host, table, columns, Number(n!.n), !('columns' in source));
}

/** A time as a number: microseconds, of nanosecond columns nanoseconds. */
function timeSql(column: string, type: string): { sql: string; perMs: bigint } {
  if (type === 'TIMESTAMP_NS') return { sql: `epoch_ns(${column})`, perMs: 1_000_000n };
  if (type === 'TIMESTAMP WITH TIME ZONE') return { sql: `epoch_us(${column})`, perMs: 1_000n };
  return { sql: `epoch_us(CAST(${column} AS TIMESTAMP))`, perMs: 1_000n };
}

function floorMs(v: DuckValue, perMs: bigint): number | null {
  if (v === null) return null;
  if (typeof v === 'number') return Math.floor(v / Number(perMs));
  const big = v as bigint;
  return Number(big / perMs - (big % perMs < 0n ? 1n : 0n));
}

/** Keys are compared as text; whole numbers in a column of doubles (a data frame's integers with gaps) as integers. */
function keySql(column: string, c: SpineColumn): string {
  if (c.kind === 'text') return column;
  const plain = `CAST(${column} AS VARCHAR)`;
  return c.kind === 'number' ? `CASE WHEN ${column} = trunc(${column}) AND abs(${column}) < 1e15 THEN CAST(CAST(${column} AS BIGINT) AS VARCHAR) ELSE ${plain} END` : plain;
}

export class FileSpine implements Spine {
  readonly columns: readonly TypedColumn[];
  readonly rows: number;
  private readonly host: AnswerHost;
  private readonly table: string;
  private readonly typed: boolean;

  constructor(host: AnswerHost, table: string, columns: readonly TypedColumn[], rows: number, typed: boolean) {
    this.host = host;
    this.table = table;
    this.columns = columns;
    this.rows = rows;
    this.typed = typed;
  }

  private index(name: string): number {
    const i = this.columns.findIndex(c => c.name === name);
    if (i < 0) throw new Error(`the spine has no column ${name}`);
    return i;
  }

  async *scan(names: readonly string[]): AsyncGenerator<{ lines: number[]; values: unknown[][] }> {
    const parts = names.map(name => {
      const i = this.index(name);
      return this.columns[i]!.kind === 'time' ? timeSql(`c${i}`, this.columns[i]!.sql) : { sql: `c${i}`, perMs: null };
    });
    for await (const chunk of this.host.db.stream(`SELECT ${['line', ...parts.map(p => p.sql)].join(', ')} FROM ${ident(this.table)}`)) {
      const [lines, ...values] = chunk.columns as [number[], ...DuckValue[][]];
      yield { lines, values: values.map((list, i) => (parts[i]!.perMs === null ? list : list.map(v => floorMs(v, parts[i]!.perMs!)))) };
    }
  }

  async setTimes(times: AsyncIterable<number[]>): Promise<void> {
    const name = `${this.table}_t`;
    await this.host.db.run(`CREATE TABLE ${ident(name)} (t BIGINT)`);
    for await (const values of inSlices(times, list => [list])) await this.host.db.append(name, [{ type: 'BIGINT', values: values[0]! as number[] }]);
  }

  async *ask(q: SpineQuestion): AsyncGenerator<SpineChunk> {
    const { db } = this.host;
    const keyColumns = q.keySets.map((names, s) => names.map((_, i) => `k${s}_${i}`));
    const parts = q.keySets.flatMap((names, s) => names.map((name, i) => `${keySql(`c${this.index(name)}`, this.columns[this.index(name)]!)} AS k${s}_${i}`));
    const asked = `${this.table}_asked`;
    const from = `${ident(this.table)} POSITIONAL JOIN ${ident(`${this.table}_t`)}`;
    await db.run(`CREATE TABLE ${ident(asked)} AS SELECT ${['rid', 't', ...parts].join(', ')} FROM ${from}`);
    const whole = keyColumns.map(set => (set.length === 0 ? 'true' : `coalesce(${set.map(k => `a.${k} <> ''`).join(' AND ')}, false)`));
    const keys = q.wantKeys ? keyColumns.flat().map(k => `a.${k}`) : [];
    const beside = `SELECT ${['a.t', ...whole, ...keys, ...q.extra.map(x => `s.c${this.index(x)}`)].join(', ')} FROM ${ident(asked)} a POSITIONAL JOIN ${ident(this.table)} s`;
    const rows = new Lockstep(db.stream(beside));
    try {
      const question = { spine: asked, keySets: keyColumns, asks: q.asks, rows: this.rows, wantTs: false, asOfCreated: q.asOfCreated };
      for await (const { rows: n, cells } of answer(this.host, question)) {
        const [at, ...rest] = await rows.take(n);
        const keyed = rest.splice(0, whole.length) as boolean[][];
        const texts = rest.splice(0, keys.length) as (string | null)[][];
        yield { cells, at: at as number[], keyed, keys: q.wantKeys ? keyColumns.map(set => texts.splice(0, set.length)) : [], extra: rest };
      }
    } finally {
      await rows.close();
      await db.run(`DROP TABLE IF EXISTS ${ident(asked)}`);
    }
  }

  async write(file: string, format: 'csv' | 'parquet', labels: readonly LabelColumn[], chunks: AsyncIterable<(string | null)[][]>): Promise<void> {
    const { db } = this.host;
    const out = `${this.table}_out`;
    await db.run(`CREATE TABLE ${ident(out)} (${labels.map((_, i) => `v${i} VARCHAR`).join(', ') || 'v0 VARCHAR'})`);
    for await (const values of inSlices(chunks, c => c))
      if (labels.length > 0)
        await db.append(
          out,
          values.map(v => ({ type: 'VARCHAR' as const, values: v as (string | null)[] })),
        );
    const types = format === 'parquet' && !this.typed ? await this.textTypes() : this.columns.map(() => null);
    const own = this.columns.map((c, i) => `${types[i] ? `CAST(s.c${i} AS ${types[i]})` : format === 'csv' ? csvSql(`s.c${i}`, c) : `s.c${i}`} AS ${ident(c.name)}`);
    const added = labels.map((l, i) => `${format === 'csv' ? `o.v${i}` : labelSql(`o.v${i}`, l.type)} AS ${ident(l.name)}`);
    const join = labels.length > 0 ? ` POSITIONAL JOIN ${ident(out)} o` : '';
    const how = format === 'csv' ? `FORMAT csv, HEADER true${file.endsWith('.gz') ? ', COMPRESSION gzip' : ''}` : 'FORMAT parquet, COMPRESSION zstd';
    try {
      await db.run(`COPY (SELECT ${[...own, ...added].join(', ')} FROM ${ident(this.table)} s${join}) TO ${text(file)} (${how})`);
    } catch (e) {
      throw toFabraError(e);
    }
  }

  /** A text column of a CSV becomes typed where every cell comes back as the very same text. */
  private async textTypes(): Promise<(string | null)[]> {
    const tests = this.columns.map((_, i) => {
      const same = (type: string) => `CAST(TRY_CAST(c${i} AS ${type}) AS VARCHAR)`;
      const every = (condition: string) => `coalesce(bool_and(coalesce(${condition}, false)) FILTER (c${i} IS NOT NULL), false)`;
      const double = `regexp_matches(c${i}, '^-?[0-9]') AND (${same('DOUBLE')} = c${i} OR ${same('DOUBLE')} = c${i} || '.0')`;
      return `CASE WHEN ${every(`${same('BIGINT')} = c${i}`)} THEN 'BIGINT' WHEN ${every(`c${i} IN ('true', 'false')`)} THEN 'BOOLEAN' WHEN ${every(double)} THEN 'DOUBLE' END AS t${i}`;
    });
    if (tests.length === 0) return [];
    const [row] = await this.host.db.rows(`SELECT ${tests.join(', ')} FROM ${ident(this.table)}`);
    return this.columns.map((_, i) => (row![`t${i}`] as string | null) ?? null);
  }

  async close(): Promise<void> {
    for (const suffix of ['', '_t', '_out', '_asked']) await this.host.db.run(`DROP TABLE IF EXISTS ${ident(this.table + suffix)}`);
  }
}

/** Instants as ISO text in UTC; what has no zone stays as it is. */
const csvSql = (column: string, c: TypedColumn): string => (c.sql === 'TIMESTAMP WITH TIME ZONE' ? `strftime(${column}, '%Y-%m-%dT%H:%M:%S.%gZ')` : column);

const SQL_TYPE: Record<ValueType['base'], string> = { number: 'DOUBLE', int: 'BIGINT', int64: 'BIGINT', string: 'VARCHAR', boolean: 'BOOLEAN', json: 'VARCHAR' };

const labelSql = (v: string, type: ValueType): string => {
  if (type.list) return `CAST(CAST(${v} AS JSON) AS ${SQL_TYPE[type.base]}[])`;
  return SQL_TYPE[type.base] === 'VARCHAR' ? v : `CAST(${v} AS ${SQL_TYPE[type.base]})`;
};

/** Joins small chunks, so that the appender is opened rarely. */
async function* inSlices<T>(chunks: AsyncIterable<T>, columns: (chunk: T) => readonly unknown[][]): AsyncGenerator<unknown[][]> {
  let held: unknown[][] | null = null;
  for await (const chunk of chunks) {
    const next = columns(chunk);
    if (!held) held = next.map(c => [...c]);
    else
      next.forEach((c, i) => {
        for (const v of c) held![i]!.push(v);
      });
    if ((held[0]?.length ?? 0) < APPEND) continue;
    yield held;
    held = null;
  }
  if (held) yield held;
}
