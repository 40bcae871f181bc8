/**
 * Queues of handlers, one per feature and key. Under the handler's namespace in `turns`:
 *   level 0: the pair {version, attempts, due}    level 1: its events by number    level 2 + i: ids known of its i-th stream, by instant
 * `due`: u16 namespace | 7-byte instant (0: at once) | 7-byte number of the first event | key. `seen`: u16 namespace | u8 stream | 7-byte hour | key.
 */
import type { RoutedEvent, TriggerUnit } from '../../engine/units.ts';
import { HOUR } from '../../lib/duration.ts';
import { floorTo } from '../../lib/time.ts';
import type { NewTurns, Turn, TurnOutcome, TurnQueue } from '../../ports/online-store.ts';
import { bury, failedTurn, unbury } from './dead.ts';
import type { Embedded } from './env.ts';
import { KeyMaker, readStart, writeStart } from './keys.ts';
import { newestRow, putRows } from './rows.ts';
import { markOf, requireUnit, takeNumbers, unitMarkName, unitSpaceOf, waitingName } from './spaces.ts';

const PAIR = 0;
const TURNS = 1;
const SEEN = 2;
/** Due as soon as someone looks. */
const AT_ONCE = 0;

interface Pair {
  version: number;
  /** Failed attempts of the first event. */
  attempts: number;
  /** Its place in the index; null while nothing waits. */
  due: { at: number; seq: number } | null;
}

const json = (v: unknown): Buffer => Buffer.from(JSON.stringify(v), 'utf8');
const parse = <T>(bytes: Buffer | undefined): T | undefined => (bytes === undefined ? undefined : (JSON.parse(bytes.toString('utf8')) as T));

function dueKey(ns: number, at: number, seq: number, key: string): Buffer {
  const out = Buffer.allocUnsafe(16 + Buffer.byteLength(key));
  out.writeUInt16BE(ns, 0);
  writeStart(out, 2, at);
  writeStart(out, 9, seq);
  out.write(key, 16, 'utf8');
  return out;
}

function seenKey(ns: number, stream: number, hour: number, key: string): Buffer {
  const out = Buffer.allocUnsafe(10 + Buffer.byteLength(key));
  out.writeUInt16BE(ns, 0);
  out[2] = stream;
  writeStart(out, 3, hour);
  out.write(key, 10, 'utf8');
  return out;
}

/** One feature and key, inside a transaction (or one read snapshot). */
class Queue {
  readonly pair: Pair;
  private readonly env: Embedded;
  private readonly ns: number;
  private readonly key: string;
  private readonly keys: KeyMaker;

  constructor(env: Embedded, ns: number, key: string) {
    this.env = env;
    this.ns = ns;
    this.key = key;
    this.keys = new KeyMaker(ns, key);
    this.pair = parse<Pair>(env.turns.getBinary(this.keys.at0(PAIR, 0))) ?? { version: 0, attempts: 0, due: null };
  }

  first(limit: number): Turn[] {
    const range = this.env.turns.getRange({ start: this.keys.copy(TURNS, 0), end: this.keys.copy(SEEN, Number.NEGATIVE_INFINITY), limit });
    return [...range].map(({ key, value }, i) => ({ seq: this.keys.startOf(key), event: parse<RoutedEvent>(value)!, attempts: i === 0 ? this.pair.attempts : 0 }));
  }

  /** Puts events at the end. */
  push(events: readonly RoutedEvent[]): void {
    let seq = takeNumbers(this.env, 'turnSeq', events.length);
    if (this.pair.due === null) this.setDue({ at: AT_ONCE, seq });
    for (const e of events) this.env.turns.putSync(this.keys.at0(TURNS, seq++), json(e));
    this.save();
  }

  remove(seq: number): void {
    this.env.turns.removeSync(this.keys.at0(TURNS, seq));
  }

  setDue(due: Pair['due']): void {
    const { pair, env, ns, key } = this;
    if (pair.due) env.due.removeSync(dueKey(ns, pair.due.at, pair.due.seq, key));
    if (due) env.due.putSync(dueKey(ns, due.at, due.seq, key), EMPTY);
    pair.due = due;
  }

