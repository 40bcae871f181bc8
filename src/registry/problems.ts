/** Collects all that is wrong with a project's definitions, each with the line that made it. */
import { siteOf, strayOptions } from '../define/site.ts';
import type { ErrorCode, Problem } from '../lib/errors.ts';
import { suggest } from '../lib/text.ts';

export class Problems {
  readonly list: Problem[] = [];
  readonly #locate: (stack: string) => string | undefined;
  constructor(locate: (stack: string) => string | undefined) {
    this.#locate = locate;
  }

  /** Line of a definition. */
  where(value: unknown): string | undefined {
    return typeof value === 'object' && value !== null ? this.#locate(siteOf(value)) : undefined;
  }

  add(at: unknown, message: string, hint?: string, code: ErrorCode = 'BAD_DEFINITION'): void {
    const where = this.where(at);
    this.list.push({ code, message, ...(hint && { hint }), ...(where && { where }) });
  }

  /** Option names that a definition does not know. */
  strays(at: object, what: string): void {
    const found = strayOptions(at);
    for (const name of found?.unknown ?? []) this.add(at, `${what} has an unknown option '${name}'`, suggest(name, found?.known ?? []));
  }
}

/** No lone surrogates: the text has one UTF-8 form. */
export const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text);

const NAME = /^[A-Za-z][A-Za-z0-9_-]*$/;

/** Names are storage keys and file names: ASCII letters, digits, `_` and `-`, at most 128 characters. */
export function checkName(problems: Problems, at: object, what: string, name: unknown): name is string {
  if (typeof name === 'string' && NAME.test(name) && name.length <= 128) return true;
  const shown = typeof name === 'string' ? JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name) : String(name);
  problems.add(at, `${shown} is not a name for ${what}`, 'Start with a letter; use letters, digits, _ and - only, at most 128: user_views_5m.');
  return false;
}

/** Names of one kind: each once, also when case is ignored (file systems and SQL ignore it). */
export class Names {
  readonly #seen = new Map<string, { name: string; value: object }>();
  readonly #what: string;
  readonly #problems: Problems;
  constructor(what: string, problems: Problems) {
    this.#what = what;
    this.#problems = problems;
  }

  /** False when another value has the name. */
  claim(name: string, value: object): boolean {
    const folded = name.toLowerCase();
    const other = this.#seen.get(folded);
    if (!other) {
      this.#seen.set(folded, { name, value });
      return true;
    }
    if (other.value === value) return true;
    const at = this.#problems.where(other.value);
    const hint = `The other is${at ? ` at ${at}` : ` '${other.name}'`}; rename one.`;
    const same = other.name === name;
    this.#problems.add(value, same ? `two ${this.#what} are named '${name}'` : `the ${this.#what} '${other.name}' and '${name}' differ only in case`, hint, 'NAME_COLLISION');
    return false;
  }
}
