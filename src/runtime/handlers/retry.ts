/** When a handler's turn is tried again after a failure, or that it is not. */
import type { TriggerUnit } from '../../engine/units.ts';
import { parseDuration } from '../../lib/duration.ts';

/** Epoch ms of the next attempt, null when there is none. `attempts` counts the one that failed. */
export function retryAt(error: unknown, attempts: number, retries: TriggerUnit['retries'], now: number): number | null {
  if (named(error, 'NonRetriableError') || attempts > retries.max) return null;
  const asked = named(error, 'RetryAfterError') ? askedFor((error as { after?: unknown }).after, now) : null;
  if (asked !== null) return asked;
  const { backoff, delay, maxDelay } = retries;
  return now + Math.min(maxDelay, backoff === 'fixed' ? delay : delay * 2 ** (attempts - 1));
}

/** By name: a project may have a copy of fabra of its own, whose classes are not ours. */
function named(error: unknown, name: string): boolean {
  if (!(error instanceof Error)) return false;
  if (error.name === name) return true;
  for (let at = Object.getPrototypeOf(error) as object | null; at !== null; at = Object.getPrototypeOf(at) as object | null) if (at.constructor?.name === name) return true;
  return false;
}

/** A time that cannot be read is none: the ordinary pause applies. */
function askedFor(after: unknown, now: number): number | null {
  if (Object.prototype.toString.call(after) === '[object Date]') {
    const at = (after as Date).getTime();
    return Number.isFinite(at) ? Math.max(at, now) : null;
  }
  try {
    return now + parseDuration(after as string);
  } catch {
    return null;
  }
}

/** What a dead letter says of an error: its class when it says more than Error, and its message. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return `threw ${String(error)}`;
  const { code } = error as { code?: unknown };
  const what = typeof code === 'string' ? code : error.name;
  return what === 'Error' || what === '' ? error.message || 'an error without a message' : `${what}: ${error.message}`;
}
