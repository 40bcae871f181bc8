import type { Group } from '../../engine/group.ts';
import { readUnits } from '../../engine/read.ts';
import { FabraError } from '../../lib/errors.ts';
import { trimKey } from '../../engine/base.ts';
import { newAdmitState } from '../../engine/admit.ts';
import { applyRows } from '../../engine/tree.ts';
import type { CommitBatch, CommitResult, Counters, DeadLetter, GroupStatus, Lease, Mark, OnlineStore, Position, ReadAnswer, ReadItem } from '../../ports/online-store.ts';
import { noCounters } from '../../ports/online-store.ts';
import type { Embedded } from './env.ts';
import { keyOfDay, keyOfState, nsRange, writeStart } from './keys.ts';
import { holds, takeLease } from './lease.ts';
import { LmdbNodes, LmdbNodeWriter } from './nodes.ts';

/** State of one group, stored under a number; another hash of the same group gets another number and starts anew. */
interface Namespace {
  ns: number;
  id: string;
  hash: string;
  /** Oldest applied event. */
  minTs: number | null;
  /** All detail below was dropped. */
  trimmed: number | null;
}

/** What a read needs to know of a group, decoded. */
interface Known {
  space: Namespace | undefined;
  ready: boolean;
  next: number;
  floor: number | null;
}

const nsName = (g: { id: string; hash: string }): string => `ns:${g.id}:${g.hash}`;
const groupMarkName = (ns: number, stream: string, partition: number): string => `gm:${ns}:${stream}:${partition}`;
const streamMarkName = (stream: string, partition: number): string => `sm:${stream}:${partition}`;
const start = (): Mark => ({ next: 0, admit: newAdmitState() });

export class EmbeddedOnlineStore implements OnlineStore {
  protected readonly env: Embedded;
  private seen: { version: number | undefined; spaces: Map<string, Known> } = { version: undefined, spaces: new Map() };

  constructor(env: Embedded) {
    this.env = env;
  }

  async lease(): Promise<Lease> {
    return takeLease(this.env);
  }

  async adopt(groups: readonly Group[]): Promise<void> {
    this.env.write(() => {
      for (const g of groups) {
        if (this.env.meta.get(nsName(g)) !== undefined) continue;
        const ns = ((this.env.meta.get('nextNs') as number | undefined) ?? 0) + 1;
        this.env.meta.put('nextNs', ns);
        this.env.meta.put(nsName(g), { ns, id: g.id, hash: g.hash, minTs: null, trimmed: null } satisfies Namespace);
      }
      this.dropOthers(groups);
      this.bump();
    });
  }

  /** Namespaces of groups that the registry no longer has: their state goes. */
  private dropOthers(groups: readonly Group[]): void {
    const wanted = new Set(groups.map(nsName));
    for (const { key, value } of [...this.env.meta.getRange({ start: 'ns:', end: 'ns;' })]) {
      if (wanted.has(key)) continue;
      const { ns } = value as Namespace;
      for (const db of [this.env.state, this.env.days]) for (const k of [...db.getKeys(nsRange(ns))]) db.removeSync(k);
      for (const k of [...this.env.meta.getKeys({ start: `gm:${ns}:`, end: `gm:${ns};` })]) this.env.meta.removeSync(k);
      this.env.meta.removeSync(key);
    }
  }

  protected namespace(g: { id: string; hash: string }): Namespace | undefined {
    return this.env.meta.get(nsName(g)) as Namespace | undefined;
  }

  protected mark(name: string): Mark {
    return (this.env.meta.get(name) as Mark | undefined) ?? start();
  }

  async streamMark(stream: string, partition: number): Promise<Mark> {
    this.env.refresh();
    return this.mark(streamMarkName(stream, partition));
  }

  async groupStatus(group: Group): Promise<GroupStatus | null> {
    this.env.refresh();
    const space = this.namespace(group);
    if (!space) return null;
    const mark = this.mark(groupMarkName(space.ns, group.stream, 0));
    return { id: group.id, hash: group.hash, ready: this.ready(group, mark), marks: { 0: mark }, floor: this.floor(group, space, mark) };
  }

  /** Whether a group holds all that the stream's mark says: not while it catches up, nor once a worker that does not know it has moved on. */
  private ready(group: Group, mark: Mark): boolean {
    return mark.next >= this.mark(streamMarkName(group.stream, 0)).next;
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
    this.requireAll(batch.groups);
    const at = this.position(batch);
    if (at < batch.expect) return { status: 'rollback', next: at };
    if (at >= batch.mark.next) return { status: 'dup' };
    this.applyUpdates(batch);
    this.writeMarks(batch);
    return { status: 'ok' };
  }

  /** An `apply` beside a running worker may have taken groups away. */
  private requireAll(groups: readonly Group[]): void {
    const gone = groups.find(g => !this.namespace(g));
    if (gone)
      throw new FabraError('NOT_APPLIED', `${gone.id} is no longer among the applied features`, { hint: 'Start the worker again: it takes up the applied registry.', retry: true });
  }

  private position(batch: CommitBatch): number {
    if (batch.live) return this.mark(streamMarkName(batch.stream, batch.partition)).next;
    return Math.min(...batch.groups.map(g => this.mark(groupMarkName(this.namespace(g)!.ns, batch.stream, batch.partition)).next));
  }

