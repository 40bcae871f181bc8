/**
 * History on files: Parquet by event date, immutable, listed in a manifest inside the embedded store. A kill between files
 * and manifest leaves orphans that the next writer removes; a kill after it leaves nothing to repair.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { HistoryCode, HistoryFile, HistoryRow, HistoryView, OfflineStore } from '../../ports/offline-store.ts';
import type { EventBus } from '../../ports/event-bus.ts';
import type { Lease, Mark, Position } from '../../ports/online-store.ts';
import type { Registry, StreamPlan } from '../../registry/types.ts';
import { ident, text } from '../../sql/columns.ts';
import { Duck } from '../duckdb/engine.ts';
import type { Embedded } from '../embedded/env.ts';
import { copyTo, filesOnDisk, writeFiles } from './files.ts';
import { Manifest, rulesOf } from './manifest.ts';
import { HistoryTable } from './table.ts';

export interface HistoryOptions {
  env: Embedded;
  bus: EventBus;
  /** Folder of the files. */
  dir: string;
  clock: { now(): number };
  /** Folder of the project: files of sources are relative to it; the working folder when unset. */
  project?: string;
  threads?: number;
  memoryLimit?: string;
}

/** Files of a date are joined when there are this many small ones. */
const COMPACT_AT = 8;
/** Rows of a file that is left as it is, so that a row is rewritten two or three times in its life, however many come that day. */
const BIG_ENOUGH = 500_000;
/** Offsets a scan takes at once: bounds its memory. */
const SCAN_SLICE = 100_000;

/** Rows of tables have a list of their own. */
const TABLES = 'tables/view=';

export const openHistory = (options: HistoryOptions): OfflineStore => new FileHistory(options);

interface Stage {
  db: Duck;
  table: HistoryTable;
  name: string;
}

class FileHistory implements OfflineStore {
  private readonly options: HistoryOptions;
  private readonly manifest: Manifest;
  /** Rows on their way to files, by stream: in DuckDB's columns, where they cost a tenth of what objects do. */
  private readonly stages = new Map<string, Stage>();
  private staging: Duck | null = null;
  private swept = false;

  constructor(options: HistoryOptions) {
    this.options = options;
    this.manifest = new Manifest(options.env);
  }

  private duckOptions() {
    return { threads: this.options.threads ?? 1, memoryLimit: this.options.memoryLimit ?? '1GB', tempDir: join(this.options.dir, '.tmp') };
  }

  /** A query engine for one job, then closed: its memory goes with it. */
  private async duck<T>(job: (db: Duck) => Promise<T>): Promise<T> {
    const db = await Duck.open(this.duckOptions());
    try {
      return await job(db);
    } finally {
      db.close();
    }
  }

  async open(compiled: HistoryCode, upTo?: Position): Promise<HistoryView> {
    const { openView } = await import('./view.ts');
    return openView({ ...this.options, manifest: this.manifest, compiled, upTo });
  }

  async close(): Promise<void> {
    this.stages.clear();
    this.staging?.close();
    this.staging = null;
  }

  async mark(stream: string, partition: number): Promise<Mark> {
    this.options.env.refresh();
    return this.manifest.mark(stream, partition);
  }

  async files(stream?: string): Promise<HistoryFile[]> {
    this.options.env.refresh();
    return this.manifest.files(stream);
  }

  async stale(plan: StreamPlan): Promise<boolean> {
    return (await this.files(plan.name)).some(f => f.rules !== rulesOf(plan));
  }

  async stage(plan: StreamPlan, registry: Registry, rows: readonly HistoryRow[]): Promise<void> {
    const { db, table, name } = await this.stageOf(plan, registry);
    await table.append(db, name, rows);
  }

  private async stageOf(plan: StreamPlan, registry: Registry): Promise<Stage> {
    let stage = this.stages.get(plan.name);
    if (!stage) {
      this.staging ??= await Duck.open(this.duckOptions());
      stage = { db: this.staging, table: new HistoryTable(registry, plan.name), name: `staged:${plan.name}` };
      await stage.db.run(stage.table.create(stage.name));
      this.stages.set(plan.name, stage);
    }
    return stage;
  }

  async write(plan: StreamPlan, registry: Registry, partition: number, rows: readonly HistoryRow[], next: Mark, lease: Lease): Promise<void> {
    await this.sweep();
    const from = (await this.mark(plan.name, partition)).next;
    const add: HistoryFile[] = [];
    if (rows.length > 0 || this.stages.has(plan.name)) {
      const { db, table, name } = await this.stageOf(plan, registry);
      await table.append(db, name, rows);
      add.push(...(await writeFiles(db, this.options.dir, name, { stream: plan.name, partition, from, to: next.next, rules: rulesOf(plan) }, '')));
      await db.run(`DROP TABLE ${ident(name)}`);
      this.stages.delete(plan.name);
    }
    this.manifest.swap({ add, remove: [], mark: { stream: plan.name, partition, mark: next }, now: this.options.clock.now() }, lease);
  }

