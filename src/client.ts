/**
 * A typed client of `fabra serve`, for any runtime with `fetch`: Node, browsers, edge. It needs nothing of Node, and the
 * definitions it is given may be types alone: `client.features<typeof ranking>('ranking', …)`.
 */
import type {
  Asked,
  CellOf,
  CellsAsked,
  InputOfEvent,
  Instant,
  KeysAsked,
  Keyless,
  Outgoing,
  Published,
  PublishOptions,
  ReadArgs,
  ReadOptions,
  RowAsked,
  Status,
  WithEntity,
} from './define/asked.ts';
import type { AnyFeature, Listed, Service, ValueOf } from './define/feature.ts';
import type { EventDef } from './define/stream.ts';
import { systemClock } from './lib/clock.ts';

export interface ClientOptions {
  /** Address of the server: `http://localhost:8080`. */
  url: string;
  /** Sent as `authorization: Bearer …`. */
  apiKey?: string;
  /** Instead of the global one. */
  fetch?: typeof fetch;
  /** Milliseconds for one attempt, default 10,000. */
  timeoutMs?: number;
  /** Attempts after the first, default 2: for reads, and for events, whose id and time are set before the first. */
  retries?: number;
}

/** What went wrong: the server's own code and hint, or UNREACHABLE, TIMEOUT, BAD_ANSWER. */
export class FabraClientError extends Error {
  override readonly name = 'FabraClientError';
  readonly code: string;
  readonly hint: string | null;
  /** HTTP status; null when there was no answer. */
  readonly status: number | null;
  /** Path inside the request. */
  readonly path: string | null;
  constructor(code: string, message: string, detail: { hint?: string | null; status?: number | null; path?: string | null; cause?: unknown } = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.hint = detail.hint ?? null;
    this.status = detail.status ?? null;
    this.path = detail.path ?? null;
  }
}

/** What became of one event of many. */
export type PublishOutcome = ({ ok: true } & Published) | { ok: false; error: FabraClientError };

type CallOptions = ReadOptions & { signal?: AbortSignal };
type Name<A> = A extends Service<infer N> ? N : readonly string[];
type One<F extends AnyFeature> = readonly [F];

export interface Client {
  /**
   * Values of a service or a list of features, by name; an array of keys gives an array of rows. What is missing is null (or the
   * declared default), also after an error: {@link Client.cells} tells them apart.
   * @throws FabraClientError.
   * @example const row = await client.features(ranking, { user_id: 'u1', product_id: 'p9' }, { request: { cart_total: 80 } })
   * @example const row = await client.features<typeof ranking>('ranking', { user_id: 'u1', product_id: 'p9' }, { request: { cart_total: 80 } })
   */
  features<const A extends Asked>(asked: A | Name<A>, keys: readonly KeysAsked<A>[], ...options: ReadArgs<A, true, CallOptions>): Promise<RowAsked<A>[]>;
  features<const A extends Asked>(asked: A | Name<A>, keys: KeysAsked<A>, ...options: ReadArgs<A, false, CallOptions>): Promise<RowAsked<A>>;
  /** The same with status, time and reason of every value. */
  cells<const A extends Asked>(asked: A | Name<A>, keys: readonly KeysAsked<A>[], ...options: ReadArgs<A, true, CallOptions>): Promise<CellsAsked<A>[]>;
  cells<const A extends Asked>(asked: A | Name<A>, keys: KeysAsked<A>, ...options: ReadArgs<A, false, CallOptions>): Promise<CellsAsked<A>>;
  /** One value. */
  get<F extends AnyFeature>(feature: F, keys: KeysAsked<One<F>>, ...options: ReadArgs<One<F>, false, CallOptions>): Promise<ValueOf<F>>;
  /**
   * Publishes an event; it is on the server's disk when this resolves. Id and time are set here, so a repeated attempt is the same event.
   * @throws FabraClientError UNKNOWN_EVENT, BAD_EVENT, UNREACHABLE …
   * @example await client.publish(purchase, { user_id: 'u1', amount: 9.99 }, { eventId: 'order-17' })
   */
  publish<E extends EventDef>(event: E | TypeOf<E>, payload: Keyless<E>, options: WithEntity & { signal?: AbortSignal }): Promise<Published>;
  publish<E extends EventDef>(event: E | TypeOf<E>, payload: InputOfEvent<E>, options?: PublishOptions & { signal?: AbortSignal }): Promise<Published>;
  /** Publishes many in one request; a bad one costs no good one. */
  publishMany<E extends EventDef>(event: E | TypeOf<E>, events: readonly Outgoing<E>[], options?: { signal?: AbortSignal }): Promise<PublishOutcome[]>;
}
/** `purchase`, or `stream/purchase` where streams share a type. */
type TypeOf<E> = E extends EventDef<infer T> ? T | `${string}/${T}` : never;

