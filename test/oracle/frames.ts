import type { DecodedEvent } from '../../src/engine/values.ts';
import type { FramePlan } from '../../src/registry/types.ts';

/** `[from, to)`. */
export interface Frame {
  from: number;
  to: number;
}

/** Towards minus infinity, aligned to the epoch. */
export function floorTo(t: number, step: number): number {
  return Math.floor(t / step) * step;
}

/** Index of the first event at or after `t` in a list sorted by time. */
export function firstAt(events: DecodedEvent[], t: number): number {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((events[middle] as DecodedEvent).ts < t) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function within(events: DecodedEvent[], frame: Frame): DecodedEvent[] {
  return events.slice(firstAt(events, frame.from), firstAt(events, frame.to));
}

/** `own`: the accepted events of the feature's event types for the key, filter not applied, sorted by time. */
export function frameAt(frame: FramePlan, T: number, own: DecodedEvent[]): Frame {
  switch (frame.kind) {
    case 'over':
      return { from: T - frame.w, to: T };
    case 'tumbling': {
      const start = floorTo(T, frame.w);
      return frame.previous ? { from: start - frame.w, to: start } : { from: start, to: T };
    }
    case 'hopping': {
      const end = floorTo(T, frame.h);
      return { from: end - frame.w, to: end };
    }
    case 'lifetime':
      return { from: Number.NEGATIVE_INFINITY, to: T };
    case 'session':
      return { from: newestSessionStart(own, T, frame.gap), to: T };
  }
}

function newestSessionStart(own: DecodedEvent[], T: number, gap: number): number {
  let i = firstAt(own, T) - 1;
  if (i < 0) return T;
  const ts = (at: number) => (own[at] as DecodedEvent).ts;
  while (i > 0 && ts(i) - ts(i - 1) <= gap) i -= 1;
  return ts(i);
}
