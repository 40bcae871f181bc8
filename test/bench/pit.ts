/**
 * Point-in-time history at size: `node test/bench/pit.ts [events] [labels]` (default 1 M / 100 k, then 10 M / 1 M), uniform
 * and hot keys. Data is made inside DuckDB; rows/s include finishing every cell in TypeScript.
 */
import { approx } from '../../src/engine/approx.ts';
import type { AggPlan, FeaturePlan, FramePlan, RatioPlan, Registry, WindowFeaturePlan } from '../../src/registry/types.ts';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import { pointInTime } from '../../src/stores/duckdb/point-in-time.ts';
import { column, entityPlan, eventPlan, featurePlan, of, registry, streamPlan } from '../oracle/build.ts';

const PRICE = column('price', 'decimal', 2, false);
const PRODUCT = column('product_id', 'string', undefined, false);
const COLUMNS = [column('user_id', 'string', undefined, false), PRICE, PRODUCT];
const TYPES = ['purchase', 'view'];
const DAY = 86_400_000;

const agg = (op: AggPlan['op'], events: string[], of_?: AggPlan['column']): AggPlan => ({ op, stream: 'shop', events, ...(of_ && { column: of_ }) });
const SUBTRACTABLE: Record<string, AggPlan | RatioPlan> = {
  count: agg('count', ['view']),
  sum: agg('sum', ['purchase'], of(PRICE)),
  avg: agg('avg', TYPES, of(PRICE)),
  ratio: { op: 'ratio', num: agg('count', ['purchase']), den: agg('count', ['view']) },
};
const EXTREMES = { ...SUBTRACTABLE, min: agg('min', TYPES, of(PRICE)), max: agg('max', TYPES, of(PRICE)) };
const DISTINCT = { ...SUBTRACTABLE, distinct: agg('countDistinct', ['view'], of(PRODUCT)) };
const FRAMES: Record<string, FramePlan> = { '5m': { kind: 'over', w: 300_000 }, '1h': { kind: 'over', w: 3_600_000 }, '24h': { kind: 'over', w: DAY } };

function plansOf(aggs: Record<string, AggPlan | RatioPlan>): { registry: Registry; features: WindowFeaturePlan[] } {
  const features = Object.entries(aggs).flatMap(([name, plan]) => Object.entries(FRAMES).map(([w, frame]) => featurePlan('user', `${name}_${w}`, plan, frame)));
  const parts = {
    entities: [entityPlan('user', ['user_id'])],
    streams: [streamPlan('shop')],
    events: TYPES.map(type => eventPlan('shop', type, COLUMNS)),
    features: features as FeaturePlan[],
  };
  return { registry: registry(parts), features };
}

/** Thirty days of events, labels from the second day on; every 1,000th event once more in another partition. */
async function generate(db: Duck, events: number, labels: number, keys: number): Promise<void> {
  const start = 1_736_899_200_000;
  await db.run(`CREATE OR REPLACE TABLE log_0 AS SELECT (i % 4)::INTEGER AS p, (i // 4)::BIGINT AS o, (${start} + i * ${30 * DAY}::BIGINT // ${events})::BIGINT AS ts,
    'event-' || i AS id, CASE WHEN hash(i * 7) % 10 < 8 THEN 'view' ELSE 'purchase' END AS type, 'user-' || (hash(i) % ${keys}) AS "user_id:s",
    (hash(i + 7) % 100000)::BIGINT AS "price:d2", 'sku-' || (hash(i + 3) % 5000) AS "product_id:s" FROM range(0, ${events}::BIGINT) t(i)`);
  await db.run(`INSERT INTO log_0 SELECT 5, o, ts, id, type, "user_id:s", "price:d2", "product_id:s" FROM log_0 WHERE p = 0 AND o % 250 = 0`);
  await db.run(`CREATE OR REPLACE TABLE spine AS SELECT i AS rid, (${start + DAY} + (hash(i + 99) % ${29 * DAY}::UBIGINT))::BIGINT AS t,
    'user-' || (hash(i * 31 + 5) % ${keys}) AS user_id FROM range(0, ${labels}::BIGINT) t(i)`);
}

async function measure(db: Duck, name: string, aggs: Record<string, AggPlan | RatioPlan>, wantTs: boolean): Promise<void> {
  const { registry, features } = plansOf(aggs);
  const request = { registry, features, logs: { shop: 'log_0' }, spine: 'spine', keyColumns: { user: ['user_id'] }, approx, wantTs };
  const start = performance.now();
  let rows = 0;
  let present = 0;
  for await (const chunk of pointInTime(db, request)) {
    rows += chunk.rows;
    for (const cells of chunk.cells) for (const cell of cells) if (cell.value !== null && cell.value !== 0) present++;
  }
  const seconds = (performance.now() - start) / 1000;
  const rate = Math.round(rows / seconds);
  console.log(
    `  ${name.padEnd(28)} ${seconds.toFixed(1).padStart(6)} s ${rate.toLocaleString('en').padStart(9)} rows/s   ${Math.round((100 * present) / (rows * features.length))} % not empty, ${Math.round(process.memoryUsage().rss / 1e6)} MB`,
  );
}

const [events, labels] = process.argv.slice(2).map(Number);
const sizes: [number, number][] =
  events && labels
    ? [[events, labels]]
    : [
        [1_000_000, 100_000],
        [10_000_000, 1_000_000],
      ];
for (const [e, l] of sizes)
  for (const [kind, keys] of [
    ['uniform', Math.round(e / 50)],
    ['hot', 200],
  ] as const) {
    const db = await Duck.open({ threads: 2, memoryLimit: '8GB', tempDir: process.env.TMPDIR ?? '/tmp' });
    await generate(db, e, l, keys);
    console.log(`${e.toLocaleString('en')} events, ${l.toLocaleString('en')} labels, ${keys.toLocaleString('en')} ${kind} keys, 3 windows`);
    await measure(db, 'count sum avg ratio', SUBTRACTABLE, true);
    await measure(db, 'same, without ts', SUBTRACTABLE, false);
    await measure(db, '+ min max', EXTREMES, false);
    await measure(db, '+ exact distinct', DISTINCT, false);
    db.close();
  }