/** @example const client = createClient({ url: 'http://localhost:8080', apiKey: process.env.FABRA_API_KEY }) */
export function createClient(options: ClientOptions): Client {
  const http = new Http(options);
  const read = async (asked: unknown, keys: unknown, given: unknown): Promise<Read> => {
    const many = Array.isArray(keys);
    const rows = (many ? keys : [keys]) as Fields[];
    const { signal, ...rest } = (given ?? {}) as CallOptions;
    if (rows.length === 0) return { names: [], rows: [] };
    const wanted = wantedOf(asked);
    const answer = (await http.post('/v1/features', JSON.stringify({ ...wanted.body, ...bodyOf(rows, rest, wanted.sent) }, plain), { signal })) as Answer;
    return { names: wanted.names ?? answer.metadata.names, rows: rows.map((_, r) => answer.results.map((_c, i) => cellAt(answer, i, r))) };
  };
  const shape = async <T>(asked: unknown, keys: unknown, given: unknown, of: (c: CellOf<unknown>) => T): Promise<unknown> => {
    const { names, rows } = await read(asked, keys, given);
    const out = rows.map(cells => Object.fromEntries(cells.map((c, i) => [names[i]!, of(c)])));
    return Array.isArray(keys) ? out : out[0];
  };
  return {
    features: (asked: unknown, keys: unknown, given?: unknown) => shape(asked, keys, given, c => c.value),
    cells: (asked: unknown, keys: unknown, given?: unknown) => shape(asked, keys, given, c => c),
    get: async (feature: unknown, keys: unknown, given?: unknown) => (await read([feature], [keys], given)).rows[0]![0]!.value,
    publish: async (event: unknown, payload: unknown, given: PublishOptions & { signal?: AbortSignal } = {}) => {
      const { signal, ...rest } = given;
      return (await http.post(`/ingest/${typeOf(event)}`, JSON.stringify(envelope({ ...rest, payload }), plain), { signal })) as Published;
    },
    publishMany: (event: unknown, events: readonly Sent[], { signal }: { signal?: AbortSignal } = {}) => publishMany(http, typeOf(event), events, signal),
  } as Client;
}

type Fields = Record<string, unknown>;
type Sent = PublishOptions & { payload: unknown };
interface Read {
  names: readonly string[];
  rows: CellOf<unknown>[][];
}
interface Answer {
  metadata: { names: string[] };
  results: { values: unknown[]; statuses: Status[]; timestamps: (string | null)[]; reasons?: (string | null)[] }[];
  stale?: { feature: string; rows: number[]; max_age_ms: number }[];
  as_of: string;
}

const plain = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value);