  save(): void {
    this.env.turns.putSync(this.keys.at0(PAIR, 0), json(this.pair));
  }

  /** Sets `applied` on each: false for one with the same stream, time and id as another. */
  dedupe(streams: readonly string[], events: readonly RoutedEvent[]): void {
    // One record per stream and instant, read and written once: a batch may hold thousands of one instant.
    const known = new Map<string, { at: Buffer; ids: Set<string>; before: number }>();
    for (const e of events) {
      const stream = streams.indexOf(e.stream);
      const name = `${stream}/${e.ts}`;
      let record = known.get(name);
      if (!record) {
        const at = this.keys.copy(SEEN + stream, e.ts);
        const ids = new Set(parse<string[]>(this.env.turns.getBinary(at)));
        known.set(name, (record = { at, ids, before: ids.size }));
        if (ids.size === 0) this.env.seen.putSync(seenKey(this.ns, stream, floorTo(e.ts, HOUR), this.key), EMPTY);
      }
      e.applied = !record.ids.has(e.id);
      record.ids.add(e.id);
    }
    for (const { at, ids, before } of known.values()) if (ids.size > before) this.env.turns.putSync(at, json([...ids]));
  }

  forget(stream: number, hour: number): void {
    for (const k of [...this.env.turns.getKeys({ start: this.keys.copy(SEEN + stream, hour), end: this.keys.copy(SEEN + stream, hour + HOUR) })]) this.env.turns.removeSync(k);
  }
}

const EMPTY = Buffer.alloc(0);

/** Inside a write transaction: events behind those of the same feature and key. */
export function enqueue(env: Embedded, turns: readonly NewTurns[]): void {
  const added = new Map<number, number>();
  for (const { unit, key, events } of turns) {
    const { ns } = requireUnit(env, 'on', unit);
    const queue = new Queue(env, ns, key);
    queue.dedupe(unit.streams, events);
    const fresh = events.filter(e => e.applied);
    if (fresh.length > 0) queue.push(fresh);
    added.set(ns, (added.get(ns) ?? 0) + fresh.length);
  }
  for (const [ns, n] of added) addWaiting(env, ns, n);
}

function addWaiting(env: Embedded, ns: number, n: number): void {
  if (n !== 0) env.meta.putSync(waitingName(ns), ((env.meta.get(waitingName(ns)) as number | undefined) ?? 0) + n);
}

export function waiting(env: Embedded, units: readonly TriggerUnit[]): Record<string, number> {
  const of = (u: TriggerUnit): number => {
    const space = unitSpaceOf(env, 'on', u);
    return (space && (env.meta.get(waitingName(space.ns)) as number | undefined)) ?? 0;
  };
  return Object.fromEntries(units.map(u => [u.id, of(u)]));
}

interface Due {
  unit: TriggerUnit;
  ns: number;
  at: number;
  seq: number;
  key: string;
}

/** Due pairs of one handler with `from <= instant < to` that are not busy, at most `limit`. */
function dueIn(env: Embedded, unit: TriggerUnit, ns: number, from: number, to: number, limit: number, busy: ReadonlySet<string>): Due[] {
  const out: Due[] = [];
  for (const k of env.due.getKeys({ start: dueKey(ns, from, Number.NEGATIVE_INFINITY, ''), end: dueKey(ns, to, Number.NEGATIVE_INFINITY, '') })) {
    const key = k.utf8Slice(16);
    if (busy.has(`${unit.id}\u0000${key}`)) continue;
    out.push({ unit, ns, at: readStart(k, 2), seq: readStart(k, 9), key });
    if (out.length === limit) break;
  }
  return out;
}

