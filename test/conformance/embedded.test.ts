/** The embedded adapters through the suites of their ports, and two processes on the embedded log. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { EmbeddedBus } from '../../src/bus/embedded.ts';
import { openEmbedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { openHistory } from '../../src/stores/history/open.ts';
import { endChildren, startChild } from '../support/build-child.ts';
import { eventBusConformance } from './event-bus.ts';
import { offlineStoreConformance } from './offline-store.ts';
import { onlineFoldConformance } from './online-folds.ts';
import { onlineRowConformance } from './online-rows.ts';
import { onlineStoreConformance } from './online-store.ts';
import { onlineTurnConformance } from './online-turns.ts';

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
