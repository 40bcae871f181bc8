import { describe, expect, it } from 'vitest';
import { duration, flagName, instant, keyName, names, oneOf, positive, times, whole } from '../../src/cli/options.ts';

describe('flags', () => {
  it('reads whole numbers, with separators', () => {
    expect(whole(1)('5000', '--limit')).toBe(5000);
    expect(whole(0)('1_000_000', '--limit')).toBe(1_000_000);
    for (const text of ['0', '-1', '1.5', 'x', '', '1e3'])
      expect(() => whole(1)(text, '--limit'), text).toThrow(expect.objectContaining({ code: 'BAD_FLAG', message: expect.stringContaining('--limit') }));
  });

  it('reads rates and multiples', () => {
    expect(positive('0.5', '--eps')).toBe(0.5);
    expect(times('10x', '--speed')).toBe(10);
    expect(times('2.5', '--speed')).toBe(2.5);
    for (const text of ['0', '-3', 'fast', '', 'Infinity']) expect(() => positive(text, '--eps'), text).toThrow(expect.objectContaining({ code: 'BAD_FLAG' }));
  });

  it('reads names, each once', () => {
    expect(names('a, b,a', '--features')).toEqual(['a', 'b']);
    expect(() => names('a,,b', '--features')).toThrow(expect.objectContaining({ code: 'BAD_FLAG', hint: expect.stringContaining('--features') }));
    expect(() => oneOf('csv', 'parquet')('xls', '--format')).toThrow('--format needs one of csv, parquet, not "xls"');
  });

  it('reads instants: ISO, epoch, now and offsets from it', async () => {
    expect(await instant('2025-01-15T12:05:00Z', '--as-of')).toBe(Date.UTC(2025, 0, 15, 12, 5));
    expect(await instant('1736942700000', '--as-of')).toBe(1736942700000);
    const before = Date.now();
    expect(await instant('now', '--as-of')).toBeGreaterThanOrEqual(before);
    const anHourAgo = await instant('-1h', '--as-of');
    expect(Math.abs(before - 3_600_000 - anHourAgo)).toBeLessThan(5_000);
    await expect(instant('yesterday', '--as-of')).rejects.toMatchObject({ code: 'BAD_TIME', message: '--as-of "yesterday" is not an instant' });
  });

  it('reads durations with the flag in the message', async () => {
    expect(await duration('1.5h', '--within')).toBe(5_400_000);
    await expect(duration('5 minutes', '--within')).rejects.toMatchObject({ code: 'BAD_DURATION', message: expect.stringContaining('--within') });
  });

  it('names', () => {
    expect(flagName('--as-of <time>')).toBe('--as-of');
    expect(keyName('--as-of <time>')).toBe('asOf');
    expect(keyName('--until-idle')).toBe('untilIdle');
  });
});
