/** A view's SQL over its source: described, then read as a relation of DuckDB, wherever it ran. */
import { resolve } from 'node:path';
import { FabraError } from '../../lib/errors.ts';
import type { ViewCode } from '../../ports/table-store.ts';
import type { SourcePlan, ViewPlan } from '../../registry/types.ts';
import { ident, text } from '../../sql/columns.ts';
import type { Duck, DuckParam } from '../duckdb/engine.ts';
import { isInteger, isText, type ResultColumn } from './convert.ts';

/** Rows as DuckDB has them: `SELECT … FROM (sql) q`. */
export interface Relation {
  sql: string;
  params: DuckParam[];
}

/** Rows of these keys alone, as far as the source can tell them apart; the others may come too. */
export interface KeyFilter {
  columns: readonly ResultColumn[];
  keys: readonly (readonly string[])[];
}

export interface RowSource {
  /** Of the SQL's result. @throws FabraError BAD_QUERY, SOURCE_FAILED. */
  describe(): Promise<ResultColumn[]>;
  relation(used: readonly ResultColumn[], filter: KeyFilter | null): Promise<Relation>;
  /** Whether a column holds nothing. */
  empty(column: ResultColumn): Promise<boolean>;
  /** What went wrong, in this source's words. */
  error(e: unknown): FabraError;
}

/** What a row source is opened with. */
export interface SourceOptions {
  db: Duck;
  view: ViewPlan;
  code: ViewCode;
  /** Folder that paths are relative to. */
  project: string;
  signal?: AbortSignal;
  /** Of a live read. */
  timeoutMs?: number;
}

/** bigints are text with a trailing `n` in the registry. */
export const paramsOf = (view: ViewPlan): DuckParam[] => view.params.map(p => (p !== null && typeof p === 'object' ? BigInt(p.bigint) : p));

/** The statement as something to select from; a comment at its end ends with its line. */
export const innerSql = (view: ViewPlan): string => `${view.sql!.replace(/[;\s]+$/, '')}\n`;

export function sourceOf(view: ViewPlan, code: ViewCode): SourcePlan {
  const plan = view.source === null ? undefined : code.registry.sources[view.source];
  if (!plan || view.sql === null) throw new FabraError('BAD_QUERY', `view '${view.id}' has no SQL`, { hint: 'Its values are pushed: there is nothing to run.' });
  return plan;
}

export const keyColumns = (view: Pick<ViewPlan, 'entity'>, code: Pick<ViewCode, 'registry'>): string[] => code.registry.entities[view.entity]!.key;

const READERS = { csv: 'read_csv', parquet: 'read_parquet', ndjson: 'read_json' } as const;
const OPTIONS = {
  csv: ', header = true, sample_size = -1, union_by_name = true',
  parquet: ', union_by_name = true',
  ndjson: ", format = 'newline_delimited', sample_size = -1, union_by_name = true",
} as const;

function formatOf(plan: SourcePlan, file: string): 'csv' | 'parquet' | 'ndjson' {
  if (plan.format) return plan.format;
  const name = file.toLowerCase().replace(/\.gz$/, '');
  if (/\.(csv|tsv)$/.test(name)) return 'csv';
  if (/\.(ndjson|jsonl|json)$/.test(name)) return 'ndjson';
  if (/\.(parquet|pq)$/.test(name)) return 'parquet';
  throw new FabraError('BAD_QUERY', `source '${plan.name}': the name ${file} does not say its format`, { hint: "Write { format: 'csv' } (or 'parquet', 'ndjson')." });
}

/** Files: the SQL runs in DuckDB, over a relation of the source's name. */
export class FileRows implements RowSource {
  private readonly options: SourceOptions;
  private readonly plan: SourcePlan;
  private readonly inner: string;

