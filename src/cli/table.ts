/** Every command, as --help needs it. Nothing here imports a command's code: `load` does, when it runs. */
import { instant, positive, times, whole } from './options.ts';
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
    name: 'apply',
    summary: 'make the definitions the ones that run',
    options: [{ flags: '--new-version', text: 'accept breaking changes: those features get a new version and are computed anew' }],
    common: ['yes'],
    examples: ['fabra apply', 'fabra apply --new-version'],
    load: () => import('./commands/apply.ts'),
  },
  {
    name: 'replay',
    args: '<file>',
    summary: "a file's events into the log: CSV, NDJSON, either gzipped, or Parquet",
    options: [
      { flags: '--eps <n>', text: 'events per second', parse: positive },
      { flags: '--speed <x>', text: 'paced by event time, this many times as fast: 10x', parse: times },
      { flags: '--max', text: 'as fast as it goes (the default)' },
      { flags: '--shift-to <time>', text: 'move all times so that the first event happens then: now', parse: instant },
      { flags: '--limit <n>', text: 'stop after this many rows', parse: whole(1) },
      { flags: '--loop', text: 'start over at the end, with times moved on and new ids' },
      { flags: '--from <time>', text: 'only events from this instant on', parse: instant },
      { flags: '--to <time>', text: 'only events before this instant', parse: instant },
      { flags: '--stream <name>', text: 'which stream (default: the only one)' },
      { flags: '--rejects <file>', text: 'where rows go that cannot be read (default: FILE.rejects.ndjson)' },
    ],
    examples: ['fabra replay data/events.csv.gz --eps 500', 'fabra replay data/events.csv.gz --speed 60x --shift-to now'],
    graceful: true,
    load: () => import('./commands/replay.ts'),
  },
  {
    name: 'publish',
    args: '[event] [payload]',
    summary: 'one event into the log, or lines of JSON from a file or stdin',
    options: [
      { flags: '--payload <json>', text: 'fields of the event, the same as behind its type' },
      { flags: '--file <name>', text: 'one event a line (NDJSON); - is stdin' },
      { flags: '--entity-id <key>', text: 'key of the entity, where the payload does not say it' },
      { flags: '--event-id <id>', text: 'id of the event (default: a new one)' },
      { flags: '--timestamp <time>', text: 'when it happened (default: now)' },
    ],
    examples: [`fabra publish page_view '{"user_id": "u1", "session_id": "s1", "product_id": "sku_1"}'`, `fabra publish purchase --entity-id u1 --payload '{"price": 29.9}'`, 'fabra publish --file events.ndjson'],
    load: () => import('./commands/publish.ts'),
  },
  {
    name: 'worker',
    args: '[features]',
    summary: 'read the log and keep the features up to date',
    options: [
      { flags: '--until-idle', text: 'end when the log is read' },
      { flags: '--batch-size <n>', text: 'events a commit (default: 100, more while there is a backlog)', parse: whole(1) },
      { flags: '--poll-interval <seconds>', text: 'longest pause between looks at an idle log (default: 1)', parse: positive },
    ],
    examples: ['fabra worker', 'fabra worker features.ts --until-idle --json'],
    graceful: true,
    daemon: true,
    load: () => import('./commands/worker.ts'),
  },
  {
    name: 'serve',
    summary: 'serve features and take events over HTTP',
    options: [
      { flags: '--host <address>', text: 'address to listen on (default: 127.0.0.1; any other needs FABRA_API_KEY)' },
      { flags: '--port <n>', text: 'port to listen on (default: 8080; 0 lets the system pick one)', parse: whole(0) },
    ],
    examples: ['fabra serve', 'fabra serve --port 0 --json'],
    graceful: true,
    daemon: true,
    load: () => import('./commands/serve.ts'),
  },
  {
    name: 'get',
    args: '<entity> <key>',
    summary: 'the values of an entity now, or at an instant',
    options: [
      { flags: '--request <json>', text: 'request data for derived features' },
      { flags: '--with <keys>', text: 'keys of other entities, for derived features: product_id=p9' },
    ],
    common: ['asOf', 'features', 'service'],
    examples: ['fabra get user u_10293', 'fabra get session u_10293,s_9c1d --as-of 2025-01-15T12:35:00Z --json'],
    load: () => import('./commands/get.ts'),
  },
  {
    name: 'parity',
    summary: 'compare the store with history, value by value (exit 1 when one differs)',
    options: [
      { flags: '--comparisons <n>', text: 'about how many values (default: 100000)', parse: whole(1) },
      { flags: '--replay', text: 'rebuild a store from the whole log first, and compare at any instant' },
      { flags: '--keys <keys>', text: 'these keys only: user=u1;u2' },
      { flags: '--seed <n>', text: 'another choice of keys and instants', parse: whole(0) },
      { flags: '--report <dir>', text: 'folder of the reports (default: artifacts/reports)' },
    ],
    common: ['features', 'service'],
    examples: ['fabra parity', 'fabra parity --replay --comparisons 1000000 --json'],
    graceful: true,
    load: () => import('./commands/parity.ts'),
  },
  {
    name: 'status',
    summary: 'how far the log, the state and history are',
    examples: ['fabra status', 'fabra status --json'],
    load: () => import('./commands/status.ts'),
  },
  {
    name: 'freshness',
    summary: 'how old the newest event behind each feature is',
    common: ['asOf', 'features', 'service'],
    examples: ['fabra freshness', 'fabra freshness --features user_views_5m'],
    load: () => import('./commands/freshness.ts'),
  },
  {
    name: 'events tail',
    summary: 'the newest events of the log',
    options: [
      { flags: '--stream <name>', text: 'which stream (default: the only one)' },
      { flags: '--limit <n>', text: 'how many (default: 10)', parse: whole(0) },
      { flags: '--follow', text: 'go on with new ones' },
    ],
    examples: ['fabra events tail', 'fabra events tail --follow'],
    graceful: true,
    load: () => import('./commands/events-tail.ts'),
  },
  {
    name: 'dlq list',
    summary: 'events that were rejected, and why',
    options: [
      { flags: '--limit <n>', text: 'how many (default: 20)', parse: whole(1) },
      { flags: '--after <seq>', text: 'those after this one', parse: whole(0) },
    ],
    examples: ['fabra dlq list', 'fabra dlq list --after 20 --json'],
    load: () => import('./commands/dlq-list.ts'),
  },
  {
    name: 'dlq show',
    args: '<seq>',
    summary: 'one of them, with the event as it came',
    examples: ['fabra dlq show 1'],
    load: () => import('./commands/dlq-show.ts'),
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

