/** One run of a view's SQL: what is new is found, written to a file, and listed with the run in one transaction. */
import { randomUUID } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { FabraError } from '../../lib/errors.ts';
import type { JobLease } from '../../ports/online-store.ts';
import type { RunOptions, ViewCode } from '../../ports/table-store.ts';
import type { ViewPlan } from '../../registry/types.ts';
import { ident, text } from '../../sql/columns.ts';
import { Duck } from '../duckdb/engine.ts';
import type { Embedded } from '../embedded/env.ts';
import { requireJob } from '../embedded/jobs.ts';
import { copyTo } from '../history/files.ts';
import { type KeptRun, TableManifest } from './manifest.ts';
import { openSource } from './open-source.ts';
import type { Pools } from './postgres.ts';
import { createRows, recorded } from './relate.ts';
import { keyColumns } from './source.ts';
import { kColumns, readRows, type Staged, stage } from './stage.ts';

export interface RecordOptions {
  env: Embedded;
  dir: string;
  project: string;
  clock: Pick<Clock, 'now'>;
  duck: { threads?: number; memoryLimit?: string; tempDir?: string };
  pools: () => Promise<Pools>;
}

/** Folder of a table's files, relative to the offline folder. */
export const folderOf = (table: { id: string; hash: string }): string => `tables/view=${encodeURIComponent(table.id)}/${table.hash}`;

const STAGED = 'staged';
const FRESH = 'fresh';
const NEWEST = 'newest';

export class RunRecorder {
  private readonly options: RecordOptions;
  private readonly view: ViewPlan;
  private readonly code: ViewCode;
  private readonly run: RunOptions;
  private readonly manifest: TableManifest;
  private readonly keys: string[];

  constructor(options: RecordOptions, view: ViewPlan, code: ViewCode, run: RunOptions) {
    this.options = options;
    this.view = view;
    this.code = code;
    this.run = run;
    this.manifest = new TableManifest(options.env);
    this.keys = kColumns(keyColumns(view, code).length);
  }

  async record(job: JobLease, signal: AbortSignal): Promise<KeptRun> {
    const { options, view, run } = this;
    options.env.refresh();
    const waiting = this.manifest.runs(view.id).findLast(r => r.hash === view.hash && r.status === 'recorded');
    if (waiting) return waiting;
    await this.sweep();
    const at = view.time === null ? run.to : options.clock.now();
    const counted: Staged = { read: 0, skipped: 0 };
    const db = await Duck.open(options.duck);
    const files: KeptRun['files'] = [];
    try {
      await this.stage(db, counted, signal);
      const newest = await this.newest(db, at);
      const read = view.time === null ? counted.read : await count(db, `SELECT 1 FROM ${STAGED} s WHERE ${this.within('s')}`);
      if (view.time === null) await this.snapshot(db, at, files);
      else await this.insertNew(db, newest, at);
      const rows = files[0]?.rows ?? (await count(db, `SELECT 1 FROM ${FRESH}`));
      const gone = run.incremental ? 0 : await this.insertGone(db, at);
      await this.write(db, files);
      if (signal.aborted) throw new FabraError('INTERRUPTED', `the run of view '${view.id}' was stopped`);
      return this.keep({ at, read, rows, gone, skipped: counted.skipped, files }, job);
    } catch (e) {
      for (const f of files) if (!this.listed(f.file)) await rm(join(options.dir, f.file), { force: true });
      throw e;
    } finally {
      db.close();
    }
  }

  private async stage(db: Duck, counted: Staged, signal: AbortSignal): Promise<void> {
    const { view, code } = this;
    const source = await openSource({ db, view, code, project: this.options.project, signal, pools: this.options.pools });
    try {
      await stage(db, STAGED, this.keys.length, readRows(source, view, code, { db, signal, counted }));
    } finally {
      await source.close();
    }
  }

  /** The row that counts now for each key, as `newest`; returns the SQL of all recorded rows. */
  private async newest(db: Duck, at: number): Promise<string> {
    const all = await recorded(db, { ...this.options, registry: this.code.registry }, this.view, 'tail', this.view.time === null);
    await db.run(createRows(FRESH, this.keys.length));
    const by = this.keys.length === 0 ? '' : `PARTITION BY ${this.keys.join(', ')} `;
    await db.run(
      `CREATE TABLE ${NEWEST} AS SELECT * FROM (${all}) WHERE eff <= ${at} QUALIFY row_number() OVER (${by}ORDER BY eff DESC, created DESC NULLS LAST, text DESC, src DESC) = 1`,
    );
    return all;
  }

  /** Rows of the window; an incremental run looks for late ones also where it has looked before. */
  private within(row: string): string {
    const { run } = this;
    const covered = run.incremental ? this.manifest.covered(this.view.id, this.view.hash) : [];
    const lows = [run.from, ...covered.map(r => r.from)];
    const low = lows.includes(null) ? null : Math.min(...(lows as number[]));
    return `${low === null ? '' : `${row}.ts >= ${low} AND `}${row}.ts <= ${run.to}`;
  }

