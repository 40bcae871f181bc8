import { createReadStream, statSync } from 'node:fs';
import { createGunzip } from 'node:zlib';

/** A larger file is not read twice for the sake of a display. */
const LARGEST = 256 * 1024 * 1024;

/** Lines of a text file, gzipped or not, for a display; null when it cannot be told cheaply. A CSV header is not counted. */
export async function countLines(file: string): Promise<number | null> {
  const gzip = file.endsWith('.gz');
  const name = gzip ? file.slice(0, -3) : file;
  if (name.endsWith('.parquet') || (statSync(file, { throwIfNoEntry: false })?.size ?? LARGEST) >= LARGEST) return null;
  try {
    let lines = 0;
    const bytes = createReadStream(file);
    for await (const chunk of gzip ? bytes.pipe(createGunzip()) : bytes) {
      const buffer = chunk as Buffer;
      for (let at = buffer.indexOf(10); at >= 0; at = buffer.indexOf(10, at + 1)) lines++;
    }
    return name.endsWith('.csv') ? Math.max(0, lines - 1) : lines;
  } catch {
    return null;
  }
}
