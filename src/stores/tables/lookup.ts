/** Rows of asked keys straight from the source, for views that are computed when they are read. */
import { compareRows, type TableRow } from '../../engine/units.ts';
import { FabraError } from '../../lib/errors.ts';
import { joinKey } from '../../lib/text.ts';
import type { ViewCode } from '../../ports/table-store.ts';
import type { ViewPlan } from '../../registry/types.ts';
import { Duck } from '../duckdb/engine.ts';
import type { ViewColumns } from './columns.ts';
import { openSource } from './open-source.ts';
import type { RecordOptions } from './record.ts';
import { describeView, readRows } from './stage.ts';

export class Lookups {
  private readonly options: RecordOptions;
  private db: Promise<Duck> | null = null;
  /** Columns by view: asking the source for them at every read would double its work. */
  private readonly columns = new Map<string, ViewColumns>();

  constructor(options: RecordOptions) {
    this.options = options;
  }

  /** @throws FabraError SOURCE_FAILED, INTERRUPTED at the signal. */
  async rows(view: ViewPlan, code: ViewCode, keys: readonly string[][], at: number, signal: AbortSignal): Promise<(TableRow | null)[]> {
    try {
      const best = await this.newest(view, code, keys, at, signal);
      return keys.map(k => best.get(joinKey(k)) ?? null);
    } catch (e) {
      this.columns.delete(view.hash);
      const error = e instanceof FabraError ? e : new FabraError('SOURCE_FAILED', `view '${view.id}': ${(e as Error).message}`, { cause: e });
      if (signal.aborted) throw new FabraError('INTERRUPTED', `the SQL of view '${view.id}' was stopped`, { cause: e });
      if (error.code === 'SOURCE_FAILED') throw error;
      throw new FabraError('SOURCE_FAILED', error.message, { hint: error.hint, cause: e });
    }
  }

  private async newest(view: ViewPlan, code: ViewCode, keys: readonly string[][], at: number, signal: AbortSignal): Promise<Map<string, TableRow>> {
    const wanted = new Map(keys.map(k => [joinKey(k), k]));
    const best = new Map<string, TableRow>();
    if (wanted.size === 0) return best;
    const db = await this.open();
    const source = await openSource({ db, view, code, project: this.options.project, signal, timeoutMs: view.timeout, pools: this.options.pools });
    try {
      const columns = this.columns.get(view.hash) ?? (await describeView(source, view, code));
      this.columns.set(view.hash, columns);
      const counted = { read: 0, skipped: 0 };
      for await (const rows of readRows(source, view, code, { db, signal, counted, columns, keys: [...wanted.values()] }))
        for (const r of rows) {
          const key = joinKey(r.key);
          const ts = r.ts ?? at;
          if (!wanted.has(key) || ts > at) continue;
          const row: TableRow = { eff: ts, ts, created: r.created, text: r.text, gone: false };
          const other = best.get(key);
          if (!other || compareRows(other, row) < 0) best.set(key, row);
        }
      return best;
    } finally {
      await source.close();
    }
  }

  /** One for all lookups; that it could not be opened once is not kept. */
  private open(): Promise<Duck> {
    if (this.db) return this.db;
    const db = Duck.open(this.options.duck);
    db.catch(() => {
      if (this.db === db) this.db = null;
    });
    return (this.db = db);
  }

  async close(): Promise<void> {
    const db = this.db;
    this.db = null;
    (await db)?.close();
  }
}
