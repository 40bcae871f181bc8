/** Rows that were recorded online and are on their way to history; the tables' adapter takes them out. */
import type { OutboxRow, RowPut } from '../../ports/online-store.ts';
import type { Embedded } from './env.ts';
import { seqKey } from './keys.ts';
import { takeNumbers } from './spaces.ts';

/** Inside a write transaction. */
export function record(env: Embedded, puts: readonly RowPut[]): void {
  let seq = takeNumbers(env, 'outSeq', puts.length);
  for (const { table, key, row } of puts) env.outbox.putSync(seqKey(seq++), Buffer.from(JSON.stringify({ table, key, row } satisfies RowPut)));
}

/** Rows after the `after`-th, in order. Call `env.refresh()` first when outside a transaction. */
export function peek(env: Embedded, after: number, limit: number): OutboxRow[] {
  return [...env.outbox.getRange({ start: seqKey(after + 1), limit })].map(({ key, value }) => ({ seq: key.readUIntBE(0, 6), ...(JSON.parse(value.toString('utf8')) as RowPut) }));
}

/** Inside a write transaction: rows up to `upTo` (that one too) are in history now. */
export function drop(env: Embedded, upTo: number): void {
  for (const k of [...env.outbox.getKeys({ end: seqKey(upTo + 1) })]) env.outbox.removeSync(k);
}
