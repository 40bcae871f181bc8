/** Order and shape of texts and keys. */
import { FabraError } from './errors.ts';

/** UTF-8 byte order of two well-formed strings: code point order, which differs from UTF-16 order only across surrogates. */
export function compareUtf8(a: string, b: string): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) {
    let x = a.charCodeAt(i);
    let y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates (astral characters) sort above everything else in UTF-8: move them past U+FFFF.
    if (x >= 0xd800) x = x >= 0xe000 ? x - 0x800 : x + 0x2000;
    if (y >= 0xd800) y = y >= 0xe000 ? y - 0x800 : y + 0x2000;
    return x < y ? -1 : 1;
  }
  return a.length - b.length;
}

/** Most bytes of an encoded key: the store's own limit is near 2,000. */
export const MAX_KEY_BYTES = 1024;

/** Composite key as one unambiguous text for storage: each part with its length before it. A single part stays itself. */
export function joinKey(parts: readonly string[]): string {
  if (parts.length === 1) return parts[0]!;
  let out = '';
  for (const p of parts) out += `${p.length}:${p}`;
  return out;
}

/** Inverse of {@link joinKey}. */
export function splitKey(key: string, parts: number): string[] {
  if (parts === 1) return [key];
  const out: string[] = [];
  for (let at = 0; at < key.length; ) {
    const colon = key.indexOf(':', at);
    const n = Number(key.slice(at, colon));
    out.push(key.slice(colon + 1, colon + 1 + n));
    at = colon + 1 + n;
  }
  return out;
}

/** Key as typed on the command line and in URLs: percent-encoded parts joined by `,`; `-` for an entity without a key. */
export const showKey = (parts: readonly string[]): string =>
  parts.length === 0 ? NO_KEY : parts.map(p => encodeURIComponent(p).replace(/%3A/gi, ':').replace(/%40/g, '@')).join(',');
const NO_KEY = '-';

/** Inverse of {@link showKey}; BAD_KEY when the number of parts is off or one is empty. */
export function parseKey(text: string, columns: readonly string[]): string[] {
  if (columns.length === 0) {
    if (text === NO_KEY) return [];
    throw new FabraError('BAD_KEY', `this entity has no key, so ${JSON.stringify(text)} is none`, { hint: `Write ${NO_KEY} in its place.` });
  }
  const raw = columns.length === 1 && !text.includes('%') ? [text] : text.split(',');
  const parts = raw.map(p => {
    try {
      return decodeURIComponent(p);
    } catch {
      return p;
    }
  });
  if (parts.length !== columns.length || parts.some(p => p === ''))
    throw new FabraError('BAD_KEY', `the key ${JSON.stringify(text)} needs ${columns.length} part(s): ${columns.join(',')}`, {
      hint: `Write ${columns.map(c => `<${c}>`).join(',')}; encode a comma inside a part as %2C.`,
    });
  return parts;
}

/** The nearest name by edit distance, when it is near enough to be a slip. */
export function didYouMean(name: string, names: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestCost = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of names) {
    const [a, b] = [name.toLowerCase(), candidate.toLowerCase()];
    // A slip in the first part of a longer name counts as one more: `user_viws` for `user_views_5m`.
    const cost = Math.min(
      editDistance(a, b),
      a.length >= 4 && b.length > a.length ? Math.min(editDistance(a, b.slice(0, a.length)), editDistance(a, b.slice(0, a.length + 1))) + 1 : a.length + b.length,
    );
    if (cost < bestCost) [best, bestCost] = [candidate, cost];
  }
  return best;
}

/** A sentence for a hint: `Did you mean: user_score?`, or the names there are. */
export function suggest(name: string, names: Iterable<string>): string {
  const all = [...names];
  const near = didYouMean(name, all);
  if (near) return `Did you mean: ${near}?`;
  return all.length ? `There are: ${all.slice(0, 12).join(', ')}${all.length > 12 ? ', …' : ''}.` : 'There are none yet.';
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length]!;
}
