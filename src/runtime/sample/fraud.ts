/** The sample of the `fraud` template: two weeks of card payments, a terminal that is skimmed, a stolen card, and reports days later. */
import { iso } from '../../lib/time.ts';
import { cents, csv, DAY, HOUR, MINUTE, ndjson, padded, Picks, type SampleFile } from './catalogue.ts';

const START = Date.parse('2025-01-01T00:00:00Z');
const DAYS = 14;
const CUSTOMERS = 30;
const TERMINALS = 12;
/** Copies cards for three days; what is then paid there with copies is reported later. */
const SKIMMED = 7;
const SKIMMED_FROM = START + 4 * DAY;
const SKIMMED_TO = START + 7 * DAY;
const STOLEN_AT = START + 9 * DAY + 12 * HOUR;

interface Payment {
  timestamp: string;
  event_id: string;
  event_type: 'transaction';
  customer_id: string;
  card_id: string | null;
  terminal_id: string | null;
  kind: 'debit' | 'credit';
  amount: number;
}

/** The same bytes every time. */
export function fraudSample(): SampleFile[] {
  const log = new Log(new Picks(11));
  for (let customer = 0; customer < CUSTOMERS; customer++) log.customer(customer);
  log.stolenCard();
  return [
    ndjson('data/events.ndjson', [...log.payments, ...log.reports]),
    csv('data/labels.csv', ['customer_id', 'card_id', 'terminal_id', 'amount', 'event_timestamp', 'fraud'], log.labels()),
  ];
}

class Log {
  readonly payments: Payment[] = [];
  readonly reports: { timestamp: string }[] = [];
  private readonly frauds = new Set<string>();
  private readonly picks: Picks;

  constructor(picks: Picks) {
    this.picks = picks;
  }

  customer(n: number): void {
    const { picks } = this;
    const home = Array.from({ length: 3 }, () => picks.below(TERMINALS));
    this.pay(n, START + picks.below(HOUR), { kind: 'credit', amount: picks.between(300_000, 500_000), terminal: null });
    for (let day = 0; day < DAYS; day++)
      for (let left = picks.between(1, 4); left > 0; left--) {
        const at = START + day * DAY + picks.between(7 * 60, 22 * 60) * MINUTE + picks.below(60_000);
        const terminal = picks.chance(80) ? picks.of(home) : picks.below(TERMINALS);
        const skimmed = terminal === SKIMMED && at >= SKIMMED_FROM && at < SKIMMED_TO && picks.chance(60);
        const id = this.pay(n, at, { kind: 'debit', amount: skimmed ? picks.between(20_000, 60_000) : picks.between(300, 9_000), terminal });
        if (skimmed) this.report(n, id, at, terminal);
      }
  }

  /** Eight payments in six minutes. */
  stolenCard(): void {
    for (let i = 0; i < 8; i++) {
      const at = STOLEN_AT + i * 45_000;
      const terminal = this.picks.below(TERMINALS);
      this.report(12, this.pay(12, at, { kind: 'debit', amount: this.picks.between(8_000, 30_000), terminal }), at, terminal);
    }
  }

  private pay(customer: number, at: number, { kind, amount, terminal }: { kind: Payment['kind']; amount: number; terminal: number | null }): string {
    const event_id = `t_${padded(this.payments.length + 1, 5)}`;
    const card_id = terminal === null ? null : `card_${padded(customer + 1, 3)}`;
    const terminal_id = terminal === null ? null : `term_${padded(terminal, 2)}`;
    this.payments.push({ event_id, timestamp: iso(at), event_type: 'transaction', customer_id: `c_${padded(customer + 1, 2)}`, card_id, terminal_id, kind, amount: cents(amount) });
    return event_id;
  }

  /** The customer notices one to five days later; not all do within the sample. */
  private report(customer: number, transaction_id: string, at: number, terminal: number): void {
    this.frauds.add(transaction_id);
    const noticed = at + this.picks.between(24 * 60, 5 * 24 * 60) * MINUTE;
    if (noticed >= START + DAYS * DAY) return;
    const card_id = `card_${padded(customer + 1, 3)}`;
    const event_id = `r_${padded(this.reports.length + 1, 4)}`;
    const report = {
      event_id,
      timestamp: iso(noticed),
      event_type: 'fraud_report',
      transaction_id,
      customer_id: `c_${padded(customer + 1, 2)}`,
      card_id,
      terminal_id: `term_${padded(terminal, 2)}`,
    };
    this.reports.push(report);
  }

  /** Every fraud and one payment in six, as they were decided on. */
  labels(): (string | number)[][] {
    return this.payments
      .filter((p, i) => p.kind === 'debit' && (this.frauds.has(p.event_id) || i % 6 === 0))
      .sort((a, b) => (a.timestamp < b.timestamp ? -1 : 1))
      .map(p => [p.customer_id, p.card_id!, p.terminal_id!, p.amount, p.timestamp, this.frauds.has(p.event_id) ? 1 : 0]);
  }
}
