import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { clickstreamLines, type SampleCounts, type SampleOptions } from './clickstream.ts';

/**
 * Writes the sample, gzipped when the name ends in `.gz`. It appears under its name only when whole: a run that is
 * stopped leaves no half file to replay.
 */
export async function writeClickstream(path: string, o: SampleOptions): Promise<SampleCounts> {
  const part = `${path}.part`;
  const lines = clickstreamLines(o);
  let counts: SampleCounts | undefined;
  function* chunks(): Generator<Buffer> {
    let text = '';
    for (;;) {
      const step = lines.next();
      if (step.done) {
        counts = step.value;
        break;
      }
      text += `${step.value}\n`;
      if (text.length > 65_536) {
        yield Buffer.from(text);
        text = '';
      }
    }
    if (text) yield Buffer.from(text);
  }
  try {
    const source = Readable.from(chunks(), { objectMode: false });
    if (path.endsWith('.gz')) await pipeline(source, createGzip({ level: 6 }), sameHeader, createWriteStream(part));
    else await pipeline(source, createWriteStream(part));
    await rename(part, path);
  } catch (e) {
    await rm(part, { force: true });
    throw e;
  }
  return counts!;
}

/** zlib leaves the file's time at 0 but writes the operating system into byte 9: 255 says unknown, everywhere. */
async function* sameHeader(gzip: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let at = 0;
  for await (const chunk of gzip) {
    if (at <= 9 && at + chunk.length > 9) chunk[9 - at] = 255;
    at += chunk.length;
    yield chunk;
  }
}
