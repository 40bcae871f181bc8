/** A view of history: the manifest's files and the log's tail as DuckDB relations, taken in one snapshot. */
import { join } from 'node:path';
import { admit, newAdmitState } from '../../engine/admit.ts';
import { Decoder, type RawRecord } from '../../engine/decode.ts';
import { compileUnits, type TableUnit } from '../../engine/units.ts';
import type { Cell } from '../../engine/values.ts';
import type { HistoryCode, HistoryFile, HistoryRow, HistoryView, KeyEvent, SampledEvent, Spine, SpineSource } from '../../ports/offline-store.ts';
import type { Mark, Position } from '../../ports/online-store.ts';
import type { StoredFeaturePlan, StreamPlan } from '../../registry/types.ts';
import { ident, text } from '../../sql/columns.ts';
import { type AppendColumn, Duck } from '../duckdb/engine.ts';
import { relateTable } from '../tables/relate.ts';
import { answer } from './answer.ts';
import { changedKeys, keyEvents, rangeOf, sampleEvents, sampleKeys, timesOf } from './lookups.ts';
import { type Manifest, rulesOf } from './manifest.ts';
import type { HistoryOptions } from './open.ts';
import { openSpine } from './spine.ts';
import { FIXED, HistoryTable } from './table.ts';

interface ViewOptions extends HistoryOptions {
  manifest: Manifest;
  compiled: HistoryCode;
  upTo: Position | undefined;
}

const TAIL_BATCH = 5_000;

export async function openView(options: ViewOptions): Promise<FileHistoryView> {
  const db = await Duck.open({ threads: options.threads, memoryLimit: options.memoryLimit, tempDir: join(options.dir, '.tmp') });
  try {
    for (const plan of Object.values(options.compiled.registry.streams)) await relateSteadily(db, options, plan);
    return new FileHistoryView(db, options);
  } catch (e) {
    db.close();
    throw e;
  }
}

/** The log was trimmed under the reader: a newer manifest has what is missing. */
class LogMoved extends Error {}

async function relateSteadily(db: Duck, options: ViewOptions, plan: StreamPlan): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await relate(db, options, plan);
    } catch (e) {
      if (!(e instanceof LogMoved) || attempt === 5) throw e;
    }
  }
}

/** `all:<stream>`: every decodable row with its admission; `log:<stream>`: the accepted ones, as the point-in-time SQL wants them. */
async function relate(db: Duck, options: ViewOptions, plan: StreamPlan): Promise<void> {
  options.env.refresh();
  const files = options.manifest.files(plan.name);
  const mark = options.manifest.mark(plan.name, 0);
  const end = options.upTo?.[`${plan.name}/0`] ?? (await options.bus.bounds(plan.name, 0)).end;
  const table = new HistoryTable(options.compiled.registry, plan.name);
  const tail = `tail:${plan.name}`;
  await db.run(`DROP TABLE IF EXISTS ${ident(tail)}`);
  await db.run(table.create(tail));
  const stale = files.some(f => f.rules !== rulesOf(plan));
  if (stale) await decodeInto(db, options, plan, table, tail, { next: 0, admit: newAdmitState() }, end, files, mark.next);
  else await decodeInto(db, options, plan, table, tail, mark, end, [], mark.next);
  const own = table.columns.map(c => `, ${ident(c.name)}`).join('');
  const list = files.map(f => text(join(options.dir, f.file))).join(', ');
  const kept =
    stale || files.length === 0
      ? ''
      : `SELECT ${FIXED.join(', ')}, * EXCLUDE (${FIXED.join(', ')}) FROM read_parquet([${list}], union_by_name = true, hive_partitioning = false) WHERE o < ${end} UNION ALL BY NAME `;
  await db.run(`CREATE VIEW ${ident(`all:${plan.name}`)} AS SELECT ${FIXED.join(', ')}${own} FROM (${kept}SELECT * FROM ${ident(tail)})`);
  await db.run(`CREATE VIEW ${ident(`log:${plan.name}`)} AS SELECT p, o, ts, id, type${own} FROM ${ident(`all:${plan.name}`)} WHERE adm = 0`);
}

