/** SQL history as something the written cases and the oracle can be held against: loads a log into DuckDB and asks. */
import { approx } from '../../src/engine/approx.ts';
import type { Cell, ColumnValue, DecodedEvent } from '../../src/engine/values.ts';
import type { Registry, WindowFeaturePlan } from '../../src/registry/types.ts';
import { physicalColumn, physicalType, ident } from '../../src/sql/columns.ts';
import type { Duck } from '../../src/stores/duckdb/engine.ts';
import { pointInTime } from '../../src/stores/duckdb/point-in-time.ts';
import { type Log, Oracle } from '../oracle/index.ts';

export interface Ask {
  entity: string;
  key: (string | null)[];
  T: number;
}

/** Admitted events, duplicates among them, as the historian registers them. */
async function loadStream(db: Duck, registry: Registry, stream: string, events: DecodedEvent[], name: string): Promise<void> {
  const plans = new Map(
    Object.values(registry.events)
      .filter(e => e.stream === stream)
      .flatMap(e => e.columns.map(c => [physicalColumn(c.name, c.kind, c.places), c] as const)),
  );
  const physical = [...plans].map(([column, plan]) => `${ident(column)} ${physicalType(plan.kind)}`);
  await db.run(`CREATE TABLE ${ident(name)} (${['p INTEGER', 'o BIGINT', 'ts BIGINT', 'id VARCHAR', 'type VARCHAR', ...physical].join(', ')})`);
  const fits = (e: DecodedEvent, column: string, plan: { name: string }): ColumnValue => {
    const own = registry.events[`${stream}/${e.type}`]?.columns.find(c => c.name === plan.name);
    return own && physicalColumn(own.name, own.kind, own.places) === column ? (e.columns[plan.name] ?? null) : null;
  };
  await db.append(name, [
    { type: 'INTEGER', values: events.map(e => e.p) },
    { type: 'BIGINT', values: events.map(e => e.o) },
    { type: 'BIGINT', values: events.map(e => e.ts) },
    { type: 'VARCHAR', values: events.map(e => e.id) },
    { type: 'VARCHAR', values: events.map(e => e.type) },
    ...[...plans].map(([column, plan]) => ({ type: physicalType(plan.kind), values: events.map(e => fits(e, column, plan)) })),
  ]);
}

/** One log in one database. */
export class SqlSubject {
  private readonly db: Duck;
  private readonly registry: Registry;
  private readonly logs: Record<string, string>;
  private constructor(db: Duck, registry: Registry, logs: Record<string, string>) {
    this.db = db;
    this.registry = registry;
    this.logs = logs;
  }

  static async open(registry: Registry, log: Log, db: Duck): Promise<SqlSubject> {
    const oracle = new Oracle(registry, log);
    const logs: Record<string, string> = {};
    const run = db.next();
    for (const [i, stream] of Object.keys(registry.streams).entries()) {
      const accepted = oracle.verdicts(stream).filter(j => j.verdict === 'applied' || j.verdict === 'duplicate' || j.verdict === 'ignored');
      logs[stream] = `log${run}_${i}`;
      await loadStream(
        db,
        registry,
        stream,
        accepted.map(j => j.event),
        logs[stream],
      );
    }
    return new SqlSubject(db, registry, logs);
  }

  /** Cells per feature, one per row asked; rows of other entities get a null key. */
  async cells(features: WindowFeaturePlan[], asks: Ask[], wantTs = true): Promise<Cell[][]> {
    const entities = Object.values(this.registry.entities);
    const spine = `spine${this.db.next()}`;
    const columns = entities.map((e, i) => e.key.map((_, k) => `e${i}_${k}`));
    await this.db.run(`CREATE TABLE ${spine} (${['rid BIGINT', 't BIGINT', ...columns.flat().map(c => `${c} VARCHAR`)].join(', ')})`);
    await this.db.append(spine, [
      { type: 'BIGINT', values: asks.map((_, i) => i) },
      { type: 'BIGINT', values: asks.map(a => a.T) },
      ...entities.flatMap(e => e.key.map((_, k) => ({ type: 'VARCHAR' as const, values: asks.map(a => (a.entity === e.name ? a.key[k] : null)) }))),
    ]);
    const keyColumns = Object.fromEntries(entities.map((e, i) => [e.name, columns[i] as string[]]));
    const cells: Cell[][] = features.map(() => []);
    for await (const chunk of pointInTime(this.db, { registry: this.registry, features, logs: this.logs, spine, keyColumns, approx, wantTs }))
      chunk.cells.forEach((column, i) => cells[i]?.push(...column));
    await this.db.run(`DROP TABLE ${spine}`);
    return cells;
  }

  async value(featureId: string, key: (string | null)[], T: number): Promise<Cell> {
    const feature = this.registry.features[featureId];
    if (feature?.kind !== 'window') throw new Error(`not a window feature: ${featureId}`);
    const [[cell] = []] = await this.cells([feature], [{ entity: feature.entity, key, T }]);
    return cell as Cell;
  }

  async close(): Promise<void> {
    for (const name of Object.values(this.logs)) await this.db.run(`DROP TABLE ${ident(name)}`);
  }
}
