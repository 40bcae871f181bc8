import { testFeatures } from 'fabra/testing';
import { expect, test } from 'vitest';
import { favoriteCategory, lastViewedCategory, recommend, similarity, view } from '../features.ts';
import { ITEMS } from '../items.ts';

test('one call gives the long run, the last view and the session', async () => {
  await using t = testFeatures(recommend);
  t.rows(favoriteCategory, [
    { user_id: 'u1', value: 'tents', at: '08:00' },
    { user_id: 'u1', value: 'shoes', at: '09:00' },
  ]);
  t.event(view, { user_id: 'u1', product_id: 'sku_01' }, '12:00');
  t.event(view, { user_id: 'u1', product_id: 'sku_01' }, '12:01');
  const row = await t.at('12:05', { user_id: 'u1', product_id: 'sku_01' });
  expect(row).toMatchObject({ favorite_category: 'shoes', last_viewed_category: 'shoes', views_30m: 2, session_embedding: ITEMS.sku_01?.embedding });
  expect(row.similarity).toBeCloseTo(1);
});

test('what is alike is nearer', async () => {
  await using t = testFeatures([similarity]);
  t.event(view, { user_id: 'u1', product_id: 'sku_01' }, '12:00');
  const [shoe, lamp] = await t.at('12:10', [
    { user_id: 'u1', product_id: 'sku_02' },
    { user_id: 'u1', product_id: 'sku_21' },
  ]);
  expect(shoe?.similarity ?? 0).toBeGreaterThan(lamp?.similarity ?? 1);
  expect(await t.at('12:31', { user_id: 'u1', product_id: 'sku_02' })).toEqual({ similarity: null });
});

test('a user nobody knows, and a product nobody sells', async () => {
  await using t = testFeatures([favoriteCategory, lastViewedCategory]);
  t.event(view, { user_id: 'u1', product_id: 'sku_05' }, '12:00').event(view, { user_id: 'u1', product_id: 'gone' }, '12:01');
  expect(await t.at('12:05', { user_id: 'u1' })).toEqual({ favorite_category: 'unknown', last_viewed_category: 'jackets' });
  expect(await t.at('12:05', { user_id: 'u2' })).toEqual({ favorite_category: 'unknown', last_viewed_category: null });
});
