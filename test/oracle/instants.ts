import type { FramePlan, Registry } from '../../src/registry/types.ts';
import { DAY, HOUR, MINUTE } from './build.ts';
import { floorTo } from './frames.ts';
import type { Log, Oracle } from './index.ts';

/** The sizes at which a frame's answer changes after an event, and the grids on which it jumps. */
function sizesOf(frame: FramePlan): { after: number[]; grids: number[] } {
  switch (frame.kind) {
    case 'over':
      return { after: [frame.w], grids: [] };
    case 'tumbling':
      return { after: [], grids: [frame.w] };
    case 'hopping':
      return { after: [frame.w], grids: [frame.h] };
    case 'session':
      return { after: [frame.gap], grids: [] };
    case 'lifetime':
      return { after: [], grids: [] };
  }
}

/**
 * Where an engine is likeliest to be wrong: at every event, at its leaving of every window, at gap and TTL ends, at the
 * edges of buckets, minutes, hours and days; each with the millisecond before and after. Sorted; with `limit`, that
 * many spread evenly.
 */
export function instants(log: Log, registry: Registry, limit = Number.POSITIVE_INFINITY): number[] {
  const after = new Set([0]);
  const grids = new Set([MINUTE, HOUR, DAY]);
  for (const feature of Object.values(registry.features)) {
    if (feature.kind !== 'window') continue;
    const sizes = sizesOf(feature.frame);
    for (const size of sizes.after) after.add(size);
    for (const grid of sizes.grids) grids.add(grid);
    if (feature.ttl !== null) after.add(feature.ttl);
  }
  const found = new Set<number>();
  const add = (t: number) => [t - 1, t, t + 1].forEach(x => found.add(x));
  const times = new Set(Object.values(log).flatMap(events => events.filter(e => !e.rejected).map(e => e.ts)));
  for (const ts of times) {
    for (const size of after) add(ts + size);
    for (const grid of grids) for (const k of [0, 1, 2]) add(floorTo(ts, grid) + k * grid);
    // A hop of `h` drops an event at the first edge at or after ts + w.
    for (const grid of grids) for (const size of after) if (size > 0) add(floorTo(ts + size, grid) + grid);
  }
  const sorted = [...found].sort((a, b) => a - b);
  if (sorted.length <= limit) return sorted;
  return Array.from({ length: limit }, (_, i) => sorted[Math.floor((i * sorted.length) / limit)] as number);
}

/** Every key of an entity that the log has, and one it has not. */
export function probeKeys(oracle: Oracle, entity: string): string[][] {
  const parts = oracle.registry.entities[entity]?.key.length ?? 1;
  return [...oracle.keys(entity), Array.from({ length: parts }, () => 'never-seen')];
}
