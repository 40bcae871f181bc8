/**
 * Random registries and logs for the property tests (fast-check), and the instants at which an engine is likeliest to
 * be wrong. `arbWorld` is the usual entry.
 */
import fc from 'fast-check';
import type { Registry } from '../../src/registry/types.ts';
import type { Log } from './index.ts';
import { arbLogPlan, type LogOptions, logFor } from './random-log.ts';
import { arbRegistry, type RegistryOptions } from './random-registry.ts';

export { instants, probeKeys } from './instants.ts';
export { arbLog, type LogOptions } from './random-log.ts';
export { arbRegistry, type RegistryOptions } from './random-registry.ts';

export interface World {
  registry: Registry;
  log: Log;
}

/** A registry and a log for it. No `chain`, so both shrink well. */
export function arbWorld(options: RegistryOptions & LogOptions = {}): fc.Arbitrary<World> {
  return fc.tuple(arbRegistry(options), arbLogPlan(options)).map(([registry, plan]) => ({ registry, log: logFor(registry, plan) }));
}
