/** One polled batch of a partition, decoded, judged and routed: all that a commit needs, before it touches the store. */
import { type AdmitState, admit } from '../engine/admit.ts';
import type { Decoder, RawRecord } from '../engine/decode.ts';
import type { Group } from '../engine/group.ts';
import type { Router } from '../engine/route.ts';
import type { PendingRow } from '../engine/tree.ts';
import type { HistoryRow } from '../ports/offline-store.ts';
import type { Counters, DeadLetter, KeyUpdate, Mark } from '../ports/online-store.ts';
import type { StreamPlan } from '../registry/types.ts';

/** Label for events whose type the registry does not declare: raw input never becomes a label. */
export const OTHER = '(other)';

interface Judged {
  type: string;
  /** Rows routed, when it was on time and used. */
  rows: PendingRow[] | null;
  verdict: 'rejected' | 'quarantined' | 'late' | 'ignored' | 'accepted';
  keyless: boolean;
}

export interface Prepared {
  mark: Mark;
  updates: KeyUpdate[];
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
  const grouped = new Map<Group, Map<string, PendingRow[]>>();
  const judged: Judged[] = [];
  const dead: DeadLetter[] = [];
  const history: HistoryRow[] = [];
  for (const record of records) {
    const decoded = pipe.decoder.decode(record, partition);
    if (!decoded.ok) {
      dead.push({ stream: pipe.plan.name, partition, offset: record.offset, at: record.appended, reason: decoded.reason, bytes: record.bytes });
      judged.push({ type: OTHER, rows: null, verdict: 'rejected', keyless: false });
      continue;
    }
    const { event } = decoded;
    const admission = admit(admitState, pipe.plan, event.ts, event.appended);
    history.push({ event, admission, text: decoded.text });
    const type = pipe.declared.has(event.type) ? event.type : OTHER;
    if (admission !== 'ok') judged.push({ type, rows: null, verdict: admission, keyless: false });
    else if (!pipe.router.uses(event.type)) judged.push({ type, rows: null, verdict: 'ignored', keyless: false });
    else {
      const rows: PendingRow[] = [];
      const empty = pipe.router.route(event, (group, key, row) => {
        rows.push(row);
        addTo(grouped, group, key, row);
      });
      judged.push({ type, rows, verdict: 'accepted', keyless: empty > 0 });
    }
  }
  const next = records.length ? records[records.length - 1]!.offset + 1 : mark.next;
  return { mark: { next, admit: admitState }, updates: flatten(grouped), dead, history, count: () => tally(judged) };
}

function addTo(grouped: Map<Group, Map<string, PendingRow[]>>, group: Group, key: string, row: PendingRow): void {
  let keys = grouped.get(group);
  if (!keys) grouped.set(group, (keys = new Map()));
  const rows = keys.get(key);
  if (rows) rows.push(row);
  else keys.set(key, [row]);
}

function flatten(grouped: Map<Group, Map<string, PendingRow[]>>): KeyUpdate[] {
  const out: KeyUpdate[] = [];
  for (const [group, keys] of grouped) for (const [key, rows] of keys) out.push({ group, key, rows });
  return out;
}

/** Counters by type, once the store has said which rows were new. A duplicate is one for every key it was routed to. */
function tally(judged: readonly Judged[]): Record<string, Partial<Counters>> {
  const out: Record<string, Partial<Counters>> = {};
  for (const j of judged) {
    out[j.type] ??= {};
    const c = out[j.type]!;
    const verdict = j.verdict !== 'accepted' ? j.verdict : j.rows!.length > 0 && j.rows!.every(r => !r.applied) ? 'duplicate' : 'applied';
    c.read = (c.read ?? 0) + 1;
    c[verdict] = (c[verdict] ?? 0) + 1;
    if (j.keyless) c.keyless = (c.keyless ?? 0) + 1;
  }
  return out;
}
