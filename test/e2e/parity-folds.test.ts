/** Parity over folds: stepped on the stream and again over history, to the last bit; and a store that loses some is caught. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { CommitBatch, CommitResult } from '../../src/ports/online-store.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import { runParity } from '../../src/runtime/parity/index.ts';
import { random } from '../../src/runtime/parity/sample.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import type { Embedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';
import { fabra } from '../support/bin.ts';
import { cleanUp, compileAt, newDir, openTestProject, type TestProject } from '../support/project.ts';

afterAll(cleanUp);

const FEATURES = `
import { count, decimal, derive, entity, feature, fold, on, stream } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id' });
const pair = entity('pair', { key: ['user_id', 'shop'], ttl: '2h' });
const bank = stream('bank', { lateness: '10m' });
const shops = stream('shops', { lateness: '3m' });
const move = bank.event('move', z.object({ user_id: z.string(), shop: z.string().nullish(), kind: z.enum(['credit', 'debit']), amount: decimal(2) }));
const visit = shops.event('visit', z.object({ user_id: z.string(), shop: z.string(), note: z.object({ tags: z.array(z.string()) }).nullish() }));
export const balance = feature(user, 'balance', fold(move, { state: z.number(), initial: 0, step: (s, { payload: p }) => s + (p.kind === 'credit' ? p.amount : -p.amount) }));
export const trail = feature(user, 'trail', fold([move, visit], { state: z.object({ last: z.array(z.string()).max(40) }), initial: { last: [] },
  step: (s, e) => { s.last.push(e.event_type + e.event_id); if (s.last.length > 5) s.last.shift(); return s; }, value: s => s.last.join(' '), type: z.string() }));
export const tags = feature(pair, 'tags', fold(visit, { state: z.int().max(20), initial: 0, step: (n, { payload }) => { if (payload.note?.tags.includes('bad')) throw new Error('bad'); return n + (payload.note?.tags.length ?? 0); } }), { default: 0 });
export const moves = feature(user, 'moves_1h', count(move).over('1h'));
export const mean = feature(user, 'mean', derive({ inputs: { balance, moves }, compute: ({ balance, moves }, { keys, now }) => keys.user_id.length * (balance ?? 0) / (1 + moves) + now % 7 }));
export const told = feature(user, 'told', on(visit, { type: z.string(), handle: ({ event }) => event.payload.shop }));
`;
const T0 = Date.parse('2025-01-15T08:00:00Z');

/** Two streams with strays, copies and rows out of order. */
function logs(n: number): { bank: { bytes: Buffer }[]; shops: { bytes: Buffer }[] } {
  const rnd = random(5);
  const below = (k: number) => Math.floor(rnd() * k);
  const out = { bank: [] as { bytes: Buffer }[], shops: [] as { bytes: Buffer }[] };
  for (let i = 0; i < n; i++) {
    const back = below(4) === 0 ? below(15 * 60_000) : 0;
    const common = { event_id: `e${below(20) === 0 ? Math.max(0, i - below(5)) : i}`, timestamp: T0 + i * 5_000 - back, user_id: `u${below(12)}` };
    const shop = below(10) === 0 ? undefined : `s${below(3)}`;
    if (below(2) === 0)
      out.bank.push({ bytes: Buffer.from(JSON.stringify({ ...common, event_type: 'move', shop, kind: below(2) ? 'credit' : 'debit', amount: below(10_000) / 100 })) });
    else
      out.shops.push({
        bytes: Buffer.from(JSON.stringify({ ...common, event_type: 'visit', shop: shop ?? 's0', note: below(3) ? { tags: ['a', 'b', 'bad'].slice(0, below(4)) } : null })),
      });
    if (below(30) === 0 && out.bank.length > 0) out.bank.push(out.bank[out.bank.length - 1 - below(Math.min(5, out.bank.length))]!);
  }
  return out;
}

async function filled(name: string, online?: (env: Embedded) => EmbeddedOnlineStore): Promise<{ dir: string; project: TestProject; compiled: Compiled }> {
  const dir = newDir(name);
  writeFileSync(join(dir, 'features.ts'), FEATURES);
  const compiled = await compileAt(dir);
  const project = await openTestProject(dir, online);
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const { bank, shops } = logs(6_000);
  await project.bus.append('bank', bank, T0 + 86_400_000);
  await project.bus.append('shops', shops, T0 + 86_400_000);
  await runWorker(project, compiled, { untilIdle: true, batchSize: 97, signal: new AbortController().signal });
  return { dir, project, compiled };
}

/** Loses what one commit in five holds for folds. */
class ForgetfulStore extends EmbeddedOnlineStore {
  private commits = 0;
  override commit(batch: CommitBatch): Promise<CommitResult> {
    return super.commit(this.commits++ % 5 === 3 ? { ...batch, foldUpdates: [] } : batch);
  }
}

describe('parity over folds', () => {
  it('finds no difference, live and on a store rebuilt from the log', { timeout: 120_000 }, async () => {
    const { dir, project, compiled } = await filled('parity-folds');
    const live = await runParity(project, compiled, { comparisons: 20_000 });
    expect(live).toMatchObject({ ok: true, p0: { mismatched: 0 }, left: [{ feature: 'user.told' }], worst: [] });
    const scratch = await openTestProject(join(dir, 'scratch'));
    const replayed = await runParity(project, compiled, { comparisons: 20_000, replay: { online: scratch.online } });
    expect(replayed).toMatchObject({ ok: true, mode: 'replay', p0: { mismatched: 0 }, skipped: { expired: 0, backfilling: 0, moving: 0 } });
    for (const r of [live, replayed])
      for (const id of ['user.balance', 'user.trail', 'pair.tags', 'user.mean']) {
        const f = r.p0.features.find(x => x.feature === id)!;
        expect(f.nonempty, `${r.mode} ${id}`).toBeGreaterThan(300);
      }
    await scratch.close();
    await project.close();
  });

  it('catches a store that loses some, and says that history is right', { timeout: 120_000 }, async () => {
    const { project, compiled } = await filled('parity-folds-lossy', env => new ForgetfulStore(env));
    const r = await runParity(project, compiled, { comparisons: 6_000, features: ['user.balance', 'user.mean', 'user.moves_1h'] });
    expect(r.ok).toBe(false);
    const of = (id: string) => r.p0.features.find(f => f.feature === id)!;
    expect(of('user.balance').mismatch).toBeGreaterThan(of('user.balance').total / 4);
    expect(of('user.moves_1h').mismatch).toBe(0);
    const worst = r.worst.filter(w => w.feature === 'user.balance');
    expect(worst.length).toBeGreaterThan(0);
    for (const w of r.worst) expect(w).toMatchObject({ right: 'offline', frame: null });
    expect(r.worst.find(w => w.feature === 'user.mean')?.inputs).toHaveProperty('balance');
    await project.close();
  });

  it('on the command line: what is left out is named, and asking for it is an error with what to type', { timeout: 120_000 }, async () => {
    const { dir, project } = await filled('parity-folds-cli');
    await project.close();
    const all = await fabra(['parity', '--comparisons', '2000'], { cwd: dir });
    expect(all.code, all.stderr).toBe(0);
    expect(all.stdout).toContain('not compared: user.told: its handler has effects');
    const one = await fabra(['parity', '--features', 'told', '--json'], { cwd: dir });
    expect(one.code).toBe(1);
    expect(one.json()).toMatchObject({ error: { code: 'NOTHING_COMPARED', hint: expect.stringContaining('windows, folds') } });
  });
});
