/** Durations: one grammar everywhere: a number and a unit (`ms s m h d`), decimals allowed, case and outer space ignored. */
import { FabraError } from './errors.ts';

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SHAPE = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** What the editor accepts as a duration: `'5m'`, `'1.5h'`, `'500ms'`. */
export type DurationText = `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`;

export const SECOND = 1_000;
export const MINUTE = 60_000;
export const HOUR = 3_600_000;
export const DAY = 86_400_000;

/**
 * Milliseconds of a duration text.
 * @throws FabraError BAD_DURATION naming the input.
 * @example parseDuration('1.5h') // 5400000
 */
export function parseDuration(text: string, what = 'duration'): number {
  const match = SHAPE.exec(String(text).trim().toLowerCase());
  const ms = match ? Number(match[1]) * UNITS[match[2]!]! : Number.NaN;
  if (!match || !Number.isSafeInteger(Math.round(ms)))
    throw new FabraError('BAD_DURATION', `${what} ${JSON.stringify(text)} is not a duration`, {
      hint: "Write a number and a unit: '30s', '5m', '1.5h', '2d'.",
    });
  return Math.round(ms);
}

/** The shortest reading of milliseconds in at most two units: 90000 -> `1m 30s`. */
export function formatDuration(ms: number): string {
  const parts: string[] = [];
  let rest = Math.max(0, Math.round(ms));
  for (const unit of ['d', 'h', 'm', 's', 'ms']) {
    const size = UNITS[unit]!;
    if (rest >= size) {
      parts.push(`${Math.floor(rest / size)}${unit}`);
      rest %= size;
    }
  }
  return parts.slice(0, 2).join(' ') || '0ms';
}
