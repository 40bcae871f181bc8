/** Versions of a row that the online store keeps, with where they came from; and what waits for a handler. */
import { revive } from '../../engine/cells.ts';
import { compileUnits, type TableRow, type TableUnit } from '../../engine/units.ts';
import { joinKey } from '../../lib/text.ts';
import type { DeadLetter } from '../../ports/online-store.ts';
import type { OnFeaturePlan, TableFeaturePlan, ViewPlan } from '../../registry/types.ts';
import type { Compiled, Project } from '../project.ts';
import type { TriggerEvent } from './fold.ts';
import type { ExplainedRow, ExplainedTurns } from './types.ts';

/** A key keeps no more rows than this, and a few reads prove it. */
const MOST = 40;
/** Runs in which a row's origin is looked for, and rows read for it. */
const RUNS = 50;
const ROWS = 1_000_000;
const QUEUES = 10_000;
const PAGE = 1_000;

export class Rows {
  private readonly project: Project;
  private readonly compiled: Compiled;
  private readonly at: number;

  constructor(project: Project, compiled: Compiled, at: number) {
    this.project = project;
    this.compiled = compiled;
    this.at = at;
  }

  async ofView(f: TableFeaturePlan, key: string[]): Promise<ExplainedRow[]> {
    const view = this.compiled.registry.views[f.view]!;
    const stored = joinKey(key);
    if (!view.materialize) return this.live(f, view, key);
    const unit = compileUnits(this.compiled.registry).tables.get(view.id)!;
    const rows = await this.versions(unit, stored);
    const origins = view.sql === null ? null : await this.origins(view, stored, rows);
    return this.told(f, unit, rows, row => (origins === null ? 'pushed' : (origins.get(identity(row)) ?? 'pushed, or of a run that is no longer listed')));
  }

  async ofHandler(f: OnFeaturePlan, key: string[], events: readonly TriggerEvent[]): Promise<ExplainedRow[]> {
    const unit = compileUnits(this.compiled.registry).tables.get(f.id)!;
    return this.told(f, unit, await this.versions(unit, joinKey(key)), row => {
      const same = events.filter(e => e.verdict === 'ok' && e.event.ts === row.ts).map(e => e.event.id);
      return `turn ${row.created}${same.length > 0 ? `, event ${same.join(' or ')}` : ''}`;
    });
  }

  /** The source as it is now. */
  private async live(f: TableFeaturePlan, view: ViewPlan, key: string[]): Promise<ExplainedRow[]> {
    const [row] = await this.project.tables.lookup(view, this.compiled, [key], this.at, AbortSignal.timeout(view.timeout)).catch(() => [null]);
    return row ? [{ ...shown(f, row), counts: !row.gone, note: 'the source, as it is now' }] : [];
  }

  /** Newest first: each read asks for what was before the last answer. */
  private async versions(table: TableUnit, key: string): Promise<TableRow[]> {
    const out: TableRow[] = [];
    for (let at = Number.MAX_SAFE_INTEGER; out.length < MOST; ) {
      const { tables } = await this.project.online.read([], { folds: [], tables: [{ table, key, at }] });
      const row = tables[0]?.row;
      if (!row) break;
      out.push(row);
      at = table.inclusive ? row.eff - 1 : row.eff;
    }
    return out;
  }

  private told(f: TableFeaturePlan | OnFeaturePlan, table: TableUnit, rows: readonly TableRow[], origin: (row: TableRow) => string): ExplainedRow[] {
    const seen = (row: TableRow): boolean => (table.inclusive ? row.eff <= this.at : row.eff < this.at);
    const counting = rows.find(seen);
    return rows
      .map(row => {
        const counts = row === counting && !row.gone;
        const why = row.gone ? 'gone from the source' : !seen(row) ? 'after T' : row !== counting ? 'older' : this.expired(f, row) ? 'older than its ttl' : null;
        return { ...shown(f, row), counts, note: [why, origin(row)].filter(t => t !== null).join('; ') };
      })
      .reverse();
  }

  private expired(f: TableFeaturePlan | OnFeaturePlan, row: TableRow): boolean {
    return f.ttl !== null && f.ttl > 0 && this.at - row.ts > f.ttl;
  }

  /** Row -> the run that recorded it. */
  private async origins(view: ViewPlan, key: string, wanted: readonly TableRow[]): Promise<Map<string, string>> {
    const out = new Map<string, string>();
    const missing = new Set(wanted.map(identity));
    let read = 0;
    for (const run of await this.project.tables.runs(view.id, RUNS)) {
      if (missing.size === 0 || read > ROWS) break;
      if (run.status === 'failed' || run.hash !== view.hash) continue;
      for await (const rows of this.project.tables.rowsOf(run, view, this.compiled, 0)) {
        read += rows.length;
        for (const { key: of, row } of rows) if (of === key && missing.delete(identity(row))) out.set(identity(row), `run ${run.id}`);
        if (missing.size === 0 || read > ROWS) break;
      }
    }
    return out;
  }

  async turns(f: OnFeaturePlan, key: string[]): Promise<ExplainedTurns> {
    const unit = compileUnits(this.compiled.registry).triggers.filter(t => t.id === f.id);
    const stored = joinKey(key);
    const { queues } = await this.project.online.dueTurns(unit, Number.MAX_SAFE_INTEGER, { queues: QUEUES, turns: PAGE }, new Set());
    const mine = queues.find(q => q.key === stored);
    const dead = (await deadOf(this.project, f.id)).filter(({ letter }) => letter.handler!.key === stored);
    return {
      waiting: (mine?.turns ?? []).map(({ event, attempts }) => ({ event_id: event.id, event_type: event.type, ts: event.ts, attempts })),
      dead: dead.map(({ seq, letter }) => {
        const { event_id, event_type, ts, attempts } = letter.handler!;
        return { seq, event_id, event_type, ts, attempts, reason: letter.reason };
      }),
    };
  }
}

/** Dead letters of a handler. */
async function deadOf(project: Project, feature: string): Promise<{ seq: number; letter: DeadLetter }[]> {
  const out: { seq: number; letter: DeadLetter }[] = [];
  for (let after = 0; ; ) {
    const page = await project.online.deadLetters(after, PAGE);
    out.push(...page.filter(d => d.letter.handler?.feature === feature));
    if (page.length < PAGE) return out;
    after = page[page.length - 1]!.seq;
  }
}

const identity = (row: TableRow): string => `${row.eff}/${row.ts}/${row.created}/${row.gone}/${row.text}`;

function shown(f: TableFeaturePlan | OnFeaturePlan, row: TableRow): Omit<ExplainedRow, 'counts' | 'note'> {
  const value = row.gone ? null : revive((JSON.parse(row.text) as unknown[])[f.kind === 'table' ? f.at : 0], f.type);
  return { eff: row.eff, ts: row.ts, created: row.created, value, gone: row.gone };
}
