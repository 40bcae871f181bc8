import { newAdmitState } from '../../engine/admit.ts';
import { trimKey } from '../../engine/base.ts';
import type { Group } from '../../engine/group.ts';
import { readUnits } from '../../engine/read.ts';
import { applyRows } from '../../engine/tree.ts';
import type { FoldUnit, TableUnit, TriggerUnit } from '../../engine/units.ts';
import { type Clock, systemClock } from '../../lib/clock.ts';
import type {
  CommitBatch,
  CommitResult,
  Counters,
  DeadLetter,
  FoldAnswer,
  FoldRead,
  GroupStatus,
  JobLease,
  Lease,
  Mark,
  OnlineStore,
  OutboxRow,
  Position,
  ReadAnswer,
  ReadItem,
  RowPut,
  TableAnswer,
  TableRead,
  TurnOutcome,
  TurnQueue,
} from '../../ports/online-store.ts';
import { noCounters } from '../../ports/online-store.ts';
import { bury, deadLetters, unbury } from './dead.ts';
import type { Embedded } from './env.ts';
import { type KnownFold, knowFold, putFolds, readOneFold, settleFolds } from './folds.ts';
import { requireJob, takeJob } from './jobs.ts';
import { keyOfDay, keyOfState, nsRange, writeStart } from './keys.ts';
import { holds, takeLease } from './lease.ts';
import { LmdbNodes, LmdbNodeWriter } from './nodes.ts';
import { peek } from './outbox.ts';
import { putRows, readRow, rowKeys, setReady } from './rows.ts';
import {
  type Adopted,
  adoptGroups,
  adoptUnits,
  bump,
  markOf,
  type Namespace,
  notApplied,
  nsName,
  requireUnit,
  spaceOf,
  streamMarkName,
  streamMarkOf,
  unitMarkName,
  unitName,
  type UnitSpace,
  unitSpaceOf,
} from './spaces.ts';
import { dueTurns, enqueue, forgetSeen, requeue, settleOutcome, waiting } from './turns.ts';

/** What a read needs to know of a group, decoded. */
interface Known {
  space: Namespace | undefined;
  ready: boolean;
  next: number;
  floor: number | null;
}

/** What reads have decoded of one version of the store. */
interface Seen {
  version: number | undefined;
  spaces: Map<string, Known>;
  folds: Map<string, KnownFold>;
  tables: Map<string, { space: UnitSpace | undefined }>;
}

export class EmbeddedOnlineStore implements OnlineStore {
  protected readonly env: Embedded;
  private readonly clock: Pick<Clock, 'now'>;
  private seen: Seen = { version: undefined, spaces: new Map(), folds: new Map(), tables: new Map() };

  /** @param clock for how long a job's lock lasts. */
  constructor(env: Embedded, clock: Pick<Clock, 'now'> = systemClock) {
    this.env = env;
    this.clock = clock;
  }

  async lease(): Promise<Lease> {
    return takeLease(this.env);
  }

  async adopt(groups: readonly Group[], more?: Adopted): Promise<void> {
    this.env.write(() => {
      adoptGroups(this.env, groups);
      if (more) adoptUnits(this.env, more);
      bump(this.env);
    });
  }

  async streamMark(stream: string, partition: number): Promise<Mark> {
    this.env.refresh();
    return markOf(this.env, streamMarkName(stream, partition));
  }

  async groupStatus(group: Group | FoldUnit | TriggerUnit, stream?: string): Promise<GroupStatus | null> {
    this.env.refresh();
    if ('kind' in group) return this.unitStatus(group, stream);
    const space = spaceOf(this.env, group);
    if (!space) return null;
    const mark = markOf(this.env, unitMarkName(space.ns, group.stream, 0));
    return { id: group.id, hash: group.hash, ready: this.ready(group, mark), marks: { 0: mark }, floor: this.floor(group, space, mark) };
  }

  /** Of one stream, or of all: then the marks are the first stream's. */
  private unitStatus(unit: FoldUnit | TriggerUnit, stream?: string): GroupStatus | null {
    const space = unitSpaceOf(this.env, unit.kind, unit);
    if (!space) return null;
    const streams = stream === undefined ? unit.streams : [stream];
    const marks = streams.map(s => markOf(this.env, unitMarkName(space.ns, s, 0)));
    const ready = streams.every((s, i) => marks[i]!.next >= streamMarkOf(this.env, s).next);
    return { id: unit.id, hash: unit.hash, ready, marks: { 0: marks[0]! }, floor: null };
  }

