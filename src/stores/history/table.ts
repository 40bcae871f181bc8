/** Rows of history as a DuckDB table: fixed columns, then one physical column per (name, kind) that the stream's events declare. */
import type { ColumnValue } from '../../engine/values.ts';
import type { HistoryRow } from '../../ports/offline-store.ts';
import type { Registry } from '../../registry/types.ts';
import { ident, physicalColumn, physicalType } from '../../sql/columns.ts';
import type { AppendColumn, Duck } from '../duckdb/engine.ts';

export const ADMISSION = { ok: 0, late: 1, quarantined: 2 } as const;
export const FIXED = ['p', 'o', 'appended', 'ts', 'id', 'type', 'adm', 'raw'] as const;

interface Physical {
  name: string;
  type: 'VARCHAR' | 'BOOLEAN' | 'BIGINT';
  /** Column of an event by its type; absent types leave it null. */
  of: Map<string, string>;
}

export class HistoryTable {
  readonly columns: Physical[];

  constructor(registry: Registry, stream: string) {
    const found = new Map<string, Physical>();
    for (const event of Object.values(registry.events)) {
      if (event.stream !== stream) continue;
      for (const c of event.columns) {
        const name = physicalColumn(c.name, c.kind, c.places);
        let physical = found.get(name);
        if (!physical) found.set(name, (physical = { name, type: physicalType(c.kind), of: new Map() }));
        physical.of.set(event.type, c.name);
      }
    }
    this.columns = [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  create(table: string): string {
    const own = this.columns.map(c => `, ${ident(c.name)} ${c.type}`).join('');
    return `CREATE TABLE ${ident(table)} (p INTEGER, o BIGINT, appended BIGINT, ts BIGINT, id VARCHAR, type VARCHAR, adm INTEGER, raw VARCHAR${own})`;
  }

  async append(db: Duck, table: string, rows: readonly HistoryRow[]): Promise<void> {
    if (rows.length === 0) return;
    const columns: AppendColumn[] = [
      { type: 'INTEGER', values: rows.map(r => r.event.p) },
      { type: 'BIGINT', values: rows.map(r => r.event.o) },
      { type: 'BIGINT', values: rows.map(r => r.event.appended) },
      { type: 'BIGINT', values: rows.map(r => r.event.ts) },
      { type: 'VARCHAR', values: rows.map(r => r.event.id) },
      { type: 'VARCHAR', values: rows.map(r => r.event.type) },
      { type: 'INTEGER', values: rows.map(r => ADMISSION[r.admission]) },
      { type: 'VARCHAR', values: rows.map(r => r.text) },
      ...this.columns.map((c): AppendColumn => ({ type: c.type, values: rows.map(r => valueOf(r, c)) })),
    ];
    await db.append(table, columns);
  }
}

function valueOf(row: HistoryRow, column: Physical): ColumnValue {
  const name = column.of.get(row.event.type);
  return name === undefined ? null : (row.event.columns[name] ?? null);
}
