/** Derived features: planned once, run per row; the same code for a read and for history. */
import { defaultOf } from '../engine/cells.ts';
import type { Cell, Value } from '../engine/values.ts';
import type { DeriveFeaturePlan, FoldFeaturePlan, OnFeaturePlan, Registry, TableFeaturePlan, WindowFeaturePlan } from '../registry/types.ts';
import type { DeriveCode, RuntimeCode } from './project.ts';

const NEVER = new AbortController().signal;
const NO_KEYS: Readonly<Record<string, string>> = Object.freeze({});

export interface DeriveStep {
  plan: DeriveFeaturePlan;
  code: DeriveCode | undefined;
  /** Key columns of its own entity: a row without them has no such value. */
  own: readonly string[];
  /** Those and its inputs', however deep: what the code sees as `keys`. */
  columns: readonly string[];
}

export interface DerivePlan {
  /** Window features needed, each once. */
  windows: WindowFeaturePlan[];
  /** Other stored features needed: rows, folds, handlers. */
  others: (TableFeaturePlan | FoldFeaturePlan | OnFeaturePlan)[];
  /** Derived ones in dependency order. */
  steps: DeriveStep[];
}

/** What has to be read and computed for these features. */
export function derivePlan(registry: Registry, code: RuntimeCode, ids: readonly string[]): DerivePlan {
  const needed = new Set<string>();
  const need = (id: string): void => {
    if (needed.has(id)) return;
    needed.add(id);
    const f = registry.features[id];
    if (f?.kind === 'derive') for (const input of Object.values(f.inputs)) need(input);
  };
  ids.forEach(need);
  const ordered = registry.order.filter(id => needed.has(id)).map(id => registry.features[id]!);
  const seen = new Map<string, readonly string[]>();
  const columns = (id: string): readonly string[] => {
    const f = registry.features[id]!;
    const inputs = f.kind === 'derive' ? Object.values(f.inputs) : [];
    const all = [...registry.entities[f.entity]!.key, ...inputs.flatMap(input => seen.get(input) ?? columns(input))];
    seen.set(id, [...new Set(all)]);
    return seen.get(id)!;
  };
  return {
    windows: ordered.filter(f => f.kind === 'window'),
    others: ordered.filter(f => f.kind === 'table' || f.kind === 'fold' || f.kind === 'on'),
    steps: ordered.filter(f => f.kind === 'derive').map(plan => ({ plan, code: code.derives.get(plan.id), own: registry.entities[plan.entity]!.key, columns: columns(plan.id) })),
  };
}

/** What a row gives its derived features, beside their inputs. */
export interface DeriveRow {
  request: unknown;
  /** Epoch ms. */
  at: number;
  /** Key columns of the row; null: keys are not known here, and not asked for. */
  keys: Readonly<Record<string, string>> | null;
}

/** One call of a feature's code, ready to be made. */
export interface DeriveCall {
  step: DeriveStep;
  code: DeriveCode;
  inputs: Record<string, unknown>;
  request: unknown;
  keys: Readonly<Record<string, string>>;
  at: number;
  /** Newest time of its inputs. */
  ts: number | null;
}

/** How calls are made: a read has budgets and a cache (see `read/on-demand.ts`), history just calls. Never throws or rejects. */
export type Caller = (call: DeriveCall) => Cell | Promise<Cell>;

/**
 * Adds the derived cells of one row to those already known. A failing one is ERROR and fails nothing else; code that returns a
 * promise is one too.
 */
export function runDerive(plan: DerivePlan, known: Map<string, Cell>, request: unknown, at: number, keys: DeriveRow['keys'] = null): void {
  for (const step of plan.steps) known.set(step.plan.id, start(step, known, { request, at, keys }, plainly) as Cell);
}

