import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { compileProject } from '../../src/registry/compile.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'fabra-hash-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const file = path.join(dir, 'features.ts');

/** Hashes of a project made of these files. */
async function codes(features: string, others: Record<string, string> = {}): Promise<{ event: string | null; derive: string }> {
  for (const [name, text] of Object.entries(others)) writeFileSync(path.join(dir, name), text);
  writeFileSync(file, features);
  const { registry } = await compileProject(file);
  const d = registry.features['user.d'];
  return { event: registry.events['ev/buy']!.code, derive: d?.kind === 'derive' ? d.code : '' };
}

const RATES = `// rates of the day
export const rates: Record<string, number> = { EUR: 1, USD: 0.9 };
export function toEur(price: number, currency: string): number {
  return price * (rates[currency] ?? 1);
}
export const unused = 1;
`;
const FEATURES = `import { derive, entity, feature, stream, sum } from 'fabra';
import { z } from 'zod';
import { toEur } from './rates.ts';
const K = 3;
const user = entity('user', { key: 'user_id' });
const s = stream('ev');
export const buy = s.event('buy', z.object({ user_id: z.string(), price: z.number(), currency: z.string() })
  .transform(e => ({ ...e, eur: toEur(e.price, e.currency) })).pipe(z.object({ user_id: z.string(), eur: z.number() })));
export const total = feature(user, 'total', sum(buy, 'eur').over('1h'));
export const d = feature(user, 'd', derive({ inputs: { total }, compute: ({ total }) => total * K }));
`;
const base = await codes(FEATURES, { 'rates.ts': RATES });

describe('a hash of code stays', () => {
  const same: Record<string, [features: string, rates?: string]> = {
    comments: [FEATURES.replace('const K', '/* three */ const K'), RATES.replace('of the day', 'of 2026')],
    'spaces and quotes': [FEATURES.replace('=> ({ ...e, eur:', '=>   ({\n ...e,\n eur: ').replace("from 'zod'", 'from "zod"')],
    'types only': [FEATURES, RATES.replace(': number {', ': any {')],
    'an unrelated edit': [`${FEATURES}export const other = feature(user, 'other', sum(buy, 'eur').over('2h'));`, RATES.replace('unused = 1', 'unused = 2')],
    'a name that makes the bundler rename': [FEATURES.replace('const K', 'const rates = 5; const e = rates; console.assert(e);\nconst K')],
    'a variable by another name': [FEATURES.replaceAll('toEur', 'inEuro'), RATES.replaceAll('toEur', 'inEuro')],
    "an input's window": [FEATURES.replace("over('1h')", "over('2h')")],
  };
  for (const [name, [features, rates]] of Object.entries(same))
    it(name, async () => {
      expect(await codes(features, { 'rates.ts': rates ?? RATES })).toEqual(base);
    });
});

describe('a hash of code changes', () => {
  it('with a table in another file', async () => {
    const next = await codes(FEATURES, { 'rates.ts': RATES.replace('0.9', '0.91') });
    expect(next.event).not.toBe(base.event);
    expect(next.derive).toBe(base.derive);
  });
  it('with a helper, the function itself, a constant, a method called', async () => {
    expect((await codes(FEATURES, { 'rates.ts': RATES.replace('?? 1', '?? 0') })).event).not.toBe(base.event);
    expect((await codes(FEATURES.replace('e.currency)', "e.currency ?? 'EUR')"), { 'rates.ts': RATES })).event).not.toBe(base.event);
    expect((await codes(FEATURES.replace('K = 3', 'K = 4'), { 'rates.ts': RATES })).derive).not.toBe(base.derive);
    expect((await codes(FEATURES.replace('rev.a', 'rev.b').replace('total * K', 'total / K'), { 'rates.ts': RATES })).derive).not.toBe(base.derive);
  });
  it('with a table that is filled later', async () => {
    const later = `${RATES}rates.GBP = 1.1;\n`;
    const a = await codes(FEATURES, { 'rates.ts': later });
    const b = await codes(FEATURES, { 'rates.ts': later.replace('1.1', '1.2') });
    expect(a.event).not.toBe(base.event);
    expect(b.event).not.toBe(a.event);
  });
});

const MADE = `import { derive, entity, feature, stream, sum } from 'fabra';
import { z } from 'zod';
const user = entity('user', { key: 'user_id' });
const s = stream('ev');
const scaled = (k: number) => z.object({ user_id: z.string(), price: z.number() }).transform(e => ({ ...e, eur: e.price * k })).pipe(z.object({ user_id: z.string(), eur: z.number() }));
export const buy = s.event('buy', scaled(2));
export const total = feature(user, 'total', sum(buy, 'eur').over('1h'));
const times = (k: number) => feature(user, 'd', derive({ inputs: { total }, compute: ({ total }) => total * k }));
export const d = times(3);
`;

describe('functions made by functions', () => {
  it('count what they were made with', async () => {
    const a = await codes(MADE);
    const b = await codes(MADE.replace('scaled(2)', 'scaled(2.5)'));
    const c = await codes(MADE.replace('times(3)', 'times(4)'));
    expect(b.event).not.toBe(a.event);
    expect(b.derive).toBe(a.derive);
    expect(c.derive).not.toBe(a.derive);
    expect(c.event).toBe(a.event);
    expect(await codes(`// a comment\n${MADE}`)).toEqual(a);
  });
});
