/** Training data: every row of a spine with the features as of its own time. No row is dropped, doubled or moved. */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Cell } from '../../engine/values.ts';
import { FabraError, toFabraError } from '../../lib/errors.ts';
import type { HistoryView, LabelColumn, Spine, SpineChunk } from '../../ports/offline-store.ts';
import { type Caller, cellOf, failed, isPromise, runDerives } from '../derive.ts';
import type { Compiled, Project } from '../project.ts';
import { fits, keyless, labelNames, labelsOf, RequestReader, requestColumns, textOf, TypeGuess } from './columns.ts';
import { type AskedColumn, type Column, Layout, notReplayable } from './layout.ts';
import { openRows, setTimes, timeColumn } from './spine.ts';

export interface HistoricalOptions {
  /** CSV (also gzipped) or Parquet; or one SELECT, its paths relative to `cwd`; or every change of the asked rows in a range, both ends in it. */
  spine: string | { sql: string; cwd: string } | { from: number; to: number };
  /** CSV (`.csv`, `.csv.gz`) or Parquet (`.parquet`), by its name. */
  out: string;
  /** Feature ids (`entity.name`), or features under an alias, in the order of the columns. */
  features: readonly (string | AskedColumn)[];
  /** Name of the time column. */
  time?: string;
  /** Columns are `entity__name`, `alias__name`. */
  fullNames?: boolean;
  /** Only rows of tables written by the row's own time count. */
  asOfCreated?: boolean;
  overwrite?: boolean;
  signal?: AbortSignal;
  onProgress?(p: { phase: 'reading' | 'computing' | 'writing'; done: number; total: number | null }): void;
}

export interface HistoricalSummary {
  rows: number;
  /** Feature ids; of an alias its full name. */
  features: string[];
  /** Names of the columns added. */
  columns: string[];
  /** Feature -> cells that are null because their computation failed, and the first reason. */
  errors: Record<string, { cells: number; reason: string }>;
  /** Views without a created column: with `asOfCreated` none of their rows counts. */
  uncreated: string[];
  time: string;
  seconds: number;
  file: string;
}

/** @throws FabraError BAD_SPINE, NAME_COLLISION, UNKNOWN_FEATURE, NOT_REPLAYABLE, FILE_EXISTS, FILE_NOT_FOUND, BAD_FLAG, INTERRUPTED; then nothing is written. */
export async function runHistorical(project: Project, compiled: Compiled, options: HistoricalOptions): Promise<HistoricalSummary> {
  const began = project.clock.now();
  const layout = new Layout(compiled, options.features);
  const format = outFormat(options);
  await layout.checkRuns(project);
  options.onProgress?.({ phase: 'reading', done: 0, total: null });
  const view = await project.history.open(compiled);
  try {
    const done = await new Historian(view, layout, options).run(format);
    return { ...done, features: layout.columns.map(c => c.label), seconds: (project.clock.now() - began) / 1000, file: options.out };
  } finally {
    await view.close();
  }
}

function outFormat({ out, overwrite, spine }: HistoricalOptions): 'csv' | 'parquet' {
  const format = /\.(parquet|pq)$/i.test(out) ? 'parquet' : /\.csv(\.gz)?$/i.test(out) ? 'csv' : null;
  if (format === null) throw new FabraError('BAD_FLAG', `--out ${JSON.stringify(out)} is neither .csv nor .parquet`, { hint: 'For example --out train.parquet' });
  if (typeof spine === 'string' && path.resolve(out) === path.resolve(spine))
    throw new FabraError('FILE_EXISTS', 'the output would replace the spine', { hint: 'Give another --out.' });
  if (existsSync(out) && !overwrite) throw new FabraError('FILE_EXISTS', `${out} is there already`, { hint: 'Give another --out, or add --overwrite.' });
  if (!existsSync(path.dirname(path.resolve(out))))
    throw new FabraError('FILE_NOT_FOUND', `no such folder: ${path.dirname(out)}`, { hint: 'Make it first, or give another --out.' });
  return format;
}

const NEVER = new AbortController().signal;
/** Rows whose derived code runs side by side. */
const AT_ONCE = 256;

/** Over history, code is called for every row: no budget and nothing used again, so that each run gives the same. */
const replay: Caller = ({ step: { plan }, code, inputs, request, keys, at, ts }) => {
  let result: unknown;
  try {
    result = code.compute(inputs, { request, now: at, keys, signal: NEVER });
  } catch (e) {
    return failed(plan, e, ts);
  }
  if (!isPromise(result)) return cellOf(plan, result, ts);
  const settled = Promise.resolve(result).then(
    v => cellOf(plan, v, ts),
    (e: unknown) => failed(plan, e, ts),
  );
  if (plan.replayable !== true) throw notReplayable(plan.id);
  return settled;
};

class Historian {
  private readonly view: HistoryView;
  private readonly layout: Layout;
  private readonly options: HistoricalOptions;
  /** By column, of derived features without a declared type. */
  private readonly guesses = new Map<Column, TypeGuess>();
  private readonly errors: Record<string, { cells: number; reason: string }> = {};

  constructor(view: HistoryView, layout: Layout, options: HistoricalOptions) {
    this.view = view;
    this.layout = layout;
    this.options = options;
  }