/** The body's part that says what is asked, and the names of the answer where they are known here. */
function wantedOf(asked: unknown): { body: Fields; names?: readonly string[]; sent?: Record<string, string> } {
  if (typeof asked === 'string') return { body: { service: asked } };
  const service = asked as Service | null;
  if (service?.kind === 'service') return { body: { service: service.name } };
  const list = Array.isArray(asked) ? (asked as (Listed | string)[]) : [];
  if (list.length === 0) throw new FabraClientError('BAD_REQUEST', 'this is neither a service nor a list of features', { hint: 'Write client.features([userViews5m], …).' });
  const features = list.map(f => {
    if (typeof f === 'string') return f;
    return f.kind === 'alias' ? { feature: idOf(f.feature), alias: f.alias, keys: f.keys } : idOf(f);
  });
  const names = features.map(f => (typeof f === 'string' ? f : f.feature).split('.').at(-1)!);
  const twice = names.find((n, i) => names.indexOf(n) < i);
  if (twice !== undefined) throw new FabraClientError('NAME_COLLISION', `two of these features are named '${twice}'`, { hint: 'Ask for them by a service with fullNames: true.' });
  // Features go by their full ids, so that no other entity's is meant.
  const sent = Object.fromEntries(features.map((f, i) => [names[i]!, typeof f === 'string' ? f : names[i]!]));
  return { body: { features }, names, sent };
}

const idOf = (f: AnyFeature): string => `${f.entity.name}.${f.name}`;

function bodyOf(rows: readonly Fields[], { asOf, maxAge, strict, request }: ReadOptions & { request?: unknown }, sent: Record<string, string> = {}): Fields {
  const columns = [...new Set(rows.flatMap(r => Object.keys(r)))];
  return {
    entities: Object.fromEntries(columns.map(c => [c, rows.map(r => r[c])])),
    ...(request !== undefined && { request }),
    ...(asOf !== undefined && { as_of: timeText(asOf) }),
    ...(maxAge !== undefined && { max_age: typeof maxAge === 'string' ? maxAge : Object.fromEntries(Object.entries(maxAge).map(([n, d]) => [sent[n] ?? n, d])) }),
    ...(strict !== undefined && { strict }),
  };
}

const timeText = (t: Instant): string | number => (t instanceof Date ? t.toISOString() : t);

function cellAt({ metadata, results, stale, as_of }: Answer, column: number, row: number): CellOf<unknown> {
  const { values, statuses, timestamps, reasons } = results[column]!;
  // Without key columns, one row stands for all.
  const at = values.length === 1 ? 0 : row;
  const ts = timestamps[at] ?? null;
  const old = ts === null ? undefined : stale?.find(s => s.feature === metadata.names[column] && s.rows.includes(at));
  return {
    value: values[at] ?? null,
    status: statuses[at]!,
    ts: ts === null ? null : Date.parse(ts),
    ...(reasons?.[at] != null && { reason: reasons[at] }),
    ...(old && { stale: { age: Date.parse(as_of) - Date.parse(ts!), maxAge: old.max_age_ms } }),
  };
}

function typeOf(event: unknown): string {
  const text = typeof event === 'string' ? event : `${(event as EventDef).stream.name}/${(event as EventDef).type}`;
  return text.split('/').map(encodeURIComponent).join('/');
}

/**
 * Id and time are given here, before the first attempt: a second one is the same event. For a caller's own id the server keeps the
 * time it gave first, so that the same id from another process is the same event too.
 */
function envelope({ payload, eventId, timestamp, entityId }: Sent): Fields {
  const around = {
    event_id: eventId ?? globalThis.crypto.randomUUID(),
    ...(timestamp !== undefined ? { timestamp: timeText(timestamp) } : eventId === undefined && { timestamp: new Date(systemClock.now()).toISOString() }),
    ...(entityId !== undefined && { entity_id: entityId }),
  };
  // A payload with a column of that name goes flat: the server would take it for the envelope's.
  return 'payload' in (payload as Fields) ? { ...(payload as Fields), ...around } : { ...around, payload };
}

