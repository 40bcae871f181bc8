/**
 * Publishing: an event as a client has it (an envelope, or the stream's own columns) becomes one line of its stream's log.
 * What the decoder would reject never gets there; what did is on disk before its sender hears of it.
 */
import { randomUUID } from 'node:crypto';
import { Decoder, pick } from '../engine/decode.ts';
import { FabraError, toFabraError } from '../lib/errors.ts';
import { toJson } from '../lib/json.ts';
import { didYouMean, MAX_KEY_BYTES, suggest } from '../lib/text.ts';
import { iso, readInstant } from '../lib/time.ts';
import type { NewRecord } from '../ports/event-bus.ts';
import { entitiesFed } from '../registry/meaning.ts';
import type { EventPlan, Registry, StreamPlan } from '../registry/types.ts';
import { Appender } from './appender.ts';
import type { Compiled, Project } from './project.ts';

export interface PublishInput {
  /** `{event_type, event_id?, entity_id?, timestamp?, payload}`, or the stream's own columns. */
  event: unknown;
  /** `purchase` or `events_raw/purchase`, where the event itself need not say. */
  type?: string;
}

export type PublishResult =
  /** `event` is `stream/type`; `position` is `stream/partition/offset`. */
  { ok: true; event: string; event_id: string; position: string } | { ok: false; error: FabraError };

/** One line of an NDJSON text, counted from 1. */
export type LineResult = PublishResult & { line: number };

type Fields = Record<string, unknown>;

const ENVELOPE = ['event_type', 'event_id', 'entity_id', 'timestamp', 'payload'];

/** A declared event and what its sender may leave out. */
interface Target {
  id: string;
  plan: StreamPlan;
  event: EventPlan;
  decoder: Decoder;
  /** Top-level names of its input columns. */
  fields: Set<string>;
  /** Key columns of the entities that it feeds. */
  keys: string[][];
  /** Those that `entity_id` can stand for, required ones first. */
  single: { column: string; numeric: boolean; required: boolean }[];
}

interface Ready {
  target: Target;
  record: NewRecord;
  /** Null when the id is the event's position. */
  id: string | null;
  /** The client named the event and not its time: sent again, it must get the same. */
  timeless: boolean;
}
/** An event to append, with its place among those given. */
interface Placed {
  at: number;
  input: PublishInput;
  ready: Ready;
}

export class Publisher {
  private readonly targets = new Map<string, Target>();
  /** `stream/type` ids by type. */
  private readonly byType = new Map<string, string[]>();
  private readonly typeColumns: string[];
  private readonly project: Pick<Project, 'bus' | 'clock'>;
  private readonly appender: Appender;

  constructor(project: Pick<Project, 'bus' | 'clock'>, { registry, code }: Compiled) {
    this.project = project;
    this.appender = new Appender(project);
    const decoders = new Map(Object.keys(registry.streams).map(name => [name, new Decoder(registry, name, code.schemas)]));
    for (const [id, event] of Object.entries(registry.events)) {
      this.targets.set(id, targetOf(registry, id, event, decoders.get(event.stream)!));
      this.byType.set(event.type, [...(this.byType.get(event.type) ?? []), id]);
    }
    this.typeColumns = [...new Set(Object.values(registry.streams).map(s => s.type))].filter(c => c !== null);
  }

  /** One result per event, in order; good events are in the log, on disk, whatever became of the others. */
  async publish(events: readonly PublishInput[]): Promise<PublishResult[]> {
    const results: PublishResult[] = new Array(events.length);
    const byStream = new Map<string, Placed[]>();
    const now = this.project.clock.now();
    events.forEach((input, at) => {
      try {
        const ready = this.prepare(input, now);
        const stream = ready.target.plan.name;
        const list = byStream.get(stream);
        if (list) list.push({ at, input, ready });
        else byStream.set(stream, [{ at, input, ready }]);
      } catch (e) {
        results[at] = { ok: false, error: toFabraError(e) };
      }
    });
    await Promise.all(
      [...byStream].map(async ([stream, list]) => {
        try {
          await this.stamp(stream, list, now);
          const { partition, first } = await this.appender.append(
            stream,
            list.map(l => l.ready.record),
          );
          list.forEach(({ at, ready }, i) => {
            results[at] = { ok: true, event: ready.target.id, event_id: ready.id ?? `${partition}-${first + i}`, position: `${stream}/${partition}/${first + i}` };
          });
        } catch (e) {
          for (const { at } of list) results[at] = { ok: false, error: toFabraError(e) };
        }
      }),
    );
    return results;
  }

