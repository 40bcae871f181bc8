/**
 * The SQL of one group. One sort puts events and the instants that frames start or end at in one order
 * (key, time, instants before events); running totals over that order are read off at the instants, and a frame is the
 * difference of two of them. The totals run over all keys without a PARTITION BY, because differences within a key are the
 * same and DuckDB then streams them in one pass (14 M rows: 2.9 s against 5.3 s [measured]).
 */
import type { Registry } from '../registry/types.ts';
import { ident, integer, keyText, physicalColumn, physicalType, text } from './columns.ts';
import { filterSql } from './filter.ts';
import type { Group, Instant, Match } from './plan.ts';

/** Marks an event among instants: greater than any instant's number, so events come after instants of the same time. */
const EVENT = 32767;
/** Before every event of a key. */
const NEVER = '-4611686018427387904';

/** Relation names of one group within one run. */
export interface Names {
  /** The caller's log relation of the stream and spine relation, as given. */
  log: string;
  spine: string;
  /** Tables of the entity: its numbered keys, and the spine with key numbers. */
  keys: string;
  rows: string;
  /** Prefix of the group's tables. */
  own: string;
}

export const table = (names: Names, name: string): string => ident(`${names.own}${name}`);

/** Keys asked for, numbered: events of other keys are never looked at, and the sort is on integers. */
export function keySql(names: Names, columns: readonly string[]): string[] {
  const parts = columns.map((c, i) => `${ident(c)} AS k${i}`);
  const known = columns.map(c => `${ident(c)} <> ''`).join(' AND ');
  const on = columns.map((c, i) => `s.${ident(c)} = k.k${i}`).join(' AND ');
  const keys = columns.map((_, i) => `k${i}`).join(', ');
  return [
    `CREATE TABLE ${ident(names.keys)} AS SELECT CAST(row_number() OVER () AS INTEGER) AS kid, ${keys}
     FROM (SELECT DISTINCT ${parts.join(', ')} FROM ${ident(names.spine)} WHERE ${known})`,
    // A key that is null, empty or in no event has no events: -1 sorts before all, with totals of 0.
    `CREATE TABLE ${ident(names.rows)} AS SELECT s.rid, s.t, coalesce(k.kid, -1) AS kid
     FROM ${ident(names.spine)} s LEFT JOIN ${ident(names.keys)} k ON ${on}`,
  ];
}

/** (id, ts) pairs seen twice, by hash: false friends are sorted out exactly, and usually there are none at all. */
export function suspectsSql(names: Names, group: Group): string {
  return `CREATE TABLE ${table(names, 'suspects')} AS SELECT hash(id, ts) AS h FROM ${ident(names.log)}
    WHERE ${typesIn(group.types)} GROUP BY 1 HAVING count(*) > 1`;
}

function typesIn(types: readonly string[], column = 'type'): string {
  return types.length === 0 ? 'false' : `${column} IN (${types.map(text).join(', ')})`;
}

function matchSql(registry: Registry, group: Group, match: Match): string {
  const where = match.where ? ` AND ${filterSql(registry, group.stream, match.types, match.where)}` : '';
  return `(coalesce(${typesIn(match.types)}, false)${where})`;
}

/** Events of the keys asked for, once each: kid, ts, id where ties matter, m<i> per match, x<i> per column. */
export function eventsSql(registry: Registry, names: Names, group: Group, suspects: boolean, kind: 'TABLE' | 'VIEW'): string {
  const key = registry.entities[group.entity]?.key ?? [];
  const on = key.map((name, i) => `${keyText(registry, group.stream, group.types, name, 'l')} = k.k${i}`).join(' AND ');
  const joined = `SELECT k.kid, l.* FROM ${ident(names.log)} l JOIN ${ident(names.keys)} k ON ${on} WHERE ${typesIn(group.types, 'l.type')}`;
  const columns = [
    'kid',
    'ts',
    'id',
    ...group.matches.map((m, i) => `${matchSql(registry, group, m)} AS m${i}`),
    ...group.columns.map((c, i) => `${ident(physicalColumn(c.name, c.kind, c.places))} AS x${i}`),
  ].join(', ');
  const create = `CREATE ${kind} ${table(names, 'events')} AS `;
  if (!suspects) return `${create}SELECT ${columns} FROM (${joined})`;
  const s = table(names, 'suspects');
  return `${create}SELECT ${columns} FROM (${joined}) WHERE hash(id, ts) NOT IN (SELECT h FROM ${s})
    UNION ALL SELECT ${columns} FROM (SELECT * FROM (${joined}) WHERE hash(id, ts) IN (SELECT h FROM ${s})
      QUALIFY row_number() OVER (PARTITION BY kid, id, ts ORDER BY p, o) = 1)`;
}

