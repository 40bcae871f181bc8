/** One polled batch of a partition, decoded, judged and routed: all that a commit needs, before it touches the store. */
import { type AdmitState, admit } from '../engine/admit.ts';
import type { Decoder, RawRecord } from '../engine/decode.ts';
import type { Group } from '../engine/group.ts';
import type { Router } from '../engine/route.ts';
import type { PendingRow } from '../engine/tree.ts';
import type { RoutedEvent } from '../engine/units.ts';
import type { HistoryRow } from '../ports/offline-store.ts';
import type { Counters, DeadLetter, FoldUpdate, KeyUpdate, Mark, NewTurns } from '../ports/online-store.ts';
import type { StreamPlan } from '../registry/types.ts';

/** Label for events whose type the registry does not declare: raw input never becomes a label. */
export const OTHER = '(other)';

interface Judged {
  type: string;
  /** What it was routed to, when it was on time and used. */
  routed: { applied: boolean }[] | null;
  verdict: 'rejected' | 'quarantined' | 'late' | 'ignored' | 'accepted';
  keyless: boolean;
}

export interface Prepared {
  mark: Mark;
  updates: KeyUpdate[];
  foldUpdates: FoldUpdate[];
  turns: NewTurns[];
  dead: DeadLetter[];
  history: HistoryRow[];
  count(): Record<string, Partial<Counters>>;
}

export interface Pipeline {
  plan: StreamPlan;
  decoder: Decoder;
  router: Router;
  /** Types the registry declares for the stream. */
  declared: ReadonlySet<string>;
}

/** Pure but for the admit state, which is copied: the mark before stays as it was. */
export function prepare(pipe: Pipeline, partition: number, records: readonly RawRecord[], mark: Mark): Prepared {
  const admitState: AdmitState = { ...mark.admit };
  const rows = new ByKey<Group, PendingRow>();
  const whole = new ByKey<FoldUpdate['unit'] | NewTurns['unit'], RoutedEvent>();
  const judged: Judged[] = [];
  const dead: DeadLetter[] = [];
  const history: HistoryRow[] = [];
  for (const record of records) {
    const decoded = pipe.decoder.decode(record, partition);
    if (!decoded.ok) {
      dead.push({ stream: pipe.plan.name, partition, offset: record.offset, at: record.appended, reason: decoded.reason, bytes: record.bytes });
      judged.push({ type: OTHER, routed: null, verdict: 'rejected', keyless: false });
      continue;
    }
    const { event } = decoded;
    const admission = admit(admitState, pipe.plan, event.ts, event.appended);
    history.push({ event, admission, text: decoded.text });
    const type = pipe.declared.has(event.type) ? event.type : OTHER;
    if (admission !== 'ok') judged.push({ type, routed: null, verdict: admission, keyless: false });
    else if (!pipe.router.uses(event.type)) judged.push({ type, routed: null, verdict: 'ignored', keyless: false });
    else {
      const routed: { applied: boolean }[] = [];
      const emptyKeys = pipe.router.route(event, (group, key, row) => {
        routed.push(row);
        rows.add(group, key, row);
      });
      const emptyWhole = pipe.router.routeWhole(event, (unit, key, turn) => {
        routed.push(turn);
        whole.add(unit, key, turn);
      });
      judged.push({ type, routed, verdict: 'accepted', keyless: emptyKeys + emptyWhole > 0 });
    }
  }
  const next = records.length ? records[records.length - 1]!.offset + 1 : mark.next;
  const foldUpdates: FoldUpdate[] = [];
  const turns: NewTurns[] = [];
  for (const [unit, key, events] of whole.entries())
    if (unit.kind === 'fold') foldUpdates.push({ unit, key, events });
    else turns.push({ unit, key, events });
  const updates = [...rows.entries()].map(([group, key, list]): KeyUpdate => ({ group, key, rows: list }));
  return { mark: { next, admit: admitState }, updates, foldUpdates, turns, dead, history, count: () => tally(judged) };
}

/** What a batch holds for each owner and key, in log order. */
class ByKey<O, T> {
  private readonly owners = new Map<O, Map<string, T[]>>();

  add(owner: O, key: string, item: T): void {
    let keys = this.owners.get(owner);
    if (!keys) this.owners.set(owner, (keys = new Map()));
    const list = keys.get(key);
    if (list) list.push(item);
    else keys.set(key, [item]);
  }

  *entries(): Generator<[O, string, T[]]> {
    for (const [owner, keys] of this.owners) for (const [key, list] of keys) yield [owner, key, list];
  }
}

/** Counters by type, once the store has said which rows were new. A duplicate is one for every key it was routed to. */
function tally(judged: readonly Judged[]): Record<string, Partial<Counters>> {
  const out: Record<string, Partial<Counters>> = {};
  for (const j of judged) {
    out[j.type] ??= {};
    const c = out[j.type]!;
    const verdict = j.verdict !== 'accepted' ? j.verdict : j.routed!.length > 0 && j.routed!.every(r => !r.applied) ? 'duplicate' : 'applied';
    c.read = (c.read ?? 0) + 1;
    c[verdict] = (c[verdict] ?? 0) + 1;
    if (j.keyless) c.keyless = (c.keyless ?? 0) + 1;
  }
  return out;
}
