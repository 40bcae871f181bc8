/** `fabra dlq show`: one dead letter, with the event as it came. */
import { FabraError } from '../../lib/errors.ts';
import { iso } from '../../lib/time.ts';
import { deadJson, deadKey, deadText } from '../dead.ts';
import { whole } from '../options.ts';
import { plural } from '../output.ts';
import type { Run } from '../spec.ts';
import { withProject } from '../wire.ts';

export const run: Run = async call => {
  const seq = whole(1)(call.args[0]!, 'SEQ');
  return withProject(call, async ({ online, catalog }) => {
    const [found] = await online.deadLetters(seq - 1, 1);
    if (found?.seq !== seq) throw new FabraError('NOT_FOUND', `there is no dead letter ${seq}`, { hint: 'See: fabra dlq list' });
    const { letter: l } = found;
    const { handler: h } = l;
    const registry = (await catalog.applied())?.registry;
    call.out.answer(deadJson(seq, l, registry), () => [
      `dead letter ${seq} of ${l.stream}, offset ${l.offset}, ${iso(l.at)}`,
      ...(h ? [`handler: ${h.feature} of ${deadKey(h, registry)}, ${plural(h.attempts, 'attempt')} at ${h.event_type} ${h.event_id}`] : []),
      `reason: ${l.reason}`,
      '',
      deadText(l),
    ]);
    return 0;
  });
};
