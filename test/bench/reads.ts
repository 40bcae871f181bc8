/** The get path: one user, one product and one session a read, 18 stored features, embedded: reads [reads] */
import { FeatureReader } from '../../src/runtime/reader.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { fill, quantiles, rate, scratch } from './support.ts';

const reads = Number(process.argv[2] ?? 20_000);
const s = await scratch();
await fill(s, 100_000);
await runWorker(s.project, s.compiled, { untilIdle: true, signal: new AbortController().signal });
const view = await s.project.history.open(s.compiled);
const users = await view.sampleKeys('user', 2_000, 1);
const products = await view.sampleKeys('product', 1_000, 1);
const sessions = await view.sampleKeys('session', 2_000, 1);
await view.close();
const { registry, code } = s.compiled;
const reader = new FeatureReader(s.project, registry, code);
const features = Object.values(registry.features)
  .filter(f => f.kind === 'window')
  .map(f => f.id);
const start = Date.UTC(2025, 0, 15);
for (const [name, list] of [
  ['3 entities, all features', features],
  ['1 entity, 1 feature', ['user.user_views_5m']],
] as const) {
  const times: number[] = [];
  const began = performance.now();
  for (let i = 0; i < reads; i++) {
    const [user_id, session_id] = sessions[i % sessions.length]!;
    const row = { user_id: i % 2 ? user_id! : users[i % users.length]![0]!, session_id: session_id!, product_id: products[i % products.length]![0]! };
    const t = performance.now();
    await reader.read({ features: list, rows: [row], at: start + ((i * 7_919_131) % 86_400_000) });
    times.push((performance.now() - t) * 1000);
  }
  console.log(`reads: ${name} (${list.length}): ${rate(reads, performance.now() - began)}, ${quantiles(times)}`);
}
await s.done();
