/** Online state: windows per entity key, the marks that say which events they hold, counters and dead letters. */
import type { AdmitState } from '../engine/admit.ts';
import type { AggState } from '../engine/finish.ts';
import type { Group } from '../engine/group.ts';
import type { PendingRow } from '../engine/tree.ts';

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

/** Position of a read: next offset per `stream/partition` that the answer holds. */
export type Position = Record<string, number>;

export interface OnlineStore {
  /** @throws FabraError WRITER_BUSY when another live process holds it. */
  lease(): Promise<Lease>;
  /** Registers the groups of an applied registry; new ones start at the beginning of the log, unready. */
  adopt(groups: readonly Group[]): Promise<void>;
  streamMark(stream: string, partition: number): Promise<Mark>;
  groupStatus(group: Group): Promise<GroupStatus | null>;
  commit(batch: CommitBatch): Promise<CommitResult>;
  /** One consistent snapshot for all items. */
  read(items: readonly ReadItem[]): Promise<{ answers: ReadAnswer[]; position: Position }>;
  /** Keys with detail, in key order, after `after`; for parity and the catalogue. */
  keys(group: Group, after: string | null, limit: number): Promise<string[]>;
  /** Drops detail below the groups' floors, at most about `limit` keys a call; true when there is more. */
  trim(lease: Lease, groups: readonly Group[], limit: number): Promise<boolean>;
  counters(stream: string): Promise<Record<string, Counters>>;
  deadLetters(after: number, limit: number): Promise<{ seq: number; letter: DeadLetter }[]>;
  deadCount(): Promise<number>;
}
