/** Reading and publishing by definitions instead of names: what the embedded store and the test harness share. */
import type { Cell } from '../engine/values.ts';
import { FabraError } from '../lib/errors.ts';
import { didYouMean, suggest } from '../lib/text.ts';
import { readInstant } from '../lib/time.ts';
import { derivePlan } from './derive.ts';
import type { Compiled, Project } from './project.ts';
import { Publisher, type PublishResult } from './publish.ts';
import { type PushRow, pushableView, pushRows } from './push.ts';
import { limitOf, maxAgeOf, refuseStale, staleOf } from './read/stale.ts';
import { FeatureReader } from './reader.ts';
import { keyText } from './server/request.ts';

type Fields = Record<string, unknown>;
type Row = Record<string, string>;

/** One column of an answer. */
interface Column {
  id: string;
  name: string;
  /** Key column of the feature -> column of the request, for an alias. */
  keys: Row;
}

interface Selection {
  columns: Column[];
  /** Columns of the request that the features' keys come from. */
  needed: string[];
  required: { feature: string; name: string }[];
}

export interface AccessOptions {
  asOf?: unknown;
  request?: unknown;
  maxAge?: unknown;
  strict?: boolean;
}

/** A cell, and by how much it is too old: milliseconds. */
export type AccessCell = Cell & { stale?: { age: number; maxAge: number } };

export interface AccessAnswer {
  names: string[];
  /** By row, then by name. */
  cells: AccessCell[][];
}

/** An event as code publishes it. */
export interface OutgoingEvent {
  payload: Fields;
  eventId?: string;
  timestamp?: unknown;
  entityId?: string | number;
}

const OPTIONS = ['asOf', 'request', 'maxAge', 'strict'];

export class FeatureAccess {
  readonly compiled: Compiled;
  readonly reader: FeatureReader;
  readonly publisher: Publisher;
  private readonly project: Project;
  private readonly selections = new WeakMap<object, Selection>();

  constructor(project: Project, compiled: Compiled) {
    this.project = project;
    this.compiled = compiled;
    this.reader = new FeatureReader(project, compiled.registry, compiled.code);
    this.publisher = new Publisher(project, compiled);
  }

  /**
   * Cells of a service or a list of features for each row of keys.
   * @throws FabraError UNKNOWN_FEATURE, NAME_COLLISION, BAD_KEY, BAD_TIME, BAD_REQUEST, STALE_FEATURES, AS_OF_EXPIRED.
   */
  async read(asked: unknown, rows: readonly unknown[], options: AccessOptions = {}): Promise<AccessAnswer> {
    const stray = Object.keys(options).find(k => !OPTIONS.includes(k));
    if (stray !== undefined) throw new FabraError('BAD_REQUEST', `there is no option ${JSON.stringify(stray)}`, { path: stray, hint: suggest(stray, OPTIONS) });
    const selection = this.select(asked);
    const at = this.instant(options.asOf, 'asOf');
    const keys = rows.map(row => keyRow(row, selection, this.columns()));
    const requests = requestsOf(options.request, selection, rows.length);
    const names = selection.columns.map(c => c.name);
    return { names, cells: await this.cells(selection, keys, at, requests, options) };
  }

  private async cells({ columns }: Selection, rows: Row[], at: number, request: unknown, options: AccessOptions): Promise<AccessCell[][]> {
    const { registry } = this.compiled;
    const plans = columns.map(c => registry.features[c.id]!);
    const names = columns.map(c => c.name);
    const allowed = maxAgeOf(options.maxAge, names, 'maxAge');
    const features = columns.map(({ id, keys }) => (Object.keys(keys).length === 0 ? id : { id, keys }));
    const { cells } = await this.reader.read({ features, rows, at, request });
    if (options.strict) refuseStale(staleOf(plans, names, cells, at, allowed));
    const limits = plans.map((f, i) => limitOf(f, names[i]!, allowed));
    return cells.map(row =>
      row.map((cell, i): AccessCell => {
        const limit = limits[i]!;
        return limit === null || cell.ts === null || at - cell.ts <= limit ? cell : { ...cell, stale: { age: at - cell.ts, maxAge: limit } };
      }),
    );
  }

