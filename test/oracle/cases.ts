/**
 * The cases of CASES.md S and T87-T97, and rules of docs/semantics.md beyond them (R), as data, to be run against the oracle and against any engine by the same words.
 */
import type { Cell, Value, Verdict } from '../../src/engine/values.ts';
import type { Registry } from '../../src/registry/types.ts';
import { clickstreamCases } from './cases-clickstream.ts';
import { ruleCases } from './cases-rules.ts';
import { sessionCases } from './cases-sessions.ts';
import { streamCases } from './cases-streams.ts';
import { windowCases } from './cases-windows.ts';
import type { Counters, Log } from './index.ts';

export interface Read {
  feature: string;
  key: string[];
  T: number;
  value: Value;
  /** Checked when given. */
  status?: Cell['status'];
  ts?: number | null;
  reason?: string;
  /** How far a number may be from `value`; exact (Object.is) when absent. */
  within?: number;
}

export interface OracleCase {
  name: string;
  registry: Registry;
  log: Log;
  reads: Read[];
  /** Per stream, of every event in (partition, offset) order. */
  verdicts?: Record<string, Verdict[]>;
  counters?: Record<string, Partial<Counters>>;
}

/** What a case is run against; any of it may be asynchronous. An engine that has no verdicts to show leaves them out. */
export interface Subject {
  value(featureId: string, key: string[], T: number): Cell | Promise<Cell>;
  verdicts?(stream: string): Verdict[] | Promise<Verdict[]>;
  counters?(stream: string): Partial<Counters> | Promise<Partial<Counters>>;
}

export const cases: OracleCase[] = [...windowCases(), ...streamCases(), ...sessionCases(), ...clickstreamCases(), ...ruleCases()];

/** What differs, one sentence each; empty when the subject does as the case says. */
export async function mismatches(c: OracleCase, subject: Subject): Promise<string[]> {
  const found: string[] = [];
  for (const read of c.reads) {
    const cell = await subject.value(read.feature, read.key, read.T);
    if (!agrees(read, cell)) found.push(`${c.name}: ${show(read)} but got ${show(cell)}`);
  }
  for (const [stream, expected] of Object.entries(c.verdicts ?? {})) {
    const actual = await subject.verdicts?.(stream);
    if (actual !== undefined && show(actual) !== show(expected)) found.push(`${c.name}: verdicts of ${stream} ${show(expected)} but got ${show(actual)}`);
  }
  for (const [stream, expected] of Object.entries(c.counters ?? {})) {
    const actual = await subject.counters?.(stream);
    for (const [name, n] of Object.entries(actual === undefined ? {} : expected))
      if (actual?.[name as keyof Counters] !== n) found.push(`${c.name}: ${stream} ${name} ${n} but got ${show(actual)}`);
  }
  return found;
}

function agrees(read: Read, cell: Cell): boolean {
  if (read.status !== undefined && read.status !== cell.status) return false;
  if (read.ts !== undefined && read.ts !== cell.ts) return false;
  if (read.reason !== undefined && read.reason !== cell.reason) return false;
  if (read.within !== undefined) return typeof cell.value === 'number' && Math.abs(cell.value - (read.value as number)) <= read.within;
  return same(read.value, cell.value);
}

function same(a: Value, b: Value): boolean {
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((x, i) => same(x, b[i] as Value));
  return Object.is(a, b);
}

function show(x: unknown): string {
  return JSON.stringify(x, (_, v) => (typeof v === 'bigint' ? `${v}n` : v));
}
