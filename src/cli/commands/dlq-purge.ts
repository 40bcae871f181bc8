/** `fabra dlq purge`: dead letters go for good. */
import { FabraError } from '../../lib/errors.ts';
import { purgeLetters } from '../../runtime/dlq.ts';
import { seqsOf } from '../dead.ts';
import { plural } from '../output.ts';
import type { Run } from '../spec.ts';
import { openProject } from '../wire.ts';

export const run: Run = async call => {
  const chosen = seqsOf(call, 'fabra dlq purge --all --yes');
  const project = await openProject(call);
  try {
    const { online } = project;
    const many = chosen.all ? await online.deadCount() : chosen.seqs.length;
    if (!call.common.yes && many > 0)
      throw new FabraError('CONSENT_NEEDED', `${plural(many, 'dead letter')}: purging them drops their events for good`, {
        hint: `Run: fabra dlq purge ${chosen.all ? '--all' : chosen.seqs.join(' ')} --yes`,
      });
    const purged = await purgeLetters(online, chosen);
    const left = await online.deadCount();
    call.out.answer({ purged, left }, () => [`${plural(purged, 'dead letter')} purged, ${left} left`]);
    return 0;
  } finally {
    await project.close();
  }
};