  /** Durable when resolved; one result per event. */
  async publish(event: unknown, events: readonly OutgoingEvent[]): Promise<PublishResult[]> {
    const { type, stream } = (event ?? {}) as { type?: unknown; stream?: { name?: unknown } };
    if (typeof type !== 'string' || typeof stream?.name !== 'string')
      throw new FabraError('BAD_REQUEST', 'the first argument is not an event', { hint: "Give what stream.event(…) returned: store.publish(purchase, { user_id: 'u1' })." });
    const id = `${stream.name}/${type}`;
    if (!Object.hasOwn(this.compiled.registry.events, id))
      throw new FabraError('UNKNOWN_EVENT', `the project has no event ${JSON.stringify(id)}`, { hint: suggest(id, Object.keys(this.compiled.registry.events)) });
    // An event with a column of that name is sent flat, or its column would be taken for the envelope's.
    const flat = this.compiled.registry.events[id]!.input.some(c => c.name.split('.')[0] === 'payload');
    return this.publisher.publish(
      events.map(({ payload, eventId, timestamp, entityId }) => {
        const around = {
          ...(eventId !== undefined && { event_id: eventId }),
          ...(timestamp !== undefined && { timestamp }),
          ...(entityId !== undefined && { entity_id: entityId }),
        };
        return { type: id, event: flat ? { ...payload, ...around } : { payload, ...around } };
      }),
    );
  }

  /**
   * Rows of a feature's view: key columns, `timestamp`, and `value` or (for a view of several features) each by its name.
   * @throws FabraError BAD_KEY, BAD_VALUE, BAD_TIME; nothing is written then.
   */
  async push(feature: unknown, rows: readonly unknown[]): Promise<void> {
    const id = this.idOf(feature);
    const view = pushableView(this.compiled, id);
    const columns = this.compiled.registry.entities[view.entity]!.key;
    const name = this.compiled.registry.features[id]!.name;
    const made = rows.map((given, i): PushRow => {
      const { timestamp, ...rest } = (given ?? {}) as Fields;
      const keys: Row = {};
      for (const c of columns) {
        if (rest[c] !== undefined) keys[c] = keyText(rest[c], `rows[${i}].${c}`);
        delete rest[c];
      }
      if (view.features.length === 1 && 'value' in rest && name !== 'value') {
        const { value, ...others } = rest;
        return { keys, values: { [name]: value, ...others }, ts: this.instant(timestamp, 'timestamp'), created: this.project.clock.now() };
      }
      return { keys, values: rest, ts: this.instant(timestamp, 'timestamp'), created: this.project.clock.now() };
    });
    await pushRows(this.project, this.compiled, view, made);
  }

  /** @throws FabraError BAD_TIME. */
  instant(value: unknown, what: string): number {
    if (value === undefined || value === null) return this.project.clock.now();
    const t = readInstant(value);
    if (t === null)
      throw new FabraError('BAD_TIME', `${what} ${JSON.stringify(value)} is not an instant`, {
        path: what,
        hint: "Write ISO 8601 ('2025-01-15T12:05:00Z'), epoch milliseconds or a Date.",
      });
    return t;
  }

  /** Id of a definition in this project. @throws FabraError UNKNOWN_FEATURE. */
  idOf(given: unknown): string {
    const { kind, name, entity } = (given ?? {}) as { kind?: unknown; name?: unknown; entity?: { name?: unknown } };
    if (kind !== 'feature') throw new FabraError('BAD_REQUEST', 'this is not a feature', { hint: 'Give what feature(…) returned, a list of those, or a service.' });
    const id = `${String(entity?.name)}.${String(name)}`;
    const known = this.compiled.registry.features;
    if (Object.hasOwn(known, id)) return id;
    throw new FabraError('UNKNOWN_FEATURE', `the project has no feature ${JSON.stringify(id)}`, { hint: suggest(id, Object.keys(known)) });
  }

  /** Key columns that a read of this needs. */
  keysOf(asked: unknown): readonly string[] {
    return this.select(asked).needed;
  }

  private select(asked: unknown): Selection {
    if (typeof asked !== 'object' || asked === null)
      throw new FabraError('BAD_REQUEST', 'this is neither a service nor a list of features', { hint: 'Write store.features([userViews5m], …).' });
    let known = this.selections.get(asked);
    if (!known) this.selections.set(asked, (known = this.make(asked)));
    return known;
  }

