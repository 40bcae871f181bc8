/**
 * The registry: what `features.ts` compiles to, as plain JSON. Every engine (TypeScript, DuckDB, later Postgres and
 * Spark) reads this and nothing else. Record keys are sorted, so that the file is diffable and its hash is stable.
 */

/** How a column is held. `decimal` is an int64 scaled by 10^places; `int` is a safe integer; `int64` exact beyond 2^53. */
export type ColumnKind = 'string' | 'bool' | 'int' | 'decimal' | 'int64';

export interface ColumnPlan {
  /** Dotted for nested objects: `device.mobile`. */
  name: string;
  kind: ColumnKind;
  /** Decimal places of a `decimal`, 0 for `int` and `int64`, absent otherwise. */
  places?: number;
  /** May be missing or null in an accepted event. */
  nullable: boolean;
}

export interface EntityPlan {
  name: string;
  /** Column names that make the key, in order. */
  key: string[];
  /** Milliseconds, or null for none. */
  ttl: number | null;
  description?: string;
  owner?: string;
  tags?: string[];
}

/** Where an event's id comes from: a column, a hash of columns, or its position in the file or log. */
export type IdPlan = { column: string } | { hashOf: string[] } | { position: true };

export interface StreamPlan {
  name: string;
  id: IdPlan;
  /** Column that holds the event time. */
  time: string;
  /** Column that holds the event type; null when the stream has one declared event and no type column. */
  type: string | null;
  /** Milliseconds: an event below the partition's running max minus this is late. */
  lateness: number;
  /** Milliseconds ahead of the partition's max above which an event is quarantined; null = off. */
  maxAhead: number | null;
  /** Fingerprint of all that decides how bytes become rows: id, time, type, event schemas, transform code. */
  decode: string;
}

export interface EventPlan {
  stream: string;
  type: string;
  /** Columns after the transform, sorted by name; all that aggregates can use. */
  columns: ColumnPlan[];
  /** Input columns before the transform (used to type CSV cells). Same as `columns` without a transform. */
  input: ColumnPlan[];
  /** Hash of the transform's code and what it refers to at module level; null without a transform. */
  code: string | null;
  /** Hash of the schema's rules beyond its columns (ranges, patterns, allowed values, defaults); absent when its columns say all. */
  rules?: string;
}

/**
 * Two-valued filter: null is missing, a comparison with it is false, `not` is the complement.
 * Numeric literals are scaled integers in decimal text at the column's places (`"2990"` for 29.9 in decimal(2)).
 * Strings compare by UTF-8 bytes. `eq` with null value never appears.
 */
export type FilterPlan =
  | { op: 'eq' | 'gt' | 'gte' | 'lt' | 'lte'; column: string; value: string | boolean }
  | { op: 'in'; column: string; values: (string | boolean)[] }
  | { op: 'isNull'; column: string }
  | { op: 'not'; arg: FilterPlan }
  | { op: 'and' | 'or'; args: FilterPlan[] };

export type AggOp =
  | 'count'
  | 'sum'
  | 'avg'
  | 'min'
  | 'max'
  | 'stddev'
  | 'countDistinct'
  | 'approxCountDistinct'
  | 'first'
  | 'last'
  | 'firstN'
  | 'lastN'
  | 'topK'
  | 'percentile'
  | 'approxPercentile'
  | 'span';

/** One aggregate over the events of one stream. */
export interface AggPlan {
  op: AggOp;
  stream: string;
  /** Event types, sorted. */
  events: string[];
  /** Aggregated column with its kind; absent for count and span. */
  column?: { name: string; kind: ColumnKind; places?: number };
  where?: FilterPlan;
  /** firstN, lastN, topK. */
  n?: number;
  /** percentile: the quantile as an exact fraction `q = num/den`, with `0 < q <= 1`. */
  q?: { num: number; den: number };
  /** percentile: exact up to this many values in the frame; above it the cell is ERROR(CAP_EXCEEDED). */
  cap?: number;
}

/** A ratio of two aggregates over the same frame; a denominator of 0 gives `zero` (null when absent). */
export interface RatioPlan {
  op: 'ratio';
  num: AggPlan;
  den: AggPlan;
  /** Value for a zero denominator. */
  zero?: number;
}

/** Which events a feature sees at T. All bounds are closed at the start and open at the end. Milliseconds. */
export type FramePlan =
  | { kind: 'over'; w: number } // [T-w, T)
  | { kind: 'tumbling'; w: number; previous: boolean } // [floor(T,w), T) or the last complete bucket
  | { kind: 'hopping'; w: number; h: number } // [floor(T,h)-w, floor(T,h))
  | { kind: 'lifetime' } // (-inf, T)
  /**
   * The newest session with an event < T. Sessions are delimited by the aggregate's event types (for a ratio: both
   * sides' types), whatever its filter; the filter then picks what is aggregated inside.
   */
  | { kind: 'session'; gap: number };

