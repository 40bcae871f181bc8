/** The embedded adapters through the suites of their ports, and two processes on the embedded log. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as lmdb from 'lmdb';
import { afterAll, expect, it } from 'vitest';
import { EmbeddedBus } from '../../src/bus/embedded.ts';
import { compareRows } from '../../src/engine/units.ts';
import { openEmbedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { drop, peek } from '../../src/stores/embedded/outbox.ts';
import { openHistory } from '../../src/stores/history/open.ts';
import { endChildren, startChild } from '../support/build-child.ts';
import { eventBusConformance } from './event-bus.ts';
import { offlineStoreConformance } from './offline-store.ts';
import { onlineFoldConformance } from './online-folds.ts';
import { onlineRowConformance } from './online-rows.ts';
import { onlineStoreConformance } from './online-store.ts';
import { onlineTurnConformance } from './online-turns.ts';
import { rowBy, rowOf, rowsAt, table } from './units.ts';

async function folder() {
  const dir = mkdtempSync(join(tmpdir(), 'fabra-conf-'));
  const env = await openEmbedded(join(dir, '.fabra', 'store'));
  return {
    dir,
    env,
    close: async () => {
      await env.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

const online = async () => {
  const { env, close } = await folder();
  return { store: new EmbeddedOnlineStore(env), other: async () => new EmbeddedOnlineStore(env), close };
};
onlineStoreConformance('embedded', online);
onlineFoldConformance('embedded', online);
onlineRowConformance('embedded', online);
onlineTurnConformance('embedded', online);

eventBusConformance('embedded', async () => {
  const { env, close } = await folder();
  return { bus: new EmbeddedBus(env), other: async () => new EmbeddedBus(env), close };
});

offlineStoreConformance('embedded', async () => {
  const { dir, env, close } = await folder();
  const bus = new EmbeddedBus(env);
  let now = Date.parse('2025-06-01T00:00:00Z');
  const make = () => openHistory({ env, bus, dir: join(dir, 'offline'), clock: { now: () => now }, threads: 1 });
  const made = [make()];
  return {
    history: made[0]!,
    other: async () => made[made.push(make()) - 1]!,
    bus,
    online: new EmbeddedOnlineStore(env),
    pass: ms => {
      now += ms;
      return now;
    },
    close: async () => {
      for (const h of made) await h.close();
      await close();
    },
  };
});

afterAll(endChildren);

it('two processes append to the embedded log at once: no offset lost', { timeout: 30_000 }, async () => {
  const { dir, env, close } = await folder();
  const children = await Promise.all(['a', 'b'].map(who => startChild({ dir, role: 'append-numbers', stream: 's', who, count: 400 })));
  for (const c of children) expect(await c.ended, c.errors()).toMatchObject({ code: 0 });
  const got = (await new EmbeddedBus(env).poll('s', 0, 0, 10_000)).map(r => JSON.parse(Buffer.from(r.bytes).toString()) as { who: string; i: number });
  expect(got.length).toBe(800);
  for (const who of ['a', 'b']) expect(got.filter(g => g.who === who).map(g => g.i)).toEqual(Array.from({ length: 400 }, (_, i) => i));
  await close();
});

it('three processes write rows of one key at once: the newest stay, each is recorded, and this process sees them', { timeout: 30_000 }, async () => {
  const { dir, env, close } = await folder();
  const store = new EmbeddedOnlineStore(env);
  const unit = table('user.t');
  await store.adopt([], { folds: [], triggers: [], tables: [unit] });
  expect(await rowsAt(store, unit, ['u'], 100_003)).toEqual([null]);
  const children = await Promise.all([1, 2, 3].map(who => startChild({ dir, role: 'put-rows', table: unit, who, count: 200 })));
  for (const c of children) expect(await c.ended, c.errors()).toMatchObject({ code: 0 });
  const all = [1, 2, 3].flatMap(who => Array.from({ length: 200 }, (_, i) => rowBy(who, i))).sort(compareRows);
  for (const row of all.slice(-32)) expect(await rowsAt(store, unit, ['u'], row.eff)).toEqual([row.text]);
  expect(await rowsAt(store, unit, ['u'], all.at(-33)!.eff)).toEqual(['expired']);
  expect((await store.outbox(0, 1_000)).map(r => r.row).sort(compareRows)).toEqual(all);
  await close();
});

it('a job whose process is gone is free at once', async () => {
  const { env, close } = await folder();
  const store = new EmbeddedOnlineStore(env);
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  const held = await store.jobLease('view:v', 3_600_000);
  const record = env.meta.get('job:view:v') as object;
  env.write(() => env.meta.put('job:view:v', { ...record, pid, born: '1' }));
  const next = await store.jobLease('view:v', 3_600_000);
  expect(next.epoch).toBeGreaterThan(held.epoch);
  await expect(held.renew()).rejects.toMatchObject({ code: 'FENCED' });
  await close();
});

it('history takes recorded rows out of the outbox, up to a number, in its own transaction', async () => {
  const { env, close } = await folder();
  const store = new EmbeddedOnlineStore(env);
  const unit = table('user.t');
  await store.adopt([], { folds: [], triggers: [], tables: [unit] });
  const puts = Array.from({ length: 10 }, (_, i) => ({ table: unit, key: `k${i}`, row: rowOf(i) }));
  await store.putRows(puts, { record: true });
  const first = peek(env, 0, 4);
  expect(first.map(({ seq: _, ...rest }) => rest)).toEqual(puts.slice(0, 4));
  expect(() =>
    env.write(() => {
      drop(env, first[3]!.seq);
      throw new Error('the manifest failed');
    }),
  ).toThrow('the manifest failed');
  expect(peek(env, 0, 100).length).toBe(10);
  env.write(() => drop(env, first[3]!.seq));
  expect((await store.outbox(0, 100)).map(r => r.key)).toEqual(puts.slice(4).map(p => p.key));
  // Numbers go on when it is empty.
  env.write(() => drop(env, 1_000));
  await store.putRows([{ ...puts[0]!, key: 'later' }], { record: true });
  expect((await store.outbox(first[3]!.seq, 9)).map(r => r.key)).toEqual(['later']);
  await close();
});

it('a store by an older version, with fewer parts, opens for reading and for writing', async () => {
  for (const readOnly of [true, false]) {
    const dir = mkdtempSync(join(tmpdir(), 'fabra-old-'));
    const old = lmdb.open({ path: dir, maxDbs: 16, noSubdir: false });
    for (const name of ['state', 'days', 'log', 'dead']) old.openDB({ name, keyEncoding: 'binary', encoding: 'binary' });
    await old.openDB({ name: 'meta', encoding: 'json' }).put('format', 1);
    await old.close();
    const env = await openEmbedded(dir, { readOnly });
    expect(await new EmbeddedOnlineStore(env).outbox(0, 10)).toEqual([]);
    await env.close();
    const again = await openEmbedded(dir, { readOnly: true });
    expect(await new EmbeddedOnlineStore(again).deadCount()).toBe(0);
    await again.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
