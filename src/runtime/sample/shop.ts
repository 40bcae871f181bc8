/** The shop the sample data comes from: products, markets, visitors, the day's rhythm. Integers and tables only. */
import { mix32, type Random } from './random.ts';

const PRODUCTS = 2000;

/** Visits per hour of the day, UTC: a European shop with its evening peak. */
const HOURS = [22, 14, 9, 7, 6, 8, 14, 26, 40, 52, 58, 60, 64, 62, 58, 57, 60, 66, 78, 92, 98, 90, 66, 40];

interface Market {
  /** Visitors in a thousand. */
  share: number;
  country: string;
  currency: string;
  /** Price of 1 EUR, times 1,000. */
  rate: number;
  cities: string[];
}

const MARKETS: Market[] = [
  { share: 300, country: 'DE', currency: 'EUR', rate: 1000, cities: ['Berlin', 'Munich', 'Hamburg', 'Köln', 'Leipzig'] },
  { share: 120, country: 'FR', currency: 'EUR', rate: 1000, cities: ['Paris', 'Lyon', 'Marseille'] },
  { share: 60, country: 'AT', currency: 'EUR', rate: 1000, cities: ['Vienna', 'Graz'] },
  { share: 60, country: 'ES', currency: 'EUR', rate: 1000, cities: ['Madrid', 'Málaga', 'Valencia'] },
  { share: 60, country: 'NL', currency: 'EUR', rate: 1000, cities: ['Amsterdam', 'Utrecht'] },
  { share: 130, country: 'GB', currency: 'GBP', rate: 840, cities: ['London', 'Manchester', 'Leeds', 'Glasgow'] },
  { share: 90, country: 'US', currency: 'USD', rate: 1030, cities: ['New York', 'Chicago', 'Seattle', 'Washington, D.C.'] },
  { share: 60, country: 'CH', currency: 'CHF', rate: 940, cities: ['Zürich', 'Geneva', 'Basel'] },
  { share: 50, country: 'PL', currency: 'PLN', rate: 4260, cities: ['Warsaw', 'Kraków', 'Łódź'] },
  { share: 40, country: 'SE', currency: 'SEK', rate: 11480, cities: ['Stockholm', 'Malmö'] },
  { share: 30, country: 'CZ', currency: 'CZK', rate: 25250, cities: ['Prague', 'Brno', 'Plzeň'] },
];

/** In a thousand: iOS and Android are the mobile ones. */
const SYSTEMS: [share: number, os: string, mobile: boolean][] = [
  [290, 'iOS', true],
  [310, 'Android', true],
  [260, 'Windows', false],
  [110, 'macOS', false],
  [30, 'Linux', false],
];

/** What every row of one visit shares, as CSV cells. */
export interface Visitor {
  user: string;
  currency: string;
  rate: number;
  mobile: string;
  os: string;
  /** Country and city. */
  geo: string;
}

/** The entry whose share covers `x`, in a list whose shares add up to 1,000. */
function pick<T>(list: T[], share: (t: T) => number, x: number): T {
  let left = x;
  for (const item of list) {
    left -= share(item);
    if (left < 0) return item;
  }
  return list[list.length - 1]!;
}

const cell = (text: string): string => (text.includes(',') ? `"${text}"` : text);

/** Home, currency and usual device follow from the user's number; one visit in five is made on another device. */
export function visitor(rng: Random, index: number, salt: number): Visitor {
  const h = mix32(index ^ salt);
  const market = pick(MARKETS, m => m.share, h % 1000);
  const city = market.cities[mix32(h ^ 1) % market.cities.length]!;
  const other = rng.below(5) === 0;
  const [, os, mobile] = pick(SYSTEMS, s => s[0], other ? rng.below(1000) : mix32(h ^ 2) % 1000);
  return { user: `u_${10000 + index}`, currency: market.currency, rate: market.rate, mobile: String(mobile), os, geo: `${market.country},${cell(city)}` };
}

/** Zipf–Mandelbrot popularity, `1 / (rank + 8)` as whole numbers: the sums stay below 2^32. */
const POPULARITY = new Float64Array(PRODUCTS);
for (let i = 0, total = 0; i < PRODUCTS; i++) {
  total += Math.floor(600_000_000 / (i + 8));
  POPULARITY[i] = total;
}

/** Rank of a product, popular ones more often. */
export function drawProduct(rng: Random): number {
  const x = rng.below(POPULARITY[PRODUCTS - 1]!);
  let [low, high] = [0, PRODUCTS - 1];
  while (low < high) {
    const mid = (low + high) >> 1;
    if (POPULARITY[mid]! > x) high = mid;
    else low = mid + 1;
  }
  return low;
}

/** Product numbers say nothing about the rank: 7919 is prime to 2,000. */
export const sku = (rank: number): string => `sku_${10000 + ((rank * 7919 + 1234) % PRODUCTS) * 41}`;

const ENDINGS = [99, 99, 99, 90, 50, 0];
const RANGES: [from: number, to: number][] = [
  [3, 20],
  [5, 40],
  [10, 80],
  [20, 150],
  [60, 500],
];

/** Price in cents of the visitor's currency: fixed per product in EUR, converted and rounded half up. */
export function price(rank: number, rate: number): number {
  const h = mix32(rank + 0x5eed);
  const [from, to] = RANGES[h % RANGES.length]!;
  const cents = (from + (mix32(h ^ 1) % (to - from))) * 100 + ENDINGS[mix32(h ^ 2) % ENDINGS.length]!;
  return Math.floor((cents * rate + 500) / 1000);
}

/** `"29.90"`. */
export const money = (cents: number): string => {
  const rest = cents % 100;
  return `${(cents - rest) / 100}.${rest < 10 ? '0' : ''}${rest}`;
};

/** Of `total` events, how many fall before the end of minute 0, 1, … 1439: hours joined by straight lines. */
export function rhythm(total: number): Float64Array {
  const sums = new Float64Array(1440);
  let sum = 0;
  for (let m = 0; m < 1440; m++) {
    const hour = Math.floor(m / 60);
    sum += HOURS[hour]! * (60 - (m % 60)) + HOURS[(hour + 1) % 24]! * (m % 60);
    sums[m] = sum;
  }
  return sums.map(s => Math.floor((total * s) / sum));
}
