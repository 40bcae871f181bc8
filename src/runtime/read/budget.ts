/** Waiting for something no longer than its time. */
import type { Clock } from '../../lib/clock.ts';

export type Outcome<T> = { done: true; value: T } | { done: false };

/** What a promise gives within `ms`, or that it did not. Rejects as it does; what it does afterwards concerns nobody. */
export function withBudget<T>(promise: PromiseLike<T>, ms: number, clock: Clock): Promise<Outcome<T>> {
  const over = new AbortController();
  return new Promise((resolve, reject) => {
    promise.then(
      value => {
        resolve({ done: true, value });
        over.abort();
      },
      (e: unknown) => {
        reject(e);
        over.abort();
      },
    );
    void clock.sleep(ms, over.signal).then(() => resolve({ done: false }), reject);
  });
}
