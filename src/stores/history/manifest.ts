/** Which files are history: a list in the embedded store, moved in one transaction with the history's mark. */
import { newAdmitState } from '../../engine/admit.ts';
import { FabraError } from '../../lib/errors.ts';
import { sha256 } from '../../lib/hash.ts';
import type { HistoryFile } from '../../ports/offline-store.ts';
import type { Lease, Mark } from '../../ports/online-store.ts';
import type { StreamPlan } from '../../registry/types.ts';
import type { Embedded } from '../embedded/env.ts';
import { holds } from '../embedded/lease.ts';

/** Replaced files stay this long, so that a reader with an older list never misses one. */
export const GRACE_MS = 10 * 60_000;

export const rulesOf = (plan: StreamPlan): string => sha256(`${plan.decode}|${plan.lateness}|${plan.maxAhead}`).slice(0, 16);

export class Manifest {
  private readonly env: Embedded;

  constructor(env: Embedded) {
    this.env = env;
  }

  mark(stream: string, partition: number): Mark {
    return (this.env.meta.get(`hm:${stream}:${partition}`) as Mark | undefined) ?? { next: 0, admit: newAdmitState() };
  }

  /** By partition and offset. One snapshot with `mark` when called in the same turn. */
  files(stream?: string): HistoryFile[] {
    const prefix = stream === undefined ? 'hf:' : `hf:${stream}:`;
    const out: HistoryFile[] = [];
    for (const { value } of this.env.meta.getRange({ start: prefix, end: `${prefix}\uffff` })) out.push(value as HistoryFile);
    return out.sort((a, b) => a.partition - b.partition || a.from - b.from || (a.file < b.file ? -1 : 1));
  }

  /** Adds and removes files and moves the mark, all or nothing; removed ones are deleted later. */
  swap(change: { add: readonly HistoryFile[]; remove: readonly HistoryFile[]; mark?: { stream: string; partition: number; mark: Mark }; now: number }, lease: Lease): void {
    this.env.write(() => {
      if (!holds(this.env, lease)) throw new FabraError('FENCED', 'another worker took over this project', { hint: 'This one stops here; nothing was written twice.' });
      for (const f of change.remove) {
        this.env.meta.removeSync(name(f));
        this.env.meta.put(`hg:${f.file}`, change.now + GRACE_MS);
      }
      for (const f of change.add) {
        this.env.meta.put(name(f), f);
        this.env.meta.removeSync(`hg:${f.file}`);
      }
      if (change.mark) this.env.meta.put(`hm:${change.mark.stream}:${change.mark.partition}`, change.mark.mark);
    });
  }

  /** Files whose grace is over. */
  expired(now: number): string[] {
    return [...this.env.meta.getRange({ start: 'hg:', end: 'hg:\uffff' })].filter(e => (e.value as number) <= now).map(e => e.key.slice(3));
  }

  buried(): string[] {
    return [...this.env.meta.getKeys({ start: 'hg:', end: 'hg:\uffff' })].map(k => k.slice(3));
  }

  forget(files: readonly string[]): void {
    this.env.write(() => {
      for (const f of files) this.env.meta.removeSync(`hg:${f}`);
    });
  }
}

const name = (f: HistoryFile): string => `hf:${f.stream}:${f.partition}:${String(f.from).padStart(15, '0')}:${f.file}`;
