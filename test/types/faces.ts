/** What the store, the client and the test harness promise in the editor. Checked by `tsc`, never run. */
import {
  alias,
  count,
  createWorker,
  derive,
  entity,
  type EventOf,
  feature,
  fold,
  int64,
  type KeysOf,
  on,
  openStore,
  pushed,
  query,
  type RequestOfService,
  type RowOf,
  service,
  source,
  sql,
  stream,
  type ValueOf,
} from 'fabra';
import { createClient } from 'fabra/client';
import { testFeatures } from 'fabra/testing';
import { z } from 'zod';
import { check, type Equal } from './design.ts';

const user = entity('user', { key: 'user_id' });
const place = entity('place', { key: 'place_id' });
const world = entity('world', { key: [] });
const bank = stream('bank');
const credit = bank.event('credit', z.object({ user_id: z.string(), amount: z.number(), note: z.string().nullish() }));
const debit = bank.event('debit', z.object({ user_id: z.string(), amount: z.number(), fee: z.number() }));
const wire = bank.event(
  'wire',
  z
    .object({ user_id: z.string(), cents: z.int(), account: int64() })
    .transform(e => ({ user_id: e.user_id, amount: e.cents / 100 }))
    .pipe(z.object({ user_id: z.string(), amount: z.number() })),
);
const orders = source('orders', { file: 'orders.csv', time: 'updated_at' });

const credits = feature(user, 'credits', count(credit).over('5m'));
const favorite = feature(user, 'favorite', query(orders, sql`select user_id, favorite, updated_at from orders`, { type: z.string(), default: 'unknown', materialize: true }));
const plainFavorite = feature(user, 'plain_favorite', query(orders, sql`select 1`, { type: z.enum(['a', 'b']) }));
const segment = feature(user, 'segment', pushed(z.enum(['new', 'vip'])));
const rate = feature(world, 'rate', pushed(z.number()), { default: 1 });
const temperature = feature(place, 'temperature', pushed(z.number()));
const balance = feature(
  user,
  'balance',
  fold([credit, debit], { state: z.number(), initial: 0, step: (s, { event_type, payload }) => s + (event_type === 'credit' ? payload.amount : -payload.amount) }),
);
const largest = feature(
  user,
  'largest',
  fold(credit, {
    state: z.object({ max: z.number() }),
    initial: { max: 0 },
    step: (s, { payload }) => ({ max: Math.max(s.max, payload.amount) }),
    value: s => (s.max > 0 ? s.max : null),
  }),
);
const lastNote = feature(user, 'last_note', on(credit, { type: z.string(), handle: ({ event }) => event.payload.note }));
const ratio = feature(
  user,
  'per_credit',
  derive({ inputs: { credits, balance }, request: z.object({ factor: z.number() }), compute: async ({ credits: n, balance: b }, { request }) => ((b ?? 0) / n) * request.factor }),
);
const ranking = service('ranking', [credits, favorite, ratio]);
const ride = service('ride', [alias('origin', temperature, { place_id: 'origin_id' }), alias('destination', temperature, { place_id: 'destination_id' }), credits], {
  fullNames: true,
});

// Inference.
check<Equal<ValueOf<typeof favorite>, string>>();
check<Equal<ValueOf<typeof plainFavorite>, 'a' | 'b' | null>>();
check<Equal<ValueOf<typeof segment>, 'new' | 'vip' | null>>();
check<Equal<ValueOf<typeof rate>, number>>();
check<Equal<ValueOf<typeof balance>, number | null>>();
// Windows are 0 when empty; what goes by the key's first event is null before it.
const ever = feature(user, 'ever', count(credit).lifetime());
check<Equal<ValueOf<typeof ever>, number | null>>();
const everOrNone = feature(user, 'ever_or_none', count(credit).lifetime(), { default: 0 });
check<Equal<ValueOf<typeof everOrNone>, number>>();
check<Equal<ValueOf<typeof largest>, number | null>>();
check<Equal<ValueOf<typeof lastNote>, string | null>>();
check<Equal<ValueOf<typeof ratio>, number>>();
check<Equal<RowOf<typeof ranking>, { credits: number; favorite: string; per_credit: number }>>();
check<Equal<RowOf<typeof ride>, { origin__temperature: number | null; destination__temperature: number | null; user__credits: number }>>();
check<Equal<KeysOf<typeof ranking>, { user_id: string }>>();
check<Equal<KeysOf<typeof ride>, { origin_id: string; destination_id: string; user_id: string }>>();
check<Equal<RequestOfService<typeof ranking>, { factor: number }>>();
check<Equal<RequestOfService<typeof ride>, unknown>>();
check<Equal<EventOf<typeof debit>['payload'], { user_id: string; amount: number; fee: number }>>();
check<Equal<EventOf<readonly [typeof credit, typeof debit]>['event_type'], 'credit' | 'debit'>>();

