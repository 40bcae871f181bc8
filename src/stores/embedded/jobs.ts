/** Locks of jobs (a view's materialization): one process at a time, free again when its time is over or the process is gone. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../lib/clock.ts';
import { FabraError } from '../../lib/errors.ts';
import type { JobLease } from '../../ports/online-store.ts';
import type { Embedded } from './env.ts';
import { alive, type Held, thisProcess } from './lease.ts';

interface HeldJob extends Held {
  /** Epoch ms. */
  until: number;
}

const nameOf = (name: string): string => `job:${name}`;
const heldJob = (env: Embedded, name: string): HeldJob | undefined => env.meta.get(nameOf(name)) as HeldJob | undefined;

export function takeJob(env: Embedded, clock: Pick<Clock, 'now'>, name: string, ttlMs: number): JobLease {
  const owner = randomUUID();
  const epoch = env.write(() => {
    const held = heldJob(env, name);
    if (held?.owner && held.until > clock.now() && alive(held))
      throw new FabraError('JOB_BUSY', `another process (pid ${held.pid}) is running ${name}`, { hint: 'Wait for it to end, then run this again.', retry: true });
    const next = (held?.epoch ?? 0) + 1;
    env.meta.putSync(nameOf(name), { epoch: next, owner, ...thisProcess(), until: clock.now() + ttlMs } satisfies HeldJob);
    return next;
  });
  const change = (to: (held: HeldJob) => Partial<HeldJob>): boolean =>
    env.write(() => {
      const held = heldJob(env, name);
      if (held?.owner !== owner) return false;
      env.meta.putSync(nameOf(name), { ...held, ...to(held) });
      return true;
    });
  return {
    name,
    epoch,
    renew: async () => {
      if (!change(() => ({ until: clock.now() + ttlMs }))) throw lostJob(name);
    },
    release: async () => void change(() => ({ owner: null })),
  };
}

/** Inside a write transaction. @throws FabraError FENCED when another process has the job by now. */
export function requireJob(env: Embedded, job: Pick<JobLease, 'name' | 'epoch'>): void {
  const held = heldJob(env, job.name);
  if (held?.epoch !== job.epoch || held.owner === null) throw lostJob(job.name);
}

const lostJob = (name: string): FabraError => new FabraError('FENCED', `another process took over ${name}`, { hint: 'This one stops here; nothing of it was half written.' });
