import path from 'node:path';
import ts from 'typescript';
import { expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
/** Not on disk: the compiler is handed the text, and finds 'zod' beside it as in any project. */
const file = path.join(root, 'test/types/budget.generated.ts');

/** A project of `n` features of every kind over three events. */
function project(n: number): string {
  const lines = [
    "import { avg, count, countDistinct, decimal, derive, entity, feature, last, ratio, service, span, stream, sum, topK } from 'fabra';",
    "import { z } from 'zod';",
    "const user = entity('user', { key: 'user_id', ttl: '7d' });",
    "const s = stream('events', { lateness: '10m' });",
    'const base = { user_id: z.string(), product_id: z.string(), price: decimal(2), qty: z.int().nullish(), device: z.object({ mobile: z.boolean(), os: z.string() }), geo: z.object({ country: z.string(), city: z.string().nullable() }) };',
    "const view = s.event('view', z.object(base));",
    "const cart = s.event('cart', z.object(base));",
    "const buy = s.event('buy', z.object({ ...base, currency: z.enum(['EUR', 'USD']) }).transform(e => ({ ...e, revenue: e.price })).pipe(z.object({ ...base, revenue: decimal(2) })));",
  ];
  const kinds = [
    (i: number) => `count(view).where({ 'device.mobile': true, price: { gt: ${i} } }).over('${i + 1}m')`,
    (i: number) => `ratio(count(buy), count(view)).over('${i + 1}h')`,
    (i: number) => `sum(buy, 'revenue').tumbling('${i + 1}h')`,
    (i: number) => `countDistinct([view, cart, buy], 'product_id').over('${i + 1}m')`,
    (i: number) => `topK(view, 'geo.country', 3).hopping('${i + 1}h', '5m')`,
    (i: number) => `span(view, cart).perSession({ gap: '${i + 1}m' })`,
    (i: number) => `avg(buy, 'qty').over('${i + 1}m'), { default: 0, owner: 'team' }`,
    (i: number) =>
      `derive({ inputs: { a: f${i - 1}, b: f${i - 7} }, request: z.object({ total: z.number() }), compute: ({ a, b }, { request }) => (a ?? 0) + request.total + (b ?? 0) })`,
  ];
  for (let i = 0; i < n; i++) lines.push(`export const f${i} = feature(user, 'f_${i}', ${kinds[i % kinds.length]!(i)});`);
  lines.push(`export const all = service('all', [${Array.from({ length: n }, (_, i) => `f${i}`).join(', ')}]);`);
  return lines.join('\n');
}

function check(text: string): { instantiations: number; errors: string[] } {
  const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), f => ts.sys.readFile(f)) as { config: { compilerOptions: object } };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = name => name === file || fileExists(name);
  host.getSourceFile = (name, target) => (name === file ? ts.createSourceFile(name, text, target) : getSourceFile(name, target));
  const program = ts.createProgram([file], { ...options, noEmit: true, incremental: false }, host);
  const errors = ts.getPreEmitDiagnostics(program, program.getSourceFile(file)).map(d => ts.flattenDiagnosticMessageText(d.messageText, '\n'));
  return { instantiations: program.getInstantiationCount(), errors };
}

// Recorded in 2026-11: 178,000, of which 191 per feature. A rise means that the editor slows down for everyone with many features:
// look for a conditional type that is worked out again for each.
const BUDGET = { total: 220_000, perFeature: 240 };

it('400 features stay inside the instantiation budget', () => {
  const small = check(project(8));
  const big = check(project(400));
  expect(small.errors).toEqual([]);
  expect(big.errors).toEqual([]);
  const each = (big.instantiations - small.instantiations) / 392;
  console.info(`instantiations: ${big.instantiations} for 400 features, ${Math.round(each)} each`);
  expect(big.instantiations).toBeLessThan(BUDGET.total);
  expect(each).toBeLessThan(BUDGET.perFeature);
}, 60_000);
