/** Where a definition was written: kept as the raw stack line, mapped to features.ts by the loader. */
const sites = new WeakMap<object, string>();

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