  private async writeRows(
    db: Duck,
    plan: StreamPlan,
    registry: Registry,
    rows: readonly HistoryRow[],
    head: Parameters<typeof writeFiles>[3],
    tag: string,
  ): Promise<HistoryFile[]> {
    const table = new HistoryTable(registry, plan.name);
    const name = `h${db.next()}`;
    await db.run(table.create(name));
    await table.append(db, name, rows);
    const files = await writeFiles(db, this.options.dir, name, head, tag);
    await db.run(`DROP TABLE ${ident(name)}`);
    return files;
  }

  async rewrite(plan: StreamPlan, registry: Registry, batches: AsyncIterable<readonly HistoryRow[]>, next: () => Mark, lease: Lease): Promise<void> {
    const remove = await this.files(plan.name);
    const now = this.options.clock.now();
    const add: HistoryFile[] = [];
    await this.duck(async db => {
      let from = 0;
      for await (const rows of batches) {
        if (rows.length === 0) continue;
        const to = rows[rows.length - 1]!.event.o + 1;
        add.push(...(await this.writeRows(db, plan, registry, rows, { stream: plan.name, partition: 0, from, to, rules: rulesOf(plan) }, `-r${now}`)));
        from = to;
      }
    });
    this.manifest.swap({ add, remove, mark: { stream: plan.name, partition: 0, mark: next() }, now }, lease);
  }

  async *scan(stream: string, partition: number, from: number, to: number) {
    const files = (await this.files(stream)).filter(f => f.partition === partition);
    const db = await Duck.open({ threads: 1, memoryLimit: '1GB', tempDir: join(this.options.dir, '.tmp') });
    try {
      for (let at = from; at < to; at += SCAN_SLICE) {
        const end = Math.min(to, at + SCAN_SLICE);
        const here = files.filter(f => f.from < end && f.to > at);
        if (here.length === 0) continue;
        const sql = `SELECT o, appended, id, raw FROM read_parquet([${here.map(f => text(join(this.options.dir, f.file))).join(', ')}], union_by_name = true, hive_partitioning = false) WHERE o >= ${at} AND o < ${end} ORDER BY o`;
        for await (const { rows, columns } of db.stream(sql)) {
          const [o, appended, id, raw] = columns as [number[], number[], string[], string[]];
          yield Array.from({ length: rows }, (_, i) => ({ offset: Number(o[i]), appended: Number(appended[i]), id: id[i]!, bytes: Buffer.from(raw[i]!, 'utf8') as Uint8Array }));
        }
      }
    } finally {
      db.close();
    }
  }

  async compact(lease: Lease, now: number): Promise<number> {
    let gone = await this.bury(now);
    const byDate = new Map<string, HistoryFile[]>();
    for (const f of await this.files()) {
      if (f.rows >= BIG_ENOUGH) continue;
      const folder = f.file.slice(0, f.file.lastIndexOf('/'));
      byDate.set(`${folder}|${f.rules}`, [...(byDate.get(`${folder}|${f.rules}`) ?? []), f]);
    }
    for (const files of byDate.values()) {
      if (files.length < COMPACT_AT) continue;
      await this.duck(async db => {
        const [first, last] = [files[0]!, files[files.length - 1]!];
        const folder = first.file.slice(0, first.file.lastIndexOf('/'));
        const file = `${folder}/p${first.partition}-${first.from}-${last.to}-c${now}.parquet`;
        const list = files.map(f => text(join(this.options.dir, f.file))).join(', ');
        const bytes = await copyTo(db, `SELECT * FROM read_parquet([${list}], union_by_name = true, hive_partitioning = false) ORDER BY o`, join(this.options.dir, file), 'zstd');
        const sum = (pick: (f: HistoryFile) => number) => files.reduce((n, f) => n + pick(f), 0);
        const merged: HistoryFile = {
          ...first,
          file,
          to: last.to,
          rows: sum(f => f.rows),
          minTs: Math.min(...files.map(f => f.minTs)),
          maxTs: Math.max(...files.map(f => f.maxTs)),
          bytes,
        };
        this.manifest.swap({ add: [merged], remove: files, now }, lease);
      });
      gone += files.length;
    }
    return gone;
  }

  /** Deletes replaced files whose grace is over. */
  private async bury(now: number): Promise<number> {
    const due = this.manifest.expired(now);
    for (const f of due) await rm(join(this.options.dir, f), { force: true });
    if (due.length) this.manifest.forget(due);
    return due.length;
  }

  /** Once per writer: files that a killed one wrote and never listed. */
  private async sweep(): Promise<void> {
    if (this.swept) return;
    this.swept = true;
    const known = new Set([...(await this.files()).map(f => f.file), ...this.manifest.buried()]);
    for (const f of await filesOnDisk(this.options.dir)) if (!known.has(f) && !f.startsWith('.tmp') && !f.startsWith(TABLES)) await rm(join(this.options.dir, f), { force: true });
  }
}
