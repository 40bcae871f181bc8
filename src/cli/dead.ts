/** Dead letters as the dlq commands show and choose them. */
import { FabraError } from '../lib/errors.ts';
import { showKey, splitKey } from '../lib/text.ts';
import { iso } from '../lib/time.ts';
import type { DeadLetter } from '../ports/online-store.ts';
import type { Registry } from '../registry/types.ts';
import { whole } from './options.ts';
import type { Invocation } from './spec.ts';

export const deadText = (l: DeadLetter): string => Buffer.from(l.bytes).toString('utf8');

/** A handler's key as it is typed; as it is stored where the feature is gone. */
export function deadKey({ feature, key }: { feature: string; key: string }, registry: Registry | undefined): string {
  const entity = registry?.features[feature]?.entity;
  return entity === undefined ? key : showKey(splitKey(key, registry!.entities[entity]!.key.length));
}

export const deadJson = (seq: number, l: DeadLetter, registry: Registry | undefined): Record<string, unknown> => ({
  seq,
  stream: l.stream,
  partition: l.partition,
  offset: l.offset,
  at: iso(l.at),
  reason: l.reason,
  handler: l.handler ? { ...l.handler, key: deadKey(l.handler, registry), ts: iso(l.handler.ts) } : null,
  event: deadText(l),
});

/** Letters named by number, or `--all`. `instead` is what to type for all of them; undefined where none named is fine. */
export function seqsOf({ args, flags }: Invocation, instead: string | undefined): { seqs: number[]; all: boolean } {
  const seqs = args.filter(a => a !== undefined).map(a => whole(1)(a, 'SEQ'));
  const all = flags.all === true;
  if (all && seqs.length > 0) throw new FabraError('BAD_FLAG', '--all and single numbers exclude each other', { hint: 'Leave one of them out.' });
  if (!all && seqs.length === 0 && instead !== undefined)
    throw new FabraError('BAD_FLAG', 'no dead letter is named', { hint: `Name them by number (fabra dlq list), or all: ${instead}` });
  return { seqs, all };
}
