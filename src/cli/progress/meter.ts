/** Rate and time left from what was done when: over the last seconds, so that a pause shows. */
export interface Reading {
  done: number;
  total: number | null;
  /** Per second. */
  rate: number;
  /** Milliseconds, null when nobody can tell. */
  left: number | null;
}

const WINDOW_MS = 5_000;

export class Meter {
  private readonly samples: { at: number; done: number }[] = [];
  private total: number | null = null;

  /** `at` in milliseconds of any steady clock. */
  add(at: number, done: number, total: number | null = null): void {
    this.total = total;
    this.samples.push({ at, done });
    while (this.samples.length > 2 && at - this.samples[1]!.at >= WINDOW_MS) this.samples.shift();
  }

  read(): Reading {
    const first = this.samples[0];
    const last = this.samples[this.samples.length - 1];
    if (!first || !last) return { done: 0, total: this.total, rate: 0, left: null };
    const seconds = (last.at - first.at) / 1000;
    const rate = seconds > 0 ? Math.max(0, (last.done - first.done) / seconds) : 0;
    const left = this.total !== null && rate > 0 ? (Math.max(0, this.total - last.done) / rate) * 1000 : null;
    return { done: last.done, total: this.total, rate, left };
  }
}
