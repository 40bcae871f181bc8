import type { FoldReader, FoldWriter } from '../../engine/fold.ts';
import type { NodeReader, NodeWriter } from '../../engine/tree.ts';
import type { BinaryDb, Embedded } from './env.ts';
import { BASE_LEVEL, dayKey, KeyMaker } from './keys.ts';

/** One key's records, read from the current snapshot (or inside the write transaction). */
export class LmdbNodes implements NodeReader, FoldReader {
  protected readonly db: BinaryDb;
  protected readonly keys: KeyMaker;

  constructor(db: BinaryDb, ns: number, key: string) {
    this.db = db;
    this.keys = new KeyMaker(ns, key);
  }

  get(level: number, start: number): Buffer | undefined {
    return this.db.getBinary(this.keys.at0(level, start));
  }

  *range(level: number, from: number, to: number): Iterable<{ start: number; bytes: Buffer }> {
    for (const { key, value } of this.db.getRange({ start: this.keys.copy(level, from), end: this.keys.copy(level, to) })) yield { start: this.keys.startOf(key), bytes: value };
  }

  last(level: number, upTo: number): { start: number; bytes: Buffer } | undefined {
    const [found] = [...this.db.getRange({ start: this.keys.copy(level, upTo), end: this.keys.copy(level, Number.NEGATIVE_INFINITY), reverse: true, limit: 1 })];
    return found && { start: this.keys.startOf(found.key), bytes: found.value };
  }

  base(): Buffer | undefined {
    return this.db.getBinary(this.keys.at0(BASE_LEVEL, 0));
  }
}

export class LmdbNodeWriter extends LmdbNodes implements NodeWriter, FoldWriter {
  private readonly days: BinaryDb;
  private readonly ns: number;
  private readonly key: string;

  constructor(env: Embedded, ns: number, key: string) {
    super(env.state, ns, key);
    this.days = env.days;
    this.ns = ns;
    this.key = key;
  }

  put(level: number, start: number, bytes: Buffer): void {
    this.db.putSync(this.keys.at0(level, start), bytes);
  }

  remove(level: number, start: number): void {
    this.db.removeSync(this.keys.at0(level, start));
  }

  putBase(bytes: Buffer): void {
    this.db.putSync(this.keys.at0(BASE_LEVEL, 0), bytes);
  }

  opened(start: number): void {
    this.days.putSync(dayKey(this.ns, start, this.key), EMPTY);
  }
}

const EMPTY = Buffer.alloc(0);
