/** Why a feature has its value: the events that made it, those that did not count and why, and a recount by hand. */
import { defaultOf } from '../../engine/cells.ts';
import { sidesOf } from '../../engine/group.ts';
import type { Cell, ColumnValue, DecodedEvent } from '../../engine/values.ts';
import { formatDuration } from '../../lib/duration.ts';
import { FabraError } from '../../lib/errors.ts';
import { compareUtf8 } from '../../lib/text.ts';
import type { HistoryView } from '../../ports/offline-store.ts';
import type {
  AggPlan,
  DeriveFeaturePlan,
  EventPlan,
  FeaturePlan,
  FoldFeaturePlan,
  OnFeaturePlan,
  Registry,
  StoredFeaturePlan,
  TableFeaturePlan,
  WindowFeaturePlan,
} from '../../registry/types.ts';
import { derivePlan, runDerive } from '../derive.ts';
import type { Compiled, Project } from '../project.ts';
import { FeatureReader, featureOf } from '../reader.ts';
import { sameCell } from '../parity/compare.ts';
import { reasonAgainst } from '../parity/scope.ts';
import { foldAgain, foldEvents } from './fold.ts';
import { Rows } from './rows.ts';
import type { ExplainedEvent, ExplainedSide, ExplainRequest, Explanation } from './types.ts';
import { aggText, decimalText, frameText, viewText } from './words.ts';
import { frameOf, passes, recount, type StreamEvent, uses } from './recount.ts';

export type { ExplainedEvent, ExplainedRow, ExplainedStep, ExplainRequest, Explanation } from './types.ts';

/** Events named before the frame and behind its end. */
const NEARBY = 3;
const NEAR_MS = 86_400_000;

/** @throws FabraError UNKNOWN_FEATURE. */
export async function explain(project: Project, compiled: Compiled, wanted: ExplainRequest): Promise<Explanation> {
  const f = featureOf(compiled.registry, wanted.feature);
  const online = new Online(project, compiled, wanted);
  const first = await online.read(f.id);
  const view = await project.history.open(compiled, first.position ?? undefined);
  try {
    let unread = 0;
    for (const s of Object.keys(compiled.registry.streams)) {
      const at = first.position?.[`${s}/0`];
      if (at !== undefined) unread += Math.max(0, (await project.bus.bounds(s, 0)).end - at);
    }
    return await new Explainer(project, compiled, view, online, wanted, unread).one(f.id);
  } finally {
    await view.close();
  }
}

/** What the online store answers, or why it does not. */
interface OnlineAnswer {
  cell: Cell | null;
  note: string | null;
  position: Record<string, number> | null;
}

class Online {
  private readonly reader: FeatureReader;
  private readonly wanted: ExplainRequest;

  constructor(project: Project, compiled: Compiled, wanted: ExplainRequest) {
    this.reader = new FeatureReader(project, compiled.registry, compiled.code);
    this.wanted = wanted;
  }

  async read(id: string): Promise<OnlineAnswer> {
    const { row, at, request } = this.wanted;
    try {
      const { cells, position } = await this.reader.read({ features: [id], rows: [row], at, request });
      const cell = cells[0]![0]!;
      if (cell.reason?.endsWith('AS_OF_EXPIRED')) return { cell: null, note: 'what it needs of so long ago is not kept online any more', position };
      if (cell.reason === 'backfilling') return { cell: null, note: 'not read up to the log yet (fabra worker)', position: null };
      return { cell, note: null, position };
    } catch (e) {
      if (e instanceof FabraError && e.code === 'AS_OF_EXPIRED') return { cell: null, note: e.message, position: null };
      throw e;
    }
  }
}

class Explainer {
  private readonly project: Project;
  private readonly compiled: Compiled;
  private readonly registry: Registry;
  private readonly view: HistoryView;
  private readonly online: Online;
  private readonly wanted: ExplainRequest;
  private readonly unread: number;
  private readonly done = new Map<string, Promise<Explanation>>();

  constructor(project: Project, compiled: Compiled, view: HistoryView, online: Online, wanted: ExplainRequest, unread: number) {
    this.project = project;
    this.compiled = compiled;
    this.registry = compiled.registry;
    this.view = view;
    this.online = online;
    this.wanted = wanted;
    this.unread = unread;
  }

