/** What a client asks, checked in full before anything is read: which features, for which keys, as of when. */
import { FabraError } from '../../lib/errors.ts';
import { didYouMean, joinKey, MAX_KEY_BYTES, suggest } from '../../lib/text.ts';
import { readInstant } from '../../lib/time.ts';
import { type MaxAge, maxAgeOf } from '../read/stale.ts';
import type { AliasAsked, Names, Selection } from './names.ts';

export interface Limits {
  /** Rows of one request. */
  rows: number;
  /** Rows times features. */
  cells: number;
}

export interface Asked {
  selection: Selection;
  /** Different keys to read. */
  rows: Record<string, string>[];
  /** Per answer row: its row among `rows`; null when they are the same. */
  places: number[] | null;
  /** Rows of the answer. */
  length: number;
  at: number;
  request: unknown;
  maxAge: MaxAge;
  /** Stale values fail the request. */
  strict: boolean;
}

type Fields = Record<string, unknown>;

const FIELDS = ['entities', 'features', 'service', 'request', 'as_of', 'full_names', 'max_age', 'strict'];

const bad = (message: string, path: string, hint?: string): FabraError => new FabraError('BAD_REQUEST', message, { path, hint });
const badKey = (message: string, path: string, hint?: string): FabraError => new FabraError('BAD_KEY', message, { path, hint });

/** The body of POST /v1/features. */
export function parseFeatures(body: unknown, names: Names, now: number, limits: Limits): Asked {
  if (!isObject(body)) throw bad('the body is not a JSON object', '', 'Send {"entities": {"user_id": ["u1"]}, "features": ["…"]} as application/json.');
  for (const field of Object.keys(body)) if (!FIELDS.includes(field)) throw bad(`there is no field ${JSON.stringify(field)}`, field, suggest(field, FIELDS));
  const selection = selectionOf(body, names);
  const at = instantOf(body.as_of, now);
  const columns = keyColumns(body.entities, selection, names);
  const length = columns[0]?.values.length ?? 1;
  if (length > limits.rows || length * selection.plans.length > limits.cells)
    throw new FabraError('TOO_LARGE', `${length} rows of ${selection.plans.length} features in one request`, {
      path: 'entities',
      hint: `At most ${limits.rows} rows and ${limits.cells} values: ask in several requests.`,
    });
  const request = requestOf(body.request, selection, length);
  const maxAge = maxAgeOf(body.max_age, selection.names);
  const strict = flag(body.strict, 'strict') === true;
  return { selection, at, request, maxAge, strict, ...rowsOf(columns, length, selection, selection.derived && Array.isArray(request)) };
}

const isObject = (v: unknown): v is Fields => v !== null && typeof v === 'object' && !Array.isArray(v);

function selectionOf(body: Fields, names: Names): Selection {
  const { features, service } = body;
  if ((features === undefined || features === null) === (service === undefined || service === null))
    throw bad(
      'name either features or a service',
      features === undefined || features === null ? 'features' : 'service',
      'Send "features": ["user_views_5m"] or "service": "ranking".',
    );
  const full = flag(body.full_names, 'full_names');
  if (service !== undefined && service !== null) {
    if (typeof service !== 'string') throw bad('service is not a text', 'service');
    return names.service(service, full);
  }
  if (!Array.isArray(features) || features.length === 0) throw bad('features is not a list of at least one name', 'features', 'Send "features": ["user_views_5m"].');
  return names.list(
    features.map((f: unknown, i) => askedOf(f, `features[${i}]`, names)),
    'features',
    full,
  );
}

/** A name, or `{feature, alias, keys}`. */
function askedOf(given: unknown, path: string, names: Names): string | AliasAsked {
  if (typeof given === 'string') return given;
  const hint = 'Send "user_views_5m", or {"feature": "temperature", "alias": "origin", "keys": {"location_id": "origin_id"}}.';
  if (!isObject(given)) throw bad('a name of a feature is a text', path, hint);
  const { feature, alias, keys, ...others } = given;
  const [stray] = Object.keys(others);
  if (stray !== undefined) throw bad(`there is no field ${JSON.stringify(stray)}`, `${path}.${stray}`, hint);
  if (typeof feature !== 'string' || typeof alias !== 'string' || !/^[a-z_]\w*$/i.test(alias)) throw bad('an alias has a feature and a name', path, hint);
  if (!isObject(keys) || Object.values(keys).some(v => typeof v !== 'string' || v === '')) throw bad('keys of an alias are texts', `${path}.keys`, hint);
  for (const column of Object.keys(keys))
    if (!names.keyColumns.has(column)) throw badKey(`no entity has the key column ${JSON.stringify(column)}`, `${path}.keys.${column}`, columnHint(column, names));
  return { feature, alias, keys: keys as Record<string, string> };
}

function flag(value: unknown, path: string): boolean | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'boolean') throw bad(`${path} is neither true nor false`, path);
  return value;
}

export function instantOf(value: unknown, now: number): number {
  if (value === undefined || value === null) return now;
  // A plus sign in a URL arrives as a space.
  const t = readInstant(typeof value === 'string' ? value.replace(/(T.*) (\d\d:?\d\d)$/, '$1+$2') : value);
  if (t === null)
    throw new FabraError('BAD_TIME', `as_of ${JSON.stringify(value)} is not an instant`, { path: 'as_of', hint: "Write ISO 8601 ('2025-01-15T12:05:00Z') or epoch milliseconds." });
  return t;
}

interface Column {
  name: string;
  values: string[];
}

