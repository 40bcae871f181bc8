/** Loads `features.ts`: bundle, import, and a map from what it made back to the lines that made it. */
import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { gatherMistakes } from '../define/site.ts';
import { FabraError, type Problem, toFabraError } from '../lib/errors.ts';
import { sha256 } from '../lib/hash.ts';
import { type Bundle, bundle, requireFile } from './bundle.ts';

/** Position in the bundle, from 1. */
export interface Spot {
  line: number;
  column: number;
}

export interface LoadedModule {
  exports: Record<string, unknown>;
  /** `features.ts:12:14` of the innermost line of the definitions in a stack text; undefined when there is none. */
  locate(stack: string): string | undefined;
  /** The same place in the bundle's text. */
  spot(stack: string): Spot | undefined;
  /** The bundle. */
  text: string;
  /** Absolute paths of features.ts and the local files it imports. */
  files: string[];
  /** Changes when the bundle does. */
  fingerprint: string;
  /** Mistakes found while it ran (a bad duration, say) that did not stop it. */
  mistakes: Problem[];
}

/** An import that no test runner rewrites: the text of functions must stay that of the bundle, which is what gets hashed. */
let native: ((url: string) => Promise<Record<string, unknown>>) | undefined;
async function nativeImport(url: string): Promise<Record<string, unknown>> {
  const self = 'data:text/javascript,export default u => import(u)';
  native ??= ((await import(/* @vite-ignore */ self)) as { default: NonNullable<typeof native> }).default;
  return native(url);
}

/** A module runs once per process: what it got wrong is kept for the next load of the same bundle. */
const mistakesOf = new Map<string, FabraError[]>();
let queue: Promise<unknown> = Promise.resolve();

/**
 * @throws FabraError NO_PROJECT without the file; COMPILE_FAILED with `problems` when it does not parse or throws.
 */
export async function loadDefinitions(file: string, project = path.dirname(path.resolve(file))): Promise<LoadedModule> {
  const entry = path.resolve(file);
  requireFile(entry);
  const made = await bundle(entry, project).catch((e: unknown) => {
    throw toFabraError(e);
  });
  const { locate, spot } = locator(made, project);
  // One at a time: mistakes are gathered by a hook of the process.
  const turn = queue.then(() => run(made, project, locate));
  queue = turn.catch(() => {});
  const { exports, mistakes } = await turn;
  return { exports, locate, spot, text: made.text, files: made.inputs, fingerprint: sha256(made.text), mistakes };
}

async function run(made: Bundle, project: string, locate: LoadedModule['locate']): Promise<{ exports: Record<string, unknown>; mistakes: Problem[] }> {
  const found: FabraError[] = mistakesOf.get(made.file) ?? [];
  const stop = mistakesOf.has(made.file) ? () => {} : gatherMistakes(e => found.push(e));
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 60;
  try {
    const exports = await nativeImport(pathToFileURL(made.file).href);
    mistakesOf.set(made.file, found);
    return { exports, mistakes: found.map(e => thrown(e, locate)) };
  } catch (e) {
    throw compileFailed([...found.map(m => thrown(m, locate)), missingPackage(e, made, project) ?? thrown(e, locate)]);
  } finally {
    Error.stackTraceLimit = limit;
    stop();
  }
}

/** File, then line, then column; what has no place comes last. */
function byPlace(a = '\uffff', b = '\uffff'): number {
  const [fileA, ...atA] = a.split(':');
  const [fileB, ...atB] = b.split(':');
  if (fileA !== fileB) return fileA! < fileB! ? -1 : 1;
  return Number(atA[0]) - Number(atB[0]) || Number(atA[1]) - Number(atB[1]) || 0;
}

/** One error for all problems; a single one speaks for itself. */
export function compileFailed(found: Problem[]): FabraError {
  const problems = [...found].sort((a, b) => byPlace(a.where, b.where));
  const [first] = problems;
  const message = problems.length === 1 ? first!.message : `${problems.length} problems in the definitions`;
  return new FabraError('COMPILE_FAILED', message, { problems, hint: first?.hint ?? 'Fix each and run the command again.', where: first?.where });
}

/** An exception of the definitions' own code as a problem: what and where, never the stack. */
function thrown(e: unknown, locate: LoadedModule['locate']): Problem {
  const where = e instanceof Error ? locate(e.stack ?? '') : undefined;
  if (e instanceof FabraError) return { code: e.code, message: e.message, hint: e.hint, where };
  // What 'fabra' and 'zod' give has a prefix in the bundle; people never wrote it.
  const text = (e instanceof Error ? `${e.name}: ${e.message}` : String(e)).replace(/\bhost_(?=\w)/g, '');
  return { code: 'BAD_DEFINITION', message: `the definitions threw ${text}`, hint: 'Fix the line; it runs when features.ts is loaded.', where };
}

function missingPackage(e: unknown, made: Bundle, project: string): Problem | null {
  if ((e as NodeJS.ErrnoException | null)?.code !== 'ERR_MODULE_NOT_FOUND') return null;
  const name = /Cannot find (?:package|module) '([^']+)'/.exec((e as Error).message)?.[1];
  if (!name || !made.text.includes(name)) return null;
  return { code: 'COMPILE_FAILED', message: `the package '${name}' is not installed`, hint: `npm install ${name}`, where: importOf(name, made, project) };
}

/** The line that imports a package: an import has no line in a stack. */
function importOf(name: string, made: Bundle, project: string): string | undefined {
  for (const file of made.inputs) {
    const lines = readFileSync(file, 'utf8').split('\n');
    const line = lines.findIndex(l => l.includes(`'${name}`) || l.includes(`"${name}`));
    if (line >= 0) return `${path.relative(project, file).split(path.sep).join('/')}:${line + 1}:${lines[line]!.indexOf(name)}`;
  }
  return undefined;
}

function locator(made: Bundle, project: string): Pick<LoadedModule, 'locate' | 'spot'> {
  let map: SourceMap | undefined;
  const frame = new RegExp(`${path.basename(made.file).replaceAll('.', '\\.')}(?:\\?[^:\\s]*)?:(\\d+):(\\d+)`, 'g');
  const origin = (line: number, column: number): string | undefined => {
    map ??= new SourceMap(JSON.parse(made.map) as ConstructorParameters<typeof SourceMap>[0]);
    const entry = map.findEntry(line - 1, column - 1);
    if (!('originalSource' in entry) || entry.originalSource.startsWith('fabra-host:')) return undefined;
    const source = path.relative(project, path.resolve(path.dirname(made.file), entry.originalSource));
    return `${source.split(path.sep).join('/')}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
  };
  const each = (stack: string): Spot[] => [...stack.matchAll(frame)].map(m => ({ line: Number(m[1]), column: Number(m[2]) }));
  return {
    spot: stack => each(stack)[0],
    locate(stack) {
      for (const { line, column } of each(stack)) {
        const where = origin(line, column);
        if (where) return where;
      }
      return undefined;
    },
  };
}