  /** Whether a group holds all that the stream's mark says: not while it catches up, nor once a worker that does not know it has moved on. */
  private ready(group: Group, mark: Mark): boolean {
    return mark.next >= streamMarkOf(this.env, group.stream).next;
  }

  /** Where detail may be missing: behind the stream's progress by the retention, once something is that old. */
  private floor(group: Group, space: Namespace, mark: Mark): number | null {
    const behind = mark.admit.max === null || space.minTs === null ? null : mark.admit.max - group.retention;
    const due = behind !== null && space.minTs! < behind ? behind : null;
    return due === null ? space.trimmed : Math.max(due, space.trimmed ?? due);
  }

  async commit(batch: CommitBatch): Promise<CommitResult> {
    return this.env.write(() => this.commitNow(batch));
  }

  /** The protocol of DESIGN.md section 5, inside one transaction: fence, mark, rows, mark. */
  protected commitNow(batch: CommitBatch): CommitResult {
    if (!holds(this.env, batch.lease)) return { status: 'fenced' };
    this.requireAll(batch);
    const at = this.position(batch);
    if (at < batch.expect) return { status: 'rollback', next: at };
    if (at >= batch.mark.next) return { status: 'dup' };
    this.applyUpdates(batch);
    this.writeMarks(batch);
    return { status: 'ok' };
  }

  /** An `apply` beside a running worker may have taken some away, or away and back: those are empty, and must not pass for whole. */
  private requireAll(batch: CommitBatch): void {
    const { groups, folds = [], triggers = [], live, stream, partition } = batch;
    const gone = groups.find(g => !spaceOf(this.env, g));
    if (gone) notApplied(gone.id);
    for (const u of [...folds, ...triggers]) requireUnit(this.env, u.kind, u);
    if (!live) return;
    const { next } = markOf(this.env, streamMarkName(stream, partition));
    const anew = this.moved(batch).find(({ ns }) => markOf(this.env, unitMarkName(ns, stream, partition)).next < next);
    if (anew) notApplied(anew.id, 'was taken away and applied anew meanwhile');
  }

  /** Namespaces of all that moves with a batch. */
  private moved({ groups, folds = [], triggers = [] }: CommitBatch): { id: string; ns: number }[] {
    return [...groups.map(g => spaceOf(this.env, g)!), ...[...folds, ...triggers].map(u => unitSpaceOf(this.env, u.kind, u)!)];
  }

  private position(batch: CommitBatch): number {
    if (batch.live) return markOf(this.env, streamMarkName(batch.stream, batch.partition)).next;
    return Math.min(...this.moved(batch).map(({ ns }) => markOf(this.env, unitMarkName(ns, batch.stream, batch.partition)).next));
  }

  protected applyUpdates(batch: CommitBatch): void {
    bump(this.env);
    const oldest = new Map<string, number>();
    const spaces = new Map<Group, Namespace>();
    for (const { group, key, rows } of batch.updates) {
      let space = spaces.get(group);
      if (!space) spaces.set(group, (space = spaceOf(this.env, group)!));
      applyRows(group, new LmdbNodeWriter(this.env, space.ns, key), rows);
      for (const r of rows) if (r.applied && r.ts < (oldest.get(group.id) ?? Number.POSITIVE_INFINITY)) oldest.set(group.id, r.ts);
    }
    for (const [group, space] of spaces) {
      const ts = oldest.get(group.id);
      if (ts !== undefined && (space.minTs === null || ts < space.minTs)) this.env.meta.put(nsName(group), { ...space, minTs: ts });
    }
    putFolds(this.env, batch.foldUpdates ?? []);
    enqueue(this.env, batch.turns ?? []);
    for (const letter of batch.dead) bury(this.env, letter);
  }

  protected writeMarks(batch: CommitBatch): void {
    bump(this.env);
    const { meta } = this.env;
    const live = streamMarkName(batch.stream, batch.partition);
    if (batch.live) {
      meta.put(live, batch.mark);
      this.addCounters(batch.stream, batch.count());
    }
    for (const { ns } of this.moved(batch)) meta.put(unitMarkName(ns, batch.stream, batch.partition), batch.mark);
  }