/** Decodes and judges what is not (or not by these rules) in files yet, from `mark` on. */
async function decodeInto(
  db: Duck,
  options: ViewOptions,
  plan: StreamPlan,
  table: HistoryTable,
  into: string,
  mark: Mark,
  end: number,
  files: readonly HistoryFile[],
  filesEnd: number,
): Promise<void> {
  const decoder = new Decoder(options.compiled.registry, plan.name, options.compiled.code.schemas);
  const state = { ...mark.admit };
  const add = async (records: readonly RawRecord[]) => {
    const rows: HistoryRow[] = [];
    for (const r of records) {
      const d = decoder.decode(r, 0);
      if (d.ok) rows.push({ event: d.event, admission: admit(state, plan, d.event.ts, d.event.appended), text: d.text });
    }
    await table.append(db, into, rows);
  };
  if (files.length > 0) {
    const list = files.map(f => text(join(options.dir, f.file))).join(', ');
    const sql = `SELECT o, appended, id, raw FROM read_parquet([${list}], union_by_name = true, hive_partitioning = false) WHERE o < ${end} ORDER BY o`;
    for await (const { rows, columns } of db.stream(sql)) {
      const [o, appended, id, raw] = columns as [number[], number[], string[], string[]];
      await add(Array.from({ length: rows }, (_, i) => ({ offset: Number(o[i]), appended: Number(appended[i]), id: id[i]!, bytes: Buffer.from(raw[i]!) })));
    }
  }
  for (let at = Math.max(mark.next, filesEnd); at < end; ) {
    const records = await options.bus.poll(plan.name, 0, at, Math.min(TAIL_BATCH, end - at));
    if (records.length === 0) throw new LogMoved(`the log has nothing at ${at}`);
    if (records[0]!.offset !== at) throw new LogMoved(`the log starts at ${records[0]!.offset}, wanted ${at}`);
    await add(records);
    at = records[records.length - 1]!.offset + 1;
  }
}

export class FileHistoryView implements HistoryView {
  readonly db: Duck;
  readonly compiled: HistoryCode;
  private readonly options: ViewOptions;
  /** Relations of tables, by id. */
  private readonly tables = new Map<string, Promise<string>>();
  private units: Map<string, TableUnit> | null = null;

  constructor(db: Duck, options: ViewOptions) {
    this.db = db;
    this.compiled = options.compiled;
    this.options = options;
  }

  /** Relations by stream for the point-in-time SQL. */
  logs(): Record<string, string> {
    return Object.fromEntries(Object.keys(this.compiled.registry.streams).map(s => [s, `log:${s}`]));
  }

  /** Makes the relation of a table's rows when it is first asked for: its SQL may be long. */
  table(id: string): Promise<string> {
    let made = this.tables.get(id);
    if (!made) this.tables.set(id, (made = this.relate(id)));
    return made;
  }

  private relate(id: string): Promise<string> {
    const { env, dir, project = '.' } = this.options;
    const { registry, code } = this.compiled;
    this.units ??= compileUnits(registry).tables;
    return relateTable(this.db, { env, dir, project, registry, code: { addresses: code.addresses } }, registry.views[id] ?? this.units.get(id)!);
  }

  async ask(features: readonly StoredFeaturePlan[], rows: { at: number[]; keys: Record<string, (string[] | null)[]> }, wantTs: boolean): Promise<Cell[][]> {
    const spine = `spine${this.db.next()}`;
    const keySets: string[][] = [];
    const places = new Map<string, number>();
    const none = (): number => keySets.push([]) - 1;
    const columns: (AppendColumn & { name: string })[] = [
      { name: 'rid', type: 'BIGINT', values: rows.at.map((_, i) => i) },
      { name: 't', type: 'BIGINT', values: rows.at },
    ];
    Object.entries(rows.keys).forEach(([entity, keys], e) => {
      const names = this.compiled.registry.entities[entity]!.key.map((_, i) => `k${e}_${i}`);
      places.set(entity, keySets.push(names) - 1);
      names.forEach((name, i) => columns.push({ name, type: 'VARCHAR', values: keys.map(k => k?.[i] ?? null) }));
    });
    await this.db.run(`CREATE TABLE ${ident(spine)} (${columns.map(c => `${ident(c.name)} ${c.type}`).join(', ')})`);
    await this.db.append(spine, columns);
    const out: Cell[][] = features.map(() => []);
    const asks = features.map(feature => ({ feature, keys: places.get(feature.entity) ?? none() }));
    for await (const chunk of answer(this, { spine, keySets, asks, rows: rows.at.length, wantTs, asOfCreated: false }))
      chunk.cells.forEach((cells, f) => {
        for (const c of cells) out[f]!.push(c);
      });
    await this.db.run(`DROP TABLE ${ident(spine)}`);
    return out;
  }

