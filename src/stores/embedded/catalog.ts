import type { AppliedRegistry, Catalog } from '../../ports/catalog.ts';
import type { Registry } from '../../registry/types.ts';
import type { Embedded } from './env.ts';

/** Applied registries, every revision kept: `reg:000001` … */
export class EmbeddedCatalog implements Catalog {
  private readonly env: Embedded;

  constructor(env: Embedded) {
    this.env = env;
  }

  async applied(): Promise<AppliedRegistry | null> {
    this.env.refresh();
    const [last] = [...this.env.meta.getRange({ start: 'reg:\uffff', end: 'reg:', reverse: true, limit: 1 })];
    return (last?.value as AppliedRegistry | undefined) ?? null;
  }

  async apply(registry: Registry, at: number): Promise<number> {
    return this.env.write(() => {
      const [last] = [...this.env.meta.getKeys({ start: 'reg:\uffff', end: 'reg:', reverse: true, limit: 1 })];
      const revision = (last ? Number(last.slice(4)) : 0) + 1;
      this.env.meta.put(`reg:${String(revision).padStart(6, '0')}`, { registry, revision, at } satisfies AppliedRegistry);
      return revision;
    });
  }

  async revisions(): Promise<{ revision: number; at: number; hash: string }[]> {
    this.env.refresh();
    return [...this.env.meta.getRange({ start: 'reg:', end: 'reg:\uffff' })].map(({ value }) => {
      const { revision, at, registry } = value as AppliedRegistry;
      return { revision, at, hash: registry.hash };
    });
  }
}
