/** Training data: every row of a spine with the features as of its own time. No row is dropped, doubled or moved. */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Cell } from '../../engine/values.ts';
import { FabraError, toFabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import type { HistoryView, LabelColumn, Spine, SpineChunk } from '../../ports/offline-store.ts';
import { type DerivePlan, derivePlan, runDerive } from '../derive.ts';
import type { Compiled, Project } from '../project.ts';
import { fits, keyColumns, keyless, labelNames, labelsOf, RequestReader, requestColumns, textOf, TypeGuess } from './columns.ts';
import { loadSpine, setTimes, timeColumn } from './spine.ts';

export interface HistoricalOptions {
  /** CSV (also gzipped) or Parquet. */
  spine: string;
  /** CSV (`.csv`, `.csv.gz`) or Parquet (`.parquet`), by its name. */
  out: string;
  /** Feature ids (`entity.name`), in the order of the columns. */
  features: readonly string[];
  /** Name of the time column. */
  time?: string;
  /** Columns are `entity__name`. */
  fullNames?: boolean;
  overwrite?: boolean;
  signal?: AbortSignal;
  onProgress?(p: { phase: 'reading' | 'computing' | 'writing'; done: number; total: number | null }): void;
}

export interface HistoricalSummary {
  rows: number;
  /** Feature ids. */
  features: string[];
  /** Names of the columns added. */
  columns: string[];
  /** Feature id -> cells that are null because their computation failed, and the first reason. */
  errors: Record<string, { cells: number; reason: string }>;
  time: string;
  seconds: number;
  file: string;
}

/** @throws FabraError BAD_SPINE, NAME_COLLISION, UNKNOWN_FEATURE, FILE_EXISTS, FILE_NOT_FOUND, BAD_FLAG, INTERRUPTED; then nothing is written. */
export async function runHistorical(project: Project, compiled: Compiled, options: HistoricalOptions): Promise<HistoricalSummary> {
  const began = project.clock.now();
  const ids = [...new Set(options.features)];
  for (const id of ids)
    if (!compiled.registry.features[id])
      throw new FabraError('UNKNOWN_FEATURE', `there is no feature ${JSON.stringify(id)}`, { hint: suggest(id, Object.keys(compiled.registry.features)) });
  const format = outFormat(options);
  options.onProgress?.({ phase: 'reading', done: 0, total: null });
  const view = await project.history.open(compiled);
  try {
    const run = new Historian(compiled, view, ids, options);
    const done = await run.run(format);
    return { ...done, features: ids, seconds: (project.clock.now() - began) / 1000, file: options.out };
  } finally {
    await view.close();
  }
}

function outFormat({ out, overwrite, spine }: HistoricalOptions): 'csv' | 'parquet' {
  const format = /\.(parquet|pq)$/i.test(out) ? 'parquet' : /\.csv(\.gz)?$/i.test(out) ? 'csv' : null;
  if (format === null) throw new FabraError('BAD_FLAG', `--out ${JSON.stringify(out)} is neither .csv nor .parquet`, { hint: 'For example --out train.parquet' });
  if (path.resolve(out) === path.resolve(spine)) throw new FabraError('FILE_EXISTS', 'the output would replace the spine', { hint: 'Give another --out.' });
  if (existsSync(out) && !overwrite) throw new FabraError('FILE_EXISTS', `${out} is there already`, { hint: 'Give another --out, or add --overwrite.' });
  if (!existsSync(path.dirname(path.resolve(out))))
    throw new FabraError('FILE_NOT_FOUND', `no such folder: ${path.dirname(out)}`, { hint: 'Make it first, or give another --out.' });
  return format;
}

class Historian {
  private readonly compiled: Compiled;
  private readonly view: HistoryView;
  private readonly ids: readonly string[];
  private readonly options: HistoricalOptions;
  private readonly plan: DerivePlan;
  /** By id, of derived features without a declared type. */
  private readonly guesses = new Map<string, TypeGuess>();
  private readonly errors: Record<string, { cells: number; reason: string }> = {};

  constructor(compiled: Compiled, view: HistoryView, ids: readonly string[], options: HistoricalOptions) {
    this.compiled = compiled;
    this.view = view;
    this.ids = ids;
    this.options = options;
    this.plan = derivePlan(compiled.registry, compiled.code, ids);
  }

  async run(format: 'csv' | 'parquet'): Promise<Omit<HistoricalSummary, 'features' | 'seconds' | 'file'>> {
    const spine = await loadSpine(this.view, this.options.spine);
    const names = spine.columns.map(c => c.name);
    const features = this.ids.map(id => this.compiled.registry.features[id]!);
    const columns = labelNames(features, names, this.options.fullNames === true);
    const entities = new Set([...this.plan.windows, ...features].map(f => f.entity));
    const keys = keyColumns(this.compiled.registry, entities, names);
    const extra = requestColumns(
      this.plan.steps.map(s => s.plan),
      names,
    );
    const time = await timeColumn(spine, this.options.time, new Set(Object.values(keys).flat()));
    await setTimes(spine, time);
    const labels = labelsOf(features, columns);
    for (const f of features) if (f.type.base === 'json') this.guesses.set(f.id, new TypeGuess());
    await this.write(spine, format, labels, this.texts(spine, keys, extra, labels));
    return { rows: spine.rows, columns, errors: this.errors, time };
  }

  private async *texts(spine: Spine, keys: Record<string, string[]>, extra: readonly string[], labels: LabelColumn[]): AsyncGenerator<(string | null)[][]> {
    const requests = new RequestReader(
      extra,
      this.plan.steps.map(s => s.code?.request ?? null).filter(s => s !== null),
    );
    const { onProgress, signal } = this.options;
    let done = 0;
    onProgress?.({ phase: 'computing', done, total: spine.rows });
    for await (const chunk of spine.ask(this.plan.windows, keys, extra)) {
      if (signal?.aborted) throw new FabraError('INTERRUPTED', 'interrupted', { hint: 'Nothing was written.' });
      yield this.chunk(chunk, requests);
      onProgress?.({ phase: 'computing', done: (done += chunk.at.length), total: spine.rows });
    }
    this.ids.forEach((id, i) => {
      const guess = this.guesses.get(id);
      if (guess) labels[i]!.type = guess.type();
    });
    onProgress?.({ phase: 'writing', done, total: spine.rows });
  }

  private chunk(chunk: SpineChunk, requests: RequestReader): (string | null)[][] {
    const { registry } = this.compiled;
    const { windows, steps } = this.plan;
    const out = this.ids.map((): (string | null)[] => []);
    const direct = steps.length > 0 ? null : this.ids.map(id => windows.findIndex(f => f.id === id));
    chunk.at.forEach((at, r) => {
      const cell = (i: number): Cell => (chunk.keyed[windows[i]!.entity]![r] ? chunk.cells[i]![r]! : keyless(windows[i]!));
      if (direct) {
        direct.forEach((i, o) => out[o]!.push(this.text(windows[i]!.id, cell(i))));
        return;
      }
      const known = new Map<string, Cell>();
      windows.forEach((f, i) => known.set(f.id, cell(i)));
      runDerive(this.plan, known, requests.read(chunk.extra.map(c => c[r])), at);
      this.ids.forEach((id, o) => out[o]!.push(this.text(id, chunk.keyed[registry.features[id]!.entity]![r] ? known.get(id)! : keyless(registry.features[id]!))));
    });
    return out;
  }

  private text(id: string, { value, status, reason }: Cell): string | null {
    const { type } = this.compiled.registry.features[id]!;
    if (type.base === 'json') this.guesses.get(id)!.add(value);
    if (status === 'ERROR' && reason !== 'MISSING_KEY' && !reason?.endsWith('MISSING_KEY')) this.failed(id, reason ?? 'ERROR');
    if (fits(value, type)) return textOf(value, type);
    this.failed(id, `COMPUTE: returned a ${Array.isArray(value) ? 'list' : typeof value}, declared ${type.base}${type.list ? '[]' : ''}`);
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
