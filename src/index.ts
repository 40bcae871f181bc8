/**
 * Definitions: what `features.ts` and `fabra.config.ts` import, and the store for programs. Loads no driver (`openStore` does, when
 * it is called) and registers nothing.
 */
export {
  approxCountDistinct,
  approxPercentile,
  avg,
  count,
  countDistinct,
  first,
  firstN,
  last,
  lastN,
  max,
  min,
  percentile,
  ratio,
  span,
  stddev,
  sum,
  topK,
} from './define/aggregate.ts';
export type { Agg, Condition, Filter, Framed, Windowed } from './define/aggregate.ts';
export { decimal, int64 } from './define/columns.ts';
export { defineConfig, env, type FabraConfig } from './define/config.ts';
export { type Entity, entity } from './define/entity.ts';
export {
  type Aliased,
  alias,
  derive,
  type Feature,
  feature,
  type KeysOf,
  type RequestOf,
  type RequestOfService,
  type RowOf,
  type Service,
  service,
  type ValueOf,
} from './define/feature.ts';
export { type EventDef, type Stream, stream } from './define/stream.ts';
export { pushed, query, type Source, type Sql, source, sql, type Table } from './define/table.ts';
export { type EventOf, type EventValue, type Fold, fold, type HandlerContext, NonRetriableError, type On, on, RetryAfterError, type Retries } from './define/trigger.ts';
export { FabraError } from './lib/errors.ts';
export type {
  Asked,
  CellOf,
  CellsAsked,
  InputOfEvent,
  KeysAsked,
  Outgoing,
  Published,
  PublishOptions,
  PushedRow,
  ReadOptions,
  RowAsked,
  Status,
} from './define/asked.ts';
export { createWorker, type OpenOptions, openStore, type PublishOutcome, type Store, type Worker, type WorkerSettings } from './store.ts';
