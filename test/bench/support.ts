/** What the benchmarks share: a scratch project of the clickstream template with a log of sample events. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedBus } from '../../src/bus/embedded.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/log.ts';
import { compileProject } from '../../src/registry/compile.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { rowWriter } from '../../src/runtime/files/json-row.ts';
import type { Compiled, Project } from '../../src/runtime/project.ts';
import { CLICKSTREAM_COLUMNS, clickstreamLines } from '../../src/runtime/sample/clickstream.ts';
import { EmbeddedCatalog } from '../../src/stores/embedded/catalog.ts';
import { openEmbedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { openTables } from '../../src/stores/tables/open.ts';
import { openHistory } from '../../src/stores/history/open.ts';

export interface Scratch {
  dir: string;
  project: Project;
  compiled: Compiled;
  done(): Promise<void>;
}

/** The seven features that the mission names, instead of the template's nineteen. */
const SEVEN = `
export const f1 = feature(user, 'user_views_5m', count(view).over('5m'));
export const f2 = feature(user, 'user_add2cart_1h', count(cart).over('1h'));
export const f3 = feature(user, 'user_cr_24h', ratio(count(purchase), count(view)).over('24h'));
export const f4 = feature(product, 'prod_ctr_24h', ratio(count(click), count(impression)).over('24h'));
export const f5 = feature(product, 'prod_rev_24h', sum(purchase, 'revenue').over('24h'));
export const f6 = feature(session, 'sess_duration_s', span(impression, click, view, cart, purchase).perSession({ gap: '30m' }));
export const f7 = feature(session, 'sess_unique_products', countDistinct([impression, click, view, cart, purchase], 'product_id').perSession({ gap: '30m' }));
`;

export async function scratch(seven = false): Promise<Scratch> {
  const dir = mkdtempSync(join(tmpdir(), 'fabra-bench-'));
  cpSync('templates/clickstream', dir, { recursive: true });
  const features = join(dir, 'features.ts');
  const text = readFileSync(features, 'utf8');
  if (seven) writeFileSync(features, text.slice(0, text.indexOf('// Users')) + SEVEN);
  return opened(dir);
}

/** A project of its own: its features.ts, and what its sources need. */
export async function scratchOf(files: Record<string, string>): Promise<Scratch> {
  const dir = mkdtempSync(join(tmpdir(), 'fabra-bench-'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
  return opened(dir);
}

async function opened(dir: string): Promise<Scratch> {
  const compiled = (await compileProject(join(dir, 'features.ts'))) as unknown as Compiled;
  const env = await openEmbedded(join(dir, '.fabra/store'));
  const bus = new EmbeddedBus(env);
  const project: Project = {
    dir,
    bus,
    online: new EmbeddedOnlineStore(env),
    history: openHistory({ env, bus, dir: join(dir, '.fabra/offline'), clock: systemClock }),
    tables: openTables({ env, dir: join(dir, '.fabra/offline'), project: dir, clock: systemClock }),
    catalog: new EmbeddedCatalog(env),
    clock: systemClock,
    log: silentLogger,
    close: () => env.close(),
  };
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const done = async () => {
    await env.close();
    rmSync(dir, { recursive: true, force: true });
  };
  return { dir, project, compiled, done };
}

/** Appends sample days until there are `events` in the log; later days follow the first, ids and users as the generator makes them. */
export async function fill(s: Scratch, events: number): Promise<void> {
  const perDay = 100_000;
  const columns = Object.values(s.compiled.registry.events)[0]!.input;
  const write = rowWriter(CLICKSTREAM_COLUMNS, columns);
  for (let day = 0, left = events; left > 0; day++, left -= perDay) {
    const date = new Date(Date.UTC(2025, 0, 15 + day)).toISOString().slice(0, 10);
    let batch: { bytes: Buffer }[] = [];
    let first = true;
    for (const line of clickstreamLines({ events: Math.min(left, perDay), seed: 42 + day, day: date })) {
      if (first) {
        first = false;
        continue;
      }
      const cells = line.split(',');
      batch.push({ bytes: Buffer.from(write(Object.fromEntries(CLICKSTREAM_COLUMNS.map((c, i) => [c, cells[i] || null])))) });
      if (batch.length === 5_000) {
        await s.project.bus.append('events_raw', batch, systemClock.now());
        batch = [];
      }
    }
    await s.project.bus.append('events_raw', batch, systemClock.now());
  }
}

export const rate = (n: number, ms: number): string => `${Math.round((n / ms) * 1000).toLocaleString('en')}/s`;

export function quantiles(times: number[]): string {
  const sorted = Float64Array.from(times).sort();
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!.toFixed(1);
  return `p50 ${at(0.5)} us, p95 ${at(0.95)} us, p99 ${at(0.99)} us`;
}
