/** Single-key questions to history: for `explain`, and for choosing what parity compares. */
import type { ColumnValue, DecodedEvent } from '../../engine/values.ts';
import type { KeyEvent, SampledEvent } from '../../ports/offline-store.ts';
import type { Position } from '../../ports/online-store.ts';
import { eventsOf } from '../../registry/meaning.ts';
import type { Registry } from '../../registry/types.ts';
import { ident, keyText, physicalColumn, text } from '../../sql/columns.ts';
import type { Duck } from '../duckdb/engine.ts';

/** Streams with events that feed an entity, and the event types. */
export function feeds(registry: Registry, entity: string): Map<string, string[]> {
  const out = new Map<string, Set<string>>();
  for (const f of Object.values(registry.features)) {
    if (f.entity !== entity) continue;
    for (const id of eventsOf(f)) {
      const { stream, type } = registry.events[id]!;
      out.set(stream, (out.get(stream) ?? new Set()).add(type));
    }
  }
  return new Map([...out].map(([s, t]) => [s, [...t].sort()]));
}

const typeList = (types: readonly string[]): string => types.map(text).join(', ');

/** Rows of an entity in one stream: key parts as text. */
function keyed(registry: Registry, entity: string, stream: string, types: readonly string[], relation: string): string {
  const parts = registry.entities[entity]!.key.map((c, i) => `${keyText(registry, stream, types, c, 'e')} AS k${i}`).join(', ');
  return `SELECT ${parts}, e.* FROM ${ident(relation)} e WHERE e.type IN (${typeList(types)})`;
}

const whole = (n: number): string => Array.from({ length: n }, (_, i) => `k${i} <> ''`).join(' AND ');

export async function sampleKeys(db: Duck, registry: Registry, entity: string, limit: number, seed: number): Promise<string[][]> {
  const n = registry.entities[entity]!.key.length;
  const cols = Array.from({ length: n }, (_, i) => `k${i}`).join(', ');
  const sources = [...feeds(registry, entity)].map(([s, types]) => `SELECT ${cols} FROM (${keyed(registry, entity, s, types, `log:${s}`)})`);
  if (sources.length === 0) return [];
  const sql = `SELECT ${cols} FROM (SELECT DISTINCT ${cols} FROM (${sources.join(' UNION ALL ')}) WHERE ${whole(n)}) ORDER BY hash(${cols}, ${Math.trunc(seed)}), ${cols} LIMIT ${Math.trunc(limit)}`;
  return (await db.rows(sql)).map(r => Array.from({ length: n }, (_, i) => String(r[`k${i}`])));
}

const keyIs = (key: readonly string[]): string => key.map((k, i) => `k${i} = ${text(k)}`).join(' AND ');

export async function timesOf(db: Duck, registry: Registry, entity: string, key: readonly string[], limit: number, seed: number): Promise<number[]> {
  const sources = [...feeds(registry, entity)].map(([s, types]) => `SELECT ts FROM (${keyed(registry, entity, s, types, `log:${s}`)}) WHERE ${keyIs(key)}`);
  if (sources.length === 0) return [];
  const rows = await db.rows(`SELECT ts FROM (SELECT DISTINCT ts FROM (${sources.join(' UNION ALL ')})) ORDER BY hash(ts, ${Math.trunc(seed)}), ts LIMIT ${Math.trunc(limit)}`);
  return rows.map(r => Number(r.ts));
}