// Definitions.
// @ts-expect-error the default of a query is of its type
query(orders, sql`select 1`, { type: z.string(), default: 7 });
// @ts-expect-error a query needs to say its type
query(orders, sql`select 1`, {});
// @ts-expect-error a parameter is no object
sql`select ${{ a: 1 }}`;
// @ts-expect-error the payload has no such field
fold(credit, { state: z.number(), initial: 0, step: (s, { payload }) => s + payload.amuont });
// @ts-expect-error a fee only where the event is a debit
fold([credit, debit], { state: z.number(), initial: 0, step: (s, { payload }) => s + payload.fee });
fold([credit, debit], { state: z.number(), initial: 0, step: (s, e) => (e.event_type === 'debit' ? s + e.payload.fee : s) });
// @ts-expect-error the state is a number
fold(credit, { state: z.number(), initial: 0, step: () => 'x' });
// @ts-expect-error so is its beginning
fold(credit, { state: z.number(), initial: 'x', step: s => s });
// @ts-expect-error a text is not what the handler's type says
on(credit, { type: z.number(), handle: () => 'x' });
// @ts-expect-error also when it is promised
on(credit, { type: z.number(), handle: async ({ event }) => event.event_id });
// @ts-expect-error no such part of an event
on(credit, { type: z.string(), handle: ({ event }) => event.evnt_id });
// @ts-expect-error the segment is one of two
on(credit, { type: z.string(), handle: ({ set }) => set(segment, 'old') });
// @ts-expect-error a value so far may be null
on(credit, { type: z.number(), handle: ({ current }) => current + 1 });
// @ts-expect-error another feature's value may be null
on(credit, { type: z.number(), handle: async ({ get }) => (await get(balance)) + 1 });
// @ts-expect-error retries have no such option
on(credit, { type: z.number(), retries: { maximum: 3 }, handle: () => 1 });
// @ts-expect-error user_id is no key of place
alias('origin', temperature, { user_id: 'origin_id' });
// @ts-expect-error events without the entity's key
feature(place, 'x', fold(credit, { state: z.number(), initial: 0, step: s => s }));

export async function reads(): Promise<void> {
  const store = await openStore();
  const row = await store.features(ranking, { user_id: 'u1' }, { request: { factor: 2 } });
  check<Equal<typeof row, { credits: number; favorite: string; per_credit: number }>>();
  const rows = await store.features([credits, segment], [{ user_id: 'u1' }, { user_id: 'u2' }]);
  check<Equal<typeof rows, { credits: number; segment: 'new' | 'vip' | null }[]>>();
  // @ts-expect-error no such feature in the row
  row.favourite;
  // @ts-expect-error it may be null
  rows[0]!.segment.length;
  // @ts-expect-error a feature that was not asked for
  rows[0]!.balance;
  // @ts-expect-error the request is missing
  await store.features(ranking, { user_id: 'u1' });
  // @ts-expect-error the request's factor is a number
  await store.features(ranking, { user_id: 'u1' }, { request: { factor: '2' } });
  // @ts-expect-error the request's factor is missing
  await store.features(ranking, { user_id: 'u1' }, { request: {} });
  await store.features(ranking, [{ user_id: 'u1' }], { request: [{ factor: 1 }] });
  // @ts-expect-error a list of requests is for a list of keys
  await store.features(ranking, { user_id: 'u1' }, { request: [{ factor: 1 }] });
  // @ts-expect-error the key is missing
  await store.features([credits], {});
  // @ts-expect-error no such key
  await store.features([credits], { user_id: 'u1', usr: 'u1' });
  // @ts-expect-error a key is a text
  await store.features([credits], { user_id: 1 });
  // @ts-expect-error in lists too
  await store.features([credits], [{ usr_id: 'u1' }]);
  // @ts-expect-error no such option
  await store.features([credits], { user_id: 'u1' }, { as_of: 0 });
  // @ts-expect-error a duration
  await store.features([credits], { user_id: 'u1' }, { maxAge: 'soon' });
  // @ts-expect-error an event is no feature
  await store.features([credit], { user_id: 'u1' });
  // @ts-expect-error aliases have their own keys
  await store.features(ride, { place_id: 'a', user_id: 'u1' });
  const where = await store.features(ride, { origin_id: 'a', destination_id: 'b', user_id: 'u1' });
  check<Equal<typeof where.origin__temperature, number | null>>();
  // @ts-expect-error full names
  where.temperature;
  const all = await store.features([rate], {});
  check<Equal<typeof all, { rate: number }>>();
  const cells = await store.cells([credits, segment], { user_id: 'u1' }, { asOf: new Date(0), maxAge: '5m', strict: true });
  check<Equal<typeof cells.segment.value, 'new' | 'vip' | null>>();
  // @ts-expect-error no such status
  cells.credits.status === 'MISSING';
  const one = await store.get(segment, { user_id: 'u1' });
  check<Equal<typeof one, 'new' | 'vip' | null>>();
  // @ts-expect-error its key is missing
  await store.get(segment, {});
  // @ts-expect-error its request too
  await store.get(ratio, { user_id: 'u1' });

  await store.publish(credit, { user_id: 'u1', amount: 1 }, { eventId: 'e1', timestamp: new Date(0) });
  await store.publish(wire, { user_id: 'u1', cents: 100, account: '1' });
  // @ts-expect-error a wrong field
  await store.publish(credit, { user_id: 'u1', amuont: 1 });
  // @ts-expect-error a wrong type
  await store.publish(credit, { user_id: 'u1', amount: '1' });
  // @ts-expect-error what the transform reads, not what it yields
  await store.publish(wire, { user_id: 'u1', amount: 1 });
  // @ts-expect-error the key is missing
  await store.publish(credit, { amount: 1 });
  await store.publish(credit, { amount: 1 }, { entityId: 'u1' });
  // @ts-expect-error no such option
  await store.publish(credit, { user_id: 'u1', amount: 1 }, { id: 'e1' });
  await store.push(segment, [
    { user_id: 'u1', value: 'vip' },
    { user_id: 'u2', value: null, timestamp: 0 },
  ]);
  // @ts-expect-error not one of the two
  await store.push(segment, { user_id: 'u1', value: 'old' });
  // @ts-expect-error the key is missing
  await store.push(segment, { value: 'vip' });
  await createWorker(store).run(AbortSignal.timeout(1));
  // @ts-expect-error a worker belongs to a store
  createWorker();
}

