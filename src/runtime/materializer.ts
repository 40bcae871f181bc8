/** Running the SQL of views: recorded first, then put online; one process at a time for a view, and a killed run goes on where it was. */
import type { TableRow, TableUnit } from '../engine/units.ts';
import { compileUnits } from '../engine/units.ts';
import { DAY } from '../lib/duration.ts';
import { FabraError, toFabraError } from '../lib/errors.ts';
import type { JobLease } from '../ports/online-store.ts';
import type { RunOptions, ViewRun } from '../ports/table-store.ts';
import type { ViewPlan } from '../registry/types.ts';
import type { Compiled, Project } from './project.ts';

export interface MaterializeOptions {
  /** View ids; all that are materialized from SQL when unset. */
  views?: readonly string[];
  /** Epoch ms: rows with `from <= time <= to`. */
  from?: number;
  to?: number;
  /** Only what is new; without it also keys that are gone from the source are found. */
  incremental?: boolean;
  /** A run by the schedule: a view without history is read whole, where a person is asked for --from. */
  scheduled?: boolean;
  signal: AbortSignal;
  onProgress?(p: MaterializeProgress): void;
}

export interface MaterializeProgress {
  view: string;
  /** Rows online, of those the run found; both 0 while the SQL runs. */
  done: number;
  total: number;
}

export interface ViewSummary {
  view: string;
  features: string[];
  /** `busy`: another process is running it now. */
  status: 'ok' | 'busy' | 'failed';
  /** Event time asked for, epoch ms; null = unbounded. */
  from: number | null;
  to: number;
  incremental: boolean;
  /** Rows that the SQL gave; new ones; keys that are gone; rows without a whole key. */
  read: number;
  rows: number;
  gone: number;
  skipped: number;
  /** Keys with another value than before. */
  changed: number;
  /** An earlier run that was stopped half way was finished first. */
  resumed: boolean;
  seconds: number;
  error: { code: string; message: string; hint: string | null } | null;
}

/** A job is free again so long after its process stopped renewing it. */
const JOB_MS = 30_000;
/** Rows of one transaction online, and rows after which a run's place is written down. */
const CHUNK = 2_048;
const PLACE = 16_384;
/** How far back the first incremental run looks when a ttl of 0 says that no row is ever too old. */
const NO_TTL_REACH = 52 * 7 * DAY;

export const materializedViews = (compiled: Pick<Compiled, 'registry'>): ViewPlan[] => Object.values(compiled.registry.views).filter(v => v.materialize && v.sql !== null);

/**
 * Runs views one after the other; one that fails keeps its last good values and does not stop the others.
 * @throws FabraError NOT_APPLIED, BAD_FLAG for a window that ends before it begins; INTERRUPTED when the signal aborts.
 */
export async function materialize(project: Project, compiled: Compiled, options: MaterializeOptions): Promise<ViewSummary[]> {
  const applied = await project.catalog.applied();
  if (!applied) throw new FabraError('NOT_APPLIED', 'no registry is applied yet', { hint: 'Run: fabra apply' });
  if (options.from !== undefined && options.from > (options.to ?? project.clock.now()))
    throw new FabraError('BAD_FLAG', 'the window ends before it begins', { hint: '--from is the earlier instant; both ends are in the window.' });
  const chosen = materializedViews(compiled).filter(v => options.views === undefined || options.views.includes(v.id));
  const changed = chosen.find(v => applied.registry.views[v.id]?.hash !== v.hash);
  if (changed) throw new FabraError('NOT_APPLIED', `view '${changed.id}' differs from what is applied`, { hint: 'Run: fabra plan, then fabra apply' });
  const out: ViewSummary[] = [];
  for (const view of chosen) out.push(await new ViewJob(project, compiled, view, options).run());
  return out;
}

class ViewJob {
  private readonly project: Project;
  private readonly compiled: Compiled;
  private readonly view: ViewPlan;
  private readonly options: MaterializeOptions;
  private readonly table: TableUnit;
  private readonly summary: ViewSummary;

  constructor(project: Project, compiled: Compiled, view: ViewPlan, options: MaterializeOptions) {
    this.project = project;
    this.compiled = compiled;
    this.view = view;
    this.options = options;
    this.table = compileUnits(compiled.registry).tables.get(view.id)!;
    const { from = null, to = project.clock.now(), incremental = false } = options;
    const nothing = { read: 0, rows: 0, gone: 0, skipped: 0, changed: 0, resumed: false, seconds: 0, error: null };
    this.summary = { view: view.id, features: view.features.map(f => f.id), status: 'ok', from, to, incremental, ...nothing };
  }

  async run(): Promise<ViewSummary> {
    const { project, summary, options } = this;
    const began = project.clock.now();
    if (options.signal.aborted) throw interrupted();
    this.tell(0, 0);
    try {
      await this.withJob((job, signal) => this.runs(job, signal));
    } catch (e) {
      if (options.signal.aborted) throw interrupted();
      const error = toFabraError(e);
      summary.status = error.code === 'JOB_BUSY' ? 'busy' : 'failed';
      summary.error = { code: error.code, message: error.message, hint: error.hint ?? null };
      // Of a lost job the one who has it now tells; its state is not ours to write. A bad window was no run.
      if (!['JOB_BUSY', 'FENCED', 'BAD_FLAG'].includes(error.code)) await project.tables.failed(this.view, summary, error.message, began);
    }
    summary.seconds = (project.clock.now() - began) / 1000;
    return summary;
  }

