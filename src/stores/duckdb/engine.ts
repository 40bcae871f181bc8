/** A small face on DuckDB: open, run, stream columns, append columns, close. The driver is loaded on first use only. */
import type { DuckDBConnection, DuckDBDataChunk, DuckDBInstance, DuckDBType, DuckDBValue } from '@duckdb/node-api';
import { type DuckValue, readVector } from './read.ts';
import { writeInt64 } from './write.ts';

export type { DuckValue } from './read.ts';

export interface DuckOptions {
  threads?: number;
  /** As DuckDB writes it: `4GB`. */
  memoryLimit?: string;
  /** Where sorts and joins spill; without it an over-full memory is an error. */
  tempDir?: string;
}

export interface DuckChunk {
  rows: number;
  columns: DuckValue[][];
}

export type AppendType = 'BIGINT' | 'INTEGER' | 'VARCHAR' | 'BOOLEAN';
export interface AppendColumn {
  type: AppendType;
  values: ArrayLike<string | number | bigint | boolean | null | undefined>;
}

/** A value for `$1`, `$2`, …: whole numbers go as BIGINT, others as DOUBLE. */
export type DuckParam = string | number | bigint | boolean | null;

/** The driver throws its own kinds; callers get a plain Error with DuckDB's words. */
function plainError(e: unknown): Error {
  return new Error(e instanceof Error ? e.message : String(e));
}

export class Duck {
  private readonly instance: DuckDBInstance;
  private readonly connection: DuckDBConnection;
  private readonly driver: typeof import('@duckdb/node-api');
  private serial = 0;

  private constructor(driver: typeof import('@duckdb/node-api'), instance: DuckDBInstance, connection: DuckDBConnection) {
    this.driver = driver;
    this.instance = instance;
    this.connection = connection;
  }

  /** In memory. */
  static async open(options: DuckOptions = {}): Promise<Duck> {
    const config: Record<string, string> = {};
    if (options.threads !== undefined) config.threads = String(options.threads);
    if (options.memoryLimit !== undefined) config.memory_limit = options.memoryLimit;
    if (options.tempDir !== undefined) config.temp_directory = options.tempDir;
    try {
      const driver = await import('@duckdb/node-api');
      const instance = await driver.DuckDBInstance.create(':memory:', config);
      const connection = await instance.connect();
      // What has no zone is UTC, whatever the machine's own is.
      await connection.run("SET GLOBAL TimeZone = 'UTC'");
      return new Duck(driver, instance, connection);
    } catch (e) {
      throw plainError(e);
    }
  }

  /** A number no other call gets: for names of tables that must not meet. */
  next(): number {
    return this.serial++;
  }

  async run(sql: string): Promise<void> {
    try {
      await this.connection.run(sql);
    } catch (e) {
      throw plainError(e);
    }
  }

  /** Makes a table of what one SELECT gives, its rows in order. @throws Error when the text is several statements, or one that does more than read. */
  async select(sql: string, into: string): Promise<void> {
    const { StatementType } = this.driver;
    try {
      const statements = await this.connection.extractStatements(sql);
      if (statements.count !== 1) throw new Error(statements.count === 0 ? 'no statement' : 'more than one statement');
      const prepared = await statements.prepare(0);
      const type = prepared.statementType;
      prepared.destroySync();
      if (type !== StatementType.SELECT) throw new Error('not a SELECT');
      await this.connection.run(`CREATE TABLE "${into.replaceAll('"', '""')}" AS ${sql}`);
    } catch (e) {
      throw plainError(e);
    }
  }

