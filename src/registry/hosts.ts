/**
 * Packages that a project's definitions always take from the running fabra: `fabra` itself and `zod`. So a project works
 * before any npm install, and its schemas and definitions are of the same classes as ours, also when the project has
 * another copy installed for its editor. A bundle reads them from a global table, since an import by path would give a
 * second instance under a test runner or in a bundled CLI.
 */
import { sha256 } from '../lib/hash.ts';

const TABLE = Symbol.for('fabra.modules');
type Table = Record<string, Record<string, unknown>>;

export const HOSTED = /^(fabra|zod)(\/.*)?$/;

const table = (): Table => {
  const g = globalThis as unknown as Record<symbol, Table | undefined>;
  g[TABLE] ??= Object.create(null) as Table;
  return g[TABLE];
};

/** Puts a hosted module into the table; null when there is no such module. */
export async function host(spec: string): Promise<Record<string, unknown> | null> {
  const modules = table();
  const known = modules[spec];
  if (known) return known;
  const found = await importHosted(spec);
  if (found) modules[spec] = found;
  return found;
}

async function importHosted(spec: string): Promise<Record<string, unknown> | null> {
  if (spec === 'fabra') return { ...(await import('../index.ts')) };
  if (spec === 'zod') return { ...(await import('zod')) };
  // `fabra/testing` lies beside index; `zod/mini` resolves from our own node_modules.
  const from = spec.startsWith('fabra/') ? new URL(`../${spec.slice(6)}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url).href : spec;
  try {
    return { ...((await import(/* @vite-ignore */ from)) as Record<string, unknown>) };
  } catch {
    return null;
  }
}

/** Changes when a hosted module's exports do: a bundle made for other exports is made again. */
export const hostKey = (module: Record<string, unknown>): string => sha256(Object.keys(module).sort().join(',')).slice(0, 16);

/** ES module text that hands out a hosted module's exports; unused ones are dropped by the bundler. */
export function hostText(spec: string, module: Record<string, unknown>): string {
  const lines = [`const host = name => globalThis[Symbol.for('fabra.modules')][${JSON.stringify(spec)}][name];`];
  for (const name of Object.keys(module)) {
    const read = `/* @__PURE__ */ host(${JSON.stringify(name)})`;
    if (name === 'default') lines.push(`export default ${read};`);
    else if (/^[A-Za-z_$][\w$]*$/.test(name)) lines.push(`const host_${name} = ${read};`, `export { host_${name} as ${name} };`);
  }
  return lines.join('\n');
}
