/**
 * Fold state of one key: a value stepped by events in `(ts, stream, id)` order, whatever order they came in. Kept are the events
 * behind a snapshot, the state after the newest (the head, so that an event in order costs one step and a read of now none), and
 * a checkpoint every {@link EVERY} events, so that one out of order, or a read of the past, does not step through all of them.
 *
 *   events:     level 0, one record per instant
 *   checkpoint: level 1, state of all events before its start
 *   head:       level 2, state of all events
 *   base:       the snapshot, state of all events below `at`; they are gone
 */
import { HOUR } from '../lib/duration.ts';
import { compareUtf8, splitKey } from '../lib/text.ts';
import { floorTo } from '../lib/time.ts';
import { decodePayload, encodePayload } from './payload.ts';
import type { FoldCode, FoldUnit, RoutedEvent } from './units.ts';

const EVENTS = 0;
const CHECKS = 1;
const HEAD = 2;
/** Events between checkpoints. */
const EVERY = 128;

/** The records of one key, all reads from one snapshot. */
export interface FoldReader {
  get(level: number, start: number): Buffer | undefined;
  /** Existing records of a level with `from <= start < to`, ascending. */
  range(level: number, from: number, to: number): Iterable<{ start: number; bytes: Buffer }>;
  /** The last record of a level with `start <= upTo`. */
  last(level: number, upTo: number): { start: number; bytes: Buffer } | undefined;
  base(): Buffer | undefined;
}
export interface FoldWriter extends FoldReader {
  put(level: number, start: number, bytes: Buffer): void;
  remove(level: number, start: number): void;
  putBase(bytes: Buffer): void;
  /** Called when a key gets events in an hour: the index of what to settle. */
  opened(hour: number): void;
}

/** What a step needs of an event. */
export type FoldEvent = Pick<RoutedEvent, 'ts' | 'id' | 'type' | 'payload'>;
export type FoldValue = { value: unknown; ts: number } | { error: string; ts: number } | null;
type Coded = Pick<FoldUnit, 'code' | 'keyColumns'>;

/** State as text, so that nothing done to it in place lasts; `ts` of the newest event that changed it, null before the first. */
interface FoldState {
  text: string;
  ts: number | null;
}

/** Steps through events that are given in order: the one way a fold's value comes about, online and over history. */
export class FoldRun {
  private readonly code: FoldCode;
  private readonly entity: string;
  private state: FoldState;

  /** @param key storage key of the entity, as {@link splitKey} takes it. */
  constructor(unit: Coded, key: string, from?: FoldState) {
    if (!unit.code) throw new Error('a fold without its code cannot be stepped');
    this.code = unit.code;
    this.entity = splitKey(key, unit.keyColumns.length).join(',');
    this.state = from ?? { text: initialOf(unit.code), ts: null };
  }

  /** False when the step threw or its state does not fit: then the event changes nothing. */
  apply(event: FoldEvent): boolean {
    const input = { event_type: event.type, event_id: event.id, entity_id: this.entity, timestamp: event.ts, payload: decodePayload(event.payload) };
    try {
      const result = this.code.state.safeParse(this.code.step(decodePayload(this.state.text), input));
      const text = result.success ? encodePayload(result.data) : undefined;
      if (text === undefined) return false;
      this.state = { text, ts: event.ts };
      return true;
    } catch {
      return false;
    }
  }

  /** Null before the first event. */
  value(): FoldValue {
    const { text, ts } = this.state;
    if (ts === null) return null;
    try {
      const state = decodePayload(text);
      return { value: this.code.value ? this.code.value(state) : state, ts };
    } catch (e) {
      return { error: e instanceof Error ? e.message : String(e), ts };
    }
  }

  now(): FoldState {
    return this.state;
  }
}

const initials = new WeakMap<FoldCode, string>();
function initialOf(code: FoldCode): string {
  let text = initials.get(code);
  if (text === undefined) {
    const parsed = code.state.safeParse(code.initial);
    initials.set(code, (text = encodePayload(parsed.success ? parsed.data : code.initial)));
  }
  return text;
}

