/** Keys of an event's entities, as a handler's `get` and `set` need them. */
import { pick } from '../../engine/decode.ts';
import type { Registry } from '../../registry/types.ts';

/** Every key column that the event says: those of the handler's own entity, and others that its payload holds. */
export function keysOf(registry: Registry, own: Readonly<Record<string, string>>, payload: unknown): Record<string, string> {
  const out: Record<string, string> = {};
  const fields = payload !== null && typeof payload === 'object' ? (payload as Record<string, unknown>) : {};
  for (const entity of Object.values(registry.entities))
    for (const column of entity.key) {
      const v = own[column] ?? pick(fields, column);
      if ((typeof v === 'string' && v !== '') || typeof v === 'number' || typeof v === 'bigint' || typeof v === 'boolean') out[column] = String(v);
    }
  return out;
}