/** The same, where calls may take their time: those that do not need each other run at once. A promise only when some did. */
export function runDerives(plan: DerivePlan, known: Map<string, Cell>, row: DeriveRow, caller: Caller): undefined | Promise<void> {
  let pending: Map<string, Promise<void>> | null = null;
  for (const step of plan.steps) {
    const { id, inputs } = step.plan;
    const waits = pending === null ? [] : Object.values(inputs).flatMap(input => pending!.get(input) ?? []);
    const cell = waits.length === 0 ? start(step, known, row, caller) : Promise.all(waits).then(() => start(step, known, row, caller));
    if (cell instanceof Promise)
      (pending ??= new Map()).set(
        id,
        cell.then(c => void known.set(id, c)),
      );
    else known.set(id, cell);
  }
  return pending === null ? undefined : Promise.all(pending.values()).then(() => {});
}

function start(step: DeriveStep, known: ReadonlyMap<string, Cell>, row: DeriveRow, caller: Caller): Cell | Promise<Cell> {
  const f = step.plan;
  if (row.keys !== null) for (const c of step.own) if (!row.keys[c]) return { value: defaultOf(f), status: 'ERROR', ts: null, reason: 'MISSING_KEY' };
  const inputs: Record<string, unknown> = {};
  let ts: number | null = null;
  for (const name in f.inputs) {
    const cell = known.get(f.inputs[name]!)!;
    if (cell.status === 'ERROR') return { value: null, status: 'ERROR', ts: null, reason: `input ${name}: ${cell.reason}` };
    inputs[name] = cell.value;
    if (cell.ts !== null && (ts === null || cell.ts > ts)) ts = cell.ts;
  }
  const { code } = step;
  if (!code) return { value: null, status: 'ERROR', ts: null, reason: 'NO_CODE' };
  let request: unknown;
  if (code.request) {
    const given = requestOf(code.request, row.request);
    if ('reason' in given) return { value: null, status: 'ERROR', ts: null, reason: given.reason };
    request = given.data;
  }
  return caller({ step, code, inputs, request, keys: keysOf(step, row.keys), at: row.at, ts });
}

function requestOf(schema: NonNullable<DeriveCode['request']>, given: unknown): { data: unknown } | { reason: string } {
  try {
    const parsed = schema.safeParse(given ?? {});
    if (parsed.success) return { data: parsed.data };
    const [issue] = parsed.error.issues;
    return { reason: `REQUEST: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim() };
  } catch (e) {
    return { reason: `REQUEST: ${messageOf(e)}` };
  }
}

function keysOf({ columns }: DeriveStep, row: DeriveRow['keys']): Readonly<Record<string, string>> {
  if (row === null || columns.length === 0) return NO_KEYS;
  const out: Record<string, string> = {};
  for (const c of columns) if (row[c] !== undefined) out[c] = row[c];
  return out;
}

const plainly: Caller = ({ step: { plan }, code, inputs, request, keys, at, ts }) => {
  try {
    const result = code.compute(inputs, { request, now: at, keys, signal: NEVER });
    if (!isPromise(result)) return cellOf(plan, result, ts);
    // Nobody waits for it; a rejection must not end the process.
    void Promise.resolve(result).catch(() => {});
    return { value: null, status: 'ERROR', ts, reason: 'COMPUTE: returned a promise where nothing waits for it' };
  } catch (e) {
    return failed(plan, e, ts);
  }
};

export const isPromise = (v: unknown): v is PromiseLike<unknown> => v !== null && typeof v === 'object' && typeof (v as { then?: unknown }).then === 'function';

export const messageOf = (e: unknown): string => (e instanceof Error ? e.message : String(e));

/** The cell of what code returned. */
export function cellOf(f: DeriveFeaturePlan, result: unknown, ts: number | null): Cell {
  const value = (result === undefined || (typeof result === 'number' && !Number.isFinite(result)) ? null : result) as Value;
  if (value !== null) return { value, status: 'PRESENT', ts };
  const fallback = defaultOf(f);
  return { value: fallback, status: fallback === null ? 'NULL_VALUE' : 'PRESENT', ts };
}

/** The cell of code that threw: its declared default, else an error. */
export function failed(f: DeriveFeaturePlan, e: unknown, ts: number | null): Cell {
  const fallback = defaultOf(f);
  if (fallback === null) return { value: null, status: 'ERROR', ts, reason: `COMPUTE: ${messageOf(e)}` };
  return { value: fallback, status: 'DEFAULTED', ts, reason: 'error', detail: messageOf(e) };
}
