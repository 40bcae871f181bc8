/** The house (DESIGN.md section 4): what may import what, who may print, how long things may get. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));
/** An import goes to a lower floor or stays in its folder. Ports speak in the engine's terms, so they stand above it. */
const FLOORS: Record<string, number> = {
  lib: 0,
  define: 1,
  registry: 2,
  engine: 3,
  sql: 3,
  ports: 4,
  stores: 5,
  bus: 5,
  index: 5,
  tracking: 5,
  config: 5,
  runtime: 6,
  cli: 7,
  ui: 7,
};
const ADAPTERS = new Set(['stores', 'bus', 'index', 'tracking']);
const MAX_FILE = 400;
const MAX_FUNCTION = 60;

interface Source {
  /** `engine/tree.ts`. */
  name: string;
  text: string;
  ast: ts.SourceFile;
  imports: { to: string; dynamic: boolean; typeOnly: boolean }[];
}

function read(name: string, text = readFileSync(path.join(SRC, name), 'utf8')): Source {
  const kind = name.endsWith('x') ? ts.ScriptKind.TSX : ts.ScriptKind.TS;
  const ast = ts.createSourceFile(name, text, ts.ScriptTarget.ES2023, true, kind);
  const source: Source = { name, text, ast, imports: [] };
  const add = (node: ts.Node | undefined, dynamic: boolean, typeOnly: boolean) => {
    if (node && ts.isStringLiteralLike(node) && node.text.startsWith('.')) source.imports.push({ to: path.posix.join(path.posix.dirname(name), node.text), dynamic, typeOnly });
  };
  walk(ast, node => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, false, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, false, node.isTypeOnly);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, false, true);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], true, false);
  });
  return source;
}

function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, child => walk(child, visit));
}

/** Folder of a file; the public faces (`index.ts` …) have none and may take from anywhere. */
const folder = (name: string): string | null => (name.includes('/') ? name.slice(0, name.indexOf('/')) : null);

const sources = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .map(f => f.split(path.sep).join('/'))
  .filter(f => /\.tsx?$/.test(f) && !f.endsWith('.d.ts'))
  .map(f => read(f));

function upward(s: Source): string[] {
  const own = folder(s.name);
  if (own === null) return [];
  const level = FLOORS[own];
  if (level === undefined) return [`${s.name}: the folder ${own} has no floor`];
  return s.imports
    .map(i => ({ ...i, target: folder(i.to) }))
    .filter(({ target, to }) => target !== own && !allowed(s.name, level, target, to))
    .map(({ to }) => `${s.name} imports ${to}`);
}

function allowed(from: string, level: number, target: string | null, to: string): boolean {
  // The loader hands out the public face to the definitions: it is the one thing that knows it.
  if (target === null) return from === 'registry/hosts.ts' && to === 'index.ts';
  // The log and history of the embedded store live in its one environment: adapters may lean on each other.
  if (ADAPTERS.has(target)) return (folder(from) !== null && ADAPTERS.has(folder(from)!)) || from === 'cli/wire.ts';
  return FLOORS[target]! < level;
}

/** Groups of files that import each other at load time. */
function cycles(all: readonly Source[]): string[] {
  const byName = new Map(all.map(s => [s.name, s]));
  const done = new Set<string>();
  const found: string[] = [];
  const visit = (name: string, trail: string[]): void => {
    const at = trail.indexOf(name);
    if (at >= 0) return void found.push([...trail.slice(at), name].join(' -> '));
    if (done.has(name)) return;
    for (const i of byName.get(name)?.imports ?? []) if (!i.typeOnly && !i.dynamic) visit(i.to, [...trail, name]);
    done.add(name);
  };
  for (const s of all) visit(s.name, []);
  return found;
}

function longFunctions(s: Source): string[] {
  const found: string[] = [];
  walk(s.ast, node => {
    if (!ts.isFunctionLike(node) || !('body' in node) || !node.body) return;
    const first = s.ast.getLineAndCharacterOfPosition(node.getStart()).line;
    const last = s.ast.getLineAndCharacterOfPosition(node.getEnd()).line;
    if (last - first + 1 > MAX_FUNCTION) found.push(`${s.name}:${first + 1} is ${last - first + 1} lines`);
  });
  return found;
}

