import type { NodeWriter } from '../../src/engine/tree.ts';

/** The records of one key in a Map: the engine's pure side without a store. */
export class MemoryNodes implements NodeWriter {
  readonly nodes = new Map<string, { level: number; start: number; bytes: Buffer }>();
  readonly days = new Set<number>();
  private baseBytes: Buffer | undefined;
  puts = 0;

  get(level: number, start: number): Buffer | undefined {
    return this.nodes.get(`${level}/${start}`)?.bytes;
  }
  range(level: number, from: number, to: number): { start: number; bytes: Buffer }[] {
    return [...this.nodes.values()].filter(n => n.level === level && n.start >= from && n.start < to).sort((a, b) => a.start - b.start);
  }
  base(): Buffer | undefined {
    return this.baseBytes;
  }
  put(level: number, start: number, bytes: Buffer): void {
    this.puts++;
    this.nodes.set(`${level}/${start}`, { level, start, bytes });
  }
  remove(level: number, start: number): void {
    this.nodes.delete(`${level}/${start}`);
  }
  putBase(bytes: Buffer): void {
    this.baseBytes = bytes;
  }
  opened(start: number): void {
    this.days.add(start);
  }
}