  events(entity: string, key: string[], stream: string, from: number, to: number): Promise<KeyEvent[]> {
    return keyEvents(this.db, this.compiled.registry, entity, key, stream, from, to);
  }

  sampleKeys(entity: string, limit: number, seed: number): Promise<string[][]> {
    return sampleKeys(this.db, this.compiled.registry, entity, limit, seed);
  }

  sampleEvents(stream: string, type: string, options: { from: number; limit: number; seed: number; spread: boolean }): Promise<SampledEvent[]> {
    return sampleEvents(this.db, this.compiled.registry, stream, type, options);
  }

  changedKeys(entity: string, since: Position): Promise<{ key: string[]; minTs: number }[]> {
    return changedKeys(this.db, this.compiled.registry, entity, since);
  }

  range(): Promise<{ from: number; to: number } | null> {
    return rangeOf(this.db, this.compiled.registry);
  }

  timesOf(entity: string, key: string[], limit: number, seed: number): Promise<number[]> {
    return timesOf(this.db, this.compiled.registry, entity, key, limit, seed);
  }

  spine(source: SpineSource): Promise<Spine> {
    return openSpine(this, source);
  }

  async audit(stream: string): Promise<{ rows: number; ok: number; late: number; quarantined: number; differ: number | null }> {
    const plan = this.compiled.registry.streams[stream]!;
    const all = ident(`all:${stream}`);
    const [n] = await this.db.rows(
      `SELECT count(*) AS rows, count(*) FILTER (adm = 0) AS ok, count(*) FILTER (adm = 1) AS late, count(*) FILTER (adm = 2) AS quarantined FROM ${all}`,
    );
    const counts = { rows: Number(n!.rows), ok: Number(n!.ok), late: Number(n!.late), quarantined: Number(n!.quarantined) };
    if (plan.maxAhead !== null && (await this.mayHaveRebased(all))) return { ...counts, differ: null };
    const sql = `SELECT count(*) AS differ FROM (SELECT adm, coalesce(ts < max(ts) OVER (PARTITION BY p ORDER BY o ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - ${plan.lateness}, false) AS late FROM ${all} WHERE adm <> 2) WHERE late <> (adm = 1)`;
    const [d] = await this.db.rows(sql);
    return { ...counts, differ: Number(d!.differ) };
  }

  /** A re-base needs 100 quarantined events in a row, or 100 late ones right behind the first: only then is the rule more than one running maximum. */
  private async mayHaveRebased(all: string): Promise<boolean> {
    const strays = `SELECT count(*) AS n FROM (SELECT o, adm, row_number() OVER (PARTITION BY p ORDER BY o) - row_number() OVER (PARTITION BY p, adm ORDER BY o) AS run, p FROM ${all}) WHERE adm = 2 GROUP BY p, run ORDER BY n DESC LIMIT 1`;
    const first = `SELECT count(*) FILTER (adm = 1) AS n FROM (SELECT adm, row_number() OVER (PARTITION BY p ORDER BY o) AS i FROM ${all} WHERE adm <> 2) WHERE i BETWEEN 2 AND 101 `;
    const [[a], [b]] = [await this.db.rows(strays), await this.db.rows(first)];
    return Number(a?.n ?? 0) >= 100 || Number(b?.n ?? 0) >= 100;
  }

  async close(): Promise<void> {
    this.db.close();
  }
}
