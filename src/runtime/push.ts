/** Rows from outside: checked whole, put online and kept for history. */
import { compileUnits, type TableUnit } from '../engine/units.ts';
import { FabraError } from '../lib/errors.ts';
import { canonicalJson } from '../lib/json.ts';
import { suggest } from '../lib/text.ts';
import type { RowPut } from '../ports/online-store.ts';
import type { TableFeaturePlan, ViewPlan } from '../registry/types.ts';
import type { Compiled, Project } from './project.ts';
import { featureOf, keyFrom } from './reader.ts';

export interface PushRow {
  /** Key column -> key. */
  keys: Record<string, string>;
  /** By feature name; all features of the view. */
  values: Record<string, unknown>;
  /** Event time, epoch ms. */
  ts: number;
  /** When the row was written, epoch ms: the newest wins among rows of one time. */
  created: number;
}

/** The view that a feature takes its rows from. @throws FabraError BAD_VALUE when it has none that can be written. */
export function pushableView({ registry }: Pick<Compiled, 'registry'>, feature: string): ViewPlan {
  const plan = featureOf(registry, feature);
  if (plan.kind !== 'table') throw new FabraError('BAD_VALUE', `${feature} is computed, not pushed`, { hint: 'Declare it with pushed(…) to give it values from outside.' });
  const view = registry.views[plan.view]!;
  if (!view.materialize)
    throw new FabraError('BAD_VALUE', `${feature} is read from its source at every request`, { hint: 'Declare it with materialize: true, or with pushed(…).' });
  return view;
}

/** Where rows go: what is served, history, or both. */
export type PushTo = 'online' | 'offline' | 'online_and_offline';

/**
 * Puts rows of one view; served when this resolves, and kept for history.
 * @throws FabraError BAD_KEY, BAD_VALUE naming the row; nothing is written then.
 */
export async function pushRows(project: Pick<Project, 'online' | 'tables'>, compiled: Compiled, view: ViewPlan, rows: readonly PushRow[]): Promise<void> {
  await putViews(project, compiled, [{ view, rows }], 'online_and_offline');
}

/** Rows of several views, all checked before the first is written. */
export async function putViews(
  project: Pick<Project, 'online' | 'tables'>,
  compiled: Compiled,
  given: readonly { view: ViewPlan; rows: readonly PushRow[] }[],
  to: PushTo,
): Promise<void> {
  const units = compileUnits(compiled.registry).tables;
  const tables = given.map(({ view }) => units.get(view.id)!);
  const puts = given.flatMap(({ view, rows }, v) => rows.map((row, i) => putOf(compiled, view, tables[v]!, row, `rows[${i}]`)));
  if (to === 'offline') return project.tables.append(puts);
  await project.online.putRows(puts, { record: to === 'online_and_offline' });
}

function putOf({ registry, code }: Compiled, view: ViewPlan, table: TableUnit, row: PushRow, path: string): RowPut {
  const key = keyFrom(registry, view.entity, row.keys);
  if (key === null) {
    const columns = registry.entities[view.entity]!.key;
    const missing = columns.find(c => (row.keys[c] ?? '') === '')!;
    throw new FabraError('BAD_KEY', `${path} has no ${missing}`, { path: `${path}.${missing}`, hint: `A row needs: ${columns.join(', ')}.` });
  }
  const features = view.features.map(f => registry.features[f.id] as TableFeaturePlan);
  const names = features.map(f => f.name);
  const stray = Object.keys(row.values).find(n => !names.includes(n));
  if (stray !== undefined)
    throw new FabraError('BAD_VALUE', `${path}: there is no ${JSON.stringify(stray)} in ${view.id}`, { path: `${path}.${stray}`, hint: suggest(stray, names) });
  const values = features.map(f => {
    const value = row.values[f.name];
    if (value === undefined) throw new FabraError('BAD_VALUE', `${path} has no ${f.name}`, { path: `${path}.${f.name}`, hint: `A row has: ${names.join(', ')}; null is a value.` });
    if (value === null) return null;
    const fits = code.types.get(f.id)?.safeParse(value);
    if (fits?.success === false)
      throw new FabraError('BAD_VALUE', `${path}: ${f.name} does not fit its type: ${fits.error.issues[0]?.message ?? 'it is refused'}`, { path: `${path}.${f.name}` });
    return fits ? fits.data : value;
  });
  return { table, key, row: { eff: row.ts, ts: row.ts, created: row.created, text: canonicalJson(values), gone: false } };
}
