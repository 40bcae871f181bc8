/** Wakes one waiter before its time. */
import type { Clock } from '../../lib/clock.ts';

export class Bell {
  private rung = false;
  private hear: (() => void) | null = null;

  /** Is heard by who waits now, or else by who waits next. */
  ring(): void {
    this.rung = true;
    this.hear?.();
  }

  /** Resolves at the next ring, at once when it rang since the last wait, or after `ms`. */
  async wait(clock: Clock, ms: number): Promise<void> {
    if (!this.rung) {
      const heard = new AbortController();
      this.hear = () => heard.abort();
      await clock.sleep(ms, heard.signal);
      this.hear = null;
    }
    this.rung = false;
  }
}
