/** An open project: its stores behind their ports. Made by `cli/wire`; nothing here names an adapter. */
import type { Schema } from '../engine/decode.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { Catalog } from '../ports/catalog.ts';
import type { EventBus } from '../ports/event-bus.ts';
import type { OfflineStore } from '../ports/offline-store.ts';
import type { OnlineStore } from '../ports/online-store.ts';
import type { TableStore } from '../ports/table-store.ts';
import type { FoldCode } from '../engine/units.ts';
import type { Registry } from '../registry/types.ts';

export interface Project {
  dir: string;
  bus: EventBus;
  online: OnlineStore;
  history: OfflineStore;
  /** Rows of SQL and pushed features: their sources and their history. */
  tables: TableStore;
  catalog: Catalog;
  clock: Clock;
  log: Logger;
  close(): Promise<void>;
}

/** Code of a derived feature. */
export interface DeriveCode {
  compute(inputs: Record<string, unknown>, context: { request: unknown; now: number; keys: Readonly<Record<string, string>>; signal: AbortSignal }): unknown;
  request: Schema | null;
}

/** Code of a handler. */
export interface HandlerCode {
  handle(context: unknown): unknown;
  type: Schema;
}

/** The code side of a registry: what JSON cannot hold. */
export interface RuntimeCode {
  /** By `stream/type`. */
  schemas: ReadonlyMap<string, Schema>;
  /** By feature id. */
  derives: ReadonlyMap<string, DeriveCode>;
  /** By feature id. */
  folds: ReadonlyMap<string, FoldCode>;
  /** By feature id. */
  handlers: ReadonlyMap<string, HandlerCode>;
  /** Schemas of table features' values, by feature id. */
  types: ReadonlyMap<string, Schema>;
  /** Postgres addresses by source; secret. */
  addresses: ReadonlyMap<string, string>;
}

export interface Compiled {
  registry: Registry;
  code: RuntimeCode;
}