  constructor(options: SourceOptions) {
    this.options = options;
    this.plan = sourceOf(options.view, options.code);
    const { plan } = this;
    const files = plan.files ?? [];
    const formats = new Set(files.map(f => formatOf(plan, f)));
    if (formats.size > 1) throw new FabraError('BAD_QUERY', `source '${plan.name}': its files have several formats`, { hint: 'Make a source of each.' });
    const [format] = formats as Set<keyof typeof READERS>;
    const list = files.map(f => text(resolve(options.project, f))).join(', ');
    const renames = Object.entries(plan.fieldMapping).map(([from, to]) => `${ident(from)} AS ${ident(to)}`);
    const all = renames.length === 0 ? '*' : `* RENAME (${renames.join(', ')})`;
    this.inner = `WITH ${ident(plan.name)} AS (SELECT ${all} FROM ${READERS[format!]}([${list}]${OPTIONS[format!]})) SELECT * FROM (${innerSql(options.view)}) q`;
  }

  async describe(): Promise<ResultColumn[]> {
    try {
      return await this.options.db.describe(`SELECT * FROM (${this.inner}) q LIMIT 0`, paramsOf(this.options.view), this.options.signal);
    } catch (e) {
      throw this.error(e);
    }
  }

  async relation(_used: readonly ResultColumn[], filter: KeyFilter | null): Promise<Relation> {
    const params = paramsOf(this.options.view);
    const where = filter && keyCondition(filter, params, n => `$${n}`);
    return { sql: where === null ? this.inner : `SELECT * FROM (${this.inner}) q WHERE ${where}`, params };
  }

  async empty(column: ResultColumn): Promise<boolean> {
    for await (const chunk of this.options.db.stream(`SELECT 1 FROM (${this.inner}) q WHERE q.${ident(column.name)} IS NOT NULL LIMIT 1`, paramsOf(this.options.view)))
      if (chunk.rows > 0) return false;
    return true;
  }

  error(e: unknown): FabraError {
    if (e instanceof FabraError) return e;
    const message = (e instanceof Error ? e.message : String(e))
      .replace(/^Failed to extract statements: /, '')
      .split('\n\nLINE ')[0]!
      .split('\nLINE ')[0]!
      .trim();
    if (/^INTERRUPT/i.test(message)) return new FabraError('INTERRUPTED', `the SQL of view '${this.options.view.id}' was stopped`);
    if (/No files found/.test(message)) {
      const files = (this.plan.files ?? []).join(', ');
      return new FabraError('SOURCE_FAILED', `source '${this.plan.name}': there is no file ${files}`, { hint: 'Paths are relative to the project folder.', cause: e });
    }
    if (/^IO Error|^HTTP|^Permission|out of memory/i.test(message))
      return new FabraError('SOURCE_FAILED', `source '${this.plan.name}': ${message}`, { hint: 'Check the files.', cause: e });
    return new FabraError('BAD_QUERY', `view '${this.options.view.id}': ${message}`, {
      hint: `Its SQL runs over the relation ${this.plan.name}; mend it in the definitions.`,
      cause: e,
    });
  }
}

/** Integers of 64 bits without signs and zeros in front: what a key of an integer column can be. */
function asInteger(part: string): bigint | null {
  if (!/^(0|-?[1-9]\d{0,18})$/.test(part)) return null;
  const n = BigInt(part);
  return BigInt.asIntN(64, n) === n ? n : null;
}

/** `(k0 = $1 AND k1 = $2) OR …` with the parts bound; adds to `params`. Null: any row may be one of these keys. */
export function keyCondition(filter: KeyFilter, params: DuckParam[], place: (n: number, type: string) => string): string | null {
  const known = filter.columns.map((c, i) => ({ c, i })).filter(({ c }) => isInteger(c.type) || isText(c.type));
  if (known.length === 0) return null;
  const any: string[] = [];
  for (const key of filter.keys) {
    const parts = known.map(({ c, i }) => (isInteger(c.type) ? asInteger(key[i]!) : key[i]!));
    if (parts.includes(null)) continue;
    any.push(`(${known.map(({ c }, j) => `${columnFor(c)} = ${place(params.push(parts[j]!), c.type)}`).join(' AND ')})`);
  }
  return any.length === 0 ? 'false' : any.join(' OR ');
}
const columnFor = (c: ResultColumn): string => (isInteger(c.type) || c.type === 'VARCHAR' ? `q.${ident(c.name)}` : `CAST(q.${ident(c.name)} AS VARCHAR)`);
