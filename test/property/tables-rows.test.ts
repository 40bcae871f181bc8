/** Random rows (ties, no created, gone keys, any order) at every instant: SQL over history, the store's read and a plain sort agree. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { rowCell } from '../../src/engine/cells.ts';
import { compareRows, compileUnits, type TableRow } from '../../src/engine/units.ts';
import type { Cell } from '../../src/engine/values.ts';
import { joinKey } from '../../src/lib/text.ts';
import type { HistoryView } from '../../src/ports/offline-store.ts';
import type { OnFeaturePlan, TableFeaturePlan } from '../../src/registry/types.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { cleanUp, compileAt, newDir, openTestProject } from '../support/project.ts';

afterAll(cleanUp);

const RUNS = Number(process.env.FABRA_PROPERTY_RUNS ?? 40);
const FEATURES = `
import { entity, feature, on, pushed, stream } from 'fabra';
import { z } from 'zod';
const pair = entity('pair', { key: ['a', 'b'] });
const world = entity('world', { key: [] });
const shop = stream('shop', { id: 'id', time: 'ts', type: 'type' });
const buy = shop.event('buy', z.object({ a: z.string(), b: z.string() }));
export const given = feature(pair, 'given', pushed(z.number()), { ttl: '12ms', default: -1 });
export const words = feature(pair, 'words', pushed(z.string()));
export const global = feature(world, 'global', pushed(z.number()));
export const seen = feature(pair, 'seen', on(buy, { type: z.number(), handle: () => 1 }), { ttl: '20ms' });
`;
const T0 = Date.parse('2025-01-15T12:00:00Z');
const SPAN = 9;

const arbRow = fc
  .record({
    eff: fc.integer({ min: 0, max: SPAN }),
    created: fc.option(fc.integer({ min: 0, max: SPAN }), { freq: 3 }),
    v: fc.option(fc.constantFrom('a', 'é', '\u{1f600}', '\uffee', 'ab', ''), { freq: 6 }),
    gone: fc.integer({ min: 0, max: 7 }).map(n => n === 0),
    key: fc.integer({ min: 0, max: 2 }),
  })
  // What a key that came back has: a time of its own below the instant from which it counts.
  .map(r => ({ ...r, ts: r.eff - (r.eff % 5 === 0 ? 3 : 0) }));
const arbRows = fc.array(arbRow, { minLength: 1, maxLength: 30, size: 'max' });
type Row = typeof arbRow extends fc.Arbitrary<infer R> ? R : never;

const VALUES: Record<string, (v: string | null) => unknown> = {
  'pair.words': v => v,
  'pair.given': v => (v === null ? null : (v.codePointAt(0) ?? 0)),
  'world.global': v => v?.length ?? null,
  'pair.seen': v => (v === null ? null : (v.codePointAt(0) ?? 0)),
};
const rowOf = (r: Row, id: string): TableRow => ({
  eff: T0 + r.eff,
  ts: T0 + (r.gone ? r.eff : r.ts),
  created: r.gone || r.created === null ? null : T0 + r.created,
  text: r.gone ? '' : JSON.stringify([VALUES[id]!(r.v)]),
  gone: r.gone,
});
/** The row that counts, by sorting all of them. */
function oracle(f: TableFeaturePlan | OnFeaturePlan, rows: readonly TableRow[], at: number, asOfCreated: boolean): Cell {
  const known = rows.filter(r => (f.kind === 'on' ? r.eff < at : r.eff <= at) && (!asOfCreated || f.kind === 'on' || r.gone || (r.created !== null && r.created <= at)));
  return rowCell(f, [...known].sort(compareRows).at(-1) ?? null, at);
}

