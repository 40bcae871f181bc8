/**
 * The embedded store: one LMDB environment under `.fabra/store` with state, marks, the log, dead letters and the manifest of
 * history, so that what belongs together moves in one transaction. Many processes may read while one writes.
 */
import { existsSync, mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { Database, RootDatabase } from 'lmdb';
import { FabraError, toFabraError } from '../../lib/errors.ts';

export type BinaryDb = Database<Buffer, Buffer>;
export type JsonDb = Database<unknown, string>;

export interface Embedded {
  readonly path: string;
  /** Window state: see keys.ts. */
  readonly state: BinaryDb;
  /** Trim index: (namespace, day, key). */
  readonly days: BinaryDb;
  readonly log: BinaryDb;
  readonly dead: BinaryDb;
  /** Rows of tables by key: see rows.ts. */
  readonly rows: BinaryDb;
  /** Rows on their way to history. */
  readonly outbox: BinaryDb;
  /** Events that wait for handlers, which of their queues are due, and index of the ids they know: see turns.ts. */
  readonly turns: BinaryDb;
  readonly due: BinaryDb;
  readonly seen: BinaryDb;
  /** Instants first given to event ids: see the bus. */
  readonly stamps: BinaryDb;
  /** Marks, namespaces, counters, lease, registry, manifest. */
  readonly meta: JsonDb;
  /** Runs in one write transaction; commits at the end, aborts when it throws. */
  write<T>(action: () => T): T;
  /** The newest committed state of all processes. */
  refresh(): void;
  flushed(): Promise<void>;
  close(): Promise<void>;
}

/** Layout version of the environment; another one is refused, not guessed at. */
const FORMAT = 1;

export interface OpenEmbedded {
  /** Takes no lock at all: a reader opens and reads also while a writer is stopped in the middle of a transaction. */
  readOnly?: boolean;
}

export async function openEmbedded(path: string, options: OpenEmbedded = {}): Promise<Embedded> {
  const lmdb = await import('lmdb');
  const settings = { path, maxDbs: 24, noSubdir: false, maxReaders: 512 };
  try {
    // Without a whole store yet (or one by an older version, with fewer parts), a reader makes it like everyone else.
    if (options.readOnly && existsSync(join(path, 'data.mdb'))) {
      const root = lmdb.open({ ...settings, readOnly: true });
      const env = make(path, root);
      if (env && env.meta.get('format') !== undefined) return opened(env);
      await root.close();
    }
    mkdirSync(path, { recursive: true });
    requireRoom(path);
    return opened(make(path, lmdb.open(settings))!);
  } catch (e) {
    throw storeError(e, path);
  }
}

function opened(env: Embedded): Embedded {
  checkFormat(env);
  return env;
}

const PARTS = ['state', 'days', 'log', 'dead', 'rows', 'outbox', 'turns', 'due', 'seen', 'stamps'] as const;

/** Null when opened for reading alone and a part is missing. */
function make(path: string, root: RootDatabase): Embedded | null {
  const meta = root.openDB({ name: 'meta', encoding: 'json' }) as unknown as JsonDb | undefined;
  const parts = PARTS.map(name => [name, root.openDB({ name, keyEncoding: 'binary', encoding: 'binary' }) as unknown as BinaryDb | undefined] as const);
  if (!meta || parts.some(([, db]) => !db)) return null;
  return {
    path,
    ...(Object.fromEntries(parts) as Record<(typeof PARTS)[number], BinaryDb>),
    meta,
    write<T>(action: () => T): T {
      try {
        return root.transactionSync(action) as T;
      } catch (e) {
        throw storeError(e, path);
      }
    },
    refresh: () => meta.resetReadTxn(),
    flushed: async () => {
      await root.flushed;
    },
    close: () => root.close(),
  };
}

function checkFormat(env: Embedded): void {
  const found = env.meta.get('format');
  if (found === undefined) env.write(() => env.meta.put('format', FORMAT));
  else if (found !== FORMAT)
    throw new FabraError('STORE_INCOMPATIBLE', `the store under ${env.path} has format ${String(found)}, this fabra reads ${FORMAT}`, {
      hint: 'Use the fabra version that wrote it, or remove the folder and replay the log.',
    });
}

/** Less than this is full: LMDB needs a few pages to make a store. */
const ROOM = 1024 * 1024;

/** Bytes free for us on the disk of a folder; infinite where the system does not say. */
function freeBytes(path: string): number {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** LMDB maps its lock file into memory: making one on a full disk ends the process by a signal (SIGBUS), not by an error. */
function requireRoom(path: string): void {
  if (!existsSync(join(path, 'lock.mdb')) && freeBytes(path) < ROOM) throw Object.assign(new Error('no room for a new store'), { code: 'ENOSPC' });
}

/** LMDB's numbers for errors of the system: EIO is what it makes of a write that was cut short. */
const EIO = 5;
const EDQUOT = 122;

/** LMDB's own words for a full disk or a damaged file help nobody. */
export function storeError(e: unknown, path: string): FabraError {
  const number = (e as { code?: unknown } | null)?.code;
  if (number === EDQUOT || (number === EIO && freeBytes(path) < ROOM)) return toFabraError(Object.assign(e as Error, { code: 'ENOSPC' }));
  const err = toFabraError(e);
  if (err.code !== 'INTERNAL') return err;
  if (number === EIO)
    return new FabraError('DISK', `the disk under ${path} failed a write`, { hint: 'Look at the system log (dmesg) for the disk; nothing was half written.', cause: e });
  if (/MDB_CORRUPTED|MDB_INVALID|MDB_VERSION|MDB_PANIC/.test(err.message))
    return new FabraError('STORE_FAILED', `the store under ${path} cannot be read: ${err.message}`, {
      hint: 'Restore the folder from a backup, or remove it and replay the log.',
      cause: e,
    });
  if (/MDB_READERS_FULL/.test(err.message))
    return new FabraError('STORE_FAILED', 'too many processes read the store at once', { hint: 'Stop some of them (512 readers at most).', retry: true, cause: e });
  return err;
}
