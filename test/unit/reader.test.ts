import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import type { DeriveContext, DeriveOptions } from '../../src/define/feature.ts';
import { alias, count, derive, entity, feature, pushed, query, service, source, sql, stream } from '../../src/index.ts';
import { type Clock, systemClock } from '../../src/lib/clock.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { pushColumns } from '../../src/runtime/push-columns.ts';
import { staleOf } from '../../src/runtime/read/stale.ts';
import { FeatureReader, type FeatureQuery } from '../../src/runtime/reader.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { cleanUp, newDir, openTestProject, type TestProject } from '../support/project.ts';

const NOON = Date.parse('2025-01-15T12:00:00Z');
const user = entity('user', { key: 'user_id' });
const location = entity('location', { key: 'location_id' });
const clicks = stream('clicks', { id: 'id', time: 'ts', type: 'type' });
const view = clicks.event('view', z.object({ user_id: z.string(), location_id: z.string() }));
const pause = (ms: number) => systemClock.sleep(ms);

/** A clock moved by hand; its pauses are real ones. */
class HandClock implements Clock {
  t = NOON;
  now = () => this.t;
  sleep = (ms: number, signal?: AbortSignal) => systemClock.sleep(ms, signal);
}

let project: TestProject;
beforeAll(async () => {
  const dir = newDir('reader');
  writeFileSync(join(dir, 'plans.csv'), 'user_id,plan,seats,since\nu1,gold,3,2025-01-15T11:00:00Z\nu1,silver,2,2025-01-15T10:00:00Z\nu2,,1,2025-01-15T09:00:00Z\n');
  project = await openTestProject(dir);
});
afterAll(async () => {
  await project.close();
  cleanUp();
});

/** A reader over these definitions alone, with what a test wants to know of it. */
function readerOf(defs: Record<string, unknown>, clock: Clock = systemClock) {
  const compiled = compileDefinitions(defs) as unknown as Compiled;
  const logged: Record<string, unknown>[] = [];
  const log = { level: 'warn' as const, log: (_: string, fields: Record<string, unknown>) => void logged.push(fields) };
  const reader = new FeatureReader({ ...project, clock, log }, compiled.registry, compiled.code);
  const read = async (features: FeatureQuery['features'], row: Record<string, string> = { user_id: 'u1' }, more: Partial<FeatureQuery> = {}) =>
    (await reader.read({ features, rows: [row], at: clock.now(), ...more })).cells[0]!;
  return { compiled, reader, read, logged };
}

const derived = (spec: DeriveOptions & { compute: (inputs: Record<never, never>, context: DeriveContext<undefined>) => unknown }) => feature(user, 'f', derive(spec));

