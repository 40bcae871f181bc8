/** A fold stepped again over a plain list of its events: who is right when two answers differ, and what each event did. */
import { foldCell } from '../../engine/cells.ts';
import { decodePayload, encodePayload, payloadOf } from '../../engine/payload.ts';
import type { Cell } from '../../engine/values.ts';
import { compareUtf8 } from '../../lib/text.ts';
import type { HistoryView, KeyEvent } from '../../ports/offline-store.ts';
import type { FoldFeaturePlan, OnFeaturePlan } from '../../registry/types.ts';
import type { Compiled } from '../project.ts';

/** An event that triggers a fold or a handler, with its stream. */
export interface TriggerEvent extends KeyEvent {
  stream: string;
}

/** All events of the feature's types for a key, of every verdict, `ts < to`, in the fold's order. */
export async function foldEvents(view: HistoryView, f: FoldFeaturePlan | OnFeaturePlan, key: string[], to: number): Promise<TriggerEvent[]> {
  const types = new Set(f.events);
  const out: TriggerEvent[] = [];
  for (const stream of new Set(f.events.map(e => e.slice(0, e.indexOf('/')))))
    for (const e of await view.events(f.entity, key, stream, Number.NEGATIVE_INFINITY, to)) if (types.has(`${stream}/${e.event.type}`)) out.push({ ...e, stream });
  return out.sort((a, b) => a.event.ts - b.event.ts || compareUtf8(a.stream, b.stream) || compareUtf8(a.event.id, b.event.id) || a.event.o - b.event.o);
}

export interface FoldStep {
  event: TriggerEvent;
  /** After the event. */
  state: unknown;
  /** Why the event changed nothing; null when it was stepped. */
  problem: string | null;
}

/** Steps through accepted events before `at`. */
export function foldAgain(compiled: Compiled, f: FoldFeaturePlan, key: readonly string[], events: readonly TriggerEvent[], at: number): { cell: Cell; steps: FoldStep[] } {
  const code = compiled.code.folds.get(f.id)!;
  const entity_id = key.join(',');
  const steps: FoldStep[] = [];
  const initial = code.state.safeParse(code.initial);
  let text = encodePayload(initial.success ? initial.data : code.initial);
  let ts: number | null = null;
  for (const e of events) {
    if (e.verdict !== 'ok' || e.event.ts >= at) continue;
    const { event } = e;
    let problem: string | null = null;
    try {
      const given = { event_type: event.type, event_id: event.id, entity_id, timestamp: event.ts, payload: payloadFor(compiled, e) };
      const next = code.state.safeParse(code.step(decodePayload(text), given));
      if (next.success) text = encodePayload(next.data);
      else problem = `the state it gives does not fit: ${next.error.issues[0]?.message ?? ''}`;
    } catch (x) {
      problem = `the step threw: ${x instanceof Error ? x.message : String(x)}`;
    }
    if (problem === null) ts = event.ts;
    steps.push({ event: e, state: decodePayload(text), problem });
  }
  return { cell: finish(f, code, text, ts, at), steps };
}

function finish(f: FoldFeaturePlan, code: { value: ((state: unknown) => unknown) | null }, text: string, ts: number | null, at: number): Cell {
  if (ts === null) return foldCell(f, null, at);
  try {
    const state = decodePayload(text);
    return foldCell(f, { value: code.value ? code.value(state) : state, ts }, at);
  } catch (e) {
    return foldCell(f, { error: e instanceof Error ? e.message : String(e), ts }, at);
  }
}

function payloadFor(compiled: Compiled, { stream, event, text }: TriggerEvent): unknown {
  const id = `${stream}/${event.type}`;
  const parsed = compiled.code.schemas.get(id)!.safeParse(JSON.parse(text));
  return parsed.success ? payloadOf(parsed.data, compiled.registry.events[id]!.columns, event.columns) : null;
}
