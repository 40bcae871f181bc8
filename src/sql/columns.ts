/** Names, literals and physical columns: the only place where text from a registry becomes SQL text. */
import type { ColumnKind, ColumnPlan, Registry } from '../registry/types.ts';

const SUFFIX: Record<ColumnKind, string> = { string: 's', bool: 'b', int: 'i', decimal: 'd', int64: 'l' };

/** The log relation's column for a (name, kind): `price:d2`, `product_id:s`. Two kinds of one name are two columns. */
export function physicalColumn(name: string, kind: ColumnKind, places?: number): string {
  return `${name}:${SUFFIX[kind]}${kind === 'decimal' ? (places ?? 0) : ''}`;
}

export function physicalType(kind: ColumnKind): 'VARCHAR' | 'BOOLEAN' | 'BIGINT' {
  return kind === 'string' ? 'VARCHAR' : kind === 'bool' ? 'BOOLEAN' : 'BIGINT';
}

export function ident(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A VARCHAR literal. NUL cannot stand in SQL text, so it is put together from `chr(0)`. */
export function text(value: string): string {
  const parts = value.split('\0').map(part => `'${part.replaceAll("'", "''")}'`);
  return parts.length === 1 ? (parts[0] as string) : `(${parts.join(' || chr(0) || ')})`;
}

/** An integer literal from decimal text; anything else is refused, so nothing can be spliced in. */
export function integer(value: string | number | bigint): string {
  const digits = String(value);
  if (!/^-?\d{1,38}$/.test(digits)) throw new Error(`not an integer: ${digits}`);
  const n = BigInt(digits);
  return n >= -(2n ** 63n) && n < 2n ** 63n ? `CAST('${digits}' AS BIGINT)` : `CAST('${digits}' AS HUGEINT)`;
}

/** Every distinct plan a column name has over the event types of a stream. */
export function columnPlans(registry: Registry, stream: string, events: readonly string[], name: string): ColumnPlan[] {
  const found = new Map<string, ColumnPlan>();
  for (const type of events) {
    const plan = registry.events[`${stream}/${type}`]?.columns.find(c => c.name === name);
    if (plan !== undefined) found.set(physicalColumn(plan.name, plan.kind, plan.places), plan);
  }
  return [...found.values()];
}

/** A row fills at most one physical column of a name, so coalesce picks the one of its type. */
export function anyOf(parts: string[], otherwise: string): string {
  return parts.length === 0 ? otherwise : parts.length === 1 ? (parts[0] as string) : `coalesce(${parts.join(', ')})`;
}

/** A key part as the text that spine keys are compared to: integers canonical, booleans true/false. */
export function keyText(registry: Registry, stream: string, events: readonly string[], name: string, row: string): string {
  const plans = columnPlans(registry, stream, events, name);
  return anyOf(
    plans.map(p => {
      const column = `${row}.${ident(physicalColumn(p.name, p.kind, p.places))}`;
      return p.kind === 'string' ? column : `CAST(${column} AS VARCHAR)`;
    }),
    'CAST(NULL AS VARCHAR)',
  );
}
