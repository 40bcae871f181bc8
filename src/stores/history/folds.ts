/** Folds over history: the ordered log and a spine's instants merged key by key, stepped by the very code that serves them online. */
import { foldCell } from '../../engine/cells.ts';
import { Decoder } from '../../engine/decode.ts';
import { FoldRun, type FoldValue } from '../../engine/fold.ts';
import { decodePayload, encodePayload } from '../../engine/payload.ts';
import type { Cell } from '../../engine/values.ts';
import { joinKey } from '../../lib/text.ts';
import type { HistoryCode } from '../../ports/offline-store.ts';
import type { FoldFeaturePlan } from '../../registry/types.ts';
import { ident, keyText, text } from '../../sql/columns.ts';
import type { AppendColumn, Duck, DuckValue } from '../duckdb/engine.ts';
import type { Columns } from './lockstep.ts';

interface Host {
  readonly db: Duck;
  readonly compiled: HistoryCode;
}

export interface FoldQuestion {
  spine: string;
  /** The spine's columns that make the key. */
  keys: readonly string[];
  /** Of one entity and the same events. */
  folds: readonly FoldFeaturePlan[];
}

/** Rows given to the appender at once. */
const APPEND = 20_480;

/** Cells per fold, in the spine's order. */
export async function* foldCells(host: Host, q: FoldQuestion): AsyncGenerator<Columns<Cell>> {
  const { db } = host;
  const name = `fold${db.next()}`;
  const [keys, raw, out] = [`${name}_keys`, `${name}_raw`, `${name}_out`];
  try {
    await db.run(keysSql(q, keys));
    await db.run(`CREATE TABLE ${ident(raw)} (rid BIGINT${q.folds.map((_, i) => `, v${i} VARCHAR, s${i} BIGINT, e${i} VARCHAR`).join('')})`);
    await merge(host, q, keys, raw);
    await db.run(`CREATE TABLE ${ident(out)} AS SELECT a.t, r.* EXCLUDE (rid) FROM ${ident(q.spine)} a LEFT JOIN ${ident(raw)} r ON a.rid = r.rid ORDER BY a.rid`);
    await db.run(`DROP TABLE ${ident(raw)}`);
    for await (const { rows, columns } of db.stream(`SELECT * FROM ${ident(out)}`)) {
      const [t, ...values] = columns as [number[], ...DuckValue[][]];
      yield { rows, columns: q.folds.map((f, i) => t.map((at, row) => foldCell(f, stateOf(values, i, row), at))) };
    }
  } finally {
    for (const table of [keys, raw, out]) await db.run(`DROP TABLE IF EXISTS ${ident(table)}`);
  }
}

function stateOf(values: readonly DuckValue[][], i: number, row: number): FoldValue {
  const ts = values[3 * i + 1]![row];
  if (ts === null || ts === undefined) return null;
  const error = values[3 * i + 2]![row];
  return error === null || error === undefined ? { value: decodePayload(values[3 * i]![row] as string), ts: ts as number } : { error: error as string, ts: ts as number };
}

const own = (keys: readonly string[]): string[] => keys.map((_, i) => `k${i}`);

/** The whole keys of the spine, numbered. */
function keysSql({ spine, keys }: FoldQuestion, name: string): string {
  const k = own(keys);
  const columns = keys.map((c, i) => `${ident(c)} AS ${k[i]}`).join(', ');
  const whole = keys.map(c => `${ident(c)} <> ''`).join(' AND ');
  const distinct = keys.length === 0 ? `SELECT 1 AS kn` : `SELECT row_number() OVER () AS kn, * FROM (SELECT DISTINCT ${columns} FROM ${ident(spine)} WHERE ${whole})`;
  return `CREATE TABLE ${ident(name)} AS ${distinct}`;
}

/** Accepted events of the keys, each once, in the order that counts. */
function eventsSql({ compiled: { registry } }: Host, { spine, keys, folds }: FoldQuestion, numbered: string): string {
  const types = new Map<string, string[]>();
  for (const id of folds[0]!.events) {
    const { stream, type } = registry.events[id]!;
    types.set(stream, [...(types.get(stream) ?? []), type]);
  }
  const k = own(keys);
  const columns = registry.entities[folds[0]!.entity]!.key;
  const sources = [...types].map(([stream, list]) => {
    const parts = columns.map((c, i) => `${keyText(registry, stream, list, c, 'e')} AS k${i}`);
    const rows = `SELECT ${[...parts, `${text(stream)} AS stream`, 'p', 'o', 'appended', 'ts', 'id', 'raw'].join(', ')} FROM ${ident(`all:${stream}`)} e WHERE adm = 0 AND type IN (${list.map(text).join(', ')})`;
    return k.length === 0 ? `SELECT 1 AS kn, * FROM (${rows})` : `SELECT n.kn, x.* FROM (${rows}) x JOIN ${ident(numbered)} n USING (${k.join(', ')})`;
  });
  const once = `SELECT *, row_number() OVER (PARTITION BY kn, stream, ts, id ORDER BY p, o) AS copy FROM (${sources.join(' UNION ALL ')}) WHERE ts < (SELECT max(t) FROM ${ident(spine)})`;
  return `SELECT kn, stream, p, o, appended, ts, id, raw FROM (${once}) WHERE copy = 1 ORDER BY kn, ts, stream, id`;
}

