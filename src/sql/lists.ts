/**
 * What running totals cannot give. A frame is a range of positions [lo, hi) among the events its slot counts, so every
 * such answer is a range of integers joined to a table by position: exactly as many pairs as there are events to look at,
 * whatever else the key has. min and max look at tiles of 16, 256, ... positions between two raw edges, so a hot key's day
 * costs some dozens of pairs.
 */
import { integer } from './columns.ts';
import { table, type Names } from './group.ts';
import type { Task } from './plan.ts';

const FAN = 16;
const LEVELS = 4;
/** Tile codes of a level start here times the level: positions never reach it. */
const LEVEL = 2 ** 44;

/** Where the positions of a task's spans are found: a table by rid with their counts at both instants. */
export interface Source {
  /** Relation with `rid` and the count columns. */
  relation: string;
  /** Per span: expressions of lo and hi. */
  spans: { lo: string; hi: string }[];
}

/** Rows of one slice: g = rid * spans + span, lo, hi; empty ranges left out. */
function ranges(source: Source, slice: [number, number] | null, cap: number): string {
  const where = slice ? ` AND rid >= ${slice[0]} AND rid < ${slice[1]}` : '';
  return source.spans
    .map(
      ({ lo, hi }, i) =>
        `SELECT rid * ${source.spans.length} + ${i} AS g, ${lo} AS lo, ${hi} AS hi FROM ${source.relation}
       WHERE ${hi} > ${lo}${cap > 0 ? ` AND ${hi} - ${lo} <= ${integer(cap)}` : ''}${where}`,
    )
    .join(' UNION ALL ');
}

export function pairCountSql(source: Source): string {
  return `SELECT CAST(${source.spans.map(({ lo, hi }) => `sum(${hi} - ${lo})`).join(' + ')} AS BIGINT) AS pairs FROM ${source.relation}`;
}

/** The table a task joins to by position, named `base`; `events` is the slot's positions. */
export function baseSql(names: Names, task: Task, events: string, base: string): string | null {
  if (task.kind === 'extremes') {
    const level = (l: number): string => `SELECT ${l} * ${LEVEL} + pos // ${FAN ** l}, min(x), max(x) FROM ${events} GROUP BY 1`;
    const levels = Array.from({ length: LEVELS }, (_, i) => level(i + 1));
    return `CREATE TABLE ${table(names, base)} AS SELECT pos, x AS mn, x AS mx FROM ${events} UNION ALL ${levels.join(' UNION ALL ')}`;
  }
  if (task.kind === 'distinct')
    // A value is counted at its first place in the frame: the place whose predecessor of the same value lies before it.
    return `CREATE TABLE ${table(names, base)} AS SELECT pos, coalesce(lag(pos) OVER (PARTITION BY kid, x ORDER BY pos), -1) AS prev FROM ${events}`;
  return null;
}

/** Tiles that cover [lo, hi): per level the positions before the first and after the last whole tile of the next level. */
function cover(from: string): string {
  let inner = `SELECT g, lo AS a0, hi AS b0 FROM (${from})`;
  const out: string[] = [];
  for (let l = 0; l < LEVELS; l++) {
    inner = `SELECT *, (a${l} + ${FAN - 1}) // ${FAN} AS up${l}, b${l} // ${FAN} AS down${l} FROM (${inner})`;
    inner = `SELECT *, CASE WHEN up${l} < down${l} THEN up${l} ELSE 0 END AS a${l + 1}, CASE WHEN up${l} < down${l} THEN down${l} ELSE 0 END AS b${l + 1} FROM (${inner})`;
    const at = l * LEVEL;
    out.push(`SELECT g, ${at} + a${l} AS lo, ${at} + CASE WHEN b${l + 1} > 0 THEN a${l + 1} * ${FAN} ELSE b${l} END AS hi FROM covered`);
    out.push(`SELECT g, ${at} + b${l + 1} * ${FAN} AS lo, ${at} + b${l} AS hi FROM covered WHERE b${l + 1} > 0`);
  }
  out.push(`SELECT g, ${LEVELS * LEVEL} + a${LEVELS} AS lo, ${LEVELS * LEVEL} + b${LEVELS} AS hi FROM covered`);
  return `(WITH covered AS MATERIALIZED (${inner}) SELECT * FROM (${out.join(' UNION ALL ')}) WHERE hi > lo)`;
}

