/** Names and texts of the columns that features add to a spine, and the request data that a spine's columns give. */
import type { Schema } from '../../engine/decode.ts';
import type { Cell, Value } from '../../engine/values.ts';
import { FabraError } from '../../lib/errors.ts';
import { toJson } from '../../lib/json.ts';
import type { LabelColumn } from '../../ports/offline-store.ts';
import type { DeriveFeaturePlan, FeaturePlan, ValueType } from '../../registry/types.ts';
import type { Column } from './layout.ts';

/** Column names in the order asked: short, or `entity__feature` and `alias__feature`. @throws FabraError NAME_COLLISION. */
export function labelNames(columns: readonly Column[], spine: readonly string[], full: boolean): string[] {
  const names = columns.map(({ feature: f, alias }) => (full ? `${alias ?? f.entity}__${f.name}` : f.name));
  const seen = new Map<string, Column>();
  for (const [i, name] of names.entries()) {
    const [mine, other] = [columns[i]!, seen.get(name.toLowerCase())];
    if (other)
      throw new FabraError('NAME_COLLISION', `${other.label} and ${mine.label} would both be the column '${name}'`, {
        hint: full ? 'Give one another alias, or leave it out.' : 'Add --full-names: the columns are then entity__feature.',
      });
    seen.set(name.toLowerCase(), mine);
    const own = spine.find(c => c.toLowerCase() === name.toLowerCase());
    if (own !== undefined)
      throw new FabraError('NAME_COLLISION', `the spine has a column '${own}' already, and so is ${mine.label} called`, {
        hint: full ? 'Rename the column of the spine.' : 'Add --full-names, or rename the column of the spine.',
      });
  }
  return names;
}

export const labelsOf = (columns: readonly Column[], names: readonly string[]): LabelColumn[] =>
  columns.map(({ feature: f }, i) => ({ name: names[i]!, type: f.type.base === 'json' ? { base: 'json', list: false } : f.type }));

const GUESSED: Record<string, ValueType['base']> = { number: 'number', boolean: 'boolean', string: 'string', bigint: 'int64' };

/** Derived code that states no type: what it returned says it, when that was always the same sort of scalar. */
export class TypeGuess {
  private seen: string | null = null;

  add(value: Value): void {
    if (value === null) return;
    const kind = typeof value === 'bigint' && !in64(value) ? 'object' : typeof value;
    this.seen = this.seen === null || this.seen === kind ? kind : 'object';
  }

  type(): ValueType {
    const base = GUESSED[this.seen ?? ''] ?? 'json';
    return { base, list: false };
  }
}

/** Text of a value in the output; null stays null. Numbers as their shortest digits, lists and objects as JSON. */
export function textOf(value: Value, type: ValueType): string | null {
  if (value === null) return null;
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return value;
  // A list of int64: JSON has no limit of digits, only its readers do.
  if (Array.isArray(value) && type.base === 'int64') return `[${value.map(v => (v === null ? 'null' : String(v))).join(',')}]`;
  return toJson(value);
}

const in64 = (value: bigint): boolean => BigInt.asIntN(64, value) === value;

/** Derived code in plain JavaScript may return what its type does not say. */
export function fits(value: Value, type: ValueType): boolean {
  if (value === null || type.base === 'json') return true;
  if (type.list) return Array.isArray(value) && value.every(v => fits(v, { ...type, list: false }));
  switch (type.base) {
    case 'string':
      return typeof value === 'string';
    case 'boolean':
      return typeof value === 'boolean';
    case 'int64':
    case 'int':
      return typeof value === 'bigint' ? in64(value) : Number.isSafeInteger(value);
    default:
      return typeof value === 'number';
  }
}

/** What a row without its key gets: as a read without the key does. */
export const keyless = (f: FeaturePlan): Cell => ({ value: (f.default ?? null) as Value, status: 'ERROR', ts: null, reason: 'MISSING_KEY' });

/** Columns of the spine that derived features take as request data. @throws FabraError BAD_SPINE for a required one that is not there. */
export function requestColumns(derives: readonly DeriveFeaturePlan[], spine: readonly string[]): string[] {
  const names = new Set<string>();
  for (const f of derives)
    for (const { name, required } of f.request) {
      if (spine.includes(name)) names.add(name);
      else if (required)
        throw new FabraError('BAD_SPINE', `${f.id} needs the request column '${name}', which the spine has not`, {
          hint: `Add a column '${name}' to the spine, or leave the feature out.`,
        });
    }
  return [...names];
}

const NUMBER = /^\s*-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$/;

/** Cells of a CSV are text: those that a schema wants as numbers or booleans are turned into them. */
export class RequestReader {
  private readonly columns: readonly string[];
  private readonly schemas: readonly Schema[];
  /** Columns that had to be turned before: tried first. */
  private readonly turned = new Set<string>();

  constructor(columns: readonly string[], schemas: readonly Schema[]) {
    this.columns = columns;
    this.schemas = schemas;
  }

  read(cells: readonly unknown[]): Record<string, unknown> | undefined {
    if (this.columns.length === 0) return undefined;
    const given: Record<string, unknown> = {};
    this.columns.forEach((name, i) => {
      const v = cells[i];
      if (v !== null && v !== undefined) given[name] = this.turned.has(name) ? turn(v) : v;
    });
    for (const schema of this.schemas) {
      const parsed = schema.safeParse(given);
      if (parsed.success) continue;
      for (const { path } of parsed.error.issues) {
        const name = String(path[0] ?? '');
        const typed = name in given ? turn(given[name]) : undefined;
        if (typed === undefined || typed === given[name]) continue;
        given[name] = typed;
        this.turned.add(name);
      }
    }
    return given;
  }
}

function turn(v: unknown): unknown {
  if (typeof v !== 'string') return v;
  if (NUMBER.test(v)) return Number(v);
  if (v === 'true' || v === 'false') return v === 'true';
  return v;
}
