/** The dead letter of an event that a handler gave up, with the bytes as they came. */
import type { RoutedEvent } from '../../engine/units.ts';
import type { DeadLetter } from '../../ports/online-store.ts';
import type { Project } from '../project.ts';

export async function deadLetterOf(
  project: Pick<Project, 'bus' | 'history'>,
  feature: string,
  key: string,
  event: RoutedEvent,
  end: { at: number; reason: string; attempts: number },
): Promise<DeadLetter> {
  const { stream, partition, offset } = event;
  const bytes = (await bytesOf(project, event)) ?? Buffer.from(event.payload);
  const handler = { feature, key, attempts: end.attempts, event_type: event.type, event_id: event.id, ts: event.ts };
  return { stream, partition, offset, at: end.at, reason: end.reason, bytes, handler };
}

/** From the log, or from history once the log was trimmed; null where neither has it any more. */
async function bytesOf({ bus, history }: Pick<Project, 'bus' | 'history'>, { stream, partition, offset }: RoutedEvent): Promise<Uint8Array | null> {
  const [record] = await bus.poll(stream, partition, offset, 1);
  if (record?.offset === offset) return record.bytes;
  if ((await history.mark(stream, partition)).next <= offset) return null;
  for await (const rows of history.scan(stream, partition, offset, offset + 1)) for (const row of rows) if (row.offset === offset) return row.bytes;
  return null;
}
