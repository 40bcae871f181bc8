import type { FoldReader, FoldWriter } from '../../src/engine/fold.ts';
import type { FoldCode, RoutedEvent } from '../../src/engine/units.ts';
import { compareUtf8 } from '../../src/lib/text.ts';

/** The records of one key in a Map, counting what is read: the engine's pure side without a store. */
export class FoldMemory implements FoldWriter {
  readonly hours = new Set<number>();
  /** Events' records that were read. */
  reads = 0;
  private readonly nodes = new Map<string, { level: number; start: number; bytes: Buffer }>();
  private snapshot: Buffer | undefined;

  count(level: number): number {
    return [...this.nodes.values()].filter(n => n.level === level).length;
  }
  get(level: number, start: number): Buffer | undefined {
    return this.nodes.get(`${level}/${start}`)?.bytes;
  }
  *range(level: number, from: number, to: number): Iterable<{ start: number; bytes: Buffer }> {
    for (const n of [...this.nodes.values()].filter(n => n.level === level && n.start >= from && n.start < to).sort((a, b) => a.start - b.start)) {
      if (level === 0) this.reads++;
      yield n;
    }
  }
  last(level: number, upTo: number): ReturnType<FoldReader['last']> {
    return [...this.range(level, Number.NEGATIVE_INFINITY, upTo + 1)].at(-1);
  }
  base(): Buffer | undefined {
    return this.snapshot;
  }
  put(level: number, start: number, bytes: Buffer): void {
    this.nodes.set(`${level}/${start}`, { level, start, bytes });
  }
  remove(level: number, start: number): void {
    this.nodes.delete(`${level}/${start}`);
  }
  putBase(bytes: Buffer): void {
    this.snapshot = bytes;
  }
  opened(hour: number): void {
    this.hours.add(hour);
  }
}

/** Value of a fold the plain way: all events below `at`, copies out, in order, one step after the other. */
export function foldOracle(code: FoldCode, entity: string, events: readonly RoutedEvent[], at: number): { value: unknown; ts: number } | { error: string; ts: number } | null {
  const first = new Map<string, RoutedEvent>();
  for (const e of events) {
    const name = JSON.stringify([e.stream, e.ts, e.id]);
    const other = first.get(name);
    if (!other || e.partition < other.partition || (e.partition === other.partition && e.offset < other.offset)) first.set(name, e);
  }
  const ordered = [...first.values()].filter(e => e.ts < at).sort((a, b) => a.ts - b.ts || compareUtf8(a.stream, b.stream) || compareUtf8(a.id, b.id));
  let state = structuredClone(code.initial);
  let ts: number | null = null;
  for (const e of ordered) {
    const event = { event_type: e.type, event_id: e.id, entity_id: entity, timestamp: e.ts, payload: JSON.parse(e.payload) as unknown };
    try {
      const parsed = code.state.safeParse(code.step(structuredClone(state), event));
      if (!parsed.success) continue;
      state = structuredClone(parsed.data);
      ts = e.ts;
    } catch {}
  }
  if (ts === null) return null;
  try {
    return { value: code.value ? code.value(structuredClone(state)) : state, ts };
  } catch (e) {
    return { error: (e as Error).message, ts };
  }
}