  async run(format: 'csv' | 'parquet'): Promise<Omit<HistoricalSummary, 'features' | 'seconds' | 'file'>> {
    const { layout, options } = this;
    const spine = await openRows(this.view, options.spine, layout);
    const names = spine.columns.map(c => c.name);
    const columns = labelNames(layout.columns, names, options.fullNames === true);
    layout.checkKeys(names);
    const steps = layout.scenes.flatMap(s => s.derive.steps);
    const extra = requestColumns(
      steps.map(s => s.plan),
      names,
    );
    const time = await timeColumn(spine, options.time, new Set(layout.keySets.flat()));
    await setTimes(spine, time);
    const labels = labelsOf(layout.columns, columns);
    for (const c of layout.columns) if (c.feature.type.base === 'json') this.guesses.set(c, new TypeGuess());
    await this.write(spine, format, labels, this.texts(spine, extra, labels));
    return { rows: spine.rows, columns, errors: this.errors, uncreated: options.asOfCreated ? layout.uncreated() : [], time };
  }

  private async *texts(spine: Spine, extra: readonly string[], labels: LabelColumn[]): AsyncGenerator<(string | null)[][]> {
    const steps = this.layout.scenes.flatMap(s => s.derive.steps);
    const requests = new RequestReader(
      extra,
      steps.map(s => s.code?.request ?? null).filter(s => s !== null),
    );
    const { onProgress, signal, asOfCreated = false } = this.options;
    const { keySets, asks } = this.layout;
    let done = 0;
    onProgress?.({ phase: 'computing', done, total: spine.rows });
    for await (const chunk of spine.ask({ keySets, asks, extra, wantKeys: steps.length > 0, asOfCreated })) {
      if (signal?.aborted) throw new FabraError('INTERRUPTED', 'interrupted', { hint: 'Nothing was written.' });
      yield await this.chunk(chunk, requests);
      onProgress?.({ phase: 'computing', done: (done += chunk.at.length), total: spine.rows });
    }
    this.layout.columns.forEach((c, i) => {
      const guess = this.guesses.get(c);
      if (guess) labels[i]!.type = guess.type();
    });
    onProgress?.({ phase: 'writing', done, total: spine.rows });
  }

  private async chunk(chunk: SpineChunk, requests: RequestReader): Promise<(string | null)[][]> {
    const { columns, scenes, asks } = this.layout;
    const out = columns.map((): (string | null)[] => []);
    const stored = (i: number, r: number): Cell => (chunk.keyed[asks[i]!.keys]![r] ? chunk.cells[i]![r]! : keyless(asks[i]!.feature));
    for (let from = 0; from < chunk.at.length; from += AT_ONCE) {
      const to = Math.min(from + AT_ONCE, chunk.at.length);
      const known = await this.derived(chunk, from, to, stored, requests);
      for (let r = from; r < to; r++)
        columns.forEach((c, o) => {
          const scene = scenes[c.scene]!;
          const place = scene.asks.get(c.feature.id);
          if (place !== undefined) out[o]!.push(this.text(c, stored(place, r)));
          else out[o]!.push(this.text(c, chunk.keyed[scene.keys.get(c.feature.entity)!]![r] ? known[c.scene]![r - from]!.get(c.feature.id)! : keyless(c.feature)));
        });
    }
    return out;
  }

  /** Per scene with derived features and per row, all cells by feature. */
  private async derived(chunk: SpineChunk, from: number, to: number, stored: (i: number, r: number) => Cell, requests: RequestReader): Promise<Map<string, Cell>[][]> {
    const waits: Promise<void>[] = [];
    const out = this.layout.scenes.map(scene => {
      const rows: Map<string, Cell>[] = [];
      if (scene.derive.steps.length === 0) return rows;
      for (let r = from; r < to; r++) {
        const known = new Map<string, Cell>();
        for (const [id, i] of scene.asks) known.set(id, stored(i, r));
        const row = { request: requests.read(chunk.extra.map(c => c[r])), at: chunk.at[r]!, keys: this.layout.keysOf(scene, chunk.keys, r) };
        const pending = runDerives(scene.derive, known, row, replay);
        if (pending) waits.push(pending);
        rows.push(known);
      }
      return rows;
    });
    if (waits.length > 0) await Promise.all(waits);
    return out;
  }

  private text(column: Column, { value, status, reason }: Cell): string | null {
    const { type } = column.feature;
    if (type.base === 'json') this.guesses.get(column)!.add(value);
    if (status === 'ERROR' && reason !== 'MISSING_KEY' && !reason?.endsWith('MISSING_KEY')) this.failed(column.label, reason ?? 'ERROR');
    if (fits(value, type)) return textOf(value, type);
    this.failed(column.label, `COMPUTE: returned a ${Array.isArray(value) ? 'list' : typeof value}, declared ${type.base}${type.list ? '[]' : ''}`);
    return null;
  }

  private failed(id: string, reason: string): void {
    this.errors[id] ??= { cells: 0, reason };
    this.errors[id]!.cells++;
  }

  /** The file appears whole or not at all. */
  private async write(spine: Spine, format: 'csv' | 'parquet', labels: LabelColumn[], chunks: AsyncIterable<(string | null)[][]>): Promise<void> {
    const file = path.resolve(this.options.out);
    const temp = path.join(path.dirname(file), `.${path.basename(file).replace(/(\.csv)?\.?[^.]*$/, '')}-${process.pid}.tmp.${/\.gz$/i.test(file) ? 'csv.gz' : format}`);
    try {
      await spine.write(temp, format, labels, chunks);
      await rename(temp, file);
    } catch (e) {
      throw toFabraError(e);
    } finally {
      await rm(temp, { force: true });
    }
  }
}
