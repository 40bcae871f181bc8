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
    return found.comparable && (found.same === false || found.recountSame === false) ? 1 : 0;
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
    offline_note: x.offlineNote,
    same: x.same,
    comparable: x.comparable,
    recount: x.recount && { ...cell(x.recount), same: x.recountSame },
    frame: x.frame && { from: x.frame.from === null ? null : iso(x.frame.from), to: iso(x.frame.to) },
    events: x.sides.map(s => ({ side: s.name, what: s.what, events: s.events.map(event) })),
    dropped: x.dropped.map(event),
    steps: x.steps.map(s => ({ event: event(s.event), state: s.state })),
    rows: x.rows.map(r => ({ ...r, eff: iso(r.eff), ts: iso(r.ts) })),
    turns: x.turns && { waiting: x.turns.waiting.map(timed), dead: x.turns.dead.map(timed) },
    inputs: Object.fromEntries(Object.entries(x.inputs).map(([name, i]) => [name, json(i)])),
    unread: x.unread,
  };
}

const timed = <T extends { ts: number }>(t: T) => ({ ...t, ts: iso(t.ts) });
const shown = (v: Value): string => (typeof v === 'string' ? v : toJson(v));
const cellText = (c: Cell): string => clip(`${shown(c.value)}  ${c.status}${c.reason === undefined ? '' : ` (${c.reason})`}`, WIDTH - 10);

function lines(x: Explanation): string[] {
  return [
    clip(`${x.feature} of ${x.key ? showKey(x.key) : '(no key)'} at ${iso(x.at)}`, WIDTH),
    `  ${clip(x.what, WIDTH - 2)}`,
    '',
    `online   ${x.online ? cellText(x.online) : `-  ${clip(x.onlineNote ?? '', WIDTH - 12)}`}`,
    `offline  ${x.offline ? cellText(x.offline) : `-  ${clip(x.offlineNote ?? '', WIDTH - 12)}`}${x.same === false ? (x.comparable ? '  DIFFERENT' : '  not the same') : ''}`,
    ...(x.recount ? [`recount: ${x.recountSame ? 'same' : `DIFFERENT, ${cellText(x.recount)}`}`] : []),
    ...(x.unread > 0 ? [`the worker has not read ${plural(x.unread, 'event')} of the log yet`] : []),
    ...(x.frame ? [`frame    [${x.frame.from === null ? 'the beginning' : iso(x.frame.from)}, ${iso(x.frame.to)})`] : []),
    ...x.sides.flatMap(s => ['', `${s.name === 'value' ? '' : `${s.name}: `}${plural(s.events.length, 'event')} of ${clip(s.what, WIDTH - 24)}`, ...table(s.events)]),
    ...(x.kind === 'fold' ? ['', plural(x.steps.length, 'event'), ...steps(x)] : []),
    ...(x.kind === 'table' || x.kind === 'on' ? ['', plural(x.rows.length, 'version'), ...versions(x)] : []),
    ...(x.dropped.length > 0 ? ['', `not counted: ${plural(x.dropped.length, 'event')}`, ...table(x.dropped)] : []),
    ...(x.turns ? turns(x.turns) : []),
    ...Object.entries(x.inputs).flatMap(([name, i]) => ['', `input ${name}`, ...lines(i).map(l => (l === '' ? l : clip(`  ${l}`, WIDTH)))]),
  ];
}

function table(events: readonly ExplainedEvent[]): string[] {
  const some = events.slice(-SHOWN);
  const rest = events.length - some.length;
  const rows = some.map(e => [iso(e.ts), clip(e.id, 18), clip(e.type, 14), clip(detail(e), 44)]);
  return [...(rest > 0 ? [`  ${plural(rest, 'older event')} not shown (--json has all)`] : []), ...columns(rows).map(l => `  ${clip(l, WIDTH - 2)}`)];
}

function steps(x: Explanation): string[] {
  const some = x.steps.slice(-SHOWN);
  const rest = x.steps.length - some.length;
  const rows = some.map(({ event: e, state }) => [iso(e.ts), clip(e.id, 18), clip(e.type, 14), clip(e.note ?? `-> ${shown(state as Value)}`, 44)]);
  return [...(rest > 0 ? [`  ${plural(rest, 'older event')} not shown (--json has all)`] : []), ...columns(rows).map(l => `  ${clip(l, WIDTH - 2)}`)];
}

function versions(x: Explanation): string[] {
  const rows = x.rows.slice(-SHOWN).map(r => [r.counts ? '*' : '', iso(r.eff), r.gone ? '-' : clip(shown(r.value), 20), clip(r.note ?? '', 44)]);
  return columns(rows).map(l => `  ${clip(l, WIDTH - 2)}`);
}

function turns({ waiting, dead }: NonNullable<Explanation['turns']>): string[] {
  const attempts = (n: number): string => (n === 0 ? 'not tried yet' : `failed ${n === 1 ? 'once' : `${n} times`}`);
  return [
    ...waiting.slice(0, SHOWN).map(t => clip(`waiting: ${t.event_type} ${t.event_id} of ${iso(t.ts)}, ${attempts(t.attempts)}`, WIDTH)),
    ...dead.slice(-SHOWN).map(t => clip(`dead: ${t.event_type} ${t.event_id}, ${attempts(t.attempts)}: ${t.reason} (fabra dlq show ${t.seq})`, WIDTH)),
  ];
}

function detail(e: ExplainedEvent): string {
  const values = Object.entries(e.columns)
    .map(([name, v]) => `${name}=${v ?? 'null'}`)
    .join(' ');
  return [e.note, values].filter(t => t).join('; ');
}
