/** Visits to the shop, as events in time order: home, lists of products, clicks, product pages, carts, purchases. */
import { Heap } from './heap.ts';
import { mix32, type Random } from './random.ts';
import { drawProduct, rhythm, type Visitor, visitor } from './shop.ts';

const MINUTE = 60_000;
const DAY = 1440 * MINUTE;

export interface ShopEvent {
  /** Epoch ms; `at` because the queue orders by it. */
  at: number;
  type: 'product_impression' | 'product_click' | 'page_view' | 'add_to_cart' | 'purchase';
  /** Rank of the product, -1 on pages without one. */
  product: number;
  session: string;
  visitor: Visitor;
}

type Step = Pick<ShopEvent, 'at' | 'type' | 'product'>;

/** Pages with a list of products in one visit: most visits are short. */
const PAGES = [1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 6];

/** One visit from `start`, its steps in time order. One pause in 25 is longer than half an hour: two sessions under one id. */
function visit(rng: Random, start: number): Step[] {
  const steps: Step[] = [{ at: start, type: 'page_view', product: -1 }];
  const cart: number[] = [];
  let t = start;
  const add = (type: Step['type'], product: number): number => steps.push({ at: t, type, product });
  for (let page = PAGES[rng.below(PAGES.length)]!; page > 0; page--) {
    t += 800 + rng.below(9_000) + rng.below(20_000);
    if (rng.below(100) < 45) add('page_view', -1);
    const shown = 2 + rng.below(3);
    const products: number[] = [];
    t += 80 + rng.below(220);
    for (let i = 0; i < shown; i++) {
      // Products of one list are seen in the same millisecond, or nearly.
      t += rng.below(3) >> 1;
      const product = drawProduct(rng);
      products.push(product);
      add('product_impression', product);
    }
    if (rng.below(100) < 38) {
      const product = products[rng.below(shown)]!;
      t += 1_500 + rng.below(6_000) + rng.below(14_000);
      add('product_click', product);
      t += 150 + rng.below(750);
      add('page_view', product);
      if (rng.below(100) < 24) {
        t += 6_000 + rng.below(30_000) + rng.below(50_000);
        add('add_to_cart', product);
        cart.push(product);
      }
    }
    if (rng.below(25) === 0) t += 31 * MINUTE + rng.below(50 * MINUTE);
  }
  if (cart.length > 0 && rng.below(100) < 46) {
    t += 20_000 + rng.below(60_000) + rng.below(100_000);
    for (const product of cart) add('purchase', product);
  }
  return steps;
}

/** A user without a visit under way; after a few tries whoever comes. */
function drawUser(rng: Random, users: number, busyUntil: Float64Array, start: number): number {
  let user = 0;
  for (let tries = 0; tries < 4; tries++) {
    user = rng.below(users);
    // Half of the visits come from the half who come often.
    if (rng.below(2) === 0) user = Math.min(user, rng.below(users));
    if (busyUntil[user]! < start) break;
  }
  return user;
}

/**
 * Exactly `total` events of the day that starts at `dayStart`, in time order. Visits are made minute by minute, so that
 * only those under way are held in memory.
 */
export function* shopEvents(rng: Random, total: number, dayStart: number, salt: number): Generator<ShopEvent> {
  const users = Math.max(3, Math.ceil((total * 8) / 100));
  const busyUntil = new Float64Array(users);
  const target = rhythm(total);
  const queue = new Heap<ShopEvent>();
  let made = 0;
  let visits = 0;
  for (let minute = 0; minute < 1440; minute++) {
    const from = dayStart + minute * MINUTE;
    while (made < target[minute]!) {
      const start = from + rng.below(MINUTE);
      const user = drawUser(rng, users, busyUntil, start);
      const who = visitor(rng, user, salt);
      const session = `s_${hex(mix32(visits++ ^ salt ^ 0x5e551044))}`;
      const steps = visit(rng, start)
        .filter(s => s.at < dayStart + DAY)
        .slice(0, total - made);
      for (const s of steps) queue.push({ ...s, session, visitor: who });
      busyUntil[user] = steps.at(-1)!.at;
      made += steps.length;
    }
    while (queue.next < from + MINUTE) yield queue.pop()!;
  }
}

/** Eight hex digits. */
export const hex = (n: number): string => n.toString(16).padStart(8, '0');
