/** A decoded event -> the entity keys it belongs to, with its row encoded for each group. */
import { joinKey } from '../lib/text.ts';
import type { Group } from './group.ts';
import { encodePayload } from './payload.ts';
import { RowWriter } from './row.ts';
import type { PendingRow } from './tree.ts';
import type { FoldUnit, RoutedEvent, TriggerUnit } from './units.ts';
import type { ColumnValue, DecodedEvent } from './values.ts';

interface GroupRoute {
  group: Group;
  /** Index in the group's types by event type. */
  type: number;
}

type Whole = FoldUnit | TriggerUnit;

export class Router {
  private readonly routes = new Map<string, GroupRoute[]>();
  private readonly whole = new Map<string, Whole[]>();
  private readonly stream: string;
  private readonly writer = new RowWriter();
  private readonly scratch: ColumnValue[] = [];

  /** `units`: folds and handlers of the stream, which take whole events. */
  constructor(groups: readonly Group[], units: readonly Whole[] = [], stream = '') {
    this.stream = stream;
    for (const unit of units) for (const type of unit.types.get(stream) ?? []) this.whole.set(type, [...(this.whole.get(type) ?? []), unit]);
    for (const group of groups)
      group.types.forEach((name, type) => {
        const list = this.routes.get(name) ?? [];
        list.push({ group, type });
        this.routes.set(name, list);
      });
  }

  /** Whether anything uses events of this type. */
  uses(type: string): boolean {
    return this.routes.has(type) || this.whole.has(type);
  }

  /** The same for folds and handlers: the event with its payload, one for each of them. */
  routeWhole(event: DecodedEvent, emit: (unit: Whole, key: string, routed: RoutedEvent) => void): number {
    const units = this.whole.get(event.type);
    if (!units) return 0;
    let empty = 0;
    let payload: string | null = null;
    for (const unit of units) {
      const key = keyOf(event, unit.keyColumns);
      if (key === null) {
        empty++;
        continue;
      }
      payload ??= encodePayload(event.payload ?? {});
      const { p, o, appended, ts, id, type } = event;
      emit(unit, key, { stream: this.stream, partition: p, offset: o, appended, ts, id, type, payload, applied: false });
    }
    return empty;
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
