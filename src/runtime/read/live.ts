/** Views that are not materialized: one lookup per view for all keys of a read, each with its own time. */
import type { TableRow } from '../../engine/units.ts';
import type { TableStore } from '../../ports/table-store.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Registry, ViewPlan } from '../../registry/types.ts';
import { messageOf } from '../derive.ts';
import type { RuntimeCode } from '../project.ts';
import { withBudget } from './budget.ts';
import type { Watch } from './watch.ts';

/** What a live view gave for one key, or why it gave nothing. */
export type LiveRow = { row: TableRow | null } | { reason: string; detail?: string };

interface Wanted {
  view: ViewPlan;
  /** Key -> its place among `parts`. */
  places: Map<string, number>;
  parts: string[][];
}

export interface LiveParts {
  tables: TableStore | undefined;
  registry: Registry;
  code: RuntimeCode;
  clock: Clock;
  watch: Watch;
}

export class LiveReads {
  private readonly wanted: Wanted[] = [];

  get empty(): boolean {
    return this.wanted.length === 0;
  }

  /** Asks for a key once, however often it is asked for; where its answer will be. */
  add(view: ViewPlan, key: string, parts: () => string[]): (answers: readonly LiveRow[][]) => LiveRow {
    let v = this.wanted.findIndex(w => w.view === view);
    if (v < 0) v = this.wanted.push({ view, places: new Map(), parts: [] }) - 1;
    const { places, parts: list } = this.wanted[v]!;
    let at = places.get(key);
    if (at === undefined) {
      at = list.push(parts()) - 1;
      places.set(key, at);
    }
    const place = at;
    return answers => answers[v]![place]!;
  }

  /** Never rejects: a failure is that of its own cells. */
  run(live: LiveParts, at: number): Promise<LiveRow[][]> {
    return Promise.all(this.wanted.map(w => lookUp(live, w, at)));
  }
}

async function lookUp({ tables, registry, code, clock, watch }: LiveParts, { view, parts }: Wanted, at: number): Promise<LiveRow[]> {
  const all = (answer: LiveRow): LiveRow[] => parts.map(() => answer);
  if (!tables) return all({ reason: 'error: source', detail: 'sources are not read here' });
  const stop = new AbortController();
  try {
    const outcome = await withBudget(tables.lookup(view, { registry, code }, parts, at, stop.signal), view.timeout, clock);
    if (outcome.done) return outcome.value.map(row => ({ row }));
    watch.count(view.id, 'timeout');
    stop.abort();
    return all({ reason: 'timeout' });
  } catch (e) {
    watch.failed(view.id, messageOf(e));
    return all({ reason: 'error: source', detail: messageOf(e) });
  }
}
