/**
 * P0: the online store's answers against history's, over the same log, at the same instants: must be the same to the last bit.
 *
 * Events may flow meanwhile. Every online answer says its position, history is opened at the newest of these, and a row of
 * which a key got an older event in between is read again: what is compared has always seen the same events.
 */
import type { Cell } from '../../engine/values.ts';
import { FabraError } from '../../lib/errors.ts';
import { joinKey } from '../../lib/text.ts';
import type { HistoryView } from '../../ports/offline-store.ts';
import type { Position } from '../../ports/online-store.ts';
import type { Compiled, Project } from '../project.ts';
import { severity, Tally } from './compare.ts';
import { rebuild } from './rebuild.ts';
import { type SampleRow, sampleRows } from './sample.ts';
import { scopeOf } from './scope.ts';
import { type Answered, type Question, Sides } from './sides.ts';
import type { LeftOut, ParityOptions, ParityReport } from './types.ts';
import { explainWorst, type Mismatch } from './worst.ts';

export type { FeatureTally } from './compare.ts';
export type { AuditLine, EventNote, LeftOut, ParityOptions, ParityReport, WorstRow } from './types.ts';

const DEFAULT_COMPARISONS = 100_000;
/** Rows asked of history at once. */
const CHUNK = 20_000;
/** Times that a row is read again because one of its keys moved. */
const TRIES = 5;
const ROUNDS = 4;
/** Differences remembered per feature. */
const KEPT = 20;

/**
 * Compares; a difference is in the report, not an error.
 * @throws FabraError NOT_APPLIED, UNKNOWN_FEATURE, NOTHING_COMPARED, INTERRUPTED.
 */
export async function runParity(project: Project, compiled: Compiled, options: ParityOptions = {}): Promise<ParityReport> {
  await checkApplied(project, compiled);
  const scope = scopeOf(compiled.registry, options.features, !options.lenient);
  const run = new ParityRun(project, compiled, scope, options);
  try {
    return await run.run();
  } finally {
    await run.close();
  }
}

async function checkApplied(project: Project, compiled: Compiled): Promise<void> {
  const applied = await project.catalog.applied();
  if (!applied) throw new FabraError('NOT_APPLIED', 'no registry is applied yet', { hint: 'Run: fabra apply' });
  const differs = Object.values(compiled.registry.features).find(f => applied.registry.features[f.id]?.fingerprint !== f.fingerprint);
  if (differs) throw new FabraError('NOT_APPLIED', `${differs.id} differs from the applied registry`, { hint: 'Run: fabra plan, then fabra apply' });
}

class ParityRun {
  private readonly project: Project;
  private readonly compiled: Compiled;
  private readonly options: ParityOptions;
  private readonly sides: Sides;
  private readonly left: LeftOut[];
  private readonly seed: number;
  private readonly tallies: Map<string, Tally>;
  private readonly mismatches = new Map<string, Mismatch[]>();
  private readonly skipped = { expired: 0, backfilling: 0, moving: 0 };
  private view: HistoryView | null = null;
  private position: Position = {};
  private rows = 0;
  private from = Number.POSITIVE_INFINITY;
  private to = Number.NEGATIVE_INFINITY;

  constructor(project: Project, compiled: Compiled, { asked, left }: { asked: readonly string[]; left: LeftOut[] }, options: ParityOptions) {
    this.project = project;
    this.compiled = compiled;
    this.options = options;
    this.left = left;
    this.seed = options.seed ?? 1;
    this.sides = new Sides(options.replay?.online ?? project.online, compiled, asked);
    this.tallies = new Map(asked.map(id => [id, new Tally(id)]));
  }

  async run(): Promise<ParityReport> {
    const began = this.project.clock.now();
    const { signal, replay, onProgress } = this.options;
    if (replay) {
      const state = { groups: this.sides.groups, folds: this.sides.folds };
      await rebuild(this.project, this.compiled, replay.online, state, { signal, onProgress: (done, total) => onProgress?.({ phase: 'replay', done, total }) });
    }
    this.position = await this.sides.look();
    this.view = await this.project.history.open(this.compiled, this.position);
    const target = this.options.comparisons ?? DEFAULT_COMPARISONS;
    for (let round = 0; round < ROUNDS && this.compared() < target; round++) if (!(await this.round(target, round))) break;
    if (this.compared() === 0) throw nothing(this.skipped);
    return this.report((this.project.clock.now() - began) / 1000);
  }

