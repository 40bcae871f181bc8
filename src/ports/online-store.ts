/** Online state: windows per entity key, the marks that say which events they hold, counters and dead letters. */
import type { AdmitState } from '../engine/admit.ts';
import type { AggState } from '../engine/finish.ts';
import type { Group } from '../engine/group.ts';
import type { PendingRow } from '../engine/tree.ts';
import type { FoldUnit, RoutedEvent, TableRow, TableUnit, TriggerUnit } from '../engine/units.ts';

export interface Counters {
  read: number;
  applied: number;
  late: number;
  duplicate: number;
  quarantined: number;
  rejected: number;
  ignored: number;
  keyless: number;
}

export const noCounters = (): Counters => ({ read: 0, applied: 0, late: 0, duplicate: 0, quarantined: 0, rejected: 0, ignored: 0, keyless: 0 });

/** How far something has gone in a partition. */
export interface Mark {
  /** Next offset to read. */
  next: number;
  admit: AdmitState;
}

export interface DeadLetter {
  stream: string;
  partition: number;
  offset: number;
  /** Epoch ms. */
  at: number;
  reason: string;
  /** The event as it came. */
  bytes: Uint8Array;
  /** Set when a handler failed: `attempts` times, for this feature and key; `reason` is its last error. */
  handler?: { feature: string; key: string; attempts: number; event_type: string; event_id: string; ts: number };
}

/** Right to write, and proof of it: a commit under an older epoch is FENCED. */
export interface Lease {
  readonly epoch: number;
  release(): Promise<void>;
}

export interface KeyUpdate {
  group: Group;
  key: string;
  rows: PendingRow[];
}

export interface FoldUpdate {
  unit: FoldUnit;
  key: string;
  events: RoutedEvent[];
}

/** Events that wait for a handler: put behind those of the same feature and key. */
export interface NewTurns {
  unit: TriggerUnit;
  key: string;
  events: RoutedEvent[];
}

/** What one commit moves, all or nothing. */
export interface CommitBatch {
  stream: string;
  partition: number;
  lease: Lease;
  /** The mark that the store must hold now. */
  expect: number;
  mark: Mark;
  /** Groups that move with the mark. */
  groups: readonly Group[];
  /** Whether the stream's own mark and counters move too (false while only a backfill catches up). */
  live: boolean;
  updates: readonly KeyUpdate[];
  /** Folds and handlers that move with the mark, as groups do, and what the batch holds for them. */
  folds?: readonly FoldUnit[];
  triggers?: readonly TriggerUnit[];
  foldUpdates?: readonly FoldUpdate[];
  turns?: readonly NewTurns[];
  dead: readonly DeadLetter[];
  /** Asked once the rows' `applied` flags are set: what to add to the counters, by event type. */
  count(): Record<string, Partial<Counters>>;
}

export type CommitResult = { status: 'ok' } | { status: 'dup' } | { status: 'fenced' } | { status: 'rollback'; next: number };

export interface GroupStatus {
  id: string;
  hash: string;
  /** Serves reads: its backfill has reached the live position. */
  ready: boolean;
  marks: Record<number, Mark>;
  /** Reads that need detail below this instant are refused; null = all detail is there. */
  floor: number | null;
}

export interface ReadItem {
  group: Group;
  key: string;
  at: number;
  /** Unit indexes. */
  units: readonly number[];
}

export interface ReadAnswer {
  /** By the order asked; null when the group is not ready. */
  states: AggState[] | null;
  /** Detail below this is gone; null = all is there. */
  floor: number | null;
}

export interface FoldRead {
  unit: FoldUnit;
  key: string;
  at: number;
}

/** Null state: no event before `at`. `ready` false: its backfill is on its way. `floor` is set only when `at` lies below it: then the state is not known. */
export interface FoldAnswer {
  ready: boolean;
  floor: number | null;
  state: { value: unknown; ts: number } | { error: string; ts: number } | null;
}

export interface TableRead {
  table: TableUnit;
  key: string;
  at: number;
}

export interface TableAnswer {
  /** False: no run of its SQL has been put online yet; rows pushed meanwhile are there. */
  ready: boolean;
  /** The row that counts; null when there is none. */
  row: TableRow | null;
  /** Rows up to this instant were dropped: a null row at or before it is not known. */
  floor: number | null;
}

/** Rows to put; merged with those there by {@link compareRows}, so that any order of writes gives the same. */
export interface RowPut {
  table: TableUnit;
  key: string;
  row: TableRow;
}

/** An event whose turn it is, or will be. */
export interface Turn {
  seq: number;
  event: RoutedEvent;
  /** Failed attempts so far. */
  attempts: number;
}

/** The first turns of one feature and key, in order; nobody else has them while this process holds the lease. */
export interface TurnQueue {
  unit: TriggerUnit;
  key: string;
  /** Raised by every commit of outcomes; events that are put behind do not raise it. */
  version: number;
  /** The row that counts last, by {@link compareRows}. */
  current: TableRow | null;
  turns: Turn[];
}