  private addCounters(stream: string, delta: Record<string, Partial<Counters>>): void {
    for (const [type, add] of Object.entries(delta)) {
      const name = `cnt:${stream}:${type}`;
      const sum = { ...noCounters(), ...(this.env.meta.get(name) as Counters | undefined) };
      for (const k of Object.keys(add) as (keyof Counters)[]) sum[k] += add[k]!;
      this.env.meta.put(name, sum);
    }
  }

  async read(
    items: readonly ReadItem[],
    more?: { folds: readonly FoldRead[]; tables: readonly TableRead[] },
  ): Promise<{ answers: ReadAnswer[]; folds: FoldAnswer[]; tables: TableAnswer[]; position: Position }> {
    this.env.refresh();
    const position: Position = {};
    // No await below: LMDB keeps one read snapshot until the event loop turns, so all items see the same commit.
    const version = this.env.meta.get('ver') as number | undefined;
    if (version !== this.seen.version) this.seen = { version, spaces: new Map(), folds: new Map(), tables: new Map() };
    const answers = items.map((item): ReadAnswer => {
      const { space, ready, floor, next } = this.known(item.group);
      if (!space || !ready) return { states: null, floor: null };
      // A group that is still catching up answers nothing, so its mark is not the answer's.
      position[`${item.group.stream}/0`] = next;
      return { states: readUnits(item.group, new LmdbNodes(this.env.state, space.ns, item.key), item.at, item.units), floor };
    });
    const folds = (more?.folds ?? []).map(item => {
      const known = remember(this.seen.folds, unitName('fold', item.unit), () => knowFold(this.env, item.unit));
      if (known.ready) for (const [stream, next] of Object.entries(known.next)) position[`${stream}/0`] = next;
      return readOneFold(this.env, known, item);
    });
    const tables = (more?.tables ?? []).map(item => {
      const { space } = remember(this.seen.tables, unitName('table', item.table), () => ({ space: unitSpaceOf(this.env, 'table', item.table) }));
      return readRow(this.env, space, item);
    });
    return { answers, folds, tables, position };
  }

  /** Decoded once per version of the store: at 10 commits a second and 1,000 reads that is one read in a hundred. */
  private known(group: Group): Known {
    return remember(this.seen.spaces, nsName(group), () => {
      const space = spaceOf(this.env, group);
      const mark = space ? markOf(this.env, unitMarkName(space.ns, group.stream, 0)) : { next: 0, admit: newAdmitState() };
      return { space, ready: this.ready(group, mark), next: mark.next, floor: space ? this.floor(group, space, mark) : null };
    });
  }

  async keys(group: Group | FoldUnit | TableUnit, after: string | null, limit: number): Promise<string[]> {
    this.env.refresh();
    if ('materialized' in group) return rowKeys(this.env, unitSpaceOf(this.env, 'table', group), after, limit);
    const space = 'kind' in group ? unitSpaceOf(this.env, group.kind, group) : spaceOf(this.env, group);
    if (!space) return [];
    const out: string[] = [];
    const { end } = nsRange(space.ns);
    let from = after === null ? nsRange(space.ns).start : afterKey(space.ns, after);
    while (out.length < limit) {
      const [first] = [...this.env.state.getKeys({ start: from, end, limit: 1 })];
      if (!first) break;
      const key = keyOfState(first);
      out.push(key);
      from = afterKey(space.ns, key);
    }
    return out;
  }

  async trim(lease: Lease, groups: readonly Group[], limit: number): Promise<boolean> {
    return this.env.write(() => {
      if (!holds(this.env, lease)) return false;
      return groups.map(g => this.trimGroup(g, limit)).some(more => more);
    });
  }