  private compared(): number {
    let n = 0;
    for (const t of this.tallies.values()) n += t.counts.total;
    return n;
  }

  /** Samples and compares; false when there was nothing (more) to compare. */
  private async round(target: number, round: number): Promise<boolean> {
    const before = this.compared();
    const questions: Question[] = [];
    let planned = before;
    for (const row of await this.sample(target - before, round)) {
      if (planned >= target) break;
      const { question, skipped } = this.sides.question(row);
      for (const id of skipped) this.skip(id, this.isUnready(id) ? 'backfilling' : 'expired');
      if (question.ids.length === 0) continue;
      planned += question.ids.length;
      questions.push(question);
    }
    for (let i = 0; i < questions.length; i += CHUNK) await this.chunk(questions.slice(i, i + CHUNK), target);
    return this.compared() > before;
  }

  private isUnready(id: string): boolean {
    const f = this.compiled.registry.features[id]!;
    return f.kind === 'derive' ? Object.values(f.inputs).some(i => this.isUnready(i)) : this.sides.unready.has(id);
  }

  private async sample(missing: number, round: number): Promise<SampleRow[]> {
    const range = await this.view!.range();
    if (!range) return [];
    const floors = [...this.sides.floors.values()];
    const lowest = Math.min(...floors);
    const spans = this.sides.stored.map(f => ({
      floor: this.sides.settled.get(f.id) ?? this.sides.floors.get(f.id)!,
      reach: f.kind === 'window' && (f.frame.kind === 'over' || f.frame.kind === 'tumbling' || f.frame.kind === 'hopping') ? reachOf(f.frame) : 0,
    }));
    const whole = Math.max(...spans.map(s => s.floor + s.reach));
    const bounds = { from: Math.max(range.from, lowest), to: range.to, whole: Number.isFinite(whole) ? Math.min(whole, range.to) : null };
    const rows = Math.ceil(missing / Math.max(1, this.tallies.size)) * 3 + 50;
    return sampleRows(this.view!, this.compiled.registry, { features: this.sides.stored, rows, seed: this.seed + 1_000 * round, bounds, keys: this.options.keys });
  }

  private skip(id: string, why: keyof ParityRun['skipped']): void {
    this.skipped[why]++;
    this.tallies.get(id)!.skip();
  }

  private async chunk(questions: readonly Question[], target: number): Promise<void> {
    let left = questions;
    for (let attempt = 0; left.length > 0; attempt++) {
      const answered: Answered[] = [];
      for (const q of left) {
        if (this.options.signal?.aborted) throw new FabraError('INTERRUPTED', 'interrupted');
        const { answered: a, expired } = await this.sides.readOnline(q);
        for (const id of expired) this.skip(id, 'expired');
        if (a) answered.push(a);
      }
      const moved = await this.follow(answered);
      await this.compare(
        answered.filter(a => !moved.has(a)),
        target,
      );
      left = [...moved].map(a => a.question);
      if (attempt + 1 < TRIES) continue;
      for (const q of left) for (const id of q.ids) this.skip(id, 'moving');
      return;
    }
  }

  /** Moves the view to the newest position read; returns the answers that history would see other events for. */
  private async follow(answered: readonly Answered[]): Promise<Set<Answered>> {
    const oldest: Position = { ...this.position };
    const newest: Position = { ...this.position };
    for (const { position } of answered)
      for (const [lane, next] of Object.entries(position)) {
        newest[lane] = Math.max(newest[lane] ?? next, next);
        oldest[lane] = Math.min(oldest[lane] ?? next, next);
      }
    const moved = new Set<Answered>();
    const lanes = Object.keys(newest);
    if (lanes.every(l => newest[l] === this.position[l] && oldest[l] === newest[l])) return moved;
    await this.view?.close();
    this.view = await this.project.history.open(this.compiled, newest);
    this.position = newest;
    const changed = await this.changes(oldest);
    for (const a of answered) if (this.touched(a.question, changed)) moved.add(a);
    return moved;
  }

