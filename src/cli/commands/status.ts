/** `fabra status`: how far the log, the state and history are. */
import { compileGroups } from '../../engine/group.ts';
import { iso } from '../../lib/time.ts';
import { type Counters, noCounters } from '../../ports/online-store.ts';
import type { Registry } from '../../registry/types.ts';
import { columns, grouped, plural } from '../output.ts';
import { appliedOf } from '../open.ts';
import type { Run } from '../spec.ts';
import { type OpenedProject, withProject } from '../wire.ts';

interface StreamStatus {
  stream: string;
  /** Offsets: the next to be written, read, and put into history. */
  end: number;
  next: number;
  lag: number;
  history: number;
  newest: string | null;
  counters: Counters;
}

export const run: Run = call =>
  withProject(call, async project => {
    const { revision, at, registry } = await appliedOf(project);
    const streams = await Promise.all(Object.keys(registry.streams).map(s => streamStatus(project, s)));
    const groups = await groupStatus(project, registry);
    const deadLetters = await project.online.deadCount();
    const worker = project.writer();
    const { out } = call;
    const document = {
      project: project.dir,
      revision,
      applied_at: iso(at),
      hash: registry.hash,
      features: Object.keys(registry.features).length,
      worker,
      streams,
      groups,
      dead_letters: deadLetters,
    };
    out.answer(document, () => [
      `project ${project.dir}`,
      `revision ${revision}, applied ${iso(at)}, ${plural(document.features, 'feature')}`,
      worker === null ? 'no worker is running' : `worker: process ${worker}`,
      '',
      ...columns([['STREAM', 'LOG', 'READ', 'BEHIND', 'HISTORY', 'NEWEST EVENT'], ...streams.map(row)], [1, 2, 3, 4]),
      '',
      ...columns([['STATE', 'READY'], ...groups.map(g => [g.group, g.ready ? 'yes' : 'catching up'])]),
      '',
      plural(deadLetters, 'dead letter'),
    ]);
    if (worker === null && streams.some(s => s.lag > 0)) out.note('', 'next: fabra worker');
    return 0;
  });

const row = (s: StreamStatus): string[] => [s.stream, grouped(s.end), grouped(s.next), grouped(s.lag), grouped(s.history), s.newest ?? '-'];

async function streamStatus(project: OpenedProject, stream: string): Promise<StreamStatus> {
  const [bounds, mark, history, byType] = await Promise.all([
    project.bus.bounds(stream, 0),
    project.online.streamMark(stream, 0),
    project.history.mark(stream, 0),
    project.online.counters(stream),
  ]);
  const counters = noCounters();
  for (const c of Object.values(byType)) for (const k of Object.keys(counters) as (keyof Counters)[]) counters[k] += c[k];
  const { max } = mark.admit;
  return { stream, end: bounds.end, next: mark.next, lag: Math.max(0, bounds.end - mark.next), history: history.next, newest: max === null ? null : iso(max), counters };
}

async function groupStatus(project: OpenedProject, registry: Registry): Promise<{ group: string; ready: boolean; next: number }[]> {
  const out = [];
  for (const group of compileGroups(registry).groups.values()) {
    const found = await project.online.groupStatus(group);
    out.push({ group: group.id, ready: found?.ready ?? false, next: found?.marks[0]?.next ?? 0 });
  }
  return out;
}