  /** Each feature once, also when it is the input of several. */
  one(id: string): Promise<Explanation> {
    let found = this.done.get(id);
    if (!found) {
      const f = this.registry.features[id]!;
      this.done.set(id, (found = this.explain(f)));
    }
    return found;
  }

  private explain(f: FeaturePlan): Promise<Explanation> {
    if (f.kind === 'window') return this.window(f);
    if (f.kind === 'fold') return this.folded(f);
    return f.kind === 'derive' ? this.derived(f) : this.rowed(f);
  }

  private keyOf(entity: string): string[] | null {
    const parts = this.registry.entities[entity]!.key.map(c => this.wanted.row[c]);
    return parts.some(p => p === undefined || p === '') ? null : (parts as string[]);
  }

  private finish(
    f: FeaturePlan,
    online: OnlineAnswer,
    offline: { cell: Cell | null; note: string | null },
    again: Cell | null,
    rest: Pick<Explanation, 'what'> & Partial<Pick<Explanation, 'frame' | 'sides' | 'dropped' | 'steps' | 'rows' | 'turns' | 'inputs'>>,
  ): Explanation {
    return {
      feature: f.id,
      entity: f.entity,
      key: this.keyOf(f.entity),
      at: this.wanted.at,
      kind: f.kind,
      online: online.cell,
      onlineNote: online.note,
      offline: offline.cell,
      offlineNote: offline.note,
      same: online.cell && offline.cell && sameCell(online.cell, offline.cell),
      comparable: reasonAgainst(this.registry, f.id) === null,
      recount: again,
      recountSame: again && offline.cell && sameCell(again, offline.cell),
      unread: this.unread,
      frame: null,
      sides: [],
      dropped: [],
      steps: [],
      rows: [],
      turns: null,
      inputs: {},
      ...rest,
    };
  }

  /** What history gives; a note where it refuses. */
  private async history(f: StoredFeaturePlan, key: string[]): Promise<{ cell: Cell | null; note: string | null }> {
    try {
      const [cells] = await this.view.ask([f], { at: [this.wanted.at], keys: { [f.entity]: [key] } }, true);
      return { cell: cells![0]!, note: null };
    } catch (e) {
      if (e instanceof FabraError && HISTORY_REFUSES.has(e.code)) return { cell: null, note: e.message };
      throw e;
    }
  }

  private keyless(f: StoredFeaturePlan, online: OnlineAnswer, what: string): Explanation {
    const cell: Cell = { value: defaultOf(f), status: 'ERROR', ts: null, reason: 'MISSING_KEY' };
    return this.finish(f, online, { cell, note: null }, cell, { what });
  }

  private async window(f: WindowFeaturePlan): Promise<Explanation> {
    const { at } = this.wanted;
    const online = await this.online.read(f.id);
    const key = this.keyOf(f.entity);
    const what = `${sidesOf(f)
      .map(s => aggText(s, this.registry))
      .join(' / ')} ${frameText(f.frame)}`;
    if (!key) return this.keyless(f, online, what);
    const offline = await this.history(f, key);
    const all = await this.events(f, key);
    const accepted = all.filter(e => e.verdict === 'ok');
    const again = recount(f, accepted, at);
    const [from, to] = frameOf(f, accepted, at);
    return this.finish(f, online, offline, again, {
      what,
      frame: { from: Number.isFinite(from) ? from : null, to },
      sides: this.sides(f, accepted, from, to),
      dropped: this.dropped(f, all, from, to),
    });
  }

  private async folded(f: FoldFeaturePlan): Promise<Explanation> {
    const { at } = this.wanted;
    const online = await this.online.read(f.id);
    const key = this.keyOf(f.entity);
    const what = `fold of ${f.events.map(typeOf).join(', ')}`;
    if (!key) return this.keyless(f, online, what);
    const offline = await this.history(f, key);
    const all = await foldEvents(this.view, f, key, at + NEAR_MS);
    const { cell, steps } = foldAgain(this.compiled, f, key, all, at);
    const dropped = all.filter(e => e.verdict !== 'ok' && e.event.ts < at).map(e => this.note(e, [], this.why(e, all)));
    const after = all.filter(e => e.verdict === 'ok' && e.event.ts >= at).slice(0, NEARBY);
    return this.finish(f, online, offline, cell, {
      what,
      steps: steps.map(s => ({ event: this.whole(s.event, s.problem), state: s.state })),
      dropped: [...dropped, ...after.map(e => this.note(e, [], afterText(e, at)))],
    });
  }

