/** Rows from outside as columns, for all views of a feature, an entity or a source. */
import { FabraError } from '../lib/errors.ts';
import { suggest } from '../lib/text.ts';
import { readInstant } from '../lib/time.ts';
import type { Registry, ViewPlan } from '../registry/types.ts';
import type { Compiled, Project } from './project.ts';
import { type PushRow, type PushTo, pushableView, putViews } from './push.ts';
import { keyText } from './server/request.ts';

export interface PushColumns {
  /** Id or name of a feature, name of an entity (its pushed features) or of a source (all its views). */
  target: string;
  /** Key columns, values by the features' names, and perhaps `event_timestamp` and `created`. */
  columns: Readonly<Record<string, unknown>>;
  /** Default: both. */
  to?: PushTo;
}

const TIME = 'event_timestamp';
const CREATED = 'created';

/**
 * Puts rows given as columns, in any order of columns; returns how many rows. Rows without a time have that of the push.
 * @throws FabraError UNKNOWN_SOURCE; BAD_ROWS naming the columns that are missing and those that belong nowhere; BAD_KEY, BAD_TIME,
 * BAD_VALUE naming the row. Nothing is written then.
 */
export async function pushColumns(project: Pick<Project, 'online' | 'tables' | 'clock' | 'log'>, compiled: Compiled, given: PushColumns): Promise<number> {
  const { registry } = compiled;
  const views = viewsOf(compiled, given.target);
  const shape = shapeOf(registry, views);
  const length = checkColumns(given, shape);
  if (length === 0) project.log.log('warn', { event: 'empty_push', target: given.target });
  const now = project.clock.now();
  const at = (column: string | null, i: number): unknown => (column === null ? undefined : (given.columns[column] as unknown[])[i]);
  const put = views.map(view => {
    const { key } = registry.entities[view.entity]!;
    const features = view.features.map(f => registry.features[f.id]!.name);
    const [time, created] = [
      [TIME, view.time],
      [CREATED, view.created],
    ].map(names => names.find(n => n !== null && shape.times.has(n!) && Object.hasOwn(given.columns, n!)) ?? null);
    const rows = Array.from(
      { length },
      (_, i): PushRow => ({
        keys: Object.fromEntries(key.map(c => [c, keyText(at(c, i), `rows[${i}].${c}`)])),
        values: Object.fromEntries(features.map(f => [f, at(f, i) ?? null])),
        ts: instant(at(time!, i), now, `rows[${i}].${time}`),
        created: instant(at(created!, i), now, `rows[${i}].${created}`),
      }),
    );
    return { view, rows };
  });
  if (length > 0) await putViews(project, compiled, put, given.to ?? 'online_and_offline');
  return length;
}

function viewsOf(compiled: Compiled, target: string): ViewPlan[] {
  const { registry } = compiled;
  const all = Object.values(registry.views);
  const features = Object.values(registry.features);
  const named = Object.hasOwn(registry.features, target) ? [registry.features[target]!] : features.filter(f => f.name === target);
  if (named.length > 1)
    throw new FabraError('NAME_COLLISION', `${named.length} entities have a feature '${target}'`, { hint: `Name the entity too: ${named.map(f => f.id).join(' or ')}.` });
  if (named.length === 1) return [pushableView(compiled, named[0]!.id)];
  const views = all.filter(v => v.materialize && (v.source === target || (v.source === null && v.entity === target)));
  if (views.length > 0) return views;
  const names = [...features.filter(f => f.kind === 'table').map(f => f.name), ...Object.keys(registry.sources), ...new Set(all.filter(v => v.source === null).map(v => v.entity))];
  throw new FabraError('UNKNOWN_SOURCE', `nothing takes rows under the name ${JSON.stringify(target)}`, {
    hint: names.length > 0 ? suggest(target, names) : "Declare a feature that does: feature(user, 'segment', pushed(z.string())).",
  });
}

interface Shape {
  needed: string[];
  /** Optional columns of time. */
  times: Set<string>;
}

function shapeOf(registry: Registry, views: readonly ViewPlan[]): Shape {
  const needed = new Set(views.flatMap(v => [...registry.entities[v.entity]!.key, ...v.features.map(f => registry.features[f.id]!.name)]));
  const times = [TIME, CREATED, ...views.flatMap(v => [v.time, v.created])].filter(c => c !== null && !needed.has(c));
  return { needed: [...needed], times: new Set(times as string[]) };
}

/** How many rows there are. */
function checkColumns({ target, columns }: PushColumns, { needed, times }: Shape): number {
  const given = Object.keys(columns);
  const missing = needed.filter(c => !Object.hasOwn(columns, c));
  const extra = given.filter(c => !needed.includes(c) && !times.has(c));
  if (missing.length > 0 || extra.length > 0) {
    const parts = [missing.length > 0 && `missing: ${missing.join(', ')}`, extra.length > 0 && `belonging nowhere: ${extra.join(', ')}`].filter(Boolean);
    throw new FabraError('BAD_ROWS', `the columns for ${target} do not fit: ${parts.join('; ')}`, {
      path: 'df',
      hint: `Send ${needed.join(', ')}, and perhaps ${[...times].join(', ')}.`,
    });
  }
  let length = -1;
  for (const c of given) {
    const list = columns[c];
    if (!Array.isArray(list)) throw new FabraError('BAD_ROWS', `${c} is not a list`, { path: `df.${c}`, hint: 'Send columns: {"user_id": ["u1"], "segment": ["vip"]}.' });
    if (length >= 0 && list.length !== length)
      throw new FabraError('BAD_ROWS', `${c} has ${list.length} entries, ${given[0]} has ${length}`, {
        path: `df.${c}`,
        hint: 'All columns have the same length: one entry per row.',
      });
    length = list.length;
  }
  return Math.max(0, length);
}

function instant(value: unknown, now: number, path: string): number {
  if (value === undefined || value === null) return now;
  const t = readInstant(value);
  if (t !== null) return t;
  throw new FabraError('BAD_TIME', `${path} ${JSON.stringify(value)} is not an instant`, { path, hint: "Write ISO 8601 ('2025-01-15T12:05:00Z') or epoch milliseconds." });
}
