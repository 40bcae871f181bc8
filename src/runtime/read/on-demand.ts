/** Calls of derived code at a read: a time budget each, results used again for a while, concurrent misses computed once. */
import type { Cell } from '../../engine/values.ts';
import { defaultOf } from '../../engine/cells.ts';
import { encodePayload } from '../../engine/payload.ts';
import type { Clock } from '../../lib/clock.ts';
import { joinKey } from '../../lib/text.ts';
import { type Caller, cellOf, type DeriveCall, failed, isPromise } from '../derive.ts';
import { withBudget } from './budget.ts';
import { DeriveCache } from './cache.ts';
import type { Watch } from './watch.ts';

export class OnDemand {
  private readonly clock: Clock;
  private readonly watch: Watch;
  private readonly cache: DeriveCache | null;

  /** `cache: false` computes every time, as history wants it. */
  constructor(options: { clock: Clock; watch: Watch; cache?: boolean }) {
    this.clock = options.clock;
    this.watch = options.watch;
    this.cache = options.cache === false ? null : new DeriveCache(options.clock);
  }

  readonly call: Caller = call => {
    const { id, cache: ttl, entity } = call.step.plan;
    if (ttl === null || this.cache === null) return this.compute(call);
    const key = callKey(call);
    if (key === null) return this.compute(call);
    const known = this.cache.get(key, call.at, ttl);
    this.watch.count(id, known === undefined ? 'cache_miss' : 'cache_hit');
    return known ?? this.cache.put(key, `${entity}\u0000${joinKey(call.step.own.map(c => call.keys[c] ?? ''))}`, call.at, ttl, this.compute(call));
  };

  /** Forgets what was computed for a key of an entity; a computation that is on its way is not kept either. */
  drop(entity: string, key: string): number {
    return this.cache?.drop(`${entity}\u0000${key}`) ?? 0;
  }

  private compute({ step: { plan }, code, inputs, request, keys, at, ts: newest }: DeriveCall): Cell | Promise<Cell> {
    // A value that is kept and made of nothing with a time of its own is as old as its making.
    const ts = newest ?? (plan.cache === null ? null : at);
    // Made when the code asks for it: most code does not, and then it costs nothing.
    let stop: AbortController | null = null;
    let over: DOMException | null = null;
    const fail = (e: unknown): Cell => {
      const cell = failed(plan, e, ts);
      this.watch.failed(plan.id, cell.detail ?? cell.reason!);
      return cell;
    };
    try {
      const context = {
        request,
        now: at,
        keys,
        get signal(): AbortSignal {
          stop ??= new AbortController();
          if (over !== null) stop.abort(over);
          return stop.signal;
        },
      };
      const result = code.compute(inputs, context);
      if (!isPromise(result)) return cellOf(plan, result, ts);
      return withBudget(result, plan.timeout, this.clock).then(outcome => {
        if (outcome.done) return cellOf(plan, outcome.value, ts);
        this.watch.count(plan.id, 'timeout');
        over = new DOMException(`${plan.id} has had its ${plan.timeout} ms`, 'TimeoutError');
        stop?.abort(over);
        return { value: defaultOf(plan), status: 'DEFAULTED', ts: null, reason: 'timeout' };
      }, fail);
    } catch (e) {
      return fail(e);
    }
  }
}

/** What a result depends on; null when that has no text. */
function callKey({ step, keys, inputs, request }: DeriveCall): string | null {
  if (!hasText(inputs) || !hasText(request)) return null;
  try {
    return `${step.plan.id}\u0000${joinKey(step.columns.map(c => keys[c] ?? ''))}\u0000${encodePayload([inputs, request])}`;
  } catch {
    return null;
  }
}

/** Whether JSON tells it from others: a Set or an instance of a class comes out as `{}`, not-a-number as null. */
function hasText(v: unknown): boolean {
  if (typeof v === 'number') return Number.isFinite(v);
  if (v === null || typeof v !== 'object') return typeof v !== 'function' && typeof v !== 'symbol';
  if (Array.isArray(v)) return v.every(hasText);
  if (v instanceof Date) return true;
  const proto = Object.getPrototypeOf(v) as object | null;
  return (proto === null || Object.getPrototypeOf(proto) === null) && Object.values(v).every(hasText);
}
