import { testFeatures } from 'fabra/testing';
import { expect, test } from 'vitest';
import { cartPressure, prodRev24h, purchase, sessDuration, userCr24h, userViews5m, view } from '../features.ts';

const base = {
  user_id: 'u1',
  session_id: 's1',
  product_id: 'sku_1',
  price: 20,
  currency: 'EUR' as const,
  device: { mobile: true, os: 'Android' },
  geo: { country: 'DE', city: 'Munich' },
};

test('views of five minutes, and a conversion rate', async () => {
  await using t = testFeatures([userViews5m, userCr24h]);
  t.event(view, base, '12:00').event(view, base, '12:02').event(purchase, base, '12:03');
  expect(await t.at('12:04', { user_id: 'u1' })).toEqual({ user_views_5m: 2, user_cr_24h: 0.5 });
  expect(await t.at('12:06', { user_id: 'u1' })).toEqual({ user_views_5m: 1, user_cr_24h: 0.5 });
});

test('revenue is in EUR, whatever was paid in', async () => {
  await using t = testFeatures([prodRev24h]);
  t.event(purchase, base, '12:00').event(purchase, { ...base, currency: 'GBP' }, '12:01');
  expect(await t.at('13:00', { product_id: 'sku_1' })).toEqual({ prod_rev_24h: 43.8 });
});

test('a session ends after half an hour without an event', async () => {
  await using t = testFeatures([sessDuration]);
  t.event(view, base, '12:00').event(view, base, '12:10').event(view, base, '12:41');
  const key = { user_id: 'u1', session_id: 's1' };
  expect(await t.at('12:40', key)).toEqual({ sess_duration_s: 600 });
  expect(await t.at('12:42', key)).toEqual({ sess_duration_s: 0 });
});

test('cart pressure takes what the caller knows', async () => {
  await using t = testFeatures([cartPressure]);
  t.event(view, base, '12:00').event(purchase, base, '12:01');
  expect(await t.at('12:02', { user_id: 'u1', product_id: 'sku_1' }, { request: { cart_total: 42 } })).toEqual({ cart_pressure: 2 });
});
