/** `fabra freshness`: how old the newest event behind each feature is, and how many are still to be read. */
import { compileGroups } from '../../engine/group.ts';
import { formatDuration } from '../../lib/duration.ts';
import { iso } from '../../lib/time.ts';
import type { Registry } from '../../registry/types.ts';
import { columns, grouped } from '../output.ts';
import { appliedOf } from '../open.ts';
import { chosenFeatures } from '../select.ts';
import type { Run } from '../spec.ts';
import { type OpenedProject, withProject } from '../wire.ts';

interface Freshness {
  feature: string;
  /** Event time of the newest event taken into the feature's state. */
  newest: string | null;
  age_ms: number | null;
  /** Events of its streams still to be read. */
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
          ['FEATURE', 'NEWEST EVENT', 'AGE', 'BEHIND', 'READY'],
          ...features.map(f => [f.feature, f.newest ?? '-', f.age_ms === null ? '-' : formatDuration(f.age_ms), grouped(f.behind), f.ready ? 'yes' : 'catching up']),
        ],
        [3],
      ),
    );
    return 0;
  });

async function freshness(project: OpenedProject, registry: Registry, ids: readonly string[], now: number): Promise<Freshness[]> {
  const { groups } = compileGroups(registry);
  const states = new Map<string, { max: number | null; behind: number; ready: boolean }>();
  for (const [id, group] of groups) {
    const [found, { end }] = await Promise.all([project.online.groupStatus(group), project.bus.bounds(group.stream, 0)]);
    const mark = found?.marks[0];
    states.set(id, { max: mark?.admit.max ?? null, behind: end - (mark?.next ?? 0), ready: found?.ready ?? false });
  }
  return ids.map(feature => {
    const used = groupsOf(registry, feature).map(g => states.get(g)!);
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

/** Groups whose state a feature reads, through derived ones too. */
function groupsOf(registry: Registry, id: string): string[] {
  const f = registry.features[id]!;
  if (f.kind === 'derive') return [...new Set(Object.values(f.inputs).flatMap(input => groupsOf(registry, input)))];
  if (f.kind !== 'window') return [];
  const sides = f.agg.op === 'ratio' ? [f.agg.num, f.agg.den] : [f.agg];
  return [...new Set(sides.map(a => `${f.entity}/${a.stream}`))];
}
