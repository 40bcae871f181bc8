/** Results of derived code that are used again, and those on their way. */
import type { Cell } from '../../engine/values.ts';
import type { Clock } from '../../lib/clock.ts';

/** Results kept at most, all features together: the longest unused goes. */
const MOST = 10_000;

interface Kept {
  cell: Cell;
  /** Instant of the read that it was computed for. */
  at: number;
  /** By the clock. */
  until: number;
  owner: string;
}
interface Flight {
  at: number;
  cell: Promise<Cell>;
  owner: string;
}

export class DeriveCache {
  private readonly clock: Clock;
  private readonly most: number;
  private readonly kept = new Map<string, Kept>();
  private readonly flights = new Map<string, Flight>();

  constructor(clock: Clock, most = MOST) {
    this.clock = clock;
    this.most = most;
  }

  /** A result for an instant near `at` that is not older than `ttl`, or the one that somebody is waiting for. */
  get(key: string, at: number, ttl: number): Cell | Promise<Cell> | undefined {
    const known = this.kept.get(key);
    if (known) {
      if (this.clock.now() < known.until && Math.abs(at - known.at) < ttl) {
        this.kept.delete(key);
        this.kept.set(key, known);
        return known.cell;
      }
      if (this.clock.now() >= known.until) this.kept.delete(key);
    }
    const flight = this.flights.get(key);
    return flight && Math.abs(at - flight.at) < ttl ? flight.cell : undefined;
  }

  /** Keeps a good result; `owner` is what {@link drop} goes by. Returns what it was given. */
  put(key: string, owner: string, at: number, ttl: number, cell: Cell | Promise<Cell>): Cell | Promise<Cell> {
    if (!(cell instanceof Promise)) {
      this.keep(key, owner, at, ttl, cell);
      return cell;
    }
    const flight: Flight = { at, cell, owner };
    this.flights.set(key, flight);
    void cell.then(c => {
      // Another one has taken its place, or its key was dropped meanwhile.
      if (this.flights.get(key) !== flight) return;
      this.flights.delete(key);
      this.keep(key, owner, at, ttl, c);
    });
    return cell;
  }

  drop(owner: string): number {
    let n = 0;
    for (const [key, k] of this.kept) if (k.owner === owner && this.kept.delete(key)) n++;
    for (const [key, f] of this.flights) if (f.owner === owner && this.flights.delete(key)) n++;
    return n;
  }

  private keep(key: string, owner: string, at: number, ttl: number, cell: Cell): void {
    if (cell.status === 'ERROR' || cell.status === 'DEFAULTED') return;
    this.kept.delete(key);
    this.kept.set(key, { cell, at, until: this.clock.now() + ttl, owner });
    if (this.kept.size > this.most) this.kept.delete(this.kept.keys().next().value!);
  }
}
