/** Online stores for the kill tests: one that dies at the worst point, and two that break the protocol. Never in the product. */
import type { CommitBatch, CommitResult } from '../../src/ports/online-store.ts';
import type { Embedded } from '../../src/stores/embedded/env.ts';
import { EmbeddedOnlineStore } from '../../src/stores/embedded/online.ts';

class ChancyStore extends EmbeddedOnlineStore {
  protected readonly chance: number;
  protected readonly restMs: number;

  constructor(env: Embedded, chance: number, restMs: number) {
    super(env);
    this.chance = chance;
    this.restMs = restMs;
  }

  protected maybeDie(): void {
    if (Math.random() < this.chance) {
      process.kill(process.pid, 'SIGKILL');
      // The signal is on its way: nothing more may happen here.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000);
    }
  }
}

/** The product's commit, but it dies between the rows and the mark, inside the transaction. */
export class SelfKillingStore extends ChancyStore {
  protected override writeMarks(batch: CommitBatch): void {
    this.maybeDie();
    super.writeMarks(batch);
  }
}

/** The product's commit, resting between the rows and the mark, inside the transaction: a place to be stopped at. */
export class PausingStore extends ChancyStore {
  protected override writeMarks(batch: CommitBatch): void {
    if (Math.random() < this.chance) {
      process.stdout.write(`${JSON.stringify({ pausing: batch.expect })}\n`);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, this.restMs);
    }
    super.writeMarks(batch);
  }
}

/** Broken: state and mark in two transactions, state first. A kill between them applies a batch twice. */
export class RowsFirstStore extends ChancyStore {
  override async commit(batch: CommitBatch): Promise<CommitResult> {
    this.env.write(() => this.applyUpdates(batch));
    this.maybeDie();
    this.env.write(() => this.writeMarks(batch));
    return { status: 'ok' };
  }
}

/** Broken: mark first. A kill between them loses a batch. */
export class MarksFirstStore extends ChancyStore {
  override async commit(batch: CommitBatch): Promise<CommitResult> {
    this.env.write(() => this.writeMarks({ ...batch, count: () => ({}) }));
    this.maybeDie();
    this.env.write(() => {
      this.applyUpdates(batch);
      this.writeMarks(batch);
    });
    return { status: 'ok' };
  }
}
