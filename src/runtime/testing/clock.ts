/**
 * A test's clock: it stands still until it is moved, so that awaits in a handler take no time and a run is the same every time.
 * Pauses end when they are nudged; one that nobody nudges (the code of the test hangs) lasts as long as it really does.
 */
import { type Clock, systemClock } from '../../lib/clock.ts';

/** The worker's looks at its queues and its log are shorter than this; what is longer is a time-out. */
const LOOK_MS = 100;

export class TestClock implements Clock {
  private time: number;
  /** Ends of pauses, and how long they are. */
  private readonly pauses = new Map<() => void, number>();
  private pending = 0;

  constructor(start: number) {
    this.time = start;
  }

  now(): number {
    return this.time;
  }

  /** Never back: time that handlers' retries took has passed. */
  reach(ms: number): void {
    this.time = Math.max(this.time, ms);
  }

  /** Handlers or on-demand code have not settled yet. */
  get busy(): boolean {
    return this.pending > 0;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise(resolve => {
      const over = new AbortController();
      const end = (): void => {
        if (!this.pauses.delete(end)) return;
        signal?.removeEventListener('abort', end);
        over.abort();
        resolve();
      };
      this.pauses.set(end, ms);
      signal?.addEventListener('abort', end, { once: true });
      void systemClock.sleep(ms, over.signal).then(end);
    });
  }

  /** Ends the worker's pauses between looks. */
  nudge(): void {
    for (const [end, ms] of [...this.pauses]) if (ms <= LOOK_MS) end();
  }

  /** The test's own code, counted while what it returned has not settled and nobody has given it up. */
  held<A extends unknown[], R>(code: (...args: A) => R, signalOf: (...args: A) => AbortSignal): (...args: A) => R {
    return (...args) => {
      const result = code(...args);
      if (result === null || typeof result !== 'object' || typeof (result as { then?: unknown }).then !== 'function') return result;
      this.pending++;
      const settled = (): void => {
        if (open) this.pending--;
        open = false;
      };
      let open = true;
      signalOf(...args).addEventListener('abort', settled, { once: true });
      (result as unknown as PromiseLike<unknown>).then(settled, settled);
      return result;
    };
  }
}
