/** Dead letters: looking at them, giving them another chance, and letting them go. All beside a running worker. */
import { Decoder } from '../engine/decode.ts';
import { compileUnits } from '../engine/units.ts';
import { FabraError } from '../lib/errors.ts';
import type { DeadLetter, OnlineStore } from '../ports/online-store.ts';
import type { Registry } from '../registry/types.ts';
import type { Compiled, Project } from './project.ts';
import { requireApplied } from './worker.ts';

export interface Chosen {
  /** Those named; empty with `all`. */
  seqs: readonly number[];
  all: boolean;
  /** Only those of this feature's handler: its name or id. */
  feature?: string;
}

export type Retried =
  /** `position`: where a rejected event is in the log now. */
  { seq: number; ok: true; what: 'requeued' } | { seq: number; ok: true; what: 'appended'; position: string } | { seq: number; ok: false; why: string };

interface Letter {
  seq: number;
  letter: DeadLetter;
}

/** Letters read or moved at a time. */
const PAGE = 500;

/**
 * Handlers' letters go back to their queues, once each; rejected events that fit the definitions of now go to the end of the log.
 * Whatever stays says why.
 * @throws FabraError NOT_APPLIED when the definitions are not the applied ones; NOT_FOUND for a number that is none.
 */
export async function retryLetters(project: Project, compiled: Compiled, chosen: Chosen): Promise<Retried[]> {
  await requireApplied(project, compiled.registry);
  const again = new Again(project, compiled);
  const out: Retried[] = [];
  for await (const page of lettersOf(project.online, chosen, compiled.registry)) out.push(...(await again.retry(page)));
  return out;
}

/** Takes letters out for good; returns how many. */
export async function purgeLetters(online: OnlineStore, chosen: Chosen): Promise<number> {
  let gone = 0;
  for await (const page of lettersOf(online, chosen)) gone += await online.purge(page.map(l => l.seq));
  return gone;
}

/** The letters chosen, in order. Those that come while this goes on are not among them. */
async function* lettersOf(online: OnlineStore, chosen: Chosen, registry?: Registry): AsyncGenerator<Letter[]> {
  const id = chosen.feature === undefined ? null : handlerOf(registry, chosen.feature);
  const fits = ({ letter }: Letter) => id === null || letter.handler?.feature === id;
  if (!chosen.all) {
    const seqs = [...new Set(chosen.seqs)].sort((a, b) => a - b);
    const found = await Promise.all(seqs.map(async seq => (await online.deadLetters(seq - 1, 1)).find(l => l.seq === seq)));
    const missing = seqs.find((_, i) => !found[i]);
    if (missing !== undefined) throw new FabraError('NOT_FOUND', `there is no dead letter ${missing}`, { hint: 'See: fabra dlq list' });
    const letters = found.filter(l => l !== undefined).filter(fits);
    for (let at = 0; at < letters.length; at += PAGE) yield letters.slice(at, at + PAGE);
    return;
  }
  let left = await online.deadCount();
  for (let after = 0; left > 0; ) {
    const page = await online.deadLetters(after, Math.min(PAGE, left));
    if (page.length === 0) return;
    after = page[page.length - 1]!.seq;
    left -= page.length;
    const mine = page.filter(fits);
    if (mine.length > 0) yield mine;
  }
}

/** @throws FabraError UNKNOWN_FEATURE with the handlers there are. */
function handlerOf(registry: Registry | undefined, name: string): string {
  const handlers = Object.values(registry?.features ?? {}).filter(f => f.kind === 'on');
  const found = handlers.filter(f => f.id === name || f.name === name);
  if (found.length === 1) return found[0]!.id;
  if (found.length > 1) throw new FabraError('NAME_COLLISION', `${found.length} handlers are named ${name}`, { hint: `Write ${found.map(f => f.id).join(' or ')}.` });
  const hint = handlers.length > 0 ? `Handlers: ${handlers.map(f => f.id).join(', ')}.` : 'There is no handler among the definitions.';
  throw new FabraError('UNKNOWN_FEATURE', `there is no handler ${JSON.stringify(name)}`, { hint });
}

class Again {
  private readonly project: Project;
  private readonly compiled: Compiled;
  private readonly decoders = new Map<string, Decoder>();
  private readonly triggers: ReturnType<typeof compileUnits>['triggers'];

  constructor(project: Project, compiled: Compiled) {
    this.project = project;
    this.compiled = compiled;
    this.triggers = compileUnits(compiled.registry).triggers;
  }

  async retry(letters: readonly Letter[]): Promise<Retried[]> {
    const handled = letters.filter(l => l.letter.handler).map(l => l.seq);
    const back = new Set(handled.length > 0 ? await this.project.online.requeue(handled, this.triggers) : []);
    const out: Retried[] = [];
    for (const l of letters) {
      if (!l.letter.handler) out.push(await this.append(l));
      else if (back.has(l.seq)) out.push({ seq: l.seq, ok: true, what: 'requeued' });
      else out.push({ seq: l.seq, ok: false, why: this.whyNot(l.letter.handler.feature) });
    }
    return out;
  }

  private whyNot(feature: string): string {
    return this.triggers.some(t => t.id === feature) ? 'it was retried or purged meanwhile' : `${feature} is no handler any more`;
  }

  /**
   * Appended first and purged then: a kill between leaves the letter, and the event sent twice has one id. A stream without an id
   * column gets the one that the event's first place gave it.
   */
  private async append({ seq, letter }: Letter): Promise<Retried> {
    const { registry, code } = this.compiled;
    const { stream, partition, offset, at, bytes } = letter;
    const plan = registry.streams[stream];
    if (!plan) return { seq, ok: false, why: `stream ${stream} is not declared any more` };
    let decoder = this.decoders.get(stream);
    if (!decoder) this.decoders.set(stream, (decoder = new Decoder(registry, stream, code.schemas)));
    const id = 'position' in plan.id ? `${partition}-${offset}` : null;
    const decoded = decoder.decode({ offset, appended: at, id, bytes }, partition);
    if (!decoded.ok) return { seq, ok: false, why: decoded.reason };
    const { bus, online, clock } = this.project;
    const place = await bus.append(stream, [{ bytes, id }], clock.now());
    await bus.flushed();
    await online.purge([seq]);
    return { seq, ok: true, what: 'appended', position: `${stream}/${place.partition}/${place.first}` };
  }
}
