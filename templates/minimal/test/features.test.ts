import { testFeatures } from 'fabra/testing';
import { expect, test } from 'vitest';
import { purchase, purchases24h, spend24h } from '../features.ts';

test('purchases of the last 24 hours', async () => {
  await using t = testFeatures([purchases24h, spend24h]);
  t.event(purchase, { user_id: 'ada', price: 19.99 }, '09:00').event(purchase, { user_id: 'ada', price: 5.01 }, '10:00');
  expect(await t.at('12:00', { user_id: 'ada' })).toEqual({ purchases_24h: 2, spend_24h: 25 });
  // A value sees what was before its instant, and nothing older than a day.
  expect(await t.at('10:00', { user_id: 'ada' })).toEqual({ purchases_24h: 1, spend_24h: 19.99 });
  expect(await t.at('2025-01-16T09:00:00.001Z', { user_id: 'ada' })).toEqual({ purchases_24h: 1, spend_24h: 5.01 });
});
