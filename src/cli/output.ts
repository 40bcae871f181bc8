/** What reaches the user: one answer on stdout, notes and errors on stderr. With `--json` the answer is one document and all else is silent. */
import { styleText } from 'node:util';
import type { FabraError } from '../lib/errors.ts';
import { toJson } from '../lib/json.ts';

export interface Sink {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface OutputOptions {
  json: boolean;
  quiet: boolean;
  stdout: Sink;
  stderr: Sink;
  env: NodeJS.ProcessEnv;
}

type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

/** NO_COLOR and FORCE_COLOR as https://no-color.org and https://force-color.org say; a terminal decides otherwise. */
export function wantsColor(env: NodeJS.ProcessEnv, sink: Sink): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== '0';
  return sink.isTTY === true && env.TERM !== 'dumb';
}

export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly env: NodeJS.ProcessEnv;
  private answered = false;

  constructor(o: OutputOptions) {
    this.json = o.json;
    this.quiet = o.quiet;
    this.stdout = o.stdout;
    this.stderr = o.stderr;
    this.env = o.env;
  }

  /** Whether a moving display may be drawn. */
  get live(): boolean {
    return !this.json && !this.quiet && this.stderr.isTTY === true && this.env.TERM !== 'dumb' && !this.env.CI;
  }

  /** The command's answer: `document` with --json, the lines otherwise. */
  answer(document: unknown, lines: () => string[]): void {
    if (!this.json) return this.print(...lines());
    if (this.answered) throw new Error('a command answers once');
    this.answered = true;
    this.stdout.write(`${toJson(document, 2)}\n`);
  }

  /** Part of an answer that comes line by line; silent with --json. */
  print(...lines: string[]): void {
    if (!this.json && lines.length > 0) this.stdout.write(`${lines.join('\n')}\n`);
  }

  /** Beside the answer: what is going on, what to type next. */
  note(...lines: string[]): void {
    if (!this.json && !this.quiet && lines.length > 0) this.stderr.write(`${lines.join('\n')}\n`);
  }

  /** Something to know even with --quiet or --json. */
  warn(line: string): void {
    this.stderr.write(`${this.paint('yellow', 'warning', this.stderr)} ${line}\n`);
  }

  fail(e: FabraError): void {
    if (this.json && !this.answered) {
      this.answered = true;
      this.stdout.write(`${toJson(e.toJSON(), 2)}\n`);
    } else this.stderr.write(`${errorLines(e, (s, t) => this.paint(s, t, this.stderr)).join('\n')}\n`);
  }

  paint(style: Style, text: string, sink: Sink = this.stdout): string {
    return wantsColor(this.env, sink) ? styleText(style, text, { validateStream: false }) : text;
  }
}

type Paint = (style: Style, text: string) => string;

/** Code, message, place and what to type next; for a compile, each of its problems. */
export function errorLines(e: FabraError, paint: Paint = (_s, t) => t): string[] {
  const problems = e.problems ?? [];
  if (problems.length > 0) {
    const lines = problems.flatMap(p => problemLines(p, paint));
    return problems.length === 1 ? lines : [...lines, paint('bold', `${problems.length} problems`)];
  }
  return problemLines(e, paint);
}

function problemLines(p: { code: string; message: string; hint?: string; where?: string }, paint: Paint): string[] {
  const lines = [`${paint('red', 'error')} ${paint('bold', p.code)} ${p.message}`];
  if (p.where && !p.message.includes(p.where)) lines.push(`  at ${p.where}`);
  if (p.hint) lines.push(`  ${paint('cyan', '->')} ${p.hint}`);
  return lines;
}

/** Rows in columns, two spaces apart. `right` names columns of numbers; the last column is never padded. */
export function columns(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows.map(row =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]!) : i === row.length - 1 ? cell : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** At most `width` characters, an ellipsis for the rest. */
export const clip = (text: string, width: number): string => (text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`);

/** 1234567 -> `1,234,567`. */
export const grouped = (n: number): string => n.toLocaleString('en-US');

/** `1 event`, `2 events`. */
export const plural = (n: number, word: string, many = `${word}s`): string => `${grouped(n)} ${n === 1 ? word : many}`;
