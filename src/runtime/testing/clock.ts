/**
 * A test's clock: it stands still while the test's own code runs (an `await` in a handler takes no time), and jumps to the next
 * thing due while the worker only waits. Where code hangs, pauses last as long as they really do.
 */
import { type Clock, systemClock } from '../../lib/clock.ts';

interface Sleeper {
  wake: number;
  end(): void;
}

/** The worker looks every 50 ms: a pause of an hour is a few hundred looks, and at most a twentieth too long. */
const STRIDE = 20;

export class TestClock implements Clock {
  private time: number;
  private readonly sleepers = new Set<Sleeper>();
  private jumping = false;
  /** Handlers and on-demand code that have not settled. */
  private running = 0;
  /** When something last happened: the longer nothing does, the longer are the jumps. */
  private quiet: number;

  constructor(start: number) {
    this.time = start;
    this.quiet = start;
  }

  now(): number {
    return this.time;
  }

  /** Never back: time that handlers' retries took has passed. */
  reach(ms: number): void {
    this.time = Math.max(this.time, ms);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise(resolve => {
      const over = new AbortController();
      const end = (): void => {
        if (!this.sleepers.delete(sleeper)) return;
        signal?.removeEventListener('abort', end);
        over.abort();
        resolve();
      };
      const sleeper: Sleeper = { wake: this.time + ms, end };
      this.sleepers.add(sleeper);
      signal?.addEventListener('abort', end, { once: true });
      void systemClock.sleep(ms, over.signal).then(end);
    });
  }

  /** Wraps the test's own code, so that time stands still until what it returned settles. */
  hold<A extends unknown[], R>(code: (...args: A) => R): (...args: A) => R {
    return (...args) => {
      this.quiet = this.time;
      const result = code(...args);
      if (result === null || typeof result !== 'object' || typeof (result as { then?: unknown }).then !== 'function') return result;
      this.running++;
      const settled = (): void => void this.running--;
      (result as unknown as PromiseLike<unknown>).then(settled, settled);
      return result;
    };
  }

  /** Runs the worker, say; pauses in it take no real time. */
  async jump<T>(action: () => Promise<T>): Promise<T> {
    this.jumping = true;
    this.quiet = this.time;
    void this.advance();
    try {
      return await action();
    } finally {
      this.jumping = false;
    }
  }

  private async advance(): Promise<void> {
    while (this.jumping) {
      // Two turns of the event loop: what has just been woken goes to sleep again, or on.
      await new Promise(setImmediate);
      await new Promise(setImmediate);
      if (this.running > 0) {
        await systemClock.sleep(1);
        continue;
      }
      const next = [...this.sleepers].reduce<Sleeper | null>((a, b) => (a && a.wake <= b.wake ? a : b), null);
      if (!next) continue;
      this.reach(next.wake + Math.floor((this.time - this.quiet) / STRIDE));
      next.end();
    }
  }
}
