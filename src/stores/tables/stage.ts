/** What a view's SQL gives, taken in: keys as text, times in epoch ms, values as canonical JSON, each checked by its schema. */
import { FabraError } from '../../lib/errors.ts';
import { canonicalJson } from '../../lib/json.ts';
import { MAX_KEY_BYTES, joinKey } from '../../lib/text.ts';
import type { ViewCode } from '../../ports/table-store.ts';
import type { ViewPlan } from '../../registry/types.ts';
import { ident } from '../../sql/columns.ts';
import type { Duck, DuckValue } from '../duckdb/engine.ts';
import { columnsOf, type ViewColumns } from './columns.ts';
import { MISFIT } from './convert.ts';
import { type KeyFilter, keyColumns, type RowSource, sourceOf } from './source.ts';

/** A row of the source, read. `ts` is null in views without a time column. */
export interface SourceRow {
  key: string[];
  ts: number | null;
  created: number | null;
  text: string;
}

export interface Staged {
  /** Rows with a whole key. */
  read: number;
  /** Rows without. */
  skipped: number;
}

/** Rows appended to DuckDB at once. */
const BATCH = 8_192;

export const kColumns = (n: number): string[] => Array.from({ length: n }, (_, i) => `k${i}`);

/** @throws FabraError BAD_QUERY, SOURCE_FAILED. */
export async function describeView(source: RowSource, view: ViewPlan, code: ViewCode): Promise<ViewColumns> {
  return columnsOf(view, keyColumns(view, code), sourceOf(view, code), await source.describe(), c => source.empty(c));
}

/** All rows of a view's SQL, in batches. @throws FabraError BAD_VALUE naming key and value. */
export async function* readRows(
  source: RowSource,
  view: ViewPlan,
  code: ViewCode,
  options: { db: Duck; signal?: AbortSignal; counted: Staged; keys?: readonly (readonly string[])[]; columns?: ViewColumns },
): AsyncGenerator<SourceRow[]> {
  const columns = options.columns ?? (await describeView(source, view, code));
  const filter: KeyFilter | null = options.keys ? { columns: columns.keys.map(k => k.column), keys: options.keys } : null;
  const relation = await source.relation(columns.used, filter);
  const taken = [...columns.keys.map(k => k.taken), ...[columns.time, columns.created].filter(t => t !== null), ...columns.values];
  const list = taken.length === 0 ? '1' : taken.map(t => t.sql).join(', ');
  const reader = new RowReader(view, code, columns, options.counted);
  try {
    for await (const chunk of options.db.stream(`SELECT ${list} FROM (${relation.sql}) q`, relation.params, options.signal)) {
      yield reader.rows(chunk.columns, chunk.rows);
    }
  } catch (e) {
    throw source.error(e);
  }
  reader.end();
}

class RowReader {
  private readonly view: ViewPlan;
  private readonly columns: ViewColumns;
  private readonly schemas: ({ safeParse(v: unknown): { success: boolean } } | undefined)[];
  private readonly counted: Staged;
  private timeless = 0;

  constructor(view: ViewPlan, code: ViewCode, columns: ViewColumns, counted: Staged) {
    this.view = view;
    this.columns = columns;
    this.schemas = view.features.map(f => code.code.types.get(f.id));
    this.counted = counted;
  }

  rows(chunk: readonly DuckValue[][], n: number): SourceRow[] {
    const out: SourceRow[] = [];
    for (let i = 0; i < n; i++) {
      const row = this.row(chunk, i);
      if (row) out.push(row);
    }
    this.counted.read += out.length;
    return out;
  }

  private row(chunk: readonly DuckValue[][], i: number): SourceRow | null {
    const { keys, time, created, values } = this.columns;
    let at = 0;
    const key: string[] = [];
    for (const k of keys) {
      const part = k.taken.read(chunk[at++]![i]!);
      if (typeof part === 'string') key.push(part);
    }
    if (key.length < keys.length) {
      this.counted.skipped++;
      return null;
    }
    if (Buffer.byteLength(joinKey(key)) > MAX_KEY_BYTES) throw this.bad(key, `its key has more than ${MAX_KEY_BYTES} bytes`);
    const ts = time ? this.instant(key, time.read(chunk[at]![i]!), chunk[at++]![i]!) : null;
    const made = created ? this.instant(key, created.read(chunk[at]![i]!), chunk[at++]![i]!) : null;
    if (time && ts === null) this.timeless++;
    const json = values.map((v, f) => this.value(key, f, v.read(chunk[at + f]![i]!), chunk[at + f]![i]!));
    return { key, ts, created: made, text: canonicalJson(json) };
  }

  private instant(key: string[], v: number | null | typeof MISFIT, raw: DuckValue): number | null {
    if (v === MISFIT) throw this.bad(key, `${shown(raw)} is not a time`);
    return v;
  }

  private value(key: string[], f: number, v: unknown, raw: DuckValue): unknown {
    if (v === null || v === undefined) return null;
    if (v === MISFIT || this.schemas[f]?.safeParse(v).success === false) throw this.bad(key, `${shown(raw)} does not fit '${this.view.features[f]!.id}'`);
    return v;
  }

  private bad(key: string[], what: string): FabraError {
    return new FabraError('BAD_VALUE', `view '${this.view.id}', key ${JSON.stringify(key.join(','))}: ${what}`, {
      hint: 'Leave such rows out in the SQL, or widen the type. Nothing was changed.',
    });
  }

  end(): void {
    if (this.timeless > 0)
      throw new FabraError('BAD_VALUE', `view '${this.view.id}': ${this.timeless} of ${this.counted.read} rows have no '${this.view.time}'`, {
        hint: `Leave them out: where ${this.view.time} is not null. Nothing was changed.`,
      });
  }
}

const shown = (v: DuckValue): string => {
  const text = typeof v === 'bigint' ? String(v) : (JSON.stringify(v, (_k, x) => (typeof x === 'bigint' ? String(x) : x)) ?? String(v));
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
};

/** Takes all rows into a new DuckDB table of `k0…, ts, created, text`. */
export async function stage(db: Duck, table: string, keys: number, rows: AsyncIterable<SourceRow[]>): Promise<void> {
  await db.run(`CREATE TABLE ${ident(table)} (${[...kColumns(keys).map(k => `${k} VARCHAR`), 'ts BIGINT', 'created BIGINT', 'text VARCHAR'].join(', ')})`);
  let batch: SourceRow[] = [];
  const put = async () => {
    const all = batch;
    batch = [];
    if (all.length === 0) return;
    await db.append(table, [
      ...kColumns(keys).map((_, i) => ({ type: 'VARCHAR' as const, values: all.map(r => r.key[i]!) })),
      { type: 'BIGINT', values: all.map(r => r.ts) },
      { type: 'BIGINT', values: all.map(r => r.created) },
      { type: 'VARCHAR', values: all.map(r => r.text) },
    ]);
  };
  for await (const some of rows) {
    for (const row of some) batch.push(row);
    if (batch.length >= BATCH) await put();
  }
  await put();
}
