/** Folds, handlers and tables by hand, and the way from events to commits, for the suites of the online store. */
import { z } from 'zod';
import { admit, newAdmitState } from '../../src/engine/admit.ts';
import type { FoldCode, FoldUnit, RoutedEvent, TableRow, TableUnit, TriggerUnit } from '../../src/engine/units.ts';
import type { CommitBatch, CommitResult, Lease, Mark, OnlineStore, TurnOutcome, TurnQueue } from '../../src/ports/online-store.ts';

export const HOUR = 3_600_000;
export const LATENESS = 600_000;
export const T0 = Date.parse('2025-03-01T00:00:00Z');
export const ALL = { queues: 1_000, turns: 1_000 };
export const NONE: ReadonlySet<string> = new Set();

/** Order shows in the value: it is the list of ids. */
const trail: FoldCode = {
  state: z.array(z.string()).max(10_000),
  initial: [],
  step: (s, e) => [...(s as string[]), (e as { event_id: string }).event_id],
  value: null,
};

const typesOf = (streams: readonly string[]) => new Map(streams.map(s => [s, new Set(['x'])]));
export const fold = (id: string, streams = ['log'], hash = 'h1'): FoldUnit => ({
  kind: 'fold',
  id,
  hash,
  entity: 'user',
  keyColumns: ['who'],
  streams,
  types: typesOf(streams),
  retention: LATENESS + HOUR,
  code: trail,
});
export const trigger = (id: string, streams = ['log'], hash = 'h1'): TriggerUnit => ({
  ...fold(id, streams, hash),
  kind: 'on',
  retries: { max: 3, backoff: 'fixed', delay: 1_000, maxDelay: 1_000 },
  timeout: 1_000,
});
/** A view's rows, or with `inclusive` false a handler's. */
export const table = (id: string, more: Partial<TableUnit> = {}): TableUnit => ({
  id,
  hash: 'h1',
  entity: 'user',
  keyColumns: ['who'],
  inclusive: true,
  materialized: false,
  ...more,
});
export const recorded = (t: TriggerUnit): TableUnit => table(t.id, { hash: t.hash, inclusive: false });
export const rowOf = (eff: number, more: Partial<TableRow> = {}): TableRow => ({ eff, ts: eff, created: null, text: `[${eff}]`, gone: false, ...more });

/** The `i`-th row of a writer. */
export function rowBy(who: number, i: number): TableRow {
  const ts = (i * 7_919 + who * 104_729) % 100_003;
  return { eff: ts, ts, created: null, text: `["${who}/${i}"]`, gone: false };
}

export interface Draft {
  ts: number;
  id: string;
  key?: string;
}

/** Commits events of one stream as a worker does: each to all its folds and handlers, under its key. */
export class Feed {
  readonly stream: string;
  mark: Mark = { next: 0, admit: newAdmitState() };
  /** Events of the last commit, with their flags. */
  last: { folds: RoutedEvent[]; turns: RoutedEvent[] } = { folds: [], turns: [] };
  private readonly store: OnlineStore;
  private readonly units: { folds: readonly FoldUnit[]; triggers: readonly TriggerUnit[] };

  constructor(store: OnlineStore, units: { folds?: readonly FoldUnit[]; triggers?: readonly TriggerUnit[] }, stream = 'log') {
    this.store = store;
    this.units = { folds: units.folds ?? [], triggers: units.triggers ?? [] };
    this.stream = stream;
  }

