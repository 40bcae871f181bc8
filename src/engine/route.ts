/** A decoded event -> the entity keys it belongs to, with its row encoded for each group. */
import { joinKey } from '../lib/text.ts';
import type { Group } from './group.ts';
import { RowWriter } from './row.ts';
import type { PendingRow } from './tree.ts';
import type { ColumnValue, DecodedEvent } from './values.ts';

interface GroupRoute {
  group: Group;
  /** Index in the group's types by event type. */
  type: number;
}

export class Router {
  private readonly routes = new Map<string, GroupRoute[]>();
  private readonly writer = new RowWriter();
  private readonly scratch: ColumnValue[] = [];

  constructor(groups: readonly Group[]) {
    for (const group of groups)
      group.types.forEach((name, type) => {
        const list = this.routes.get(name) ?? [];
        list.push({ group, type });
        this.routes.set(name, list);
      });
  }

  /** Whether any group uses events of this type. */
  uses(type: string): boolean {
    return this.routes.has(type);
  }

  /** Calls `emit` for each entity key; returns how many keys were left out for an empty part. */
  route(event: DecodedEvent, emit: (group: Group, key: string, row: PendingRow) => void): number {
    const routes = this.routes.get(event.type);
    if (!routes) return 0;
    let empty = 0;
    for (const { group, type } of routes) {
      const key = keyOf(event, group.keyColumns);
      if (key === null) {
        empty++;
        continue;
      }
      const { columns } = group;
      this.scratch.length = columns.length;
      for (let i = 0; i < columns.length; i++) this.scratch[i] = event.columns[columns[i]!.name] ?? null;
      const { writer } = this;
      writer.encode(event.ts, type, event.id, this.scratch);
      emit(group, key, { ts: event.ts, buf: writer.buf, at: writer.start, size: writer.size, applied: false });
    }
    return empty;
  }
}

/** Storage key of an entity in an event; null when a part is missing or empty. */
export function keyOf(event: DecodedEvent, keyColumns: readonly string[]): string | null {
  if (keyColumns.length === 1) {
    const v = event.columns[keyColumns[0]!];
    return v === null || v === undefined || v === '' ? null : String(v);
  }
  const parts: string[] = [];
  for (const c of keyColumns) {
    const v = event.columns[c];
    if (v === null || v === undefined || v === '') return null;
    parts.push(String(v));
  }
  return joinKey(parts);
}