function instantsSql({ spine, keys }: FoldQuestion, numbered: string): string {
  const k = own(keys);
  const on = keys.map((c, i) => `a.${ident(c)} = n.${k[i]}`).join(' AND ') || 'true';
  return `SELECT ${['n.kn', 'a.rid', 'a.t', ...k.map(c => `n.${c}`)].join(', ')} FROM ${ident(spine)} a JOIN ${ident(numbered)} n ON ${on} ORDER BY n.kn, a.t`;
}

interface LoggedEvent {
  kn: number;
  ts: number;
  id: string;
  type: string;
  payload: string;
}

/** Events as folds take them, decoded from the bytes they came in. */
async function* events(host: Host, q: FoldQuestion, numbered: string): AsyncGenerator<LoggedEvent> {
  const decoders = new Map<string, Decoder>();
  const { registry, code } = host.compiled;
  for await (const { rows, columns } of host.db.stream(eventsSql(host, q, numbered))) {
    const [kn, stream, p, o, appended, , id, raw] = columns as [number[], string[], number[], number[], number[], number[], string[], string[]];
    for (let i = 0; i < rows; i++) {
      const name = stream[i]!;
      let decoder = decoders.get(name);
      if (!decoder) decoders.set(name, (decoder = new Decoder(registry, name, code.schemas)));
      const d = decoder.decode({ offset: o[i]!, appended: appended[i]!, id: id[i]!, bytes: Buffer.from(raw[i]!) }, p[i]!);
      if (d.ok) yield { kn: kn[i]!, ts: d.event.ts, id: d.event.id, type: d.event.type, payload: encodePayload(d.event.payload ?? {}) };
    }
  }
}

/** Text of a value that gives back the same; JSON has no minus zero of its own writing. */
const valueText = (v: unknown): string => (Object.is(v, -0) ? '-0' : (encodePayload(v) ?? 'null'));

async function merge(host: Host, q: FoldQuestion, numbered: string, into: string): Promise<void> {
  const log = events(host, q, numbered);
  const out = new Appender(host.db, into, q.folds.length);
  const { registry, code } = host.compiled;
  const keyColumns = registry.entities[q.folds[0]!.entity]!.key;
  const units = q.folds.map(f => ({ code: code.folds?.get(f.id) ?? null, keyColumns }));
  let next = await log.next();
  let kn = -1;
  let runs: FoldRun[] = [];
  /** Of the runs as they stand; null when an event came since. */
  let cells: DuckValue[] | null = null;
  try {
    for await (const { rows, columns } of host.db.stream(instantsSql(q, numbered))) {
      const [kns, rids, t, ...parts] = columns as [number[], number[], number[], ...string[][]];
      for (let i = 0; i < rows; i++) {
        if (kns[i] !== kn) {
          kn = kns[i]!;
          const key = joinKey(parts.map(p => p[i]!));
          runs = units.map(u => new FoldRun(u, key));
          cells = null;
        }
        while (!next.done && (next.value.kn < kn || (next.value.kn === kn && next.value.ts < t[i]!))) {
          if (next.value.kn === kn) {
            for (const run of runs) run.apply(next.value);
            cells = null;
          }
          next = await log.next();
        }
        cells ??= runs.flatMap(cellsOf);
        await out.add(rids[i]!, cells);
      }
    }
    await out.flush();
  } finally {
    await log.return(undefined);
  }
}

function cellsOf(run: FoldRun): [string | null, number | null, string | null] {
  const v = run.value();
  if (!v) return [null, null, null];
  return 'error' in v ? [null, v.ts, v.error] : [valueText(v.value), v.ts, null];
}

class Appender {
  private readonly db: Duck;
  private readonly table: string;
  private rids: number[] = [];
  private readonly columns: DuckValue[][];

  constructor(db: Duck, table: string, folds: number) {
    this.db = db;
    this.table = table;
    this.columns = Array.from({ length: 3 * folds }, () => []);
  }

  async add(rid: number, cells: readonly DuckValue[]): Promise<void> {
    this.rids.push(rid);
    cells.forEach((c, i) => this.columns[i]!.push(c));
    if (this.rids.length >= APPEND) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.rids.length === 0) return;
    const columns = this.columns.map((values, i): AppendColumn => ({ type: i % 3 === 1 ? 'BIGINT' : 'VARCHAR', values: values as (string | number | null)[] }));
    await this.db.append(this.table, [{ type: 'BIGINT', values: this.rids }, ...columns]);
    this.rids = [];
    for (const c of this.columns) c.length = 0;
  }
}
