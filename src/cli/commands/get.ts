/** `fabra get`: the values of an entity's features. */
import type { Cell, Value } from '../../engine/values.ts';
import { FabraError } from '../../lib/errors.ts';
import { formatDuration } from '../../lib/duration.ts';
import { toJson } from '../../lib/json.ts';
import { parseKey, showKey } from '../../lib/text.ts';
import { iso } from '../../lib/time.ts';
import type { FeaturePlan, Registry } from '../../registry/types.ts';
import { type MaxAge, maxAgeOf, refuseStale, staleOf } from '../../runtime/read/stale.ts';
import { FeatureReader, type FeatureRef } from '../../runtime/reader.ts';
import { Names, type Selection } from '../../runtime/server/names.ts';
import { clip, columns } from '../output.ts';
import { servable, readCompiled } from '../open.ts';
import { chosenFeatures, entityOf, keysOf, requestOf } from '../select.ts';
import type { Invocation, Run } from '../spec.ts';
import type { OpenedProject } from '../wire.ts';

const DAY = 86_400_000;
const MAX_VALUE = 40;
const MAX_DETAIL = 60;

export const run: Run = call =>
  readCompiled(call, async (project, compiled) => {
    const { args, common, flags, out } = call;
    const { registry, code } = await servable(project, compiled);
    const entity = entityOf(registry, args[0]!);
    const key = parseKey(args[1]!, entity.key);
    const row = { ...keysOf(flags.with as string | undefined), ...Object.fromEntries(entity.key.map((c, i) => [c, key[i]!])) };
    const known = new Names(registry, code);
    const picked = pick(known, entity.name, row, call);
    const at = common.asOf ?? project.clock.now();
    const request = requestOf(flags.request as string | undefined);
    const { cells } = await new FeatureReader(project, registry, code).read({ features: picked.map(p => p.ref), rows: [row], at, request });
    const [plans, names] = [picked.map(p => p.plan), picked.map(p => p.name)];
    const stale = staleOf(plans, names, cells, at, maxAge(flags.maxAge as string | undefined, names));
    if (flags.strict === true) refuseStale(stale);
    const answer = names.map((name, i) => ({ name, cell: cells[0]![i]!, stale: stale.find(x => x.feature === name) }));
    const document = { entity: entity.name, key: showKey(key), as_of: iso(at), features: Object.fromEntries(answer.map(({ name, cell }) => [name, cellJson(cell)])) };
    out.answer(stale.length === 0 ? document : { ...document, degraded: true, stale: stale.map(({ rows: _, ...x }) => x) }, () => [
      `${entity.name} ${showKey(key)} as of ${iso(at)}`,
      ...columns([
        ['FEATURE', 'VALUE', 'STATUS', 'AGE'],
        ...answer.map(x => [
          x.name,
          clip(shown(x.cell.value), MAX_VALUE),
          status(x.cell),
          age(x.cell, at) + (x.stale ? ` (stale: at most ${formatDuration(x.stale.max_age_ms)})` : ''),
        ]),
      ]),
    ]);
    const missing = [...new Set(picked.flatMap(p => known.needs(p.ref)))].filter(c => !row[c]);
    if (missing.length > 0) out.note('', `Some of these need another key: --with ${missing.map(c => `${c}=…`).join(',')}`);
    if (common.asOf === undefined) await noteOldLog(project, registry, at, call);
    return 0;
  });

interface Picked {
  ref: string | FeatureRef;
  name: string;
  plan: FeaturePlan;
}

/** Of a service: what is about the entity, and what the keys given suffice for; else by their names, or all of the entity. */
function pick(names: Names, entity: string, row: Record<string, string>, { common, flags }: Invocation): Picked[] {
  const full = flags.fullNames === true;
  const zip = ({ refs, plans, names: called }: Selection): Picked[] => refs.map((ref, i) => ({ ref, plan: plans[i]!, name: called[i]! }));
  if (common.service === undefined || common.features) {
    const list = zip(names.list(featuresOf(names.registry, entity, common), 'features', full));
    return full ? list : list.map(p => ({ ...p, name: p.plan.name }));
  }
  const all = zip(names.service(common.service, full || undefined));
  const given = all.filter(p => p.plan.entity === entity || names.needs(p.ref).every(c => row[c] !== undefined));
  if (given.length > 0) return given;
  throw new FabraError('NOT_FOUND', `the service ${common.service} has no feature of ${entity}`, { hint: 'See: fabra compile' });
}

/** `30s`, or `feature=30s,other=1m`. */
function maxAge(text: string | undefined, names: readonly string[]): MaxAge {
  if (!text?.includes('=')) return maxAgeOf(text, names, '--max-age');
  return maxAgeOf(Object.fromEntries(text.split(',').map(part => [part.slice(0, part.indexOf('=')).trim(), part.slice(part.indexOf('=') + 1)])), names, '--max-age');
}

/** All of the entity's, or those asked for that are about it. */
function featuresOf(registry: Registry, entity: string, common: Invocation['common']): string[] {
  const mine = (id: string): boolean => registry.features[id]!.entity === entity;
  const ids = chosenFeatures(registry, common, entity) ?? Object.keys(registry.features);
  const own = ids.filter(mine);
  if (common.features && own.length < ids.length) {
    const other = ids.find(id => !mine(id))!;
    throw new FabraError('BAD_FLAG', `${other} is not about ${entity}`, { hint: `Ask for it with: fabra get ${registry.features[other]!.entity} <key>` });
  }
  if (own.length === 0) throw new FabraError('NOT_FOUND', `${entity} has no feature`, { hint: 'See: fabra compile' });
  return own;
}

export const cellJson = ({ value, status: s, ts, reason, detail }: Cell): Record<string, unknown> => ({
  value,
  status: s,
  ts: ts === null ? null : iso(ts),
  ...(reason !== undefined && { reason }),
  ...(detail !== undefined && { detail }),
});

const shown = (value: Value): string => (typeof value === 'string' ? value : toJson(value));
const status = ({ status: s, reason, detail }: Cell): string => (reason === undefined ? s : `${s} (${reason}${detail === undefined ? '' : `: ${clip(detail, MAX_DETAIL)}`})`);
const age = ({ ts }: Cell, at: number): string => (ts === null ? '-' : formatDuration(at - ts));

/** A log of another day gives empty windows now: say so, and what to type. */
async function noteOldLog(project: OpenedProject, registry: Registry, at: number, call: Invocation): Promise<void> {
  const marks = await Promise.all(Object.keys(registry.streams).map(s => project.online.streamMark(s, 0)));
  const newest = Math.max(...marks.map(m => m.admit.max ?? Number.NEGATIVE_INFINITY));
  if (newest === Number.NEGATIVE_INFINITY) call.out.note('', 'No event has been read yet: fabra replay FILE, then fabra worker --until-idle');
  else if (at - newest > DAY) call.out.note('', `The newest event is of ${iso(newest)}: windows that end now are empty. Try --as-of ${iso(newest + 1)}`);
}
