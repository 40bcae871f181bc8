/** The log: append-only, partitioned, in offset order. */

export interface LogRecord {
  offset: number;
  /** Append time, epoch ms. */
  appended: number;
  /** Id given beside the bytes (streams whose id is a position); null otherwise. */
  id: string | null;
  /** The event as published: one JSON object. */
  bytes: Uint8Array;
}

export interface NewRecord {
  bytes: Uint8Array;
  id?: string | null;
}

export interface LogBounds {
  /** First offset still in the log. */
  start: number;
  /** Offset that the next append gets. */
  end: number;
}

export interface EventBus {
  /** Appends in order; resolves when readable, and durable against the end of this process. */
  append(stream: string, records: readonly NewRecord[], appended: number): Promise<{ partition: number; first: number }>;
  /** Resolves when all that was appended so far is on disk. */
  flushed(): Promise<void>;
  partitions(stream: string): Promise<number[]>;
  /** Up to `max` records from `from` on; empty at the end. */
  poll(stream: string, partition: number, from: number, max: number): Promise<LogRecord[]>;
  bounds(stream: string, partition: number): Promise<LogBounds>;
  /**
   * The instants first given to these ids: `now` for a new one. So a sender that repeats an event without saying its time sends
   * the same event. Remembered for about a day.
   */
  stamp(stream: string, ids: readonly string[], now: number): Promise<number[]>;
  /** Drops records below `before`. */
  trim(stream: string, partition: number, before: number): Promise<void>;
}
