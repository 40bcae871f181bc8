/** Namespaces and marks: under which number the state of a group, fold, handler or table is kept, and how far it has come. */
import { newAdmitState } from '../../engine/admit.ts';
import type { Group } from '../../engine/group.ts';
import type { FoldUnit, TableUnit, TriggerUnit } from '../../engine/units.ts';
import { FabraError } from '../../lib/errors.ts';
import type { Mark } from '../../ports/online-store.ts';
import type { Embedded } from './env.ts';
import { nsRange } from './keys.ts';

/** State of one group, stored under a number; another hash of the same group gets another number and starts anew. */
export interface Namespace {
  ns: number;
  id: string;
  hash: string;
  /** Oldest applied event. */
  minTs: number | null;
  /** All detail below was dropped. */
  trimmed: number | null;
}

/** The same for a fold, a handler or a table. */
export interface UnitSpace {
  ns: number;
  id: string;
  hash: string;
  /** Of a table: a run has put its rows here. */
  ready: boolean;
}
export type UnitKind = 'fold' | 'on' | 'table';
export interface Adopted {
  folds: readonly FoldUnit[];
  triggers: readonly TriggerUnit[];
  tables: readonly TableUnit[];
}
type Named = { id: string; hash: string };

export const nsName = (g: Named): string => `ns:${g.id}:${g.hash}`;
export const unitName = (kind: UnitKind, u: Named): string => `nsu:${kind}:${u.id}:${u.hash}`;
export const unitMarkName = (ns: number, stream: string, partition: number): string => `gm:${ns}:${stream}:${partition}`;
export const streamMarkName = (stream: string, partition: number): string => `sm:${stream}:${partition}`;

export const spaceOf = (env: Embedded, g: Named): Namespace | undefined => env.meta.get(nsName(g)) as Namespace | undefined;
export const unitSpaceOf = (env: Embedded, kind: UnitKind, u: Named): UnitSpace | undefined => env.meta.get(unitName(kind, u)) as UnitSpace | undefined;
export const markOf = (env: Embedded, name: string): Mark => (env.meta.get(name) as Mark | undefined) ?? { next: 0, admit: newAdmitState() };
export const streamMarkOf = (env: Embedded, stream: string): Mark => markOf(env, streamMarkName(stream, 0));

/** An `apply` beside a running process may have taken it away. */
export function requireUnit(env: Embedded, kind: UnitKind, u: Named): UnitSpace {
  return unitSpaceOf(env, kind, u) ?? notApplied(u.id);
}

export function notApplied(id: string, what = 'is no longer among the applied features'): never {
  throw new FabraError('NOT_APPLIED', `${id} ${what}`, { hint: 'Start this command again: it takes up the applied registry.', retry: true });
}

/** Inside every transaction that changes marks or namespaces: readers drop what they decoded. */
export function bump(env: Embedded): void {
  env.meta.putSync('ver', ((env.meta.get('ver') as number | undefined) ?? 0) + 1);
}

/** The next of a row of numbers, the first being 1; `count` of them are taken. */
export function takeNumbers(env: Embedded, name: string, count: number): number {
  const first = ((env.meta.get(name) as number | undefined) ?? 0) + 1;
  if (count > 0) env.meta.putSync(name, first + count - 1);
  return first;
}

/** Inside a write transaction. */
export function adoptGroups(env: Embedded, groups: readonly Group[]): void {
  for (const g of groups)
    if (!spaceOf(env, g)) env.meta.putSync(nsName(g), { ns: takeNumbers(env, 'nextNs', 1), id: g.id, hash: g.hash, minTs: null, trimmed: null } satisfies Namespace);
  dropOthers(env, 'ns:', new Set(groups.map(nsName)));
}

export function adoptUnits(env: Embedded, { folds, triggers, tables }: Adopted): void {
  const wanted = new Set<string>();
  const add = (kind: UnitKind, u: Named): UnitSpace | null => {
    wanted.add(unitName(kind, u));
    if (unitSpaceOf(env, kind, u)) return null;
    const space: UnitSpace = { ns: takeNumbers(env, 'nextNs', 1), id: u.id, hash: u.hash, ready: false };
    env.meta.putSync(unitName(kind, u), space);
    return space;
  };
  for (const f of folds) add('fold', f);
  for (const t of tables) add('table', t);
  for (const t of triggers) {
    const made = add('on', t);
    // A handler has effects: it starts with what comes next.
    if (made) for (const s of t.streams) env.meta.putSync(unitMarkName(made.ns, s, 0), streamMarkOf(env, s));
  }
  dropOthers(env, 'nsu:', wanted);
}

/** Namespaces that the registry no longer has: their state goes. */
function dropOthers(env: Embedded, prefix: 'ns:' | 'nsu:', wanted: ReadonlySet<string>): void {
  for (const { key, value } of [...env.meta.getRange({ start: prefix, end: `${prefix.slice(0, -1)};` })]) {
    if (wanted.has(key)) continue;
    const { ns } = value as { ns: number };
    for (const db of [env.state, env.days, env.rows, env.turns, env.due, env.seen]) for (const k of [...db.getKeys(nsRange(ns))]) db.removeSync(k);
    for (const k of [...env.meta.getKeys({ start: `gm:${ns}:`, end: `gm:${ns};` })]) env.meta.removeSync(k);
    env.meta.removeSync(waitingName(ns));
    env.meta.removeSync(key);
  }
}

/** How many events wait in a handler's queues. */
export const waitingName = (ns: number): string => `tw:${ns}`;
