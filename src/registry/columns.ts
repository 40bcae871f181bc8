/** zod schema -> columns, by reading the schema's own definition: what an event may look like before and after its transform. */
import type { z } from 'zod';
import { suggest } from '../lib/text.ts';
import type { ColumnKind, ColumnPlan } from './types.ts';

export type Schema = z.core.$ZodType;
export type Side = 'input' | 'output';
/** The parts of a zod definition that are read here, over all kinds of schema. */
export interface Def {
  type: string;
  format?: string;
  checks?: { _zod: { def: Record<string, unknown> & { format?: string } } }[];
  innerType?: Schema;
  in?: Schema;
  out?: Schema;
  shape?: Record<string, Schema>;
  options?: Schema[];
  entries?: Record<string, string | number>;
  values?: unknown[];
  left?: Schema;
  right?: Schema;
  getter?: () => Schema;
  fabra?: { decimal?: number; int64?: true };
}
export const defOf = (schema: Schema): Def => schema._zod.def as unknown as Def;
export const isSchema = (v: unknown): v is Schema => typeof v === 'object' && v !== null && '_zod' in v;

/** What a schema holds once its wrappers are off. */
type Shape =
  | { kind: ColumnKind; places?: number; nullable: boolean }
  | { kind: 'object'; fields: Map<string, Shape>; nullable: boolean }
  /** Allowed in a schema, not a column: arrays, records, unions of mixed kinds. */
  | { kind: 'other'; nullable: boolean }
  /** A transform that does not say what it yields. */
  | { kind: 'bare'; nullable: boolean };

const scalar = (kind: ColumnKind, places?: number): Shape => ({ kind, ...(places !== undefined && { places }), nullable: false });
const OTHER: Shape = { kind: 'other', nullable: false };
const NULL: Shape = { kind: 'other', nullable: true };
/** Deeper than this is a recursive schema. */
const DEPTH = 24;

const maybe = (shape: Shape): Shape => ({ ...shape, nullable: true });

function shapeOf(schema: Schema, side: Side, depth = 0): Shape {
  const def = defOf(schema);
  if (depth > DEPTH) return OTHER;
  const inner = (s: Schema | undefined): Shape => (s ? shapeOf(s, side, depth + 1) : OTHER);
  if (def.fabra?.int64) return scalar('int64', 0);
  switch (def.type) {
    case 'string':
    case 'template_literal':
      return scalar('string');
    case 'boolean':
      return scalar('bool');
    case 'bigint':
      return scalar('int64', 0);
    case 'number':
    case 'int':
      return numberShape(def);
    case 'enum':
      return valuesShape(Object.values(enumEntries(def.entries ?? {})));
    case 'literal':
      return valuesShape(def.values ?? []);
    case 'null':
    case 'undefined':
    case 'void':
      return NULL;
    case 'object':
      return { kind: 'object', fields: new Map(Object.entries(def.shape ?? {}).map(([k, s]) => [k, shapeOf(s, side, depth + 1)])), nullable: false };
    case 'union':
      return unionShape((def.options ?? []).map(inner));
    case 'intersection':
      return bothShape(inner(def.left), inner(def.right));
    case 'transform':
      return { kind: 'bare', nullable: false };
    default:
      return wrapperShape(def, side, inner);
  }
}

function wrapperShape(def: Def, side: Side, inner: (s: Schema | undefined) => Shape): Shape {
  switch (def.type) {
    case 'optional':
    case 'nullable':
      return maybe(inner(def.innerType));
    case 'default':
    case 'prefault':
    case 'catch':
      return side === 'input' ? maybe(inner(def.innerType)) : filled(inner(def.innerType), def);
    case 'nonoptional':
      return filled(inner(def.innerType), def);
    case 'readonly':
      return inner(def.innerType);
    case 'lazy':
      return inner(def.getter?.());
    case 'pipe':
      return pipeShape(def, side, inner);
    default:
      return OTHER;
  }
}

/** A default replaces undefined; null stays where the inner schema allows it. */
function filled(shape: Shape, def: Def): Shape {
  if (!shape.nullable) return shape;
  return { ...shape, nullable: allowsNull(def.innerType) };
}

/** Null itself, not a missing value. */
function allowsNull(schema: Schema | undefined): boolean {
  if (!schema) return false;
  const def = defOf(schema);
  if (def.type === 'nullable' || def.type === 'null') return true;
  if (def.type === 'union') return (def.options ?? []).some(allowsNull);
  return allowsNull(def.innerType);
}