  private async rowed(f: TableFeaturePlan | OnFeaturePlan): Promise<Explanation> {
    const online = await this.online.read(f.id);
    const key = this.keyOf(f.entity);
    const what = f.kind === 'on' ? `handler of ${f.events.map(typeOf).join(', ')}` : viewText(this.registry, f);
    if (!key) return this.keyless(f, online, what);
    const offline = await this.history(f, key);
    const told = new Rows(this.project, this.compiled, this.wanted.at);
    if (f.kind === 'table') return this.finish(f, online, offline, null, { what, rows: await told.ofView(f, key) });
    const events = await foldEvents(this.view, f, key, this.wanted.at + NEAR_MS);
    return this.finish(f, online, offline, null, { what, rows: await told.ofHandler(f, key, events), turns: await told.turns(f, key) });
  }

  /** Events of the feature's types, of all verdicts, from as far back as the frame can reach to a little behind T. */
  private async events(f: WindowFeaturePlan, key: string[]): Promise<Judged[]> {
    const { at } = this.wanted;
    const [from] = frameOf(f, [], at);
    const outlives = f.frame.kind === 'session' || f.frame.kind === 'lifetime';
    const out: Judged[] = [];
    for (const stream of new Set(sidesOf(f).map(s => s.stream)))
      for (const { event, verdict } of await this.view.events(f.entity, key, stream, outlives ? Number.NEGATIVE_INFINITY : from - NEAR_MS, at + NEAR_MS))
        out.push({ stream, event, verdict });
    return out.filter(e => sidesOf(f).some(s => uses(s, e))).sort((a, b) => a.event.ts - b.event.ts || compareUtf8(a.event.id, b.event.id) || a.event.o - b.event.o);
  }

  private sides(f: WindowFeaturePlan, accepted: readonly Judged[], from: number, to: number): ExplainedSide[] {
    const names: ExplainedSide['name'][] = f.agg.op === 'ratio' ? ['numerator', 'denominator'] : ['value'];
    return sidesOf(f).map((agg, i) => ({
      name: names[i]!,
      what: aggText(agg, this.registry),
      events: accepted
        .filter(e => uses(agg, e) && e.event.ts >= from && e.event.ts < to && passes(agg.where, e.event))
        .map(e =>
          this.note(e, [agg], agg.column && NULLS_SKIPPED.has(agg.op) && (e.event.columns[agg.column.name] ?? null) === null ? `${agg.column.name} is null: skipped` : null),
        ),
    }));
  }

  private dropped(f: WindowFeaturePlan, all: readonly Judged[], from: number, to: number): ExplainedEvent[] {
    const { at } = this.wanted;
    const aggs = sidesOf(f);
    const inFrame = all.filter(e => e.event.ts >= from && e.event.ts < to);
    const before = all.filter(e => e.verdict === 'ok' && e.event.ts < from).slice(-NEARBY);
    const after = all.filter(e => e.verdict === 'ok' && e.event.ts >= to).slice(0, NEARBY);
    const out = before.map(e => this.note(e, aggs, 'before the frame'));
    for (const e of inFrame) {
      if (e.verdict !== 'ok') out.push(this.note(e, aggs, this.why(e, all)));
      else if (!aggs.some(s => uses(s, e) && passes(s.where, e.event))) out.push(this.note(e, aggs, 'does not pass the filter'));
    }
    for (const e of after) out.push(this.note(e, aggs, e.event.ts >= at ? afterText(e, at) : 'after the frame'));
    return out;
  }

