/** `fabra dlq list`: events that were rejected, those that a handler gave up, and why. */
import { iso } from '../../lib/time.ts';
import { deadJson, deadKey } from '../dead.ts';
import { clip, columns, plural } from '../output.ts';
import type { DeadLetter } from '../../ports/online-store.ts';
import type { Registry } from '../../registry/types.ts';
import type { Run } from '../spec.ts';
import { withProject } from '../wire.ts';

export const run: Run = call =>
  withProject(call, async ({ online, catalog }) => {
    const { flags, out } = call;
    const after = (flags.after as number | undefined) ?? 0;
    const limit = (flags.limit as number | undefined) ?? 20;
    const [letters, total] = [await online.deadLetters(after, limit), await online.deadCount()];
    const registry = (await catalog.applied())?.registry;
    out.answer({ total, letters: letters.map(l => deadJson(l.seq, l.letter, registry)) }, () => [
      ...(letters.length === 0
        ? []
        : columns([['SEQ', 'STREAM', 'OFFSET', 'AT', 'HANDLER', 'ATTEMPTS', 'EVENT ID', 'REASON'], ...letters.map(l => row(l.seq, l.letter, registry))], [0, 2, 5])),
      plural(total, 'dead letter'),
    ]);
    const last = letters[letters.length - 1];
    if (last)
      out.note(
        '',
        `one of them whole: fabra dlq show ${last.seq}; another chance: fabra dlq retry ${last.seq}${letters.length === limit && total > limit ? `; the next: fabra dlq list --after ${last.seq}` : ''}`,
      );
    return 0;
  });

/** Rejected events have no handler: they never got that far. */
const row = (seq: number, l: DeadLetter, registry: Registry | undefined): string[] => {
  const handled = l.handler ? [`${l.handler.feature} ${clip(deadKey(l.handler, registry), 24)}`, String(l.handler.attempts), clip(l.handler.event_id, 36)] : ['', '', ''];
  return [String(seq), l.stream, String(l.offset), iso(l.at), ...handled, clip(l.reason, 80)];
};
