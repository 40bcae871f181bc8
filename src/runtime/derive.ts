/** Derived features: planned once, run per row; the same code for a read and for history. */
import type { Cell, Value } from '../engine/values.ts';
import type { DeriveFeaturePlan, FoldFeaturePlan, OnFeaturePlan, Registry, TableFeaturePlan, WindowFeaturePlan } from '../registry/types.ts';
import type { DeriveCode, RuntimeCode } from './project.ts';

const NEVER = new AbortController().signal;

export interface DerivePlan {
  /** Window features needed, each once. */
  windows: WindowFeaturePlan[];
  /** Other stored features needed: rows, folds, handlers. */
  others: (TableFeaturePlan | FoldFeaturePlan | OnFeaturePlan)[];
  /** Derived ones in dependency order. */
  steps: { plan: DeriveFeaturePlan; code: DeriveCode | undefined }[];
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
  return {
    windows: ordered.filter(f => f.kind === 'window'),
    others: ordered.filter(f => f.kind === 'table' || f.kind === 'fold' || f.kind === 'on'),
    steps: ordered.filter(f => f.kind === 'derive').map(plan => ({ plan, code: code.derives.get(plan.id) })),
  };
}

/** Adds the derived cells of one row to those already known. A failing one is ERROR and fails nothing else. */
export function runDerive(plan: DerivePlan, known: Map<string, Cell>, request: unknown, at: number): void {
  for (const { plan: f, code } of plan.steps) known.set(f.id, deriveCell(f, code, known, request, at));
}

function deriveCell(f: DeriveFeaturePlan, code: DeriveCode | undefined, known: ReadonlyMap<string, Cell>, request: unknown, at: number): Cell {
  const inputs: Record<string, unknown> = {};
  let ts: number | null = null;
  for (const [name, id] of Object.entries(f.inputs)) {
    const cell = known.get(id)!;
    if (cell.status === 'ERROR') return { value: null, status: 'ERROR', ts: null, reason: `input ${name}: ${cell.reason}` };
    inputs[name] = cell.value;
    if (cell.ts !== null && (ts === null || cell.ts > ts)) ts = cell.ts;
  }
  if (!code) return { value: null, status: 'ERROR', ts: null, reason: 'NO_CODE' };
  try {
    let given: unknown;
    if (code.request) {
      const parsed = code.request.safeParse(request ?? {});
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        return { value: null, status: 'ERROR', ts: null, reason: `REQUEST: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim() };
      }
      given = parsed.data;
    }
    return cellOf(f, code.compute(inputs, { request: given, now: at, keys: {}, signal: NEVER }), ts);
  } catch (e) {
    return { value: null, status: 'ERROR', ts, reason: `COMPUTE: ${e instanceof Error ? e.message : String(e)}` };
  }
}

function cellOf(f: DeriveFeaturePlan, result: unknown, ts: number | null): Cell {
  if (result !== null && typeof result === 'object' && typeof (result as { then?: unknown }).then === 'function') {
    // Nobody waits for it; a rejection must not end the process.
    void Promise.resolve(result).catch(() => {});
    return { value: null, status: 'ERROR', ts, reason: 'COMPUTE: returned a promise; derive code is synchronous' };
  }
  const value = (result === undefined || (typeof result === 'number' && !Number.isFinite(result)) ? null : result) as Value;
  if (value !== null) return { value, status: 'PRESENT', ts };
  return f.default === undefined || f.default === null ? { value: null, status: 'NULL_VALUE', ts } : { value: f.default, status: 'PRESENT', ts };
}