/** What became of the first turns of a pair: some done, and perhaps one that failed behind them. */
export interface TurnOutcome {
  unit: TriggerUnit;
  key: string;
  /** The version that the turns were run against: another one now, and nothing of this is taken. */
  version: number;
  done: readonly { seq: number; row: TableRow | null; puts: readonly RowPut[] }[];
  failed?: { seq: number; attempts: number; error: string } & ({ retryAt: number } | { dead: DeadLetter });
}

/** Right to run one job: renewed while it runs, lost when it is not; writes under a lost one are FENCED. */
export interface JobLease {
  readonly name: string;
  readonly epoch: number;
  /** @throws FabraError FENCED when another process has it by now. */
  renew(): Promise<void>;
  release(): Promise<void>;
}

/** A recorded row on its way to history. */
export interface OutboxRow extends RowPut {
  seq: number;
}

/** Position of a read: next offset per `stream/partition` that the answer holds. */
export type Position = Record<string, number>;

export interface OnlineStore {
  /** @throws FabraError WRITER_BUSY when another live process holds it. */
  lease(): Promise<Lease>;
  /**
   * Registers what an applied registry keeps. New groups and folds start at the beginning of the log, unready; new handlers at
   * the streams' own marks; tables that are no longer there lose their rows.
   */
  adopt(groups: readonly Group[], more?: { folds: readonly FoldUnit[]; triggers: readonly TriggerUnit[]; tables: readonly TableUnit[] }): Promise<void>;
  streamMark(stream: string, partition: number): Promise<Mark>;
  /** Of a group, or of a fold or handler in one of its streams. */
  groupStatus(group: Group | FoldUnit | TriggerUnit, stream?: string): Promise<GroupStatus | null>;
  commit(batch: CommitBatch): Promise<CommitResult>;
  /** One consistent snapshot for all items. */
  read(
    items: readonly ReadItem[],
    more?: { folds: readonly FoldRead[]; tables: readonly TableRead[] },
  ): Promise<{ answers: ReadAnswer[]; folds: FoldAnswer[]; tables: TableAnswer[]; position: Position }>;
  /** Keys with detail (of a fold: with events; of a table: with rows), in an order of their own, after `after`; for parity and the catalogue. */
  keys(group: Group | FoldUnit | TableUnit, after: string | null, limit: number): Promise<string[]>;
  /** Drops detail below the groups' floors, at most about `limit` keys a call; true when there is more. */
  trim(lease: Lease, groups: readonly Group[], limit: number): Promise<boolean>;
  /** Folds events that nothing can precede any more into snapshots, forgets ids of handled events; at most about `limit` a call, true when there is more. */
  settle(lease: Lease, folds: readonly FoldUnit[], triggers: readonly TriggerUnit[], limit: number): Promise<boolean>;
  /** Queues whose first turn is due at `now`, oldest first, without those named in `busy` (`feature\u0000key`); and when the next one is due. */
  dueTurns(
    units: readonly TriggerUnit[],
    now: number,
    limit: { queues: number; turns: number },
    busy: ReadonlySet<string>,
  ): Promise<{ queues: TurnQueue[]; nextAt: number | null }>;
  /** All of an outcome or nothing of it; `conflict`: the pair changed meanwhile, run its turns again. */
  commitTurns(lease: Lease, outcomes: readonly TurnOutcome[]): Promise<('ok' | 'conflict' | 'fenced')[]>;
  /** Turns that wait, by feature id. */
  waiting(units: readonly TriggerUnit[]): Promise<Record<string, number>>;
  /**
   * Puts rows; returns how many keys' newest row changed. `record` keeps them for history (the outbox); a `job` that is lost makes
   * it fail FENCED. `ready` marks these tables as materialized.
   */
  putRows(puts: readonly RowPut[], options: { record: boolean; job?: JobLease; ready?: readonly TableUnit[] }): Promise<number>;
  /** Rows recorded after `after`, in order. */
  outbox(after: number, limit: number): Promise<OutboxRow[]>;
  /** @throws FabraError JOB_BUSY when another live process runs it. */
  jobLease(name: string, ttlMs: number): Promise<JobLease>;
  counters(stream: string): Promise<Record<string, Counters>>;
  deadLetters(after: number, limit: number): Promise<{ seq: number; letter: DeadLetter }[]>;
  deadCount(): Promise<number>;
  /** Puts handlers' dead letters back at the end of their queues, with no attempts, and takes them out; returns those that were. Others stay. */
  requeue(seqs: readonly number[], units: readonly TriggerUnit[]): Promise<number[]>;
  /** Takes dead letters out; returns how many were there. */
  purge(seqs: readonly number[]): Promise<number>;
}
