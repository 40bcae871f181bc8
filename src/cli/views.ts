/** How views of SQL stand: their last runs, and when the next one is due. */
import type { ViewRun } from '../ports/table-store.ts';
import type { Registry, ViewPlan } from '../registry/types.ts';
import type { OpenedProject } from './wire.ts';

export interface ViewStatus {
  view: ViewPlan;
  /** Newest run, also a failed one. */
  last: ViewRun | null;
  /** Newest run that is online: what reads answer from. */
  good: ViewRun | null;
  /** Epoch ms; null without a schedule, or before the first run. */
  due: number | null;
  /** Its schedule has been missed for a whole period, or it has never run. */
  overdue: boolean;
}

/** Runs looked at for one that is online. */
const RUNS = 100;

/** Views that are run: pushed ones and those that are asked live have no runs. */
export async function viewStatus(project: OpenedProject, registry: Registry, now: number): Promise<ViewStatus[]> {
  const out: ViewStatus[] = [];
  for (const view of Object.values(registry.views)) {
    if (view.sql === null || !view.materialize) continue;
    const runs = (await project.tables.runs(view.id, RUNS)).filter(r => r.hash === view.hash);
    const last = runs[0] ?? null;
    const good = runs.find(r => r.status === 'online') ?? null;
    const due = view.every === null || last === null ? null : last.at + view.every;
    const overdue = view.every !== null && (good === null || now > good.at + 2 * view.every);
    out.push({ view, last, good, due, overdue });
  }
  return out;
}
