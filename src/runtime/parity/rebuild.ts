/** The log again into an empty store that keeps all detail: any instant can then be read. */
import { Decoder } from '../../engine/decode.ts';
import type { Group } from '../../engine/group.ts';
import type { FoldUnit } from '../../engine/units.ts';
import { Router } from '../../engine/route.ts';
import { newAdmitState } from '../../engine/admit.ts';
import { FabraError } from '../../lib/errors.ts';
import type { Lease, Mark, OnlineStore, Position } from '../../ports/online-store.ts';
import type { StreamPlan } from '../../registry/types.ts';
import { prepare } from '../batch.ts';
import type { Compiled, Project } from '../project.ts';

const BATCH = 5_000;

/** What is rebuilt: the reader's own groups and folds. */
export interface RebuiltState {
  groups: readonly Group[];
  folds?: readonly FoldUnit[];
}

export interface RebuildHooks {
  signal?: AbortSignal;
  onProgress?(done: number, total: number): void;
}

/**
 * Fills `online` (empty) with the project's whole log as it is now. Retention is made endless first, so that no read is
 * refused.
 */
export async function rebuild(project: Project, compiled: Compiled, online: OnlineStore, { groups, folds = [] }: RebuiltState, hooks: RebuildHooks): Promise<Position> {
  for (const g of [...groups, ...folds]) g.retention = Number.POSITIVE_INFINITY;
  await online.adopt(groups, { folds, triggers: [], tables: [] });
  const lease = await online.lease();
  const position: Position = {};
  let done = 0;
  try {
    const streams = Object.values(compiled.registry.streams);
    const ends = await Promise.all(streams.map(async s => (await project.bus.bounds(s.name, 0)).end));
    const total = ends.reduce((a, b) => a + b, 0);
    for (const [i, plan] of streams.entries()) {
      const own = { groups: groups.filter(g => g.stream === plan.name), folds: folds.filter(f => f.streams.includes(plan.name)) };
      const onBatch = (n: number) => {
        if (hooks.signal?.aborted) throw new FabraError('INTERRUPTED', 'interrupted');
        hooks.onProgress?.((done += n), total);
      };
      await refill(project, compiled, { plan, ...own, online, lease, end: ends[i]! }, onBatch);
      position[`${plan.name}/0`] = ends[i]!;
    }
  } finally {
    await lease.release();
  }
  return position;
}

interface Lane {
  plan: StreamPlan;
  groups: readonly Group[];
  folds: readonly FoldUnit[];
  online: OnlineStore;
  lease: Lease;
  end: number;
}

async function refill(project: Project, compiled: Compiled, lane: Lane, onBatch: (events: number) => void): Promise<void> {
  const { plan, groups, folds, online, lease, end } = lane;
  const declared = new Set(
    Object.values(compiled.registry.events)
      .filter(e => e.stream === plan.name)
      .map(e => e.type),
  );
  const pipe = { plan, decoder: new Decoder(compiled.registry, plan.name, compiled.code.schemas), router: new Router(groups, folds, plan.name), declared };
  let mark: Mark = { next: 0, admit: newAdmitState() };
  const commit = async (records: Parameters<typeof prepare>[2], next: number) => {
    const p = prepare(pipe, 0, records, mark);
    p.mark.next = Math.max(next, p.mark.next);
    if (p.mark.next === mark.next) return;
    const result = await online.commit({
      stream: plan.name,
      partition: 0,
      lease,
      expect: mark.next,
      mark: p.mark,
      groups,
      folds,
      live: true,
      updates: p.updates,
      foldUpdates: p.foldUpdates,
      dead: [],
      count: p.count,
    });
    if (result.status !== 'ok') throw new FabraError('STORE_FAILED', `the scratch store refused a batch: ${result.status}`, { hint: 'Run the same command again.' });
    mark = p.mark;
    onBatch(records.length);
  };
  // Rows that were rejected are in no file: the log's own offsets say how far we are.
  const kept = await project.history.mark(plan.name, 0);
  const filed = Math.min(kept.next, end);
  for await (const records of project.history.scan(plan.name, 0, 0, filed)) await commit(records, mark.next);
  if (mark.next < filed) await commit([], filed);
  while (mark.next < end) {
    const records = await project.bus.poll(plan.name, 0, mark.next, Math.min(BATCH, end - mark.next));
    await commit(records, records.length === 0 ? end : mark.next);
  }
}
