import { z } from 'zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { count, entity, feature, int64, stream } from '../../src/index.ts';
import type { FabraError } from '../../src/lib/errors.ts';
import type { NewRecord } from '../../src/ports/event-bus.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import type { Compiled, Project } from '../../src/runtime/project.ts';
import { Publisher, type PublishInput, type PublishResult } from '../../src/runtime/publish.ts';
import { cleanUp, compileAt, newShopDir, openTestProject, type TestProject } from '../support/project.ts';

const view = { user_id: 'u1', session_id: 's1', currency: 'EUR', device: { mobile: true, os: 'x' }, geo: { country: 'DE', city: 'Munich' } };
const { user_id: _, ...anonymous } = view;

let project: TestProject;
let compiled: Compiled;
let publisher: Publisher;
beforeAll(async () => {
  const dir = newShopDir('publish');
  compiled = await compileAt(dir);
  project = await openTestProject(dir);
  publisher = new Publisher(project, compiled);
});
afterAll(async () => {
  await project.close();
  cleanUp();
});

async function stored(result: PublishResult, from: Pick<Project, 'bus'> = project): Promise<Record<string, unknown>> {
  if (!result.ok) throw result.error;
  const [name, partition, offset] = result.position.split('/');
  const [record] = await from.bus.poll(name!, Number(partition), Number(offset), 1);
  expect(record!.offset).toBe(Number(offset));
  return JSON.parse(Buffer.from(record!.bytes).toString());
}

async function one(event: unknown, type?: string, by = publisher): Promise<PublishResult> {
  const [result] = await by.publish([{ event, type }]);
  return result!;
}

async function refused(event: unknown, type?: string, by = publisher): Promise<FabraError> {
  const result = await one(event, type, by);
  if (result.ok) throw new Error(`published: ${JSON.stringify(result)}`);
  return result.error;
}

describe('shape', () => {
  it('keeps id and time of the client (T72)', async () => {
    const result = await one({ event_type: 'page_view', event_id: 'e1', timestamp: '2025-01-15T12:00:00Z', payload: view });
    expect(result).toMatchObject({ ok: true, event: 'events_raw/page_view', event_id: 'e1' });
    expect(await stored(result)).toEqual({ ...view, event_type: 'page_view', event_id: 'e1', event_ts: '2025-01-15T12:00:00Z' });
  });

  it('gives an id and the time where the client has none', async () => {
    const before = Date.now();
    const result = await one({ event_type: 'page_view', payload: view });
    const line = await stored(result);
    expect(line.event_id).toBe(result.ok && result.event_id);
    expect(line.event_id).toMatch(/^[0-9a-f-]{36}$/);
    expect(Date.parse(line.event_ts as string)).toBeGreaterThanOrEqual(before);
  });

  it('takes the columns of the stream, too, and its type from the address', async () => {
    const flat = { event_id: 'e2', event_ts: 1736942400000, ...view };
    expect(await stored(await one({ ...flat, event_type: 'page_view' }))).toEqual({ ...flat, event_type: 'page_view' });
    expect(await stored(await one(flat, 'page_view'))).toEqual({ ...flat, event_type: 'page_view' });
    expect(await stored(await one({ ...view, timestamp: 1736942400000, event_id: 'e3' }, 'events_raw/page_view'))).toMatchObject({ event_ts: 1736942400000, event_id: 'e3' });
  });

  it('entity_id is the key that the payload lacks', async () => {
    expect(await stored(await one({ entity_id: 'u7', payload: anonymous }, 'page_view'))).toMatchObject({ user_id: 'u7' });
    expect(await stored(await one({ entity_id: 7, payload: anonymous }, 'page_view'))).toMatchObject({ user_id: '7' });
    expect(await stored(await one({ entity_id: 'u1', payload: view }, 'page_view'))).not.toHaveProperty('product_id');
    expect(await stored(await one({ entity_id: 'u1', payload: { ...view, product_id: 'p' } }, 'page_view'))).toMatchObject({ user_id: 'u1', product_id: 'p' });
    expect(await refused({ entity_id: 'u2', payload: { ...view, product_id: 'p' } }, 'page_view')).toMatchObject({ code: 'BAD_EVENT', path: 'entity_id' });
  });

  it('int64 beyond 2^53 survives as text and as BigInt', async () => {
    const account = entity('account', { key: 'account' });
    const paid = stream('payments', { id: 'position', time: 'at' }).event('paid', z.object({ account: z.string(), cents: int64() }));
    const other = compileDefinitions({ account, paid, n: feature(account, 'n', count(paid).lifetime()) }) as unknown as Compiled;
    const by = new Publisher(project, other);
    expect(await stored(await one({ account: 'a', cents: 9007199254740993n }, undefined, by))).toMatchObject({ cents: '9007199254740993' });
    const result = await one({ entity_id: 'a', event_id: 'mine', payload: { cents: '-9007199254740993' } }, 'paid', by);
    expect(result).toMatchObject({ ok: true, event_id: 'mine', position: 'payments/0/1' });
    expect((await project.bus.poll('payments', 0, 1, 1))[0]!.id).toBe('mine');
    expect(await one({ account: 'a', cents: 1 }, 'paid', by)).toMatchObject({ event_id: '0-2', position: 'payments/0/2' });
  });
});

