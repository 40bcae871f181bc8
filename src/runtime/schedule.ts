/** Views on a schedule, one at a time, and recorded rows on their way to history: beside a worker. */
import { compileUnits } from '../engine/units.ts';
import { MINUTE } from '../lib/duration.ts';
import { type FabraError, toFabraError } from '../lib/errors.ts';
import { materialize, materializedViews, type ViewSummary } from './materializer.ts';
import type { Compiled, Project } from './project.ts';

export interface ScheduleOptions {
  signal: AbortSignal;
  /** Every view that has a schedule runs once, and that is all. */
  once?: boolean;
  /** Nothing runs before this resolves: a worker that waits for another one leaves the schedule to it. */
  after?: Promise<void>;
  onRun?(summary: ViewSummary): void;
  /** A view or the flush failed; the schedule goes on. */
  onError?(error: { code: string; message: string; hint: string | null }, view: string | null): void;
}

/** Between looks at rows that handlers and pushes recorded. */
const FLUSH_MS = MINUTE;

/** Runs views with `every` at start and then as often as they say, until the signal aborts. Rows recorded meanwhile go to files. */
export async function runSchedule(project: Project, compiled: Compiled, options: ScheduleOptions): Promise<void> {
  const { clock } = project;
  if (options.after) await Promise.race([options.after, aborted(options.signal)]);
  const start = clock.now();
  const views = materializedViews(compiled).filter(v => v.every !== null);
  const due = new Map(views.map(v => [v.id, start]));
  let flushAt = options.once ? start : start + FLUSH_MS;
  while (!options.signal.aborted) {
    for (const view of views) {
      if (due.get(view.id)! > clock.now() || options.signal.aborted) continue;
      const began = clock.now();
      await runView(project, compiled, view.id, view.incremental, options);
      due.set(view.id, began + view.every!);
    }
    if (flushAt <= clock.now()) {
      await flushRows(project, compiled, options);
      flushAt = clock.now() + FLUSH_MS;
    }
    if (options.once) return;
    const next = Math.min(flushAt, ...due.values());
    await clock.sleep(Math.max(0, next - clock.now()), options.signal);
  }
  await flushRows(project, compiled, options);
}

const aborted = (signal: AbortSignal): Promise<void> => new Promise(resolve => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));

async function runView(project: Project, compiled: Compiled, view: string, incremental: boolean, options: ScheduleOptions): Promise<void> {
  try {
    const [summary] = await materialize(project, compiled, { views: [view], incremental, scheduled: true, signal: options.signal });
    if (!summary) return;
    const { status, read, rows, gone, seconds, error } = summary;
    project.log.log(status === 'failed' ? 'error' : 'info', { event: 'materialized', view, status, read, rows, gone, seconds, error: error?.message });
    options.onRun?.(summary);
    if (status === 'failed' && error) options.onError?.(error, view);
  } catch (e) {
    const error = toFabraError(e);
    if (!options.signal.aborted) tell(options, error, view);
  }
}

const tell = (options: ScheduleOptions, { code, message, hint }: FabraError, view: string | null): void => options.onError?.({ code, message, hint: hint ?? null }, view);

/** Rows that the online store recorded, into history's files. */
async function flushRows(project: Project, compiled: Compiled, options: ScheduleOptions): Promise<void> {
  try {
    await project.tables.flush(compileUnits(compiled.registry).tables);
  } catch (e) {
    tell(options, toFabraError(e), null);
  }
}

/** Runs `action` with the schedule beside it. With `once`, all views with a schedule have run when it ends. */
export async function withSchedule<T>(project: Project, compiled: Compiled, options: ScheduleOptions, action: () => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const schedule = runSchedule(project, compiled, { ...options, signal: AbortSignal.any([options.signal, stop.signal]) });
  try {
    return await action();
  } catch (e) {
    stop.abort();
    throw e;
  } finally {
    if (!options.once) stop.abort();
    await schedule;
    // What the action recorded last.
    await flushRows(project, compiled, options);
  }
}
