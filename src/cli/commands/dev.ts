/** `fabra dev`: compile, apply, worker, server and watch in one process. */
import { FabraError, toFabraError } from '../../lib/errors.ts';
import { noCounters } from '../../ports/online-store.ts';
import { compileProject } from '../../registry/compile.ts';
import { DevSession } from '../../runtime/dev.ts';
import type { Compiled } from '../../runtime/project.ts';
import type { WorkerProgress } from '../../runtime/worker.ts';
import { checkHost } from '../../runtime/server/auth.ts';
import { withCompiled } from '../open.ts';
import type { Output } from '../output.ts';
import type { DevView } from '../progress/dev-screen.tsx';
import { loadInk } from '../progress/index.ts';
import { Meter } from '../progress/meter.ts';
import { readingText } from '../progress/text.ts';
import type { Run } from '../spec.ts';
import type { OpenedProject } from '../wire.ts';

const DRAW_MS = 200;
const LINE_MS = 5_000;
/** How often to look for a registry that another process applied. */
const FOLLOW_MS = 1_000;

export const run: Run = call =>
  withCompiled(call, async (project, compiled) => {
    const { flags, out, signal } = call;
    const host = (flags.host as string | undefined) ?? '127.0.0.1';
    checkHost(host, project.config.apiKey);
    const port = (flags.port as number | undefined) ?? 8080;
    if (port > 65_535) throw new FabraError('BAD_FLAG', `--port ${port} is no port`, { hint: 'Ports go up to 65535; 0 lets the system pick one.' });
    const { workerBatchSize, workerPollInterval, origins } = project.config;
    const screen = await Screen.open(out, project, Object.keys(compiled.registry.features).length);
    const session = new DevSession(project, {
      host,
      port,
      batchSize: workerBatchSize ?? undefined,
      pollMs: origins.workerPollInterval === 'default' ? undefined : workerPollInterval * 1000,
      apiKey: project.config.apiKey,
      note: text => screen.note(text, false),
      warn: text => screen.note(text, true),
      onProgress: p => screen.progress(p),
    });
    try {
      await session.start(compiled);
      screen.serving(session.url);
      if (out.json) out.answer({ url: session.url, pid: process.pid }, () => []);
      const watcher = await watch(project, compiled as Compiled & { files: string[] }, session, screen);
      await new Promise<void>(resolve => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));
      await watcher.close();
    } finally {
      await session.stop();
      screen.end();
    }
    out.note('stopped');
    return 0;
  });

/** Watches the files that were compiled; a save that does not compile shows its problems and changes nothing. */
async function watch(project: OpenedProject, first: { files: string[] }, session: DevSession, screen: Screen): Promise<{ close(): Promise<void> }> {
  const { watch: open } = await import('chokidar');
  const files = new Set([project.config.features, ...first.files]);
  const watcher = open([...files], { ignoreInitial: true, awaitWriteFinish: { stabilityThreshold: 100, pollInterval: 20 } });
  let turn = Promise.resolve();
  const reload = async (): Promise<void> => {
    try {
      const compiled = await compileProject(project.config.features, project.dir);
      watcher.add(compiled.files);
      await session.reload(compiled as unknown as Compiled);
      screen.view.features = Object.keys(compiled.registry.features).length;
    } catch (e) {
      for (const line of sentences(e)) screen.note(line, true);
    }
  };
  watcher.on('all', () => {
    turn = turn.then(reload);
  });
  // In the same line as saves: a restart never runs beside another.
  const looking = setInterval(() => {
    turn = turn.then(() => session.follow()).catch(e => screen.note(toFabraError(e).message, true));
  }, FOLLOW_MS);
  return {
    close: async () => {
      clearInterval(looking);
      await watcher.close();
      await turn;
    },
  };
}

function sentences(e: unknown): string[] {
  const err = e instanceof FabraError ? e : toFabraError(e);
  if (err.problems?.length) return err.problems.map(p => `${p.where ?? ''} ${p.message}${p.hint ? ` -> ${p.hint}` : ''}`.trim());
  return [`${err.message}${err.hint ? ` -> ${err.hint}` : ''}`];
}

/** What is shown: an ink screen on a terminal, lines elsewhere. */
class Screen {
  readonly view: DevView;
  private readonly out: Output;
  private readonly project: OpenedProject;
  private readonly meter = new Meter();
  private ink: { show(view: DevView): void; end(): void } | null = null;
  private due = 0;
  private said = 0;
  private timer: NodeJS.Timeout | null = null;

  private constructor(out: Output, project: OpenedProject, features: number) {
    this.out = out;
    this.project = project;
    this.view = { project: project.dir, url: '', features, counters: noCounters(), handlers: null, rate: 0, lag: 0, maxTs: null, dead: 0, notes: [] };
  }

  static async open(out: Output, project: OpenedProject, features: number): Promise<Screen> {
    const screen = new Screen(out, project, features);
    if (out.live && !out.json && !out.quiet) {
      const { openDevScreen } = await loadInk(out, () => import('../progress/dev-screen.tsx'));
      screen.ink = openDevScreen(out.stderr as NodeJS.WriteStream, screen.view);
    }
    screen.timer = setInterval(() => void screen.tick(), screen.ink ? DRAW_MS : LINE_MS);
    return screen;
  }

  serving(url: string): void {
    this.view.url = url;
    this.note(`serving ${this.view.features} features at ${url}`, false);
    this.note(`watching ${this.project.config.features}`, false);
  }

  note(text: string, bad: boolean): void {
    this.view.notes.push({ text, bad });
    if (this.view.notes.length > 50) this.view.notes.shift();
    if (!this.ink) this.out.note(bad ? `! ${text}` : text);
  }

  progress(p: WorkerProgress): void {
    const { handled, retried, dead } = p.handlers;
    Object.assign(this.view, p, { handlers: handled + retried + dead > 0 ? p.handlers : null });
    this.meter.add(performance.now(), p.counters.read);
  }

  private async tick(): Promise<void> {
    const reading = this.meter.read();
    this.view.rate = reading.rate;
    if (performance.now() >= this.due) {
      this.due = performance.now() + 1_000;
      this.view.dead = await this.project.online.deadCount().catch(() => this.view.dead);
    }
    if (this.ink) this.ink.show({ ...this.view });
    else if (reading.done !== this.said) {
      this.said = reading.done;
      this.out.note(`worker: ${readingText(reading, 'events')}`);
    }
  }

  end(): void {
    if (this.timer) clearInterval(this.timer);
    this.ink?.end();
  }
}
