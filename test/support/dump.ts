/** Everything a project holds, read through its ports and written down canonically: what two runs are compared by. */
import { join } from 'node:path';
import type { AggState } from '../../src/engine/finish.ts';
import { compileGroups, type Group } from '../../src/engine/group.ts';
import { splitKey } from '../../src/lib/text.ts';
import type { OnlineStore } from '../../src/ports/online-store.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import type { TestProject } from './project.ts';

export const plain = (v: unknown): string => JSON.stringify(v, (_, x: unknown) => (typeof x === 'bigint' ? `${x}n` : x));

export interface Dump {
  /** `group | key` -> every unit's state at every instant. */
  values: Map<string, string>;
  counters: Record<string, unknown>;
  dead: string[];
  marks: Record<string, unknown>;
}

export async function allKeys(online: OnlineStore, group: Group): Promise<string[]> {
  const out: string[] = [];
  for (let after: string | null = null; ; ) {
    const page: string[] = await online.keys(group, after, 500);
    out.push(...page);
    if (page.length < 500) return out;
    after = page[page.length - 1]!;
  }
}

export async function dumpValues(online: OnlineStore, groups: Iterable<Group>, instants: readonly number[]): Promise<Map<string, string>> {
  const values = new Map<string, string>();
  for (const group of groups) {
    const units = group.units.map(u => u.index);
    const keys = await allKeys(online, group);
    for (let at = 0; at < keys.length; at += 100) {
      const slice = keys.slice(at, at + 100);
      const { answers } = await online.read(slice.flatMap(key => instants.map(t => ({ group, key, at: t, units }))));
      slice.forEach((key, i) => {
        const mine = answers.slice(i * instants.length, (i + 1) * instants.length).map(a => ({ states: (a.states as AggState[] | null) ?? 'not ready', floor: a.floor }));
        values.set(`${group.id} | ${splitKey(key, group.keyColumns.length).join(' , ')}`, plain(mine));
      });
    }
  }
  return values;
}

export async function dump(project: TestProject, compiled: Compiled, instants: readonly number[]): Promise<Dump> {
  const { online } = project;
  const groups = [...compileGroups(compiled.registry).groups.values()];
  const counters: Record<string, unknown> = {};
  const marks: Record<string, unknown> = {};
  for (const stream of Object.keys(compiled.registry.streams)) {
    counters[stream] = await online.counters(stream);
    marks[stream] = await online.streamMark(stream, 0);
    marks[`history of ${stream}`] = await project.history.mark(stream, 0);
  }
  for (const g of groups) marks[g.id] = await online.groupStatus(g);
  const dead = (await online.deadLetters(0, 1_000_000)).map(({ seq, letter }) => plain({ seq, ...letter, bytes: Buffer.from(letter.bytes).toString('base64') }));
  return { values: await dumpValues(online, groups, instants), counters, dead, marks };
}

/** Names of entries that differ, both ways. */
export function differing(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[] {
  const out: string[] = [];
  for (const [k, v] of a) if (b.get(k) !== v) out.push(k);
  for (const k of b.keys()) if (!a.has(k)) out.push(k);
  return out;
}

export interface HistoryDump {
  /** Rows of the listed files alone, one text each, by offset. */
  rows: string[];
  files: number;
  /** Rows of a view: files and tail. */
  viewRows: string[];
}

/** History as rows: what the listed files hold, and what a view shows. */
export async function dumpHistory(project: TestProject, compiled: Compiled, stream: string): Promise<HistoryDump> {
  const files = await project.history.files(stream);
  const db = await Duck.open({ threads: 1 });
  const view = (await project.history.open(compiled)) as Awaited<ReturnType<TestProject['history']['open']>> & { db: Duck };
  try {
    const list = files.map(f => `'${join(project.dir, '.fabra', 'offline', f.file).replaceAll("'", "''")}'`).join(', ');
    const rows = files.length === 0 ? [] : (await db.rows(`SELECT * FROM read_parquet([${list}], union_by_name = true, hive_partitioning = false) ORDER BY o`)).map(canonical);
    const viewRows = (await view.db.rows(`SELECT * FROM "all:${stream}" ORDER BY o`)).map(canonical);
    return { rows, files: files.length, viewRows };
  } finally {
    db.close();
    await view.close();
  }
}

const canonical = (row: Record<string, unknown>): string =>
  plain(
    Object.fromEntries(
      Object.keys(row)
        .sort()
        .map(k => [k, typeof row[k] === 'bigint' ? Number(row[k]) : row[k]]),
    ),
  );