/** The key columns that were sent, as texts; all needed ones are there and equally long. */
function keyColumns(entities: unknown, selection: Selection, names: Names): Column[] {
  if (!isObject(entities)) throw bad('entities is not an object of key columns', 'entities', `Send "entities": {${selection.columns.map(c => `"${c}": ["…"]`).join(', ')}}.`);
  const given: Column[] = [];
  let length = -1;
  for (const name of Object.keys(entities)) {
    const path = `entities.${name}`;
    if (!names.keyColumns.has(name) && !selection.columns.includes(name))
      throw badKey(`no entity has the key column ${JSON.stringify(name)}`, path, columnHint(name, names, selection.columns));
    const list = entities[name];
    if (!Array.isArray(list)) throw badKey(`${name} is not a list of keys`, path, `Send "${name}": ["…"].`);
    if (list.length === 0) throw badKey(`${name} is an empty list`, path, 'Send at least one key.');
    if (length >= 0 && list.length !== length)
      throw badKey(`${name} has ${list.length} keys, ${given[0]!.name} has ${length}`, path, 'All key columns have the same length: one entry per row.');
    length = list.length;
    given.push({ name, values: texts(list, path) });
  }
  for (const e of selection.entities)
    for (const column of e.key)
      if (!Object.hasOwn(entities, column))
        throw badKey(`the key column ${column} of ${e.name} is missing`, `entities.${column}`, `These features need: ${selection.columns.join(', ')}.`);
  return given;
}

function columnHint(name: string, names: Names, more: readonly string[] = []): string {
  const entity = names.registry.entities[name];
  return entity ? `Keys go by their columns: ${entity.key.join(', ')}.` : suggest(name, new Set([...names.keyColumns, ...more]));
}

function texts(list: readonly unknown[], path: string): string[] {
  const out: string[] = new Array(list.length);
  for (let i = 0; i < list.length; i++) {
    const v = list[i];
    out[i] = typeof v === 'string' && v.length > 0 && v.length <= 300 && v.isWellFormed() ? v : keyText(v, `${path}[${i}]`);
  }
  return out;
}

/** A key as text: whole numbers in canonical form. */
export function keyText(v: unknown, path: string): string {
  if (typeof v === 'string') {
    if (v === '') throw badKey('a key is empty', path);
    if (!v.isWellFormed()) throw badKey('a key holds half of a surrogate pair', path);
    if (Buffer.byteLength(v) > MAX_KEY_BYTES) throw badKey(`a key has more than ${MAX_KEY_BYTES} bytes`, path);
    return v;
  }
  if (typeof v === 'number') {
    if (Number.isSafeInteger(v)) return String(v + 0);
    throw badKey(Number.isInteger(v) ? `the key ${v} has lost digits on its way` : `a key is a text or a whole number, not ${v}`, path, 'Send it as text.');
  }
  throw badKey(
    `a key is a text or a whole number, not ${v === null ? 'null' : Array.isArray(v) ? 'a list' : `a value of type ${typeof v}`}`,
    path,
    'Leave out rows that have no key.',
  );
}

function requestOf(request: unknown, selection: Selection, length: number): unknown {
  if (request !== undefined && request !== null && typeof request !== 'object')
    throw bad('request is not an object', 'request', 'Send one object for all rows, or a list of one per row.');
  if (Array.isArray(request)) {
    if (request.length !== length) throw bad(`request has ${request.length} entries for ${length} rows`, 'request', 'Send one object for all rows, or a list of one per row.');
    request.forEach((r, i) => {
      if (!isObject(r)) throw bad('an entry of request is not an object', `request[${i}]`);
      requireAll(r, selection, `request[${i}]`);
    });
    return request;
  }
  requireAll((request ?? {}) as Fields, selection, 'request');
  return request ?? undefined;
}

function requireAll(given: Fields, selection: Selection, path: string): void {
  for (const { feature, name } of selection.required)
    if (given[name] === undefined) {
      const near = didYouMean(name, Object.keys(given));
      throw bad(`${feature} needs ${name} from the request`, `${path}.${name}`, near ? `Is ${near} meant to be ${name}?` : `Send "request": {"${name}": …}.`);
    }
}

/** Rows of the needed columns; equal ones are read once. */
function rowsOf(columns: readonly Column[], length: number, { columns: needed, entities }: Selection, apart: boolean): Pick<Asked, 'rows' | 'places' | 'length'> {
  const used = columns.filter(c => needed.includes(c.name));
  const rows: Record<string, string>[] = [];
  const places: number[] = [];
  const seen = length > 1 && !apart ? new Map<string, number>() : null;
  for (let i = 0; i < length; i++) {
    const key = seen && (used.length === 1 ? used[0]!.values[i]! : joinKey(used.map(c => c.values[i]!)));
    const known = key === null ? undefined : seen!.get(key);
    if (known !== undefined) {
      places.push(known);
      continue;
    }
    const row: Record<string, string> = {};
    for (const c of used) row[c.name] = c.values[i]!;
    for (const e of entities) if (e.key.length > 1) checkTogether(e.key, row, i);
    if (key !== null) seen!.set(key, rows.length);
    places.push(rows.length);
    rows.push(row);
  }
  return { rows, length, places: rows.length === length ? null : places };
}

/** The parts of a composite key share the limit of one. */
export function checkTogether(key: readonly string[], row: Record<string, string>, i: number): void {
  let chars = 0;
  for (const c of key) chars += row[c]!.length;
  if (chars * 3 > MAX_KEY_BYTES && key.reduce((n, c) => n + Buffer.byteLength(row[c]!), 0) > MAX_KEY_BYTES)
    throw badKey(`the key ${key.join(',')} has more than ${MAX_KEY_BYTES} bytes`, `entities.${key[0]}[${i}]`);
}
