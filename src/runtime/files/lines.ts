/** A file's text in blocks of whole lines, so that no line and no UTF-8 sequence is ever split. */
import { isUtf8 } from 'node:buffer';
import { byteChunks } from './bytes.ts';
import type { FileRow } from './types.ts';

/** A longer line is not a row; it is skipped, so that memory stays bounded. */
export const MAX_LINE = 16 * 1024 * 1024;

/**
 * Marks: put at the end of a line that is not UTF-8, and in place of one of more than {@link MAX_LINE} bytes. Lone
 * surrogates cannot come out of decoding, so they are in no one's text.
 */
const NOT_UTF8 = '\udfff';
const TOO_LONG = '\udffe';
/** With `u`, halves of whole pairs do not match. */
const MARKS = /[\udffe\udfff]/gu;

/** Node 20 has it, TypeScript's es2023 does not name it yet. */
const wellFormed = (text: string): boolean => (text as unknown as { isWellFormed(): boolean }).isWellFormed();

/** A row with a mark becomes an error with printable text; others stay as they are. */
export function mark(row: FileRow): FileRow {
  if (wellFormed(row.raw)) return row;
  row.error = row.raw.match(MARKS)?.includes(TOO_LONG) ? 'the line is longer than 16 MiB' : 'the line is not UTF-8 text';
  row.values = null;
  row.raw = row.raw.replace(MARKS, '');
  return row;
}

const NEWLINE = 10;

/** Blocks of whole lines; only the last may lack its line end. A leading BOM is dropped. */
export async function* lineBlocks(path: string): AsyncGenerator<string> {
  let carry: Buffer[] = [];
  let carried = 0;
  let first = true;
  for await (const chunk of byteChunks(path)) {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    if (end > 0) {
      const head = chunk.indexOf(NEWLINE) + 1;
      // A line beyond the limit was let go on the way: only its mark is left.
      const block = carried > MAX_LINE ? `${TOO_LONG}\n${decode(chunk.subarray(head, end))}` : decode(joined(carry, chunk.subarray(0, end)));
      yield first ? withoutBom(block) : block;
      first = false;
      carry = [];
      carried = 0;
    }
    carried += chunk.length - end;
    if (carried > MAX_LINE) carry = [];
    else if (end < chunk.length) carry.push(chunk.subarray(end));
  }
  if (carried > 0) {
    const block = carried > MAX_LINE ? TOO_LONG : decode(joined(carry));
    yield first ? withoutBom(block) : block;
  }
}

const joined = (carry: Buffer[], end?: Buffer): Buffer => (carry.length === 0 && end ? end : Buffer.concat(end ? [...carry, end] : carry));
const withoutBom = (text: string): string => (text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);

function decode(bytes: Buffer): string {
  return isUtf8(bytes) ? bytes.toString('utf8') : decodeLines(bytes);
}

/** Line by line, each bad one marked: one line in Latin-1 does not spoil its neighbours. */
function decodeLines(bytes: Buffer): string {
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const newline = bytes.indexOf(NEWLINE, at);
    const end = newline < 0 ? bytes.length : newline;
    const line = bytes.subarray(at, end);
    text += line.toString('utf8');
    if (!isUtf8(line)) text += NOT_UTF8;
    if (newline >= 0) text += '\n';
    at = end + 1;
  }
  return text;
}