  /** NDJSON: a line that is not JSON fails alone, blank lines are skipped. */
  async publishLines(lines: readonly string[], first = 1): Promise<LineResult[]> {
    const out: LineResult[] = [];
    const inputs: PublishInput[] = [];
    const at: number[] = [];
    lines.forEach((text, i) => {
      if (text.trim() === '') return;
      const line = first + i;
      try {
        inputs.push({ event: JSON.parse(text) });
        at.push(out.length);
        out.push({ line, ok: false, error: new FabraError('INTERNAL', 'not published') });
      } catch (e) {
        out.push({ line, ok: false, error: new FabraError('BAD_EVENT', `not JSON: ${(e as Error).message}`, { hint: 'Each line is one JSON object.' }) });
      }
    });
    const results = await this.publish(inputs);
    results.forEach((r, i) => {
      out[at[i]!] = { line: out[at[i]!]!.line, ...r };
    });
    return out;
  }

  /** Resolves when all that was taken is on disk. */
  drain(): Promise<void> {
    return this.appender.drain();
  }

  /** A sender that repeats an event without saying its time sends the same event: it gets the time of the first one. */
  private async stamp(stream: string, list: Placed[], now: number): Promise<void> {
    const timeless = list.filter(p => p.ready.timeless);
    if (timeless.length === 0) return;
    const times = await this.project.bus.stamp(
      stream,
      timeless.map(p => p.ready.id!),
      now,
    );
    timeless.forEach((p, i) => {
      if (times[i] !== now) p.ready = this.prepare(p.input, times[i]!);
    });
  }

  /** `now` is the time of an event that does not say its own. */
  private prepare({ event, type }: PublishInput, now: number): Ready {
    if (event === null || typeof event !== 'object' || Array.isArray(event))
      throw bad('an event is one JSON object', { hint: 'Write {"event_type": "purchase", "entity_id": "u1", "payload": {…}}, or the columns of the stream.' });
    const given = event as Fields;
    const target = this.target(type ?? this.typeOf(given));
    const shaped = shape(target, given, type, now);
    const bytes = Buffer.from(textOf(shaped.flat));
    const decoded = target.decoder.decode({ offset: 0, appended: 0, id: shaped.id, bytes }, 0);
    if (!decoded.ok) throw rejected(target, shaped, decoded.reason);
    const { columns, id } = decoded.event;
    const fed = target.keys.length === 0 || target.keys.some(key => key.every(c => columns[c] !== null && columns[c] !== undefined && columns[c] !== ''));
    if (!fed) throw keyless(target, shaped);
    const position = 'position' in target.plan.id;
    return { target, record: { bytes, id: position ? shaped.id : null }, id: position ? shaped.id : id, timeless: shaped.named && !shaped.timed };
  }

  private typeOf(given: Fields): string {
    if (typeof given.event_type === 'string' && given.event_type !== '') return given.event_type;
    for (const column of this.typeColumns) {
      const value = pick(given, column);
      if (typeof value === 'string' && value !== '') return value;
    }
    if (this.targets.size === 1) return [...this.targets.keys()][0]!;
    throw bad('the event has no event_type', { path: 'event_type', hint: suggest('', this.byType.keys()) });
  }

  private target(type: string): Target {
    const exact = this.targets.get(type);
    if (exact) return exact;
    const ids = this.byType.get(type);
    if (!ids)
      throw new FabraError('UNKNOWN_EVENT', `there is no event ${JSON.stringify(type)}`, {
        path: 'event_type',
        hint: suggest(type, type.includes('/') ? this.targets.keys() : this.byType.keys()),
      });
    if (ids.length > 1)
      throw new FabraError('NAME_COLLISION', `${ids.length} streams have an event '${type}'`, { path: 'event_type', hint: `Name the stream too: ${ids.join(' or ')}.` });
    return this.targets.get(ids[0]!)!;
  }
}

const bad = (message: string, detail: { path?: string; hint?: string } = {}): FabraError => new FabraError('BAD_EVENT', message, detail);

