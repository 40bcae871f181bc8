/** Changing definitions on a project that has state (CASES.md S45, S58, P74-P78): nothing mixes, nothing goes unasked. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { applyRegistry, planApply } from '../../src/runtime/apply.ts';
import { FeatureReader } from '../../src/runtime/reader.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { renderPlan } from '../../src/registry/diff.ts';
import { cleanUp, compileAt, newDir, openTestProject, type TestProject } from '../support/project.ts';

afterAll(cleanUp);

const source = (views: string, extra = '', user = "{ key: 'user_id' }") => `
import { count, entity, feature, stream, sum, decimal } from 'fabra';
import { z } from 'zod';
const user = entity('user', ${user});
const clicks = stream('clicks', { id: 'id', time: 'ts', type: 'type' });
const view = clicks.event('view', z.object({ user_id: z.string(), cost: decimal(2).nonnegative().optional() }));
export const views = feature(user, 'views', ${views});
${extra}
`;
const T0 = Date.UTC(2025, 0, 15, 12);
const line = (id: string, s: number, more: object = {}) => ({
  bytes: Buffer.from(JSON.stringify({ id, ts: new Date(T0 + s * 1000).toISOString(), type: 'view', user_id: 'u1', cost: 1.5, ...more })),
});

async function start(text: string): Promise<{ dir: string; project: TestProject }> {
  const dir = newDir('apply');
  writeFileSync(join(dir, 'features.ts'), text);
  const project = await openTestProject(dir);
  await applyRegistry(project, await compileAt(dir), { newVersion: false, consent: false });
  return { dir, project };
}
const work = async (project: TestProject, dir: string) => runWorker(project, await compileAt(dir), { untilIdle: true, signal: new AbortController().signal });
async function get(project: TestProject, dir: string, feature: string, at: number) {
  const { registry, code } = await compileAt(dir);
  return (await new FeatureReader(project, registry, code).read({ features: [feature], rows: [{ user_id: 'u1' }], at })).cells[0]![0]!;
}

/** Edits features.ts and applies it as a new version. */
async function edit(project: TestProject, dir: string, from: string, to: string): Promise<void> {
  writeFileSync(join(dir, 'features.ts'), readFileSync(join(dir, 'features.ts'), 'utf8').replace(from, to));
  await applyRegistry(project, await compileAt(dir), { newVersion: true, consent: false });
}
async function offline(project: TestProject, dir: string, at: number): Promise<unknown> {
  const compiled = await compileAt(dir);
  const view = await project.history.open(compiled);
  const features = Object.values(compiled.registry.features).filter(f => f.kind === 'window');
  const cells = await view.ask(features, { at: [at], keys: { user: [['u1']] } }, true);
  await view.close();
  return cells[0]![0]!.value;
}

