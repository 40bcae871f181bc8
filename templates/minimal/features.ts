import { count, decimal, entity, feature, stream, sum } from 'fabra';
import { z } from 'zod';

const user = entity('user', { key: 'user_id' });

const events = stream('events', { id: 'event_id', time: 'timestamp', type: 'event_type' });
export const purchase = events.event('purchase', z.object({ user_id: z.string(), price: decimal(2) }));

export const purchases24h = feature(user, 'purchases_24h', count(purchase).over('24h'));
export const spend24h = feature(user, 'spend_24h', sum(purchase, 'price').over('24h'));
