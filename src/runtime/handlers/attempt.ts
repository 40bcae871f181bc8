/** One attempt of a handler at one event: what it is given, how long it may take, and what comes of it. */
import { revive } from '../../engine/cells.ts';
import type { Schema } from '../../engine/decode.ts';
import { decodePayload } from '../../engine/payload.ts';
import type { TableRow, TableUnit, TriggerUnit } from '../../engine/units.ts';
import type { Cell } from '../../engine/values.ts';
import type { Clock } from '../../lib/clock.ts';
import { FabraError } from '../../lib/errors.ts';
import { canonicalJson } from '../../lib/json.ts';
import { splitKey } from '../../lib/text.ts';
import type { RowPut, Turn } from '../../ports/online-store.ts';
import type { OnFeaturePlan, Registry, TableFeaturePlan } from '../../registry/types.ts';
import type { HandlerCode, RuntimeCode } from '../project.ts';
import { featureOf, keyFrom } from '../reader.ts';
import { keysOf } from './keys.ts';

/** What attempts of all handlers share. */
export interface AttemptParts {
  registry: Registry;
  code: RuntimeCode;
  tables: ReadonlyMap<string, TableUnit>;
  clock: Clock;
  /** A feature's value now. */
  read(feature: string, keys: Record<string, string>): Promise<Cell>;
  /** Attempts on their way, to be stopped with the worker. */
  running: Set<AbortController>;
}

export interface Attempted {
  unit: TriggerUnit;
  key: string;
  turn: Turn;
  /** The feature's newest row, with what earlier turns of the same pair made of it. */
  current: TableRow | null;
  /** Before a `get`: what the pair has done so far is committed, so that it is seen. */
  settle(): Promise<void>;
}

export type AttemptEnd =
  | { status: 'done'; row: TableRow | null; puts: RowPut[]; updated: string[] }
  | { status: 'failed'; error: unknown }
  /** The worker stops, or the pair changed under it: as if it had not been tried. */
  | { status: 'dropped' };

/** Reason of an abort that is no failure. */
export const STOPPED = Symbol('the worker stops');
/** Thrown out of `get` when the pair changed meanwhile. */
export const CONFLICT = Symbol('the pair changed');

export async function attempt(parts: AttemptParts, asked: Attempted): Promise<AttemptEnd> {
  const { unit, turn } = asked;
  const handler = parts.code.handlers.get(unit.id)!;
  const abort = new AbortController();
  const context = new Context(parts, asked, abort.signal);
  parts.running.add(abort);
  try {
    const given = handler.handle(context.given());
    const value = isThenable(given) ? await inTime(given, unit, parts.clock, abort) : given;
    if (context.conflict) return { status: 'dropped' };
    const row = rowOf(unit, handler, value, turn, context.took ? asked.current : null);
    return { status: 'done', row, puts: context.puts, updated: [...(row ? [unit.id] : []), ...context.updated] };
  } catch (error) {
    return error === STOPPED || context.conflict ? { status: 'dropped' } : { status: 'failed', error };
  } finally {
    context.over = true;
    parts.running.delete(abort);
  }
}

const isThenable = (v: unknown): v is PromiseLike<unknown> => v !== null && typeof v === 'object' && typeof (v as { then?: unknown }).then === 'function';

/** Settles as the work does, or fails when the signal is aborted: by its own time or by the worker's end. */
function inTime<T>(work: PromiseLike<T>, unit: TriggerUnit, clock: Clock, abort: AbortController): Promise<T> {
  const done = new AbortController();
  return new Promise<T>((resolve, reject) => {
    abort.signal.addEventListener('abort', () => reject(abort.signal.reason), { once: true });
    work.then(resolve, reject);
    void clock.sleep(unit.timeout, done.signal).then(() => {
      if (!done.signal.aborted) abort.abort(new FabraError('TIMEOUT', `the handler took more than ${unit.timeout} ms`, { hint: 'Give it more: on(…, { timeout }).' }));
    });
  }).finally(() => done.abort());
}

/** The row that an event's turn records; null when its value stays as it is. */
function rowOf(unit: TriggerUnit, handler: HandlerCode, value: unknown, turn: Turn, built: TableRow | null): TableRow | null {
  if (value === undefined) return null;
  const problem = value === null ? null : misfit(handler.type, value);
  if (problem !== null) throw new FabraError('BAD_VALUE', `${unit.id}: what the handler returned does not fit its type: ${problem}`);
  const ts = built ? Math.max(turn.event.ts, built.ts) : turn.event.ts;
  return { eff: ts, ts, created: turn.seq, text: canonicalJson([value]), gone: false };
}

function misfit(type: Schema | undefined, value: unknown): string | null {
  const result = type?.safeParse(value);
  if (result?.success === false) {
    const [issue] = result.error.issues;
    return issue ? [...issue.path.map(String), issue.message].join(': ') : 'it is refused';
  }
  return unwritable(value);
}

