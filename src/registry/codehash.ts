/**
 * Fingerprint of a function: what it says together with every module-level declaration it refers to, transitively, so that
 * a changed exchange rate in another file counts and a comment, a new line or an unrelated edit does not. It hashes the
 * syntax tree with the names of variables taken out, since the bundler may rename one when another file is added.
 */
import type { Node } from 'acorn';
import { sha256 } from '../lib/hash.ts';
import { boundNames, calls, type Dictionary, identifiers, indexModule, type Module, type Unit } from './syntax.ts';

/** `site` is where the definition was made, for functions whose own text does not say all. */
export type CodeHash = (fn: (...args: never[]) => unknown, site?: { line: number; column: number }) => string;

/** Without a bundle (definitions made in a test): the text of the function alone. */
export const hashByText: CodeHash = fn => short(String(fn).replace(/\s+/g, ' '));

const short = (text: string): string => sha256(text).slice(0, 32);

/** @param text the bundle the functions come from. */
export async function codeHasher(text: string): Promise<CodeHash> {
  let module: Module | undefined;
  const { parse } = await import('acorn');
  return (fn, site) => {
    module ??= indexModule(text, parse(text, { ecmaVersion: 'latest', sourceType: 'module' }));
    return hashFunction(module, String(fn), site);
  };
}

function hashFunction(module: Module, source: string, site?: { line: number; column: number }): string {
  const found = module.functions.get(source) ?? [];
  const made = site ? module.unitAt(module.offset(site.line, site.column)) : undefined;
  // Not in the bundle (a package's, or built by one): its text and the statement that asked for it.
  if (!found.length) return short(JSON.stringify([source, made ? closure(module, [made]) : null]));
  const parts = new Set<string>();
  for (const { node, unit } of found) {
    const extra = captures(module, node, unit) ? withCallers(module, unit, made) : [];
    parts.add(closure(module, extra, node));
  }
  return short([...parts].sort().join('\n'));
}

/** Does the function use a variable of a function around it? Then its text does not say what that variable holds. */
function captures(module: Module, fn: Node, unit: Unit): boolean {
  const own = boundNames(fn);
  const around = boundNames(unit.node);
  return identifiers(fn).some(name => !own.has(name) && !module.units.has(name) && around.has(name));
}

/** The unit around a function and, while these are functions themselves, the units that call them: there the values come from. */
function withCallers(module: Module, unit: Unit, made: Unit | undefined): Unit[] {
  const all = new Set(made ? [unit, made] : [unit]);
  const queue = [unit];
  for (let next = queue.pop(); next; next = queue.pop()) {
    if (!next.isFunction) continue;
    for (const other of module.all) {
      if (all.has(other) || !calls(other, next)) continue;
      all.add(other);
      queue.push(other);
    }
  }
  return [...all].sort((a, b) => a.node.start - b.node.start);
}

/** Canonical text of `root` (or of the first units) and all that it refers to, in order of discovery. */
function closure(module: Module, first: Unit[], root?: Node): string {
  const dictionary: Dictionary = { order: new Map(), units: module.units };
  const out: string[] = [];
  const done = new Set<Unit>();
  const add = (unit: Unit): void => {
    if (done.has(unit)) return;
    done.add(unit);
    out.push(canonical(unit.node, dictionary));
  };
  if (root) out.push(canonical(root, dictionary));
  for (const unit of first) add(unit);
  for (let size = -1; size !== done.size; ) {
    size = done.size;
    for (const unit of dictionary.order.keys()) if (!unit.isDefinition) add(unit);
    // `rates.usd = 1.1` at module level changes what `rates` holds.
    for (const effect of module.effects) if (effect.refers.some(u => done.has(u))) add(effect);
  }
  return out.join('\n');
}

const SKIP = new Set(['start', 'end', 'type', 'raw', 'shorthand', 'loc', 'range']);

/** The tree as text: kinds, literals and names of properties; variables become numbers in order of appearance. */
function canonical(node: Node, dictionary: Dictionary): string {
  const locals = new Map<string, number>();
  const bound = boundNames(node);
  const name = (text: string): string => {
    const unit = dictionary.units.get(text);
    if (unit) {
      if (!dictionary.order.has(unit)) dictionary.order.set(unit, dictionary.order.size);
      return `@${dictionary.order.get(unit)}.${unit.names.indexOf(text)}`;
    }
    if (!bound.has(text)) return text;
    if (!locals.has(text)) locals.set(text, locals.size);
    return `$${locals.get(text)}`;
  };
  const write = (value: unknown, plainName: boolean): string => {
    if (Array.isArray(value)) return `[${value.map(v => write(v, false)).join(',')}]`;
    if (typeof value === 'bigint') return `${value}n`;
    if (value instanceof RegExp) return String(value);
    if (!value || typeof value !== 'object') return JSON.stringify(value) ?? 'undefined';
    const n = value as Record<string, unknown> & { type?: string };
    if (n.type === 'Identifier' || n.type === 'PrivateIdentifier') return plainName ? String(n.name) : name(String(n.name));
    const fields = Object.keys(n).filter(k => !SKIP.has(k));
    const keyed = n.type === 'MemberExpression' ? 'property' : n.type === 'ImportSpecifier' ? 'imported' : 'key';
    return `${n.type ?? ''}(${fields.map(k => `${k}:${write(n[k], k === keyed && !n.computed)}`).join(' ')})`;
  };
  return write(node, false);
}
