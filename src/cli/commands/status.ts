/** `fabra status`: how far the log, the state, history, views and handlers are. */
import { compileGroups } from '../../engine/group.ts';
import { compileUnits, type Units } from '../../engine/units.ts';
import { iso } from '../../lib/time.ts';
import { type Counters, noCounters } from '../../ports/online-store.ts';
import type { Registry } from '../../registry/types.ts';
import { clip, columns, grouped, plural } from '../output.ts';
import { appliedOf } from '../open.ts';
import type { Run } from '../spec.ts';
import { type ViewStatus, viewStatus } from '../views.ts';
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
    const units = compileUnits(registry);
    const groups = await groupStatus(project, registry);
    const folds = await foldStatus(project, units);
    const views = await viewStatus(project, registry, project.clock.now());
    const handlers = await handlerStatus(project, units);
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
      folds,
      views: views.map(viewJson),
      handlers,
      dead_letters: deadLetters,
    };
    out.answer(document, () => [
      `project ${project.dir}`,
      `revision ${revision}, applied ${iso(at)}, ${plural(document.features, 'feature')}`,
      worker === null ? 'no worker is running' : `worker: process ${worker}`,
      '',
      ...section(['STREAM', 'LOG', 'READ', 'BEHIND', 'HISTORY', 'NEWEST EVENT'], streams.map(row), [1, 2, 3, 4]),
      ...section(
        ['STATE', 'READY'],
        [...groups.map(g => ({ id: g.group, ...g })), ...folds.map(f => ({ id: f.feature, ...f }))].map(g => [g.id, g.ready ? 'yes' : 'catching up']),
      ),
      ...section(['VIEW', 'ROWS', 'LAST RUN', 'NEXT RUN', 'STATE'], views.map(viewRow), [1]),
      ...section(
        ['HANDLER', 'WAITING', 'DEAD'],
        handlers.map(h => [h.feature, grouped(h.waiting), grouped(h.dead)]),
        [1, 2],
      ),
      plural(deadLetters, 'dead letter'),
    ]);
    const waits = streams.some(s => s.lag > 0) || handlers.some(h => h.waiting > 0);
    if (worker === null && waits) out.note('', 'next: fabra worker');
    const failed = views.find(v => v.last?.status === 'failed');
    if (failed) out.note('', `${failed.view.id} failed: ${failed.last!.error}`);
    return 0;
  });

/** A table with a line behind it; nothing without rows. */
const section = (head: string[], rows: string[][], right: number[] = []): string[] => (rows.length === 0 ? [] : [...columns([head, ...rows], right), '']);

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

async function foldStatus(project: OpenedProject, { folds }: Units): Promise<{ feature: string; ready: boolean }[]> {
  const out = [];
  for (const unit of folds) {
    const found = await Promise.all(unit.streams.map(s => project.online.groupStatus(unit, s)));
    out.push({ feature: unit.id, ready: found.every(f => f?.ready === true) });
  }
  return out;
}

async function handlerStatus(project: OpenedProject, { triggers }: Units): Promise<{ feature: string; waiting: number; dead: number }[]> {
  if (triggers.length === 0) return [];
  const waiting = await project.online.waiting(triggers);
  const dead = await deadByFeature(project);
  return triggers.map(({ id }) => ({ feature: id, waiting: waiting[id] ?? 0, dead: dead[id] ?? 0 }));
}

const PAGE = 1_000;

/** Dead letters that handlers left. */
async function deadByFeature(project: OpenedProject): Promise<Record<string, number>> {
  const out: Record<string, number> = {};
  for (let after = 0; ; ) {
    const page = await project.online.deadLetters(after, PAGE);
    for (const { letter } of page) if (letter.handler) out[letter.handler.feature] = (out[letter.handler.feature] ?? 0) + 1;
    if (page.length < PAGE) return out;
    after = page[page.length - 1]!.seq;
  }
}

const stateOf = ({ last, good, overdue }: ViewStatus): string => {
  if (!last) return 'never run';
  if (last.status === 'failed') return good ? 'failed, older values are served' : 'failed';
  return overdue ? 'overdue' : last.status === 'recorded' ? 'not online yet' : 'ok';
};

const viewRow = (v: ViewStatus): string[] => [
  v.view.id,
  v.last ? grouped(v.last.read) : '-',
  v.last ? iso(v.last.at) : '-',
  v.view.every === null ? 'by hand' : v.due === null ? 'at start' : iso(v.due),
  clip(stateOf(v), 40),
];

const viewJson = (v: ViewStatus) => ({
  view: v.view.id,
  features: v.view.features.map(f => f.id),
  source: v.view.source,
  state: stateOf(v),
  last_run: v.last && {
    id: v.last.id,
    at: iso(v.last.at),
    status: v.last.status,
    read: v.last.read,
    rows: v.last.rows,
    gone: v.last.gone,
    error: v.last.error,
  },
  last_good: v.good && iso(v.good.at),
  next_due: v.due === null ? null : iso(v.due),
  overdue: v.overdue,
});
