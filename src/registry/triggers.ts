/** `fold` and `on`: features that events trigger. */
import type { z } from 'zod';
import type { Feature } from '../define/feature.ts';
import type { EventDef } from '../define/stream.ts';
import type { Fold, On } from '../define/trigger.ts';
import { isEvent } from './collect.ts';
import { isSchema } from './columns.ts';
import type { FeatureStart } from './compile.ts';
import { triggerMeaning } from './meaning.ts';
import type { Problems } from './problems.ts';
import { isAsync } from './syntax.ts';
import type { EventPlan, FeaturePlan, Registry, ValueType } from './types.ts';
import { compileDefault, declaredType } from './values.ts';

export interface FoldCode {
  state: z.ZodType;
  initial: unknown;
  step(state: unknown, event: unknown): unknown;
  /** Null: the state is the value. */
  value: ((state: unknown) => unknown) | null;
}
export interface OnCode {
  handle(context: unknown): unknown;
  type: z.ZodType;
}

interface Given {
  label: string;
  base: FeatureStart;
  problems: Problems;
  parts: Pick<Registry, 'streams' | 'events'>;
  code: { folds: Map<string, FoldCode>; handlers: Map<string, OnCode> };
  hash: (fn: (...args: never[]) => unknown) => string;
  plan: (event: EventDef) => EventPlan | undefined;
}

export function compileTrigger(f: Feature, spec: Fold | On, given: Given): FeaturePlan | null {
  given.problems.strays(spec, given.label);
  const events = triggersOf(f, spec, given);
  const plan = spec.kind === 'fold' ? folded(f, spec, events, given) : handled(f, spec, events, given);
  if (!plan) return null;
  const fallback = compileDefault(f, plan.type, given.label, given.problems);
  return fallback === undefined ? plan : { ...plan, default: fallback };
}

/** `stream/type` ids, sorted, each once; every one has the entity's key. */
function triggersOf(f: Feature, spec: Fold | On, { label, problems, plan }: Given): string[] {
  const ids = new Set<string>();
  if (spec.events.length === 0) problems.add(f, `${label} has no event`, `Write ${spec.kind}(purchase, { … }) or ${spec.kind}([purchase, refund], { … }).`);
  for (const event of spec.events) {
    if (!isEvent(event)) {
      problems.add(f, `${label}: what triggers it is not an event`, "Events are made by stream(…).event('purchase', z.object({ … })).");
      continue;
    }
    ids.add(`${event.stream.name}/${event.type}`);
    const columns = plan(event)?.columns;
    const missing = columns && f.entity.key.filter(k => !columns.some(c => c.name === k));
    if (missing?.length)
      problems.add(f, `${label}: event '${event.type}' has no column '${missing[0]}', a key of entity '${f.entity.name}'`, `Add ${missing[0]} to the schema of ${event.type}.`);
  }
  return [...ids].sort();
}

function folded(f: Feature, spec: Fold, events: string[], given: Given): FeaturePlan | null {
  const { label, problems, base } = given;
  if (typeof spec.step !== 'function' || !isSchema(spec.state)) {
    problems.add(f, `${label} needs a state and a step`, 'Write fold(purchase, { state: z.number(), initial: 0, step: (s, { payload }) => s + payload.amount }).');
    return null;
  }
  if (isAsync(spec.step) || isAsync(spec.value))
    problems.add(f, `${label}: step and value are pure and run over history: they cannot be async`, 'For a handler with effects, write on(…).');
  if (!spec.state.safeParse(spec.initial).success) problems.add(f, `${label}: the initial state does not fit its schema`);
  const code = [given.hash(spec.step), spec.value ? given.hash(spec.value) : '', JSON.stringify(spec.initial, (_k, v) => (typeof v === 'bigint' ? `${v}n` : v))].join('.');
  const type: ValueType = spec.value === null ? declaredType(spec.state) : spec.type === null ? guessed(f) : declaredType(spec.type);
  given.code.folds.set(base.id, { state: spec.state, initial: spec.initial, step: spec.step as FoldCode['step'], value: spec.value as FoldCode['value'] });
  return { ...base, kind: 'fold', events, code, type, fingerprint: triggerMeaning({ kind: 'fold', events, code, type: null }, [...f.entity.key], given.parts) };
}

/** A value function without a `type`: the default says it, else it may be anything. */
const guessed = (f: Feature): ValueType => {
  const base = ({ number: 'number', string: 'string', boolean: 'boolean' } as const)[typeof f.default as 'number' | 'string' | 'boolean'] ?? 'json';
  return { base, list: false };
};

function handled(f: Feature, spec: On, events: string[], given: Given): FeaturePlan | null {
  const { label, problems, base } = given;
  if (typeof spec.handle !== 'function' || !isSchema(spec.type)) {
    problems.add(f, `${label} needs a type and a handle function`, 'Write on(view, { type: z.string(), handle: async ({ event }) => … }).');
    return null;
  }
  const { max } = spec.retries;
  if (!Number.isSafeInteger(max) || max < 0 || max > 1_000) problems.add(f, `${label}: retries.max is a whole number from 0 to 1000`, 'Write retries: { max: 3 }.');
  const type = declaredType(spec.type);
  given.code.handlers.set(base.id, { handle: spec.handle as OnCode['handle'], type: spec.type });
  return {
    ...base,
    kind: 'on',
    events,
    retries: { ...spec.retries },
    timeout: spec.timeout,
    code: given.hash(spec.handle),
    type,
    fingerprint: triggerMeaning({ kind: 'on', events, code: null, type }, [...f.entity.key], given.parts),
  };
}
