/** Which source a view reads. The Postgres driver is loaded when one does. */
import { FabraError } from '../../lib/errors.ts';
import type { Pools } from './postgres.ts';
import { FileRows, type RowSource, type SourceOptions, sourceOf } from './source.ts';

export interface OpenedSource extends RowSource {
  close(): Promise<void>;
}

export async function openSource(options: SourceOptions & { pools?: () => Promise<Pools> }): Promise<OpenedSource> {
  const plan = sourceOf(options.view, options.code);
  if (plan.files !== null) return Object.assign(new FileRows(options), { close: async () => {} });
  const address = options.code.code.addresses.get(plan.name);
  if (address === undefined) throw new FabraError('SOURCE_FAILED', `source '${plan.name}': its address is not known`, { hint: 'Write { postgres: env(…) } in the definitions.' });
  const { PostgresRows } = await import('./postgres.ts');
  return new PostgresRows({ ...options, pools: await options.pools?.() }, address);
}