async function publishMany(http: Http, type: string, events: readonly Sent[], signal: AbortSignal | undefined): Promise<PublishOutcome[]> {
  if (events.length === 0) return [];
  const event_type = decodeURIComponent(type);
  const lines = events.map(e => JSON.stringify({ event_type, ...envelope(e) }, plain)).join('\n');
  const { results } = (await http.post('/v1/events', lines, { signal, type: 'application/x-ndjson' })) as {
    results: ({ ok: true; event_id: string; position: string } | { ok: false; error: { code: string; message: string; hint: string | null; path: string | null } })[];
  };
  return results.map(r => {
    if (r.ok) return { ok: true, event_id: r.event_id, position: r.position };
    const { code, message, hint, path } = r.error;
    return { ok: false, error: new FabraClientError(code, message, { hint, path, status: 207 }) };
  });
}

/** Statuses after which the same request may succeed: nothing was done, or doing it again changes nothing. */
const AGAIN = new Set([408, 429, 502, 503, 504]);
/** Codes with such a status that another attempt does not help. */
const FINAL = new Set(['NOT_APPLIED', 'STALE_FEATURES', 'STORE_INCOMPATIBLE', 'BAD_CONFIG']);
const FIRST_PAUSE = 100;

class Http {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #fetch: typeof fetch;
  readonly #timeout: number;
  readonly #retries: number;

  constructor({ url, apiKey, fetch: own, timeoutMs = 10_000, retries = 2 }: ClientOptions) {
    if (typeof url !== 'string' || !/^https?:\/\//.test(url))
      throw new FabraClientError('BAD_REQUEST', `url ${JSON.stringify(url)} is not an address`, { hint: "Write createClient({ url: 'http://localhost:8080' })." });
    this.#url = url.replace(/\/+$/, '');
    this.#headers = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
    // Bound: browsers refuse a fetch that is called as a method of something else.
    this.#fetch = own ?? globalThis.fetch.bind(globalThis);
    this.#timeout = timeoutMs;
    this.#retries = retries;
  }

  async post(path: string, body: string, { signal, type = 'application/json' }: { signal?: AbortSignal; type?: string }): Promise<unknown> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(path, body, type, signal);
      } catch (e) {
        if (!(e instanceof FabraClientError) || attempt >= this.#retries || signal?.aborted || !retriable(e)) throw e;
        await systemClock.sleep(FIRST_PAUSE * 2 ** attempt, signal);
      }
    }
  }

  async #once(path: string, body: string, type: string, signal: AbortSignal | undefined): Promise<unknown> {
    const timeout = AbortSignal.timeout(this.#timeout);
    let response: Response;
    let text: string;
    try {
      response = await this.#fetch(this.#url + path, {
        method: 'POST',
        headers: { ...this.#headers, 'content-type': type },
        body,
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
      text = await response.text();
    } catch (e) {
      signal?.throwIfAborted();
      if (timeout.aborted)
        throw new FabraClientError('TIMEOUT', `${this.#url} did not answer within ${this.#timeout} ms`, { hint: 'Give it more: createClient({ timeoutMs }).', cause: e });
      throw new FabraClientError('UNREACHABLE', `${this.#url} cannot be reached`, { hint: 'Is the server there? Start it with: fabra serve', cause: e });
    }
    const answer = jsonOf(text);
    if (response.ok && answer !== undefined) return answer;
    const { error } = (answer ?? {}) as { error?: { code: string; message: string; hint?: string | null; path?: string | null } };
    if (error) throw new FabraClientError(error.code, error.message, { hint: error.hint, path: error.path, status: response.status });
    throw new FabraClientError('BAD_ANSWER', `${this.#url}${path} answered ${response.status} without JSON`, {
      hint: 'Is this the address of fabra serve?',
      status: response.status,
    });
  }
}

const retriable = ({ code, status }: FabraClientError): boolean => (status === null ? true : AGAIN.has(status) && !FINAL.has(code));

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export type { Asked, CellOf, CellsAsked, InputOfEvent, Instant, KeysAsked, Keyless, Outgoing, Published, PublishOptions, ReadOptions, RowAsked, Status } from './define/asked.ts';
