/** What the samples of the templates share: lines of NDJSON and CSV, and picks from a seeded generator. */
import { type Random, random } from './random.ts';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export interface SampleFile {
  /** Path in the project. */
  path: string;
  text: string;
  /** Events in it, 0 for files that are no log. */
  events: number;
}

export class Picks {
  private readonly r: Random;

  constructor(seed: number) {
    this.r = random(seed);
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return this.r.below(n);
  }

  /** `from` to `to`, both in it. */
  between(from: number, to: number): number {
    return from + this.r.below(to - from + 1);
  }

  of<T>(list: readonly T[]): T {
    return list[this.r.below(list.length)]!;
  }

  /** True in `percent` of 100. */
  chance(percent: number): boolean {
    return this.r.below(100) < percent;
  }
}

export const padded = (n: number, digits: number): string => String(n).padStart(digits, '0');
export const cents = (n: number): number => n / 100;

/** Events in order of time, the order a live log would have. */
export function ndjson(path: string, events: readonly { timestamp: string }[]): SampleFile {
  const sorted = [...events].sort((a, b) => (a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : 0));
  return { path, text: sorted.map(e => `${JSON.stringify(e)}\n`).join(''), events: events.length };
}

export function csv(path: string, header: readonly string[], rows: readonly (readonly (string | number)[])[]): SampleFile {
  return { path, text: [header, ...rows].map(r => `${r.join(',')}\n`).join(''), events: 0 };
}
