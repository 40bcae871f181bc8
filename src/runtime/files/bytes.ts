/** A file's bytes, decompressed when they start like gzip, whatever the name says. */
import { type FileHandle, open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { TruncatedInput } from './errors.ts';

const CHUNK = 65_536;

/**
 * Chunks in order. A gzip file that was cut off or damaged gives all that could be decompressed, then throws.
 * @throws TruncatedInput; what `open` throws (ENOENT) passes through.
 */
export async function* byteChunks(path: string): AsyncGenerator<Buffer> {
  const file = await open(path);
  try {
    const first = await next(file);
    if (!first) {
      if (path.endsWith('.gz')) throw new TruncatedInput(path, 'the gzip file is empty');
      return;
    }
    if (first[0] === 0x1f && first[1] === 0x8b) yield* gunzip(path, file, first);
    else for (let chunk: Buffer | null = first; chunk; chunk = await next(file)) yield chunk;
  } finally {
    await file.close();
  }
}

async function next(file: FileHandle): Promise<Buffer | null> {
  const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK);
  return bytesRead === 0 ? null : buffer.subarray(0, bytesRead);
}

/**
 * Feeds one compressed chunk at a time and takes what comes out before the next. Reading the stream as an iterator would
 * lose what it still holds when the error of a cut file arrives.
 */
async function* gunzip(path: string, file: FileHandle, first: Buffer): AsyncGenerator<Buffer> {
  const stream = createGunzip();
  const state: { out: Buffer[]; failed?: Error; ended: boolean } = { out: [], ended: false };
  let wake = (): void => {};
  stream.on('data', chunk => state.out.push(chunk));
  stream.on('error', e => {
    state.failed = e;
    wake();
  });
  // Also before the last chunk, when padding of zeros follows: it is ignored.
  stream.on('end', () => {
    state.ended = true;
    wake();
  });
  const settled = (start: (done: () => void) => void): Promise<void> =>
    new Promise(done => {
      wake = done;
      start(done);
    });
  try {
    for (let chunk: Buffer | null = first; chunk && !state.failed && !state.ended; chunk = await next(file)) {
      const bytes = chunk;
      await settled(done => stream.write(bytes, () => done()));
      const ready = state.out;
      state.out = [];
      yield* ready;
    }
    if (!state.failed && !state.ended) await settled(() => stream.end());
    yield* state.out;
    if (state.failed) throw new TruncatedInput(path, reason(state.failed), state.failed);
  } finally {
    stream.destroy();
  }
}

const reason = (e: Error): string =>
  (e as NodeJS.ErrnoException).code === 'Z_BUF_ERROR' ? 'the gzip file ends before its end: it was cut off' : `the gzip file is damaged (${e.message})`;