export function dueTurns(
  env: Embedded,
  units: readonly TriggerUnit[],
  now: number,
  limit: { queues: number; turns: number },
  busy: ReadonlySet<string>,
): { queues: TurnQueue[]; nextAt: number | null } {
  const due: Due[] = [];
  let nextAt: number | null = null;
  for (const unit of units) {
    const space = unitSpaceOf(env, 'on', unit);
    if (!space) continue;
    // Both kinds apart: those that are new are in the order of their events, those tried again in the order of their instants.
    due.push(...dueIn(env, unit, space.ns, AT_ONCE, AT_ONCE + 1, limit.queues + 1, busy));
    due.push(...dueIn(env, unit, space.ns, AT_ONCE + 1, now + 1, limit.queues + 1, busy));
    const [later] = dueIn(env, unit, space.ns, now + 1, Number.POSITIVE_INFINITY, 1, busy);
    if (later && (nextAt === null || later.at < nextAt)) nextAt = later.at;
  }
  due.sort((a, b) => a.seq - b.seq);
  const queues = due.slice(0, limit.queues).map(({ unit, ns, key }): TurnQueue => {
    const queue = new Queue(env, ns, key);
    return { unit, key, version: queue.pair.version, current: newestRow(env, unitSpaceOf(env, 'table', unit), key), turns: queue.first(limit.turns) };
  });
  return { queues, nextAt: due.length > limit.queues ? now : nextAt };
}

/** Inside a write transaction, under the lease. */
export function settleOutcome(env: Embedded, outcome: TurnOutcome): 'ok' | 'conflict' {
  const { unit, key, done, failed } = outcome;
  const space = unitSpaceOf(env, 'on', unit);
  if (!space) return 'conflict';
  const queue = new Queue(env, space.ns, key);
  const { pair } = queue;
  const taken = [...done.map(d => d.seq), ...(failed ? [failed.seq] : [])];
  const turns = queue.first(taken.length + 1);
  if (pair.version !== outcome.version || taken.some((seq, i) => turns[i]?.seq !== seq)) return 'conflict';
  const { id, hash, entity, keyColumns } = unit;
  const table = { id, hash, entity, keyColumns, inclusive: false, materialized: false };
  for (const { seq, row, puts } of done) {
    queue.remove(seq);
    putRows(env, [...(row ? [{ table, key, row }] : []), ...puts], { record: true });
  }
  const dead = failed && 'dead' in failed;
  if (dead) {
    queue.remove(failed.seq);
    bury(env, failed.dead, { key, event: turns[done.length]!.event });
  }
  const gone = done.length + (dead ? 1 : 0);
  const next = turns[gone];
  pair.attempts = failed && !dead ? failed.attempts : gone > 0 ? 0 : pair.attempts;
  queue.setDue(next ? { at: failed && !dead ? Math.max(AT_ONCE + 1, failed.retryAt) : AT_ONCE, seq: next.seq } : null);
  pair.version++;
  queue.save();
  addWaiting(env, space.ns, -gone);
  return 'ok';
}

/** Inside a write transaction: dead letters of these handlers back to the end of their queues. */
export function requeue(env: Embedded, seqs: readonly number[], units: readonly TriggerUnit[]): number[] {
  return seqs.filter(seq => {
    const failed = failedTurn(env, seq);
    const unit = failed && units.find(u => u.id === failed.feature);
    const space = unit && unitSpaceOf(env, 'on', unit);
    if (!space) return false;
    new Queue(env, space.ns, failed.key).push([failed.event]);
    addWaiting(env, space.ns, 1);
    return unbury(env, seq);
  });
}

/** Inside a write transaction: forgets ids of events that can only be late if they come again; true when there is more. */
export function forgetSeen(env: Embedded, unit: TriggerUnit, limit: number): boolean {
  const space = unitSpaceOf(env, 'on', unit);
  if (!space) return false;
  let more = false;
  unit.streams.forEach((stream, i) => {
    const { max, behind } = markOf(env, unitMarkName(space.ns, stream, 0)).admit;
    if (max === null || behind >= 0) return;
    const start = seenKey(space.ns, i, Number.NEGATIVE_INFINITY, '');
    const end = seenKey(space.ns, i, floorTo(max - unit.retention, HOUR), '');
    const old = [...env.seen.getKeys({ start, end, limit })];
    for (const k of old) {
      new Queue(env, space.ns, k.utf8Slice(10)).forget(i, readStart(k, 3));
      env.seen.removeSync(k);
    }
    more ||= old.length === limit;
  });
  return more;
}
