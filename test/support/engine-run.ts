/** The engine over a decoded log, in memory: what the properties hold against the oracle. */
import { admit, newAdmitState } from '../../src/engine/admit.ts';
import { trimKey } from '../../src/engine/base.ts';
import { finishCell } from '../../src/engine/finish.ts';
import { compileGroups, type Group, type Groups } from '../../src/engine/group.ts';
import { readUnits } from '../../src/engine/read.ts';
import { Router } from '../../src/engine/route.ts';
import { applyRows, type PendingRow } from '../../src/engine/tree.ts';
import type { Cell, Verdict } from '../../src/engine/values.ts';
import { joinKey } from '../../src/lib/text.ts';
import type { Registry } from '../../src/registry/types.ts';
import type { Log, LogEvent } from '../oracle/index.ts';
import { MemoryNodes } from './memory-nodes.ts';

export class EngineRun {
  readonly compiled: Groups;
  readonly states = new Map<string, MemoryNodes>();
  readonly verdicts = new Map<LogEvent, Verdict>();

  private readonly most: number | undefined;

  constructor(registry: Registry, log: Log, batchSize = 50, most?: number) {
    this.most = most;
    this.compiled = compileGroups(registry);
    for (const [stream, events] of Object.entries(log)) this.replay(registry, stream, events, batchSize);
  }

  private replay(registry: Registry, stream: string, events: LogEvent[], batchSize: number): void {
    const groups = [...this.compiled.groups.values()].filter(g => g.stream === stream);
    const router = new Router(groups);
    const partitions = new Map<number, LogEvent[]>();
    for (const e of events) partitions.set(e.p, [...(partitions.get(e.p) ?? []), e]);
    for (const [, list] of [...partitions].sort((a, b) => a[0] - b[0])) {
      const state = newAdmitState();
      for (let at = 0; at < list.length; at += batchSize) {
        const batch = new Map<string, { group: Group; key: string; rows: PendingRow[] }>();
        const routed: [LogEvent, PendingRow[]][] = [];
        for (const e of list.slice(at, at + batchSize)) {
          if (e.rejected) {
            this.verdicts.set(e, 'rejected');
            continue;
          }
          const admission = admit(state, registry.streams[stream]!, e.ts, e.appended);
          if (admission !== 'ok') this.verdicts.set(e, admission);
          else if (!router.uses(e.type)) this.verdicts.set(e, 'ignored');
          else {
            const rows: PendingRow[] = [];
            router.route(e, (group, key, row) => {
              rows.push(row);
              const id = `${group.id}\u0000${key}`;
              if (!batch.has(id)) batch.set(id, { group, key, rows: [] });
              batch.get(id)!.rows.push(row);
            });
            routed.push([e, rows]);
          }
        }
        for (const { group, key, rows } of batch.values()) applyRows(group, this.nodes(group.id, key), rows, this.most);
        for (const [e, rows] of routed) this.verdicts.set(e, rows.length > 0 && rows.every(r => !r.applied) ? 'duplicate' : 'applied');
      }
    }
  }

  nodes(group: string, key: string): MemoryNodes {
    const id = `${group}\u0000${key}`;
    let n = this.states.get(id);
    if (!n) this.states.set(id, (n = new MemoryNodes()));
    return n;
  }

  /** Drops all detail below `floor`, as the worker's trimming does. */
  trim(floor: number): void {
    for (const [id, nodes] of this.states) trimKey(this.compiled.groups.get(id.split('\u0000')[0]!)!, nodes, floor);
  }

  value(featureId: string, key: string[], T: number): Cell {
    const f = this.compiled.features.get(featureId)!;
    const read = (side: { group: string; unit: number }) => readUnits(this.compiled.groups.get(side.group)!, this.nodes(side.group, joinKey(key)), T, [side.unit])[0]!;
    const seen = f.seen.some(s => read(s).ts !== null);
    return finishCell(f.feature, read(f.num), f.den && read(f.den), seen, T);
  }
}
