/**
 * Feature values for every row of a spine, each as of its own time, from the event logs alone. The SQL is made in src/sql;
 * here it is run group by group, and its integers are finished into cells by the code that serving uses.
 */
import type { Cell } from '../../engine/values.ts';
import type { Registry, WindowFeaturePlan } from '../../registry/types.ts';
import { ident } from '../../sql/columns.ts';
import {
  eventsSql,
  instantsSql,
  keySql,
  type Names,
  orderSql,
  positionsSql,
  probeSql,
  runningColumns,
  sessionSql,
  suspectsSql,
  table,
  type Width,
  widthOf,
} from '../../sql/group.ts';
import { baseSql, pairCountSql, type Source, taskSql } from '../../sql/lists.ts';
import { type Group, type Plan, planFeatures, sessionGroups, type Task } from '../../sql/plan.ts';
import { type Approx, cellReader, type Located, Outputs, usedColumns } from './cells.ts';
import type { Duck } from './engine.ts';

export type { Approx } from './cells.ts';

export interface PointInTimeRequest {
  registry: Registry;
  features: WindowFeaturePlan[];
  /** Stream -> relation with its admitted events. */
  logs: Record<string, string>;
  /** Relation with `rid` (0..n-1), `t` (ms) and the key columns. */
  spine: string;
  /** Entity -> the spine's columns that make its key, in order. */
  keyColumns: Record<string, string[]>;
  approx: Approx;
  /** false: cells of windows come without `ts`, which saves a running column per slot. */
  wantTs?: boolean;
}

export interface PointInTimeChunk {
  rid0: number;
  rows: number;
  /** Per feature asked for, one cell per row. */
  cells: Cell[][];
}

/** Running columns of one pass over the order: bounds the memory of a pass, not the number of features. */
const COLUMNS_PER_PASS = 48;
/** Pairs whose values are gathered into lists at a time. */
const PAIRS_PER_SLICE = 20_000_000;
const GATHERS = new Set<Task['kind']>(['topK', 'percentile', 'list']);

export async function* pointInTime(db: Duck, req: PointInTimeRequest): AsyncGenerator<PointInTimeChunk> {
  const run = new Run(db, req);
  try {
    yield* run.chunks();
  } finally {
    await run.clear();
  }
}

class Run {
  private readonly db: Duck;
  private readonly req: PointInTimeRequest;
  private readonly plan: Plan;
  private readonly prefix: string;
  private readonly made = new Map<string, 'TABLE' | 'VIEW'>();
  private readonly results: string[] = [];

  constructor(db: Duck, req: PointInTimeRequest) {
    this.db = db;
    this.req = req;
    this.plan = planFeatures(req.registry, req.features, req.wantTs !== false);
    this.prefix = `pit${db.next()}_`;
  }

  async *chunks(): AsyncGenerator<PointInTimeChunk> {
    // Every join here is written with its build side on the right; the optimizer cannot know how much unnest makes.
    await this.db.run(`SET disabled_optimizers = 'join_order,build_side_probe_side'`);
    const located: Located[] = [];
    await this.create(`CREATE TABLE ${ident(`${this.prefix}times`)} AS SELECT rid, t FROM ${ident(this.req.spine)} ORDER BY rid`);
    const names = await this.events();
    for (const [index, group] of this.plan.groups.entries()) located.push(await this.group(group, index, names));
    const out = new Outputs();
    const wantTs = this.req.wantTs !== false;
    const readers = this.plan.features.map(f => cellReader(f, this.plan, located, out, this.req.approx, wantTs));
    const from = [`${this.prefix}times`, ...this.results].map(ident).join(' POSITIONAL JOIN ');
    const times = ident(`${this.prefix}times`);
    let next = 0;
    for await (const chunk of this.db.stream(`SELECT ${[`${times}.rid`, `${times}.t`, ...out.sql].join(', ')} FROM ${from}`)) {
      const [rids = [], at = [], ...columns] = chunk.columns;
      if (rids[0] !== next || rids[chunk.rows - 1] !== next + chunk.rows - 1) throw new Error('the spine has no rid 0..n-1 in order');
      yield { rid0: next, rows: chunk.rows, cells: readers.map(read => read(columns, chunk.rows, at)) };
      next += chunk.rows;
    }
  }

  async clear(): Promise<void> {
    for (const name of [...this.made.keys()].reverse()) await this.drop(name);
    await this.db.run(`SET disabled_optimizers = ''`);
  }

