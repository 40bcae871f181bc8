/** Group commit: concurrent requests share one append and one flush. */
import type { EventBus, NewRecord } from '../ports/event-bus.ts';
import type { Project } from './project.ts';
import { FabraError } from '../lib/errors.ts';

/** Events that wait for the disk; more than this and the sender is told to slow down. */
const MOST_WAITING = 100_000;

interface Waiting {
  stream: string;
  records: NewRecord[];
  resolve(at: { partition: number; first: number }): void;
  reject(e: unknown): void;
}

/** Requests that come while the disk is busy share one append and one flush. */
export class Appender {
  private readonly bus: EventBus;
  private readonly now: () => number;
  private waiting: Waiting[] = [];
  private events = 0;
  private running: Promise<void> | null = null;

  constructor({ bus, clock }: Pick<Project, 'bus' | 'clock'>) {
    this.bus = bus;
    this.now = () => clock.now();
  }

  append(stream: string, records: NewRecord[]): Promise<{ partition: number; first: number }> {
    if (this.events + records.length > MOST_WAITING && this.events > 0)
      throw new FabraError('OVERLOADED', `${this.events} events wait for the disk`, { hint: 'Send again a little later, or fewer at once.', retry: true });
    this.events += records.length;
    return new Promise((resolve, reject) => {
      this.waiting.push({ stream, records, resolve, reject });
      this.running ??= this.run();
    });
  }

  async drain(): Promise<void> {
    while (this.running) await this.running;
  }

  private async run(): Promise<void> {
    // All requests that were read in this turn of the event loop come along.
    await new Promise(setImmediate);
    while (this.waiting.length > 0) {
      const batch = this.waiting;
      this.waiting = [];
      const byStream = new Map<string, Waiting[]>();
      for (const w of batch) byStream.set(w.stream, [...(byStream.get(w.stream) ?? []), w]);
      await Promise.all([...byStream].map(([stream, list]) => this.write(stream, list)));
      for (const w of batch) this.events -= w.records.length;
    }
    this.running = null;
  }

  private async write(stream: string, list: Waiting[]): Promise<void> {
    try {
      const { partition, first } = await this.bus.append(stream, list.length === 1 ? list[0]!.records : list.flatMap(w => w.records), this.now());
      await this.bus.flushed();
      let at = first;
      for (const w of list) {
        w.resolve({ partition, first: at });
        at += w.records.length;
      }
    } catch (e) {
      for (const w of list) w.reject(e);
    }
  }
}