  /** What no run has recorded yet (a row pushed to history alone is not online), and keys that are back with a time from before they went. */
  private async insertNew(db: Duck, all: string, at: number): Promise<void> {
    const k = this.keys;
    const columns = [...k, 'ts', 'created', 'text'].join(', ');
    const out = [...k, 'ts AS eff', 'ts', 'created', 'text', 'false'].join(', ');
    await db.run(
      `INSERT INTO ${FRESH} SELECT ${out} FROM (SELECT ${columns} FROM ${STAGED} s WHERE ${this.within('s')} EXCEPT SELECT ${columns} FROM (${all}) WHERE NOT gone AND src = 1)`,
    );
    const by = k.length === 0 ? '' : `PARTITION BY ${k.join(', ')} `;
    await db.run(
      `INSERT INTO ${FRESH} SELECT ${[...k.map(c => `s.${c}`), `greatest(${at}, n.eff)`, 's.ts', 's.created', 's.text', 'false'].join(', ')}
        FROM (SELECT * FROM ${STAGED} WHERE ts <= ${Math.min(this.run.to, at)} QUALIFY row_number() OVER (${by}ORDER BY ts DESC, created DESC NULLS LAST, text DESC) = 1) s
        JOIN ${NEWEST} n ON ${this.sameKey('s', 'n')} WHERE n.gone AND s.ts <= n.eff`,
    );
  }

  /** Without a time column: the whole result under the run's time; a file that says the same already is listed again. */
  private async snapshot(db: Duck, at: number, files: KeptRun['files']): Promise<void> {
    const columns = [...this.keys, 'created', 'text'].join(', ');
    const now = `SELECT DISTINCT ${columns} FROM ${STAGED}`;
    const rows = await count(db, now);
    if (rows === 0) return;
    const before = this.manifest
      .runs(this.view.id)
      .filter(r => r.hash === this.view.hash)
      .flatMap(r => r.files)
      .find(f => f.at !== null);
    if (before?.rows === rows) {
      const kept = `SELECT ${columns} FROM read_parquet(${text(join(this.options.dir, before.file))}, hive_partitioning = false)`;
      if ((await count(db, `${now} EXCEPT ${kept}`)) === 0) return void files.push({ ...before, at });
    }
    const file = this.newFile();
    await copyTo(db, `${now} ORDER BY ALL`, join(this.options.dir, file), 'snappy');
    files.push({ file, at, rows });
  }

  /** Keys that a run found before and that the SQL does not give any more. */
  private async insertGone(db: Duck, at: number): Promise<number> {
    const values = [...this.keys.map(c => `n.${c}`), `greatest(${at}, n.eff + 1)`, `greatest(${at}, n.eff + 1)`, 'NULL', "''", 'true'].join(', ');
    const found = `FROM ${NEWEST} n WHERE NOT n.gone AND n.src = 1 AND NOT EXISTS (SELECT 1 FROM ${STAGED} s WHERE ${this.sameKey('s', 'n')})`;
    await db.run(`INSERT INTO ${FRESH} SELECT ${values} ${found}`);
    return count(db, `SELECT 1 ${found}`);
  }

  private sameKey(a: string, b: string): string {
    return this.keys.length === 0 ? 'true' : this.keys.map(k => `${a}.${k} = ${b}.${k}`).join(' AND ');
  }

  private newFile(): string {
    return `${folderOf(this.view)}/r-${randomUUID()}.parquet`;
  }

  private async write(db: Duck, files: KeptRun['files']): Promise<void> {
    const rows = await count(db, `SELECT 1 FROM ${FRESH}`);
    if (rows === 0) return;
    const file = this.newFile();
    await copyTo(db, `SELECT * FROM ${ident(FRESH)} ORDER BY ALL`, join(this.options.dir, file), 'snappy');
    files.push({ file, at: null, rows });
  }

  private keep(found: Pick<KeptRun, 'at' | 'read' | 'rows' | 'gone' | 'skipped' | 'files'>, job: JobLease): KeptRun {
    const { env } = this.options;
    const { from, to, incremental } = this.run;
    return env.write(() => {
      requireJob(env, job);
      return this.manifest.addRun({ view: this.view.id, hash: this.view.hash, from, to, incremental, status: 'recorded', put: 0, error: null, done: null, ...found });
    });
  }

  private listed(file: string): boolean {
    this.options.env.refresh();
    return this.manifest.files(this.view.id, this.view.hash).some(f => f.file === file);
  }

  /** Files that a killed run wrote and never listed: under the job's lock nobody else writes such ones. */
  private async sweep(): Promise<void> {
    const folder = folderOf(this.view);
    const known = new Set(this.manifest.files(this.view.id, this.view.hash).map(f => f.file));
    const names = await readdir(join(this.options.dir, folder)).catch(() => [] as string[]);
    for (const name of names) if (name.startsWith('r-') && !known.has(`${folder}/${name}`)) await rm(join(this.options.dir, folder, name), { force: true });
  }
}

async function count(db: Duck, sql: string): Promise<number> {
  return Number((await db.rows(`SELECT count(*) AS n FROM (${sql})`))[0]!.n);
}
