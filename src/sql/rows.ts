/** Rows of a table (SQL, pushed, recorded by handlers) at the instants of a spine: which row counts, as SQL. */
import { ident } from './columns.ts';

export interface RowsSql {
  /** Relation with k0 … kn, eff, ts, created, text, gone. */
  relation: string;
  /** Relation with rid, t and the key columns. */
  spine: string;
  /** The spine's columns that make the key, in order; none for a table without entity key. */
  keys: readonly string[];
  /** A row counts at its own instant (`eff <= t`), or only after it. */
  inclusive: boolean;
  /** Only rows that were written by then (`created <= t`); one without `created` never counts. */
  asOfCreated: boolean;
}

const own = (keys: readonly string[]): string[] => keys.map((_, i) => `k${i}`);
const partition = (keys: readonly string[], more: readonly string[] = []): string => {
  const all = [...own(keys), ...more];
  return all.length > 0 ? `PARTITION BY ${all.join(', ')}` : '';
};

/**
 * The rows that can count, one per key and instant `since` from which it does. With `created`, a row is known from the later of
 * its two times on, and the best known so far is a running maximum: no pair of row and spine row is ever made.
 */
export function countingSql({ relation, spine, keys, asOfCreated }: RowsSql): string {
  const k = own(keys);
  const asked = k.length === 0 ? '' : ` SEMI JOIN (SELECT DISTINCT ${keys.map((c, i) => `${ident(c)} AS k${i}`).join(', ')} FROM ${ident(spine)}) USING (${k.join(', ')})`;
  const columns = [...k, 'since', 'ts', 'text', 'gone'].join(', ');
  if (!asOfCreated)
    return `SELECT ${columns} FROM (SELECT *, eff AS since, row_number() OVER (${partition(keys, ['eff'])} ORDER BY created DESC NULLS LAST, text DESC, ts DESC) AS nth FROM ${ident(relation)}${asked}) WHERE nth = 1`;
  const ranked = `SELECT *, greatest(eff, CASE WHEN gone THEN eff ELSE created END) AS since, row_number() OVER (${partition(keys)} ORDER BY eff, created NULLS FIRST, text, ts) AS nth FROM ${ident(relation)}${asked} WHERE gone OR created IS NOT NULL`;
  const running = `SELECT *, max(nth) OVER (${partition(keys)} ORDER BY since, nth) AS best, row_number() OVER (${partition(keys, ['since'])} ORDER BY nth DESC) AS turn FROM (${ranked})`;
  return `SELECT ${columns} FROM (${running}) WHERE nth = best AND turn = 1`;
}

/** Per spine row, in order: rid, t, and the row that counts (null where none does). */
export function rowsAtSql({ spine, keys, inclusive }: RowsSql, counting: string): string {
  const on = [...keys.map((c, i) => `a.${ident(c)} = r.k${i}`), `a.t ${inclusive ? '>=' : '>'} r.since`].join(' AND ');
  return `SELECT a.rid, a.t, r.ts, r.text, r.gone FROM ${ident(spine)} a ASOF LEFT JOIN ${ident(counting)} r ON ${on} ORDER BY a.rid`;
}
