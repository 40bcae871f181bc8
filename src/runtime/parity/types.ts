/** What a parity run is asked and what it answers. Times are epoch milliseconds. */
import type { Cell, ColumnValue } from '../../engine/values.ts';
import type { OnlineStore } from '../../ports/online-store.ts';
import type { FeatureTally } from './compare.ts';

export interface ParityOptions {
  /** Feature ids (`entity.name`); all that can be compared when absent. */
  features?: readonly string[];
  /** Leave out those of `features` that cannot be compared (a service's), instead of refusing. */
  lenient?: boolean;
  /** Compare these keys only: entity -> keys. */
  keys?: Record<string, string[][]>;
  /** About how many values; 100,000 when absent. */
  comparisons?: number;
  seed?: number;
  /** An empty store to rebuild from the log and to compare at any instant, in place of the live one. */
  replay?: { online: OnlineStore };
  signal?: AbortSignal;
  onProgress?(p: { phase: 'replay' | 'compare'; done: number; total: number }): void;
}

export interface EventNote {
  stream: string;
  id: string;
  ts: number;
  type: string;
  offset: number;
  columns: Record<string, ColumnValue>;
  note: string;
}

/** One difference, explained. */
export interface WorstRow {
  feature: string;
  entity: string;
  key: string[];
  at: number;
  online: Cell;
  offline: Cell;
  /** Counted again from the events by plain lists; null when that was not possible. */
  recount: Cell | null;
  right: 'online' | 'offline' | 'both' | 'neither' | 'unknown';
  /** The frame `[from, to)`; null for derived features and folds. */
  frame: { from: number | null; to: number } | null;
  /** Events in the frame that the recount used. */
  events: number;
  /** Events that the wrong side counts and should not, or should and does not. */
  offending: EventNote[];
  /** Derived features: each input on both sides. */
  inputs: Record<string, { online: Cell; offline: Cell }> | null;
}

export interface AuditLine {
  stream: string;
  rows: number;
  ok: number;
  late: number;
  quarantined: number;
  /** Recorded verdicts that SQL decides otherwise; null where it cannot tell. */
  differ: number | null;
}

export interface LeftOut {
  feature: string;
  reason: string;
}

export interface ParityReport {
  ok: boolean;
  mode: 'live' | 'replay';
  p0: { compared: number; mismatched: number; features: FeatureTally[] };
  /** Features that cannot be compared, and why. */
  left: LeftOut[];
  worst: WorstRow[];
  audit: AuditLine[];
  /** Compared values to which at least one event contributed. */
  nonempty: number;
  /** Values not compared, and why. */
  skipped: { expired: number; backfilling: number; moving: number };
  rows: number;
  instants: { from: number; to: number } | null;
  /** The log's position that both sides saw. */
  position: Record<string, number>;
  seed: number;
  seconds: number;
}
