/** Which registry is applied: what workers and servers run. */
import type { Registry } from '../registry/types.ts';

export interface AppliedRegistry {
  registry: Registry;
  /** 1, 2, 3 …: one per apply that changed something. */
  revision: number;
  /** Epoch ms. */
  at: number;
}

export interface Catalog {
  applied(): Promise<AppliedRegistry | null>;
  /** Makes a registry the applied one; returns its revision. */
  apply(registry: Registry, at: number): Promise<number>;
  revisions(): Promise<{ revision: number; at: number; hash: string }[]>;
}