/** The same rows as a spine: one key column set for each entity. */
async function throughSpine(
  view: HistoryView,
  f: TableFeaturePlan | OnFeaturePlan,
  columns: string[],
  keys: (string[] | null)[],
  at: number[],
  asOfCreated: boolean,
): Promise<Cell[]> {
  const names = [...columns, 't'];
  const cells = names.map((_, i) => at.map((t, r) => (i < columns.length ? (keys[r]?.[i] ?? null) : String(t))));
  const spine = await view.spine({
    columns: names,
    batches: (async function* () {
      yield { lines: at.map((_, i) => i + 2), cells };
    })(),
  });
  await spine.setTimes(
    (async function* () {
      yield at;
    })(),
  );
  const out: Cell[] = [];
  for await (const chunk of spine.ask({ keySets: [columns], asks: [{ feature: f, keys: 0 }], extra: [], wantKeys: false, asOfCreated })) out.push(...chunk.cells[0]!);
  await spine.close();
  return out;
}

it('the row that counts is the same everywhere', async () => {
  const dir = newDir('tables-rows');
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  const compiled = await compileAt(dir);
  const project = await openTestProject(dir);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const { tables } = compileUnits(compiled.registry, compiled.code);
  const stored: Record<string, { key: string[]; rows: TableRow[] }[]> = {};
  let run = 0;
  let compared = 0;
  const seen = new Set<string>();
  const check = async (rows: readonly Row[]): Promise<void> => {
    const prefix = `r${run++}`;
    const view = await (async () => {
      for (const id of Object.keys(VALUES)) {
        const f = compiled.registry.features[id] as TableFeaturePlan | OnFeaturePlan;
        const width = compiled.registry.entities[f.entity]!.key.length;
        const byKey = new Map<number, TableRow[]>();
        for (const r of rows) byKey.set(width === 0 ? 0 : r.key, [...(byKey.get(width === 0 ? 0 : r.key) ?? []), rowOf(r, id)]);
        // The values without a key are the same for every run: only the first gives them.
        if (width === 0 && run > 1) continue;
        stored[id] = [...byKey].map(([k, list]) => ({ key: width === 0 ? [] : [`${prefix}:${k}`, 'é'], rows: list }));
        const puts = stored[id].flatMap(({ key, rows: list }) => list.map(row => ({ table: tables.get(f.kind === 'table' ? f.view : id)!, key: joinKey(key), row })));
        for (let i = 0; i < puts.length; i += 7) await project.online.putRows(puts.slice(i, i + 7), { record: true });
      }
      return project.history.open(compiled);
    })();
    try {
      for (const id of Object.keys(VALUES)) {
        const f = compiled.registry.features[id] as TableFeaturePlan | OnFeaturePlan;
        const asked = stored[id]!.flatMap(k => Array.from({ length: SPAN + 25 }, (_, t) => ({ ...k, at: T0 + t })));
        const at = asked.map(a => a.at);
        const want = asked.map(a => oracle(f, a.rows, a.at, false));
        const [sql] = await view.ask([f], { at, keys: { [f.entity]: asked.map(a => a.key) } }, true);
        expect(sql).toEqual(want);
        const unit = tables.get(f.kind === 'table' ? f.view : id)!;
        const { tables: online } = await project.online.read([], { folds: [], tables: asked.map(a => ({ table: unit, key: joinKey(a.key), at: a.at })) });
        expect(online.map((o, i) => rowCell(f, o.row, at[i]!))).toEqual(want);
        const columns = compiled.registry.entities[f.entity]!.key;
        const then = await throughSpine(
          view,
          f,
          columns,
          asked.map(a => a.key),
          at,
          true,
        );
        expect(then).toEqual(asked.map(a => oracle(f, a.rows, a.at, true)));
        compared += want.length;
        for (const c of [...want, ...then]) seen.add(c.status);
      }
    } finally {
      await view.close();
    }
  };
  await fc.assert(fc.asyncProperty(arbRows, check), { numRuns: RUNS });
  expect(compared).toBeGreaterThan(RUNS * 100);
  expect([...seen].sort()).toEqual(['NOT_FOUND', 'NULL_VALUE', 'OUTSIDE_MAX_AGE', 'PRESENT']);
  await project.close();
}, 240_000);