const floorSql = (step: number): string => `(t - ((t % ${step}) + ${step}) % ${step})`;

function instantSql(instant: Instant & { kind: 'at' }): string {
  const { frame, edge } = instant;
  switch (frame.kind) {
    case 'over':
      return edge === 'end' ? 't' : `t - ${integer(frame.w)}`;
    case 'tumbling':
      return edge === 'end' ? 't' : frame.previous ? `${floorSql(frame.w)} - ${integer(frame.w)}` : floorSql(frame.w);
    case 'hopping':
      return `${floorSql(frame.h)} - ${integer(frame.w)}`;
    case 'lifetime':
      return edge === 'end' ? 't' : NEVER;
    default:
      throw new Error('a session starts at an event');
  }
}

/** Session starts by gaps and islands, and per row the newest one before its time (its own time when there is none). */
export function sessionSql(names: Names, instant: Instant & { kind: 'session' }, index: number, eventsOf: (group: number) => string): string {
  const events = instant.parts.map(p => `SELECT kid, ts FROM ${eventsOf(p.group)} WHERE m${p.match}`).join(' UNION ALL ');
  return `CREATE TABLE ${table(names, `session${index}`)} AS
    SELECT r.rid, r.kid, coalesce(s.ts, r.t) AS ts FROM ${ident(names.rows)} r ASOF LEFT JOIN (
      SELECT kid, ts FROM (SELECT kid, ts, lag(ts) OVER (PARTITION BY kid ORDER BY ts) AS before FROM (${events}))
      WHERE before IS NULL OR ts - before > ${integer(instant.gap)}) s ON r.kid = s.kid AND r.t > s.ts`;
}

/** Events and instants in one order; b is the instant's number, or EVENT. */
export function orderSql(names: Names, group: Group): string {
  const fields = [
    ...(group.byId ? [['id', 'VARCHAR']] : []),
    ...group.matches.map((_, i) => [`m${i}`, 'BOOLEAN']),
    ...group.columns.map((c, i) => [`x${i}`, physicalType(c.kind)]),
  ];
  const matched = group.matches.map((_, i) => `m${i}`).join(' OR ');
  const values = fields.map(([name]) => `, ${name}`).join('');
  const nulls = fields.map(([name, type]) => `, CAST(${name?.startsWith('m') ? 'false' : 'NULL'} AS ${type}) AS ${name}`).join('');
  const events = `SELECT kid, ts, CAST(${EVENT} AS SMALLINT) AS b, CAST(0 AS BIGINT) AS rid${values} FROM ${table(names, 'events')}
    WHERE (${matched}) AND ts < (SELECT max(t) FROM ${ident(names.rows)})`;
  const instants = group.instants.map((instant, i) =>
    instant.kind === 'session'
      ? `SELECT kid, ts, ${i}, rid${nulls} FROM ${table(names, `session${i}`)}`
      : `SELECT kid, ${instantSql(instant)}, ${i}, rid${nulls} FROM ${ident(names.rows)}`,
  );
  return `CREATE TABLE ${table(names, 'ordered')} AS SELECT * FROM (${[events, ...instants].join('\nUNION ALL\n')})
    ORDER BY kid, ts, b${group.byId ? ', id' : ''}`;
}

/** How many events there are and how large their numbers: decides how wide the totals must be. */
export function probeSql(names: Names, group: Group): string {
  const sizes = group.columns.map((c, i) =>
    physicalType(c.kind) === 'BIGINT' ? `, greatest(abs(CAST(max(x${i}) AS HUGEINT)), abs(CAST(min(x${i}) AS HUGEINT))) AS a${i}` : `, NULL AS a${i}`,
  );
  return `SELECT count(*) AS n${sizes.join('')} FROM ${table(names, 'ordered')} WHERE b = ${EVENT}`;
}

/** The width of a column's running sums, from the probe. `limbs` keeps squares of the largest values inside 128 bits. */
export interface Width {
  sum: 'BIGINT' | 'HUGEINT';
  squares: 'BIGINT' | 'HUGEINT' | 'limbs';
}

