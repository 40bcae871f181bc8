/** The command table as a commander program. Parsing throws FabraError; nothing here prints or exits. */
import { Command, CommanderError } from 'commander';
import { FabraError } from '../lib/errors.ts';
import { didYouMean } from '../lib/text.ts';
import { COMMON, EVERYWHERE, flagName, keyName } from './options.ts';
import type { CommandSpec, CommonOptions, OptionSpec } from './spec.ts';

export interface Chosen {
  spec: CommandSpec;
  args: (string | undefined)[];
  raw: Record<string, unknown>;
}

export interface Program {
  parse(argv: readonly string[]): Promise<Chosen | null>;
}

const specOptions = (spec: CommandSpec): OptionSpec[] => [...(spec.options ?? []), ...(spec.common ?? []).map(c => COMMON[c])];

/** `print` takes what --help and --version say. Resolves to null when that was all. */
export function buildProgram(table: readonly CommandSpec[], groups: Record<string, string>, version: string, print: (text: string) => void): Program {
  let chosen: Chosen | null = null;
  const root = settle(new Command('fabra'), print)
    .description('Real-time features: one definition for the stream, the read and the training set.')
    .version(version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'help for a command')
    .addHelpText('after', '\nStart here:\n  fabra init shop && cd shop && fabra dev');
  for (const o of EVERYWHERE) root.option(o.flags, o.text);
  const parents = new Map<string, Command>([['', root]]);
  for (const spec of table) {
    const words = spec.name.split(' ');
    const group = words.slice(0, -1).join(' ');
    let parent = parents.get(group);
    if (!parent) {
      parent = settle(root.command(group), print).description(groups[group] ?? group);
      parents.set(group, parent);
    }
    addCommand(parent, words[words.length - 1]!, spec, print, (args, raw) => {
      chosen = { spec, args, raw };
    });
  }
  return {
    async parse(argv) {
      chosen = null;
      try {
        await root.parseAsync(argv as string[], { from: 'user' });
      } catch (e) {
        if (!(e instanceof CommanderError)) throw e;
        if (e.exitCode === 0 || e.code === 'commander.help') return null;
        throw flagError(e, argv, table);
      }
      return chosen;
    },
  };
}

function settle(command: Command, print: (text: string) => void): Command {
  return command
    .exitOverride()
    .configureOutput({ writeOut: print, writeErr: print, outputError: () => {} })
    .configureHelp({ helpWidth: 100, showGlobalOptions: false });
}

function addCommand(
  parent: Command,
  name: string,
  spec: CommandSpec,
  print: (text: string) => void,
  took: (args: (string | undefined)[], raw: Record<string, unknown>) => void,
): void {
  const command = settle(parent.command(spec.args ? `${name} ${spec.args}` : name), print)
    .description(spec.summary)
    .addHelpText('after', `\n${spec.examples.length > 1 ? 'Examples' : 'Example'}:\n${spec.examples.map(e => `  ${e}`).join('\n')}`);
  for (const o of [...specOptions(spec), ...EVERYWHERE]) command.option(o.flags, o.text);
  command.action((...given: unknown[]) => {
    const self = given[given.length - 1] as Command;
    // The values of `<name...>` come as one list.
    took(given.slice(0, -2).flat() as (string | undefined)[], self.optsWithGlobals());
  });
}

/** Commander's words as ours: what was typed, and the nearest thing that exists. */
function flagError(e: CommanderError, argv: readonly string[], table: readonly CommandSpec[]): FabraError {
  const message = e.message.replace(/^error: /, '').split('\n')[0]!;
  const command = commandOf(argv, table);
  const help = `fabra ${command ? `${command.name} ` : ''}--help`;
  const unknown = /^unknown (option|command) '([^']+)'/.exec(message);
  let near = /\(Did you mean (?:one of )?([^?)]+)\?\)/.exec(e.message)?.[1];
  if (unknown && !near) {
    const known = unknown[1] === 'command' ? table.map(c => c.name) : [...(command ? specOptions(command) : []), ...EVERYWHERE].map(o => flagName(o.flags));
    near = didYouMean(unknown[2]!, known);
  }
  const hint = near ? `Did you mean: ${near}? All there is: ${help}` : `See: ${help}`;
  return new FabraError('BAD_FLAG', message, { hint });
}

function commandOf(argv: readonly string[], table: readonly CommandSpec[]): CommandSpec | undefined {
  const words = argv.filter(a => !a.startsWith('-'));
  return table.find(c => c.name === words.slice(0, 2).join(' ')) ?? table.find(c => c.name === words[0]);
}

/** Texts to values: the command's own flags, and the common ones. */
export async function parseFlags(chosen: Chosen): Promise<{ flags: Record<string, unknown>; common: CommonOptions }> {
  const flags: Record<string, unknown> = {};
  for (const o of specOptions(chosen.spec)) {
    const key = keyName(o.flags);
    const given = chosen.raw[key];
    if (given !== undefined) flags[key] = typeof given === 'string' && o.parse ? await o.parse(given, flagName(o.flags)) : given;
  }
  const { project, config, json, quiet } = chosen.raw as Partial<CommonOptions>;
  const { asOf, features, service, yes } = flags as Partial<CommonOptions>;
  return { flags, common: { project, config, asOf, features, service, yes: yes ?? false, json: json ?? false, quiet: quiet ?? false } };
}
