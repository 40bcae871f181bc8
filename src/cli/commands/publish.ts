/** `fabra publish`: one event from the command line, or many from a file or stdin, into the log. */
import { createReadStream } from 'node:fs';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { FabraError, toFabraError } from '../../lib/errors.ts';
import { Publisher, type PublishInput, type PublishResult } from '../../runtime/publish.ts';
import { plural } from '../output.ts';
import { servable, withCompiled } from '../open.ts';
import type { Invocation, Run } from '../spec.ts';

export const run: Run = call =>
  withCompiled(call, async (project, compiled) => {
    const publisher = new Publisher(project, await servable(project, compiled));
    const [type, given] = call.args;
    const { file, payload, entityId } = call.flags as Record<string, string | undefined>;
    // An entity's key may be all there is to say.
    const text = given ?? payload ?? (type !== undefined && entityId !== undefined && file === undefined ? '{}' : undefined);
    if (payload !== undefined && type === undefined)
      throw new FabraError('BAD_FLAG', '--payload needs the type of the event', { hint: `Write: fabra publish purchase --payload '${payload}'` });
    if (text !== undefined && file !== undefined) throw new FabraError('BAD_FLAG', 'a payload and --file at once', { hint: 'Leave one of them out.' });
    return text === undefined || text === '-' ? many(call, publisher, type) : one(call, publisher, eventOf(call, type!, text));
  });

async function one({ out }: Invocation, publisher: Publisher, input: PublishInput): Promise<number> {
  const [result] = await publisher.publish([input]);
  if (!result!.ok) throw result!.error;
  const { event, event_id, position } = result!;
  out.answer({ event, event_id, position }, () => [`published ${event} ${event_id} at ${position}`]);
  return 0;
}

/** The payload, in an envelope with what the flags say. */
function eventOf({ flags }: Invocation, type: string, text: string): PublishInput {
  let payload: unknown;
  try {
    payload = JSON.parse(text);
  } catch (e) {
    throw new FabraError('BAD_EVENT', `the payload is not JSON: ${(e as Error).message}`, { hint: `For example: fabra publish ${type} '{"user_id": "u1"}'` });
  }
  const { entityId, eventId, timestamp } = flags as Record<string, string | undefined>;
  const around = { entity_id: entityId, event_id: eventId, timestamp };
  const named = Object.entries(around).filter(([, v]) => v !== undefined);
  if (named.length === 0) return { event: payload, type };
  const inner = payload !== null && typeof payload === 'object' && 'payload' in payload ? payload : { payload };
  return { event: { ...inner, ...Object.fromEntries(named) }, type };
}

/** NDJSON in a file or on stdin; a bad line costs no good one. Exit 2 when there was one. */
async function many({ out, flags, cwd }: Invocation, publisher: Publisher, type: string | undefined): Promise<number> {
  const file = (flags.file as string | undefined) ?? '-';
  if (file === '-' && process.stdin.isTTY)
    throw new FabraError('BAD_FLAG', 'there is no payload', {
      hint: `Write it behind the event, or send lines: fabra publish${type === undefined ? '' : ` ${type}`} < events.ndjson`,
    });
  const { createInterface } = await import('node:readline');
  const wrong: { line: number; error: FabraError }[] = [];
  let published = 0;
  let line = 0;
  let batch: { line: number; text: string }[] = [];
  const send = async (): Promise<void> => {
    for (const r of await publishLines(publisher, batch, type)) r.ok ? published++ : wrong.push({ line: r.line, error: r.error });
    batch = [];
  };
  const input: Readable = file === '-' ? process.stdin : createReadStream(path.resolve(cwd, file));
  // Its error would else be thrown where nobody waits for it.
  const broken = new Promise<never>((_, reject) => input.once('error', e => reject(toFabraError(e))));
  broken.catch(() => {});
  const read = async (): Promise<void> => {
    for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      line++;
      if (text.trim() !== '') batch.push({ line, text });
      if (batch.length >= 1_000) await send();
    }
  };
  await Promise.race([read(), broken]);
  await send();
  await publisher.drain();
  const rejected = wrong.map(w => ({ line: w.line, ...w.error.toJSON().error }));
  out.answer({ published, rejected: wrong.length, errors: rejected }, () => [
    ...wrong.map(w => `line ${w.line}: ${w.error.code} ${w.error.message}${w.error.hint ? ` (${w.error.hint})` : ''}`),
    `${plural(published, 'event')} published, ${wrong.length} rejected`,
  ]);
  return wrong.length > 0 ? 2 : 0;
}

async function publishLines(publisher: Publisher, batch: readonly { line: number; text: string }[], type: string | undefined): Promise<(PublishResult & { line: number })[]> {
  if (batch.length === 0) return [];
  const results: (PublishResult & { line: number })[] = [];
  const good: { line: number; input: PublishInput }[] = [];
  for (const { line, text } of batch) {
    try {
      good.push({ line, input: { event: JSON.parse(text), type } });
    } catch (e) {
      results.push({ line, ok: false, error: new FabraError('BAD_EVENT', `not JSON: ${(e as Error).message}`, { hint: 'Each line is one JSON object.' }) });
    }
  }
  (await publisher.publish(good.map(g => g.input))).forEach((r, i) => results.push({ line: good[i]!.line, ...r }));
  return results.sort((a, b) => a.line - b.line);
}