  private trimGroup(group: Group, limit: number): boolean {
    const space = spaceOf(this.env, group);
    if (!space) return false;
    const mark = markOf(this.env, unitMarkName(space.ns, group.stream, 0));
    if (!this.ready(group, mark)) return false;
    const floor = this.floor(group, space, mark);
    if (floor === null) return false;
    const whole = Math.floor(floor / 86_400_000) * 86_400_000;
    const end = Buffer.alloc(9);
    end.writeUInt16BE(space.ns, 0);
    writeStart(end, 2, whole);
    const due = [...this.env.days.getKeys({ start: nsRange(space.ns).start, end, limit })];
    for (const index of due) {
      trimKey(group, new LmdbNodeWriter(this.env, space.ns, keyOfDay(index)), whole);
      this.env.days.removeSync(index);
    }
    if (due.length > 0 && (space.trimmed ?? Number.NEGATIVE_INFINITY) < whole) this.env.meta.put(nsName(group), { ...spaceOf(this.env, group)!, trimmed: whole });
    if (due.length > 0) bump(this.env);
    return due.length === limit;
  }

  async settle(lease: Lease, folds: readonly FoldUnit[], triggers: readonly TriggerUnit[], limit: number): Promise<boolean> {
    return this.env.write(() => {
      if (!holds(this.env, lease)) return false;
      return [...folds.map(u => settleFolds(this.env, u, limit)), ...triggers.map(u => forgetSeen(this.env, u, limit))].some(more => more);
    });
  }

  async dueTurns(
    units: readonly TriggerUnit[],
    now: number,
    limit: { queues: number; turns: number },
    busy: ReadonlySet<string>,
  ): Promise<{ queues: TurnQueue[]; nextAt: number | null }> {
    this.env.refresh();
    return dueTurns(this.env, units, now, limit, busy);
  }

  async commitTurns(lease: Lease, outcomes: readonly TurnOutcome[]): Promise<('ok' | 'conflict' | 'fenced')[]> {
    return this.env.write(() => {
      if (!holds(this.env, lease)) return outcomes.map(() => 'fenced' as const);
      return outcomes.map(o => settleOutcome(this.env, o));
    });
  }

  async waiting(units: readonly TriggerUnit[]): Promise<Record<string, number>> {
    this.env.refresh();
    return waiting(this.env, units);
  }

  async putRows(puts: readonly RowPut[], options: { record: boolean; job?: JobLease; ready?: readonly TableUnit[] }): Promise<number> {
    return this.env.write(() => {
      if (options.job) requireJob(this.env, options.job);
      const changed = putRows(this.env, puts, options);
      if (options.ready?.length) {
        setReady(this.env, options.ready);
        bump(this.env);
      }
      return changed;
    });
  }

  async outbox(after: number, limit: number): Promise<OutboxRow[]> {
    this.env.refresh();
    return peek(this.env, after, limit);
  }

  async jobLease(name: string, ttlMs: number): Promise<JobLease> {
    return takeJob(this.env, this.clock, name, ttlMs);
  }

  async counters(stream: string): Promise<Record<string, Counters>> {
    this.env.refresh();
    const out: Record<string, Counters> = {};
    const prefix = `cnt:${stream}:`;
    for (const { key, value } of this.env.meta.getRange({ start: prefix, end: `${prefix}\uffff` })) out[key.slice(prefix.length)] = value as Counters;
    return out;
  }

  async deadLetters(after: number, limit: number): Promise<{ seq: number; letter: DeadLetter }[]> {
    this.env.refresh();
    return deadLetters(this.env, after, limit);
  }

  async deadCount(): Promise<number> {
    this.env.refresh();
    return this.env.dead.getKeysCount();
  }

  async requeue(seqs: readonly number[], units: readonly TriggerUnit[]): Promise<number[]> {
    return this.env.write(() => requeue(this.env, seqs, units));
  }

  async purge(seqs: readonly number[]): Promise<number> {
    return this.env.write(() => seqs.filter(s => unbury(this.env, s)).length);
  }
}

/** Decoded once per version of the store. */
function remember<V>(known: Map<string, V>, name: string, make: () => V): V {
  let value = known.get(name);
  if (value === undefined) known.set(name, (value = make()));
  return value;
}

/** The first possible state key behind all nodes of `key`. */
function afterKey(ns: number, key: string): Buffer {
  const n = Buffer.byteLength(key);
  const b = Buffer.alloc(4 + n + 9, 255);
  b.writeUInt16BE(ns, 0);
  b.writeUInt16BE(n, 2);
  b.write(key, 4, 'utf8');
  return b;
}
