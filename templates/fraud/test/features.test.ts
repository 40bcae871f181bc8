import { testFeatures } from 'fabra/testing';
import { expect, test } from 'vitest';
import { balance, cardPayments10m, decide, fraudReport, terminalReports28d, terminalRisk28d, transaction } from '../features.ts';

const pay = (amount: number, kind: 'debit' | 'credit' = 'debit') => ({
  customer_id: 'c1',
  card_id: kind === 'debit' ? 'card1' : null,
  terminal_id: kind === 'debit' ? 't1' : null,
  kind,
  amount,
});
const keys = { customer_id: 'c1', card_id: 'card1', terminal_id: 't1' };

test('a fraud counts from its report on, not from its payment on', async () => {
  await using t = testFeatures([terminalReports28d, terminalRisk28d], { day: '2025-01-10' });
  t.event(transaction, pay(10), '2025-01-10T12:00:00Z').event(transaction, pay(900), '2025-01-10T13:00:00Z');
  t.event(fraudReport, { transaction_id: 'x', customer_id: 'c1', card_id: 'card1', terminal_id: 't1' }, '2025-01-13T09:00:00Z');
  expect(await t.at('2025-01-13T08:59:59Z', { terminal_id: 't1' })).toEqual({ terminal_reports_28d: 0, terminal_risk_28d: 0 });
  expect(await t.at('2025-01-13T09:00:01Z', { terminal_id: 't1' })).toEqual({ terminal_reports_28d: 1, terminal_risk_28d: 0.5 });
});

test('the balance does not mind the order of arrival', async () => {
  await using t = testFeatures([balance]);
  t.event(transaction, pay(1000, 'credit'), '09:00').event(transaction, pay(19.99), '10:05').event(transaction, pay(0.01), '10:00');
  expect(await t.at('10:03', { customer_id: 'c1' })).toEqual({ balance: 999.99 });
  expect(await t.at('11:00', { customer_id: 'c1' })).toEqual({ balance: 980 });
});

test('a stolen card is declined, an everyday payment is not', async () => {
  await using t = testFeatures(decide);
  t.event(transaction, pay(1000, 'credit'), '08:00').event(transaction, pay(20), '09:00');
  expect(await t.at('10:00', keys, { request: { amount: 25 } })).toMatchObject({ decision: 'approve', balance: 980, card_payments_10m: 0 });
  for (let i = 0; i < 6; i++) t.event(transaction, pay(20), `10:0${i}`);
  expect(await t.at('10:06', keys, { request: { amount: 300 } })).toMatchObject({ decision: 'decline', card_payments_10m: 6 });
});

test('the same payment delivered twice is one', async () => {
  await using t = testFeatures([cardPayments10m]);
  t.event(transaction, pay(5), '12:00', { id: 'p1' }).event(transaction, pay(5), '12:00', { id: 'p1' });
  expect(await t.at('12:05', { card_id: 'card1' })).toEqual({ card_payments_10m: 1 });
});