/** An event as it is kept: stream, partition, offset, id, type, payload; its time is its record's. */
type Kept = [stream: string, partition: number, offset: number, id: string, type: string, payload: string];

interface Place {
  ts: number;
  stream: string;
  id: string;
}
interface Head extends FoldState {
  last: Place;
  /** Events since the last checkpoint. */
  since: number;
}
interface Snapshot extends FoldState {
  /** All events below it are in. */
  at: number;
  /** Newest of them. */
  last: number;
}

/** Order in which events count. */
export const compareEvents = (a: Place, b: Place): number => a.ts - b.ts || compareUtf8(a.stream, b.stream) || compareUtf8(a.id, b.id);

const encode = (v: unknown): Buffer => Buffer.from(JSON.stringify(v), 'utf8');
const decode = <T>(bytes: Buffer | undefined): T | undefined => (bytes === undefined ? undefined : (JSON.parse(bytes.toString('utf8')) as T));
const headOf = (nodes: FoldReader): Head | undefined => decode<Head>(nodes.get(HEAD, 0));
const snapshotOf = (nodes: FoldReader): Snapshot | undefined => decode<Snapshot>(nodes.base());

/**
 * Adds events of one key and sets `applied` on each: false for one with the same stream, time and id as another.
 * @param every events between checkpoints; tests make it small, so that short logs have some.
 */
export function putFold(unit: Coded, key: string, nodes: FoldWriter, events: readonly RoutedEvent[], every = EVERY): void {
  const head = headOf(nodes);
  const fresh = insert(nodes, events, head);
  if (fresh.length === 0) return;
  const inOrder = head !== undefined && fresh.every(e => compareEvents(e, head.last) > 0);
  if (unit.code === null) {
    // Only bytes are moved here: the next one who has the code steps through what is there.
    forgetAfter(nodes, Math.min(...fresh.map(e => e.ts)));
    nodes.remove(HEAD, 0);
    return;
  }
  if (inOrder) stepOn({ unit, key, nodes, every }, head, fresh.sort(compareEvents));
  else restep({ unit, key, nodes, every }, Math.min(...fresh.map(e => e.ts)));
}

/** Events that change something: new ones, and those that take the place of a copy with a higher offset. */
function insert(nodes: FoldWriter, events: readonly RoutedEvent[], head: Head | undefined): RoutedEvent[] {
  const byTime = new Map<number, RoutedEvent[]>();
  for (const e of events) {
    const list = byTime.get(e.ts);
    if (list) list.push(e);
    else byTime.set(e.ts, [e]);
  }
  const settled = head && events.every(e => e.ts > head.last.ts) ? Number.NEGATIVE_INFINITY : (snapshotOf(nodes)?.at ?? Number.NEGATIVE_INFINITY);
  const fresh: RoutedEvent[] = [];
  const hours = new Set<number>();
  for (const [ts, list] of byTime) {
    for (const e of list) e.applied = false;
    // Below the snapshot nothing on time can arrive any more, and whether it is a copy is not known.
    if (ts < settled) continue;
    if (insertAt(nodes, ts, list, fresh)) hours.add(floorTo(ts, HOUR));
  }
  for (const hour of hours) if (!head || hour !== floorTo(head.last.ts, HOUR)) nodes.opened(hour);
  return fresh;
}

function insertAt(nodes: FoldWriter, ts: number, events: readonly RoutedEvent[], fresh: RoutedEvent[]): boolean {
  const kept = decode<Kept[]>(nodes.get(EVENTS, ts)) ?? [];
  const places = new Map(kept.map((k, i) => [`${k[0]}\0${k[3]}`, i]));
  const before = fresh.length;
  for (const e of events) {
    const one: Kept = [e.stream, e.partition, e.offset, e.id, e.type, e.payload];
    const identity = `${e.stream}\0${e.id}`;
    const at = places.get(identity);
    if (at === undefined) {
      places.set(identity, kept.push(one) - 1);
      e.applied = true;
      fresh.push(e);
    } else if (kept[at]![1] > e.partition || (kept[at]![1] === e.partition && kept[at]![2] > e.offset)) {
      kept[at] = one;
      fresh.push(e);
    }
  }
  if (fresh.length === before) return false;
  if (kept.length > 1) kept.sort((a, b) => compareUtf8(a[0], b[0]) || compareUtf8(a[3], b[3]));
  nodes.put(EVENTS, ts, encode(kept));
  return true;
}

