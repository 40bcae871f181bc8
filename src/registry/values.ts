/** Types of values, and defaults that fit them. */
import type { Feature } from '../define/feature.ts';
import { defOf, isSchema, columnsOf, type Schema } from './columns.ts';
import { isWellFormed, type Problems } from './problems.ts';
import type { Scalar, ValueType } from './types.ts';

const BASES = { string: 'string', bool: 'boolean', int: 'int', int64: 'int64', decimal: 'number' } as const;

/** What a derived feature says it yields: its `type`, else what its default is; `json` when neither tells. */
export function derivedType(type: unknown, fallback: unknown): ValueType {
  if (isSchema(type)) return schemaType(type);
  const list = Array.isArray(fallback);
  const sample: unknown = list ? (fallback as unknown[])[0] : fallback;
  const base =
    typeof sample === 'bigint' ? 'int64' : typeof sample === 'number' ? 'number' : typeof sample === 'string' ? 'string' : typeof sample === 'boolean' ? 'boolean' : 'json';
  return { base, list: list && base !== 'json' };
}

/** What a schema's values are. */
export const declaredType = (schema: Schema): ValueType => schemaType(schema);

function schemaType(schema: Schema): ValueType {
  const inner = unwrapped(schema);
  const def = defOf(inner) as { type: string; element?: Schema };
  const list = def.type === 'array' && def.element !== undefined;
  const one = columnsOf(cell(list ? def.element! : inner), 'output').columns.find(c => c.name === 'v');
  return one ? { base: BASES[one.kind], list } : { base: 'json', list: false };
}

/** A schema as the column of a row, for the reader of columns. */
const cell = (v: Schema): Schema => ({ _zod: { def: { type: 'object', shape: { v } } } }) as unknown as Schema;

function unwrapped(schema: Schema): Schema {
  const def = defOf(schema);
  return def.innerType && /^(nullable|optional|readonly)$/.test(def.type) ? unwrapped(def.innerType) : schema;
}

/** The default as the registry holds it; undefined when there is none or it does not fit. */
export function compileDefault(feature: Feature, type: ValueType, label: string, problems: Problems): Scalar | Scalar[] | undefined {
  if (!('default' in feature) || feature.default === undefined) return undefined;
  const value = feature.default;
  const one = (v: unknown): Scalar | undefined => fits(v, type.base);
  const all = type.list && Array.isArray(value) ? value.map(one) : undefined;
  if (all?.every(v => v !== undefined)) return all as Scalar[];
  const single = type.list ? undefined : one(value);
  if (single !== undefined) return single;
  const wanted = `${type.list ? 'a list of ' : ''}${type.base}`;
  problems.add(
    feature,
    `${label}: the default ${shown(value)} is not ${wanted}`,
    value === null ? 'Leave it out: null is what a feature without default gives.' : 'A default has the type of the value it stands for.',
  );
  return undefined;
}

function fits(v: unknown, base: ValueType['base']): Scalar | undefined {
  switch (base) {
    case 'int':
      return Number.isSafeInteger(v) ? (v as number) + 0 : undefined;
    case 'int64':
      if (typeof v === 'bigint' && BigInt.asIntN(64, v) === v) return v.toString();
      return Number.isSafeInteger(v) ? String(v) : undefined;
    case 'number':
      return typeof v === 'number' && Number.isFinite(v) ? v + 0 : undefined;
    case 'string':
      return typeof v === 'string' && isWellFormed(v) ? v : undefined;
    case 'boolean':
      return typeof v === 'boolean' ? v : undefined;
    default:
      return fits(v, 'number') ?? fits(v, 'string') ?? fits(v, 'boolean');
  }
}

const shown = (v: unknown): string => (typeof v === 'bigint' ? `${v}n` : (JSON.stringify(v) ?? String(v)));
