/** A project on the embedded stores in a folder of its own, as `cli/wire` makes it, but with any online store. */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedBus } from '../../src/bus/embedded.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/log.ts';
import type { NewRecord } from '../../src/ports/event-bus.ts';
import { compileProject } from '../../src/registry/compile.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import type { Compiled, Project } from '../../src/runtime/project.ts';
import { clickstreamLines } from '../../src/runtime/sample/clickstream.ts';
import { EmbeddedCatalog } from '../../src/stores/embedded/catalog.ts';
import { type Embedded, openEmbedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { openHistory } from '../../src/stores/history/open.ts';
import { openTables } from '../../src/stores/tables/open.ts';

/** The repository: tests run from its root. */
export const ROOT = process.cwd();
/** Append time of all sample events: the same in every run, so that runs can be compared row for row. */
export const APPENDED = Date.parse('2025-06-01T00:00:00Z');

export interface TestProject extends Project {
  env: Embedded;
  online: EmbeddedOnlineStore;
  bus: EmbeddedBus;
}

export async function openTestProject(dir: string, online = (env: Embedded) => new EmbeddedOnlineStore(env), readOnly = false): Promise<TestProject> {
  const env = await openEmbedded(join(dir, '.fabra', 'store'), { readOnly });
  const bus = new EmbeddedBus(env);
  return {
    dir,
    env,
    bus,
    online: online(env),
    catalog: new EmbeddedCatalog(env),
    history: openHistory({ env, bus, dir: join(dir, '.fabra', 'offline'), project: dir, clock: systemClock, threads: 1 }),
    tables: openTables({ env, dir: join(dir, '.fabra', 'offline'), project: dir, clock: systemClock, threads: 1 }),
    clock: systemClock,
    log: silentLogger,
    close: () => env.close(),
  };
}

export const compileAt = (dir: string): Promise<Compiled> => compileProject(join(dir, 'features.ts')) as Promise<Compiled>;

/** A fresh folder with the clickstream template, removed by `cleanUp`. */
const made: string[] = [];
export function newDir(name: string): string {
  const dir = mkdtempSync(join(tmpdir(), `fabra-${name}-`));
  made.push(dir);
  return dir;
}
export function newShopDir(name: string): string {
  const dir = newDir(name);
  cpSync(join(ROOT, 'templates/clickstream'), dir, { recursive: true });
  mkdirSync(join(dir, '.fabra'), { recursive: true });
  return dir;
}
export function cleanUp(): void {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
}

/** The sample's rows as published events; malformed ones stay malformed. */
export function sampleRecords(events: number, seed = 7): NewRecord[] {
  const out: NewRecord[] = [];
  let header: string[] | null = null;
  for (const line of clickstreamLines({ events, seed, day: '2025-01-15' })) {
    const cells = line.split(',');
    if (!header) {
      header = cells;
      continue;
    }
    const event: Record<string, unknown> = {};
    header.forEach((name, i) => {
      const text = cells[i] ?? '';
      if (text === '') return;
      const value = name === 'price' && text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text === 'true' ? true : text === 'false' ? false : text;
      const [head, leaf] = name.split('.') as [string, string?];
      if (leaf === undefined) event[head] = value;
      else ((event[head] ??= {}) as Record<string, unknown>)[leaf] = value;
    });
    out.push({ bytes: Buffer.from(JSON.stringify(event)) });
  }
  return out;
}

export async function appendAll(project: Pick<Project, 'bus'>, stream: string, records: readonly NewRecord[], slice = 5_000): Promise<void> {
  for (let at = 0; at < records.length; at += slice) await project.bus.append(stream, records.slice(at, at + slice), APPENDED);
}

export const SHOP_STREAM = 'events_raw';

/** A shop project with its definitions applied and a log appended. */
export async function newShop(name: string, records: readonly NewRecord[]): Promise<{ dir: string; project: TestProject; compiled: Compiled }> {
  const dir = newShopDir(name);
  const compiled = await compileAt(dir);
  const project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  await appendAll(project, SHOP_STREAM, records);
  return { dir, project, compiled };
}
