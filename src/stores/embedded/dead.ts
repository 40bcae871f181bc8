/** Dead letters, numbered. A handler's keeps its event beside it, so that it can be put back. */
import type { RoutedEvent } from '../../engine/units.ts';
import type { DeadLetter } from '../../ports/online-store.ts';
import type { Embedded } from './env.ts';
import { seqKey } from './keys.ts';
import { takeNumbers } from './spaces.ts';

/** What a handler failed at. */
export interface FailedTurn {
  key: string;
  event: RoutedEvent;
}
interface Buried extends Omit<DeadLetter, 'bytes'> {
  bytes: string;
  turn?: FailedTurn;
}

/** Inside a write transaction. */
export function bury(env: Embedded, letter: DeadLetter, turn?: FailedTurn): void {
  const { bytes, ...rest } = letter;
  const kept: Buried = { ...rest, bytes: Buffer.from(bytes).toString('base64'), ...(turn && { turn }) };
  env.dead.putSync(seqKey(takeNumbers(env, 'deadSeq', 1)), Buffer.from(JSON.stringify(kept)));
}

export function deadLetters(env: Embedded, after: number, limit: number): { seq: number; letter: DeadLetter }[] {
  return [...env.dead.getRange({ start: seqKey(after + 1), limit })].map(({ key, value }) => {
    const { bytes, turn: _, ...rest } = JSON.parse(value.toString('utf8')) as Buried;
    return { seq: key.readUIntBE(0, 6), letter: { ...rest, bytes: Buffer.from(bytes, 'base64') } };
  });
}

/** A handler's dead letter: its feature and what it failed at. */
export function failedTurn(env: Embedded, seq: number): ({ feature: string } & FailedTurn) | null {
  const value = env.dead.getBinary(seqKey(seq));
  const { handler, turn } = value ? (JSON.parse(value.toString('utf8')) as Buried) : {};
  return handler && turn ? { feature: handler.feature, ...turn } : null;
}

/** Inside a write transaction; false when it was not there. */
export const unbury = (env: Embedded, seq: number): boolean => env.dead.removeSync(seqKey(seq));