function targetOf(registry: Registry, id: string, event: EventPlan, decoder: Decoder): Target {
  const keys = entitiesFed(registry, id).map(e => registry.entities[e]!.key);
  const columns = new Set(keys.filter(k => k.length === 1).map(k => k[0]!));
  const single = [...columns].map(column => {
    const input = event.input.find(c => c.name === column);
    return { column, numeric: input?.kind === 'int' || input?.kind === 'decimal', required: input?.nullable === false };
  });
  return { id, plan: registry.streams[event.stream]!, event, decoder, fields: new Set(event.input.map(c => c.name.split('.')[0]!)), keys, single };
}

interface Shaped {
  flat: Fields;
  /** Where columns are in what the client sent: `payload.` or nothing. */
  prefix: string;
  /** Id to keep beside the bytes, for streams whose id is a position. */
  id: string | null;
  /** The client gave an id, and a time. */
  named: boolean;
  timed: boolean;
}

/** The stream's flat JSON: payload plus type, id, time and, where it is missing, the entity's key. */
function shape(t: Target, given: Fields, stated: string | undefined, now: number): Shaped {
  const enveloped = 'payload' in given && !t.fields.has('payload');
  if (enveloped) checkEnvelope(t, given);
  const flat: Fields = { ...(enveloped ? (given.payload as Fields) : given) };
  const shaped: Shaped = { flat, prefix: enveloped ? 'payload.' : '', id: null, named: false, timed: false };
  /** What the client calls `alias` and the stream `column`: taken out of the event's columns, unless it is one of them. */
  const take = (alias: string, column: string | null): unknown => {
    let value: unknown;
    if (enveloped) value = given[alias] ?? (column === null ? undefined : given[column]);
    else if (alias !== column && !t.fields.has(alias)) {
      value = flat[alias];
      delete flat[alias];
    }
    return value ?? (column === null ? undefined : (pick(flat, column) ?? undefined));
  };
  const { plan } = t;
  const type = take('event_type', plan.type);
  if (stated !== undefined && type !== undefined && type !== t.event.type && type !== t.id)
    throw bad(`the event says that it is ${JSON.stringify(type)}, not ${t.event.type}`, { path: 'event_type', hint: 'Leave event_type out, or send it to its own address.' });
  if (plan.type !== null) assign(flat, plan.type, t.event.type);
  const time = take('timestamp', plan.time);
  if (time !== undefined && readInstant(time) === null)
    throw bad(`timestamp ${JSON.stringify(time)} is not an instant`, {
      path: enveloped || plan.time in given === false ? 'timestamp' : plan.time,
      hint: "Write ISO 8601 ('2025-01-15T12:05:00Z') or epoch milliseconds.",
    });
  assign(flat, plan.time, time ?? iso(now));
  shaped.timed = time !== undefined;
  const id = take('event_id', 'column' in plan.id ? plan.id.column : null);
  shaped.named = id !== undefined;
  shaped.id = giveId(t, flat, id);
  fillKey(t, flat, take('entity_id', null), shaped.prefix);
  checkFinite(flat, shaped.prefix);
  return shaped;
}

function checkEnvelope(t: Target, given: Fields): void {
  const { payload } = given;
  if (payload === null || typeof payload !== 'object' || Array.isArray(payload))
    throw bad('payload is not a JSON object', { path: 'payload', hint: `Its fields are: ${[...t.fields].join(', ')}.` });
  const known = [...ENVELOPE, t.plan.type, t.plan.time, 'column' in t.plan.id ? t.plan.id.column : null].filter(c => c !== null);
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    const near = didYouMean(name, ENVELOPE);
    throw bad(`beside payload there is no ${JSON.stringify(name)}`, {
      path: name,
      hint: near ? `Did you mean: ${near}?` : `There are: ${ENVELOPE.join(', ')}; fields of the event go into payload.`,
    });
  }
}

/** Puts the client's id, or a new one, where the stream reads it; returns what goes beside the bytes. */
function giveId(t: Target, flat: Fields, value: unknown): string | null {
  const usable =
    value === undefined ||
    (typeof value === 'string' && value !== '' && value.isWellFormed() && Buffer.byteLength(value) <= MAX_KEY_BYTES) ||
    (typeof value === 'number' && Number.isSafeInteger(value));
  if (!usable)
    throw bad(`event_id ${JSON.stringify(value)} is no id`, {
      path: 'event_id',
      hint: `An id is a text of at most ${MAX_KEY_BYTES} bytes or a whole number; leave it out to get one.`,
    });
  const { id } = t.plan;
  if ('column' in id) assign(flat, id.column, value ?? randomUUID());
  if ('hashOf' in id && value !== undefined) throw bad(`events of ${t.plan.name} get their id from ${id.hashOf.join(', ')}`, { path: 'event_id', hint: 'Leave event_id out.' });
  return 'position' in id && value !== undefined ? String(value) : null;
}

