/** Tables on files and the embedded store: sources are read through DuckDB, what they gave is kept as Parquet under `tables/`. */
import { join } from 'node:path';
import type { TableRow, TableUnit } from '../../engine/units.ts';
import type { Clock } from '../../lib/clock.ts';
import { joinKey } from '../../lib/text.ts';
import type { JobLease, RowPut } from '../../ports/online-store.ts';
import type { RunOptions, TableStore, ViewCode, ViewRun } from '../../ports/table-store.ts';
import type { ViewPlan } from '../../registry/types.ts';
import { text } from '../../sql/columns.ts';
import { Duck, type DuckValue } from '../duckdb/engine.ts';
import type { Embedded } from '../embedded/env.ts';
import { requireJob } from '../embedded/jobs.ts';
import { GRACE_MS } from '../history/manifest.ts';
import { append, flush } from './given.ts';
import { Lookups } from './lookup.ts';
import { type KeptRun, TableManifest } from './manifest.ts';
import { openSource } from './open-source.ts';
import type { Pools } from './postgres.ts';
import { type RecordOptions, RunRecorder } from './record.ts';
import { keyColumns } from './source.ts';
import { describeView, kColumns } from './stage.ts';

export interface TableOptions {
  env: Embedded;
  /** Folder of the offline store; tables are under `tables/`. */
  dir: string;
  /** Folder of the project: paths of sources are relative to it. */
  project: string;
  clock: Pick<Clock, 'now'>;
  threads?: number;
  memoryLimit?: string;
}

export const openTables = (options: TableOptions): TableStore => new FileTables(options);

class FileTables implements TableStore {
  private readonly options: RecordOptions;
  private readonly manifest: TableManifest;
  private readonly lookups: Lookups;
  private pools: Promise<Pools> | null = null;

  constructor({ env, dir, project, clock, threads, memoryLimit }: TableOptions) {
    const pools = () => (this.pools ??= import('./postgres.ts').then(m => new m.Pools()));
    this.options = { env, dir, project, clock, duck: { threads: threads ?? 1, memoryLimit: memoryLimit ?? '1GB', tempDir: join(dir, '.tmp') }, pools };
    this.manifest = new TableManifest(env);
    this.lookups = new Lookups(this.options);
  }

  async check(view: ViewPlan, code: ViewCode): Promise<void> {
    if (view.sql === null) return;
    const db = await Duck.open(this.options.duck);
    try {
      const source = await openSource({ db, view, code, project: this.options.project, pools: this.options.pools });
      try {
        await describeView(source, view, code);
      } finally {
        await source.close();
      }
    } finally {
      db.close();
    }
  }

  async adopt(tables: readonly TableUnit[]): Promise<void> {
    this.options.env.write(() => this.manifest.keepOnly(tables, this.options.clock.now() + GRACE_MS));
  }

  run(view: ViewPlan, code: ViewCode, options: RunOptions, job: JobLease, signal: AbortSignal): Promise<ViewRun> {
    return new RunRecorder(this.options, view, code, options).record(job, signal);
  }

  async *rowsOf(run: ViewRun, view: ViewPlan, code: ViewCode, after: number): AsyncGenerator<{ key: string; row: TableRow }[]> {
    const keys = kColumns(keyColumns(view, code).length);
    const db = await Duck.open(this.options.duck);
    try {
      let skip = after;
      for (const f of (run as KeptRun).files) {
        if (skip >= f.rows) {
          skip -= f.rows;
          continue;
        }
        const own = f.at === null ? 'eff, ts, created, text, gone' : `${f.at}::BIGINT AS eff, ${f.at}::BIGINT AS ts, created, text, false AS gone`;
        const sql = `SELECT ${[...keys, own].join(', ')} FROM read_parquet(${text(join(this.options.dir, f.file))}, hive_partitioning = false) OFFSET ${skip}`;
        skip = 0;
        for await (const chunk of db.stream(sql)) yield rowsIn(chunk.columns, chunk.rows, keys.length);
      }
    } finally {
      db.close();
    }
  }

  async advance(run: ViewRun, put: number, job: JobLease): Promise<void> {
    this.change(run, { put }, job);
  }

  async finished(run: ViewRun, job: JobLease): Promise<void> {
    this.change(run, { status: 'online', put: run.rows + run.gone, done: this.options.clock.now() }, job);
  }

  private change(run: ViewRun, change: Partial<KeptRun>, job: JobLease): void {
    const { env } = this.options;
    env.write(() => {
      requireJob(env, job);
      this.manifest.change(run.view, run.id, change);
      if (change.status === 'online') this.manifest.count(run.view, 'ok');
    });
  }

  async failed(view: ViewPlan, options: RunOptions, error: string, at: number): Promise<void> {
    const { from, to, incremental } = options;
    const none = { read: 0, rows: 0, skipped: 0, put: 0, gone: 0, files: [], done: null };
    this.options.env.write(() => {
      this.manifest.addRun({ view: view.id, hash: view.hash, at, from, to, incremental, status: 'failed', error, ...none });
      this.manifest.count(view.id, 'failed');
    });
  }

  async counts(view: string): Promise<{ ok: number; failed: number }> {
    this.options.env.refresh();
    return this.manifest.counts(view);
  }

  async runs(view: string, limit: number): Promise<ViewRun[]> {
    this.options.env.refresh();
    return this.manifest.runs(view, limit);
  }

  async intervals(view: ViewPlan): Promise<{ from: number | null; to: number }[]> {
    this.options.env.refresh();
    return this.manifest.covered(view.id, view.hash);
  }

  lookup(view: ViewPlan, code: ViewCode, keys: readonly string[][], at: number, signal: AbortSignal): Promise<(TableRow | null)[]> {
    return this.lookups.rows(view, code, keys, at, signal);
  }

  append(puts: readonly RowPut[]): Promise<void> {
    return append(this.options, puts);
  }

  flush(tables: ReadonlyMap<string, TableUnit>): Promise<number> {
    return flush(this.options, tables);
  }

  async close(): Promise<void> {
    await this.lookups.close();
    const pools = this.pools;
    this.pools = null;
    await (await pools)?.close();
  }
}

function rowsIn(columns: readonly DuckValue[][], n: number, keys: number): { key: string; row: TableRow }[] {
  const [eff, ts, created, texts, gone] = columns.slice(keys) as [number[], number[], (number | null)[], string[], boolean[]];
  return Array.from({ length: n }, (_, i) => ({
    key: joinKey(columns.slice(0, keys).map(c => c[i] as string)),
    row: { eff: eff[i]!, ts: ts[i]!, created: created[i]!, text: texts[i]!, gone: gone[i]! },
  }));
}
