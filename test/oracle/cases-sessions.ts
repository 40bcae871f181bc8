/** CASES.md S29 to S35: sessions. */
import type { AggPlan } from '../../src/registry/types.ts';
import { column, DAY, type Draft, entityPlan, ev, eventPlan, featurePlan, logOf, of, registry, SECOND, streamPlan } from './build.ts';
import type { OracleCase, Read } from './cases.ts';

const NAME = column('name', 'string');
const COLUMNS = [column('user_id', 'string'), column('session_id', 'string'), NAME];
const START = Date.parse('2025-01-15T09:00:00Z');

function sessions(gap: number, lateness = DAY) {
  const agg = (op: AggPlan['op'], rest: Partial<AggPlan> = {}): AggPlan => ({ op, stream: 'clicks', events: ['view'], ...rest });
  const plans = (entity: string) => [
    featurePlan(entity, 'n', agg('count'), { kind: 'session', gap }),
    featurePlan(entity, 'span', agg('span'), { kind: 'session', gap }),
    featurePlan(entity, 'names', agg('firstN', { column: of(NAME), n: 10 }), { kind: 'session', gap }),
    featurePlan(entity, 'unique', agg('countDistinct', { column: of(NAME) }), { kind: 'session', gap }),
  ];
  return registry({
    entities: [entityPlan('user', ['user_id']), entityPlan('visit', ['user_id', 'session_id'])],
    streams: [streamPlan('clicks', { lateness })],
    events: [eventPlan('clicks', 'view', COLUMNS)],
    features: [...plans('user'), ...plans('visit')],
  });
}

const event = (seconds: number, name = 'x', user = 'u1', session = 's1'): Draft => ev('view', START + seconds * SECOND, { user_id: user, session_id: session, name });
const read = (feature: string, seconds: number, value: Read['value'], rest: Partial<Read> = {}): Read => ({
  feature: `user.${feature}`,
  key: ['u1'],
  T: START + Math.round(seconds * SECOND),
  value,
  ...rest,
});

export function sessionCases(): OracleCase[] {
  return [
    {
      name: 'S29 the gap is inclusive',
      registry: sessions(10 * SECOND),
      log: { clicks: logOf([event(0), event(10)]) },
      reads: [read('n', 11, 2), read('span', 11, 10, { status: 'PRESENT', ts: START + 10_000 }), read('n', 0, null, { status: 'NOT_FOUND', ts: null })],
    },
    {
      name: 'S29 one millisecond more makes two',
      registry: sessions(10 * SECOND),
      log: { clicks: logOf([event(0), event(10.001)]) },
      reads: [read('n', 11, 1), read('span', 11, 0), read('n', 10.001, 1, { ts: START })],
    },
    {
      name: 'S30 a late-but-allowed event merges',
      registry: sessions(10 * SECOND),
      log: { clicks: logOf([event(0), event(20), event(10)]) },
      reads: [read('n', 21, 3), read('span', 21, 20), read('span', 15, 10)],
    },
    {
      name: 'S31 an event before the start extends backwards',
      registry: sessions(10 * SECOND),
      log: { clicks: logOf([event(0, 'b'), event(-5, 'a')]) },
      reads: [read('names', 1, ['a', 'b']), read('span', 1, 5)],
    },
    {
      name: 'S32 three sessions and one dropped event',
      registry: sessions(5 * SECOND, 10 * SECOND),
      log: { clicks: logOf([event(1, 'a'), event(5, 'b'), event(11, 'c'), event(12, 'd'), event(13, 'e'), event(14, 'f'), event(20, 'g'), event(1, 'late')]) },
      reads: [read('names', 6, ['a', 'b']), read('names', 15, ['c', 'd', 'e', 'f']), read('names', 100, ['g'])],
      counters: { clicks: { late: 1, applied: 7 } },
    },
    {
      name: 'S33 uniques of merged sessions are the union',
      registry: sessions(10 * SECOND),
      log: { clicks: logOf([event(0, 'p1'), event(1, 'p2'), event(20, 'p1'), event(21, 'p2'), event(22, 'p3'), event(10.5, 'p1')]) },
      reads: [read('unique', 23, 3), read('n', 23, 6)],
    },
    {
      name: 'S34 inside a session only events before T',
      registry: sessions(10 * SECOND),
      log: { clicks: logOf([event(0, 'p1'), event(5, 'p2'), event(9, 'p3')]) },
      reads: [read('span', 5, 0), read('unique', 5, 1), read('span', 5.001, 5), read('unique', 9, 2), read('unique', 9.001, 3)],
    },
    sameSessionId(),
  ];
}

function sameSessionId(): OracleCase {
  const visit = (user: string, feature: string, value: Read['value']): Read => ({ ...read(feature, 60, value), feature: `visit.${feature}`, key: [user, 's1'] });
  return {
    name: 'S35 two users with one session id never merge',
    registry: sessions(10 * SECOND),
    log: { clicks: logOf([event(0, 'a', 'u1'), event(1, 'b', 'u2'), event(2, 'c', 'u1'), event(3, 'd', 'u1', 's2')]) },
    reads: [visit('u1', 'names', ['a', 'c']), visit('u2', 'names', ['b']), visit('u1', 'span', 2), read('n', 60, 3)],
  };
}
