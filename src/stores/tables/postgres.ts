/** A view's SQL on Postgres: it runs there, read-only, and its rows come by cursor into a table of DuckDB, as text until they are there. */
import type pg from 'pg';
import { FabraError } from '../../lib/errors.ts';
import type { SourcePlan } from '../../registry/types.ts';
import { ident, text } from '../../sql/columns.ts';
import type { DuckParam } from '../duckdb/engine.ts';
import type { ResultColumn } from './convert.ts';
import { isInteger } from './convert.ts';
import { innerSql, type KeyFilter, keyCondition, paramsOf, type Relation, type RowSource, type SourceOptions, sourceOf } from './source.ts';

/** Rows of one fetch. */
const FETCH = 5_000;
const CONNECT_MS = 10_000;

/** Connections by address, kept for live reads. */
export class Pools {
  private readonly pools = new Map<string, pg.Pool>();

  async get(address: string): Promise<pg.Pool> {
    const found = this.pools.get(address);
    if (found) return found;
    const { default: driver } = await import('pg');
    const pool = new driver.Pool({
      connectionString: address,
      max: 8,
      connectionTimeoutMillis: CONNECT_MS,
      idleTimeoutMillis: 30_000,
      allowExitOnIdle: true,
      application_name: 'fabra',
    });
    // A server that goes away while nobody asks is found out at the next question.
    pool.on('error', () => {});
    this.pools.set(address, pool);
    return pool;
  }

  async close(): Promise<void> {
    const all = [...this.pools.values()];
    this.pools.clear();
    await Promise.all(all.map(p => p.end()));
  }
}

/** Postgres' numbers for types; what is not here is read as text. */
const TYPES: Record<number, string> = {
  16: 'BOOLEAN',
  20: 'BIGINT',
  21: 'SMALLINT',
  23: 'INTEGER',
  26: 'BIGINT',
  700: 'FLOAT',
  701: 'DOUBLE',
  1700: 'NUMERIC',
  19: 'VARCHAR',
  25: 'VARCHAR',
  1042: 'VARCHAR',
  1043: 'VARCHAR',
  2950: 'UUID',
  1082: 'DATE',
  1114: 'TIMESTAMP',
  1184: 'TIMESTAMP WITH TIME ZONE',
  114: 'JSON',
  3802: 'JSON',
  1000: 'BOOLEAN[]',
  1005: 'SMALLINT[]',
  1007: 'INTEGER[]',
  1016: 'BIGINT[]',
  1021: 'FLOAT[]',
  1022: 'DOUBLE[]',
  1231: 'NUMERIC[]',
  1009: 'VARCHAR[]',
  1014: 'VARCHAR[]',
  1015: 'VARCHAR[]',
  2951: 'UUID[]',
  1182: 'DATE[]',
};
/** Kept as text in DuckDB: numbers of any size, and what is text anyway. */
const AS_TEXT = /^(VARCHAR|UUID|JSON|NUMERIC|DECIMAL\(.*\)|ENUM\(\))$/;

function typeOf(field: pg.FieldDef): string {
  const { dataTypeID, dataTypeModifier } = field;
  if (dataTypeID !== 1700 || dataTypeModifier < 4) return TYPES[dataTypeID] ?? 'ENUM()';
  const [precision, places] = [((dataTypeModifier - 4) >> 16) & 0xffff, (dataTypeModifier - 4) & 0x7ff];
  return places <= precision ? `DECIMAL(${precision},${places})` : 'NUMERIC';
}

export class PostgresRows implements RowSource {
  private readonly options: SourceOptions;
  private readonly address: string;
  private readonly plan: SourcePlan;
  private readonly pools: Pools;
  private readonly own: boolean;
  private readonly tables: string[] = [];

  constructor(options: SourceOptions & { pools?: Pools }, address: string) {
    this.options = options;
    this.address = address;
    this.plan = sourceOf(options.view, options.code);
    this.own = options.pools === undefined;
    this.pools = options.pools ?? new Pools();
  }

