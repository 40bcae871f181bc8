/** The embedded table store through the suite of its port. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { joinKey } from '../../src/lib/text.ts';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import { openEmbedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { openTables } from '../../src/stores/tables/open.ts';
import { relateTable } from '../../src/stores/tables/relate.ts';
import { tableStoreConformance } from './table-store.ts';

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