const pairs = (from: string, right: string): string => `(SELECT g, lo, unnest(range(lo, hi)) AS pos FROM (${from})) a JOIN ${right} v ON a.pos = v.pos`;

/** g and v (mn and mx for extremes), for the groups that have any. */
function grouped(task: Task, from: string, events: string, base: string): string {
  switch (task.kind) {
    case 'extremes':
      return `SELECT g, min(mn) AS v, max(mx) AS w FROM ${pairs(cover(from), base)} GROUP BY g`;
    case 'distinct':
      return `SELECT g, count(*) AS v FROM ${pairs(from, base)} WHERE v.prev < a.lo GROUP BY g`;
    case 'oldest':
      return `SELECT g, v.ts AS v FROM (${from}) a JOIN ${events} v ON a.lo = v.pos`;
    case 'first':
      return `SELECT g, list(v.x ORDER BY v.pos) AS v FROM ${pairs(`SELECT g, lo, least(hi, lo + ${integer(task.n)}) AS hi FROM (${from})`, events)} GROUP BY g`;
    case 'last':
      return `SELECT g, list(v.x ORDER BY v.pos DESC) AS v FROM ${pairs(`SELECT g, greatest(lo, hi - ${integer(task.n)}) AS lo, hi FROM (${from})`, events)} GROUP BY g`;
    case 'topK':
      return `SELECT g, list(x ORDER BY c DESC, x) AS v FROM (SELECT * FROM (SELECT g, v.x, count(*) AS c FROM ${pairs(from, events)} GROUP BY ALL)
        QUALIFY row_number() OVER (PARTITION BY g ORDER BY c DESC, x) <= ${integer(task.n)}) GROUP BY g`;
    case 'percentile':
      return `SELECT g, list_sort(l)[${rank(task)}] AS v FROM (SELECT g, list(v.x) AS l FROM ${pairs(from, events)} GROUP BY g)`;
    case 'list':
      return `SELECT g, list(v.x ORDER BY v.pos) AS v FROM ${pairs(from, events)} GROUP BY g`;
  }
}

/** max(1, ceil(q * n)) in integers. */
function rank(task: Task): string {
  const { num, den } = task.q ?? { num: 1, den: 1 };
  return `CAST(greatest(1, (CAST(len(l) AS HUGEINT) * ${integer(num)} + ${integer(den)} - 1) // ${integer(den)}) AS BIGINT)`;
}

/** One row per spine row of the slice: rid, v<span> (and w<span> for extremes). */
export function taskSql(task: Task, source: Source, events: string, base: string, slice: [number, number] | null): string {
  const from = ranges(source, slice, task.cap);
  const width = source.spans.length;
  const values = task.kind === 'extremes' ? ['v', 'w'] : ['v'];
  const picked = source.spans.flatMap((_, i) => values.map(v => `any_value(${v}) FILTER (WHERE g % ${width} = ${i}) AS ${v}${i}`));
  const names = source.spans.flatMap((_, i) => values.map(v => `p.${v}${i}`));
  const where = slice ? ` WHERE d.rid >= ${slice[0]} AND d.rid < ${slice[1]}` : '';
  return `SELECT d.rid, ${names.join(', ')} FROM ${source.relation} d LEFT JOIN (
    SELECT g // ${width} AS rid, ${picked.join(', ')} FROM (${grouped(task, from, events, base)}) GROUP BY 1) p ON d.rid = p.rid${where} ORDER BY d.rid`;
}