  private why(e: Judged, all: readonly Judged[]): string {
    const plan = this.registry.streams[e.stream]!;
    if (e.verdict === 'late') return `late: more than ${formatDuration(plan.lateness)} behind the newest event when it came`;
    if (e.verdict === 'quarantined') return 'quarantined: its time was ahead of the stream';
    const first = all.find(x => x.verdict === 'ok' && x.stream === e.stream && x.event.id === e.event.id && x.event.ts === e.event.ts);
    return `duplicate of offset ${first ? first.event.o : '?'}`;
  }

  private note(e: StreamEvent, aggs: readonly AggPlan[], note: string | null): ExplainedEvent {
    const { event, stream } = e;
    const plan = this.registry.events[`${stream}/${event.type}`];
    const names = new Set(aggs.filter(a => uses(a, e)).flatMap(a => [...(a.column ? [a.column.name] : []), ...filterColumns(a)]));
    const columns = Object.fromEntries([...names].map(n => [n, shownColumn(plan, event, n)]));
    return { stream, id: event.id, ts: event.ts, type: event.type, offset: event.o, columns, note };
  }

  /** With all its columns. */
  private whole(e: StreamEvent, note: string | null): ExplainedEvent {
    const { event, stream } = e;
    const plan = this.registry.events[`${stream}/${event.type}`];
    const columns = Object.fromEntries(Object.keys(event.columns).map(n => [n, shownColumn(plan, event, n)]));
    return { stream, id: event.id, ts: event.ts, type: event.type, offset: event.o, columns, note };
  }

  private async derived(f: DeriveFeaturePlan): Promise<Explanation> {
    const online = await this.online.read(f.id);
    const inputs: Record<string, Explanation> = {};
    for (const [name, id] of Object.entries(f.inputs)) inputs[name] = await this.one(id);
    const what = `computed from ${Object.entries(f.inputs)
      .map(([name, id]) => (id.endsWith(`.${name}`) ? name : `${name} (${id})`))
      .join(', ')}`;
    const missing = Object.entries(inputs).find(([, x]) => x.offline === null);
    const note = f.async ? 'its code is async: it asks what history cannot' : missing ? `input ${missing[0]}: ${missing[1].offlineNote}` : null;
    if (note !== null) return this.finish(f, online, { cell: null, note }, null, { what, inputs });
    const { steps } = derivePlan(this.registry, this.compiled.code, [f.id]);
    const compute = (pick: (x: Explanation) => Cell): Cell => {
      const known = new Map(Object.entries(f.inputs).map(([name, id]) => [id, pick(inputs[name]!)]));
      runDerive({ windows: [], others: [], steps: steps.filter(s => s.plan.id === f.id) }, known, this.wanted.request, this.wanted.at, this.wanted.row);
      return known.get(f.id)!;
    };
    return this.finish(
      f,
      online,
      { cell: compute(x => x.offline!), note: null },
      compute(x => x.recount ?? x.offline!),
      { what, inputs },
    );
  }
}

/** Codes by which history says that it has no answer for a feature. */
const HISTORY_REFUSES = new Set(['NOT_REPLAYABLE', 'SOURCE_FAILED', 'UNSUPPORTED']);
const typeOf = (event: string): string => event.slice(event.indexOf('/') + 1);
const afterText = (e: StreamEvent, at: number): string => (e.event.ts === at ? 'at T: a value sees only what was before' : 'after T');

type Judged = StreamEvent & { verdict: 'ok' | 'late' | 'quarantined' | 'duplicate' };

const NULLS_SKIPPED = new Set(['sum', 'avg', 'min', 'max', 'stddev', 'countDistinct', 'approxCountDistinct', 'topK', 'percentile', 'approxPercentile']);

function filterColumns(agg: AggPlan): string[] {
  const go = (f: AggPlan['where']): string[] => (!f ? [] : 'args' in f ? f.args.flatMap(go) : 'arg' in f ? go(f.arg) : [f.column]);
  return go(agg.where);
}

function shownColumn(plan: EventPlan | undefined, event: DecodedEvent, name: string): string | boolean | null {
  const v: ColumnValue = event.columns[name] ?? null;
  if (v === null || typeof v === 'string' || typeof v === 'boolean') return v;
  return decimalText(v, plan?.columns.find(c => c.name === name)?.places ?? 0);
}