  /** Runs a CREATE and remembers what it made. */
  private async create(sql: string): Promise<void> {
    const [, kind, name] = /^CREATE (TABLE|VIEW) ("(?:[^"]|"")+")/.exec(sql) ?? [];
    if (name === undefined) throw new Error('not a CREATE');
    this.made.set(name, kind as 'TABLE' | 'VIEW');
    await this.db.run(sql);
  }

  private async drop(name: string): Promise<void> {
    await this.db.run(`DROP ${this.made.get(name) ?? 'TABLE'} IF EXISTS ${name}`);
    this.made.delete(name);
  }

  private async names(group: Group, index: number): Promise<Names> {
    const log = this.req.logs[group.stream];
    const keyColumns = this.req.keyColumns[group.entity];
    if (log === undefined) throw new Error(`no log of stream ${group.stream}`);
    if (keyColumns === undefined) throw new Error(`no key columns of entity ${group.entity}`);
    const entity = `${this.prefix}e${this.plan.groups.findIndex(g => g.entity === group.entity)}_`;
    const names: Names = { log, spine: this.req.spine, keys: `${entity}keys`, rows: `${entity}rows`, own: `${this.prefix}g${index}_` };
    if (!this.made.has(ident(names.keys))) for (const sql of keySql(names, keyColumns)) await this.create(sql);
    return names;
  }

  /** The events of every group come first: a session may be delimited by those of two. */
  private async events(): Promise<Names[]> {
    const all: Names[] = [];
    const delimiting = sessionGroups(this.plan);
    for (const [index, group] of this.plan.groups.entries()) {
      const names = await this.names(group, index);
      await this.create(suspectsSql(names, group));
      const [suspects] = await this.db.rows(`SELECT count(*) AS n FROM ${table(names, 'suspects')}`);
      await this.create(eventsSql(this.req.registry, names, group, suspects?.n !== 0, delimiting.has(index) ? 'TABLE' : 'VIEW'));
      all.push(names);
    }
    return all;
  }

  /** All tables of one group; what is left of it are the results, one row per spine row. */
  private async group(group: Group, index: number, all: readonly Names[]): Promise<Located> {
    const names = all[index] as Names;
    for (const [i, instant] of group.instants.entries()) if (instant.kind === 'session') await this.create(sessionSql(names, instant, i, g => table(all[g] as Names, 'events')));
    await this.create(orderSql(names, group));
    const widths = await this.widths(names, group);
    const at = await this.totals(names, group, index, widths);
    const task = await this.tasks(names, group, at);
    await this.drop(table(names, 'ordered'));
    return { at, task, widths };
  }

  private async widths(names: Names, group: Group): Promise<Width[]> {
    const [sizes = {}] = await this.db.rows(probeSql(names, group));
    const big = (v: unknown): bigint => BigInt((v ?? 0) as number | bigint);
    return group.columns.map((_, i) => widthOf(big(sizes.n), big(sizes[`a${i}`])));
  }

  /** Runs the totals in passes; returns where a running column at an instant is found. */
  private async totals(names: Names, group: Group, index: number, widths: Width[]): Promise<Located['at']> {
    const used = usedColumns(this.plan, index, widths);
    const nameOf = (column: string): string => column.slice(0, column.lastIndexOf('_'));
    const read = new Set([...used].map(nameOf));
    const running = runningColumns(group, widths).filter(r => read.has(r.name));
    const where = new Map<string, string>();
    for (let chunk = 0; chunk * COLUMNS_PER_PASS < running.length; chunk++) {
      const some = running.slice(chunk * COLUMNS_PER_PASS, (chunk + 1) * COLUMNS_PER_PASS);
      const mine = new Set(some.map(r => r.name));
      await this.create(instantsSql(names, some, new Set([...used].filter(c => mine.has(nameOf(c)))), chunk));
      this.results.push(`${names.own}at${chunk}`);
      for (const name of mine) where.set(name, table(names, `at${chunk}`));
    }
    return column => `${where.get(nameOf(column))}.${column}`;
  }

  private async tasks(names: Names, group: Group, at: Located['at']): Promise<Located['task']> {
    for (const [i, task] of group.tasks.entries()) {
      const events = `by${task.slot}_${task.column}`;
      if (!this.made.has(table(names, events))) await this.create(positionsSql(names, group, task.slot, task.column, events));
      await this.task(names, task, i, table(names, events), at);
      if (!group.tasks.slice(i + 1).some(t => t.slot === task.slot && t.column === task.column)) await this.drop(table(names, events));
    }
    return (index, column) => `${table(names, `task${index}`)}.${column}`;
  }

  private async task(names: Names, task: Task, index: number, events: string, at: Located['at']): Promise<void> {
    const lows = task.spans.map(([lo, hi]) => ({ lo: at(`n${task.slot}_${lo}`), hi: at(`n${task.slot}_${hi}`) }));
    const relation = (lows[0]?.lo ?? '').slice(0, (lows[0]?.lo ?? '').lastIndexOf('.'));
    const column = (sql: string): string => sql.slice(sql.lastIndexOf('.') + 1);
    const source: Source = { relation, spans: lows.map(({ lo, hi }) => ({ lo: column(lo), hi: column(hi) })) };
    const base = baseSql(names, task, events, `base${index}`);
    if (base !== null) await this.create(base);
    const result = table(names, `task${index}`);
    const slices = GATHERS.has(task.kind) ? await this.slices(source) : [null];
    for (const [k, slice] of slices.entries()) {
      const sql = taskSql(task, source, events, table(names, `base${index}`), slice);
      await (k === 0 ? this.create(`CREATE TABLE ${result} AS ${sql}`) : this.db.run(`INSERT INTO ${result} ${sql}`));
    }
    this.results.push(`${names.own}task${index}`);
    if (base !== null) await this.drop(table(names, `base${index}`));
  }

  /** Ranges of rids with about as many pairs as fit; one range when few. */
  private async slices(source: Source): Promise<([number, number] | null)[]> {
    const [counted] = await this.db.rows(`${pairCountSql(source).replace(' AS pairs', ' AS pairs, count(*) AS n')}`);
    const parts = Math.ceil(Number(counted?.pairs ?? 0) / PAIRS_PER_SLICE);
    if (parts <= 1) return [null];
    const width = Math.ceil(Number(counted?.n ?? 0) / parts);
    return Array.from({ length: parts }, (_, i) => [i * width, (i + 1) * width]);
  }
}
