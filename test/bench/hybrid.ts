/** SQL, pushed, folded, handled and on-demand features: materializing, handling and reading them: hybrid [users] [events] */
import { systemClock } from '../../src/lib/clock.ts';
import { materialize } from '../../src/runtime/materializer.ts';
import { FeatureReader } from '../../src/runtime/reader.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { quantiles, rate, scratchOf } from './support.ts';

const users = Number(process.argv[2] ?? 100_000);
const events = Number(process.argv[3] ?? 50_000);
const features = `
import { count, derive, entity, feature, fold, on, query, source, sql, stream } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id' });
const shop = stream('shop', { id: 'event_id', time: 'timestamp', type: 'event_type' });
const view = shop.event('view', z.object({ user_id: z.string(), product_id: z.string(), amount: z.number() }));
const orders = source('orders', { file: 'orders.csv', time: 'updated_at' });
export const favorite = feature(user, 'favorite', query(orders, sql\`select user_id, updated_at, favorite from orders\`, { type: z.string(), default: 'unknown', materialize: true }));
export const views = feature(user, 'views_1h', count(view).over('1h'));
export const last = feature(user, 'last_product', on(view, { type: z.string(), handle: ({ event }) => event.payload.product_id }));
export const handled = feature(user, 'handled', on(view, { type: z.int(), handle: ({ current }) => (current ?? 0) + 1 }));
export const spent = feature(user, 'spent', fold(view, { state: z.number(), initial: 0, step: (s, { payload }) => s + payload.amount }));
const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
const embedding = (ms: number) => derive({ timeout: '1s', type: z.array(z.number()), compute: async (_, { keys }) => { await pause(ms); return [keys.user_id!.length, 1]; } });
export const embedding10 = feature(user, 'embedding_10ms', embedding(10));
export const embedding20 = feature(user, 'embedding_20ms', embedding(20));
export const similarity = feature(user, 'similarity', derive({ inputs: { a: embedding10, b: embedding20, views }, compute: ({ a, b, views }) => a[0]! * b[0]! + views }));
`;
const start = Date.UTC(2025, 0, 15);
const orders = ['user_id,updated_at,favorite', ...Array.from({ length: users }, (_, i) => `u${i},2025-01-14T00:00:00Z,category_${i % 20}`)].join('\n');
const s = await scratchOf({ 'features.ts': features, 'orders.csv': orders });
const signal = new AbortController().signal;

let began = performance.now();
const [run] = await materialize(s.project, s.compiled, { signal });
console.log(`materialize: ${run!.rows} rows of CSV, ${rate(run!.rows, performance.now() - began)}`);
began = performance.now();
await materialize(s.project, s.compiled, { signal });
console.log(`materialize: the same rows again, nothing new, ${rate(users, performance.now() - began)}`);

for (let at = 0; at < events; at += 5_000) {
  const slice = Array.from({ length: Math.min(5_000, events - at) }, (_, i) => {
    const n = at + i;
    return {
      bytes: Buffer.from(
        JSON.stringify({ event_type: 'view', event_id: `e${n}`, timestamp: start + n * 100, user_id: `u${(n * 7_919) % 5_000}`, product_id: `p${n % 100}`, amount: n % 50 }),
      ),
    };
  });
  await s.project.bus.append('shop', slice, systemClock.now());
}
began = performance.now();
const cpu = process.cpuUsage();
const { handled } = await runWorker(s.project, s.compiled, { untilIdle: true, signal });
const used = process.cpuUsage(cpu);
console.log(
  `worker: ${events} events, a window, a fold and two handlers each: ${rate(events, performance.now() - began)}, ${handled} turns, CPU ${((used.user + used.system) / events).toFixed(0)} us an event`,
);

const reader = new FeatureReader(s.project, s.compiled.registry, s.compiled.code);
async function reads(name: string, list: readonly string[], n: number): Promise<void> {
  const times: number[] = [];
  began = performance.now();
  for (let i = 0; i < n; i++) {
    const t = performance.now();
    await reader.read({ features: list.map(f => `user.${f}`), rows: [{ user_id: `u${(i * 31) % 5_000}` }], at: start + events * 100 });
    times.push((performance.now() - t) * 1000);
  }
  console.log(`reads: ${name}: ${rate(n, performance.now() - began)}, ${quantiles(times)}`);
}
await reads('one SQL feature', ['favorite'], 20_000);
await reads('SQL, window, fold and two handlers', ['favorite', 'views_1h', 'spent', 'last_product', 'handled'], 20_000);
await reads('these and two async ones of 10 and 20 ms, with code over both', ['favorite', 'views_1h', 'spent', 'last_product', 'handled', 'similarity'], 200);
await s.done();