/** The outermost output is what is stored. A preprocess (transform first) reads anything: its schema is the best guess for the input. */
function pipeShape(def: Def, side: Side, inner: (s: Schema | undefined) => Shape): Shape {
  if (side === 'output') return inner(def.out);
  const shape = inner(def.in);
  return shape.kind === 'bare' ? inner(def.out) : shape;
}

function numberShape(def: Def): Shape {
  if (def.fabra?.decimal !== undefined) return scalar('decimal', def.fabra.decimal);
  const formats = [def.format, ...(def.checks ?? []).map(c => c._zod.def.format)];
  return formats.some(f => f === 'safeint' || f === 'int32' || f === 'uint32') ? scalar('int', 0) : scalar('decimal', 6);
}

/** A TypeScript numeric enum lists its names as values too. */
function enumEntries(entries: Record<string, string | number>): Record<string, string | number> {
  const numbers = new Set(Object.values(entries).filter(v => typeof v === 'number'));
  return Object.fromEntries(Object.entries(entries).filter(([k]) => !numbers.has(Number(k))));
}

function valuesShape(values: unknown[]): Shape {
  return unionShape(
    values.map(v => {
      if (v === null || v === undefined) return NULL;
      if (typeof v === 'string') return scalar('string');
      if (typeof v === 'boolean') return scalar('bool');
      if (typeof v === 'bigint') return scalar('int64', 0);
      if (typeof v !== 'number') return OTHER;
      return values.every(x => typeof x !== 'number' || Number.isSafeInteger(x)) ? scalar('int', 0) : scalar('decimal', 6);
    }),
  );
}

function unionShape(shapes: Shape[]): Shape {
  const nullable = shapes.some(s => s.nullable);
  const real = shapes.filter(s => s !== NULL);
  const [first] = real;
  if (!first) return NULL;
  const same = first.kind !== 'object' && real.every(s => s.kind === first.kind && placesOf(s) === placesOf(first));
  return same ? { ...first, nullable } : { kind: 'other', nullable };
}
const placesOf = (s: Shape): number | undefined => ('places' in s ? s.places : undefined);

function bothShape(a: Shape, b: Shape): Shape {
  if (a.kind === 'object' && b.kind === 'object') return { kind: 'object', fields: new Map([...a.fields, ...b.fields]), nullable: a.nullable && b.nullable };
  return a.kind === b.kind ? a : OTHER;
}

export interface ColumnsResult {
  columns: ColumnPlan[];
  /** Sentences about what is wrong with the schema. */
  problems: { message: string; hint: string }[];
}

/** Columns of one side of a schema, sorted by name. */
export function columnsOf(schema: Schema, side: Side): ColumnsResult {
  const out: ColumnsResult = { columns: [], problems: [] };
  const top = shapeOf(schema, side);
  if (top.kind === 'bare') out.problems.push(BARE('its transform', '.pipe(z.object({ … }))'));
  else if (top.kind !== 'object') out.problems.push({ message: 'its schema is not an object', hint: 'Write z.object({ … }).' });
  else flatten(top.fields, '', false, out);
  out.columns.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const [i, c] of out.columns.entries())
    if (c.name === out.columns[i + 1]?.name)
      out.problems.push({ message: `the column '${c.name}' is there twice`, hint: 'A dot in a name means a nested object: rename one of them.' });
  return out;
}

const BARE = (what: string, pipe: string): { message: string; hint: string } => ({
  message: `${what} does not say which columns it yields`,
  hint: `State the columns it yields with ${pipe} after the transform.`,
});

function flatten(fields: Map<string, Shape>, prefix: string, parentNullable: boolean, out: ColumnsResult): void {
  for (const [key, shape] of fields) {
    const name = prefix + key;
    const nullable = parentNullable || shape.nullable;
    if (shape.kind === 'object') flatten(shape.fields, `${name}.`, nullable, out);
    else if (shape.kind === 'bare') out.problems.push(BARE(`the transform of '${name}'`, '.pipe(z.string()) (or its type)'));
    else if (shape.kind !== 'other') out.columns.push({ name, kind: shape.kind, ...('places' in shape && { places: shape.places }), nullable });
  }
}

/** How a column's kind reads in a sentence. */
export const kindName = (c: { kind: ColumnKind; places?: number }): string =>
  ({ string: 'string', bool: 'boolean', int: 'int', int64: 'int64', decimal: `decimal(${c.places ?? 6})` })[c.kind];

/** Hint for a column that is not there. */
export const suggestColumn = (name: string, columns: ColumnPlan[]): string =>
  suggest(
    name,
    columns.map(c => c.name),
  );
