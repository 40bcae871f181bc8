/**
 * What tests run in processes of their own, to kill, stop and crowd them: `node child.mjs '{"role": …}'`. Each prints JSON
 * lines; an error is the last line, and the exit code is the error's.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { compileGroups } from '../../src/engine/group.ts';
import type { TableUnit } from '../../src/engine/units.ts';
import { toFabraError } from '../../src/lib/errors.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { Publisher } from '../../src/runtime/publish.ts';
import { rowBy } from '../conformance/units.ts';
import { DequeuedFirstStore, DyingTurnsStore, MarksFirstStore, PausingStore, RecordedFirstStore, RowsFirstStore, SelfKillingStore } from './stores.ts';
import { APPENDED, appendAll, compileAt, openTestProject, SHOP_STREAM, sampleRecords, type TestProject } from './project.ts';

export type Job = { dir: string } & (
  | {
      role: 'worker';
      batchSize?: number;
      historyRows?: number;
      /** Which store moves state and mark; `self-killing` dies inside the transaction, between rows and mark. */
      store?: keyof typeof stores;
      /** Chance of dying (or, pausing, of resting `restMs`) at each commit. */
      chance?: number;
      restMs?: number;
      forever?: boolean;
      standby?: boolean;
    }
  | { role: 'append'; events: number; seed: number; slice: number; restMs?: number }
  /** One event of this type after the other; `say` names each that is on disk. */
  | { role: 'publish'; type: string; ids: string[]; payload: object }
  | { role: 'append-numbers'; stream: string; who: string; count: number }
  /** Rows of one key, one a commit, their times in no order. */
  | { role: 'put-rows'; table: TableUnit; who: number; count: number }
  | { role: 'get'; instants: number[]; keys: number }
  | { role: 'reader'; forMs: number; at: number }
  | { role: 'view'; forMs: number }
  /** `dieUnlisted`: dies when a joined file is on disk and the manifest does not know it yet. */
  | { role: 'compactor'; forMs: number; dieUnlisted?: boolean }
  | { role: 'lease' }
);

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

const stores = {
  real: undefined,
  'self-killing': SelfKillingStore,
  'rows-first': RowsFirstStore,
  'marks-first': MarksFirstStore,
  pausing: PausingStore,
  'dying-turns': DyingTurnsStore,
  'recorded-first': RecordedFirstStore,
  'dequeued-first': DequeuedFirstStore,
};

async function main(job: Job): Promise<void> {
  const chosen = job.role === 'worker' ? stores[job.store ?? 'real'] : undefined;
  const chance = job.role === 'worker' ? (job.chance ?? 0) : 0;
  const rest = job.role === 'worker' ? (job.restMs ?? 0) : 0;
  const readOnly = job.role === 'get' || job.role === 'reader' || job.role === 'view';
  const project = await openTestProject(job.dir, chosen && (env => new chosen(env, chance, rest)), readOnly);
  switch (job.role) {
    case 'worker': {
      const compiled = await compileAt(job.dir);
      const stop = new AbortController();
      process.on('SIGTERM', () => stop.abort());
      say({ started: true });
      const summary = await runWorker(project, compiled, {
        untilIdle: !job.forever,
        batchSize: job.batchSize,
        historyRows: job.historyRows,
        signal: stop.signal,
        standby: job.standby,
        onStandby: () => say({ standby: true }),
      });
      say({ done: true, summary });
      break;
    }
    case 'append': {
      const records = sampleRecords(job.events, job.seed);
      // From where the log ends: a run that failed half way is simply started again.
      for (let at = (await project.bus.bounds(SHOP_STREAM)).end; at < records.length; at += job.slice) {
        await appendAll(project, SHOP_STREAM, records.slice(at, at + job.slice));
        if (job.restMs) await sleep(job.restMs);
      }
      say({ done: true, appended: records.length });
      break;
    }
    case 'publish': {
      const publisher = new Publisher(project, await compileAt(job.dir));
      await Promise.all(
        job.ids.map(async event_id => {
          const [result] = await publisher.publish([{ type: job.type, event: { event_id, payload: job.payload } }]);
          if (!result!.ok) throw result!.error;
        }),
      );
      say({ done: true, published: job.ids.length });
      break;
    }
    case 'put-rows':
      for (let i = 0; i < job.count; i++) await project.online.putRows([{ table: job.table, key: 'u', row: rowBy(job.who, i) }], { record: true });
      break;
    case 'append-numbers': {
      for (let i = 0; i < job.count; i++) {
        const { first } = await project.bus.append(job.stream, [{ bytes: Buffer.from(JSON.stringify({ who: job.who, i })) }], APPENDED);
        if (i === 0) say({ first });
      }
      say({ done: true });
      break;
    }
    case 'get': {
      const compiled = await compileAt(job.dir);
      let read = 0;
      for (const group of compileGroups(compiled.registry).groups.values()) {
        const keys = await project.online.keys(group, null, job.keys);
        const units = group.units.map(u => u.index);
        await project.online.read(keys.flatMap(key => job.instants.map(at => ({ group, key, at, units }))));
        read += keys.length;
      }
      say({ done: true, read });
      break;
    }
    case 'reader':
      await readLoop(project, job.dir, job.forMs, job.at);
      break;
    case 'view':
      await viewLoop(project, job.dir, job.forMs);
      break;
    case 'compactor': {
      const lease = await project.online.lease();
      if (job.dieUnlisted) project.env.write = () => process.kill(process.pid, 'SIGKILL') as never;
      say({ started: true });
      for (const end = Date.now() + job.forMs; Date.now() < end; ) {
        const gone = await project.history.compact(lease, Date.now());
        say({ compacted: gone });
        if (gone === 0) break;
      }
      await lease.release();
      say({ done: true });
      break;
    }
    case 'lease': {
      const lease = await project.online.lease();
      say({ epoch: lease.epoch });
      await lease.release();
      break;
    }
  }
  await project.close();
}