export async function client(): Promise<void> {
  const c = createClient({ url: 'http://localhost:8080' });
  const row = await c.features(ranking, { user_id: 'u1' }, { request: { factor: 2 } });
  check<Equal<typeof row, { credits: number; favorite: string; per_credit: number }>>();
  const named = await c.features<typeof ranking>('ranking', [{ user_id: 'u1' }], { request: { factor: 2 } });
  check<Equal<typeof named, { credits: number; favorite: string; per_credit: number }[]>>();
  // @ts-expect-error another service's name
  await c.features<typeof ranking>('rankings', { user_id: 'u1' }, { request: { factor: 2 } });
  // @ts-expect-error the request is missing
  await c.features(ranking, { user_id: 'u1' });
  // @ts-expect-error the key is missing
  await c.features([credits], {});
  await c.publish(credit, { user_id: 'u1', amount: 1 });
  await c.publish<typeof credit>('credit', { user_id: 'u1', amount: 1 });
  await c.publish<typeof credit>('bank/credit', { amount: 1 }, { entityId: 'u1' });
  // @ts-expect-error another event's name
  await c.publish<typeof credit>('debit', { user_id: 'u1', amount: 1 });
  // @ts-expect-error a wrong field
  await c.publish(credit, { user_id: 'u1', amuont: 1 });
  await c.publishMany(credit, [
    { payload: { user_id: 'u1', amount: 1 }, eventId: 'a' },
    { payload: { amount: 1 }, entityId: 'u1' },
  ]);
  // @ts-expect-error a wrong type in one of many
  await c.publishMany(credit, [{ payload: { user_id: 'u1', amount: '1' } }]);
  const v = await c.get(segment, { user_id: 'u1' });
  check<Equal<typeof v, 'new' | 'vip' | null>>();
}

export async function tests(): Promise<void> {
  const t = testFeatures([credits, segment]);
  t.event(credit, { user_id: 'u1', amount: 1 }, '12:00').rows(segment, { user_id: 'u1', value: 'vip', at: '11:00' });
  const row = await t.at('12:05', { user_id: 'u1' });
  check<Equal<typeof row, { credits: number; segment: 'new' | 'vip' | null }>>();
  const short = await t.at('12:05');
  check<Equal<typeof short, { credits: number; segment: 'new' | 'vip' | null }>>();
  // @ts-expect-error no such key
  await t.at('12:05', { usr_id: 'u1' });
  // @ts-expect-error a wrong payload
  t.event(credit, { user_id: 'u1', amount: '1' }, '12:00');
  // @ts-expect-error a time is missing
  t.event(credit, { user_id: 'u1', amount: 1 });
  // @ts-expect-error not one of the two
  t.rows(segment, { user_id: 'u1', value: 'old' });
  // @ts-expect-error the request is missing
  await testFeatures(ranking).at('12:05', { user_id: 'u1' });
  const derived = await testFeatures(ranking).at('12:05', { user_id: 'u1' }, { request: { factor: 1 } });
  check<Equal<typeof derived.per_credit, number>>();
}
