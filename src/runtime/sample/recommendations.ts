/** The sample of the `recommendations` template: six weeks of orders, a day of product views, and impressions to label. */
import { iso } from '../../lib/time.ts';
import { cents, csv, MINUTE, ndjson, padded, Picks, type SampleFile, DAY, HOUR } from './catalogue.ts';

/** As in the template's `items.ts`: four products of each, `sku_01` on. */
export const CATEGORIES = ['shoes', 'jackets', 'tents', 'stoves', 'packs', 'lamps'] as const;
const PER_CATEGORY = 4;
const USERS = 40;
const VISITS = 70;
const FIRST_ORDER = Date.parse('2024-12-01T00:00:00Z');
const ORDER_DAYS = 44;
const DAY_OF_VIEWS = Date.parse('2025-01-15T08:00:00Z');

const product = (category: number, n: number): string => `sku_${padded(category * PER_CATEGORY + n + 1, 2)}`;

/** The same bytes every time. */
export function recommendationsSample(): SampleFile[] {
  const picks = new Picks(7);
  const taste = Array.from({ length: USERS }, () => picks.below(CATEGORIES.length));
  const favoured = (user: number): number => (picks.chance(65) ? taste[user]! : picks.below(CATEGORIES.length));
  const { events, shown } = visits(picks, favoured);
  return [
    csv('data/orders.csv', ['order_id', 'user_id', 'product_id', 'category', 'amount', 'ordered_at'], orders(picks, favoured)),
    ndjson('data/events.ndjson', events),
    csv('data/labels.csv', ['user_id', 'product_id', 'event_timestamp', 'clicked'], shown),
  ];
}

function orders(picks: Picks, favoured: (user: number) => number): (string | number)[][] {
  const rows: { at: number; user: number; category: number }[] = [];
  for (let user = 0; user < USERS; user++)
    for (let n = picks.between(3, 12); n > 0; n--) {
      const at = FIRST_ORDER + picks.below(ORDER_DAYS) * DAY + picks.between(8 * 60, 21 * 60) * MINUTE + user * 1_000 + n;
      rows.push({ at, user, category: favoured(user) });
    }
  return rows
    .sort((a, b) => a.at - b.at)
    .map(({ at, user, category }, i) => [
      `o_${padded(i + 1, 4)}`,
      `u_${user + 1}`,
      product(category, picks.below(PER_CATEGORY)),
      CATEGORIES[category]!,
      cents(picks.between(900, 24_900)).toFixed(2),
      iso(at),
    ]);
}

function visits(picks: Picks, favoured: (user: number) => number): { events: { timestamp: string }[]; shown: (string | number)[][] } {
  const events: { timestamp: string }[] = [];
  const shown: { at: number; row: (string | number)[] }[] = [];
  for (let v = 0; v < VISITS; v++) {
    const user = picks.below(USERS);
    const wanted = favoured(user);
    let at = DAY_OF_VIEWS + picks.below(11 * 60) * MINUTE + picks.below(60_000);
    for (let n = picks.between(3, 7); n > 0; n--) {
      const category = picks.chance(80) ? wanted : picks.below(CATEGORIES.length);
      const product_id = product(category, picks.below(PER_CATEGORY));
      events.push({ event_id: `v_${padded(events.length + 1, 4)}`, timestamp: iso(at), event_type: 'product_view', user_id: `u_${user + 1}`, product_id } as { timestamp: string });
      at += picks.between(15_000, 180_000);
    }
    const offered = picks.chance(50) ? wanted : picks.below(CATEGORIES.length);
    const clicked = picks.chance(offered === wanted ? 70 : 10) ? 1 : 0;
    shown.push({ at, row: [`u_${user + 1}`, product(offered, picks.below(PER_CATEGORY)), iso(Math.min(at, DAY_OF_VIEWS + 13 * HOUR)), clicked] });
  }
  return { events, shown: shown.sort((a, b) => a.at - b.at).map(s => s.row) };
}
