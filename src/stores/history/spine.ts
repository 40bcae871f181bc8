/** Rows to label as a DuckDB table: `c<i>` are their columns as they came, `rid` their order, `line` where they stood. */
import type { Cell } from '../../engine/values.ts';
import { approx } from '../../engine/approx.ts';
import { toFabraError } from '../../lib/errors.ts';
import type { LabelColumn, Spine, SpineChunk, SpineColumn, SpineSource } from '../../ports/offline-store.ts';
import type { Registry, ValueType, WindowFeaturePlan } from '../../registry/types.ts';
import { ident, text } from '../../sql/columns.ts';
import type { Duck, DuckValue } from '../duckdb/engine.ts';
import { pointInTime } from '../duckdb/point-in-time.ts';

/** What of a view a spine needs. */
interface Host {
  readonly db: Duck;
  readonly compiled: { registry: Registry };
  logs(): Record<string, string>;
}

/** Rows given to the appender at once. */
const APPEND = 20_480;

export async function openSpine(host: Host, source: SpineSource): Promise<FileSpine> {
  const table = `spine${host.db.next()}`;
  const columns = 'parquet' in source ? await loadParquet(host.db, table, source.parquet) : await loadText(host.db, table, source);
  const [n] = await host.db.rows(`SELECT count(*) AS n FROM ${ident(table)}`);
  return new FileSpine(host, table, columns, Number(n!.n), 'parquet' in source);
}

async function loadParquet(db: Duck, table: string, file: string): Promise<(SpineColumn & { sql: string })[]> {
  const from = `read_parquet(${text(file)}, file_row_number = true, hive_partitioning = false)`;
  const described = (await db.rows(`DESCRIBE SELECT * EXCLUDE (file_row_number) FROM ${from}`)).map(d => ({ name: String(d.column_name), sql: String(d.column_type) }));
  const list = described.map((c, i) => `, ${ident(c.name)} AS c${i}`).join('');
  await db.run(`CREATE TABLE ${ident(table)} AS SELECT file_row_number AS rid, file_row_number + 1 AS line${list} FROM ${from} ORDER BY file_row_number`);
  return described.map(c => ({ ...c, kind: kindOf(c.sql) }));
}

function kindOf(type: string): SpineColumn['kind'] {
  if (type === 'VARCHAR') return 'text';
  if (/^(TIMESTAMP|DATE)/.test(type)) return 'time';
  if (/^U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$/.test(type)) return 'integer';
  return /^(DOUBLE|FLOAT|DECIMAL)/.test(type) ? 'number' : 'other';
}

async function loadText(db: Duck, table: string, source: Exclude<SpineSource, { parquet: string }>): Promise<(SpineColumn & { sql: string })[]> {
  await db.run(`CREATE TABLE ${ident(table)} (rid BIGINT, line BIGINT${source.columns.map((_, i) => `, c${i} VARCHAR`).join('')})`);
  let rid = 0;
  for await (const { lines, cells } of source.batches) {
    await db.append(table, [
      { type: 'BIGINT', values: lines.map((_, i) => rid + i) },
      { type: 'BIGINT', values: lines },
      ...cells.map(values => ({ type: 'VARCHAR' as const, values })),
    ]);
    rid += lines.length;
  }
  return source.columns.map(name => ({ name, kind: 'text', sql: 'VARCHAR' }));
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
  readonly columns: readonly (SpineColumn & { sql: string })[];
  readonly rows: number;
  private readonly host: Host;
  private readonly table: string;
  private readonly typed: boolean;

  constructor(host: Host, table: string, columns: readonly (SpineColumn & { sql: string })[], rows: number, typed: boolean) {
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

  async *ask(features: readonly WindowFeaturePlan[], keys: Record<string, string[]>, extra: readonly string[]): AsyncGenerator<SpineChunk> {
    const { db } = this.host;
    const keyColumns: Record<string, string[]> = {};
    const parts: string[] = [];
    for (const [e, [entity, names]] of Object.entries(keys).entries()) {
      keyColumns[entity] = names.map((_, i) => `k${e}_${i}`);
      names.forEach((name, i) => parts.push(`${keySql(`c${this.index(name)}`, this.columns[this.index(name)]!)} AS k${e}_${i}`));
    }
    const asked = `${this.table}_asked`;
    const from = `${ident(this.table)} POSITIONAL JOIN ${ident(`${this.table}_t`)}`;
    await db.run(`CREATE TABLE ${ident(asked)} AS SELECT ${['rid', 't', ...parts].join(', ')} FROM ${from}`);
    const entities = Object.keys(keys);
    const whole = entities.map(e => `coalesce(${keyColumns[e]!.map(k => `a.${k} <> ''`).join(' AND ')}, false)`);
    const beside = `SELECT ${['a.t', ...whole, ...extra.map(x => `s.c${this.index(x)}`)].join(', ')} FROM ${ident(asked)} a POSITIONAL JOIN ${ident(this.table)} s`;
    const rows = new Lockstep(db.stream(beside));
    try {
      for await (const cells of this.cells(features, asked, keyColumns)) {
        const columns = await rows.take(cells.rows);
        const keyed = Object.fromEntries(entities.map((e, i) => [e, columns[1 + i] as boolean[]]));
        yield { cells: cells.cells, at: columns[0] as number[], keyed, extra: columns.slice(1 + entities.length) };
      }
    } finally {
      await rows.close();
      await db.run(`DROP TABLE IF EXISTS ${ident(asked)}`);
    }
  }

  private async *cells(features: readonly WindowFeaturePlan[], spine: string, keyColumns: Record<string, string[]>): AsyncGenerator<{ rows: number; cells: Cell[][] }> {
    const { db, compiled } = this.host;
    if (features.length > 0)
      return yield* pointInTime(db, { registry: compiled.registry, features: [...features], logs: this.host.logs(), spine, keyColumns, approx, wantTs: false });
    for (let at = 0; at < this.rows; at += 2048) yield { rows: Math.min(2048, this.rows - at), cells: [] };
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
    const own = this.columns.map((c, i) => `${types[i] ? `CAST(s.c${i} AS ${types[i]})` : `s.c${i}`} AS ${ident(c.name)}`);
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

/** A second stream over the same rows, cut as the first one's chunks are. */
class Lockstep {
  private readonly chunks: AsyncGenerator<{ rows: number; columns: DuckValue[][] }>;
  private held: DuckValue[][] = [];

  constructor(chunks: AsyncGenerator<{ rows: number; columns: DuckValue[][] }>) {
    this.chunks = chunks;
  }

  async take(rows: number): Promise<DuckValue[][]> {
    while ((this.held[0]?.length ?? 0) < rows) {
      const { value, done } = await this.chunks.next();
      if (done) throw new Error('the spine ended early');
      this.held = this.held.length === 0 ? value.columns : this.held.map((c, i) => c.concat(value.columns[i]!));
    }
    const out = this.held.map(c => c.slice(0, rows));
    this.held = this.held.map(c => c.slice(rows));
    return out;
  }

  async close(): Promise<void> {
    await this.chunks.return(undefined);
  }
}
