/** The embedded table store through the suite of its port. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { entity, feature, query, source, sql } from '../../src/index.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { joinKey } from '../../src/lib/text.ts';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import { openEmbedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import { Lookups } from '../../src/stores/tables/lookup.ts';
import { openTables } from '../../src/stores/tables/open.ts';
import { relateTable } from '../../src/stores/tables/relate.ts';
import { tableStoreConformance } from './table-store.ts';

it('a lookup works again after DuckDB could not be opened once', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'fabra-conf-'));
  writeFileSync(join(dir, 'seen.csv'), 'user_id,x\n1,5\n');
  const user = entity('user', { key: 'user_id' });
  const x = feature(user, 'x', query(source('seen', { file: 'seen.csv' }), sql`select user_id, x from seen`, { type: z.int() }));
  const compiled = compileDefinitions({ x });
  const env = await openEmbedded(join(dir, 'store'));
  const duck = { threads: 1, memoryLimit: 'nonsense' };
  const lookups = new Lookups({ env, dir, project: dir, clock: systemClock, duck, pools: () => Promise.reject(new Error('none here')) });
  const look = () => lookups.rows(compiled.registry.views['user.x']!, compiled, [['1']], 0, new AbortController().signal);
  await expect(look()).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
  duck.memoryLimit = '1GB';
  expect((await look())[0]).toMatchObject({ text: '[5]' });
  await lookups.close();
  await env.close();
  rmSync(dir, { recursive: true, force: true });
});

tableStoreConformance('embedded', async () => {
  const project = mkdtempSync(join(tmpdir(), 'fabra-conf-'));
  const env = await openEmbedded(join(project, '.fabra', 'store'));
  const dir = join(project, '.fabra', 'offline');
  let now = 0;
  const make = () => openTables({ env, dir, project, clock: { now: () => now }, threads: 1 });
  const made = [make()];
  return {
    tables: made[0]!,
    other: async () => made[made.push(make()) - 1]!,
    online: new EmbeddedOnlineStore(env),
    project,
    at: t => {
      now = t;
    },
    recorded: async (table, { registry }) => {
      const db = await Duck.open({ threads: 1 });
      try {
        // Without its SQL: recorded rows alone.
        const only = 'sql' in table ? { ...table, sql: null } : table;
        const name = await relateTable(db, { env, dir, project, registry, code: {} }, only);
        return (await db.rows(`SELECT * FROM "${name}" ORDER BY ALL`)).map(r => ({
          key: joinKey([String(r.k0)]),
          eff: Number(r.eff),
          ts: Number(r.ts),
          created: r.created === null ? null : Number(r.created),
          text: String(r.text),
          gone: r.gone === true,
        }));
      } finally {
        db.close();
      }
    },
    close: async () => {
      for (const t of made) await t.close();
      await env.close();
      rmSync(project, { recursive: true, force: true });
    },
  };
});
