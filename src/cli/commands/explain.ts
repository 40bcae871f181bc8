/** `fabra explain`: the events that made a value, those that did not count, and a recount by hand. */
import type { Cell, Value } from '../../engine/values.ts';
import { FabraError } from '../../lib/errors.ts';
import { toJson } from '../../lib/json.ts';
import { parseKey, showKey } from '../../lib/text.ts';
import { iso } from '../../lib/time.ts';
import { type ExplainedEvent, type Explanation, explain } from '../../runtime/explain/index.ts';
import { readCompiled } from '../open.ts';
import { clip, columns, plural } from '../output.ts';
import { entityOf, featureId, keysOf, requestOf } from '../select.ts';
import type { Run } from '../spec.ts';

const WIDTH = 80;
/** Events shown of a list, newest last; --json has them all. */
const SHOWN = 20;

export const run: Run = call =>
  readCompiled(call, async (project, compiled) => {
    const { args, flags, out } = call;
    const { registry } = compiled;
    const entity = entityOf(registry, args[0]!);
    const key = parseKey(args[1]!, entity.key);
    const id = featureId(registry, args[2]!, entity.name);
    if (registry.features[id]!.entity !== entity.name)
      throw new FabraError('BAD_FLAG', `${id} is not about ${entity.name}`, { hint: `Ask: fabra explain ${registry.features[id]!.entity} KEY ${registry.features[id]!.name}` });
    const row = { ...keysOf(flags.with as string | undefined), ...Object.fromEntries(entity.key.map((c, i) => [c, key[i]!])) };
    const at = (flags.at as number | undefined) ?? project.clock.now();
    const found = await explain(project, compiled, { feature: id, row, at, request: requestOf(flags.request as string | undefined) });
    out.answer(json(found), () => lines(found));
    return found.same === false || !found.recountSame ? 1 : 0;
  });

const cell = (c: Cell | null) => c && { value: c.value, status: c.status, ts: c.ts === null ? null : iso(c.ts), ...(c.reason !== undefined && { reason: c.reason }) };
const event = (e: ExplainedEvent) => ({ ...e, ts: iso(e.ts) });

function json(x: Explanation): Record<string, unknown> {
  return {
    feature: x.feature,
    entity: x.entity,
    key: x.key && showKey(x.key),
    at: iso(x.at),
    what: x.what,
    online: cell(x.online),
    online_note: x.onlineNote,
    offline: cell(x.offline),
    same: x.same,
    recount: { ...cell(x.recount), same: x.recountSame },
    frame: x.frame && { from: x.frame.from === null ? null : iso(x.frame.from), to: iso(x.frame.to) },
    events: x.sides.map(s => ({ side: s.name, what: s.what, events: s.events.map(event) })),
    dropped: x.dropped.map(event),
    inputs: Object.fromEntries(Object.entries(x.inputs).map(([name, i]) => [name, json(i)])),
    unread: x.unread,
  };
}

const shown = (v: Value): string => (typeof v === 'string' ? v : toJson(v));
const cellText = (c: Cell): string => clip(`${shown(c.value)}  ${c.status}${c.reason === undefined ? '' : ` (${c.reason})`}`, WIDTH - 10);

function lines(x: Explanation): string[] {
  return [
    clip(`${x.feature} of ${x.key ? showKey(x.key) : '(no key)'} at ${iso(x.at)}`, WIDTH),
    `  ${clip(x.what, WIDTH - 2)}`,
    '',
    `online   ${x.online ? cellText(x.online) : `-  ${clip(x.onlineNote ?? '', WIDTH - 12)}`}`,
    `offline  ${cellText(x.offline)}${x.same === false ? '  DIFFERENT' : ''}`,
    `recount: ${x.recountSame ? 'same' : `DIFFERENT, ${cellText(x.recount)}`}`,
    ...(x.unread > 0 ? [`the worker has not read ${plural(x.unread, 'event')} of the log yet`] : []),
    ...(x.frame ? [`frame    [${x.frame.from === null ? 'the beginning' : iso(x.frame.from)}, ${iso(x.frame.to)})`] : []),
    ...x.sides.flatMap(s => ['', `${s.name === 'value' ? '' : `${s.name}: `}${plural(s.events.length, 'event')} of ${clip(s.what, WIDTH - 24)}`, ...table(s.events)]),
    ...(x.dropped.length > 0 ? ['', `not counted: ${plural(x.dropped.length, 'event')}`, ...table(x.dropped)] : []),
    ...Object.entries(x.inputs).flatMap(([name, i]) => ['', `input ${name}`, ...lines(i).map(l => (l === '' ? l : clip(`  ${l}`, WIDTH)))]),
  ];
}

function table(events: readonly ExplainedEvent[]): string[] {
  const some = events.slice(-SHOWN);
  const rest = events.length - some.length;
  const rows = some.map(e => [iso(e.ts), clip(e.id, 18), clip(e.type, 14), clip(detail(e), 44)]);
  return [...(rest > 0 ? [`  ${plural(rest, 'older event')} not shown (--json has all)`] : []), ...columns(rows).map(l => `  ${clip(l, WIDTH - 2)}`)];
}

function detail(e: ExplainedEvent): string {
  const values = Object.entries(e.columns)
    .map(([name, v]) => `${name}=${v ?? 'null'}`)
    .join(' ');
  return [e.note, values].filter(t => t).join('; ');
}
