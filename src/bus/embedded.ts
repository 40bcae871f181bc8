import type { EventBus, LogBounds, LogRecord, NewRecord } from '../ports/event-bus.ts';
import type { Embedded } from '../stores/embedded/env.ts';
import { logKey } from '../stores/embedded/keys.ts';

/** The log inside the embedded store: one partition per stream; the state's transactions and the log's never tear apart. */
export class EmbeddedBus implements EventBus {
  private readonly env: Embedded;
  private readonly ids = new Map<string, number>();

  constructor(env: Embedded) {
    this.env = env;
  }

  private idOf(stream: string): number | undefined {
    const known = this.ids.get(stream) ?? (this.env.meta.get(`sid:${stream}`) as number | undefined);
    if (known !== undefined) this.ids.set(stream, known);
    return known;
  }

  /** Inside a write transaction. */
  private ensureId(stream: string): number {
    const known = this.idOf(stream);
    if (known !== undefined) return known;
    const id = ((this.env.meta.get('nextSid') as number | undefined) ?? 0) + 1;
    this.env.meta.put('nextSid', id);
    this.env.meta.put(`sid:${stream}`, id);
    return id;
  }

  async append(stream: string, records: readonly NewRecord[], appended: number): Promise<{ partition: number; first: number }> {
    const first = this.env.write(() => {
      const id = this.ensureId(stream);
      const end = this.end(id);
      records.forEach((r, i) => {
        this.env.log.putSync(logKey(id, 0, end + i), encode(r, appended));
      });
      this.env.meta.put(`end:${id}`, end + records.length);
      return end;
    });
    return { partition: 0, first };
  }

  private end(id: number): number {
    return (this.env.meta.get(`end:${id}`) as number | undefined) ?? 0;
  }

  flushed(): Promise<void> {
    return this.env.flushed();
  }

  async partitions(): Promise<number[]> {
    return [0];
  }

  async poll(stream: string, _partition: number, from: number, max: number): Promise<LogRecord[]> {
    this.env.refresh();
    const id = this.idOf(stream);
    if (id === undefined) return [];
    const out: LogRecord[] = [];
    for (const { key, value } of this.env.log.getRange({ start: logKey(id, 0, from), end: logKey(id, 1, 0), limit: max })) out.push(decode(key.readUIntBE(4, 6), value));
    return out;
  }

  async bounds(stream: string): Promise<LogBounds> {
    this.env.refresh();
    const id = this.idOf(stream);
    if (id === undefined) return { start: 0, end: 0 };
    const end = this.end(id);
    const [first] = [...this.env.log.getKeys({ start: logKey(id, 0, 0), end: logKey(id, 1, 0), limit: 1 })];
    return { start: first ? first.readUIntBE(4, 6) : end, end };
  }

  async trim(stream: string, _partition: number, before: number): Promise<void> {
    const id = this.idOf(stream);
    if (id === undefined || before <= 0) return;
    for (let more = true; more; ) {
      // In slices, so that a long trim never holds the one write lock for long.
      more = this.env.write(() => {
        const keys = [...this.env.log.getKeys({ start: logKey(id, 0, 0), end: logKey(id, 0, before), limit: 5_000 })];
        for (const k of keys) this.env.log.removeSync(k);
        return keys.length === 5_000;
      });
    }
  }
}

/** f64 append time | u16 id bytes (0xffff none) | id | event bytes */
function encode(r: NewRecord, appended: number): Buffer {
  const id = r.id == null ? null : Buffer.from(r.id, 'utf8');
  const out = Buffer.allocUnsafe(10 + (id?.length ?? 0) + r.bytes.length);
  out.writeDoubleLE(appended, 0);
  out.writeUInt16LE(id ? id.length : 0xffff, 8);
  if (id) out.set(id, 10);
  out.set(r.bytes, 10 + (id?.length ?? 0));
  return out;
}

function decode(offset: number, value: Buffer): LogRecord {
  const n = value.readUInt16LE(8);
  const idEnd = n === 0xffff ? 10 : 10 + n;
  return { offset, appended: value.readDoubleLE(0), id: n === 0xffff ? null : value.utf8Slice(10, idEnd), bytes: value.subarray(idEnd) };
}