/**
 * What a value is, for typed output columns. `number` is a double, `int` a safe integer, `int64` a BigInt, `json` anything:
 * derived code that states neither a `type` nor a default (a writer of typed files infers it from the values).
 */
export type ValueType = { base: 'number' | 'int' | 'int64' | 'string' | 'boolean' | 'json'; list: boolean };

export type Scalar = string | number | boolean | null;

interface FeatureBase {
  /** `entity.name`, unique. */
  id: string;
  entity: string;
  name: string;
  /** Milliseconds; the feature's own, else its entity's; null for none. */
  ttl: number | null;
  /** Declared default: replaces null in every status but ERROR. Absent when none. */
  default?: Scalar | Scalar[];
  /** Milliseconds: an older value is named as stale in the answer; absent when none. */
  maxAge?: number;
  type: ValueType;
  /** Hash of what the feature means: anything in it that changes makes the change breaking. */
  fingerprint: string;
  /** Raised by `apply --new-version`. */
  version: number;
  description?: string;
  owner?: string;
  tags?: string[];
}

export interface WindowFeaturePlan extends FeatureBase {
  kind: 'window';
  agg: AggPlan | RatioPlan;
  frame: FramePlan;
}

export interface DeriveFeaturePlan extends FeatureBase {
  kind: 'derive';
  /** Input name in the code -> feature id. */
  inputs: Record<string, string>;
  /** Request columns the code asks for (top-level names, with whether each is required). */
  request: { name: string; required: boolean }[];
  code: string;
  /** Written as an async function. */
  async: boolean;
  /** Async code says whether it may run over history; null when it does not say. */
  replayable: boolean | null;
  /** Milliseconds. */
  timeout: number;
  /** Milliseconds a result is used again; null for never. */
  cache: number | null;
}

/** One column of a view's rows. */
export interface TableFeaturePlan extends FeatureBase {
  kind: 'table';
  /** Id of the view. */
  view: string;
  /** Its place in the view's features, and in a row's values. */
  at: number;
}

export interface FoldFeaturePlan extends FeatureBase {
  kind: 'fold';
  /** `stream/type`, sorted. */
  events: string[];
  code: string;
}

export interface OnFeaturePlan extends FeatureBase {
  kind: 'on';
  /** `stream/type`, sorted. */
  events: string[];
  /** Milliseconds of delays. */
  retries: { max: number; backoff: 'exponential' | 'fixed'; delay: number; maxDelay: number };
  /** Milliseconds. */
  timeout: number;
  /** Not part of the fingerprint: what a handler returned stays, a mended one goes on from there. */
  code: string;
}

/** Features with state in a store; the others are computed from them. */
export type StoredFeaturePlan = WindowFeaturePlan | TableFeaturePlan | FoldFeaturePlan | OnFeaturePlan;
export type FeaturePlan = StoredFeaturePlan | DeriveFeaturePlan;

export interface SourcePlan {
  name: string;
  /** Paths or globs relative to the project; null for Postgres, whose address is no part of the registry. */
  files: string[] | null;
  format: 'csv' | 'parquet' | 'ndjson' | null;
  time: string | null;
  created: string | null;
  /** Column of the source -> name used here. */
  fieldMapping: Record<string, string>;
}

/** JSON has no bigint. */
export type SqlParamPlan = Scalar | { bigint: string };

/** Rows of one SQL (or pushed from outside), for one or more features of an entity. */
export interface ViewPlan {
  /** `entity.feature` of its first feature. */
  id: string;
  entity: string;
  /** Null for pushed values. */
  source: string | null;
  /** With `$1` … for the parameters; null for pushed values. */
  sql: string | null;
  params: SqlParamPlan[];
  time: string | null;
  created: string | null;
  /** Values of a row, in this order. `column` null: the feature's name, else the only one left. */
  features: { id: string; column: string | null; type: ValueType }[];
  materialize: boolean;
  /** Milliseconds between scheduled runs; null for none. */
  every: number | null;
  incremental: boolean;
  /** Milliseconds of a live read. */
  timeout: number;
  /** What its stored rows mean: another hash is another table. */
  hash: string;
}

export interface ServicePlan {
  name: string;
  /** Feature ids in the order given. */
  features: string[];
  /** By place: the other name and key columns a feature is read under. Absent when there is none. */
  aliases?: ({ alias: string; keys: Record<string, string> } | null)[];
  /** Answers are named `entity__feature` (`alias__feature`). Absent for short names. */
  fullNames?: true;
  description?: string;
  owner?: string;
  tags?: string[];
}

export interface Registry {
  format: 1;
  /** Fingerprint over all that follows. */
  hash: string;
  entities: Record<string, EntityPlan>;
  streams: Record<string, StreamPlan>;
  /** By `stream/type`. */
  events: Record<string, EventPlan>;
  sources: Record<string, SourcePlan>;
  /** By id. */
  views: Record<string, ViewPlan>;
  /** By id. */
  features: Record<string, FeaturePlan>;
  services: Record<string, ServicePlan>;
  /** Feature ids so that inputs come before what derives from them. */
  order: string[];
}
