/** The promise itself, on the embedded stores: what is read online is what history computes, to the last bit (CASES.md S53, S55). */
import { writeFileSync, appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Group, Slot } from '../../src/engine/group.ts';
import type { CommitBatch, CommitResult, ReadItem } from '../../src/ports/online-store.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { textOf } from '../../src/runtime/historian/columns.ts';
import { runHistorical } from '../../src/runtime/historian/index.ts';
import { readRows } from '../../src/runtime/files/index.ts';
import { runParity } from '../../src/runtime/parity/index.ts';
import { rebuild } from '../../src/runtime/parity/rebuild.ts';
import { random } from '../../src/runtime/parity/sample.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { FeatureReader } from '../../src/runtime/reader.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import type { Embedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { fabra } from '../support/bin.ts';
import { appendAll, cleanUp, compileAt, newDir, newShop, newShopDir, openTestProject, SHOP_STREAM, sampleRecords, type TestProject } from '../support/project.ts';

afterAll(cleanUp);
const FULL = process.env.FABRA_QUICK !== '1';
const idle = (project: TestProject, compiled: Compiled) => runWorker(project, compiled, { untilIdle: true, batchSize: 200, signal: new AbortController().signal });

/** A shop whose online store is another one. */
async function shopOn(name: string, events: number, online: (env: Embedded) => EmbeddedOnlineStore): Promise<{ dir: string; project: TestProject; compiled: Compiled }> {
  const dir = newShopDir(name);
  const compiled = await compileAt(dir);
  const project = await openTestProject(dir, online);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  await appendAll(project, SHOP_STREAM, sampleRecords(events));
  await idle(project, compiled);
  return { dir, project, compiled };
}

/** One filter turned round, online only: counters, tiles and reads alike. */
class FlippedStore extends EmbeddedOnlineStore {
  private readonly flipped = new Map<Group, Group>();

  private flip(g: Group): Group {
    let to = this.flipped.get(g);
    if (!to) {
      const slots = g.slots.map((s): Slot => (s.where === null ? s : { ...s, where: row => !s.where!(row) }));
      to = { ...g, slots, units: g.units.map(u => ({ ...u, slot: slots[u.slot.index]! })) };
      this.flipped.set(g, to);
    }
    return to;
  }
  override commit(batch: CommitBatch): Promise<CommitResult> {
    return super.commit({ ...batch, updates: batch.updates.map(u => ({ ...u, group: this.flip(u.group) })) });
  }
  override read(items: readonly ReadItem[]) {
    return super.read(items.map(i => ({ ...i, group: this.flip(i.group) })));
  }
}

/** Loses the rows of one commit in ten. */
class LossyStore extends EmbeddedOnlineStore {
  private commits = 0;
  override commit(batch: CommitBatch): Promise<CommitResult> {
    return super.commit(this.commits++ % 10 === 5 ? { ...batch, updates: [] } : batch);
  }
}

describe('parity on the clickstream', () => {
  it('finds no difference in 100,000 values, most of them not empty', { timeout: 120_000 }, async () => {
    const { project, compiled } = await newShop('parity', sampleRecords(20_000));
    await idle(project, compiled);
    const seen: number[] = [];
    const r = await runParity(project, compiled, { onProgress: p => seen.push(p.done) });
    expect(r).toMatchObject({ ok: true, mode: 'live', p0: { mismatched: 0 }, worst: [], skipped: { backfilling: 0, moving: 0 } });
    expect(r.p0.compared).toBeGreaterThanOrEqual(100_000);
    expect(r.nonempty).toBeGreaterThan(r.p0.compared / 2);
    expect(r.p0.features.map(f => f.feature).sort()).toEqual(Object.keys(compiled.registry.features).sort());
    for (const f of r.p0.features) expect(f.nonempty, f.feature).toBeGreaterThan(f.total / 10);
    expect(r.audit).toMatchObject([{ stream: SHOP_STREAM }]);
    expect(seen.length).toBeGreaterThan(0);
    const other = await runParity(project, compiled, { comparisons: 2_000, seed: 2, features: ['user.user_cr_24h', 'user.cart_pressure'] });
    expect(other.p0.features).toHaveLength(2);
    expect(other.p0.features.every(f => f.total > 500)).toBe(true);
    await project.close();
  });

  it('replays into a scratch store and compares at any instant', { timeout: 120_000 }, async () => {
    const { dir, project, compiled } = await newShop('parity-replay', sampleRecords(10_000));
    await idle(project, compiled);
    const scratch = await openTestProject(join(dir, 'scratch'));
    const r = await runParity(project, compiled, { replay: { online: scratch.online }, comparisons: 50_000 });
    expect(r).toMatchObject({ ok: true, mode: 'replay', p0: { mismatched: 0 }, skipped: { expired: 0, backfilling: 0, moving: 0 } });
    expect(r.p0.compared).toBeGreaterThanOrEqual(50_000);
    await scratch.close();
    await project.close();
  });

  it('is exact while events flow', { timeout: 120_000 }, async () => {
    const records = sampleRecords(24_000);
    const { project, compiled } = await newShop('parity-flow', records.slice(0, 8_000));
    await idle(project, compiled);
    const stop = new AbortController();
    const worker = runWorker(project, compiled, { signal: stop.signal, batchSize: 50, pollMs: 5 });
    const feed = (async () => {
      for (let at = 8_000; at < records.length && !stop.signal.aborted; at += 100) {
        await appendAll(project, SHOP_STREAM, records.slice(at, at + 100));
        await new Promise(resolve => setTimeout(resolve, 20));
      }
    })();
    const before = (await project.online.streamMark(SHOP_STREAM, 0)).next;
    const r = await runParity(project, compiled, { comparisons: 60_000 });
    const after = (await project.online.streamMark(SHOP_STREAM, 0)).next;
    stop.abort();
    await Promise.all([worker, feed]);
    expect(after).toBeGreaterThan(before);
    expect(r.position[`${SHOP_STREAM}/0`]).toBeGreaterThan(8_000);
    expect(r.p0).toMatchObject({ mismatched: 0 });
    expect(r.p0.compared).toBeGreaterThan(50_000);
    await project.close();
  });

  it('a read one millisecond after an event at the very start of a day or second sees it', async () => {
    const at = ['2025-01-15T00:00:00.000Z', '2025-01-15T09:30:07.000Z'].map(t => Date.parse(t));
    const view = (id: string, ts: number) => ({
      bytes: Buffer.from(
        JSON.stringify({
          event_id: id,
          event_ts: new Date(ts).toISOString(),
          event_type: 'page_view',
          user_id: 'u',
          session_id: 's',
          currency: 'EUR',
          device: { mobile: true, os: 'x' },
          geo: { country: 'DE', city: 'B' },
        }),
      ),
    });
    const { project, compiled } = await newShop('parity-start', [view('first', at[0]!), ...Array.from({ length: 300 }, (_, i) => view(`v${i}`, at[1]!))]);
    await idle(project, compiled);
    const r = await runParity(project, compiled, { comparisons: 20_000, keys: { session: [['u', 's']] } });
    expect(r.worst.map(w => `${w.feature} at ${new Date(w.at).toISOString()}: ${w.right} is right`)).toEqual([]);
    await project.close();
  });

  it('nothing compared is a failure', async () => {
    const { project, compiled } = await newShop('parity-none', []);
    await expect(runParity(project, compiled)).rejects.toMatchObject({ code: 'NOTHING_COMPARED', exitCode: 1 });
    await expect(runParity(project, compiled, { features: ['user.nope'] })).rejects.toMatchObject({ code: 'UNKNOWN_FEATURE' });
    await project.close();
  });
});

describe('parity sees what is wrong', () => {
  it('S55: one flipped filter online: not ok, with the feature, the events and which side is right', { timeout: 120_000 }, async () => {
    const { project, compiled } = await shopOn('parity-flip', 6_000, env => new FlippedStore(env));
    const r = await runParity(project, compiled, { comparisons: 20_000 });
    expect(r.ok).toBe(false);
    expect(r.p0.features.filter(f => f.mismatch > 0).map(f => f.feature)).toEqual(['user.mobile_views_1h']);
    expect(r.worst.length).toBe(20);
    for (const w of r.worst) expect(w).toMatchObject({ feature: 'user.mobile_views_1h', right: 'offline' });
    const named = r.worst.flatMap(w => w.offending);
    expect(named.length).toBeGreaterThanOrEqual(20);
    for (const e of named) {
      const fits = e.columns['device.mobile'] === true;
      expect(e.note).toBe(fits ? 'online does not count it; it passes the filter' : 'online counts it; it does not pass the filter');
    }
    await project.close();
  });

  it('rows lost online: `fabra parity` exits 1 and names feature and event', { timeout: 120_000 }, async () => {
    const { dir, project } = await shopOn('parity-lossy', 6_000, env => new LossyStore(env));
    await project.close();
    const ran = await fabra(['parity', '--comparisons', '20000', '--json'], { cwd: dir });
    expect(ran.code).toBe(1);
    const doc = ran.json<{ ok: boolean; p0: { mismatched: number }; worst: { feature: string; right: string; offending: { id: string; note: string }[] }[] }>();
    expect(doc.ok).toBe(false);
    expect(doc.p0.mismatched).toBeGreaterThan(0);
    expect(doc.worst.filter(w => w.feature !== 'user.cart_pressure').every(w => w.right === 'offline')).toBe(true);
    const notes = doc.worst.flatMap(w => w.offending.map(o => o.note));
    expect(notes).toContain('online does not count it; it passes the filter');
    expect(ran.stderr).toContain('PARITY_BREACH');
    expect(ran.stderr).toContain(doc.worst.flatMap(w => w.offending)[0]!.id);
  });
});

const MORE = `
import { first, firstN, max, min, approxCountDistinct } from 'fabra';
export const m1 = feature(user, 'm1', min(click, 'price').over('6h'));
export const m2 = feature(user, 'm2', max(click, 'price').over('6h'));
export const m3 = feature(user, 'm3', first(view, 'product_id').tumbling('1h', { previous: true }));
export const m4 = feature(user, 'm4', firstN(view, 'product_id', 3).lifetime());
export const m5 = feature(product, 'm5', approxCountDistinct(view, 'user_id').over('1h'));
export const m6 = feature(product, 'm6', ratio(sum(click, 'price'), count(view)).hopping('2h', '30m'));
export const m7 = feature(session, 'm7', ratio(count(click), count(impression)).perSession({ gap: '10m' }));
export const m8 = feature(session, 'm8', count(cart).where({ 'device.os': 'Windows' }).lifetime());
`;

describe('S53: training labels against reads', () => {
  const [events, labels] = FULL ? [300_000, 22_000] : [20_000, 2_500];
  it(`${labels} labels of 27 features over ${events} events: each value is the one a read gives`, { timeout: FULL ? 900_000 : 120_000 }, async () => {
    const records = sampleRecords(events);
    const dir = newShopDir('labels');
    appendFileSync(join(dir, 'features.ts'), MORE);
    const compiled = await compileAt(dir);
    const project = await openTestProject(dir);
    await applyRegistry(project, compiled, { newVersion: false, consent: false });
    await appendAll(project, SHOP_STREAM, records);
    await idle(project, compiled);
    const spine = spineOf(
      records.map(r => Buffer.from(r.bytes).toString()),
      labels,
    );
    writeFileSync(join(dir, 'labels.csv'), spine.text);
    const ids = Object.keys(compiled.registry.features);
    expect(ids).toHaveLength(27);
    const out = join(dir, 'train.csv');
    const s = await runHistorical(project, compiled, { spine: join(dir, 'labels.csv'), out, features: ids });
    expect(s).toMatchObject({ rows: labels, time: 'when', errors: {} });

    const scratch = await openTestProject(newDir('labels-scratch'));
    const reader = new FeatureReader(scratch, compiled.registry, compiled.code);
    await rebuild(project, compiled, scratch.online, { groups: [...reader.groups.groups.values()] }, {});
    let [at, compared, nonempty] = [0, 0, 0];
    const wrong: string[] = [];
    for await (const { rows } of readRows(out))
      for (const { values } of rows) {
        const want = spine.rows[at++]!;
        expect(values!.n).toBe(String(at - 1));
        const { cells } = await reader.read({ features: ids, rows: [want.row], at: want.at });
        ids.forEach((id, i) => {
          const f = compiled.registry.features[id]!;
          const text = textOf(cells[0]![i]!.value, f.type);
          compared++;
          if (text !== null && text !== '0' && text !== '[]') nonempty++;
          if ((values![f.name] ?? null) !== text) wrong.push(`${id} of ${JSON.stringify(want)}: read ${text}, label ${String(values![f.name])}`);
        });
      }
    expect(wrong.slice(0, 5)).toEqual([]);
    expect(at).toBe(labels);
    expect(compared).toBe(27 * labels);
    expect(nonempty).toBeGreaterThan(compared / 3);
    await scratch.close();
    await project.close();
  });
});

/** Labels at events (S50: that event itself is not seen), a millisecond beside them, and on window ends; some without a key, all out of order. */
function spineOf(lines: readonly string[], n: number): { text: string; rows: { row: Record<string, string>; at: number }[] } {
  const rnd = random(11);
  const rows: { row: Record<string, string>; at: number }[] = [];
  let text = 'n,user_id,session_id,product_id,when,label\n';
  while (rows.length < n) {
    const e = JSON.parse(lines[Math.floor(rnd() * lines.length)]!.replace(/^[^{]*$/, '{}').replace(/^.*[^}]$/, '{}')) as Record<string, string>;
    const ts = Date.parse(e.event_ts ?? '');
    if (Number.isNaN(ts) || ts > Date.parse('2025-01-17')) continue;
    const after = [0, 0, 1, -1, 300_000, 300_001, 3_600_000, 86_400_000, 86_400_001, 1_800_000][Math.floor(rnd() * 10)]!;
    const row: Record<string, string> = {};
    for (const k of ['user_id', 'session_id', 'product_id']) if (typeof e[k] === 'string' && e[k] !== '' && rnd() > 0.02) row[k] = e[k];
    const at = ts + after;
    const time = [new Date(at).toISOString(), String(at), new Date(at).toISOString().replace('Z', '').replace('T', ' ')][rows.length % 3]!;
    text += `${rows.length},${row.user_id ?? ''},${row.session_id ?? ''},${row.product_id ?? ''},${time},${rows.length % 2}\n`;
    rows.push({ row, at });
  }
  return { text, rows };
}
