/**
 * The sample clickstream: a day of a web shop as CSV rows, the same bytes for the same options on every machine, with
 * known numbers of the defects a real log has. See fixtures/README.md.
 */
import { FabraError } from '../../lib/errors.ts';
import { iso, readInstant } from '../../lib/time.ts';
import { Heap } from './heap.ts';
import { mix32, type Random, random } from './random.ts';
import { money, price, sku } from './shop.ts';
import { hex, type ShopEvent, shopEvents } from './visits.ts';

export interface SampleOptions {
  /** Data rows, defects included. */
  events: number;
  /** Any whole number. */
  seed: number;
  /** `2025-01-15`, UTC. */
  day: string;
}

/** `lines = good + duplicate + late + futureDated + malformed`: every row has one verdict. */
export interface SampleCounts {
  /** Rows, the header not counted. */
  lines: number;
  /** Accepted: to be applied. */
  good: number;
  /** Of the good ones, those older than a row above them (by 9 minutes at most). */
  outOfOrder: number;
  /** Identical to an earlier good row. */
  duplicate: number;
  /** More than 10 minutes older than the newest row above them. */
  late: number;
  /** A month or more ahead: quarantined by `maxAhead: '2d'`. */
  futureDated: number;
  /** Rejected by the template's schema. */
  malformed: number;
  /** The good rows by event type. */
  byType: Record<string, number>;
}

export const DEFAULT_SAMPLE: SampleOptions = { events: 100_000, seed: 42, day: '2025-01-15' };

export const CLICKSTREAM_COLUMNS = [
  'event_id',
  'event_ts',
  'user_id',
  'session_id',
  'event_type',
  'product_id',
  'price',
  'currency',
  'device.mobile',
  'device.os',
  'geo.country',
  'geo.city',
] as const;

const MINUTE = 60_000;
const LATENESS = 10 * MINUTE;
const MONTH = 30 * 24 * 60 * MINUTE;

/** Rows in 10,000. */
const SHARE = { duplicate: 80, late: 60, future: 3, malformed: 20, disorder: 300 };

type Kind = 'good' | 'duplicate' | 'late' | 'future' | 'malformed';
interface Row {
  /** When a held row is due. */
  at: number;
  ts: number;
  type: string;
  kind: Kind;
  text: string;
}

/** The CSV rows, header first, without line ends; returns the counts. */
export function* clickstreamLines(o: SampleOptions): Generator<string, SampleCounts> {
  const start = checked(o);
  const duplicates = share(o.events, SHARE.duplicate);
  const rng = random(o.seed);
  const events = shopEvents(random(o.seed + 1), o.events - duplicates, start, mix32(rng.u32()));
  const tally = new Tally();
  yield CLICKSTREAM_COLUMNS.join(',');
  for (const row of inFileOrder(events, plan(rng, o.events, duplicates), rng)) {
    tally.add(row);
    yield row.text;
  }
  return tally.counts;
}

/** The counts alone. */
export function clickstreamCounts(o: SampleOptions): SampleCounts {
  const lines = clickstreamLines(o);
  for (;;) {
    const step = lines.next();
    if (step.done) return step.value;
  }
}

function checked(o: SampleOptions): number {
  const start = /^\d{4}-\d{2}-\d{2}$/.test(o.day) ? readInstant(o.day) : null;
  if (start === null) throw new FabraError('BAD_TIME', `the day of the sample, ${JSON.stringify(o.day)}, is not a date`, { hint: "Write it as '2025-01-15'." });
  if (!Number.isSafeInteger(o.events) || o.events < 0 || !Number.isSafeInteger(o.seed))
    throw new FabraError('BAD_FLAG', 'the sample needs a whole number of events and a whole-number seed', { hint: 'For example 100000 events, seed 42.' });
  return start;
}

const share = (events: number, rate: number): number => Math.floor((events * rate) / 10_000);

type Fate = 'good' | 'twice' | 'late' | 'future' | 'malformed' | 'disorder';

/**
 * Decides each event's fate in one pass with exact totals (Knuth's selection sampling: an event is taken with chance
 * wanted / remaining). Late ones come from the first nine tenths, so that enough time follows to make them late; the
 * first event is always good.
 */