export async function sampleEvents(
  db: Duck,
  registry: Registry,
  stream: string,
  type: string,
  { from, limit, seed, spread }: { from: number; limit: number; seed: number; spread: boolean },
): Promise<SampledEvent[]> {
  const names = [...new Set(Object.values(registry.entities).flatMap(e => e.key))];
  const cols = names.map((_, i) => `k${i}`);
  const parts = names.map((c, i) => `${keyText(registry, stream, [type], c, 'e')} AS k${i}`);
  const rows = `SELECT ${['ts', `hash(o, ${Math.trunc(seed)}) AS h`, ...parts].join(', ')} FROM ${ident(`all:${stream}`)} e WHERE type = ${text(type)} AND adm < 2 AND ts >= ${bound(from)}`;
  const turn = spread && cols.length > 0 ? `row_number() OVER (PARTITION BY ${cols.join(', ')} ORDER BY h), ` : '';
  const found = await db.rows(`SELECT ts, ${cols.join(', ')} FROM (${rows}) ORDER BY ${turn}h LIMIT ${Math.trunc(limit)}`);
  return found.map(r => {
    const row: Record<string, string> = {};
    names.forEach((name, i) => {
      const v = r[`k${i}`];
      if (v !== null && v !== '') row[name] = String(v);
    });
    return { ts: Number(r.ts), row };
  });
}

export async function changedKeys(db: Duck, registry: Registry, entity: string, since: Position): Promise<{ key: string[]; minTs: number }[]> {
  const n = registry.entities[entity]!.key.length;
  const cols = Array.from({ length: n }, (_, i) => `k${i}`).join(', ');
  const sources = [...feeds(registry, entity)].map(
    ([s, types]) => `SELECT ${cols}, ts FROM (${keyed(registry, entity, s, types, `log:${s}`)}) WHERE o >= ${Math.trunc(since[`${s}/0`] ?? 0)}`,
  );
  if (sources.length === 0) return [];
  const rows = await db.rows(`SELECT ${cols}, min(ts) AS lo FROM (${sources.join(' UNION ALL ')}) WHERE ${whole(n)} GROUP BY ${cols}`);
  return rows.map(r => ({ key: Array.from({ length: n }, (_, i) => String(r[`k${i}`])), minTs: Number(r.lo) }));
}

export async function rangeOf(db: Duck, registry: Registry): Promise<{ from: number; to: number } | null> {
  const sources = Object.keys(registry.streams).map(s => `SELECT min(ts) AS lo, max(ts) AS hi FROM ${ident(`log:${s}`)}`);
  if (sources.length === 0) return null;
  const [r] = await db.rows(`SELECT min(lo) AS lo, max(hi) AS hi FROM (${sources.join(' UNION ALL ')})`);
  return r === undefined || r.lo === null ? null : { from: Number(r.lo), to: Number(r.hi) };
}

const bound = (t: number): number => (t === Number.NEGATIVE_INFINITY ? -9e15 : t === Number.POSITIVE_INFINITY ? 9e15 : Math.trunc(t));

const VERDICTS = ['ok', 'late', 'quarantined'] as const;

export async function keyEvents(db: Duck, registry: Registry, entity: string, key: readonly string[], stream: string, from: number, to: number): Promise<KeyEvent[]> {
  const types = feeds(registry, entity).get(stream) ?? [];
  if (types.length === 0) return [];
  const sql = `SELECT *, CASE WHEN adm = 0 THEN row_number() OVER (PARTITION BY adm, id, ts ORDER BY p, o) ELSE 1 END AS copy
    FROM (${keyed(registry, entity, stream, types, `all:${stream}`)}) WHERE ${keyIs(key)} AND ts >= ${bound(from)} AND ts < ${bound(to)} ORDER BY p, o`;
  return (await db.rows(sql)).map(r => {
    const type = String(r.type);
    const columns: Record<string, ColumnValue> = {};
    for (const c of registry.events[`${stream}/${type}`]!.columns) columns[c.name] = (r[physicalColumn(c.name, c.kind, c.places)] ?? null) as ColumnValue;
    const event: DecodedEvent = { p: Number(r.p), o: Number(r.o), appended: Number(r.appended), ts: Number(r.ts), id: String(r.id), type, columns };
    return { event, verdict: Number(r.copy) > 1 ? 'duplicate' : VERDICTS[Number(r.adm)]!, text: String(r.raw) };
  });
}