  private async runs(job: JobLease, signal: AbortSignal): Promise<void> {
    const { tables } = this.project;
    const waiting = (await tables.runs(this.view.id, Number.POSITIVE_INFINITY)).some(r => r.status === 'recorded' && r.hash === this.view.hash);
    if (waiting) {
      // Whatever is asked for, it is given the run that was stopped.
      await this.putOnline(await tables.run(this.view, this.compiled, this.summary, job, signal), job, signal);
      this.summary.resumed = true;
    }
    Object.assign(this.summary, await this.window());
    const run = await tables.run(this.view, this.compiled, this.summary, job, signal);
    const { read, rows, gone, skipped } = run;
    Object.assign(this.summary, { read, rows, gone, skipped });
    await this.putOnline(run, job, signal);
  }

  private async window(): Promise<Pick<RunOptions, 'from' | 'to'>> {
    const { options, summary, view } = this;
    const { to } = summary;
    // Without a time column there is no window: what the SQL gives now was never seen at an instant of the past.
    if (view.time === null) return { from: null, to: this.project.clock.now() };
    if (options.from !== undefined || !summary.incremental) return { from: options.from ?? null, to };
    const covered = await this.project.tables.intervals(view);
    if (covered.length > 0) return { from: Math.min(to, Math.max(...covered.map(c => c.to))), to };
    const ttls = view.features.map(f => this.compiled.registry.features[f.id]!.ttl);
    if (!ttls.includes(null)) return { from: to - Math.max(...ttls.map(ttl => ttl || NO_TTL_REACH)), to };
    if (options.scheduled) return { from: null, to };
    throw new FabraError('BAD_FLAG', `view '${view.id}' has no history yet and no ttl that says how far back to look`, {
      hint: 'Say from when: fabra materialize --incremental --from 2025-01-01; or leave --incremental out to read all of it.',
    });
  }

  private async putOnline(run: ViewRun, job: JobLease, signal: AbortSignal): Promise<void> {
    const { online, tables } = this.project;
    const total = run.rows + run.gone;
    let put = run.put;
    let noted = put;
    let chunk: { key: string; row: TableRow }[] = [];
    const flush = async (rows: typeof chunk) => {
      if (signal.aborted) throw signal.reason;
      this.summary.changed += await online.putRows(
        rows.map(r => ({ table: this.table, ...r })),
        { record: false, job },
      );
      put += rows.length;
      this.tell(put, total);
      if (put - noted >= PLACE) await tables.advance(run, (noted = put), job);
    };
    this.tell(put, total);
    for await (const rows of tables.rowsOf(run, this.view, this.compiled, run.put)) {
      chunk = chunk.concat(rows);
      for (let cut = cutOf(chunk); cut > 0; cut = cutOf(chunk)) {
        await flush(chunk.slice(0, cut));
        chunk = chunk.slice(cut);
      }
    }
    await flush(chunk);
    await online.putRows([], { record: false, job, ready: [this.table] });
    await tables.finished(run, job);
  }

  private tell(done: number, total: number): void {
    this.options.onProgress?.({ view: this.view.id, done, total });
  }

  /** Holds the view's job, renewed; when it is lost all the same, the signal aborts. */
  private async withJob(action: (job: JobLease, signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, online } = this.project;
    const job = await online.jobLease(`view:${this.view.id}`, JOB_MS);
    const over = new AbortController();
    const lost = new AbortController();
    // Not AbortSignal.any: a signal that lives as long as the worker would keep a little of every run.
    const both = new AbortController();
    const asked = this.options.signal;
    const stop = () => both.abort(asked.reason);
    asked.addEventListener('abort', stop, { once: true });
    if (asked.aborted) stop();
    const renewing = (async () => {
      for (;;) {
        await clock.sleep(JOB_MS / 3, over.signal);
        if (over.signal.aborted) return;
        await job.renew().catch((e: unknown) => {
          lost.abort(e);
          both.abort(e);
          over.abort();
        });
      }
    })();
    try {
      await action(job, both.signal);
    } catch (e) {
      throw lost.signal.aborted ? lost.signal.reason : e;
    } finally {
      asked.removeEventListener('abort', stop);
      over.abort();
      await renewing;
      await job.release();
    }
  }
}

/** Where a full chunk ends: between two keys where it can, so that a key's rows come together. 0 while it is not full. */
function cutOf(rows: readonly { key: string }[]): number {
  if (rows.length <= CHUNK) return 0;
  for (let cut = CHUNK; cut > 0; cut--) if (rows[cut]!.key !== rows[cut - 1]!.key) return cut;
  return CHUNK;
}

const interrupted = (): FabraError => new FabraError('INTERRUPTED', 'stopped', { hint: 'Run it again: what is done is kept.' });