function plan(rng: Random, rows: number, duplicates: number): () => Fate {
  const events = rows - duplicates;
  const want: [Fate, number][] = [
    ['twice', duplicates],
    ['future', share(rows, SHARE.future)],
    ['malformed', share(rows, SHARE.malformed)],
    ['disorder', share(rows, SHARE.disorder)],
  ];
  let late = share(rows, SHARE.late);
  let lateLeft = Math.floor(events * 0.9);
  let left = events;
  return () => {
    if (left === events) {
      left--;
      lateLeft--;
      return 'good';
    }
    if (lateLeft > 0 && rng.below(lateLeft--) < late) {
      late--;
      left--;
      return 'late';
    }
    let x = rng.below(left--);
    for (const w of want) {
      x -= w[1];
      if (x < 0) {
        w[1]--;
        return w[0];
      }
    }
    return 'good';
  };
}

/**
 * The order of the file. Rows are held back until their time has come: those out of order and repeats are let go before
 * the first newer row that is past their release, which keeps them less than 9 minutes behind the newest; late ones
 * only after a row more than 10 minutes newer.
 */
function* inFileOrder(events: Iterable<ShopEvent>, fate: () => Fate, rng: Random): Generator<Row> {
  const onTime = new Heap<Row>();
  const late = new Heap<Row>();
  const salt = rng.u32();
  let n = 0;
  let broken = 0;
  for (const e of events) {
    while (onTime.next <= e.at) yield onTime.pop()!;
    const cells = cellsOf(e, hex(mix32(n++ ^ salt)));
    const row: Row = { at: e.at, ts: e.at, type: e.type, kind: 'good', text: '' };
    const f = fate();
    if (f === 'future') {
      row.kind = 'future';
      row.ts += MONTH + rng.below(MONTH);
      cells[1] = iso(row.ts);
    } else if (f === 'malformed') {
      row.kind = 'malformed';
      spoil(cells, broken++);
    }
    row.text = cells.join(',');
    if (f === 'disorder') onTime.push({ ...row, at: row.ts + 1 + delay(rng, 9 * MINUTE) });
    else if (f === 'late') late.push({ ...row, kind: 'late', at: row.ts + LATENESS + 1 + delay(rng, 50 * MINUTE) });
    else {
      yield row;
      if (f === 'twice') onTime.push({ ...row, kind: 'duplicate', at: row.ts + delay(rng, 8 * MINUTE) });
    }
    // A good row has moved the newest to e.at; a held, future or malformed one has not.
    if (row.kind === 'good' && f !== 'disorder' && f !== 'late') while (late.next <= e.at) yield late.pop()!;
  }
  while (onTime.next < Number.POSITIVE_INFINITY) yield onTime.pop()!;
  while (late.next < Number.POSITIVE_INFINITY) yield late.pop()!;
}

/** Half of the delays are seconds (a client's retry), the others up to `most`. */
const delay = (rng: Random, most: number): number => (rng.below(2) === 0 ? rng.below(5_000) : rng.below(most));

/** One cell per column, but country and city come as one ready piece. */
function cellsOf(e: ShopEvent, id: string): string[] {
  const v = e.visitor;
  const [product, cost] = e.product < 0 ? ['', ''] : [sku(e.product), money(price(e.product, v.rate))];
  return [`e_${id}`, iso(e.at), v.user, e.session, e.type, product, cost, v.currency, v.mobile, v.os, v.geo];
}

/** Each way of being wrong in turn. All stay well-formed CSV: the row is there, its content is not acceptable. */
const SPOILS: [cell: number, value: string][] = [
  [1, '2025-01-15T25:61:00.000Z'],
  [6, '-19.99'],
  [2, ''],
  [6, 'n/a'],
  [8, 'maybe'],
  [1, ''],
  [3, ''],
  [1, 'yesterday'],
];
function spoil(cells: string[], n: number): void {
  const [cell, value] = SPOILS[n % SPOILS.length]!;
  cells[cell] = value;
}

/** Judges each row by the rules of docs/semantics.md as it goes into the file: counts are measured, not assumed. */
class Tally {
  readonly counts: SampleCounts = { lines: 0, good: 0, outOfOrder: 0, duplicate: 0, late: 0, futureDated: 0, malformed: 0, byType: {} };
  #max = Number.NEGATIVE_INFINITY;

  add(row: Row): void {
    const c = this.counts;
    c.lines++;
    if (row.kind === 'malformed') c.malformed++;
    else if (row.kind === 'future') c.futureDated++;
    else if (row.ts < this.#max - LATENESS) c.late++;
    else {
      if (row.kind === 'duplicate') c.duplicate++;
      else {
        c.good++;
        if (row.ts < this.#max) c.outOfOrder++;
        c.byType[row.type] = (c.byType[row.type] ?? 0) + 1;
      }
      this.#max = Math.max(this.#max, row.ts);
    }
  }
}
