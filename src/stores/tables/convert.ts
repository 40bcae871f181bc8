/** Columns of a source as keys, instants and values: the SQL that takes them out of DuckDB, and what becomes of them. */
import { iso, readInstant } from '../../lib/time.ts';
import type { ValueType } from '../../registry/types.ts';
import { ident } from '../../sql/columns.ts';
import type { DuckValue } from '../duckdb/engine.ts';

/** `type` as DuckDB writes it; `NUMERIC` is a number of any size as text, as Postgres has it. */
export interface ResultColumn {
  name: string;
  type: string;
  /** Its name in the result, where the source's mapping gave it another. */
  original?: string;
}

/** What cannot be read as what it should be. */
export const MISFIT = Symbol('misfit');

/** How a column is taken: an expression over the row `q`, and how what it gives is read. */
export interface Taken<T> {
  sql: string;
  read(v: DuckValue): T | null | typeof MISFIT;
}

const INTEGER = /^(U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|BIGNUM)$/;
const FLOAT = /^(FLOAT|DOUBLE)$/;
const DECIMAL = /^(DECIMAL\(.*\)|NUMERIC)$/;
const WHOLE_DECIMAL = /^(DECIMAL\(\d+, ?0\)|NUMERIC)$/;
const TEXT = /^(VARCHAR|UUID|ENUM\(.*\))$/;
const NAIVE = /^TIMESTAMP(_S|_MS|_NS)?$/;
const ZONED = 'TIMESTAMP WITH TIME ZONE';

export const isInteger = (type: string): boolean => INTEGER.test(type);
export const isText = (type: string): boolean => TEXT.test(type);

const column = (c: ResultColumn): string => `q.${ident(c.name)}`;
const asText = (c: ResultColumn): string => `CAST(${column(c)} AS VARCHAR)`;
/** Microseconds: a naive time is UTC. */
const micros = (c: ResultColumn): string => (c.type === ZONED ? `epoch_us(${column(c)})` : `epoch_us(CAST(${column(c)} AS TIMESTAMP))`);
const isTime = (type: string): boolean => NAIVE.test(type) || type === ZONED;
const millis = (v: DuckValue): number | null => (v === null ? null : Math.floor(Number(v) / 1000));

/** Decimal text without zeros at its end: `1.0` and `1` are one key. */
const trimmed = (v: string): string => (v.includes('.') ? v.replace(/\.?0+$/, '') : v);

