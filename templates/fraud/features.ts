import { avg, count, decimal, derive, entity, feature, fold, max, ratio, service, stream, sum } from 'fabra';
import { z } from 'zod';

const customer = entity('customer', { key: 'customer_id' });
const card = entity('card', { key: 'card_id' });
const terminal = entity('terminal', { key: 'terminal_id' });

const payments = stream('payments', { id: 'event_id', time: 'timestamp', type: 'event_type', lateness: '10m' });
// A credit (salary, refund) comes through no card and no terminal: it counts for the customer alone.
export const transaction = payments.event(
  'transaction',
  z.object({
    customer_id: z.string(),
    card_id: z.string().nullable(),
    terminal_id: z.string().nullable(),
    kind: z.enum(['debit', 'credit']),
    amount: decimal(2).nonnegative(),
  }),
);
// A report comes days after the fraud. Its time is when it came: before that nobody knew, and no feature does.
export const fraudReport = payments.event('fraud_report', z.object({ transaction_id: z.string(), customer_id: z.string(), card_id: z.string(), terminal_id: z.string() }));

// Velocity: how often and how much, on this card and by this customer
export const cardPayments10m = feature(card, 'card_payments_10m', count(transaction).over('10m'));
export const cardSpend24h = feature(card, 'card_spend_24h', sum(transaction, 'amount').over('24h'));
export const cardMax7d = feature(card, 'card_max_7d', max(transaction, 'amount').over('7d'));
export const usualAmount = feature(customer, 'usual_amount_30d', avg(transaction, 'amount').where({ kind: 'debit' }).over('30d'));

// Terminals: the share of their payments that was reported, as far as it was known at the time
export const terminalReports28d = feature(terminal, 'terminal_reports_28d', count(fraudReport).over('28d'));
export const terminalRisk28d = feature(terminal, 'terminal_risk_28d', ratio(count(fraudReport), count(transaction), { zero: 0 }).over('28d'));

// The balance, in cents inside: a fold over every payment in the order of time, also when they arrive in another one
export const balance = feature(
  customer,
  'balance',
  fold(transaction, {
    state: z.int(),
    initial: 0,
    step: (cents, { payload }) => cents + Math.round(payload.amount * 100) * (payload.kind === 'credit' ? 1 : -1),
    value: cents => cents / 100,
    type: z.number(),
  }),
);

// 0 to 1, for the payment that is being made: its amount is known to the caller alone
export const score = feature(
  card,
  'score',
  derive({
    inputs: { often: cardPayments10m, usual: usualAmount, reported: terminalReports28d, risk: terminalRisk28d, balance },
    request: z.object({ amount: z.number().nonnegative() }),
    type: z.number(),
    compute: ({ often, usual, reported, risk, balance }, { request }) => {
      const hurry = Math.min(1, often / 6);
      const unusual = usual === null || usual === 0 ? 0 : Math.min(1, request.amount / usual / 20);
      const place = reported < 3 ? 0 : Math.min(1, (risk ?? 0) * 10);
      const short = balance !== null && request.amount > balance ? 0.2 : 0;
      return Math.round(Math.min(1, 0.5 * hurry + 0.3 * unusual + 0.4 * place + short) * 1000) / 1000;
    },
  }),
);
export const decision = feature(
  card,
  'decision',
  derive({ inputs: { score }, type: z.string(), compute: ({ score }) => (score >= 0.5 ? 'decline' : score >= 0.25 ? 'review' : 'approve') }),
);

export const decide = service('decide', [decision, score, cardPayments10m, cardSpend24h, usualAmount, terminalRisk28d, balance]);