/** `entity_id` stands for the key column of the one single-key entity that lacks it. */
function fillKey(t: Target, flat: Fields, value: unknown, prefix: string): void {
  if (value === undefined) return;
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (typeof text !== 'string' || text === '') throw bad(`entity_id ${JSON.stringify(value)} is no key`, { path: 'entity_id', hint: 'A key is a text or a whole number.' });
  // Saying what the payload says already is no mistake.
  if (t.single.some(s => String(pick(flat, s.column) ?? '') === text)) return;
  const missing = t.single.filter(s => (pick(flat, s.column) ?? '') === '');
  const required = missing.filter(s => s.required);
  const [one, ...more] = required.length > 0 ? required : missing;
  if (!one) {
    const names = t.single.map(s => s.column);
    throw bad(`entity_id ${JSON.stringify(value)} is none of the keys in the payload`, {
      path: 'entity_id',
      hint:
        names.length > 0
          ? `The payload already says ${names.join(', ')}: leave entity_id out.`
          : `${t.event.type} feeds no entity with a single key: write its columns into the payload.`,
    });
  }
  if (more.length > 0) throw bad(`entity_id may be ${[one, ...more].map(s => s.column).join(' or ')}`, { path: 'entity_id', hint: `Write ${prefix}${one.column} instead.` });
  if (one.numeric && !Number.isSafeInteger(Number(text))) throw bad(`${one.column} is a number, entity_id ${JSON.stringify(value)} is not`, { path: 'entity_id' });
  assign(flat, one.column, one.numeric ? Number(text) : text);
}

/** Sets a column by its dotted name, where {@link pick} finds it. */
function assign(flat: Fields, name: string, value: unknown): void {
  if (name in flat || !name.includes('.')) {
    flat[name] = value;
    return;
  }
  const parts = name.split('.');
  let at = flat;
  for (const part of parts.slice(0, -1)) {
    const inner = at[part];
    const copy: Fields = inner !== null && typeof inner === 'object' ? { ...(inner as Fields) } : {};
    at[part] = copy;
    at = copy;
  }
  at[parts[parts.length - 1]!] = value;
}

/** JSON text would turn such a number into null: `1e999` in a request, NaN in a program. */
function checkFinite(value: unknown, prefix: string, path = ''): void {
  if (typeof value === 'number' && !Number.isFinite(value)) throw bad(`${path}: not a finite number`, { path: prefix + path });
  if (value !== null && typeof value === 'object') for (const [k, v] of Object.entries(value)) checkFinite(v, prefix, path === '' ? k : `${path}.${k}`);
}

function textOf(flat: Fields): string {
  try {
    return JSON.stringify(flat);
  } catch {
    // BigInt, from code: int64 columns read it from text.
    return toJson(flat);
  }
}

function rejected(t: Target, { flat, prefix }: Shaped, reason: string): FabraError {
  const column = /^([^\s:]+): /.exec(reason)?.[1];
  const missing = column !== undefined && (pick(flat, column) ?? null) === null;
  if (missing && t.single.some(s => s.column === column))
    return bad(`${t.event.type} needs ${column}`, { path: prefix + column, hint: `Put ${column} into the ${prefix ? 'payload' : 'event'}, or give entity_id.` });
  const near = missing
    ? didYouMean(
        column,
        Object.keys(flat).filter(k => !t.fields.has(k)),
      )
    : undefined;
  return bad(`${t.event.type}: ${reason}`, {
    path: column && prefix + column,
    hint: near ? `Is ${near} meant to be ${column}?` : `Its fields are: ${t.event.input.map(c => (c.nullable ? `${c.name}?` : c.name)).join(', ')}.`,
  });
}

function keyless(t: Target, { prefix }: Shaped): FabraError {
  const names = t.keys.map(k => k.join(' with '));
  return bad(`${t.event.type} says no entity: ${names.join(', ')} missing or empty`, {
    path: prefix + t.keys[0]![0],
    hint: t.single.length > 0 ? 'Put the key into the payload, or give entity_id.' : 'Put the key into the payload.',
  });
}