  async describe(): Promise<ResultColumn[]> {
    const { view } = this.options;
    const fields = await this.session(async client => (await client.query(`select * from (${innerSql(view)}) q limit 0`, values(paramsOf(view)))).fields);
    return fields.map(f => ({ name: this.plan.fieldMapping[f.name] ?? f.name, type: typeOf(f), original: f.name }));
  }

  async relation(used: readonly ResultColumn[], filter: KeyFilter | null): Promise<Relation> {
    const { db, view, signal } = this.options;
    const table = `pg${db.next()}`;
    const columns = used.length === 0 ? [{ name: 'one', type: 'INTEGER' }] : used;
    await db.run(`CREATE TABLE ${ident(table)} (${columns.map(c => `${ident(c.name)} VARCHAR`).join(', ')})`);
    this.tables.push(table);
    const params = paramsOf(view);
    const list = used.length === 0 ? "'1' as one" : used.map(c => textOf(c)).join(', ');
    const where = filter && this.condition(filter, params);
    const sql = `select ${list} from (${innerSql(view)}) q${where === null ? '' : ` where ${where}`}`;
    await this.session(async client => {
      await client.query(`declare fabra_rows no scroll cursor for ${sql}`, values(params));
      for (;;) {
        if (signal?.aborted) throw new FabraError('INTERRUPTED', `the SQL of view '${view.id}' was stopped`);
        const { rows } = await client.query<(string | null)[]>({ text: `fetch ${FETCH} from fabra_rows`, rowMode: 'array' });
        if (rows.length === 0) return;
        await db.append(
          table,
          columns.map((_, i) => ({ type: 'VARCHAR', values: rows.map(r => r[i]!) })),
        );
      }
    });
    const typed = columns.map(c => `${fromText(c)} AS ${ident(c.name)}`).join(', ');
    return { sql: `SELECT ${typed} FROM ${ident(table)}`, params: [] };
  }

  private condition(filter: KeyFilter, params: DuckParam[]): string | null {
    const given = { columns: filter.columns.map(c => ({ name: nameOf(c), type: c.type })), keys: filter.keys.filter(k => !k.some(part => part.includes('\0'))) };
    return keyCondition(given, params, (n, type) => `$${n}::${isInteger(type) ? 'int8' : 'text'}`);
  }

  async empty(column: ResultColumn): Promise<boolean> {
    const { view } = this.options;
    const sql = `select 1 from (${innerSql(view)}) q where q.${ident(nameOf(column))} is not null limit 1`;
    return this.session(async client => (await client.query(sql, values(paramsOf(view)))).rows.length === 0);
  }

  /** One read-only transaction; the connection goes back only when all went well. */
  private async session<T>(action: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const { signal, timeoutMs } = this.options;
    const stop = stopped(signal);
    let client: pg.PoolClient | undefined;
    let good = false;
    try {
      const pool = await this.pools.get(this.address);
      const connecting = pool.connect();
      // Given up on meanwhile: it goes back when it comes.
      connecting.then(
        late => stop.done && client === undefined && late.release(),
        () => {},
      );
      client = await Promise.race([connecting, stop.promise]);
      const limit = timeoutMs === undefined ? '' : `; set local statement_timeout = ${Math.max(1, Math.trunc(timeoutMs))}`;
      await Promise.race([
        client.query(`begin transaction isolation level repeatable read read only; set local timezone = 'UTC'; set local datestyle = 'ISO, YMD'${limit}`),
        stop.promise,
      ]);
      const out = await Promise.race([action(client), stop.promise]);
      await client.query('commit');
      good = true;
      return out;
    } catch (e) {
      if (stop.aborted && client) void cancel(await this.pools.get(this.address), client);
      throw this.error(e);
    } finally {
      stop.end();
      client?.release(!good);
    }
  }

