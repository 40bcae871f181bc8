/** From rows of keys to what the store is asked, and back: rows that share a key share the read. */
import type { FoldAnswer, FoldRead, ReadAnswer, ReadItem, TableAnswer, TableRead } from '../../ports/online-store.ts';
import type { Registry } from '../../registry/types.ts';
import { joinKey } from '../../lib/text.ts';
import { type LiveRow, LiveReads } from './live.ts';
import type { Scope } from './plan.ts';
import type { RowAnswers } from './stored.ts';

type Row = Record<string, string>;

/** Storage key of an entity from a row of key columns; null when a part is missing or empty. */
export function keyFrom(registry: Registry, entity: string, row: Row): string | null {
  const parts = registry.entities[entity]!.key.map(c => row[c]);
  return parts.some(p => p === undefined || p === null || p === '') ? null : joinKey(parts as string[]);
}

export interface Answered {
  items: readonly ReadAnswer[];
  folds: readonly FoldAnswer[];
  tables: readonly TableAnswer[];
  views: readonly LiveRow[][];
}

const NONE: readonly never[] = [];
const NOWHERE = new Int32Array(0);

export class Asks {
  readonly items: ReadItem[] = [];
  readonly folds: FoldRead[] = [];
  readonly tables: TableRead[] = [];
  readonly live = new LiveReads();
  private readonly registry: Registry;

  constructor(registry: Registry) {
    this.registry = registry;
  }

  /** Adds what a scope's rows need; the function gives the answers of one row. */
  add(scope: Scope, rows: readonly Row[], at: number): (answered: Answered, row: number) => RowAnswers {
    const items = this.place(scope.items, rows, ({ group, units }, key) => this.items.push({ group, key, at, units }) - 1);
    const folds = this.place(scope.folds, rows, ({ unit }, key) => this.folds.push({ unit, key, at }) - 1);
    const tables = this.place(scope.tables, rows, ({ unit }, key) => this.tables.push({ table: unit, key, at }) - 1);
    const views =
      scope.views.length === 0
        ? NONE
        : rows.map(row =>
            scope.views.map(({ view, entity }) => {
              const key = keyFrom(this.registry, entity, row);
              return key === null ? null : this.live.add(view, key, () => this.registry.entities[entity]!.key.map(c => row[c]!));
            }),
          );
    const of = <T>(answers: readonly T[], places: Int32Array, width: number, r: number): readonly (T | null)[] => {
      if (width === 0) return NONE;
      const out = new Array<T | null>(width);
      for (let i = 0; i < width; i++) out[i] = answers[places[r * width + i]!] ?? null;
      return out;
    };
    return (answered, r) => ({
      items: of(answered.items, items, scope.items.length, r),
      folds: of(answered.folds, folds, scope.folds.length, r),
      tables: of(answered.tables, tables, scope.tables.length, r),
      views: views === NONE ? NONE : views[r]!.map(place => (place === null ? null : place(answered.views))),
    });
  }

  /** Where each row's slots are among those to read, -1 without a key. */
  private place<T extends { entity: string }>(slots: readonly T[], rows: readonly Row[], push: (slot: T, key: string) => number): Int32Array {
    const width = slots.length;
    if (width === 0) return NOWHERE;
    const places = new Int32Array(rows.length * width);
    const shared = rows.length > 1 ? new Map<string, number>() : null;
    rows.forEach((row, r) => {
      slots.forEach((slot, i) => {
        const key = keyFrom(this.registry, slot.entity, row);
        const id = shared && key !== null ? `${i}/${key}` : null;
        let place = key === null ? -1 : id === null ? undefined : shared!.get(id);
        if (place === undefined) {
          place = push(slot, key!);
          if (id !== null) shared!.set(id, place);
        }
        places[r * width + i] = place;
      });
    });
    return places;
  }
}

/** The rows as a scope sees them. */
export function rowsOf({ keys }: Scope, rows: readonly Row[]): readonly Row[] {
  if (keys === null) return rows;
  const renamed = Object.entries(keys);
  return rows.map(row => {
    const out = { ...row };
    for (const [column, from] of renamed)
      if (row[from] === undefined) delete out[column];
      else out[column] = row[from];
    return out;
  });
}
