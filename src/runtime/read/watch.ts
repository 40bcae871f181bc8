/** What happens to values that are computed at a read: counted by feature, and a failure told to the log. */
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';

export const ON_DEMAND = ['timeout', 'error', 'cache_hit', 'cache_miss'] as const;
export type OnDemandCount = (typeof ON_DEMAND)[number];

/** A feature that fails at every read says so once in this time, with how often. */
const LOG_EVERY_MS = 1_000;

export class Watch {
  /** By feature (or view) id of the registry. */
  readonly counts = new Map<string, Record<OnDemandCount, number>>();
  private readonly said = new Map<string, { at: number; times: number }>();
  private readonly clock: Clock;
  private readonly log: Logger;

  constructor(clock: Clock, log: Logger) {
    this.clock = clock;
    this.log = log;
  }

  count(id: string, what: OnDemandCount): void {
    let counts = this.counts.get(id);
    if (!counts) this.counts.set(id, (counts = { timeout: 0, error: 0, cache_hit: 0, cache_miss: 0 }));
    counts[what]++;
  }

  failed(id: string, message: string): void {
    this.count(id, 'error');
    const now = this.clock.now();
    const said = this.said.get(id);
    if (said && now - said.at < LOG_EVERY_MS) {
      said.times++;
      return;
    }
    this.said.set(id, { at: now, times: 0 });
    this.log.log('warn', { event: 'feature_failed', feature: id, message, ...(said && said.times > 0 && { times_before: said.times }) });
  }
}
