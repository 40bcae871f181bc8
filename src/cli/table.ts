/** Every command, as --help needs it. Nothing here imports a command's code: `load` does, when it runs. */
import { whole } from './options.ts';
import type { CommandSpec } from './spec.ts';

export const COMMANDS: CommandSpec[] = [
  {
    name: 'init',
    args: '[dir]',
    summary: 'start a project from a template',
    options: [
      { flags: '--template <name>', text: 'clickstream or minimal (default: clickstream)' },
      { flags: '--events <n>', text: 'events of the sample file (default: 100000)', parse: whole(1) },
      { flags: '--dry-run', text: 'only say what would be written' },
      { flags: '--force', text: 'write into a folder that is not empty; files of the same name are replaced' },
    ],
    examples: ['fabra init shop', 'fabra init shop --template minimal'],
    load: () => import('./commands/init.ts'),
  },
  {
    name: 'compile',
    summary: 'check the definitions and say what they hold',
    options: [{ flags: '--out <file>', text: 'write the registry (canonical JSON) to this file' }],
    examples: ['fabra compile', 'fabra compile --out registry.json'],
    load: () => import('./commands/compile.ts'),
  },
  {
    name: 'plan',
    summary: 'what apply would change, field by field',
    examples: ['fabra plan', 'fabra plan --json'],
    load: () => import('./commands/plan.ts'),
  },
  {
    name: 'doctor',
    summary: 'where each setting comes from, and whether the project is sound',
    examples: ['fabra doctor', 'fabra doctor --json'],
    load: () => import('./commands/doctor.ts'),
  },
];

/** Groups of commands and what they are about. */
export const GROUPS: Record<string, string> = {
  events: 'the event log',
  dlq: 'dead letters: events that were rejected',
};