describe('refusals', () => {
  it('unknown type, with the nearest (T71)', async () => {
    expect(await refused({ event_type: 'page_veiw', payload: view })).toMatchObject({ code: 'UNKNOWN_EVENT', httpStatus: 404, hint: 'Did you mean: page_view?' });
    expect(await refused(view)).toMatchObject({ code: 'BAD_EVENT', path: 'event_type' });
  });

  it('no key and no entity_id (T71)', async () => {
    expect(await refused({ payload: anonymous }, 'page_view')).toMatchObject({
      code: 'BAD_EVENT',
      httpStatus: 422,
      path: 'payload.user_id',
      hint: expect.stringContaining('entity_id'),
    });
    const shop = entity('shop', { key: 'shop' });
    const sale = stream('sales', {}).event('sale', z.object({ shop: z.string().nullish() }));
    const by = new Publisher(project, compileDefinitions({ shop, sale, n: feature(shop, 'n', count(sale).over('1h')) }) as unknown as Compiled);
    expect(await refused({ payload: {} }, 'sale', by)).toMatchObject({ code: 'BAD_EVENT', path: 'payload.shop' });
    expect(await refused({ payload: { shop: '' } }, 'sale', by)).toMatchObject({ code: 'BAD_EVENT', path: 'payload.shop' });
    expect(await one({ entity_id: 's', payload: { shop: '' } }, 'sale', by)).toMatchObject({ ok: true });
  });

  it.each<[string, PublishInput['event'], string]>([
    ['a wrong type', { payload: { ...view, price: 'x' } }, 'payload.price'],
    ['a flat wrong type', { ...view, price: 'x' }, 'price'],
    ['a nested one', { payload: { ...view, device: { mobile: 1, os: 'x' } } }, 'payload.device.mobile'],
    ['what the schema forbids', { payload: { ...view, price: -1 } }, 'payload.price'],
    ['no object', { payload: 'x' }, 'payload'],
    ['a bad time', { timestamp: 'yesterday', payload: view }, 'timestamp'],
    ['a bad time of its own', { event_ts: 'yesterday', ...view }, 'event_ts'],
    ['a bad id', { event_id: { a: 1 }, payload: view }, 'event_id'],
    ['an empty id', { event_id: '', payload: view }, 'event_id'],
    ['half a surrogate', { payload: { ...view, session_id: '\ud800' } }, 'payload.session_id'],
    ['a number that JSON cannot hold', { payload: { ...view, price: Number.POSITIVE_INFINITY } }, 'payload.price'],
    ['a misspelt field of the envelope', { timestmp: 1, payload: view }, 'timestmp'],
    ['another type than its address', { event_type: 'purchase', payload: view }, 'event_type'],
  ])('%s', async (_name, event, path) => {
    expect(await refused(event, 'page_view')).toMatchObject({ code: 'BAD_EVENT', httpStatus: 422, path });
  });

  it('two streams with the same type need the stream', async () => {
    const user = entity('user', { key: 'user' });
    const a = stream('a', {}).event('seen', z.object({ user: z.string() }));
    const b = stream('b', { type: 'kind' }).event('seen', z.object({ user: z.string() }));
    const by = new Publisher(project, compileDefinitions({ user, a, b, n: feature(user, 'n', count(a).over('1h')) }) as unknown as Compiled);
    expect(await refused({ payload: { user: 'u' } }, 'seen', by)).toMatchObject({ code: 'NAME_COLLISION', hint: expect.stringContaining('a/seen or b/seen') });
    expect(await one({ payload: { user: 'u' } }, 'b/seen', by)).toMatchObject({ event: 'b/seen' });
    expect(await one({ event_type: 'a/seen', payload: { user: 'u' } }, undefined, by)).toMatchObject({ event: 'a/seen' });
  });
});

describe('lines', () => {
  it('good lines are in the log beside bad ones, each with its number', async () => {
    const good = JSON.stringify({ event_type: 'page_view', payload: view });
    const results = await publisher.publishLines([good, '', 'nope', '[]', good], 10);
    expect(results.map(r => [r.line, r.ok])).toEqual([
      [10, true],
      [12, false],
      [13, false],
      [14, true],
    ]);
    for (const r of results) if (r.ok) expect(await stored(r)).toMatchObject(view);
  });

  it('requests that come together share an append and a flush', async () => {
    const appends: number[] = [];
    let flushes = 0;
    const counting = {
      clock: project.clock,
      bus: Object.assign(Object.create(project.bus) as Project['bus'], {
        append: (s: string, records: readonly NewRecord[], at: number) => {
          appends.push(records.length);
          return project.bus.append(s, records, at);
        },
        flushed: () => {
          flushes++;
          return project.bus.flushed();
        },
      }),
    };
    const by = new Publisher(counting, compiled);
    const results = await Promise.all(Array.from({ length: 200 }, (_, i) => one({ event_id: `g${i}`, payload: view }, 'page_view', by)));
    expect(appends.reduce((a, b) => a + b)).toBe(200);
    expect(flushes).toBeLessThan(5);
    for (const [i, r] of results.entries()) expect(await stored(r)).toMatchObject({ event_id: `g${i}` });
    await by.drain();
  });

  it('a failing log fails the events, not the process', async () => {
    const broken = {
      clock: project.clock,
      bus: Object.assign(Object.create(project.bus) as Project['bus'], { append: () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOSPC' })) }),
    };
    expect(await refused({ payload: view }, 'page_view', new Publisher(broken, compiled))).toMatchObject({ code: 'DISK_FULL' });
  });
});
