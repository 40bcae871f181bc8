/** Values that come as rows: SQL over files or Postgres (`query`), or from outside (`pushed`). The newest row at T counts. */
import type { z } from 'zod';
import { FabraError } from '../lib/errors.ts';
import { type DurationText, parseDuration } from '../lib/duration.ts';
import { attempt, checkOptions, define } from './site.ts';

export type SqlParam = string | number | boolean | bigint | null;

/** A statement with its parameters apart: `$1`, `$2`, … in the text. Made by {@link sql}. */
export interface Sql {
  readonly kind: 'sql';
  readonly text: string;
  readonly params: readonly SqlParam[];
}

/**
 * SQL whose interpolated values are parameters, never text.
 * @throws FabraError BAD_DEFINITION for a value that cannot be one.
 * @example sql`select user_id, favorite_category, updated_at from orders where total >= ${10}`
 */
export function sql(strings: TemplateStringsArray, ...values: readonly SqlParam[]): Sql {
  const params = attempt(() => {
    const wrong = values.find(v => v !== null && !['string', 'number', 'boolean', 'bigint'].includes(typeof v));
    if (wrong !== undefined || values.some(v => typeof v === 'number' && !Number.isFinite(v)))
      throw new FabraError('BAD_DEFINITION', `sql: ${String(wrong)} is not a parameter`, { hint: 'Parameters are text, finite numbers, booleans, bigints or null.' });
    return values;
  }, []);
  const text = strings.reduce((out, part, i) => (i === 0 ? part : `${out}$${i}${part}`), '');
  return define({ kind: 'sql' as const, text: text.trim(), params: Object.freeze([...params]) }, sql);
}

interface SourceBase {
  /** Column of a row's event time. Without one, a row has the time of the run that read it. */
  time?: string;
  /** Column that says when a row was written: the newest wins among rows of one time. */
  created?: string;
  /** Column of the source -> name used here: `{ id: 'user_id' }`. */
  fieldMapping?: Readonly<Record<string, string>>;
  description?: string;
}
export interface FileSourceOptions extends SourceBase {
  /** Path or glob, or several, relative to the project: CSV (also gzipped), Parquet or NDJSON by their names. */
  file: string | readonly string[];
  format?: 'csv' | 'parquet' | 'ndjson';
}
export interface PostgresSourceOptions extends SourceBase {
  /** `postgres://…`; the SQL runs there. Never shown, never written into the registry. */
  postgres: string;
}

export interface Source<N extends string = string> {
  readonly kind: 'source';
  readonly name: N;
  readonly files: readonly string[] | null;
  readonly format: 'csv' | 'parquet' | 'ndjson' | null;
  readonly postgres: string | null;
  readonly time: string | null;
  readonly created: string | null;
  readonly fieldMapping: Readonly<Record<string, string>>;
  readonly description?: string | undefined;
}

/**
 * Where rows come from. Files are a relation of the source's name in the SQL; Postgres has its own tables.
 * @example const orders = source('orders', { file: 'data/orders.csv', time: 'updated_at' })
 * @example const crm = source('crm', { postgres: env('CRM_URL', 'postgres://localhost/crm'), time: 'updated_at' })
 */
export function source<const N extends string>(name: N, options: FileSourceOptions | PostgresSourceOptions): Source<N> {
  const given = options as Partial<FileSourceOptions & PostgresSourceOptions>;
  const { file, format = null, postgres = null, time = null, created = null, fieldMapping = {}, description } = given;
  const files = file === undefined ? null : Object.freeze(typeof file === 'string' ? [file] : [...file]);
  const made = define({ kind: 'source' as const, name, files, format, postgres, time, created, fieldMapping: Object.freeze({ ...fieldMapping }), description }, source);
  checkOptions(made, options, ['file', 'format', 'postgres', 'time', 'created', 'fieldMapping', 'description']);
  return made;
}

export interface QueryOptions<V> {
  /** Type of the value column. */
  type: z.ZodType<V>;
  /** Column of the value; default: the column of the feature's name, else the one that is neither key nor time. */
  column?: string;
  /** Stands for null; makes the type non-null. */
  default?: NonNullable<V>;
  /** Precomputed and served from the online store; otherwise the SQL runs for the asked key at every read. */
  materialize?: boolean;
  /** How often a worker runs it, `'5m'`; it also runs when the worker starts. Without it only `fabra materialize` does. */
  every?: DurationText;
  /** Scheduled runs read only what is new; rows that are gone from the source are then not noticed. */
  incremental?: boolean;
  /** Time that a read may spend on it when it is not materialized, default `'1s'`. */
  timeout?: DurationText;
}

/** Rows of a table: what `feature` takes. Made by {@link query} or {@link pushed}. */
export interface Table<V = unknown> {
  readonly kind: 'table';
  /** Null for pushed values. */
  readonly source: Source | null;
  readonly sql: Sql | null;
  readonly type: z.ZodType;
  readonly column: string | null;
  readonly default?: unknown;
  readonly materialize: boolean;
  readonly every: number | null;
  readonly incremental: boolean;
  /** Milliseconds. */
  readonly timeout: number;
  readonly '~value'?: V;
}

/**
 * A feature computed by SQL. The result has the entity's key columns, the value column and, where the source names them, the
 * time and created columns.
 * @example query(orders, sql`select user_id, favorite_category, updated_at from orders`, { type: z.string(), default: 'unknown', materialize: true, every: '5m' })
 */
export function query<V, const O extends QueryOptions<V>>(
  source: Source,
  sql: Sql,
  options: O & QueryOptions<V>,
): Table<O extends { default: infer D } ? (D extends undefined ? V | null : NonNullable<V>) : V | null> {
  const { type, column = null, materialize = false, every, incremental = false, timeout = '1s' } = options;
  const made = define(
    {
      kind: 'table' as const,
      source,
      sql,
      type,
      column,
      ...('default' in options && { default: options.default }),
      materialize,
      every: every === undefined ? null : attempt(() => parseDuration(every, 'every of a query'), null),
      incremental,
      timeout: attempt(() => parseDuration(timeout, 'timeout of a query'), 1_000),
    },
    query,
  );
  checkOptions(made, options, ['type', 'column', 'default', 'materialize', 'every', 'incremental', 'timeout']);
  return made;
}

/**
 * A feature whose values come from outside: `/push`, `store.push(…)`, or `set` in a handler.
 * @example export const segment = feature(user, 'segment', pushed(z.string()))
 */
export function pushed<V>(type: z.ZodType<V>): Table<V | null> {
  return define({ kind: 'table' as const, source: null, sql: null, type, column: null, materialize: true, every: null, incremental: false, timeout: 1_000 }, pushed);
}
