/** Texts of flags to values: parsed once, here, with an error that names the flag. */
import { FabraError } from '../lib/errors.ts';
import type { CommonFlag, OptionSpec } from './spec.ts';

const bad = (flag: string, value: string, wants: string, hint: string): FabraError => new FabraError('BAD_FLAG', `${flag} needs ${wants}, not ${JSON.stringify(value)}`, { hint });

/** A whole number of at least `least`. */
export const whole =
  (least: number) =>
  (value: string, flag: string): number => {
    const n = /^\d[\d_,]*$/.test(value) ? Number(value.replace(/[_,]/g, '')) : Number.NaN;
    if (!Number.isSafeInteger(n) || n < least)
      throw bad(flag, value, least === 0 ? 'a whole number' : `a whole number of at least ${least}`, `For example ${flag} ${Math.max(least, 100)}`);
    return n;
  };

/** A number above 0. */
export function positive(value: string, flag: string): number {
  const n = value.trim() === '' ? Number.NaN : Number(value);
  if (!Number.isFinite(n) || n <= 0) throw bad(flag, value, 'a number above 0', `For example ${flag} 500`);
  return n;
}

/** Names separated by commas. */
export function names(value: string, flag: string): string[] {
  const list = value.split(',').map(v => v.trim());
  if (list.some(v => v === '')) throw bad(flag, value, 'names separated by commas', `For example ${flag} user_views_5m,user_cr_24h`);
  return [...new Set(list)];
}

/** `10x` or `10`. */
export const times = (value: string, flag: string): number => positive(value.replace(/x$/i, ''), flag);

/** One of a few words. */
export const oneOf =
  (...words: string[]) =>
  (value: string, flag: string): string => {
    if (!words.includes(value)) throw bad(flag, value, `one of ${words.join(', ')}`, `For example ${flag} ${words[0]}`);
    return value;
  };

/** A length of time, in milliseconds. */
export async function duration(value: string, flag: string): Promise<number> {
  const { parseDuration } = await import('../lib/duration.ts');
  return parseDuration(value, flag);
}

/** An instant, in epoch milliseconds: ISO 8601, digits, `now`, or an offset from now (`-1h`). */
export async function instant(value: string, flag: string): Promise<number> {
  const text = value.trim();
  if (text === 'now') return Date.now();
  if (/^-\d+(\.\d+)?(ms|s|m|h|d)$/i.test(text)) return Date.now() - (await duration(text.slice(1), flag));
  const { readInstant } = await import('../lib/time.ts');
  const t = readInstant(text);
  if (t !== null) return t;
  throw new FabraError('BAD_TIME', `${flag} ${JSON.stringify(value)} is not an instant`, {
    hint: `Write ISO 8601, epoch milliseconds, now, or an offset: ${flag} 2025-01-15T12:05:00Z, ${flag} -1h`,
  });
}

/** On every command. */
export const EVERYWHERE: OptionSpec[] = [
  { flags: '--project <dir>', text: 'folder of the project (default: the nearest one with features.ts)' },
  { flags: '--config <file>', text: 'configuration file (default: fabra.config.ts)' },
  { flags: '--json', text: 'print one JSON document on stdout, nothing else' },
  { flags: '--quiet', text: 'no progress and no notes' },
];

/** On the commands that ask for them. */
export const COMMON: Record<CommonFlag, OptionSpec> = {
  asOf: { flags: '--as-of <time>', text: 'read as of this instant: ISO 8601, epoch ms, or -1h (default: now)', parse: instant },
  features: { flags: '--features <names>', text: 'feature names, separated by commas', parse: names },
  service: { flags: '--service <name>', text: 'the features of this service' },
  yes: { flags: '--yes', text: 'no questions: consent is given' },
};

/** `--as-of <time>` -> `--as-of`. */
export const flagName = (flags: string): string => /--[\w-]+/.exec(flags)![0];

/** `--as-of <time>` -> `asOf`. */
export const keyName = (flags: string): string =>
  flagName(flags)
    .slice(2)
    .replace(/^no-/, '')
    .replace(/-(\w)/g, (_, c: string) => c.toUpperCase());