describe('on-demand values', () => {
  it('T12 T15 T17: computed, null gives the default, a promise is awaited, sync or async by its word', async () => {
    const a = feature(user, 'a', derive({ compute: () => 100 }));
    const b = feature(user, 'b', derive({ compute: async () => null as number | null }), { default: 9 });
    const c = feature(user, 'c', derive({ compute: async () => 7 }));
    const d = feature(user, 'd', derive({ compute: () => Promise.resolve('x') }));
    const { read } = readerOf({ a, b, c, d });
    const cells = await read(['user.a', 'user.b', 'user.c', 'user.d']);
    expect(cells.map(x => x.value)).toEqual([100, 9, 7, 'x']);
    expect(cells.map(x => x.status)).toEqual(Array(4).fill('PRESENT'));
  });

  it.each([[999], [0], [''], [false]])('T13 T14: what throws gives its default %j, says why, and is logged', async fallback => {
    const boom = (): never => {
      throw new Error('no luck');
    };
    const sync = feature(user, 'sync', derive({ compute: boom as () => typeof fallback }), { default: fallback });
    const late = feature(user, 'late', derive({ compute: async () => boom() as unknown as typeof fallback }), { default: fallback });
    const { read, logged, reader } = readerOf({ sync, late });
    expect(await read(['user.sync', 'user.late'])).toEqual(Array(2).fill({ value: fallback, status: 'DEFAULTED', ts: null, reason: 'error', detail: 'no luck' }));
    expect(logged).toEqual([
      { event: 'feature_failed', feature: 'user.sync', message: 'no luck' },
      { event: 'feature_failed', feature: 'user.late', message: 'no luck' },
    ]);
    expect(reader.watch.counts.get('user.late')).toMatchObject({ error: 1 });
  });

  it('without a default it is an error, and so is what needs it; a default is passed on', async () => {
    const bad = feature(user, 'bad', derive({ compute: async (): Promise<number> => Promise.reject(new Error('down')) }));
    const safe = feature(user, 'safe', derive({ compute: async (): Promise<number> => Promise.reject(new Error('down')) }), { default: 5 });
    const onBad = feature(user, 'on_bad', derive({ inputs: { bad }, compute: ({ bad: x }) => x }));
    const onSafe = feature(user, 'on_safe', derive({ inputs: { safe }, compute: ({ safe: x }) => x * 2 }));
    const { read } = readerOf({ bad, safe, onBad, onSafe });
    expect(await read(['user.bad', 'user.on_bad', 'user.on_safe'])).toEqual([
      { value: null, status: 'ERROR', ts: null, reason: 'COMPUTE: down' },
      { value: null, status: 'ERROR', ts: null, reason: 'input bad: COMPUTE: down' },
      { value: 10, status: 'PRESENT', ts: null },
    ]);
  });

  it('T18: two of 200 ms take less than 300 ms, beside a chain of two', async () => {
    const slow = (name: string, v: number) =>
      feature(
        user,
        name as 'a',
        derive({
          compute: async () => {
            await pause(200);
            return v;
          },
        }),
      );
    const a = slow('a', 1);
    const b = slow('b', 2);
    const sum = feature(user, 'sum', derive({ inputs: { a, b }, compute: async x => x.a + x.b }));
    const { read } = readerOf({ a, b, sum });
    const began = performance.now();
    expect((await read(['user.a', 'user.b', 'user.sum'])).map(c => c.value)).toEqual([1, 2, 3]);
    expect(performance.now() - began).toBeLessThan(300);
  });

  it('T23: what hangs gives its default within 100 ms of a budget of 50, its signal aborted, and its late rejection harms nobody', async () => {
    const heard: unknown[] = [];
    const escaped = vi.fn();
    process.on('unhandledRejection', escaped);
    const hangs = feature(
      user,
      'hangs',
      derive({
        timeout: '50ms',
        compute: (_, { signal }) =>
          new Promise<number>((_resolve, reject) => {
            signal.addEventListener('abort', () => {
              heard.push((signal.reason as Error).name);
              reject(new Error('aborted'));
            });
          }),
      }),
      { default: 3 },
    );
    const onIt = feature(user, 'on_it', derive({ inputs: { hangs }, compute: x => x.hangs + 1 }));
    const { read, reader } = readerOf({ hangs, onIt });
    const began = performance.now();
    const cells = await read(['user.hangs', 'user.on_it']);
    expect(performance.now() - began).toBeLessThan(100);
    expect(cells).toEqual([
      { value: 3, status: 'DEFAULTED', ts: null, reason: 'timeout' },
      { value: 4, status: 'PRESENT', ts: null },
    ]);
    expect(heard).toEqual(['TimeoutError']);
    expect(reader.watch.counts.get('user.hangs')).toMatchObject({ timeout: 1, error: 0 });
    await new Promise(setImmediate);
    process.off('unhandledRejection', escaped);
    expect(escaped).not.toHaveBeenCalled();
  });

  it('a signal that code first looks at when its time is over is aborted', async () => {
    let look: () => boolean = () => false;
    const late = feature(
      user,
      'late',
      derive({
        timeout: '10ms',
        compute: (_, context) => {
          look = () => context.signal.aborted;
          return new Promise<number>(() => {});
        },
      }),
    );
    const { read } = readerOf({ late });
    expect((await read(['user.late']))[0]).toMatchObject({ status: 'DEFAULTED', reason: 'timeout' });
    expect(look()).toBe(true);
  });

  it('T16 T20: without a cache every read computes; with one of a second, the first of each second', async () => {
    const clock = new HandClock();
    let [n, m] = [0, 0];
    const each = feature(user, 'each', derive({ compute: () => ++n }));
    const kept = feature(user, 'kept', derive({ cache: '1s', compute: async () => ++m }));
    const { read, reader } = readerOf({ each, kept }, clock);
    const both = async () => (await read(['user.each', 'user.kept'])).map(c => c.value);
    expect([await both(), await both()]).toEqual([
      [1, 1],
      [2, 1],
    ]);
    clock.t += 1_100;
    expect(await both()).toEqual([3, 2]);
    expect(reader.watch.counts.get('user.kept')).toEqual({ timeout: 0, error: 0, cache_hit: 1, cache_miss: 2 });
  });

  it('T19: 50 concurrent misses compute once; another key, other inputs and another request are others', async () => {
    let n = 0;
    const f = feature(
      user,
      'f',
      derive({
        request: z.object({ q: z.string() }),
        cache: '1m',
        compute: async (_, { request, keys }) => {
          n++;
          await pause(5);
          return `${keys.user_id}:${request.q}`;
        },
      }),
    );
    const { read, reader } = readerOf({ f });
    const ask = (user_id: string, q: string) => read(['user.f'], { user_id }, { request: { q } });
    const cells = await Promise.all(Array.from({ length: 50 }, () => ask('u1', 'a')));
    expect([n, new Set(cells.map(([c]) => c!.value))]).toEqual([1, new Set(['u1:a'])]);
    await Promise.all([ask('u1', 'b'), ask('u2', 'a')]);
    expect(n).toBe(3);
    // T79: dropped, and no more kept of what was on its way.
    const going = ask('u1', 'c');
    await vi.waitFor(() => expect(n).toBe(4));
    reader.dropCached('user', 'u1');
    await going;
    await Promise.all([ask('u1', 'a'), ask('u1', 'c'), ask('u2', 'a')]);
    expect(n).toBe(6);
  });

  it('a request that has no text of its own is computed every time', async () => {
    let n = 0;
    const f = feature(
      user,
      'f',
      derive({
        request: z.object({ tags: z.array(z.string()).transform(tags => new Set(tags)) }),
        cache: '1m',
        compute: (_, { request }) => {
          n++;
          return [...request.tags].join('+');
        },
      }),
    );
    const { read } = readerOf({ f });
    const ask = async (...tags: string[]) => (await read(['user.f'], { user_id: 'u1' }, { request: { tags } }))[0]!.value;
    expect([await ask('a'), await ask('b', 'c'), await ask('a'), n]).toEqual(['a', 'b+c', 'a', 3]);
  });

  it('an error is not kept, another instant is not the same', async () => {
    const clock = new HandClock();
    let n = 0;
    const f = derived({
      cache: '1s',
      compute: () => {
        if (++n === 1) throw new Error('once');
        return n;
      },
    });
    const { read } = readerOf({ f }, clock);
    expect((await read(['user.f']))[0]!.status).toBe('ERROR');
    expect((await read(['user.f']))[0]!.value).toBe(2);
    expect((await read(['user.f'], { user_id: 'u1' }, { at: NOON - 60_000 }))[0]!.value).toBe(3);
  });

  it('T84: a cached value is as old as its making, and judged again at every read', async () => {
    const clock = new HandClock();
    const f = derived({ cache: '1s', compute: async () => 1 });
    const { read, compiled } = readerOf({ f }, clock);
    const plans = [compiled.registry.features['user.f']!];
    const stale = async () => staleOf(plans, ['f'], [await read(['user.f'])], clock.now(), { all: 100, each: {} });
    expect(await stale()).toEqual([]);
    clock.t += 300;
    expect(await stale()).toEqual([{ feature: 'f', age_ms: 300, max_age_ms: 100, rows: [0] }]);
  });

  it('1,000 rows give 1,000 values, each of its own keys and request', async () => {
    const f = feature(user, 'f', derive({ request: z.object({ x: z.number() }), compute: async (_, { keys, request }) => `${keys.user_id}/${request.x}` }));
    const { reader } = readerOf({ f });
    const rows = Array.from({ length: 1_000 }, (_, i) => ({ user_id: `u${i % 700}` }));
    const { cells } = await reader.read({ features: ['user.f'], rows, at: NOON, request: rows.map((_, i) => ({ x: i })) });
    expect(cells.map(c => c[0]!.value)).toEqual(rows.map((r, i) => `${r.user_id}/${i}`));
  });

  it('needs the key of its own entity too, and sees the keys of its inputs', async () => {
    const seen: unknown[] = [];
    const here = feature(location, 'here', derive({ compute: (_, { keys }) => void seen.push(keys) as unknown as number }), { default: 1 });
    const f = feature(user, 'f', derive({ inputs: { here }, compute: (_, { keys, now }) => void seen.push([keys, now]) as unknown as number }), { default: 2 });
    const { read } = readerOf({ here, f });
    await read(['user.f'], { user_id: 'u1', location_id: 'l1', other: 'o' }, { at: NOON });
    expect(seen).toEqual([{ location_id: 'l1' }, [{ user_id: 'u1', location_id: 'l1' }, NOON]]);
    expect(await read(['user.f', 'location.here'], { location_id: 'l1' })).toMatchObject([
      { value: 2, status: 'ERROR', reason: 'MISSING_KEY' },
      { value: 1, status: 'PRESENT' },
    ]);
  });
});

