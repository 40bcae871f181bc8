/** `fabra get`: the values of an entity's features. */
import type { Cell, Value } from '../../engine/values.ts';
import { FabraError } from '../../lib/errors.ts';
import { formatDuration } from '../../lib/duration.ts';
import { toJson } from '../../lib/json.ts';
import { parseKey, showKey } from '../../lib/text.ts';
import { iso } from '../../lib/time.ts';
import type { Registry } from '../../registry/types.ts';
import { FeatureReader } from '../../runtime/reader.ts';
import { clip, columns } from '../output.ts';
import { servable, readCompiled } from '../open.ts';
import { chosenFeatures, entityOf, keysOf, requestOf } from '../select.ts';
import type { Invocation, Run } from '../spec.ts';
import type { OpenedProject } from '../wire.ts';

const DAY = 86_400_000;
const MAX_VALUE = 40;

export const run: Run = call =>
  readCompiled(call, async (project, compiled) => {
    const { args, common, flags, out } = call;
    const { registry, code } = await servable(project, compiled);
    const entity = entityOf(registry, args[0]!);
    const key = parseKey(args[1]!, entity.key);
    const ids = featuresOf(registry, entity.name, common);
    const row = { ...keysOf(flags.with as string | undefined), ...Object.fromEntries(entity.key.map((c, i) => [c, key[i]!])) };
    const at = common.asOf ?? project.clock.now();
    const { cells } = await new FeatureReader(project, registry, code).read({ features: ids, rows: [row], at, request: requestOf(flags.request as string | undefined) });
    const answer = ids.map((id, i) => ({ name: registry.features[id]!.name, cell: cells[0]![i]! }));
    out.answer({ entity: entity.name, key: showKey(key), as_of: iso(at), features: Object.fromEntries(answer.map(({ name, cell }) => [name, cellJson(cell)])) }, () => [
      `${entity.name} ${showKey(key)} as of ${iso(at)}`,
      ...columns([['FEATURE', 'VALUE', 'STATUS', 'AGE'], ...answer.map(({ name, cell }) => [name, clip(shown(cell.value), MAX_VALUE), status(cell), age(cell, at)])]),
    ]);
    if (common.asOf === undefined) await noteOldLog(project, registry, at, call);
    return 0;
  });

/** All of the entity's, or those asked for that are about it. */
function featuresOf(registry: Registry, entity: string, common: Invocation['common']): string[] {
  const mine = (id: string): boolean => registry.features[id]!.entity === entity;
  const ids = chosenFeatures(registry, common, entity) ?? Object.keys(registry.features);
  const own = ids.filter(mine);
  if (common.features && own.length < ids.length) {
    const other = ids.find(id => !mine(id))!;
    throw new FabraError('BAD_FLAG', `${other} is not about ${entity}`, { hint: `Ask for it with: fabra get ${registry.features[other]!.entity} <key>` });
  }
  if (own.length === 0)
    throw new FabraError('NOT_FOUND', `${common.service === undefined ? entity : `the service ${common.service}`} has no feature of ${entity}`, { hint: 'See: fabra compile' });
  return own;
}

export const cellJson = ({ value, status: s, ts, reason }: Cell): Record<string, unknown> => ({
  value,
  status: s,
  ts: ts === null ? null : iso(ts),
  ...(reason !== undefined && { reason }),
});

const shown = (value: Value): string => (typeof value === 'string' ? value : toJson(value));
const status = ({ status: s, reason }: Cell): string => (reason === undefined ? s : `${s} (${reason})`);
const age = ({ ts }: Cell, at: number): string => (ts === null ? '-' : formatDuration(at - ts));

/** A log of another day gives empty windows now: say so, and what to type. */
async function noteOldLog(project: OpenedProject, registry: Registry, at: number, call: Invocation): Promise<void> {
  const marks = await Promise.all(Object.keys(registry.streams).map(s => project.online.streamMark(s, 0)));
  const newest = Math.max(...marks.map(m => m.admit.max ?? Number.NEGATIVE_INFINITY));
  if (newest === Number.NEGATIVE_INFINITY) call.out.note('', 'No event has been read yet: fabra replay FILE, then fabra worker --until-idle');
  else if (at - newest > DAY) call.out.note('', `The newest event is of ${iso(newest)}: windows that end now are empty. Try --as-of ${iso(newest + 1)}`);
}