/** A single value of JSON as its text; null when it is none. NDJSON with texts and numbers in one field comes so. */
function jsonText(v: DuckValue): string | null {
  const text = v === null ? 'null' : String(v);
  if (text.startsWith('"')) return JSON.parse(text) as string;
  return text === 'null' || /^[[{]/.test(text) ? null : text;
}

/** A key part as text: integers canonical, `1` also where the source has 1.0. Null for a type that makes no key. */
export function keyOf(c: ResultColumn): Taken<string> | null {
  if (INTEGER.test(c.type) || TEXT.test(c.type) || c.type === 'BOOLEAN' || c.type === 'DATE') return { sql: asText(c), read: v => (v === null || v === '' ? null : String(v)) };
  if (DECIMAL.test(c.type)) return { sql: asText(c), read: v => (v === null ? null : trimmed(String(v))) };
  if (FLOAT.test(c.type)) return { sql: column(c), read: v => (Number.isFinite(v) ? (Number.isInteger(v) ? BigInt(v as number).toString() : String(v)) : null) };
  if (isTime(c.type)) return { sql: micros(c), read: v => (v === null ? null : iso(millis(v)!)) };
  if (c.type !== 'JSON') return null;
  const part = (text: string | null): string | null => (text === null || text === '' ? null : /^-?\d+\.\d+$/.test(text) ? trimmed(text) : text);
  return { sql: asText(c), read: v => part(jsonText(v)) };
}

/** An instant in epoch ms, floored. */
export function timeOf(c: ResultColumn): Taken<number> | null {
  const instant = (v: unknown): number | null | typeof MISFIT => (v === null ? null : (readInstant(v) ?? MISFIT));
  if (isTime(c.type) || c.type === 'DATE') return { sql: micros(c), read: v => instant(millis(v)) };
  if (INTEGER.test(c.type) || FLOAT.test(c.type)) return { sql: column(c), read: instant };
  if (DECIMAL.test(c.type)) return { sql: asText(c), read: v => instant(v === null ? null : Number(v)) };
  if (c.type === 'VARCHAR') return { sql: asText(c), read: v => (v === '' ? null : instant(v)) };
  if (c.type === 'JSON') return { sql: asText(c), read: v => instant(jsonText(v)) };
  return null;
}

/** A value of the declared type; null when the column's type does not fit it. */
export function valueOf(c: ResultColumn, type: ValueType): Taken<unknown> | null {
  if (c.type === 'JSON') return { sql: asText(c), read: v => (v === null ? null : fromJson(String(v), type)) };
  if (!type.list) return scalarOf(c, type.base);
  const inner = /^(.*)\[\d*\]$/.exec(c.type)?.[1];
  if (inner === undefined || isTime(inner)) return null;
  const one = scalarOf({ name: c.name, type: inner }, type.base);
  if (!one) return null;
  const sql = one.sql.startsWith('CAST') ? `CAST(${column(c)} AS VARCHAR[])` : `CAST(${column(c)} AS ${inner}[])`;
  return { sql, read: v => listOf(v, x => one.read(x as DuckValue)) };
}

function listOf(v: unknown, read: (x: unknown) => unknown): unknown {
  if (v === null) return null;
  if (!Array.isArray(v)) return MISFIT;
  const out = v.map(read);
  return out.includes(MISFIT) ? MISFIT : out;
}

const finite = (v: unknown): number | null => (Number.isFinite(Number(v)) ? Number(v) + 0 : null);

function scalarOf(c: ResultColumn, base: ValueType['base']): Taken<unknown> | null {
  const numeric = INTEGER.test(c.type) || FLOAT.test(c.type) || DECIMAL.test(c.type);
  switch (base) {
    case 'number':
      return numeric ? { sql: DECIMAL.test(c.type) ? asText(c) : column(c), read: v => (v === null ? null : finite(v)) } : null;
    case 'int':
      return INTEGER.test(c.type) || WHOLE_DECIMAL.test(c.type) ? { sql: asText(c), read: v => (v === null ? null : wholeNumber(String(v))) } : null;
    case 'int64':
      return INTEGER.test(c.type) || WHOLE_DECIMAL.test(c.type) ? { sql: asText(c), read: v => (v === null ? null : wholeBig(String(v))) } : null;
    case 'string':
      if (isTime(c.type)) return { sql: micros(c), read: v => (v === null ? null : iso(millis(v)!)) };
      return TEXT.test(c.type) || c.type === 'DATE' ? { sql: asText(c), read: v => v } : null;
    case 'boolean':
      return c.type === 'BOOLEAN' ? { sql: column(c), read: v => v } : null;
    case 'json':
      return anything(c, numeric);
  }
}

/** Where no type is declared: as it is. */
function anything(c: ResultColumn, numeric: boolean): Taken<unknown> | null {
  if (numeric) return scalarOf(c, 'number');
  if (TEXT.test(c.type) || isTime(c.type) || c.type === 'DATE') return scalarOf(c, 'string');
  if (c.type === 'BOOLEAN') return scalarOf(c, 'boolean');
  return /^STRUCT\(|\]$/.test(c.type) && !/MAP\(|BLOB|BIT\b/.test(c.type) ? { sql: column(c), read: clean } : null;
}

/** Numbers that JSON has not are null. */
function clean(v: unknown): unknown {
  if (typeof v === 'number') return finite(v);
  if (Array.isArray(v)) return v.map(clean);
  if (v === null || typeof v !== 'object') return v;
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, clean(x)]));
}

function wholeNumber(text: string): number | null | typeof MISFIT {
  if (/^(NaN|-?Infinity)$/.test(text)) return null;
  const n = Number(text);
  return Number.isSafeInteger(n) ? n + 0 : MISFIT;
}

function wholeBig(text: string): bigint | null | typeof MISFIT {
  if (/^(NaN|-?Infinity)$/.test(text)) return null;
  const plain = trimmed(text);
  if (!/^-?\d{1,19}$/.test(plain)) return MISFIT;
  const n = BigInt(plain);
  return BigInt.asIntN(64, n) === n ? n : MISFIT;
}

function fromJson(text: string, type: ValueType): unknown {
  let v: unknown;
  try {
    v = JSON.parse(text);
  } catch {
    return MISFIT;
  }
  const one = (x: unknown): unknown => (type.base !== 'int64' || x === null ? x : /^(string|number)$/.test(typeof x) ? wholeBig(String(x)) : MISFIT);
  return type.list ? listOf(v, one) : one(v);
}
