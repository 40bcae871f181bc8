/** The worst differences, explained: a plain recount says which side is right, and where the other begins to differ. */
import type { Cell } from '../../engine/values.ts';
import type { HistoryView } from '../../ports/offline-store.ts';
import type { FoldFeaturePlan, WindowFeaturePlan } from '../../registry/types.ts';
import { sidesOf } from '../../engine/group.ts';
import { runDerive } from '../derive.ts';
import { foldAgain, foldEvents } from '../explain/fold.ts';
import { frameOf, passes, recount, type StreamEvent, uses } from '../explain/recount.ts';
import { sameCell, sameValue } from './compare.ts';
import type { Replayable } from './sample.ts';
import type { Question, Sides } from './sides.ts';
import type { EventNote, WorstRow } from './types.ts';

export interface Mismatch {
  id: string;
  question: Question;
  online: Cell;
  offline: Cell;
  severity: number;
}

const WORST = 20;
/** Events around which a wrong answer is looked for. */
const PROBED = 200;
const NAMED = 5;

/** The worst of every feature first, then the second worst of each, and so on. */
export async function explainWorst(sides: Sides, view: HistoryView, byFeature: readonly Mismatch[][]): Promise<WorstRow[]> {
  const lists = byFeature.map(l => [...l].sort((a, b) => b.severity - a.severity)).sort((a, b) => b[0]!.severity - a[0]!.severity);
  const chosen: Mismatch[] = [];
  for (let i = 0; chosen.length < WORST && lists.some(l => l.length > i); i++) for (const l of lists) if (l[i] && chosen.length < WORST) chosen.push(l[i]!);
  const out: WorstRow[] = [];
  for (const m of chosen) out.push(await explainOne(sides, view, m));
  return out;
}

async function explainOne(sides: Sides, view: HistoryView, m: Mismatch): Promise<WorstRow> {
  const f = sides.compiled.registry.features[m.id]!;
  const columns = sides.compiled.registry.entities[f.entity]!.key;
  const base = { feature: m.id, entity: f.entity, key: columns.map(c => m.question.row[c] ?? ''), at: m.question.at, online: m.online, offline: m.offline };
  if (f.kind === 'window') return { ...base, ...(await windowRow(sides, view, m, f)) };
  if (f.kind === 'fold') return { ...base, ...(await foldRow(sides, view, m, f)) };
  if (f.kind !== 'derive') throw new Error(`parity does not compare ${f.kind} features`);
  const inputs: Record<string, { online: Cell; offline: Cell }> = {};
  const counted = new Map<string, Cell>();
  const [offline] = await sides.readOffline(view, [m.question]);
  for (const s of sides.stored) {
    const key = keyOf(sides, s, m.question);
    if (key) counted.set(s.id, await again(sides, view, s, key, m.question.at));
  }
  for (const [name, id] of Object.entries(f.inputs)) {
    const online = await sides.readOnline({ ...m.question, ids: [id] });
    inputs[name] = { online: online.answered?.cells[0] ?? m.online, offline: offline!.get(id)! };
  }
  for (const s of sides.stored) if (!counted.has(s.id)) counted.set(s.id, offline!.get(s.id)!);
  runDerive(sides.plan, counted, Object.assign({}, ...sides.requests.values()), m.question.at, m.question.row);
  const result = counted.get(m.id) ?? null;
  return { ...base, recount: result, right: judge(m, result), frame: null, events: 0, offending: [], inputs };
}

function keyOf(sides: Sides, f: Replayable, q: Question): string[] | null {
  const parts = sides.compiled.registry.entities[f.entity]!.key.map(c => q.row[c]);
  return parts.some(p => p === undefined) ? null : (parts as string[]);
}

/** A window or fold counted again by plain lists. */
async function again(sides: Sides, view: HistoryView, f: Replayable, key: string[], at: number): Promise<Cell> {
  if (f.kind === 'window') return recount(f, await accepted(view, f, key, at), at);
  return foldAgain(sides.compiled, f, key, await foldEvents(view, f, key, at), at).cell;
}