export function widthOf(events: bigint, largest: bigint): Width {
  const square = largest * largest * (events + 1n);
  return {
    sum: largest * (events + 1n) < 2n ** 62n ? 'BIGINT' : 'HUGEINT',
    squares: square < 2n ** 62n ? 'BIGINT' : square < 2n ** 126n ? 'HUGEINT' : 'limbs',
  };
}

const RUNNING = '(ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)';

/** One running column: its name and the streaming window expression over the order. `alone`: in a query of its own. */
interface Running {
  name: string;
  sql: string;
  alone: boolean;
}

const counted = (group: Group, slot: { match: number; column: number }): string => (slot.column < 0 ? `m${slot.match}` : `m${slot.match} AND x${slot.column} IS NOT NULL`);

/** Squares as high, middle and low limbs of 32 bits: h*h*2^64 + 2*h*l*2^32 + l*l. */
const LIMBS = (x: string): string[] => {
  const h = `CAST(${x} >> 32 AS HUGEINT)`;
  const l = `CAST(${x} & 4294967295 AS HUGEINT)`;
  return [`${h} * ${h}`, `${h} * ${l}`, `${l} * ${l}`];
};

export const squareParts = (width: Width): number => (width.squares === 'limbs' ? 3 : 1);

export function runningColumns(group: Group, widths: readonly Width[]): Running[] {
  const out: Running[] = [];
  const add = (name: string, sql: string, alone = false): unknown => out.push({ name, sql: `${sql} OVER ${RUNNING}`, alone });
  group.slots.forEach((slot, i) => {
    const is = counted(group, slot);
    add(`n${i}`, `count(*) FILTER (WHERE ${is})`);
    // Until the key has an event of its own this is another key's: read only where the count is not 0.
    // Two of these in one query give wrong nulls in DuckDB 1.5.6, one does not [measured]: hence `alone`.
    if (slot.newest) add(`l${i}`, `last_value(CASE WHEN ${is} THEN ts END IGNORE NULLS)`, true);
  });
  group.totals.forEach((total, i) => {
    const width = widths[total.column] as Width;
    const x = `x${total.column}`;
    const sum = (name: string, value: string, type: string): unknown =>
      out.push({ name, sql: `CAST(sum(CASE WHEN m${total.match} THEN ${value} ELSE 0 END) OVER ${RUNNING} AS ${type})`, alone: false });
    sum(`s${i}`, `coalesce(${x}, 0)`, width.sum);
    if (!total.squares) return;
    const parts = width.squares === 'limbs' ? LIMBS(x) : [width.squares === 'BIGINT' ? `${x} * ${x}` : `CAST(${x} AS HUGEINT) * ${x}`];
    const type = width.squares === 'BIGINT' ? 'BIGINT' : 'HUGEINT';
    parts.forEach((part, k) => sum(`q${i}p${k}`, `coalesce(${part}, 0)`, type));
  });
  return out;
}

/** The running columns at every instant, one row per spine row in rid order: `<column>_<instant>`. */
export function instantsSql(names: Names, running: readonly Running[], used: ReadonlySet<string>, chunk: number): string {
  const at = [...used].map(name => {
    const cut = name.lastIndexOf('_');
    return `max(CASE WHEN b = ${name.slice(cut + 1)} THEN ${name.slice(0, cut)} END) AS ${name}`;
  });
  const columns = (some: readonly Running[]): string => some.map(r => `, ${r.sql} AS ${r.name}`).join('');
  const ordered = running.filter(r => r.alone).reduce((from, r) => `(SELECT *${columns([r])} FROM ${from})`, table(names, 'ordered'));
  const alone = running
    .filter(r => r.alone)
    .map(r => `, ${r.name}`)
    .join('');
  return `CREATE TABLE ${table(names, `at${chunk}`)} AS SELECT rid, ${at.join(', ')} FROM (
    SELECT * FROM (SELECT b, rid${alone}${columns(running.filter(r => !r.alone))} FROM ${ordered}) WHERE b < ${EVENT})
    GROUP BY rid ORDER BY rid`;
}

/** The events that a slot counts, by position: pos, kid, ts, x. */
export function positionsSql(names: Names, group: Group, slot: number, column: number, name: string): string {
  const plan = group.slots[slot];
  if (plan === undefined) throw new Error('no such slot');
  const value = column < 0 ? 'ts' : `x${column}`;
  return `CREATE TABLE ${table(names, name)} AS SELECT row_number() OVER () - 1 AS pos, kid, ts, ${value} AS x
    FROM ${table(names, 'ordered')} WHERE b = ${EVENT} AND ${counted(group, plan)}`;
}
