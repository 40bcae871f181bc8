/** Rows of a file as events of a stream: typed by the event's schema, with id and time, ready to append. */
import { pick } from '../../engine/decode.ts';
import { FabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import { iso, readInstant } from '../../lib/time.ts';
import type { NewRecord } from '../../ports/event-bus.ts';
import type { EventPlan, Registry, StreamPlan } from '../../registry/types.ts';
import { byteChunks } from '../files/bytes.ts';
import { type FileRow, fileFingerprint, formatOf, readHeader, readRows, rowWriter } from '../files/index.ts';

export type ParquetReader = (path: string) => AsyncIterable<Record<string, unknown>[]>;

export interface Item {
  line: number;
  /** Event time in the file; null when it has none that can be read. */
  ts: number | null;
  record: NewRecord;
}
export interface BadLine {
  line: number;
  reason: string;
  raw: string;
}

export interface Source {
  /** Good and bad rows in file order, once through the file; `shift` is added to every time. */
  read(options: { shift: (first: number) => number; suffix: string }): AsyncGenerator<Item | BadLine>;
}

export const isBad = (x: Item | BadLine): x is BadLine => 'reason' in x;

/** The stream to replay into: the one there is, or the one named. */
export function streamOf(registry: Registry, name: string | undefined): StreamPlan {
  const names = Object.keys(registry.streams);
  if (name !== undefined) {
    const plan = registry.streams[name];
    if (!plan) throw new FabraError('UNKNOWN_STREAM', `there is no stream ${JSON.stringify(name)}`, { hint: suggest(name, names) });
    return plan;
  }
  if (names.length === 1) return registry.streams[names[0]!]!;
  throw new FabraError('BAD_FLAG', `this project has ${names.length} streams`, { hint: `Say which: --stream ${names.join(' | ')}` });
}

/**
 * Opens a file for a stream.
 * @throws FabraError FILE_NOT_FOUND, BAD_FILE when the header cannot feed the stream, TRUNCATED_INPUT for a cut gzip file, before anything is published.
 */
export async function openSource(path: string, plan: StreamPlan, registry: Registry, parquet: ParquetReader | undefined): Promise<Source> {
  const format = await formatOf(path);
  const events = Object.values(registry.events).filter(e => e.stream === plan.name);
  const header = format === 'csv' ? await readHeader(path) : null;
  if (header) checkHeader(path, header, plan, events);
  // A cut file would otherwise show only after half of it is published.
  if (format !== 'parquet') for await (const _ of byteChunks(path));
  const fingerprint = 'position' in plan.id ? (await fileFingerprint(path)).slice(0, 12) : null;
  return new FileSource(path, plan, events, format, fingerprint, parquet);
}

function checkHeader(path: string, header: readonly string[], plan: StreamPlan, events: readonly EventPlan[]): void {
  const has = (column: string) => header.some(h => h === column || column.startsWith(`${h}.`) || h.startsWith(`${column}.`));
  const id = 'column' in plan.id ? [plan.id.column] : 'hashOf' in plan.id ? plan.id.hashOf : [];
  const missing = [plan.time, ...(plan.type === null ? [] : [plan.type]), ...id].filter(c => !has(c));
  const lacking = events.map(e => e.input.filter(c => !c.nullable && !has(c.name)).map(c => c.name));
  const unusable = lacking.length > 0 && lacking.every(l => l.length > 0) ? [...new Set(lacking[0])] : [];
  const all = [...new Set([...missing, ...unusable])];
  if (all.length === 0) return;
  throw new FabraError('BAD_FILE', `${path}: the header has no column ${all.map(c => `'${c}'`).join(', ')} that stream '${plan.name}' needs`, {
    hint: header.length ? `The header has: ${header.slice(0, 20).join(', ')}. Rename the columns, or change the stream's id, time or type.` : 'The file is empty.',
    where: `${path}:1`,
  });
}

class FileSource implements Source {
  private readonly path: string;
  private readonly plan: StreamPlan;
  private readonly events: ReadonlyMap<string, EventPlan>;
  private readonly format: 'csv' | 'ndjson' | 'parquet';
  private readonly fingerprint: string | null;
  private readonly parquet: ParquetReader | undefined;
  private readonly writers = new Map<string, (cells: Record<string, unknown>) => string>();

  constructor(path: string, plan: StreamPlan, events: readonly EventPlan[], format: 'csv' | 'ndjson' | 'parquet', fingerprint: string | null, parquet: ParquetReader | undefined) {
    this.path = path;
    this.plan = plan;
    this.events = new Map(events.map(e => [e.type, e]));
    this.format = format;
    this.fingerprint = fingerprint;
    this.parquet = parquet;
  }

  async *read(options: { shift: (first: number) => number; suffix: string }): AsyncGenerator<Item | BadLine> {
    let shift: number | null = null;
    for await (const { rows } of readRows(this.path, { format: this.format, parquet: this.parquet }))
      for (const row of rows) {
        if (row.values === null) {
          yield { line: row.line, reason: row.error ?? 'cannot be read', raw: row.raw };
          continue;
        }
        const values = row.values as Record<string, unknown>;
        const ts = readInstant(pick(values, this.plan.time));
        if (shift === null && ts !== null) shift = options.shift(ts);
        const moved = ts !== null && (shift ?? 0) !== 0 ? ts + shift! : ts;
        yield { line: row.line, ts: moved, record: this.record(row, values, moved !== ts ? moved : null, options.suffix) };
      }
  }

  private record(row: FileRow, values: Record<string, unknown>, time: number | null, suffix: string): NewRecord {
    const id = this.fingerprint === null ? null : `${this.fingerprint}:${row.line}${suffix}`;
    if (this.format === 'ndjson' && time === null && suffix === '') return { bytes: Buffer.from(row.raw, 'utf8'), id };
    const changed = { ...values };
    if (time !== null) changed[this.plan.time] = iso(time);
    if (suffix !== '' && 'column' in this.plan.id) changed[this.plan.id.column] = `${String(pick(values, this.plan.id.column))}${suffix}`;
    const text = this.format === 'ndjson' ? JSON.stringify(changed) : this.writer(changed)(changed);
    return { bytes: Buffer.from(text, 'utf8'), id };
  }

  /** One compiled writer per event type: the type decides how cells are typed. */
  private writer(values: Record<string, unknown>): (cells: Record<string, unknown>) => string {
    const type = this.plan.type === null ? '' : String(pick(values, this.plan.type) ?? '');
    const event = this.plan.type === null ? [...this.events.values()][0] : this.events.get(type);
    const key = event ? event.type : '';
    let write = this.writers.get(key);
    if (!write) this.writers.set(key, (write = rowWriter(Object.keys(values), event?.input ?? [])));
    return write;
  }
}
