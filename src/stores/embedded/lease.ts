/** The writer lock: who may move state. Taken in a transaction, checked inside every commit, so a frozen owner that wakes is FENCED. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { FabraError } from '../../lib/errors.ts';
import type { Lease } from '../../ports/online-store.ts';
import type { Embedded } from './env.ts';

export interface Held {
  epoch: number;
  owner: string | null;
  pid: number;
  /** Start time of the process: the pid alone may have been given to another since. */
  born: string;
}

export function takeLease(env: Embedded): Lease {
  const owner = randomUUID();
  const epoch = env.write(() => {
    const held = env.meta.get('lease') as Held | undefined;
    if (held?.owner && held.pid === process.pid && alive(held))
      throw new FabraError('WRITER_BUSY', "another worker of this process is writing this project's state", {
        hint: 'Run one worker per project, or stop the other first: await worker.stop().',
        retry: true,
      });
    if (held?.owner && alive(held))
      throw new FabraError('WRITER_BUSY', `another process (pid ${held.pid}) is writing this project's state`, {
        hint: `Stop it first (kill ${held.pid}), or wait for its end: fabra worker --standby. Readers, serve and replay may run beside it.`,
        retry: true,
      });
    const next = (held?.epoch ?? 0) + 1;
    env.meta.put('lease', { epoch: next, owner, ...thisProcess() } satisfies Held);
    return next;
  });
  return {
    epoch,
    release: async () => {
      env.write(() => {
        const held = env.meta.get('lease') as Held | undefined;
        if (held?.owner === owner) env.meta.put('lease', { ...held, owner: null });
      });
    },
  };
}

/** Inside a write transaction: whether this lease is still the newest. */
export const holds = (env: Embedded, lease: Lease): boolean => (env.meta.get('lease') as Held | undefined)?.epoch === lease.epoch;

/** The pid that holds the lease, if any is alive. */
export function leaseHolder(env: Embedded): number | null {
  const held = env.meta.get('lease') as Held | undefined;
  return held?.owner && alive(held) ? held.pid : null;
}

/** Whether the process that took it still runs. */
export function alive(held: Held): boolean {
  try {
    process.kill(held.pid, 0);
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === 'EPERM';
  }
  const born = bornAt(held.pid);
  return born === '' || held.born === '' || born === held.born;
}

export const thisProcess = (): Pick<Held, 'pid' | 'born'> => ({ pid: process.pid, born: bornAt(process.pid) });

/** Field 22 of /proc/PID/stat; empty where there is no /proc (the pid alone decides then). A zombie counts as gone. */
function bornAt(pid: number): string {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return fields[0] === 'Z' ? 'gone' : fields[19]!;
  } catch {
    return '';
  }
}
