/** Online stores for the kill tests: one that dies at the worst point, and two that break the protocol. Never in the product. */
import type { CommitBatch, CommitResult, Lease, TurnOutcome } from '../../src/ports/online-store.ts';
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

type Results = Awaited<ReturnType<EmbeddedOnlineStore['commitTurns']>>;
const without = (o: TurnOutcome): TurnOutcome => ({ ...o, done: o.done.map(d => ({ ...d, row: null, puts: [] })) });
const rowsOf = (outcomes: readonly TurnOutcome[]) =>
  outcomes.flatMap(({ unit: { id, hash, entity, keyColumns }, key, done }) =>
    done.flatMap(({ row, puts }) => [...(row ? [{ table: { id, hash, entity, keyColumns, inclusive: false, materialized: false }, key, row }] : []), ...puts]),
  );

/** The product's commit of handlers' turns, but the process dies right after some, and before others. */
export class DyingTurnsStore extends ChancyStore {
  override async commitTurns(lease: Lease, outcomes: readonly TurnOutcome[]): Promise<Results> {
    this.maybeDie();
    const results = await super.commitTurns(lease, outcomes);
    this.maybeDie();
    return results;
  }
}

/** Broken: what turns recorded in one transaction, taking them out of their queues in the next. A kill between runs them again on top of it. */
export class RecordedFirstStore extends ChancyStore {
  override async commitTurns(lease: Lease, outcomes: readonly TurnOutcome[]): Promise<Results> {
    await this.putRows(rowsOf(outcomes), { record: true });
    this.maybeDie();
    return super.commitTurns(lease, outcomes.map(without));
  }
}

/** Broken: out of the queues first. A kill between loses what the turns recorded. */
export class DequeuedFirstStore extends ChancyStore {
  override async commitTurns(lease: Lease, outcomes: readonly TurnOutcome[]): Promise<Results> {
    const results = await super.commitTurns(lease, outcomes.map(without));
    this.maybeDie();
    await this.putRows(rowsOf(outcomes), { record: true });
    return results;
  }
}
