/** Two answers to one question: are they the same to the last bit, and if not, how far apart. */
import type { Cell, Value } from '../../engine/values.ts';

export interface FeatureTally {
  feature: string;
  total: number;
  both_null: number;
  online_null: number;
  offline_null: number;
  mismatch: number;
  /** Mean over numeric pairs of |a-b| / ((|a|+|b|)/2), between 0 and 2; null when there was none. */
  smape: number | null;
  max_error: number | null;
  /** Of mismatched lists: entries only one side has, as an edit from online to offline. */
  list_deletes: number;
  list_inserts: number;
  /** Not compared: the instant lies behind the store's retention, or the feature is still backfilling. */
  skipped: number;
  /** Pairs to which at least one event contributed. */
  nonempty: number;
}

export const newTally = (feature: string): FeatureTally => ({
  feature,
  total: 0,
  both_null: 0,
  online_null: 0,
  offline_null: 0,
  mismatch: 0,
  smape: null,
  max_error: null,
  list_deletes: 0,
  list_inserts: 0,
  skipped: 0,
  nonempty: 0,
});

/** Bit for bit; lists and objects entry by entry. */
export function sameValue(a: Value | undefined, b: Value | undefined): boolean {
  if (Object.is(a, b)) return true;
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return false;
  if (Array.isArray(a) || Array.isArray(b)) return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((v, i) => sameValue(v, b[i]));
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every(n => n in b && sameValue(a[n], b[n]));
}

export const sameCell = (a: Cell, b: Cell): boolean => a.status === b.status && a.ts === b.ts && a.reason === b.reason && sameValue(a.value, b.value);

/** The least deletes and inserts that turn one list into the other (what both share, in order, stays). */
export function listEdit(from: readonly Value[], to: readonly Value[]): { deletes: number; inserts: number } {
  let row = new Array<number>(to.length + 1).fill(0);
  for (const a of from) {
    const next = [0];
    to.forEach((b, j) => next.push(sameValue(a, b) ? row[j]! + 1 : Math.max(row[j + 1]!, next[j]!)));
    row = next;
  }
  const shared = row[to.length]!;
  return { deletes: from.length - shared, inserts: to.length - shared };
}

const numeric = (v: Value): number | null => (typeof v === 'number' ? v : typeof v === 'bigint' ? Number(v) : null);

/** Symmetric relative error of two numbers, between 0 and 2. */
export function relativeError(a: number, b: number): number {
  return a === b ? 0 : Math.abs(a - b) / ((Math.abs(a) + Math.abs(b)) / 2);
}

/** How bad a difference is, for ranking: a missing value counts as wholly wrong. */
export function severity(online: Cell, offline: Cell): number {
  const [a, b] = [numeric(online.value), numeric(offline.value)];
  if (a !== null && b !== null) return relativeError(a, b);
  if (Array.isArray(online.value) && Array.isArray(offline.value)) {
    const { deletes, inserts } = listEdit(online.value, offline.value);
    return (2 * (deletes + inserts)) / Math.max(1, online.value.length + offline.value.length);
  }
  return sameValue(online.value, offline.value) ? 0 : 2;
}

/** Counts pairs of cells of one feature. */
export class Tally {
  readonly counts: FeatureTally;
  private errors = 0;
  private pairs = 0;

  constructor(feature: string) {
    this.counts = newTally(feature);
  }

  skip(): void {
    this.counts.skipped++;
  }

  /** Returns whether the two are the same. */
  add(online: Cell, offline: Cell): boolean {
    const c = this.counts;
    c.total++;
    if (online.ts !== null || offline.ts !== null) c.nonempty++;
    if (online.value === null && offline.value === null) c.both_null++;
    else if (online.value === null) c.online_null++;
    else if (offline.value === null) c.offline_null++;
    const [a, b] = [numeric(online.value), numeric(offline.value)];
    if (a !== null && b !== null) this.measure(a, b);
    if (sameCell(online, offline)) return true;
    c.mismatch++;
    if (Array.isArray(online.value) && Array.isArray(offline.value)) {
      const { deletes, inserts } = listEdit(online.value, offline.value);
      c.list_deletes += deletes;
      c.list_inserts += inserts;
    }
    return false;
  }

  private measure(a: number, b: number): void {
    this.pairs++;
    this.errors += relativeError(a, b);
    this.counts.smape = this.errors / this.pairs;
    this.counts.max_error = Math.max(this.counts.max_error ?? 0, Math.abs(a - b));
  }
}
