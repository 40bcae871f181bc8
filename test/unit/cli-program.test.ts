import { describe, expect, it } from 'vitest';
import { buildProgram, parseFlags } from '../../src/cli/program.ts';
import type { CommandSpec } from '../../src/cli/spec.ts';
import { COMMANDS, GROUPS } from '../../src/cli/table.ts';
import type { FabraError } from '../../src/lib/errors.ts';

/** As a shell cuts a line, quotes taken off. */
const words = (line: string): string[] => (line.match(/"[^"]*"|'[^']*'|\S+/g) ?? []).map(w => w.replace(/^(["'])(.*)\1$/, '$2'));

async function parse(line: string, table: CommandSpec[] = COMMANDS) {
  let help = '';
  const program = buildProgram(table, GROUPS, '1.2.3', text => (help += text));
  const argv = words(line);
  return { chosen: await program.parse(argv), help: () => help };
}
const failure = (line: string): Promise<FabraError> =>
  parse(line).then(
    () => expect.unreachable(line),
    (e: FabraError) => e,
  );

describe('the command line', () => {
  it('finds commands and those inside groups', async () => {
    expect((await parse('get user u1 --json')).chosen).toMatchObject({ spec: { name: 'get' }, args: ['user', 'u1'], raw: { json: true } });
    expect((await parse('events tail --limit 5')).chosen).toMatchObject({ spec: { name: 'events tail' }, raw: { limit: '5' } });
    expect((await parse('--project shop get user u1')).chosen).toMatchObject({ raw: { project: 'shop' } });
  });

  it('parses flags once, the common ones apart', async () => {
    const { chosen } = await parse('get user u1 --features a,b --as-of 2025-01-15T00:00:00Z --project shop --quiet');
    expect((await parseFlags(chosen!)).common).toEqual({
      project: 'shop',
      config: undefined,
      asOf: Date.UTC(2025, 0, 15),
      features: ['a', 'b'],
      service: undefined,
      yes: false,
      json: false,
      quiet: true,
    });
    const bad = await parse('events tail --limit many');
    await expect(parseFlags(bad.chosen!)).rejects.toMatchObject({ code: 'BAD_FLAG', message: expect.stringContaining('--limit') });
  });

  it.each([
    ['compil', 'compile'],
    ['stats', 'status'],
    ['events tial', 'tail'],
    ['compile --jsn', '--json'],
    ['worker --until-idel', '--until-idle'],
    ['get user u1 --feature a', '--features'],
    ['--quite compile', '--quiet'],
  ])('%s: did you mean %s?', async (line, meant) => {
    expect(await failure(line)).toMatchObject({ code: 'BAD_FLAG', exitCode: 2, hint: expect.stringContaining(`Did you mean: ${meant}?`) });
  });

  it.each(['get', 'get user', 'plan extra', 'worker --batch-size', 'zzzzzz', 'plan --zzzzzz'])('%s: says where to look', async line => {
    const e = await failure(line);
    expect(e.code).toBe('BAD_FLAG');
    expect(e.message).not.toMatch(/^error/);
    expect(e.hint).toContain('--help');
  });

  it.each(COMMANDS.map(c => [c.name, c] as const))('%s --help has an example and the common flags', async (name, spec) => {
    const { chosen, help } = await parse(`${name} --help`);
    expect(chosen).toBeNull();
    expect(help()).toMatch(/^Examples?:/m);
    for (const text of [...spec.examples, '--json', '--project <dir>']) expect(help()).toContain(text);
    for (const line of help().split('\n')) expect(line.length, line).toBeLessThanOrEqual(120);
  });

  it.each(COMMANDS.map(c => [c.name, c] as const))('%s: its examples parse, its code loads', async (_name, spec) => {
    for (const example of spec.examples) {
      const program = buildProgram(COMMANDS, GROUPS, '1', () => {});
      const chosen = await program.parse(words(example.replace(/ < .*/, '')).slice(1));
      expect(chosen?.spec.name).toBe(spec.name);
      await parseFlags(chosen!);
    }
    expect(typeof (await spec.load()).run).toBe('function');
  });

  it('prints its version and its help', async () => {
    expect((await parse('--version')).help()).toBe('1.2.3\n');
    const { help } = await parse('--help');
    for (const c of COMMANDS) expect(help()).toContain(c.name.split(' ')[0]);
  });
});
