/** Progress of long work: a live display on a terminal, a line now and then elsewhere, nothing with --quiet or --json. */
import { type Output, wantsColor } from '../output.ts';
import type { Live } from './live.tsx';
import { Meter } from './meter.ts';
import { readingText } from './text.ts';

export interface Progress {
  /** Cheap: call it as often as there is news. */
  update(done: number, total?: number | null, note?: string): void;
  end(): void;
}

const DRAW_MS = 100;
const LINE_MS = 5_000;
const SILENT: Progress = { update: () => {}, end: () => {} };

/** `unit` in the plural: `events`. */
export async function openProgress(out: Output, title: string, unit: string, now: () => number = () => performance.now()): Promise<Progress> {
  if (out.json || out.quiet) return SILENT;
  return new Shown(out, title, unit, now, out.live ? await loadLive(out) : null);
}

const loadLive = (out: Output): Promise<typeof import('./live.tsx')> => loadInk(out, () => import('./live.tsx'));

/** Set only while they load: React's development build is slower and keeps every render, ink's colours know no NO_COLOR. */
export async function loadInk<T>(out: Output, load: () => Promise<T>): Promise<T> {
  const { NODE_ENV, FORCE_COLOR } = process.env;
  process.env.NODE_ENV = 'production';
  if (!wantsColor(out.env, out.stderr)) process.env.FORCE_COLOR = '0';
  try {
    return await load();
  } finally {
    restore('NODE_ENV', NODE_ENV);
    restore('FORCE_COLOR', FORCE_COLOR);
  }
}

function restore(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name];
  else process.env[name] = value;
}

class Shown implements Progress {
  private readonly meter = new Meter();
  private readonly out: Output;
  private readonly title: string;
  private readonly unit: string;
  private readonly now: () => number;
  private readonly module: typeof import('./live.tsx') | null;
  private live: Live | null = null;
  private due: number;

  constructor(out: Output, title: string, unit: string, now: () => number, module: typeof import('./live.tsx') | null) {
    this.out = out;
    this.title = title;
    this.unit = unit;
    this.now = now;
    this.module = module;
    this.due = module ? 0 : now() + LINE_MS;
  }

  update(done: number, total: number | null = null, note = ''): void {
    const at = this.now();
    this.meter.add(at, done, total);
    if (at < this.due) return;
    this.due = at + (this.module ? DRAW_MS : LINE_MS);
    const reading = this.meter.read();
    if (!this.module) return this.out.note(`${this.title}: ${readingText(reading, this.unit)}${note === '' ? '' : `  ${note}`}`);
    const view = { title: this.title, unit: this.unit, reading, note };
    if (this.live) this.live.show(view);
    else this.live = this.module.openLive(this.out.stderr as NodeJS.WriteStream, view);
  }

  end(): void {
    this.live?.end();
    this.live = null;
  }
}
