/** `fabra events tail`: the newest events of the log, as published. */
import { FabraError } from '../../lib/errors.ts';
import { iso } from '../../lib/time.ts';
import type { LogRecord } from '../../ports/event-bus.ts';
import { appliedOf } from '../open.ts';
import { streamOf } from '../select.ts';
import type { Run } from '../spec.ts';
import { withProject } from '../wire.ts';

const SLICE = 1_000;
const PAUSE_MS = 200;

export const run: Run = call =>
  withProject(call, async project => {
    const { flags, out, signal } = call;
    const follow = flags.follow === true;
    if (follow && out.json) throw new FabraError('BAD_FLAG', '--json prints one document, --follow never ends', { hint: 'Leave one of them out.' });
    const { bus, clock } = project;
    const { registry } = await appliedOf(project);
    const { name: stream } = streamOf(registry, flags.stream as string | undefined);
    const { start, end } = await bus.bounds(stream, 0);
    let at = Math.max(start, end - ((flags.limit as number | undefined) ?? 10));
    const events: unknown[] = [];
    const take = async (to: number): Promise<number> => {
      const records = at < to ? await bus.poll(stream, 0, at, Math.min(SLICE, to - at)) : [];
      for (const r of records) out.json ? events.push(document(r)) : out.print(line(r));
      at = records.length > 0 ? records[records.length - 1]!.offset + 1 : at;
      return records.length;
    };
    while ((await take(end)) > 0 && !signal.aborted);
    while (follow && !signal.aborted) if ((await take(Number.MAX_SAFE_INTEGER)) === 0) await clock.sleep(PAUSE_MS, signal);
    if (out.json) out.answer({ stream, start, end, events }, () => []);
    else if (end === start && !follow) out.note(`the log of ${stream} is empty; next: fabra replay FILE`);
    return 0;
  });

const textOf = (r: LogRecord): string => Buffer.from(r.bytes).toString('utf8');
const line = (r: LogRecord): string => `${r.offset}  ${iso(r.appended)}  ${textOf(r)}`;

function document(r: LogRecord): Record<string, unknown> {
  const head = { offset: r.offset, appended: iso(r.appended), ...(r.id !== null && { id: r.id }) };
  try {
    return { ...head, event: JSON.parse(textOf(r)) as unknown };
  } catch {
    return { ...head, text: textOf(r) };
  }
}