describe('rows and aliases', () => {
  const plans = source('plans', { file: 'plans.csv', time: 'since' });
  const text = sql`select user_id, plan, seats, since from plans`;
  const plan = feature(user, 'plan', query(plans, text, { type: z.string() }), { ttl: '3h' });
  const seats = feature(user, 'seats', query(plans, text, { type: z.int() }));

  it('a live view: one lookup for all rows, the newest row at T, ttl, unknown keys', async () => {
    const { reader } = readerOf({ plan, seats });
    const lookups = vi.spyOn(project.tables, 'lookup');
    const rows = ['u1', 'u2', 'nobody', 'u1', "x'; drop table t;--"].map(user_id => ({ user_id }));
    const { cells } = await reader.read({ features: ['user.plan', 'user.seats'], rows, at: NOON });
    expect(cells.map(c => c.map(x => `${x.value} ${x.status}`))).toEqual([
      ['gold PRESENT', '3 PRESENT'],
      ['null NULL_VALUE', '1 PRESENT'],
      ['null NOT_FOUND', 'null NOT_FOUND'],
      ['gold PRESENT', '3 PRESENT'],
      ['null NOT_FOUND', 'null NOT_FOUND'],
    ]);
    expect(lookups.mock.calls.map(c => c[2].length)).toEqual([4]);
    lookups.mockRestore();
    const then = await reader.read({ features: ['user.plan'], rows: [{ user_id: 'u1' }, { user_id: 'u2' }], at: Date.parse('2025-01-15T10:30:00Z') });
    expect(then.cells.map(c => c[0]!.value)).toEqual(['silver', null]);
    const late = await reader.read({ features: ['user.plan'], rows: [{ user_id: 'u1' }], at: Date.parse('2025-01-15T14:00:00.001Z') });
    expect(late.cells[0]![0]).toMatchObject({ value: null, status: 'OUTSIDE_MAX_AGE' });
  });

  it('a source that fails or takes too long gives the default and says so', async () => {
    const gone = feature(user, 'gone', query(source('gone', { file: 'no/such.csv', time: 'since' }), sql`select * from gone`, { type: z.string(), default: 'none' }));
    const slow = feature(user, 'slow', query(plans, sql`select user_id, plan as slow, since from plans`, { type: z.string(), timeout: '20ms' }));
    const { compiled, logged } = readerOf({ gone, slow });
    const aborted = vi.fn();
    const tables = Object.assign(Object.create(project.tables) as TestProject['tables'], {
      lookup: (...args: Parameters<TestProject['tables']['lookup']>) =>
        args[0].id === 'user.slow' ? new Promise(() => args[4].addEventListener('abort', aborted)) : project.tables.lookup(...args),
    });
    const reader = new FeatureReader({ ...project, tables, log: { level: 'warn', log: (_, f) => void logged.push(f) } }, compiled.registry, compiled.code);
    const { cells } = await reader.read({ features: ['user.gone', 'user.slow'], rows: [{ user_id: 'u1' }], at: NOON });
    expect(cells[0]).toMatchObject([
      { value: 'none', status: 'DEFAULTED', reason: 'error: source' },
      { value: null, status: 'DEFAULTED', reason: 'timeout' },
    ]);
    expect(logged).toMatchObject([{ feature: 'user.gone' }]);
    expect(aborted).toHaveBeenCalledOnce();
    expect(reader.watch.counts.get('user.slow')).toMatchObject({ timeout: 1 });
  });

  it('P33: one location as origin and destination, a derived feature too, in one read of the store; T24 not materialized, not stored', async () => {
    const temperature = feature(location, 'temperature', pushed(z.number()));
    const views = feature(location, 'views', count(view).over('1h'));
    const heat = feature(location, 'heat', derive({ inputs: { temperature, views }, compute: ({ temperature: t, views: v }, { keys }) => `${keys.location_id}:${t}:${v}` }));
    const ready = feature(user, 'ready', query(plans, sql`select user_id, plan as ready, since from plans`, { type: z.string(), materialize: true, default: 'home' }));
    const trip = service('trip', [alias('origin', temperature, { location_id: 'origin_id' }), alias('destination', temperature, { location_id: 'destination_id' })], {
      fullNames: true,
    });
    const compiled = compileDefinitions({ temperature, views, heat, ready, trip, view }) as unknown as Compiled;
    await applyRegistry(project, compiled, { newVersion: false, consent: true });
    await project.bus.append('clicks', [{ bytes: Buffer.from(JSON.stringify({ id: '1', type: 'view', ts: NOON - 1, user_id: 'u1', location_id: '2' })) }], NOON);
    await runWorker(project, compiled, { untilIdle: true, signal: new AbortController().signal });
    const reader = new FeatureReader(project, compiled.registry, compiled.code);
    const unready = await reader.read({ features: ['user.ready'], rows: [{ user_id: 'u9' }], at: NOON });
    expect(unready.cells[0]![0]).toEqual({ value: 'home', status: 'DEFAULTED', ts: null, reason: 'not_materialized' });
    await pushColumns(project, compiled, { target: 'temperature', columns: { location_id: [1, 2], temperature: [10.5, 20], event_timestamp: [NOON - 5, NOON - 5] } });
    const calls = vi.spyOn(project.online, 'read');
    const under = (id: string, column: string) => ({ id, alias: column, keys: { location_id: `${column}_id` } });
    const { cells, position } = await reader.read({
      features: [under('location.temperature', 'origin'), under('location.temperature', 'destination'), under('location.heat', 'destination'), 'location.heat'],
      rows: [
        { origin_id: '1', destination_id: '2', location_id: '1' },
        { origin_id: '2', destination_id: '2', location_id: '3' },
        { origin_id: '2', location_id: '2' },
      ],
      at: NOON,
    });
    expect(cells.map(c => c.map(x => x.value))).toEqual([
      [10.5, 20, '2:20:1', '1:10.5:0'],
      [20, 20, '2:20:1', '3:null:0'],
      [20, null, null, '2:20:1'],
    ]);
    expect(cells[2]![1]).toMatchObject({ status: 'ERROR', reason: 'MISSING_KEY' });
    expect(position).toEqual({ 'clicks/0': 1 });
    expect(calls).toHaveBeenCalledOnce();
    calls.mockRestore();
  });
});
