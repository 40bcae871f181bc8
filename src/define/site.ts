import { FabraError } from '../lib/errors.ts';

/** Where a definition was written: kept as the raw stack line, mapped to features.ts by the loader. */
const sites = new WeakMap<object, string>();
/** Options a definition does not know: types catch them in the editor, `fabra compile` names them for everyone else. */
const strays = new WeakMap<object, { unknown: string[]; known: readonly string[] }>();

/** Freezes a definition and remembers the line that called `maker`. */
export function define<T extends object>(value: T, maker: (...args: never[]) => unknown): Readonly<T> {
  const holder: { stack?: string } = {};
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 1;
  Error.captureStackTrace(holder, maker);
  Error.stackTraceLimit = limit;
  sites.set(value, holder.stack ?? '');
  return Object.freeze(value);
}

/** Raw stack text of the call that made a definition; empty when unknown. */
export const siteOf = (value: object): string => sites.get(value) ?? '';

/** Remembers the option names of `given` that are not `known`. */
export function checkOptions(value: object, given: object | undefined, known: readonly string[]): void {
  const unknown = Object.keys(given ?? {}).filter(k => !known.includes(k));
  if (unknown.length) strays.set(value, { unknown, known });
}

/** Option names a definition was given and does not know. */
export const strayOptions = (value: object): { unknown: string[]; known: readonly string[] } | undefined => strays.get(value);

/** While a compile runs, mistakes in arguments are gathered here so that one run reports them all. */
let gather: ((mistake: FabraError) => void) | null = null;

/** Gathers mistakes until the returned function is called. */
export function gatherMistakes(into: (mistake: FabraError) => void): () => void {
  gather = into;
  return () => {
    if (gather === into) gather = null;
  };
}

/** `make()`; a mistake is thrown, except during a compile, where it is gathered and `instead` stands in. */
export function attempt<T>(make: () => T, instead: T): T {
  try {
    return make();
  } catch (e) {
    if (!gather || !(e instanceof FabraError)) throw e;
    gather(e);
    return instead;
  }
}
