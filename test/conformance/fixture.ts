/** A small registry and a log for it, and the way from events to commits, shared by the suites of all ports. */
import { z } from 'zod';
import { newAdmitState } from '../../src/engine/admit.ts';
import type { Decoder } from '../../src/engine/decode.ts';
import { compileGroups, type Group } from '../../src/engine/group.ts';
import { Router } from '../../src/engine/route.ts';
import type { DecodedEvent } from '../../src/engine/values.ts';
import type { CommitBatch, CommitResult, Lease, Mark, OnlineStore } from '../../src/ports/online-store.ts';
import type { Registry, WindowFeaturePlan } from '../../src/registry/types.ts';
import { type Pipeline, prepare } from '../../src/runtime/batch.ts';
import { FeatureReader } from '../../src/runtime/reader.ts';
import { column, DAY, entityPlan, eventPlan, featurePlan, HOUR, MINUTE, of, registry, streamPlan } from '../oracle/build.ts';

export const STREAM = 'log';
export const T0 = Date.parse('2025-03-01T00:00:00Z');

const who = column('who', 'string');
const room = column('room', 'string');
const price = column('price', 'decimal', 2);
const events = ['buy', 'look'];

const features: WindowFeaturePlan[] = [
  featurePlan('user', 'n_1d', { op: 'count', stream: STREAM, events }, { kind: 'over', w: DAY }),
  featurePlan('user', 'spent_6h', { op: 'sum', stream: STREAM, events: ['buy'], column: of(price) }, { kind: 'over', w: 6 * HOUR }),
  featurePlan('user', 'rooms', { op: 'lastN', stream: STREAM, events, column: of(room), n: 3 }, { kind: 'over', w: DAY }),
  featurePlan('user', 'ever', { op: 'count', stream: STREAM, events }, { kind: 'lifetime' }),
  featurePlan('user', 'visit', { op: 'count', stream: STREAM, events }, { kind: 'session', gap: 30 * MINUTE }),
  featurePlan('place', 'n_1d', { op: 'count', stream: STREAM, events }, { kind: 'over', w: DAY }),
  featurePlan('place', 'last_price', { op: 'last', stream: STREAM, events: ['buy'], column: of(price) }, { kind: 'over', w: DAY }),
];

const withFeatures = (list: WindowFeaturePlan[], rules: { lateness?: number } = {}): Registry =>
  registry({
    entities: [entityPlan('user', ['who']), entityPlan('place', ['who', 'room'])],
    streams: [streamPlan(STREAM, { lateness: 10 * MINUTE, ...rules, decode: `decode-${rules.lateness ?? ''}` })],
    events: events.map(e => eventPlan(STREAM, e, [who, room, price])),
    features: list,
  });

export const REGISTRY = withFeatures(features);
/** Without the composite entity. */
export const USERS_ONLY = withFeatures(features.filter(f => f.entity === 'user'));
/** Judges the same log otherwise. */
export const STRICTER = withFeatures(features, { lateness: MINUTE });

const schema = z.object({ who: z.string().nullish(), room: z.string().nullish(), price: z.number().nullish() });
export const CODE = {
  schemas: new Map(events.map(e => [`${STREAM}/${e}`, schema])),
  derives: new Map(),
  folds: new Map(),
  handlers: new Map(),
  types: new Map(),
  addresses: new Map(),
};

export const groupsOf = (r: Registry): Group[] => [...compileGroups(r).groups.values()];
export const readerOf = (online: OnlineStore, r: Registry): FeatureReader => new FeatureReader({ online }, r, CODE);

export interface Fact {
  ts: number;
  id?: string;
  type?: string;
  who?: string | null;
  room?: string | null;
  /** In cents. */
  price?: number | null;
}

/** A fact as the log holds it. */
export const bytesOf = (f: Fact, i: number): Buffer =>
  Buffer.from(
    JSON.stringify({
      event_id: f.id ?? `e${i}`,
      event_ts: new Date(f.ts).toISOString(),
      event_type: f.type ?? 'look',
      who: f.who ?? null,
      room: f.room ?? null,
      price: f.price == null ? null : f.price / 100,
    }),
  );

/** Facts hourly over days, with ties, disorder and repeats: `n` of them. */
export function days(n: number, step = HOUR): Fact[] {
  return Array.from({ length: n }, (_, i) => ({
    ts: T0 + i * step - (i % 5 === 3 ? 4 * MINUTE : 0),
    type: i % 3 === 0 ? 'buy' : 'look',
    who: `u${i % 4}`,
    room: `r${i % 7}`,
    price: 100 + i,
  }));
}

/** Commits facts as a worker does. */
export class Driver {
  readonly online: OnlineStore;
  readonly facts: readonly Fact[];
  mark: Mark = { next: 0, admit: newAdmitState() };
  private readonly registry: Registry;

  constructor(online: OnlineStore, r: Registry, facts: readonly Fact[]) {
    this.online = online;
    this.registry = r;
    this.facts = facts;
  }

  private event(offset: number): DecodedEvent {
    const f = this.facts[offset]!;
    const columns = { who: f.who ?? null, room: f.room ?? null, price: f.price ?? null };
    return { p: 0, o: offset, appended: T0 + 1_000 * DAY, ts: f.ts, id: f.id ?? `e${offset}`, type: f.type ?? 'look', columns };
  }

  /** Facts `[mark, to)` in one commit; options break the rules on purpose. */
  async commit(lease: Lease, to: number, options: { groups?: Group[]; live?: boolean; expect?: number; from?: Mark; more?: Partial<CommitBatch> } = {}): Promise<CommitResult> {
    const from = options.from ?? this.mark;
    const groups = options.groups ?? groupsOf(this.registry);
    const decoder = {
      decode: (r: { offset: number }) => (this.facts[r.offset]!.type === 'broken' ? { ok: false, reason: 'broken' } : { ok: true, event: this.event(r.offset), columns: null }),
    };
    const pipe: Pipeline = { plan: this.registry.streams[STREAM]!, decoder: decoder as unknown as Decoder, router: new Router(groups), declared: new Set(events) };
    const records = Array.from({ length: to - from.next }, (_, i) => ({
      offset: from.next + i,
      appended: T0,
      id: null,
      bytes: bytesOf(this.facts[from.next + i]!, from.next + i),
    }));
    const p = prepare(pipe, 0, records, from);
    const live = options.live ?? true;
    const result = await this.online.commit({
      stream: STREAM,
      partition: 0,
      lease,
      expect: options.expect ?? from.next,
      mark: p.mark,
      groups,
      live,
      updates: p.updates,
      dead: live ? p.dead : [],
      count: () => p.count(),
      ...options.more,
    });
    if (result.status === 'ok') this.mark = p.mark;
    return result;
  }

  async all(lease: Lease, batch = 16): Promise<void> {
    while (this.mark.next < this.facts.length) {
      const result = await this.commit(lease, Math.min(this.facts.length, this.mark.next + batch));
      if (result.status !== 'ok') throw new Error(JSON.stringify(result));
    }
  }
}