  batch(lease: Lease, drafts: readonly Draft[], more: Partial<CommitBatch> = {}): CommitBatch {
    const state = { ...this.mark.admit };
    const byKey = new Map<string, Draft[]>();
    const offsets = new Map<Draft, number>();
    drafts.forEach((d, i) => {
      offsets.set(d, this.mark.next + i);
      if (admit(state, { lateness: LATENESS, maxAhead: null }, d.ts, d.ts + 1) !== 'ok') return;
      const key = d.key ?? 'u';
      byKey.set(key, [...(byKey.get(key) ?? []), d]);
    });
    const events = (of: Draft[]): RoutedEvent[] =>
      of.map(d => ({ stream: this.stream, partition: 0, offset: offsets.get(d)!, appended: d.ts + 1, ts: d.ts, id: d.id, type: 'x', payload: '{"v":1}', applied: false }));
    const own = <U extends FoldUnit | TriggerUnit>(units: readonly U[]) => units.filter(u => u.streams.includes(this.stream));
    const [folds, triggers] = [own(this.units.folds), own(this.units.triggers)];
    const foldUpdates = folds.flatMap(unit => [...byKey].map(([key, of]) => ({ unit, key, events: events(of) })));
    const turns = triggers.flatMap(unit => [...byKey].map(([key, of]) => ({ unit, key, events: events(of) })));
    this.last = { folds: foldUpdates.flatMap(u => u.events), turns: turns.flatMap(u => u.events) };
    const mark = { next: this.mark.next + drafts.length, admit: state };
    return {
      ...{ stream: this.stream, partition: 0, lease, expect: this.mark.next, mark, groups: [], live: true, updates: [], dead: [] },
      ...{ folds, triggers, foldUpdates, turns, count: () => ({ x: { read: drafts.length } }) },
      ...more,
    };
  }

  async commit(lease: Lease, drafts: readonly Draft[], more: Partial<CommitBatch> = {}): Promise<CommitResult> {
    const batch = this.batch(lease, drafts, more);
    const result = await this.store.commit(batch);
    if (result.status === 'ok') this.mark = batch.mark;
    return result;
  }
}

/** Values of folds by key at an instant: ids in order, joined; else why not. */
export async function foldsAt(store: OnlineStore, units: readonly FoldUnit[], keys: readonly string[], at: number): Promise<string[]> {
  const { folds } = await store.read([], { folds: units.flatMap(unit => keys.map(key => ({ unit, key, at }))), tables: [] });
  return folds.map(f => {
    if (!f.ready) return 'not ready';
    if (f.floor !== null) return `below ${f.floor - T0}`;
    return f.state === null ? 'nothing' : 'value' in f.state ? `${(f.state.value as string[]).join('')}@${f.state.ts - T0}` : f.state.error;
  });
}

/** Rows of one table at an instant: text, 'gone', 'expired' or null. */
export async function rowsAt(store: OnlineStore, unit: TableUnit, keys: readonly string[], at: number): Promise<(string | null)[]> {
  const { tables } = await store.read([], { folds: [], tables: keys.map(key => ({ table: unit, key, at })) });
  return tables.map(t => (!t.ready ? 'not ready' : t.row ? (t.row.gone ? 'gone' : t.row.text) : t.floor !== null ? 'expired' : null));
}

/** Queues that are due, as text: `feature key: ids`. */
export async function dueAt(store: OnlineStore, units: readonly TriggerUnit[], now: number, limit = ALL, busy = NONE): Promise<string[]> {
  const { queues } = await store.dueTurns(units, now, limit, busy);
  return queues.map(q => `${q.unit.id} ${q.key}: ${q.turns.map(t => t.event.id + (t.attempts ? `!${t.attempts}` : '')).join(' ')}`);
}

export async function queueOf(store: OnlineStore, unit: TriggerUnit, key: string, now = Number.MAX_SAFE_INTEGER): Promise<TurnQueue> {
  const { queues } = await store.dueTurns([unit], now, ALL, NONE);
  return queues.find(q => q.key === key)!;
}

/** The first `n` turns done, with their ids as values. */
export const doneOf = (q: TurnQueue, n: number): TurnOutcome => ({
  unit: q.unit,
  key: q.key,
  version: q.version,
  done: q.turns.slice(0, n).map(t => ({ seq: t.seq, row: rowOf(t.event.ts, { created: t.seq, text: JSON.stringify([t.event.id]) }), puts: [] })),
});

/** The first turn failed: again at `retryAt`, or dead. */
export function failedOf(q: TurnQueue, what: { retryAt: number } | 'dead'): TurnOutcome {
  const [{ seq, attempts, event }] = q.turns as [TurnQueue['turns'][0]];
  const handler = { feature: q.unit.id, key: q.key, attempts: attempts + 1, event_type: event.type, event_id: event.id, ts: event.ts };
  const dead = { stream: event.stream, partition: event.partition, offset: event.offset, at: event.appended, reason: 'no luck', bytes: Buffer.from(event.payload), handler };
  return { unit: q.unit, key: q.key, version: q.version, done: [], failed: { seq, attempts: attempts + 1, error: 'no luck', ...(what === 'dead' ? { dead } : what) } };
}