async function foldRow(sides: Sides, view: HistoryView, m: Mismatch, f: FoldFeaturePlan): Promise<Omit<WorstRow, 'feature' | 'entity' | 'key' | 'at' | 'online' | 'offline'>> {
  const { at } = m.question;
  const key = keyOf(sides, f, m.question)!;
  const events = await foldEvents(view, f, key, at);
  const { cell } = foldAgain(sides.compiled, f, key, events, at);
  return { recount: cell, right: judge(m, cell), frame: null, events: events.filter(e => e.verdict === 'ok').length, offending: [], inputs: null };
}

const judge = (m: Mismatch, again: Cell | null): WorstRow['right'] => {
  if (!again) return 'unknown';
  if (sameCell(again, m.offline)) return 'offline';
  return sameCell(again, m.online) ? 'online' : 'neither';
};

/** Accepted events of the key below `at` that the feature's types name. */
async function accepted(view: HistoryView, f: WindowFeaturePlan, key: string[], at: number): Promise<StreamEvent[]> {
  const found: StreamEvent[] = [];
  for (const stream of new Set(sidesOf(f).map(s => s.stream)))
    for (const { event, verdict } of await view.events(f.entity, key, stream, Number.NEGATIVE_INFINITY, at)) if (verdict === 'ok') found.push({ stream, event });
  return found.filter(e => sidesOf(f).some(s => uses(s, e))).sort((a, b) => a.event.ts - b.event.ts);
}

async function windowRow(sides: Sides, view: HistoryView, m: Mismatch, f: WindowFeaturePlan): Promise<Omit<WorstRow, 'feature' | 'entity' | 'key' | 'at' | 'online' | 'offline'>> {
  const { at } = m.question;
  const events = await accepted(view, f, keyOf(sides, f, m.question)!, at);
  const again = recount(f, events, at);
  const right = judge(m, again);
  const [from, to] = frameOf(f, events, at);
  const inside = events.filter(e => e.event.ts >= from && e.event.ts < to);
  const offending = await culprits(sides, view, m, f, events, inside, right);
  return { recount: again, right, frame: { from: Number.isFinite(from) ? from : null, to }, events: inside.length, offending, inputs: null };
}

/**
 * Just after an event the right answer moves by that event. Where the wrong side moves otherwise (or agrees before and not
 * after), that event is one that it counts and should not, or the other way round.
 */
async function culprits(
  sides: Sides,
  view: HistoryView,
  m: Mismatch,
  f: WindowFeaturePlan,
  all: readonly StreamEvent[],
  inside: readonly StreamEvent[],
  right: WorstRow['right'],
): Promise<EventNote[]> {
  const wrong = right === 'online' ? 'offline' : 'online';
  const times = [...new Set(inside.map(e => e.event.ts))].slice(-PROBED);
  const ask = (at: number): Question => ({ row: m.question.row, at, ids: [f.id] });
  const instants = times.flatMap(ts => [ts, ts + 1]);
  const cells: (Cell | null)[] = [];
  if (wrong === 'offline') for (const known of await sides.readOffline(view, instants.map(ask))) cells.push(known.get(f.id)!);
  else for (const t of instants) cells.push((await sides.readOnline(ask(t))).answered?.cells[0] ?? null);
  const out: EventNote[] = [];
  for (const [i, ts] of times.entries()) {
    if (out.length >= NAMED) break;
    const [before, after] = [cells[2 * i]!, cells[2 * i + 1]!];
    if (!before || !after) continue;
    const [rightBefore, rightAfter] = [recount(f, all, ts), recount(f, all, ts + 1)];
    const moved = !sameValue(before.value, after.value) || before.ts !== after.ts;
    const shouldMove = !sameValue(rightBefore.value, rightAfter.value) || rightBefore.ts !== rightAfter.ts;
    const splits = sameCell(before, rightBefore) && !sameCell(after, rightAfter);
    if (moved === shouldMove && !splits) continue;
    for (const e of inside.filter(x => x.event.ts === ts))
      out.push(noteOf(f, e, `${wrong} ${moved && !shouldMove ? 'counts it' : !moved && shouldMove ? 'does not count it' : 'counts it differently'}`));
  }
  return out.slice(0, NAMED);
}

function noteOf(f: WindowFeaturePlan, { stream, event }: StreamEvent, what: string): EventNote {
  const fits = sidesOf(f).some(s => uses(s, { stream, event }) && passes(s.where, event));
  return { stream, id: event.id, ts: event.ts, type: event.type, offset: event.o, columns: event.columns, note: `${what}; it ${fits ? 'passes' : 'does not pass'} the filter` };
}