describe('apply', () => {
  it('S45: a malformed event between two good ones costs only itself', async () => {
    const { dir, project } = await start(source("count(view).over('5m')"));
    await project.bus.append('clicks', [line('a', 0), { bytes: Buffer.from('{"id":"b","ts":') }, line('c', 1)], T0);
    expect(await work(project, dir)).toMatchObject({ read: 3, applied: 2, rejected: 1 });
    expect((await get(project, dir, 'user.views', T0 + 2000)).value).toBe(2);
    const [dead] = await project.online.deadLetters(0, 10);
    expect(dead!.letter).toMatchObject({ stream: 'clicks', offset: 1, reason: expect.stringContaining('not JSON') });
    expect(Buffer.from(dead!.letter.bytes).toString()).toBe('{"id":"b","ts":');
    expect((await project.online.streamMark('clicks', 0)).next).toBe(3);
    await project.close();
  });

  it('P75, P76: nothing to do is "No changes"; a ttl shows that one field and is not breaking', async () => {
    const { dir, project } = await start(source("count(view).over('5m')", '', "{ key: 'user_id', ttl: '3h' }"));
    const same = await planApply(project, await compileAt(dir));
    expect(renderPlan(same.diff).join('\n')).toContain('No changes');
    expect(await applyRegistry(project, await compileAt(dir), { newVersion: false, consent: false })).toMatchObject({ changed: false, revision: 1 });
    writeFileSync(join(dir, 'features.ts'), source("count(view).over('5m')", '', "{ key: 'user_id', ttl: '5h' }"));
    const { diff } = await planApply(project, await compileAt(dir));
    expect(diff.breaking).toBe(false);
    expect(diff.changes).toEqual([expect.objectContaining({ op: 'change', kind: 'entity', name: 'user', fields: [{ field: 'ttl', from: 10_800_000, to: 18_000_000 }] })]);
    await project.close();
  });

  it('S58: an edited meaning is breaking, needs --new-version, and never mixes old and new state', async () => {
    const { dir, project } = await start(source("count(view).over('5m')"));
    await project.bus.append('clicks', [line('a', 0), line('b', 400), line('c', 410)], T0 + 3_600_000);
    await work(project, dir);
    expect((await get(project, dir, 'user.views', T0 + 411_000)).value).toBe(2);
    writeFileSync(join(dir, 'features.ts'), source("count(view).over('1h')"));
    const compiled = await compileAt(dir);
    expect((await planApply(project, compiled)).diff.breaking).toBe(true);
    await expect(applyRegistry(project, compiled, { newVersion: false, consent: false })).rejects.toMatchObject({ code: 'BREAKING_CHANGE', exitCode: 2 });
    await expect(work(project, dir)).rejects.toMatchObject({ code: 'NOT_APPLIED' });
    await applyRegistry(project, compiled, { newVersion: true, consent: false });
    expect((await project.catalog.applied())!.registry.features['user.views']!.version).toBe(2);
    expect(await get(project, dir, 'user.views', T0 + 411_000)).toMatchObject({ status: 'DEFAULTED', reason: 'backfilling', value: null });
    expect(await work(project, dir)).toMatchObject({ read: 0 });
    expect((await get(project, dir, 'user.views', T0 + 411_000)).value).toBe(3);
    await project.close();
  });

  it('a feature added later is backfilled from the whole log, trimmed parts from history', async () => {
    const { dir, project } = await start(source("count(view).over('1h')"));
    for (let i = 0; i < 30; i++)
      await project.bus.append(
        'clicks',
        Array.from({ length: 1_000 }, (_, k) => line(`e${i}-${k}`, i)),
        T0,
      );
    await work(project, dir);
    expect((await project.bus.bounds('clicks')).start).toBeGreaterThan(10_000);
    writeFileSync(join(dir, 'features.ts'), source("count(view).over('1h')", "export const spend = feature(user, 'spend', sum(view, 'cost').lifetime());"));
    await applyRegistry(project, await compileAt(dir), { newVersion: false, consent: false });
    expect((await get(project, dir, 'user.spend', T0 + 60_000)).reason).toBe('backfilling');
    await work(project, dir);
    expect(await get(project, dir, 'user.spend', T0 + 60_000)).toMatchObject({ value: 45_000, status: 'PRESENT' });
    expect((await get(project, dir, 'user.views', T0 + 60_000)).value).toBe(30_000);
    await project.close();
  });

  it('a changed schema is breaking and redoes history by the new rules', async () => {
    const { dir, project } = await start(source("sum(view, 'cost').over('1h')"));
    await project.bus.append('clicks', [line('a', 0, { cost: 1.26 }), line('b', 1)], T0);
    await work(project, dir);
    const text = readFileSync(join(dir, 'features.ts'), 'utf8').replace('decimal(2)', 'decimal(1)');
    writeFileSync(join(dir, 'features.ts'), text);
    const compiled = await compileAt(dir);
    expect((await planApply(project, compiled)).diff.breaking).toBe(true);
    await applyRegistry(project, compiled, { newVersion: true, consent: false });
    const early = await project.history.open(compiled);
    const feature = Object.values(compiled.registry.features).filter(f => f.kind === 'window');
    const ask = async (v: typeof early) => (await v.ask(feature, { at: [T0 + 5000], keys: { user: [['u1']] } }, true))[0]![0]!.value;
    expect(await ask(early)).toBe(2.8);
    await early.close();
    await work(project, dir);
    expect(await project.history.stale(compiled.registry.streams.clicks!)).toBe(false);
    expect((await get(project, dir, 'user.views', T0 + 5000)).value).toBe(2.8);
    const late = await project.history.open(compiled);
    expect(await ask(late)).toBe(2.8);
    await late.close();
    await project.close();
  });

  it('a changed rule of the schema (a range) is computed anew, on both sides', async () => {
    const { dir, project } = await start(source("sum(view, 'cost').over('1h')"));
    await project.bus.append('clicks', [line('a', 0, { cost: 60 }), line('b', 1), line('c', 2, { cost: 3 })], T0);
    await work(project, dir);
    expect((await get(project, dir, 'user.views', T0 + 5000)).value).toBe(64.5);
    await edit(project, dir, 'nonnegative()', 'nonnegative().max(50)');
    await work(project, dir);
    expect((await get(project, dir, 'user.views', T0 + 5000)).value).toBe(4.5);
    expect(await offline(project, dir, T0 + 5000)).toBe(4.5);
    await project.close();
  });

  it('an event rejected by older rules stays out of state and history alike', async () => {
    const { dir, project } = await start(source("count(view).over('1h')"));
    await project.bus.append('clicks', [line('a', 0), line('b', 1, { cost: -1 }), line('c', 2)], T0);
    expect(await work(project, dir)).toMatchObject({ applied: 2, rejected: 1 });
    await edit(project, dir, '.nonnegative()', '');
    await work(project, dir);
    expect((await get(project, dir, 'user.views', T0 + 5000)).value).toBe(2);
    expect(await offline(project, dir, T0 + 5000)).toBe(2);
    await project.close();
  });

  it('one feature behind the retention is its own cell; a read of nothing else is refused', async () => {
    const { dir, project } = await start(source("count(view).over('1h')", "export const day = feature(user, 'day', count(view).over('1d'));"));
    const days = Array.from({ length: 4 * 24 }, (_, h) => line(`h${h}`, h * 3600));
    await project.bus.append('clicks', days, T0 + 5 * 86_400_000);
    await work(project, dir);
    const { registry, code } = await compileAt(dir);
    const reader = new FeatureReader(project, registry, code);
    const read = (features: string[], hour: number) => reader.read({ features, rows: [{ user_id: 'u1' }], at: T0 + hour * 3_600_000 });
    // The newest event is 95 h in; a day, 10 minutes and an hour are kept.
    expect((await read(['user.views', 'user.day'], 90)).cells[0]).toEqual([
      { value: 1, status: 'PRESENT', ts: T0 + 89 * 3_600_000 },
      { value: null, status: 'ERROR', ts: null, reason: 'AS_OF_EXPIRED' },
    ]);
    await expect(read(['user.day'], 90)).rejects.toMatchObject({ code: 'AS_OF_EXPIRED', exitCode: 2 });
    await expect(read(['user.views', 'user.day'], 60)).rejects.toMatchObject({ code: 'AS_OF_EXPIRED' });
    await project.close();
  });

  it('P77: a removed feature shows as a delete and needs consent', async () => {
    const { dir, project } = await start(source("count(view).over('5m')", "export const spend = feature(user, 'spend', sum(view, 'cost').over('1h'));"));
    writeFileSync(join(dir, 'features.ts'), source("count(view).over('5m')"));
    const compiled = await compileAt(dir);
    expect((await planApply(project, compiled)).diff.changes).toEqual([expect.objectContaining({ op: 'remove', kind: 'feature', name: 'user.spend' })]);
    await expect(applyRegistry(project, compiled, { newVersion: false, consent: false })).rejects.toMatchObject({ code: 'CONSENT_NEEDED' });
    expect(await applyRegistry(project, compiled, { newVersion: false, consent: true })).toMatchObject({ changed: true, revision: 2 });
    await project.close();
  });

  it('a removal beside a breaking change: the hint names both flags, whichever was given', async () => {
    const { dir, project } = await start(source("count(view).over('5m')", "export const spend = feature(user, 'spend', sum(view, 'cost').over('1h'));"));
    writeFileSync(join(dir, 'features.ts'), source("count(view).over('10m')"));
    const compiled = await compileAt(dir);
    const both = { hint: expect.stringContaining('fabra apply --new-version --yes') };
    await expect(applyRegistry(project, compiled, { newVersion: false, consent: true })).rejects.toMatchObject({ code: 'BREAKING_CHANGE', ...both });
    await expect(applyRegistry(project, compiled, { newVersion: true, consent: false })).rejects.toMatchObject({ code: 'CONSENT_NEEDED', ...both });
    expect(await applyRegistry(project, compiled, { newVersion: true, consent: true })).toMatchObject({ changed: true });
    await project.close();
  });
});
