/** `fabra freshness`: how old the newest event, or the last run, behind each feature is, and how much is still to be read. */
import { compileGroups } from '../../engine/group.ts';
import { compileUnits, type FoldUnit, type TriggerUnit } from '../../engine/units.ts';
import { formatDuration } from '../../lib/duration.ts';
import { iso } from '../../lib/time.ts';
import type { Registry } from '../../registry/types.ts';
import { columns, grouped } from '../output.ts';
import { appliedOf } from '../open.ts';
import { chosenFeatures } from '../select.ts';
import type { Run } from '../spec.ts';
import { viewStatus } from '../views.ts';
import { type OpenedProject, withProject } from '../wire.ts';

interface Freshness {
  feature: string;
  /** Event time of the newest event taken into the feature's state; of rows, the time of the last run that is online. */
  newest: string | null;
  age_ms: number | null;
  /** Events of its streams still to be read, and turns of handlers that wait. */
  behind: number;
  ready: boolean;
}

export const run: Run = call =>
  withProject(call, async project => {
    const { registry } = await appliedOf(project);
    const now = call.common.asOf ?? project.clock.now();
    const ids = chosenFeatures(registry, call.common) ?? Object.keys(registry.features);
    const features = await freshness(project, registry, ids, now);
    call.out.answer({ as_of: iso(now), features }, () =>
      columns(
        [
          ['FEATURE', 'NEWEST', 'AGE', 'BEHIND', 'READY'],
          ...features.map(f => [f.feature, f.newest ?? '-', f.age_ms === null ? '-' : formatDuration(f.age_ms), grouped(f.behind), f.ready ? 'yes' : 'catching up']),
        ],
        [3],
      ),
    );
    return 0;
  });

interface State {
  max: number | null;
  behind: number;
  ready: boolean;
}

async function freshness(project: OpenedProject, registry: Registry, ids: readonly string[], now: number): Promise<Freshness[]> {
  const states = await statesOf(project, registry, now);
  return ids.map(feature => {
    const used = basesOf(registry, feature).flatMap(id => states.get(id) ?? []);
    const times = used.map(s => s.max).filter(t => t !== null);
    const newest = times.length > 0 ? Math.max(...times) : null;
    return {
      feature,
      newest: newest === null ? null : iso(newest),
      age_ms: newest === null ? null : Math.max(0, now - newest),
      behind: used.reduce((n, s) => n + Math.max(0, s.behind), 0),
      ready: used.every(s => s.ready),
    };
  });
}

/** By group id, view id, or feature id of folds and handlers. */
async function statesOf(project: OpenedProject, registry: Registry, now: number): Promise<Map<string, State>> {
  const states = new Map<string, State>();
  for (const [id, group] of compileGroups(registry).groups) {
    const [found, { end }] = await Promise.all([project.online.groupStatus(group), project.bus.bounds(group.stream, 0)]);
    const mark = found?.marks[0];
    states.set(id, { max: mark?.admit.max ?? null, behind: end - (mark?.next ?? 0), ready: found?.ready ?? false });
  }
  const { folds, triggers } = compileUnits(registry);
  for (const unit of folds) states.set(unit.id, await unitState(project, unit));
  const waiting = triggers.length > 0 ? await project.online.waiting(triggers) : {};
  for (const unit of triggers) {
    const state = await unitState(project, unit);
    states.set(unit.id, { ...state, behind: state.behind + (waiting[unit.id] ?? 0), ready: true });
  }
  for (const { view, good } of await viewStatus(project, registry, now)) states.set(view.id, { max: good?.at ?? null, behind: 0, ready: good !== null });
  return states;
}

async function unitState(project: OpenedProject, unit: FoldUnit | TriggerUnit): Promise<State> {
  let [max, behind, ready] = [null as number | null, 0, true];
  for (const stream of unit.streams) {
    const [found, { end }] = await Promise.all([project.online.groupStatus(unit, stream), project.bus.bounds(stream, 0)]);
    const mark = found?.marks[0];
    const newest = mark?.admit.max ?? null;
    if (newest !== null) max = Math.max(max ?? newest, newest);
    behind += Math.max(0, end - (mark?.next ?? 0));
    ready &&= found?.ready ?? false;
  }
  return { max, behind, ready };
}

/** What a feature reads, through derived ones too: ids as in {@link statesOf}. */
function basesOf(registry: Registry, id: string): string[] {
  const f = registry.features[id]!;
  switch (f.kind) {
    case 'derive':
      return [...new Set(Object.values(f.inputs).flatMap(input => basesOf(registry, input)))];
    case 'table':
      return [f.view];
    case 'window': {
      const sides = f.agg.op === 'ratio' ? [f.agg.num, f.agg.den] : [f.agg];
      return [...new Set(sides.map(a => `${f.entity}/${a.stream}`))];
    }
    default:
      return [f.id];
  }
}