/** Totals over all keys of a group at one instant behind all data: they may only grow. */
async function readLoop(project: TestProject, dir: string, forMs: number, at: number): Promise<void> {
  const compiled = await compileAt(dir);
  const groups = [...compileGroups(compiled.registry).groups.values()];
  let loops = 0;
  let backwards = 0;
  let torn = 0;
  const before = new Map<string, number>();
  say({ started: true });
  for (const end = Date.now() + forMs; Date.now() < end; loops++) {
    for (const group of groups) {
      const counts = group.units.filter(u => u.slot.op === 'count').map(u => u.index);
      const keys = await project.online.keys(group, null, 200);
      const items = keys.map(key => ({ group, key, at, units: counts }));
      // The same items twice in one read: one snapshot must answer both alike.
      const { answers } = await project.online.read([...items, ...items]);
      keys.forEach((key, i) => {
        const n = answers[i]!.states!.reduce((sum, s) => sum + s.n, 0);
        if (JSON.stringify(answers[i]!.states) !== JSON.stringify(answers[i + keys.length]!.states)) torn++;
        const id = `${group.id}|${key}`;
        if (n < (before.get(id) ?? 0)) backwards++;
        before.set(id, n);
      });
    }
    await sleep(1);
  }
  say({ done: true, loops, backwards, torn, keys: before.size, total: [...before.values()].reduce((a, b) => a + b, 0) });
}

/** Opens view after view: no offset twice, none missing but rejected ones, never fewer rows than before. */
async function viewLoop(project: TestProject, dir: string, forMs: number): Promise<void> {
  const compiled = await compileAt(dir);
  let loops = 0;
  let last = 0;
  const problems: unknown[] = [];
  say({ started: true });
  for (const end = Date.now() + forMs; Date.now() < end; loops++) {
    const view = (await project.history.open(compiled)) as Awaited<ReturnType<TestProject['history']['open']>> & { db: { rows(sql: string): Promise<Record<string, unknown>[]> } };
    const [r] = await view.db.rows(
      `SELECT count(*) AS n, count(DISTINCT o) AS d, coalesce(min(o), 0) AS lo, coalesce(max(o), -1) AS hi, count(*) FILTER (adm = 0) AS ok FROM "all:${SHOP_STREAM}"`,
    );
    await view.close();
    const [n, d] = [Number(r!.n), Number(r!.d)];
    if (n !== d || n < last) problems.push({ n, d, last, lo: Number(r!.lo), hi: Number(r!.hi) });
    last = Math.max(last, n);
    say({ rows: n, hi: Number(r!.hi) });
  }
  say({ done: true, loops, last, problems });
}

function fail(e: unknown, how: string): void {
  const error = toFabraError(e);
  process.stderr.write(`${how}: ${e instanceof Error ? e.stack : String(e)}\n`);
  process.stdout.write(`${JSON.stringify({ error: error.toJSON().error, how })}\n`, () => process.exit(error.exitCode));
}

process.on('unhandledRejection', e => fail(e, 'unhandled rejection'));
process.on('uncaughtException', e => fail(e, 'uncaught exception'));
main(JSON.parse(process.argv[2]!) as Job).then(
  () => process.exit(0),
  (e: unknown) => fail(e, 'thrown'),
);
