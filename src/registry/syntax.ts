/**
 * A bundle's module level as units (one declaration or statement each) and its functions by source text. Relies on the
 * bundler renaming locals that would hide a module-level name; where one still does, a hash covers too much, never too little.
 */
import type { Node } from 'acorn';

type Tree = Node & Record<string, unknown>;

export interface Unit {
  node: Node;
  /** Names it declares; empty for a statement. */
  names: string[];
  /** It binds its name to a function. */
  isFunction: boolean;
  /** It binds its name to a fabra definition, which has a fingerprint of its own and is no part of the code that mentions it. */
  isDefinition: boolean;
  /** Units it mentions. */
  refers: Unit[];
}

export interface Module {
  /** By declared name. */
  units: Map<string, Unit>;
  all: Unit[];
  /** Module-level statements that declare nothing. */
  effects: Unit[];
  /** By text as `Function.prototype.toString` gives it. */
  functions: Map<string, { node: Node; unit: Unit }[]>;
  unitAt(offset: number): Unit | undefined;
  offset(line: number, column: number): number;
}

/** Names given to units so far, in order of discovery. */
export interface Dictionary {
  order: Map<Unit, number>;
  units: Map<string, Unit>;
}

/** `async` survives the bundler: its target has async functions. */
export const isAsync = (fn: unknown): boolean => (fn as { constructor?: { name?: string } } | null)?.constructor?.name === 'AsyncFunction';

const isNode = (v: unknown): v is Tree => typeof v === 'object' && v !== null && typeof (v as { type?: unknown }).type === 'string' && 'start' in v;

function* children(node: Node): Generator<[string, Tree]> {
  for (const [key, value] of Object.entries(node))
    if (isNode(value)) yield [key, value];
    else if (Array.isArray(value)) for (const v of value) if (isNode(v)) yield [key, v];
}

/** All nodes below and including `node`, with the field each stands in. */
function* walk(node: Node, key = '', parent?: Tree): Generator<[Tree, string, Tree | undefined]> {
  yield [node as Tree, key, parent];
  for (const [k, child] of children(node)) yield* walk(child, k, node as Tree);
}

/** Names of variables mentioned or declared in `node`; not those of properties. */
export function identifiers(node: Node): string[] {
  const out = new Set<string>();
  for (const [n, key, parent] of walk(node)) {
    if (n.type !== 'Identifier') continue;
    const plain = parent !== undefined && !parent.computed && (key === 'key' || (key === 'property' && parent.type === 'MemberExpression'));
    if (!plain) out.add(String(n.name));
  }
  return [...out];
}

/** Names that a pattern binds. */
function patternNames(pattern: unknown, out: Set<string>): void {
  if (!isNode(pattern)) return;
  if (pattern.type === 'Identifier') out.add(String(pattern.name));
  else if (pattern.type === 'AssignmentPattern') patternNames(pattern.left, out);
  else if (pattern.type === 'RestElement') patternNames(pattern.argument, out);
  else if (pattern.type === 'ArrayPattern') for (const e of pattern.elements as unknown[]) patternNames(e, out);
  else if (pattern.type === 'ObjectPattern') for (const p of pattern.properties as Tree[]) patternNames(p.type === 'Property' ? p.value : p, out);
}

const FUNCTION = /^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/;
const NAMED = /^(Function|Class)(Declaration|Expression)$/;
const boundCache = new WeakMap<Node, Set<string>>();

/** Every name declared anywhere inside `node`. */
export function boundNames(node: Node): Set<string> {
  const cached = boundCache.get(node);
  if (cached) return cached;
  const out = new Set<string>();
  for (const [n] of walk(node)) {
    if (FUNCTION.test(n.type)) for (const p of n.params as unknown[]) patternNames(p, out);
    if (NAMED.test(n.type)) patternNames(n.id, out);
    if (n.type === 'VariableDeclarator') patternNames(n.id, out);
    if (n.type === 'CatchClause') patternNames(n.param, out);
  }
  boundCache.set(node, out);
  return out;
}

/** Does `other` mention a name of `unit`? */
export const calls = (other: Unit, unit: Unit): boolean => other.refers.includes(unit);

/** `const views = feature(…)`: a direct call of one of ours, by the name the hosted module gives it. */
function isDefinition({ init }: Tree): boolean {
  if (!isNode(init) || init.type !== 'CallExpression' || !isNode(init.callee)) return false;
  return init.callee.type === 'Identifier' && /^host_(feature|entity|stream|service|source|alias)\d*$/.test(String(init.callee.name));
}

function unitsOf(statement: Tree): Unit[] {
  const unit = (node: Node, names: Iterable<string>, isFunction = false): Unit => ({ node, names: [...names], isFunction, isDefinition: isDefinition(node as Tree), refers: [] });
  const named = (node: Tree): Unit[] => {
    const names = new Set<string>();
    patternNames(node.id, names);
    return [unit(node, names, node.type === 'FunctionDeclaration')];
  };
  switch (statement.type) {
    case 'ImportDeclaration':
      return (statement.specifiers as Tree[]).map(s => unit({ ...statement, specifiers: [s] } as Node, [String((s.local as Tree).name)]));
    case 'VariableDeclaration':
      return (statement.declarations as Tree[]).map(d => {
        const names = new Set<string>();
        patternNames(d.id, names);
        return unit(d, names, isNode(d.init) && FUNCTION.test(d.init.type));
      });
    case 'FunctionDeclaration':
    case 'ClassDeclaration':
      return named(statement);
    case 'ExportNamedDeclaration':
      return isNode(statement.declaration) ? unitsOf(statement.declaration) : [];
    case 'ExportAllDeclaration':
      return [];
    default:
      return [unit(statement, [])];
  }
}

export function indexModule(text: string, program: Node): Module {
  const all = ((program as Tree).body as Tree[]).flatMap(unitsOf);
  const units = new Map<string, Unit>();
  for (const unit of all) for (const name of unit.names) units.set(name, unit);
  const functions: Module['functions'] = new Map();
  for (const unit of all) {
    const mentioned = new Set(identifiers(unit.node).map(name => units.get(name)));
    unit.refers = [...mentioned].filter(u => u !== undefined && u !== unit) as Unit[];
    for (const [n] of walk(unit.node)) {
      const method = (n.type === 'Property' && n.method === true) || n.type === 'MethodDefinition';
      if (!method && !FUNCTION.test(n.type)) continue;
      const key = text.slice(n.start, n.end);
      functions.set(key, [...(functions.get(key) ?? []), { node: n, unit }]);
    }
  }
  const starts = [0];
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) starts.push(i + 1);
  return {
    units,
    all,
    effects: all.filter(u => u.names.length === 0),
    functions,
    unitAt: offset => all.find(u => u.node.start <= offset && offset < u.node.end),
    offset: (line, column) => (starts[line - 1] ?? 0) + column - 1,
  };
}
