/** A reading as text that fits a terminal of 80 columns. */
import { formatDuration } from '../../lib/duration.ts';
import { grouped } from '../output.ts';
import type { Reading } from './meter.ts';

const seconds = (ms: number): string => formatDuration(Math.max(1, Math.ceil(ms / 1000)) * 1000);

/** `52,000/100,000 events  5,200/s  9s left` */
export function readingText({ done, total, rate, left }: Reading, unit: string): string {
  const parts = [`${grouped(done)}${total === null ? '' : `/${grouped(total)}`} ${unit}`];
  if (rate > 0) parts.push(`${grouped(Math.round(rate))}/s`);
  if (left !== null && total !== null && done < total) parts.push(`${seconds(left)} left`);
  return parts.join('  ');
}

/** `██████░░░░` of a share between 0 and 1. */
export function bar(share: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return '█'.repeat(full) + '░'.repeat(width - full);
}