  private make(asked: object): Selection {
    const service = asked as { kind?: unknown; features?: readonly unknown[]; fullNames?: boolean };
    const list = service.kind === 'service' ? service.features! : Array.isArray(asked) ? asked : [asked];
    if (list.length === 0) throw new FabraError('BAD_REQUEST', 'the list of features is empty', { hint: 'Name at least one.' });
    const columns = list.map(entry => this.column(entry, service.fullNames === true));
    columns.forEach((c, i) => {
      const other = columns.findIndex(o => o.name === c.name);
      if (other < i)
        throw new FabraError('NAME_COLLISION', `${columns[other]!.id} and ${c.id} are both named '${c.name}'`, {
          hint: "Read them by full names: service('name', [...], { fullNames: true }).",
        });
    });
    const { registry, code } = this.compiled;
    const needed = new Set<string>();
    const required: Selection['required'] = [];
    for (const { id, keys } of columns) {
      const { windows, others, steps } = derivePlan(registry, code, [id]);
      for (const f of [...windows, ...others, ...steps.map(s => s.plan)]) for (const c of registry.entities[f.entity]!.key) needed.add(keys[c] ?? c);
      for (const s of steps) for (const r of s.plan.request) if (r.required) required.push({ feature: s.plan.name, name: r.name });
    }
    return { columns, needed: [...needed], required };
  }

  private column(entry: unknown, full: boolean): Column {
    const alias = entry as { kind?: unknown; feature?: unknown; keys?: Row; alias?: string };
    const aliased = alias?.kind === 'alias';
    const id = this.idOf(aliased ? alias.feature : entry);
    const short = this.compiled.registry.features[id]!.name;
    return { id, name: full ? (aliased ? `${alias.alias}__${short}` : id.replace('.', '__')) : short, keys: aliased ? { ...alias.keys } : {} };
  }

  private columns(): Set<string> {
    return new Set(Object.values(this.compiled.registry.entities).flatMap(e => e.key));
  }
}

function keyRow(given: unknown, { needed }: Selection, known: ReadonlySet<string>): Row {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new FabraError('BAD_KEY', 'keys are not an object of key columns', { hint: `Write { ${needed.map(c => `${c}: '…'`).join(', ')} }.` });
  const row: Row = {};
  for (const [column, value] of Object.entries(given)) {
    if (!needed.includes(column) && !known.has(column))
      throw new FabraError('BAD_KEY', `no entity has the key column ${JSON.stringify(column)}`, { path: column, hint: suggest(column, needed) });
    row[column] = keyText(value, column);
  }
  const missing = needed.find(c => !Object.hasOwn(row, c));
  if (missing !== undefined) throw new FabraError('BAD_KEY', `the key column ${missing} is missing`, { path: missing, hint: `These features need: ${needed.join(', ')}.` });
  return row;
}

function requestsOf(request: unknown, selection: Selection, rows: number): unknown {
  const check = (given: unknown, path: string): void => {
    if (given !== undefined && (typeof given !== 'object' || given === null || Array.isArray(given)))
      throw new FabraError('BAD_REQUEST', `${path} is not an object`, { path, hint: 'Give one object for all rows, or a list of one per row.' });
    for (const { feature, name } of selection.required) {
      if ((given as Fields | undefined)?.[name] !== undefined) continue;
      const near = didYouMean(name, Object.keys(given ?? {}));
      throw new FabraError('BAD_REQUEST', `${feature} needs ${name} from the request`, {
        path: `${path}.${name}`,
        hint: near ? `Is ${near} meant to be ${name}?` : `Add { request: { ${name}: … } }.`,
      });
    }
  };
  if (!Array.isArray(request)) check(request ?? undefined, 'request');
  else if (request.length !== rows)
    throw new FabraError('BAD_REQUEST', `request has ${request.length} entries for ${rows} rows`, {
      path: 'request',
      hint: 'Give one object for all rows, or a list of one per row.',
    });
  else request.forEach((r, i) => check(r, `request[${i}]`));
  return request ?? undefined;
}
