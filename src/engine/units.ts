/** What keeps state besides windows: folds, handlers (`on`) and tables of rows. Compiled from the registry like groups are. */
import { HOUR } from '../lib/duration.ts';
import { sha256 } from '../lib/hash.ts';
import { canonicalJson } from '../lib/json.ts';
import type { FoldFeaturePlan, OnFeaturePlan, Registry } from '../registry/types.ts';
import type { Schema } from './decode.ts';

/** Code of a fold, as the registry's code side holds it. */
export interface FoldCode {
  state: Schema;
  initial: unknown;
  step(state: unknown, event: unknown): unknown;
  value: ((state: unknown) => unknown) | null;
}

interface Triggered {
  /** Feature id. */
  id: string;
  /** What the stored bytes mean: another hash is another state. */
  hash: string;
  entity: string;
  keyColumns: readonly string[];
  /** Streams it reads, sorted; each moves with its own mark. */
  streams: readonly string[];
  /** Stream -> event types. */
  types: ReadonlyMap<string, ReadonlySet<string>>;
  /**
   * Milliseconds behind a stream's progress: below it nothing can arrive any more (it would be late), so events are folded into
   * the snapshot and ids of handled events forgotten. Lateness and an hour.
   */
  retention: number;
}

export interface FoldUnit extends Triggered {
  kind: 'fold';
  /** Null where only bytes are moved. */
  code: FoldCode | null;
}

export interface TriggerUnit extends Triggered {
  kind: 'on';
  retries: OnFeaturePlan['retries'];
  timeout: number;
}

/** Rows by key: a view's, or those that a handler recorded. */
export interface TableUnit {
  /** View id, or the handler's feature id. */
  id: string;
  hash: string;
  entity: string;
  keyColumns: readonly string[];
  /** A row of a view counts at its own instant (`ts <= T`), a handler's after it (`ts < T`). */
  inclusive: boolean;
  /** Rows exist only once a run of its SQL has put them there. */
  materialized: boolean;
}

export interface Units {
  folds: FoldUnit[];
  triggers: TriggerUnit[];
  /** By id; views that are computed live have none. */
  tables: Map<string, TableUnit>;
}

export function compileUnits(registry: Registry, code?: { folds: ReadonlyMap<string, FoldCode> }): Units {
  const out: Units = { folds: [], triggers: [], tables: new Map() };
  for (const id of Object.keys(registry.features).sort()) {
    const f = registry.features[id]!;
    if (f.kind === 'fold') out.folds.push({ kind: 'fold', ...triggered(registry, f, { code: f.code }), code: code?.folds.get(id) ?? null });
    if (f.kind === 'on') {
      const base = triggered(registry, f, {});
      out.triggers.push({ kind: 'on', ...base, retries: f.retries, timeout: f.timeout });
      out.tables.set(id, { id, hash: base.hash, entity: f.entity, keyColumns: base.keyColumns, inclusive: false, materialized: false });
    }
  }
  for (const view of Object.values(registry.views))
    if (view.materialize)
      out.tables.set(view.id, {
        id: view.id,
        hash: view.hash,
        entity: view.entity,
        keyColumns: registry.entities[view.entity]!.key,
        inclusive: true,
        materialized: view.sql !== null,
      });
  return out;
}

function triggered(registry: Registry, f: FoldFeaturePlan | OnFeaturePlan, more: object): Triggered {
  const types = new Map<string, Set<string>>();
  for (const event of f.events) {
    const at = event.indexOf('/');
    const stream = event.slice(0, at);
    types.set(stream, (types.get(stream) ?? new Set()).add(event.slice(at + 1)));
  }
  const streams = [...types.keys()].sort();
  const entity = registry.entities[f.entity]!;
  const plans = streams.map(s => registry.streams[s]!);
  // A fold's state is made anew when any decoding of its streams changes; what a handler recorded stays.
  const means = { events: f.events, key: entity.key, ...more, ...(f.kind === 'fold' && { streams: plans }) };
  return {
    id: f.id,
    hash: sha256(canonicalJson(means)).slice(0, 16),
    entity: f.entity,
    keyColumns: entity.key,
    streams,
    types,
    retention: Math.max(...plans.map(s => s.lateness)) + HOUR,
  };
}

/** An event routed to a fold or a handler. */
export interface RoutedEvent {
  stream: string;
  partition: number;
  offset: number;
  /** Append time, epoch ms. */
  appended: number;
  ts: number;
  id: string;
  type: string;
  /** Made by `encodePayload`. */
  payload: string;
  /** Set by the store: false for a duplicate. */
  applied: boolean;
}

/** One row of a table. The row that counts at T is the greatest by `(eff, created, text)` with `eff <= T` (`< T`). */
export interface TableRow {
  /** From when on it counts: `ts`, but for a key that left its source (`gone`) or came back. */
  eff: number;
  /** Event time: what ttl and the cell's time go by. */
  ts: number;
  /** Ties of one instant: when the row was written; null is oldest. For a handler, its turn's number. */
  created: number | null;
  /** Canonical JSON of the values in the order of the view's features; '' when gone. Ties end here, by UTF-8 bytes. */
  text: string;
  /** The key is not in its source any more. */
  gone: boolean;
}

/** Order of rows of one key: negative when `a` is older. */
export function compareRows(a: TableRow, b: TableRow): number {
  if (a.eff !== b.eff) return a.eff - b.eff;
  const [x, y] = [a.created ?? Number.NEGATIVE_INFINITY, b.created ?? Number.NEGATIVE_INFINITY];
  if (x !== y) return x < y ? -1 : 1;
  return a.text === b.text ? 0 : Buffer.compare(Buffer.from(a.text), Buffer.from(b.text));
}
