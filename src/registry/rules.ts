/**
 * What a schema says beyond its columns: its code (transforms, refinements) and its rules (ranges, patterns, allowed values).
 * Both decide which rows an event yields, so both belong to the meaning of the features that use it.
 */
import { z } from 'zod';
import { sha256 } from '../lib/hash.ts';
import type { CodeHash } from './codehash.ts';
import { type Def, defOf, isSchema, type Schema } from './columns.ts';

export interface SchemaRules {
  /** Hash of the schema's functions; null when it has none. */
  code: string | null;
  /** Hash of its rules; undefined when its columns say all. */
  rules?: string;
}

type Fn = (...args: never[]) => unknown;

export function rulesOf(schema: Schema, hash: (fn: Fn) => string): SchemaRules {
  const walk = new Walk(hash);
  walk.schema(schema, '', 0);
  const digest = (lines: string[]): string => sha256(lines.join('\n')).slice(0, 32);
  return { code: walk.code.length ? digest(walk.code) : null, ...(walk.rules.length && { rules: digest(walk.rules.sort()) }) };
}

/** zod's own functions that mean the same in every version: their text may change with zod. */
let zodOwn: Map<string, string> | undefined;
function zodName(fn: Fn): string | undefined {
  zodOwn ??= new Map(
    Object.entries({ trim: z.string().trim(), lower: z.string().toLowerCase(), upper: z.string().toUpperCase() }).map(([name, s]) => [
      String((s._zod.def.checks?.[0]?._zod.def as { tx?: Fn } | undefined)?.tx),
      name,
    ]),
  );
  return zodOwn.get(String(fn));
}

/** Words for people and zod's own bookkeeping. */
const SKIP = new Set(['error', 'message', 'abort', 'when', 'path', 'fabra', 'type', 'typeName', 'inclusive', 'reverseTransform', 'discriminator']);
/** Kinds that columns describe whole, as long as nothing is checked. */
const PLAIN = new Set(['string', 'boolean', 'number', 'bigint', 'object', 'optional', 'nullable', 'readonly', 'nonoptional', 'pipe', 'transform', 'null', 'undefined']);
const DEPTH = 24;

class Walk {
  readonly code: string[] = [];
  readonly rules: string[] = [];
  readonly #hash: (fn: Fn) => string;
  constructor(hash: (fn: Fn) => string) {
    this.#hash = hash;
  }

  schema(schema: Schema, at: string, depth: number): void {
    const def = defOf(schema);
    if (depth > DEPTH || def.fabra?.int64) return;
    if (!PLAIN.has(def.type)) this.rules.push(`${at}: ${def.type}`);
    if (def.type === 'lazy') {
      const inner = def.getter?.();
      if (inner) this.schema(inner, at, depth + 1);
      return;
    }
    const bag = (schema._zod.bag ?? {}) as Record<string, unknown>;
    // stringbool keeps its words here and nowhere else: its functions say nothing.
    const words = def.type === 'pipe' && Object.keys(bag).length > 0;
    if (words) this.rules.push(`${at}: ${JSON.stringify(bag)}`);
    for (const [key, value] of Object.entries(fieldsOf(def))) if (!words || key !== 'transform') this.field(value, at, key, depth);
  }

  private field(value: unknown, at: string, key: string, depth: number): void {
    if (value === undefined) return;
    if (isSchema(value)) {
      const kind = (value as { _zod: { def: { check?: string; type?: string } } })._zod.def;
      if (key === 'check' || (kind.check && !kind.type) || key === 'checks') this.check(value, at);
      else this.schema(value, key === 'innerType' || key === 'in' || key === 'out' ? at : `${at}.${key}`, depth + 1);
    } else if (typeof value === 'function') this.fn(value as Fn, at, key);
    else if (Array.isArray(value)) for (const [i, v] of value.entries()) this.field(v, at, key === 'checks' ? 'checks' : `${key}[${i}]`, depth);
    else if (key === 'shape') for (const [k, s] of Object.entries(value as Record<string, Schema>)) this.schema(s, `${at}.${k}`, depth + 1);
    else this.rules.push(`${at}: ${key}=${text(value)}`);
  }

  private check(check: object, at: string): void {
    const def = (check as { _zod: { def: Record<string, unknown> } })._zod.def;
    if (def.check === 'number_format' && def.format === 'safeint') return;
    const parts: string[] = [];
    for (const [k, v] of Object.entries(def)) {
      if (k !== 'inclusive' && (SKIP.has(k) || v === undefined)) continue;
      if (typeof v === 'function') this.fn(v as Fn, at, k);
      else if (isSchema(v)) this.schema(v, `${at}.${k}`, 1);
      else parts.push(`${k}=${text(v)}`);
    }
    this.rules.push(`${at}: check ${parts.sort().join(' ')}`);
  }

  private fn(fn: Fn, at: string, key: string): void {
    if (key === 'catchValue' && '~constantCatch' in fn) return void this.rules.push(`${at}: catch=${text((fn as () => unknown)())}`);
    const known = zodName(fn);
    if (known) this.rules.push(`${at}: ${known}`);
    else this.code.push(`${at} ${key}: ${this.#hash(fn)}`);
  }
}

/** A definition's fields that say something: not people's words, not what the column's kind says already. */
function fieldsOf(def: Def): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  const all = def as unknown as Record<string, unknown>;
  const isInt = all.format === 'safeint';
  for (const key of Object.keys(all)) {
    if (SKIP.has(key) || (isInt && (key === 'check' || key === 'format'))) continue;
    if (key === 'coerce' && !all.coerce) continue;
    out[key] = all[key];
  }
  return out;
}

function text(v: unknown): string {
  if (v instanceof RegExp) return String(v);
  if (v instanceof Date) return v.toISOString();
  if (v instanceof Set) return text([...v]);
  return JSON.stringify(v, (_k, x) => (typeof x === 'bigint' ? `${x}n` : x instanceof RegExp ? String(x) : x)) ?? String(v);
}

/** `hash` bound to the place where a definition was made. */
export const hashAt =
  (hash: CodeHash, site: { line: number; column: number } | undefined) =>
  (fn: Fn): string =>
    hash(fn, site);
