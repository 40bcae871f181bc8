import { describe, expect, it } from 'vitest';
import { clip, columns, errorLines, Output, plural } from '../../src/cli/output.ts';
import { openProgress } from '../../src/cli/progress/index.ts';
import { Meter } from '../../src/cli/progress/meter.ts';
import { bar, readingText } from '../../src/cli/progress/text.ts';
import { FabraError } from '../../src/lib/errors.ts';

function capture(o: { json?: boolean; quiet?: boolean; tty?: boolean; env?: NodeJS.ProcessEnv } = {}) {
  const text = { out: '', err: '' };
  const out = new Output({
    json: o.json ?? false,
    quiet: o.quiet ?? false,
    stdout: { write: t => (text.out += t), isTTY: o.tty },
    stderr: { write: t => (text.err += t), isTTY: o.tty },
    env: o.env ?? {},
  });
  return { out, text };
}
const error = new FabraError('UNKNOWN_FEATURE', "there is no feature 'user_scor'", { hint: 'Did you mean: user_score?', where: 'features.ts:3:1' });

describe('output', () => {
  it('prints one JSON document and nothing else with --json', () => {
    const { out, text } = capture({ json: true });
    out.note('reading');
    out.print('a line');
    out.answer({ n: 1, big: 2n ** 60n }, () => ['for people']);
    expect(JSON.parse(text.out)).toEqual({ n: 1, big: '1152921504606846976' });
    expect(text.err).toBe('');
    expect(() => out.answer({}, () => [])).toThrow('once');
  });

  it('keeps notes off stdout, and off everything with --quiet', () => {
    const loud = capture();
    loud.out.note('reading');
    loud.out.answer({}, () => ['a', 'b']);
    expect(loud.text).toEqual({ out: 'a\nb\n', err: 'reading\n' });
    const quiet = capture({ quiet: true });
    quiet.out.note('reading');
    quiet.out.answer({}, () => ['a']);
    expect(quiet.text).toEqual({ out: 'a\n', err: '' });
  });

  it('says code, message, place and what to type next', () => {
    const people = capture();
    people.out.fail(error);
    expect(people.text).toEqual({ out: '', err: "error UNKNOWN_FEATURE there is no feature 'user_scor'\n  at features.ts:3:1\n  -> Did you mean: user_score?\n" });
    const json = capture({ json: true });
    json.out.fail(error);
    expect(JSON.parse(json.text.out)).toEqual({
      error: { code: 'UNKNOWN_FEATURE', message: "there is no feature 'user_scor'", hint: 'Did you mean: user_score?', where: 'features.ts:3:1' },
    });
    expect(json.text.err).toBe('');
  });

  it('never prints a second document: an error behind an answer goes to stderr', () => {
    const { out, text } = capture({ json: true });
    out.answer({ ok: true }, () => []);
    out.fail(error);
    expect(JSON.parse(text.out)).toEqual({ ok: true });
    expect(text.err).toContain('UNKNOWN_FEATURE');
  });

  it('lists every problem of a compile', () => {
    const problems = [
      { code: 'BAD_DURATION' as const, message: 'x', where: 'features.ts:1:1', hint: 'h' },
      { code: 'UNKNOWN_ENTITY' as const, message: 'y' },
    ];
    expect(errorLines(new FabraError('COMPILE_FAILED', '2 problems', { problems }))).toEqual([
      'error BAD_DURATION x',
      '  at features.ts:1:1',
      '  -> h',
      'error UNKNOWN_ENTITY y',
      '2 problems',
    ]);
  });

  it('colours a terminal only, and honours NO_COLOR and FORCE_COLOR', () => {
    const red = (o: Parameters<typeof capture>[0]): boolean => capture(o).out.paint('red', 'x') !== 'x';
    expect(red({ tty: true })).toBe(true);
    expect(red({ tty: false })).toBe(false);
    expect(red({ tty: true, env: { NO_COLOR: '1' } })).toBe(false);
    expect(red({ tty: true, env: { TERM: 'dumb' } })).toBe(false);
    expect(red({ tty: false, env: { FORCE_COLOR: '1' } })).toBe(true);
  });

  it('draws a live display on a terminal only', () => {
    expect(capture({ tty: true }).out.live).toBe(true);
    for (const o of [{ tty: false }, { tty: true, json: true }, { tty: true, quiet: true }, { tty: true, env: { CI: '1' } }]) expect(capture(o).out.live).toBe(false);
  });

  it('lays out columns', () => {
    expect(
      columns(
        [
          ['A', 'N'],
          ['long', '5'],
          ['x', '1,000'],
        ],
        [1],
      ),
    ).toEqual(['A         N', 'long      5', 'x     1,000']);
    expect(clip('abcdef', 4)).toBe('abc…');
    expect(plural(1, 'event')).toBe('1 event');
    expect(plural(1234, 'entity', 'entities')).toBe('1,234 entities');
  });
});

describe('progress', () => {
  it('measures over the last seconds', () => {
    const meter = new Meter();
    meter.add(0, 0, 10_000);
    for (let s = 1; s <= 10; s++) meter.add(s * 1000, s * 100, 10_000);
    for (let s = 11; s <= 20; s++) meter.add(s * 1000, 1000 + (s - 10) * 500, 10_000);
    expect(meter.read()).toEqual({ done: 6000, total: 10_000, rate: 500, left: 8000 });
  });

  it('says rate and time left', () => {
    expect(readingText({ done: 52_000, total: 100_000, rate: 5_200, left: 9_230 }, 'events')).toBe('52,000/100,000 events  5,200/s  10s left');
    expect(readingText({ done: 7, total: null, rate: 0, left: null }, 'events')).toBe('7 events');
    expect(bar(0.5, 4)).toBe('██░░');
    expect(bar(7, 4)).toBe('████');
  });

  it('prints a line every few seconds where there is no terminal', async () => {
    let now = 0;
    const { out, text } = capture();
    const progress = await openProgress(out, 'replay', 'events', () => now);
    for (let s = 0; s <= 12; s++) {
      now = s * 1000;
      progress.update(s * 10, 1000);
    }
    progress.end();
    expect(text.err.split('\n')).toEqual(['replay: 50/1,000 events  10/s  1m 35s left', 'replay: 100/1,000 events  10/s  1m 30s left', '']);
    expect(text.out).toBe('');
  });

  it.each([{ json: true }, { quiet: true }])('is silent with %o', async o => {
    let now = 0;
    const { out, text } = capture(o);
    const progress = await openProgress(out, 'replay', 'events', () => (now += 60_000));
    for (let i = 0; i < 5; i++) progress.update(i);
    expect(text).toEqual({ out: '', err: '' });
  });
});
