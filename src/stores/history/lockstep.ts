/** Streams over the same rows, cut alike. */

export interface Columns<T> {
  rows: number;
  columns: T[][];
}

/** A stream over rows that is cut as another one's chunks are. */
export class Lockstep<T> {
  private readonly chunks: AsyncGenerator<Columns<T>>;
  private held: Columns<T> | null = null;

  constructor(chunks: AsyncGenerator<Columns<T>>) {
    this.chunks = chunks;
  }

  async take(rows: number): Promise<T[][]> {
    while ((this.held?.rows ?? 0) < rows) {
      const { value, done } = await this.chunks.next();
      if (done) throw new Error('the spine ended early');
      this.held = this.held === null || this.held.rows === 0 ? value : { rows: this.held.rows + value.rows, columns: this.held.columns.map((c, i) => c.concat(value.columns[i]!)) };
    }
    const held = this.held!;
    if (held.rows === rows) {
      this.held = null;
      return held.columns;
    }
    this.held = { rows: held.rows - rows, columns: held.columns.map(c => c.slice(rows)) };
    return held.columns.map(c => c.slice(0, rows));
  }

  async close(): Promise<void> {
    await this.chunks.return(undefined);
  }
}
