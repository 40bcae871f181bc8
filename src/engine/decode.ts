/** Bytes of a stream -> decoded event, or the reason it is rejected. Row-level code (the schema's transform) runs here, once. */
import { type Exact, inInt64, narrow, scale } from '../lib/decimal.ts';
import { sha256 } from '../lib/hash.ts';
import { canonicalJson } from '../lib/json.ts';
import { MAX_KEY_BYTES } from '../lib/text.ts';
import { readInstant } from '../lib/time.ts';
import { entitiesFed } from '../registry/meaning.ts';
import type { ColumnPlan, Registry, StreamPlan } from '../registry/types.ts';
import { payloadOf } from './payload.ts';
import type { ColumnValue, DecodedEvent } from './values.ts';

/** What zod gives; only this much of it is used. */
export interface Schema {
  safeParse(input: unknown): { success: true; data: unknown } | { success: false; error: { issues: readonly { path: readonly PropertyKey[]; message: string }[] } };
}

export interface RawRecord {
  offset: number;
  appended: number;
  id: string | null;
  bytes: Uint8Array;
}

/** `text` is the record as it came, for history. */
export type Decoded = { ok: true; event: DecodedEvent; text: string } | { ok: false; reason: string };

interface TypeDecoder {
  columns: ColumnPlan[];
  paths: string[][];
  schema: Schema;
  /** Column names of each entity key that this type feeds. */
  keys: string[][];
  /** Folds or handlers take whole events of this type. */
  whole: boolean;
}

export class Decoder {
  private readonly plan: StreamPlan;
  private readonly types = new Map<string, TypeDecoder>();
  /** Reused for declared types without columns of their own. */
  private readonly text = new TextDecoder('utf-8', { fatal: true });

  constructor(registry: Registry, stream: string, schemas: ReadonlyMap<string, Schema>) {
    this.plan = registry.streams[stream]!;
    for (const event of Object.values(registry.events)) {
      const schema = schemas.get(`${stream}/${event.type}`);
      if (event.stream !== stream || !schema) continue;
      const [columns, keys, whole] = [event.columns, keysFed(registry, stream, event.type), takenWhole(registry, `${stream}/${event.type}`)];
      this.types.set(event.type, { columns, paths: columns.map(c => c.name.split('.')), schema, keys, whole });
    }
  }

  decode(record: RawRecord, partition: number): Decoded {
    let raw: unknown;
    let text: string;
    try {
      text = this.text.decode(record.bytes);
      raw = JSON.parse(text);
    } catch (e) {
      return reject(`not JSON: ${(e as Error).message}`);
    }
    if (raw === null || typeof raw !== 'object' || Array.isArray(raw)) return reject('not a JSON object');
    const object = raw as Record<string, unknown>;
    const type = this.plan.type === null ? [...this.types.keys()][0] : object[this.plan.type];
    if (typeof type !== 'string' || type === '' || !type.isWellFormed()) return reject(`no event type in '${this.plan.type}'`);
    const ts = readInstant(pick(object, this.plan.time));
    if (ts === null) return reject(`no usable time in '${this.plan.time}': ${JSON.stringify(pick(object, this.plan.time)) ?? 'missing'}`);
    const id = this.idOf(object, record, partition);
    if (id === null) return reject('no usable event id');
    const known = this.types.get(type);
    const event: DecodedEvent = { p: partition, o: record.offset, appended: record.appended, ts, id, type, columns: {} };
    if (!known) return { ok: true, event, text };
    const problem = fill(known, object, event);
    return problem === null ? { ok: true, event, text } : reject(problem);
  }

  private idOf(object: Record<string, unknown>, record: RawRecord, partition: number): string | null {
    const { id } = this.plan;
    if ('position' in id) return record.id ?? `${partition}-${record.offset}`;
    if ('column' in id) {
      const v = pick(object, id.column);
      if (typeof v === 'string') return v !== '' && v.isWellFormed() ? v : null;
      return typeof v === 'number' && Number.isSafeInteger(v) ? String(v) : null;
    }
    return sha256(canonicalJson(id.hashOf.map(c => pick(object, c) ?? null))).slice(0, 32);
  }
}

const reject = (reason: string): Decoded => ({ ok: false, reason });

/** A column by its dotted name: the plain key first, then the nested one. */
export function pick(object: Record<string, unknown>, name: string): unknown {
  if (name in object || !name.includes('.')) return object[name];
  let at: unknown = object;
  for (const part of name.split('.')) {
    if (at === null || typeof at !== 'object') return undefined;
    at = (at as Record<string, unknown>)[part];
  }
  return at;
}

function keysFed(registry: Registry, stream: string, type: string): string[][] {
  return entitiesFed(registry, `${stream}/${type}`).map(e => registry.entities[e]!.key);
}

const takenWhole = (registry: Registry, event: string): boolean => Object.values(registry.features).some(f => 'events' in f && f.events.includes(event));

/** Validates and converts; returns the reason when the event does not fit. */
function fill(known: TypeDecoder, object: Record<string, unknown>, event: DecodedEvent): string | null {
  const out = event.columns;
  let result: ReturnType<Schema['safeParse']>;
  try {
    result = known.schema.safeParse(object);
  } catch (e) {
    return `its transform failed: ${(e as Error).message}`;
  }
  if (!result.success) {
    const [issue] = result.error.issues;
    return issue ? `${issue.path.join('.') || 'event'}: ${issue.message}` : 'does not fit its schema';
  }
  const data = result.data;
  for (let i = 0; i < known.columns.length; i++) {
    const column = known.columns[i]!;
    const value = convert(column, follow(data, known.paths[i]!));
    if (value === undefined) return `${column.name}: not a ${column.kind} in range`;
    out[column.name] = value;
  }
  for (const key of known.keys)
    if (key.reduce((n, c) => n + Buffer.byteLength(String(out[c] ?? '')), 0) > MAX_KEY_BYTES) return `key ${key.join(',')}: more than ${MAX_KEY_BYTES} bytes`;
  if (known.whole) event.payload = payloadOf(data, known.columns, out);
  return null;
}

function follow(data: unknown, path: string[]): unknown {
  let at = data;
  for (let i = 0; i < path.length; i++) {
    if (at === null || at === undefined) return at;
    at = (at as Record<string, unknown>)[path[i]!];
  }
  return at;
}

/** A column's value as the engines hold it; undefined when it cannot be held. */
export function convert(column: ColumnPlan, v: unknown): ColumnValue | undefined {
  if (v === null || v === undefined) return null;
  switch (column.kind) {
    case 'string':
      return typeof v === 'string' && v.isWellFormed() ? v : undefined;
    case 'bool':
      return typeof v === 'boolean' ? v : undefined;
    case 'int':
      return typeof v === 'number' && Number.isSafeInteger(v) ? v + 0 : undefined;
    case 'decimal':
      return typeof v === 'number' ? (scale(v, column.places ?? 6) ?? undefined) : undefined;
    case 'int64': {
      const big: Exact | null = typeof v === 'bigint' ? v : typeof v === 'number' && Number.isSafeInteger(v) ? v + 0 : null;
      return big === null || !inInt64(big) ? undefined : typeof big === 'bigint' ? narrow(big) : big;
    }
  }
}
