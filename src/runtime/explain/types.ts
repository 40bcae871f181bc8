/** What `explain` is asked and what it answers. */
import type { Cell, Value } from '../../engine/values.ts';
import type { FeaturePlan } from '../../registry/types.ts';

export interface ExplainRequest {
  /** Feature id. */
  feature: string;
  /** Key column -> text; for derived features also the keys of their inputs' entities. */
  row: Record<string, string>;
  /** Epoch ms. */
  at: number;
  /** Request data of derived features. */
  request?: unknown;
}

export interface ExplainedEvent {
  stream: string;
  id: string;
  ts: number;
  type: string;
  offset: number;
  /** The aggregated column and those of the filter, as their readers see them. */
  columns: Record<string, string | boolean | null>;
  /** Why it counts for nothing, or what else there is to say; null for an event that simply counts. */
  note: string | null;
}

export interface ExplainedSide {
  name: 'value' | 'numerator' | 'denominator';
  /** `sum(price) of purchase`. */
  what: string;
  /** Oldest first. */
  events: ExplainedEvent[];
}

/** An event of a fold, and what it made of the state. */
export interface ExplainedStep {
  event: ExplainedEvent;
  state: unknown;
}

/** A version of a row, or a value that a handler recorded. */
export interface ExplainedRow {
  /** From when on it counts, and its event time; epoch ms. */
  eff: number;
  ts: number;
  created: number | null;
  /** The feature's value in it; null with `gone`. */
  value: Value;
  gone: boolean;
  /** Whether it is the one that counts. */
  counts: boolean;
  /** Run that read it, events of its instant, or why it does not count. */
  note: string | null;
}

/** Turns of a handler for the key. */
export interface ExplainedTurns {
  waiting: { event_id: string; event_type: string; ts: number; attempts: number }[];
  dead: { seq: number; event_id: string; event_type: string; ts: number; attempts: number; reason: string }[];
}

export interface Explanation {
  feature: string;
  entity: string;
  key: string[] | null;
  at: number;
  kind: FeaturePlan['kind'];
  what: string;
  /** Null when the online store cannot say; `onlineNote` says why. */
  online: Cell | null;
  onlineNote: string | null;
  /** Null when history cannot say; `offlineNote` says why. */
  offline: Cell | null;
  offlineNote: string | null;
  /** Whether online and offline are the same; null without both. */
  same: boolean | null;
  /** Whether they must be: no rows from outside and no effects are behind the value. */
  comparable: boolean;
  /** Null where nothing can be counted again. */
  recount: Cell | null;
  recountSame: boolean | null;
  /** `[from, to)`; `from` null: since the beginning. Null but for windows. */
  frame: { from: number | null; to: number } | null;
  sides: ExplainedSide[];
  /** In the frame but not counted, or near it. */
  dropped: ExplainedEvent[];
  /** Folds: accepted events before T in order, with the state after each. */
  steps: ExplainedStep[];
  /** Tables and handlers: versions that the online store keeps, oldest first. */
  rows: ExplainedRow[];
  /** Handlers. */
  turns: ExplainedTurns | null;
  inputs: Record<string, Explanation>;
  /** Events of the log that the online store has not read yet. */
  unread: number;
}