interface Stepping {
  unit: Coded;
  key: string;
  nodes: FoldWriter;
  every: number;
}

/** Steps from the head (or a state with nothing behind it) through later events, in order. */
function stepOn({ unit, key, nodes, every }: Stepping, head: Head | Omit<Head, 'last'>, events: Iterable<FoldEvent & Place>): void {
  const run = new FoldRun(unit, key, { text: head.text, ts: head.ts });
  let { since } = head;
  let last: Place | null = 'last' in head ? head.last : null;
  for (const e of events) {
    if (since >= every && last !== null && e.ts > last.ts) {
      nodes.put(CHECKS, e.ts, encode(run.now()));
      since = 0;
    }
    run.apply(e);
    since++;
    last = { ts: e.ts, stream: e.stream, id: e.id };
  }
  if (last) nodes.put(HEAD, 0, encode({ ...run.now(), last, since } satisfies Head));
}

/** Steps again through all that may have changed: events from `ts` on. */
function restep(stepping: Stepping, ts: number): void {
  const { unit, nodes } = stepping;
  forgetAfter(nodes, ts);
  const { state, from } = stateAt(unit, nodes, ts);
  stepOn(stepping, { ...state, since: 0 }, [...eventsIn(nodes, from, Number.POSITIVE_INFINITY)]);
}

function forgetAfter(nodes: FoldWriter, ts: number): void {
  for (const { start } of [...nodes.range(CHECKS, ts + 1, Number.POSITIVE_INFINITY)]) nodes.remove(CHECKS, start);
}

/** The nearest state that is kept at or before an instant, and from when on events are not in it. */
function stateAt(unit: Coded, nodes: FoldReader, ts: number): { state: FoldState; from: number } {
  const check = nodes.last(CHECKS, ts);
  if (check) return { state: decode<FoldState>(check.bytes)!, from: check.start };
  const snapshot = snapshotOf(nodes);
  if (snapshot) return { state: { text: snapshot.text, ts: snapshot.ts }, from: snapshot.at };
  return { state: { text: initialOf(unit.code!), ts: null }, from: Number.NEGATIVE_INFINITY };
}

function* eventsIn(nodes: FoldReader, from: number, to: number): Iterable<FoldEvent & Place> {
  for (const { start, bytes } of nodes.range(EVENTS, from, to))
    for (const [stream, , , id, type, payload] of decode<Kept[]>(bytes)!) yield { ts: start, stream, id, type, payload };
}

/**
 * Value of a fold at `at`: events with `ts < at`. `floor` is given when that is below what is kept: instants under it are not
 * known any more.
 */
export function readFold(unit: Coded, key: string, nodes: FoldReader, at: number): { state: FoldValue; floor: number | null } {
  const head = headOf(nodes);
  if (head && head.last.ts < at) return { state: new FoldRun(unit, key, head).value(), floor: null };
  const snapshot = snapshotOf(nodes);
  if (snapshot && at <= snapshot.last) return { state: null, floor: snapshot.last + 1 };
  const { state, from } = stateAt(unit, nodes, at);
  const run = new FoldRun(unit, key, state);
  for (const e of eventsIn(nodes, from, at)) run.apply(e);
  return { state: run.value(), floor: null };
}

/** Folds the events below `below` into the snapshot and drops them. */
export function settleFold(unit: Coded, key: string, nodes: FoldWriter, below: number): void {
  const newest = nodes.last(EVENTS, below - 1);
  if (!newest) return;
  const { state, from } = stateAt(unit, nodes, below);
  const run = new FoldRun(unit, key, state);
  for (const e of eventsIn(nodes, from, below)) run.apply(e);
  nodes.putBase(encode({ ...run.now(), at: below, last: newest.start } satisfies Snapshot));
  for (const level of [EVENTS, CHECKS]) for (const { start } of [...nodes.range(level, Number.NEGATIVE_INFINITY, level === CHECKS ? below + 1 : below)]) nodes.remove(level, start);
}
