/** `fabra dlq retry`: dead letters get another chance. */
import { type Retried, retryLetters } from '../../runtime/dlq.ts';
import { seqsOf } from '../dead.ts';
import { withCompiled } from '../open.ts';
import { clip, plural } from '../output.ts';
import type { Run } from '../spec.ts';

/** Lines of those that stay; more are counted. */
const SHOWN = 20;

export const run: Run = async call => {
  const feature = call.flags.feature as string | undefined;
  const named = seqsOf(call, feature === undefined ? 'fabra dlq retry --all' : undefined);
  // A feature alone means all of its letters.
  const chosen = { ...named, all: named.seqs.length === 0, ...(feature !== undefined && { feature }) };
  return withCompiled(call, async (project, compiled) => {
    const results = await retryLetters(project, compiled, chosen);
    const stay = results.filter(r => !r.ok);
    const [requeued, appended] = (['requeued', 'appended'] as const).map(what => results.filter(r => r.ok && r.what === what).length);
    const left = await project.online.deadCount();
    call.out.answer({ requeued, appended, failed: stay.length, left, results }, () => [
      ...stay.slice(0, SHOWN).map(line),
      ...(stay.length > SHOWN ? [`… ${stay.length - SHOWN} more`] : []),
      `${requeued} back to their handlers, ${appended} back in the log, ${stay.length} not; ${plural(left, 'dead letter')} left`,
    ]);
    if (requeued! + appended! > 0) call.out.note('a worker takes them up: fabra worker');
    // What was named and could not be retried is a failure of the command; of all of them some may stay.
    return stay.length > 0 && !chosen.all ? 1 : 0;
  });
};

const line = (r: Retried): string => `dead letter ${r.seq} stays: ${r.ok ? '' : clip(r.why, 120)}`;
