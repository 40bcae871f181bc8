/** What is compared: keys as the events carry them, at the instants where an engine is likeliest to be wrong. */
import { needs } from '../../engine/read.ts';
import { DAY, HOUR, MINUTE } from '../../lib/duration.ts';
import { floorTo } from '../../lib/time.ts';
import type { HistoryView } from '../../ports/offline-store.ts';
import { eventsOf } from '../../registry/meaning.ts';
import type { FoldFeaturePlan, Registry, WindowFeaturePlan } from '../../registry/types.ts';

/** Features with state that history can compute again: what is compared, or below it. */
export type Replayable = WindowFeaturePlan | FoldFeaturePlan;

export interface SampleRow {
  /** Key column -> text; columns that the sampled event did not carry are absent. */
  row: Record<string, string>;
  at: number;
}

/** Seeded, 32 bits of state (mulberry32): the same seed compares the same rows. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Distances after an event at which answers change, and the grids on which they jump. */
export interface Edges {
  after: number[];
  grids: number[];
}

export function edgesOf(registry: Registry, features: readonly Replayable[]): Edges {
  const after = new Set<number>();
  const grids = new Set([MINUTE, HOUR, DAY]);
  for (const f of features) {
    if (f.kind === 'fold') {
      if (f.ttl !== null && f.ttl > 0) after.add(f.ttl);
      continue;
    }
    const { frame } = f;
    if (frame.kind === 'over' || frame.kind === 'hopping') after.add(frame.w);
    if (frame.kind === 'tumbling') grids.add(frame.w);
    if (frame.kind === 'hopping') grids.add(frame.h);
    if (frame.kind === 'session') after.add(frame.gap);
    if (f.ttl !== null && (frame.kind === 'session' || frame.kind === 'lifetime')) after.add(f.ttl);
  }
  for (const s of Object.values(registry.streams)) after.add(s.lateness);
  return { after: [...after].sort((a, b) => a - b), grids: [...grids].sort((a, b) => a - b) };
}

interface Bounds {
  from: number;
  to: number;
  /** Least instant at which every feature can be read; null when any instant will do. */
  whole: number | null;
}

/** One instant around an event: most near it, so that there is something to compare; the others on the edges. */
export function instantNear(ts: number, edges: Edges, bounds: Bounds, rnd: () => number): number {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rnd() * list.length)]!;
  const off = () => Math.floor(rnd() * 3) - 1;
  const p = rnd();
  const first = edges.after[0] ?? MINUTE;
  if (bounds.whole !== null && p < 0.4) return Math.max(bounds.whole, ts) + Math.floor(rnd() * Math.max(1, bounds.to - bounds.whole + 2));
  if (p < 0.35) return ts + 1;
  if (p < 0.45) return ts + off();
  if (p < 0.65) return ts + Math.floor(rnd() * first);
  if (p < 0.8 && edges.after.length > 0) return ts + pick(edges.after) + off();
  if (p < 0.88) return floorTo(ts, pick(edges.grids)) + pick([0, 1]) * pick(edges.grids) + off();
  if (p < 0.92 && edges.after.length > 0) return floorTo(ts + pick(edges.after), pick(edges.grids)) + off();
  // After the last event values decay with time alone.
  if (p < 0.96) return bounds.to + 1 + Math.floor(rnd() * (edges.after.at(-1) ?? HOUR));
  return bounds.from + Math.floor(rnd() * (bounds.to - bounds.from + 1));
}

export interface SampleOptions {
  features: readonly Replayable[];
  /** Rows wanted. */
  rows: number;
  seed: number;
  bounds: Bounds;
  /** Compare these keys only: entity -> keys. */
  keys?: Record<string, string[][]>;
}

const INSTANTS_PER_EVENT = 4;
/** One row in this many asks keys that no event has. */
const STRANGERS = 100;

