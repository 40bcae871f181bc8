/** Sources, and views: the rows of one SQL (or pushed from outside) with the features that take a column of them. */
import type { Entity } from '../define/entity.ts';
import type { Feature } from '../define/feature.ts';
import type { Source, SqlParam, Table } from '../define/table.ts';
import { canonicalJson } from '../lib/json.ts';
import { isSource } from './collect.ts';
import { isSchema } from './columns.ts';
import { byKey, viewMeaning } from './meaning.ts';
import type { Problems } from './problems.ts';
import type { Registry, SourcePlan, SqlParamPlan, ValueType, ViewPlan } from './types.ts';
import { declaredType } from './values.ts';

export function compileSource(s: Source, problems: Problems): SourcePlan {
  const label = `source '${s.name}'`;
  problems.strays(s, label);
  if ((s.files === null) === (s.postgres === null))
    problems.add(s, `${label} needs either files or a Postgres address`, "Write { file: 'data/orders.csv' } or { postgres: env('ORDERS_URL', 'postgres://…') }.");
  if (s.files?.some(f => typeof f !== 'string' || f === '') || s.files?.length === 0) problems.add(s, `${label}: a file is a path or a glob`, "Write { file: 'data/*.parquet' }.");
  if (s.postgres !== null && !/^postgres(ql)?:\/\//.test(String(s.postgres)))
    problems.add(s, `${label}: its address does not begin with postgres://`, 'Write postgres://user@host/database.');
  return { name: s.name, files: s.files && [...s.files], format: s.format, time: s.time, created: s.created, fieldMapping: byKey({ ...s.fieldMapping }) };
}

interface Draft {
  feature: Feature;
  spec: Table;
  type: ValueType;
}

/** Gathers table features; those of one entity with the same SQL and schedule share a view, so that it runs once. */
export class Views {
  readonly #drafts = new Map<string, Draft[]>();
  readonly #problems: Problems;

  constructor(problems: Problems) {
    this.#problems = problems;
  }

  /** Checks a feature's spec; its value type, or null when it cannot be. */
  add(f: Feature, spec: Table, label: string): ValueType | null {
    this.#problems.strays(spec, label);
    if (!isSchema(spec.type)) {
      this.#problems.add(f, `${label} does not say its type`, 'Write { type: z.string() }.');
      return null;
    }
    if ((spec.sql !== null || spec.source !== null) && !this.checkQuery(f, spec, label)) return null;
    const type = declaredType(spec.type);
    const { source, sql, materialize, every, incremental, timeout } = spec;
    const key =
      sql === null
        ? `pushed:${f.entity.name}.${f.name}`
        : canonicalJson({ entity: f.entity.name, source: source?.name, sql: sql.text, params: sql.params.map(paramOf), materialize, every, incremental, timeout });
    this.#drafts.set(key, [...(this.#drafts.get(key) ?? []), { feature: f, spec, type }]);
    return type;
  }

  private checkQuery(f: Feature, spec: Table, label: string): boolean {
    if (!isSource(spec.source))
      this.#problems.add(
        f,
        `${label}: the first argument of query is a source`,
        "Write const orders = source('orders', { file: 'data/orders.csv' }) and query(orders, sql`…`, { … }).",
      );
    const tagged = typeof spec.sql === 'object' && spec.sql?.kind === 'sql';
    if (!tagged) this.#problems.add(f, `${label}: the SQL of a query is written with the sql tag`, 'Write sql`select …`: what is interpolated becomes a parameter.');
    else if (spec.sql?.text === '') this.#problems.add(f, `${label}: its SQL is empty`);
    if (spec.every !== null && !spec.materialize) this.#problems.add(f, `${label} has a schedule but is not materialized`, 'Add materialize: true, or leave every out.');
    if (spec.every !== null && spec.every < 1_000) this.#problems.add(f, `${label}: every is at least 1s`);
    return tagged && isSource(spec.source);
  }

  /** View ids by feature id, once all are gathered; fills `parts.views`. */
  finish(parts: Pick<Registry, 'views' | 'sources'>, idOf: (f: Feature) => string): Map<string, { view: ViewPlan; at: number }> {
    const out = new Map<string, { view: ViewPlan; at: number }>();
    for (const drafts of this.#drafts.values()) {
      const sorted = [...drafts].sort((a, b) => (idOf(a.feature) < idOf(b.feature) ? -1 : 1));
      const view = viewOf(sorted, parts, idOf);
      parts.views[view.id] = view;
      sorted.forEach((d, at) => out.set(idOf(d.feature), { view, at }));
    }
    return out;
  }
}

function viewOf(drafts: readonly Draft[], parts: Pick<Registry, 'sources'>, idOf: (f: Feature) => string): ViewPlan {
  const { feature, spec } = drafts[0]!;
  const entity: Entity = feature.entity;
  const source = spec.source === null ? null : (parts.sources[spec.source.name] ?? null);
  const view = {
    id: idOf(feature),
    entity: entity.name,
    source: source?.name ?? null,
    sql: spec.sql?.text ?? null,
    params: (spec.sql?.params ?? []).map(paramOf),
    time: source?.time ?? null,
    created: source?.created ?? null,
    features: drafts.map(d => ({ id: idOf(d.feature), column: d.spec.column, type: d.type })),
    materialize: spec.materialize,
    every: spec.every,
    incremental: spec.incremental,
    timeout: spec.timeout,
  };
  return { ...view, hash: viewMeaning(view, [...entity.key], source).slice(0, 16) };
}

const paramOf = (p: SqlParam): SqlParamPlan => (typeof p === 'bigint' ? { bigint: String(p) } : p);