  /** Entity -> storage key -> time of the oldest event behind the position. */
  private async changes(since: Position): Promise<Map<string, Map<string, number>>> {
    const out = new Map<string, Map<string, number>>();
    for (const entity of new Set(this.sides.stored.map(f => f.entity))) out.set(entity, new Map((await this.view!.changedKeys(entity, since)).map(c => [joinKey(c.key), c.minTs])));
    return out;
  }

  private touched({ row, at }: Question, changed: ReadonlyMap<string, ReadonlyMap<string, number>>): boolean {
    for (const [entity, keys] of changed) {
      const parts = this.compiled.registry.entities[entity]!.key.map(c => row[c]);
      if (parts.some(p => p === undefined)) continue;
      const ts = keys.get(joinKey(parts as string[]));
      if (ts !== undefined && ts < at) return true;
    }
    return false;
  }

  private async compare(answered: readonly Answered[], target: number): Promise<void> {
    if (answered.length === 0) return;
    const offline = await this.sides.readOffline(
      this.view!,
      answered.map(a => a.question),
    );
    answered.forEach(({ question, cells }, r) => {
      question.ids.forEach((id, i) => {
        this.pair(id, question, cells[i]!, offline[r]!.get(id)!);
      });
      this.rows++;
      this.from = Math.min(this.from, question.at);
      this.to = Math.max(this.to, question.at);
    });
    this.options.onProgress?.({ phase: 'compare', done: this.compared(), total: target });
  }

  private pair(id: string, question: Question, online: Cell, offline: Cell): void {
    if (this.tallies.get(id)!.add(online, offline)) return;
    let kept = this.mismatches.get(id);
    if (!kept) this.mismatches.set(id, (kept = []));
    kept.push({ id, question, online, offline, severity: severity(online, offline) });
    if (kept.length <= 2 * KEPT) return;
    kept.sort((a, b) => b.severity - a.severity);
    kept.length = KEPT;
  }

  private async report(seconds: number): Promise<ParityReport> {
    const features = [...this.tallies.values()].map(t => t.counts);
    const mismatched = features.reduce((n, f) => n + f.mismatch, 0);
    const audit = [];
    for (const stream of Object.keys(this.compiled.registry.streams)) audit.push({ stream, ...(await this.view!.audit(stream)) });
    return {
      ok: mismatched === 0 && audit.every(a => !a.differ),
      mode: this.options.replay ? 'replay' : 'live',
      p0: { compared: this.compared(), mismatched, features },
      left: this.left,
      worst: await explainWorst(this.sides, this.view!, [...this.mismatches.values()]),
      audit,
      nonempty: features.reduce((n, f) => n + f.nonempty, 0),
      skipped: this.skipped,
      rows: this.rows,
      instants: this.rows > 0 ? { from: this.from, to: this.to } : null,
      position: this.position,
      seed: this.seed,
      seconds,
    };
  }

  async close(): Promise<void> {
    await this.view?.close();
  }
}

const reachOf = (frame: { w: number; h?: number; previous?: boolean }): number => (frame.previous ? 2 * frame.w : frame.w + (frame.h ?? 0));

function nothing(skipped: ParityRun['skipped']): FabraError {
  if (skipped.backfilling > 0)
    return new FabraError('NOTHING_COMPARED', 'nothing was compared: the features are still backfilling', { hint: 'Run: fabra worker --until-idle, then the same command again.' });
  if (skipped.expired > 0)
    return new FabraError('NOTHING_COMPARED', 'nothing was compared: every instant lies behind what the online store keeps', {
      hint: 'Run: fabra parity --replay (compares at any instant, on a store rebuilt from the log)',
    });
  return new FabraError('NOTHING_COMPARED', 'nothing was compared: there is no event yet, or none of the keys asked for', {
    hint: 'Run: fabra replay data/events.csv.gz, then fabra worker --until-idle',
  });
}