/** Values are kept as JSON: what it cannot say is refused, not bent. */
function unwritable(v: unknown): string | null {
  if (v === null || typeof v === 'string' || typeof v === 'boolean' || typeof v === 'bigint') return null;
  if (typeof v === 'number') return Number.isFinite(v) ? null : `${v} is not a finite number`;
  if (Array.isArray(v)) return v.map(unwritable).find(p => p !== null) ?? null;
  if (typeof v !== 'object') return `a ${typeof v} is no JSON`;
  const proto = Object.getPrototypeOf(v) as object | null;
  if (proto !== null && Object.getPrototypeOf(proto) !== null) return `a ${proto.constructor.name} is no JSON`;
  return (
    Object.values(v)
      .filter(x => x !== undefined)
      .map(unwritable)
      .find(p => p !== null) ?? null
  );
}

interface Named {
  name: string;
  entity: { name: string };
}

class Context {
  took = false;
  over = false;
  conflict = false;
  readonly puts: RowPut[] = [];
  readonly updated: string[] = [];
  private readonly parts: AttemptParts;
  private readonly asked: Attempted;
  private readonly signal: AbortSignal;
  private readonly key: Readonly<Record<string, string>>;
  private readonly payload: unknown;

  constructor(parts: AttemptParts, asked: Attempted, signal: AbortSignal) {
    this.parts = parts;
    this.asked = asked;
    this.signal = signal;
    const { keyColumns } = asked.unit;
    const values = splitKey(asked.key, keyColumns.length);
    this.key = Object.freeze(Object.fromEntries(keyColumns.map((c, i) => [c, values[i]!])));
    this.payload = decodePayload(asked.turn.event.payload);
  }

  /** What the handler sees. */
  given(): object {
    const { turn } = this.asked;
    const { type, id, ts } = turn.event;
    const current = () => this.current();
    return {
      event: { event_type: type, event_id: id, entity_id: Object.values(this.key).join(','), timestamp: ts, payload: this.payload },
      key: this.key,
      get current() {
        return current();
      },
      attempt: turn.attempts + 1,
      get: (feature: Named, keys?: Readonly<Record<string, string>>) => {
        const value = this.get(feature, keys);
        // One that nobody waits for any more (the other of two has failed) must not end the process.
        value.catch(() => {});
        return value;
      },
      set: (feature: Named, value: unknown, keys?: Readonly<Record<string, string>>) => this.set(feature, value, keys),
      signal: this.signal,
    };
  }

  private current(): unknown {
    this.took = true;
    const { current, unit } = this.asked;
    if (!current || current.gone) return null;
    const plan = this.parts.registry.features[unit.id] as OnFeaturePlan;
    return revive((JSON.parse(current.text) as unknown[])[0], plan.type);
  }

  private async get(feature: Named, keys?: Readonly<Record<string, string>>): Promise<unknown> {
    this.requireOpen('get');
    const plan = featureOf(this.parts.registry, nameOf(feature));
    try {
      await this.asked.settle();
    } catch (e) {
      if (e === CONFLICT) this.conflict = true;
      throw e;
    }
    const cell = await this.parts.read(plan.id, this.keys(keys));
    if (cell.status === 'ERROR')
      throw new FabraError('BAD_VALUE', `get(${plan.id}): ${cell.reason ?? 'it has no value'}`, {
        hint: cell.reason === 'MISSING_KEY' ? `Give its keys: get(${plan.name}, { … }).` : undefined,
      });
    return cell.value;
  }

  private set(feature: Named, value: unknown, keys?: Readonly<Record<string, string>>): void {
    this.requireOpen('set');
    const { registry, code, tables } = this.parts;
    const plan = featureOf(registry, nameOf(feature));
    if (plan.kind !== 'table' || registry.views[plan.view]?.sql !== null)
      throw new FabraError('BAD_VALUE', `set(${plan.id}): only pushed features can be set`, { hint: `Declare it with pushed(…), or return the value from its own handler.` });
    const problem = value === null ? null : value === undefined ? 'it is undefined' : misfit(code.types.get(plan.id), value);
    if (problem !== null) throw new FabraError('BAD_VALUE', `set(${plan.id}): the value does not fit its type: ${problem}`);
    const key = keyFrom(registry, plan.entity, this.keys(keys));
    if (key === null)
      throw new FabraError('BAD_KEY', `set(${plan.id}) needs ${registry.entities[plan.entity]!.key.join(', ')}`, { hint: `Give its keys: set(${plan.name}, value, { … }).` });
    this.put(plan, tables.get(plan.view)!, key, value);
  }

  /** The last `set` of a feature and key counts. */
  private put(plan: TableFeaturePlan, table: TableUnit, key: string, value: unknown): void {
    const { ts } = this.asked.turn.event;
    const row: TableRow = { eff: ts, ts, created: this.asked.turn.seq, text: canonicalJson([value]), gone: false };
    const at = this.puts.findIndex(p => p.table === table && p.key === key);
    if (at >= 0) this.puts[at] = { table, key, row };
    else this.puts.push({ table, key, row });
    if (!this.updated.includes(plan.id)) this.updated.push(plan.id);
  }

  private keys(more?: Readonly<Record<string, string>>): Record<string, string> {
    return { ...keysOf(this.parts.registry, this.key, this.payload), ...more };
  }

  /** Code that goes on after its time was over changes nothing any more. */
  private requireOpen(what: string): void {
    if (this.over || this.signal.aborted) throw new FabraError('TIMEOUT', `${what} after the handler's time was over`, { hint: 'Await what it starts, and watch its signal.' });
  }
}

const nameOf = (feature: Named | undefined): string => (feature?.entity ? `${feature.entity.name}.${feature.name}` : String(feature));