  /** All rows of a small result, as objects. */
  async rows(sql: string): Promise<Record<string, DuckValue>[]> {
    try {
      const result = await this.connection.run(sql);
      const names = result.columnNames();
      const out: Record<string, DuckValue>[] = [];
      for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
        const columns = columnsOf(chunk);
        for (let i = 0; i < chunk.rowCount; i++) out.push(Object.fromEntries(names.map((name, c) => [name, columns[c]?.[i] ?? null])));
      }
      return out;
    } catch (e) {
      throw plainError(e);
    }
  }

  /**
   * Chunks of about 2,048 rows as arrays of columns, in the order of the result. On a connection of its own, because the
   * next statement on a connection ends its open stream; temporary tables are therefore not seen here. Ends with an error when
   * the signal aborts.
   */
  async *stream(sql: string, params: readonly DuckParam[] = [], signal?: AbortSignal): AsyncGenerator<DuckChunk> {
    const own = await this.instance.connect();
    const interrupt = () => own.interrupt();
    signal?.addEventListener('abort', interrupt, { once: true });
    try {
      if (signal?.aborted) throw new Error('INTERRUPT Error: Interrupted!');
      const result = await own.stream(sql, ...this.bound(params));
      for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk())
        yield { rows: chunk.rowCount, columns: columnsOf(chunk) };
    } catch (e) {
      throw plainError(e);
    } finally {
      signal?.removeEventListener('abort', interrupt);
      own.closeSync();
    }
  }

  /** Names and types of a query's columns, `JSON` told from text; call it with LIMIT 0. Ends with an error when the signal aborts. */
  async describe(sql: string, params: readonly DuckParam[] = [], signal?: AbortSignal): Promise<{ name: string; type: string }[]> {
    const own = await this.instance.connect();
    const interrupt = () => own.interrupt();
    signal?.addEventListener('abort', interrupt, { once: true });
    try {
      if (signal?.aborted) throw new Error('INTERRUPT Error: Interrupted!');
      const result = await own.run(sql, ...this.bound(params));
      const types = result.columnTypes();
      return result.columnNames().map((name, i) => ({ name, type: types[i]!.alias ?? types[i]!.toString() }));
    } catch (e) {
      throw plainError(e);
    } finally {
      signal?.removeEventListener('abort', interrupt);
      own.closeSync();
    }
  }

  private bound(params: readonly DuckParam[]): [DuckDBValue[], DuckDBType[]] {
    const { VARCHAR, BOOLEAN, BIGINT, HUGEINT, DOUBLE, SQLNULL } = this.driver;
    const typeOf = (v: DuckParam): DuckDBType =>
      v === null
        ? SQLNULL
        : typeof v === 'string'
          ? VARCHAR
          : typeof v === 'boolean'
            ? BOOLEAN
            : typeof v === 'bigint'
              ? BigInt.asIntN(64, v) === v
                ? BIGINT
                : HUGEINT
              : Number.isSafeInteger(v)
                ? BIGINT
                : DOUBLE;
    return [params.map(v => (Number.isSafeInteger(v) ? BigInt(v as number) : v)), params.map(typeOf)];
  }

  /** Appends whole columns to an existing table; `undefined` is null. All columns of the table, in its order. */
  async append(table: string, columns: AppendColumn[]): Promise<void> {
    const { driver } = this;
    const types: Record<AppendType, DuckDBType> = { BIGINT: driver.BIGINT, INTEGER: driver.INTEGER, VARCHAR: driver.VARCHAR, BOOLEAN: driver.BOOLEAN };
    try {
      const appender = await this.connection.createAppender(table);
      const total = columns[0]?.values.length ?? 0;
      for (let from = 0; from < total; from += 2048) {
        const rows = Math.min(2048, total - from);
        const chunk = driver.DuckDBDataChunk.create(
          columns.map(c => types[c.type]),
          rows,
        );
        columns.forEach((c, i) => {
          if (c.type !== 'BIGINT' || !writeInt64(chunk.getColumnVector(i), c.values, from, rows)) chunk.setColumnValues(i, slice(c, from, rows));
        });
        appender.appendDataChunk(chunk);
      }
      appender.closeSync();
    } catch (e) {
      throw plainError(e);
    }
  }

  close(): void {
    this.connection.closeSync();
    this.instance.closeSync();
  }
}

function columnsOf(chunk: DuckDBDataChunk): DuckValue[][] {
  return Array.from({ length: chunk.columnCount }, (_, c) => readVector(chunk.getColumnVector(c), chunk.rowCount));
}

function slice(column: AppendColumn, from: number, rows: number): (string | number | bigint | boolean | null)[] {
  const out = new Array<string | number | bigint | boolean | null>(rows);
  for (let i = 0; i < rows; i++) {
    const v = column.values[from + i] ?? null;
    out[i] = v !== null && column.type === 'BIGINT' ? BigInt(v) : v;
  }
  return out;
}