/** Places where the code, not a comment or a text, does what only some folders may. */
function uses(s: Source, what: (node: ts.Node) => boolean): string[] {
  const found: string[] = [];
  walk(s.ast, node => {
    if (what(node)) found.push(`${s.name}:${s.ast.getLineAndCharacterOfPosition(node.getStart()).line + 1} ${node.getText().split('\n')[0]!.slice(0, 60)}`);
  });
  return found;
}

const isMember = (node: ts.Node, object: string, names: RegExp): boolean =>
  ts.isPropertyAccessExpression(node) && node.expression.getText() === object && names.test(node.name.text);
const prints = (node: ts.Node): boolean => isMember(node, 'console', /^/) || isMember(node, 'process', /^(exit|exitCode|stdout|stderr)$/);
const readsTheClock = (node: ts.Node): boolean => isMember(node, 'Date', /^now$/) || (ts.isNewExpression(node) && node.expression.getText() === 'Date' && !node.arguments?.length);
const isAny = (node: ts.Node): boolean => node.kind === ts.SyntaxKind.AnyKeyword;

describe('the house', () => {
  it('reads the tree', () => {
    expect(sources.length).toBeGreaterThan(50);
    expect(sources.flatMap(s => s.imports).length).toBeGreaterThan(100);
  });

  it('imports go to a lower floor; only cli/wire.ts names adapters', () => expect(sources.flatMap(upward)).toEqual([]));
  it('has no import cycle', () => expect(cycles(sources)).toEqual([]));
  it('keeps files short', () => expect(sources.filter(s => s.text.trimEnd().split('\n').length > MAX_FILE).map(s => s.name)).toEqual([]));
  it('keeps functions short', () => expect(sources.flatMap(longFunctions)).toEqual([]));
  it('prints and exits in cli only', () => expect(sources.filter(s => folder(s.name) !== 'cli').flatMap(s => uses(s, prints))).toEqual([]));
  it('reads the clock in lib/clock.ts and cli only', () =>
    expect(sources.filter(s => s.name !== 'lib/clock.ts' && folder(s.name) !== 'cli').flatMap(s => uses(s, readsTheClock))).toEqual([]));
  it('has no `any` outside define', () => expect(sources.filter(s => folder(s.name) !== 'define').flatMap(s => uses(s, isAny))).toEqual([]));
});

describe('the test of the house itself', () => {
  it('sees an upward import, static, dynamic or of a type', () => {
    const s = read('engine/x.ts', "import { a } from '../runtime/a.ts';\nconst b = import('../cli/b.ts');\ntype C = import('../stores/c.ts').C;\nimport d from '../lib/d.ts';");
    expect(upward(s)).toHaveLength(3);
  });
  it('sees an adapter named outside wire.ts', () => {
    const text = "import { x } from '../stores/embedded/env.ts';";
    expect(upward(read('cli/other.ts', text))).toHaveLength(1);
    expect(upward(read('cli/wire.ts', text))).toEqual([]);
    expect(upward(read('runtime/x.ts', text))).toHaveLength(1);
  });
  it('sees a cycle', () => {
    const a = read('lib/a.ts', "import './b.ts';");
    const b = read('lib/b.ts', "import './c.ts';");
    const c = read('lib/c.ts', "import './a.ts';");
    expect(cycles([a, b, c])).toEqual(['lib/a.ts -> lib/b.ts -> lib/c.ts -> lib/a.ts']);
    expect(cycles([a, b, read('lib/c.ts', "import type { A } from './a.ts';")])).toEqual([]);
  });
  it('sees a long function, a print, the clock and `any`', () => {
    expect(longFunctions(read('lib/x.ts', `const f = () => {\n${'f();\n'.repeat(60)}};`))).toHaveLength(1);
    expect(uses(read('lib/x.ts', "console.log('x'); process.exitCode = 1; const t = 'console.log';"), prints)).toHaveLength(2);
    expect(uses(read('lib/x.ts', 'Date.now(); new Date(); new Date(0);'), readsTheClock)).toHaveLength(2);
    expect(uses(read('lib/x.ts', 'const x = y as any; // any'), isAny)).toHaveLength(1);
  });
});
