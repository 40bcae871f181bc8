/** CASES.md S21 to S27: event time, watermark, late. */
import type { Verdict } from '../../src/engine/values.ts';
import { DAY, type Draft, featurePlan, HOUR, logOf, MINUTE, SECOND } from './build.ts';
import type { OracleCase } from './cases.ts';
import { count, read, view, world } from './cases-windows.ts';

const ALL = () => featurePlan('user', 'views', count('view'), { kind: 'lifetime' });
const RECENT = () => featurePlan('user', 'views_5m', count('view'), { kind: 'over', w: 5 * MINUTE });
const MANY = 1_000_000 * DAY; // far after every event

function verdictCase(name: string, drafts: Draft[], verdicts: Verdict[], lateness = 10 * MINUTE): OracleCase {
  const applied = verdicts.filter(v => v === 'applied').length;
  const of = (verdict: Verdict) => verdicts.filter(v => v === verdict).length;
  return {
    name,
    registry: world([ALL(), RECENT()], lateness),
    log: { clicks: logOf(drafts) },
    reads: [read('views', MANY, applied)],
    verdicts: { clicks: verdicts },
    counters: { clicks: { read: drafts.length, late: of('late'), quarantined: of('quarantined'), applied, rejected: 0, ignored: 0, duplicate: 0, keyless: 0 } },
  };
}

export function streamCases(): OracleCase[] {
  const A: Verdict = 'applied';
  const seconds = [7, 3, 2, 1.999, 10, 5, 4.999, 3];
  const day = DAY * 20_000;
  return [
    verdictCase(
      'S21 exactly max - L is accepted',
      [1_000_000, 1_700_000, 1_100_000, 1_099_999].map(ts => view(ts)),
      [A, A, A, 'late'],
    ),
    verdictCase(
      'S22 the watermark is max - L',
      seconds.map(s => view(s * SECOND)),
      [A, A, A, 'late', A, A, 'late', 'late'],
      5 * SECOND,
    ),
    verdictCase(
      'S23 a day ahead of its append time',
      [view(day), view(day + DAY, {}, { appended: day + 1 }), view(day + 1000), view(day + 1000 - 10 * MINUTE), view(day + 2000 + 5 * MINUTE, {}, { appended: day + 2000 })],
      [A, 'quarantined', A, A, A],
    ),
    verdictCase(
      'S24 a partition an hour behind is judged by itself',
      [view(day), view(day - HOUR, {}, { p: 1 }), view(day + 1), view(day - HOUR + 1, {}, { p: 1 })].sort((a, b) => (a.p ?? 0) - (b.p ?? 0)),
      [A, A, A, A],
    ),
    lateCase(day),
    manyLate(day),
    {
      name: 'S27 an out-of-order event counts in a read as of before',
      registry: world([RECENT()], 10 * MINUTE),
      log: { clicks: logOf([view(200_000), view(100_000)]) },
      reads: [read('views_5m', 150_000, 1)],
    },
  ];
}

function lateCase(day: number): OracleCase {
  const base = verdictCase('S25 a late event changes no value', [view(day), view(day - 10 * MINUTE - 1)], ['applied', 'late']);
  base.reads.push(read('views', day, 0, { status: 'NOT_FOUND', value: null }), read('views_5m', day - 10 * MINUTE, 0, { ts: null }), read('views_5m', day + 1, 1, { ts: day }));
  return base;
}

/** Verdicts that follow from the log alone: to be run by any batch size. Steps ahead of 1 min, every third event 9 to 11 min behind the newest. */
function manyLate(day: number): OracleCase {
  const drafts: Draft[] = [];
  const verdicts: Verdict[] = [];
  for (let i = 0; i < 600; i += 1) {
    const max = day + (i - (i % 3)) * MINUTE;
    const behind = (9 + (i % 7) / 3) * MINUTE;
    drafts.push(view(i % 3 === 2 ? max - behind : max));
    verdicts.push(i % 3 === 2 && behind > 10 * MINUTE ? 'late' : 'applied');
  }
  return verdictCase('S26 the same late events by any batch size', drafts, verdicts);
}
