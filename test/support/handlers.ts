/** Projects of handlers and folds for tests, and what their store holds. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileUnits, type TableRow } from '../../src/engine/units.ts';
import { joinKey } from '../../src/lib/text.ts';
import type { NewRecord } from '../../src/ports/event-bus.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import type { Compiled, Project } from '../../src/runtime/project.ts';
import { runWorker, type WorkerOptions, type WorkerSummary } from '../../src/runtime/worker.ts';
import { appendAll, compileAt, newDir, openTestProject, type TestProject } from './project.ts';

export const STREAM = 'actions';
/** Event time of the first event. */
export const DAY = Date.parse('2025-01-15T00:00:00Z');

export const HEAD = `
import { z } from 'zod';
import { appendFileSync, existsSync } from 'node:fs';
import { count, entity, feature, fold, NonRetriableError, on, pushed, RetryAfterError, stream } from 'fabra';
const actions = stream('actions', { id: 'id', time: 'ts', type: 'type', lateness: '1h' });
export const user = entity('user', { key: 'user_id' });
export const product = entity('product', { key: 'product_id' });
export const session = entity('session', { key: ['user_id', 'session_id'] });
const fields = { user_id: z.string(), product_id: z.string().nullish(), session_id: z.string().nullish(), n: z.number().nullish() };
export const click = actions.event('click', z.object(fields));
export const buy = actions.event('buy', z.object(fields));
export const other = actions.event('other', z.object(fields));
/** Adds a line to a file beside the definitions: an effect outside the store. */
const note = (line) => appendFileSync(import.meta.dirname + '/notes.txt', line + '\\n');
`;

export interface Running {
  dir: string;
  project: TestProject;
  compiled: Compiled;
}

export function define(dir: string, features: string): Promise<Compiled> {
  // A bundle has no folder of its own.
  writeFileSync(join(dir, 'features.ts'), (HEAD + features).replaceAll('import.meta.dirname', JSON.stringify(dir)));
  return compileAt(dir);
}

/** A project with these features applied and events in its log. */
export async function newHandlers(name: string, features: string, records: readonly NewRecord[] = []): Promise<Running> {
  const dir = newDir(name);
  const compiled = await define(dir, features);
  const project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  await appendAll(project, STREAM, records);
  return { dir, project, compiled };
}

export interface Sent {
  type?: string;
  id?: string;
  /** Milliseconds after DAY; by place, a second each. */
  at?: number;
  user_id?: string;
  [field: string]: unknown;
}

export const eventsOf = (sent: readonly Sent[]): NewRecord[] =>
  sent.map(({ at, ...e }, i) => ({ bytes: Buffer.from(JSON.stringify({ type: 'click', id: `e${i}`, user_id: 'u1', ...e, ts: DAY + (at ?? i * 1_000) })) }));

/** To the end of the log and of the queues. */
export const work = ({ project, compiled }: { project: Project; compiled: Compiled }, options: Partial<WorkerOptions> = {}): Promise<WorkerSummary> =>
  runWorker(project, compiled, { untilIdle: true, signal: new AbortController().signal, ...options });

const FAR = DAY + 365 * 86_400_000;

/** The row of a handler's or pushed feature that counts, at the end of time unless told. */
export async function rowAt({ project, compiled }: Running, feature: string, key: string | string[], at = FAR): Promise<TableRow | null> {
  const { tables } = compileUnits(compiled.registry);
  const f = compiled.registry.features[feature]!;
  const table = tables.get(f.kind === 'table' ? f.view : feature)!;
  const { tables: answers } = await project.online.read([], { folds: [], tables: [{ table, key: joinKey([key].flat()), at }] });
  return answers[0]!.row;
}

export async function valueAt(run: Running, feature: string, key: string | string[], at = FAR): Promise<unknown> {
  const row = await rowAt(run, feature, key, at);
  return row && (JSON.parse(row.text) as unknown[])[0];
}

export async function foldAt({ project, compiled }: Running, feature: string, key: string, at = FAR): Promise<unknown> {
  const unit = compileUnits(compiled.registry, compiled.code).folds.find(f => f.id === feature)!;
  const { folds } = await project.online.read([], { folds: [{ unit, key, at }], tables: [] });
  const { state } = folds[0]!;
  return state && ('error' in state ? state : state.value);
}

export const waitingOf = ({ project, compiled }: Running): Promise<Record<string, number>> => project.online.waiting(compileUnits(compiled.registry).triggers);
