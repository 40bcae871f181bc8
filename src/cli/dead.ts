/** Dead letters as both dlq commands show them. */
import { iso } from '../lib/time.ts';
import type { DeadLetter } from '../ports/online-store.ts';

export const deadText = (l: DeadLetter): string => Buffer.from(l.bytes).toString('utf8');

export const deadJson = (seq: number, l: DeadLetter): Record<string, unknown> => ({
  seq,
  stream: l.stream,
  partition: l.partition,
  offset: l.offset,
  at: iso(l.at),
  reason: l.reason,
  event: deadText(l),
});