  error(e: unknown): FabraError {
    if (e instanceof FabraError) return e;
    const { view } = this.options;
    const { code } = e as { code?: string };
    const message = this.masked(e instanceof AggregateError ? e.errors.map(x => (x as Error).message).join('; ') : e instanceof Error ? e.message : String(e));
    if (/^INTERRUPT/i.test(message) || this.options.signal?.aborted) return new FabraError('INTERRUPTED', `the SQL of view '${view.id}' was stopped`);
    if (code !== undefined && /^(22|42|0A|25006)/.test(code))
      return new FabraError('BAD_QUERY', `view '${view.id}': ${message}`, { hint: 'Its SQL runs on Postgres, read-only; mend it in the definitions.', cause: e });
    if (code === undefined && /^(Conversion|Invalid Input|Binder|Parser|Catalog)/i.test(message))
      return new FabraError('BAD_QUERY', `view '${view.id}': ${message}`, { hint: 'Change the SQL, or cast the column.', cause: e });
    return new FabraError('SOURCE_FAILED', `source '${this.plan.name}' (${this.shown()}): ${message}`, {
      hint: 'Check that Postgres runs there and lets this user in.',
      retry: true,
    });
  }

  private password(): string | null {
    try {
      return new URL(this.address).password || null;
    } catch {
      return null;
    }
  }

  /** The address without its password. */
  private shown(): string {
    try {
      const url = new URL(this.address);
      return `postgres://${url.username === '' ? '' : `${url.username}${url.password === '' ? '' : ':***'}@`}${url.host}${url.pathname}`;
    } catch {
      return 'postgres://…';
    }
  }

  private masked(message: string): string {
    const secret = this.password();
    if (secret === null) return message;
    let plain = secret;
    try {
      plain = decodeURIComponent(secret);
    } catch {
      // Not encoded: it is plain as it stands.
    }
    return message.replaceAll(this.address, this.shown()).replaceAll(secret, '***').replaceAll(plain, '***');
  }

  async close(): Promise<void> {
    for (const t of this.tables) await this.options.db.run(`DROP TABLE IF EXISTS ${ident(t)}`);
    if (this.own) await this.pools.close();
  }
}

/** bigints go as text: Postgres reads the type from where they stand. */
const values = (params: readonly DuckParam[]): (string | number | boolean | null)[] => params.map(p => (typeof p === 'bigint' ? String(p) : p));

const nameOf = (c: ResultColumn): string => c.original ?? c.name;
const textOf = (c: ResultColumn): string => {
  const column = `q.${ident(nameOf(c))}`;
  return `${c.type.endsWith('[]') ? `to_json(${column}::text[])` : column}::text as ${ident(c.name)}`;
};

function fromText(c: ResultColumn): string {
  const inner = c.type.endsWith('[]') ? c.type.slice(0, -2) : null;
  if (inner !== null) return `CAST(from_json(${ident(c.name)}, ${text('["VARCHAR"]')}) AS ${AS_TEXT.test(inner) ? 'VARCHAR' : inner}[])`;
  return AS_TEXT.test(c.type) ? ident(c.name) : `CAST(${ident(c.name)} AS ${c.type})`;
}

interface Stop {
  promise: Promise<never>;
  readonly aborted: boolean;
  readonly done: boolean;
  end(): void;
}

/** A promise that fails when the signal aborts. */
function stopped(signal: AbortSignal | undefined): Stop {
  let fail: () => void = () => {};
  const promise = new Promise<never>((_, reject) => (fail = () => reject(new Error('INTERRUPT: the signal aborted'))));
  promise.catch(() => {});
  const state = { promise, aborted: false, done: false, end: () => {} };
  const onAbort = () => {
    state.aborted = true;
    fail();
  };
  state.end = () => {
    state.done = true;
    signal?.removeEventListener('abort', onAbort);
  };
  if (signal?.aborted) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  return state;
}

/** Tells the server to end what this connection asked for; a connection that is dropped alone would let it run on. */
async function cancel(pool: pg.Pool, client: pg.PoolClient): Promise<void> {
  const pid = (client as unknown as { processID?: number }).processID;
  if (pid !== undefined) await pool.query('select pg_cancel_backend($1)', [pid]).catch(() => {});
}
