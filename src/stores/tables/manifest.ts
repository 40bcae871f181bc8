/** Runs of views and the files with their rows: lists in the embedded store, moved in one transaction after the files are synced. */
import type { ViewRun } from '../../ports/table-store.ts';
import type { Embedded } from '../embedded/env.ts';

/** A file with rows of a table. */
export interface TableFile {
  /** Relative to the offline folder. */
  file: string;
  /** Time of all its rows, where the view has no time column: an unchanged result is listed again under another. */
  at: number | null;
  /** What a run found, or what came from outside. */
  from: 'run' | 'given';
  rows: number;
}

/** A run with where its rows are. */
export interface KeptRun extends ViewRun {
  files: { file: string; at: number | null; rows: number }[];
}

export interface Interval {
  from: number | null;
  to: number;
}

export interface RunCounts {
  ok: number;
  failed: number;
}

/** Runs of a view that are remembered one by one. */
const RUNS_KEPT = 500;

const END = '\uffff';
const number = (n: number): string => String(n).padStart(12, '0');
const runKey = (view: string, id: number): string => `vr:${view}:${number(id)}`;
const coveredKey = (view: string, hash: string): string => `vi:${view}:${hash}`;
const filePrefix = (table: string, hash: string): string => `vf:${table}:${hash}:`;

export class TableManifest {
  private readonly env: Embedded;

  constructor(env: Embedded) {
    this.env = env;
  }

  /** Newest first. */
  runs(view: string, limit = Number.POSITIVE_INFINITY): KeptRun[] {
    const out: KeptRun[] = [];
    for (const { value } of this.env.meta.getRange({ start: `vr:${view}:${END}`, end: `vr:${view}:`, reverse: true })) {
      if (out.length >= limit) break;
      out.push(value as KeptRun);
    }
    return out;
  }

  files(table: string, hash: string): TableFile[] {
    const prefix = filePrefix(table, hash);
    return [...this.env.meta.getRange({ start: prefix, end: prefix + END })].map(e => e.value as TableFile);
  }

  /** Event time covered by runs that are online, also by those forgotten since. */
  covered(view: string, hash: string): Interval[] {
    const old = (this.env.meta.get(coveredKey(view, hash)) as Interval[] | undefined) ?? [];
    return joined([...old, ...this.runs(view).filter(r => r.hash === hash && r.status === 'online')]);
  }

  counts(view: string): RunCounts {
    return (this.env.meta.get(`vc:${view}`) as RunCounts | undefined) ?? { ok: 0, failed: 0 };
  }

  /** Inside a write transaction. */
  count(view: string, what: keyof RunCounts): void {
    const counts = this.counts(view);
    this.env.meta.putSync(`vc:${view}`, { ...counts, [what]: counts[what] + 1 });
  }

  /** Inside a write transaction: a run under the next number, with its files. */
  addRun(run: Omit<KeptRun, 'id'>): KeptRun {
    const id = (this.runs(run.view, 1)[0]?.id ?? 0) + 1;
    const kept = { ...run, id };
    this.env.meta.putSync(runKey(run.view, id), kept);
    for (const f of run.files) this.addFile(run.view, run.hash, { ...f, from: 'run' });
    this.forget(run.view, run.hash, id - RUNS_KEPT);
    return kept;
  }

  /** Runs up to this number go, but for what they covered; rows are listed by themselves. */
  private forget(view: string, hash: string, upTo: number): void {
    if (upTo < 1) return;
    const old = [...this.env.meta.getRange({ start: `vr:${view}:`, end: runKey(view, upTo + 1) })].filter(e => (e.value as KeptRun).status !== 'recorded');
    if (old.length === 0) return;
    this.env.meta.putSync(coveredKey(view, hash), this.covered(view, hash));
    for (const { key } of old) this.env.meta.removeSync(key);
  }

  /** Inside a write transaction. */
  addFile(table: string, hash: string, file: TableFile): void {
    this.env.meta.putSync(`${filePrefix(table, hash)}${file.file}:${file.at ?? ''}`, file);
  }

  /** Inside a write transaction: the file is deleted by the history's compaction once nobody can be reading it. */
  removeFile(table: string, hash: string, file: TableFile, deleteAt: number): void {
    this.env.meta.removeSync(`${filePrefix(table, hash)}${file.file}:${file.at ?? ''}`);
    this.env.meta.putSync(`hg:${file.file}`, deleteAt);
  }

  /** Inside a write transaction: forgets runs and files of all other tables. */
  keepOnly(tables: readonly { id: string; hash: string }[], deleteAt: number): void {
    const kept = new Set(tables.map(t => filePrefix(t.id, t.hash)));
    for (const { key, value } of [...this.env.meta.getRange({ start: 'vf:', end: `vf:${END}` })]) {
      const file = value as TableFile;
      const prefix = key.slice(0, key.length - `${file.file}:${file.at ?? ''}`.length);
      if (kept.has(prefix)) continue;
      this.env.meta.removeSync(key);
      this.env.meta.putSync(`hg:${file.file}`, deleteAt);
    }
    for (const { key, value } of [...this.env.meta.getRange({ start: 'vr:', end: `vr:${END}` })]) {
      const run = value as KeptRun;
      if (kept.has(filePrefix(run.view, run.hash))) continue;
      this.env.meta.removeSync(key);
      this.env.meta.removeSync(coveredKey(run.view, run.hash));
    }
  }

  /** Inside a write transaction: changes a run that is there. */
  change(view: string, id: number, change: Partial<KeptRun>): void {
    const run = this.env.meta.get(runKey(view, id)) as KeptRun | undefined;
    if (run) this.env.meta.putSync(runKey(view, id), { ...run, ...change });
  }
}

/** Event time covered by runs, joined where they meet. */
function joined(runs: readonly Interval[]): Interval[] {
  const low = (r: { from: number | null }): number => r.from ?? Number.NEGATIVE_INFINITY;
  const out: Interval[] = [];
  for (const { from, to } of [...runs].sort((a, b) => low(a) - low(b) || a.to - b.to)) {
    const last = out[out.length - 1];
    if (last && low({ from }) <= last.to) last.to = Math.max(last.to, to);
    else out.push({ from, to });
  }
  return out;
}
