/** `fabra dev`: worker and server in one process, and definitions that follow the file: compatible changes go live, others wait. */
import type { FastifyInstance } from 'fastify';
import { toFabraError } from '../lib/errors.ts';
import { type Counters, noCounters } from '../ports/online-store.ts';
import { type HandlerCounts, noHandlerCounts } from './handlers/loop.ts';
import { renderPlan } from '../registry/diff.ts';
import { applyRegistry, checkViews, planApply } from './apply.ts';
import type { Compiled, Project } from './project.ts';
import { withSchedule } from './schedule.ts';
import { createServer } from './server/index.ts';
import { runWorker, type WorkerProgress } from './worker.ts';

export interface DevOptions {
  host: string;
  /** 0 lets the system pick one; kept over reloads. */
  port: number;
  apiKey: string | null;
  /** Events that happen, in words. */
  note(text: string): void;
  /** Something is wrong and the session goes on. */
  warn(text: string): void;
  onProgress(p: WorkerProgress): void;
  /** As configured; the worker's own when unset. */
  batchSize?: number;
  pollMs?: number;
}

/** Pause before a worker that failed is started again. */
const RESTART_MS = 2_000;

export class DevSession {
  url = '';
  private readonly project: Project;
  private readonly options: DevOptions;
  private port: number;
  private server: FastifyInstance | null = null;
  private stopWorker: AbortController | null = null;
  /** Counted by workers of this session that have ended. */
  private counted = noCounters();
  private turns = noHandlerCounts();
  private working: Promise<void> = Promise.resolve();
  /** Definitions that run, and those of the last save. */
  private runs: Compiled | null = null;
  private latest: Compiled | null = null;
  private revision = 0;

  constructor(project: Project, options: DevOptions) {
    this.project = project;
    this.options = options;
    this.port = options.port;
  }

  /**
   * Applies the definitions, then serves and works.
   * @throws FabraError BREAKING_CHANGE or CONSENT_NEEDED when they differ too much from what is applied.
   */
  async start(compiled: Compiled): Promise<void> {
    const { changed, revision } = await applyRegistry(this.project, compiled, { newVersion: false, consent: false });
    if (changed) this.options.note(`applied as revision ${revision}`);
    await this.run(compiled, revision);
  }

  private async run(compiled: Compiled, revision: number): Promise<void> {
    this.runs = compiled;
    this.latest = compiled;
    this.revision = revision;
    await this.listen(compiled);
    this.work(compiled);
  }

  /** Another process applied: when that is what the file says now, it runs from here on. Call it now and then. */
  async follow(): Promise<void> {
    const applied = await this.project.catalog.applied();
    if (!applied || applied.revision === this.revision || !this.latest) return;
    this.revision = applied.revision;
    const { diff } = await planApply(this.project, this.latest);
    if (diff.changes.length > 0) return this.options.warn(`revision ${applied.revision} was applied elsewhere and differs from the file`);
    this.options.note(`revision ${applied.revision} was applied: running it`);
    await this.halt();
    await this.run(this.latest, applied.revision);
  }

  /** New definitions: live when they are compatible; otherwise what is applied goes on, and the plan is shown. */
  async reload(compiled: Compiled): Promise<void> {
    const { diff } = await planApply(this.project, compiled);
    this.latest = compiled;
    if (diff.changes.length === 0 && this.runs?.registry.hash === compiled.registry.hash) return this.options.note('no changes');
    const removed = diff.changes.some(c => c.op === 'remove' && c.kind === 'feature');
    for (const line of renderPlan(diff)) this.options.note(line);
    if (diff.breaking || removed)
      return this.options.warn(diff.breaking ? 'not applied, it changes what features mean: fabra apply --new-version' : 'not applied, it removes features: fabra apply --yes');
    // Before anything stops: a view that its source refuses leaves what runs running.
    await checkViews(this.project, compiled);
    await this.rest();
    // The server answers on until the new one can take its port.
    const { revision } = await applyRegistry(this.project, compiled, { newVersion: false, consent: false });
    this.options.note(`applied as revision ${revision}`);
    await this.halt();
    await this.run(compiled, revision);
  }

  private async listen(compiled: Compiled): Promise<void> {
    const server = createServer(this.project, compiled, { apiKey: this.options.apiKey });
    await server.listen({ host: this.options.host, port: this.port });
    const address = server.server.address();
    if (address && typeof address === 'object') this.port = address.port;
    const { host } = this.options;
    this.url = `http://${host.includes(':') ? `[${host}]` : host}:${this.port}`;
    this.server = server;
  }

  private work(compiled: Compiled): void {
    const stop = new AbortController();
    this.stopWorker = stop;
    const worker = async () => {
      while (!stop.signal.aborted) {
        const [before, turns] = [this.counted, this.turns];
        const onProgress = (p: WorkerProgress) => {
          this.counted = sum(before, p.counters);
          this.turns = sum(turns, p.handlers);
          this.options.onProgress({ ...p, counters: this.counted, handlers: this.turns });
        };
        try {
          await runWorker(this.project, compiled, { signal: stop.signal, onProgress, batchSize: this.options.batchSize, pollMs: this.options.pollMs });
        } catch (e) {
          const { code, message, hint } = toFabraError(e);
          this.options.warn(`worker: ${code} ${message}${hint ? ` (${hint})` : ''}`);
          await this.project.clock.sleep(RESTART_MS, stop.signal);
        }
      }
    };
    this.working = withSchedule(
      this.project,
      compiled,
      {
        signal: stop.signal,
        onRun: r => r.status === 'ok' && this.options.note(`${r.view}: ${r.rows} new rows of ${r.read}, ${r.seconds.toFixed(1)} s`),
        onError: (e, view) => this.options.warn(`${view ?? 'recorded rows'}: ${e.code} ${e.message}${e.hint ? ` (${e.hint})` : ''}`),
      },
      worker,
    );
  }

  /** Ends the worker alone. */
  private async rest(): Promise<void> {
    this.stopWorker?.abort();
    await this.working;
  }

  private async halt(): Promise<void> {
    await this.rest();
    await this.server?.close();
    this.server = null;
  }

  /** Finishes the batch and what is being answered. */
  stop(): Promise<void> {
    return this.halt();
  }
}

const sum = <T extends Counters | HandlerCounts>(a: T, b: T): T => Object.fromEntries(Object.entries(a).map(([k, n]) => [k, n + b[k as keyof T]])) as T;