  protected applyUpdates(batch: CommitBatch): void {
    this.bump();
    const oldest = new Map<string, number>();
    const spaces = new Map<Group, Namespace>();
    for (const { group, key, rows } of batch.updates) {
      let space = spaces.get(group);
      if (!space) spaces.set(group, (space = this.namespace(group)!));
      applyRows(group, new LmdbNodeWriter(this.env, space.ns, key), rows);
      for (const r of rows) if (r.applied && r.ts < (oldest.get(group.id) ?? Number.POSITIVE_INFINITY)) oldest.set(group.id, r.ts);
    }
    for (const [group, space] of spaces) {
      const ts = oldest.get(group.id);
      if (ts !== undefined && (space.minTs === null || ts < space.minTs)) this.env.meta.put(nsName(group), { ...space, minTs: ts });
    }
    for (const letter of batch.dead) this.bury(letter);
  }

  protected writeMarks(batch: CommitBatch): void {
    this.bump();
    const { meta } = this.env;
    const live = streamMarkName(batch.stream, batch.partition);
    if (batch.live) {
      meta.put(live, batch.mark);
      this.addCounters(batch.stream, batch.count());
    }
    for (const g of batch.groups) meta.put(groupMarkName(this.namespace(g)!.ns, batch.stream, batch.partition), batch.mark);
  }

  private addCounters(stream: string, delta: Record<string, Partial<Counters>>): void {
    for (const [type, add] of Object.entries(delta)) {
      const name = `cnt:${stream}:${type}`;
      const sum = { ...noCounters(), ...(this.env.meta.get(name) as Counters | undefined) };
      for (const k of Object.keys(add) as (keyof Counters)[]) sum[k] += add[k]!;
      this.env.meta.put(name, sum);
    }
  }

  private bury(letter: DeadLetter): void {
    const seq = ((this.env.meta.get('deadSeq') as number | undefined) ?? 0) + 1;
    this.env.meta.put('deadSeq', seq);
    const { bytes, ...rest } = letter;
    this.env.dead.putSync(seqKey(seq), Buffer.from(JSON.stringify({ ...rest, bytes: Buffer.from(bytes).toString('base64') })));
  }

  async read(items: readonly ReadItem[]): Promise<{ answers: ReadAnswer[]; position: Position }> {
    this.env.refresh();
    const position: Position = {};
    // No await below: LMDB keeps one read snapshot until the event loop turns, so all items see the same commit.
    const version = this.env.meta.get('ver') as number | undefined;
    if (version !== this.seen.version) this.seen = { version, spaces: new Map() };
    const answers = items.map((item): ReadAnswer => {
      const { space, ready, floor, next } = this.known(item.group);
      if (!space || !ready) return { states: null, floor: null };
      // A group that is still catching up answers nothing, so its mark is not the answer's.
      position[`${item.group.stream}/0`] = next;
      return { states: readUnits(item.group, new LmdbNodes(this.env.state, space.ns, item.key), item.at, item.units), floor };
    });
    return { answers, position };
  }

  /** Decoded once per version of the store: at 10 commits a second and 1,000 reads that is one read in a hundred. */
  private known(group: Group): Known {
    const id = nsName(group);
    let known = this.seen.spaces.get(id);
    if (!known) {
      const space = this.namespace(group);
      const mark = space ? this.mark(groupMarkName(space.ns, group.stream, 0)) : start();
      known = { space, ready: this.ready(group, mark), next: mark.next, floor: space ? this.floor(group, space, mark) : null };
      this.seen.spaces.set(id, known);
    }
    return known;
  }

  /** Inside every transaction that changes marks or namespaces: readers drop what they decoded. */
  private bump(): void {
    this.env.meta.put('ver', ((this.env.meta.get('ver') as number | undefined) ?? 0) + 1);
  }

  async keys(group: Group, after: string | null, limit: number): Promise<string[]> {
    this.env.refresh();
    const space = this.namespace(group);
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
    const space = this.namespace(group);
    if (!space) return false;
    const mark = this.mark(groupMarkName(space.ns, group.stream, 0));
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
    if (due.length > 0 && (space.trimmed ?? Number.NEGATIVE_INFINITY) < whole) this.env.meta.put(nsName(group), { ...this.namespace(group)!, trimmed: whole });
    if (due.length > 0) this.bump();
    return due.length === limit;
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
    const out: { seq: number; letter: DeadLetter }[] = [];
    for (const { key, value } of this.env.dead.getRange({ start: seqKey(after + 1), limit })) {
      const { bytes, ...rest } = JSON.parse(value.toString('utf8')) as Omit<DeadLetter, 'bytes'> & { bytes: string };
      out.push({ seq: key.readUIntBE(0, 6), letter: { ...rest, bytes: Buffer.from(bytes, 'base64') } });
    }
    return out;
  }

  async deadCount(): Promise<number> {
    this.env.refresh();
    return this.env.dead.getKeysCount();
  }
}

function seqKey(seq: number): Buffer {
  const b = Buffer.alloc(6);
  b.writeUIntBE(seq, 0, 6);
  return b;
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
