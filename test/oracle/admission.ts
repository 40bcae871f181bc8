import type { DecodedEvent } from '../../src/engine/values.ts';
import type { StreamPlan } from '../../src/registry/types.ts';

/** A decoded event in the log; `rejected` ones are counted and otherwise invisible (their fields may be anything). */
export interface LogEvent extends DecodedEvent {
  rejected?: boolean;
}

/** The verdict before types and duplicates are looked at. */
export type Admission = 'rejected' | 'quarantined' | 'late' | 'onTime';

const AHEAD_OF_APPEND = 5 * 60_000;
const RUN = 100;

/** One partition's rules 1 to 3, event by event in offset order. */
class Partition {
  private readonly stream: StreamPlan;
  private max: number | null = null;
  /** Times of the consecutive events quarantined for being ahead of the max. */
  private ahead: number[] = [];
  /** While the first event alone has set the max: times of the events far behind it. Null once settled. */
  private behind: number[] | null = null;

  constructor(stream: StreamPlan) {
    this.stream = stream;
  }

  judge(event: LogEvent): Admission {
    if (event.rejected) return 'rejected';
    if (event.ts > event.appended + AHEAD_OF_APPEND) {
      this.ahead = [];
      return 'quarantined';
    }
    if (this.isAhead(event.ts)) {
      this.countAhead(event.ts);
      return 'quarantined';
    }
    this.ahead = [];
    const late = this.max !== null && event.ts < this.max - this.stream.lateness;
    this.move(event.ts, late);
    return late ? 'late' : 'onTime';
  }

  private isAhead(ts: number): boolean {
    return this.stream.maxAhead !== null && this.max !== null && ts > this.max + this.stream.maxAhead;
  }

  private countAhead(ts: number): void {
    this.ahead.push(ts);
    if (this.ahead.length < RUN) return;
    this.max = greatest(this.ahead);
    this.ahead = [];
    this.behind = null; // no longer the max that the first event alone set
  }

  private move(ts: number, late: boolean): void {
    if (this.max === null) {
      this.max = ts;
      this.behind = this.stream.maxAhead === null ? null : [];
      return;
    }
    if (this.behind !== null && this.stream.maxAhead !== null) {
      const farBehind = late && ts < this.max - this.stream.maxAhead;
      if (!farBehind) this.behind = null;
      else {
        this.behind.push(ts);
        if (this.behind.length === RUN) {
          this.max = greatest(this.behind);
          this.behind = null;
          return;
        }
      }
    }
    if (ts > this.max) this.max = ts;
  }
}

function greatest(times: number[]): number {
  return times.reduce((a, b) => Math.max(a, b));
}

/** Every event of a stream with its admission, in (partition, offset) order. */
export function admit(stream: StreamPlan, events: LogEvent[]): { event: LogEvent; admission: Admission }[] {
  const inOrder = [...events].sort((a, b) => a.p - b.p || a.o - b.o);
  const partitions = new Map<number, Partition>();
  return inOrder.map(event => {
    const partition = partitions.get(event.p) ?? new Partition(stream);
    partitions.set(event.p, partition);
    return { event, admission: partition.judge(event) };
  });
}