/** Event types that the features use, by stream. */
function typesOf(registry: Registry, features: readonly Replayable[]): { stream: string; type: string }[] {
  return [...new Set(features.flatMap(eventsOf))].map(id => registry.events[id]!);
}

/** Rows in random order, each once. Every event type gives its share, however rare. */
export async function sampleRows(view: HistoryView, registry: Registry, o: SampleOptions): Promise<SampleRow[]> {
  const rnd = random(o.seed);
  const edges = edgesOf(registry, o.features);
  const seeds = o.keys ? await givenKeys(view, registry, o) : await eventSeeds(view, registry, o);
  const found = new Map<string, SampleRow>();
  const add = (row: Record<string, string>, at: number) => {
    if (!Number.isSafeInteger(at)) return;
    found.set(`${at}\u0000${JSON.stringify(row)}`, { row, at });
  };
  // Few events: each is asked at more instants.
  const each = Math.max(INSTANTS_PER_EVENT, Math.min(2_000, Math.ceil((2 * o.rows) / Math.max(1, seeds.length))));
  for (const { ts, row } of seeds) for (let i = 0; i < each; i++) add(row, instantNear(ts, edges, o.bounds, rnd));
  if (!o.keys && found.size > 0) strangers(registry, o, seeds, add, rnd);
  return shuffle([...found.values()], rnd);
}

async function eventSeeds(view: HistoryView, registry: Registry, o: SampleOptions) {
  const types = typesOf(registry, o.features);
  const limit = Math.max(1, Math.ceil(o.rows / Math.max(1, types.length) / INSTANTS_PER_EVENT));
  const from = o.bounds.from;
  const lists = [];
  for (const { stream, type } of types)
    for (const spread of [false, true])
      lists.push(await view.sampleEvents(stream, type, { from, limit: spread ? Math.ceil(limit / 2) : limit, seed: o.seed + (spread ? 1 : 0), spread }));
  return lists.flat();
}

async function givenKeys(view: HistoryView, registry: Registry, o: SampleOptions) {
  const out: { ts: number; row: Record<string, string> }[] = [];
  for (const [entity, keys] of Object.entries(o.keys!))
    for (const key of keys) {
      const row = Object.fromEntries(registry.entities[entity]!.key.map((c, i) => [c, key[i]!]));
      const times = await view.timesOf(entity, key, Math.ceil(o.rows / INSTANTS_PER_EVENT), o.seed);
      for (const ts of times) out.push({ ts, row });
      if (times.length === 0) out.push({ ts: o.bounds.to, row });
    }
  return out;
}

function strangers(registry: Registry, o: SampleOptions, seeds: readonly { ts: number }[], add: (row: Record<string, string>, at: number) => void, rnd: () => number): void {
  const columns = [...new Set(o.features.flatMap(f => registry.entities[f.entity]!.key))];
  for (let i = 0; i < Math.ceil(o.rows / STRANGERS); i++) {
    const row = Object.fromEntries(columns.map(c => [c, `never-seen-${i}`]));
    add(row, seeds[Math.floor(rnd() * seeds.length)]!.ts + 1);
  }
}

function shuffle<T>(list: T[], rnd: () => number): T[] {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(rnd() * (i + 1));
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
  return list;
}

/** Features of the row that the store can answer: their keys are there, and their frame lies above the floor. */
export function askable(
  registry: Registry,
  features: readonly Replayable[],
  floors: ReadonlyMap<string, number>,
  { row, at }: SampleRow,
): { ask: Replayable[]; expired: Replayable[] } {
  const ask: Replayable[] = [];
  const expired: Replayable[] = [];
  for (const f of features) {
    if (registry.entities[f.entity]!.key.some(c => row[c] === undefined)) continue;
    const from = f.kind === 'window' ? needs(f.frame, at) : at;
    (from < (floors.get(f.id) ?? Number.NEGATIVE_INFINITY) ? expired : ask).push(f);
  }
  return { ask, expired };
}
