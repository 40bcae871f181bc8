/** `fabra compile`: everything wrong with the definitions at once, or what they hold. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { formatDuration } from '../../lib/duration.ts';
import { canonicalJson } from '../../lib/json.ts';
import { toFabraError } from '../../lib/errors.ts';
import { compileProject } from '../../registry/compile.ts';
import type { FeaturePlan, Registry } from '../../registry/types.ts';
import { columns, plural } from '../output.ts';
import type { Run } from '../spec.ts';
import { openConfig } from '../wire.ts';

export const run: Run = async ({ common, flags, cwd, env, out }) => {
  const config = await openConfig({ common, cwd, env });
  const began = performance.now();
  const { registry } = await compileProject(config.features, config.dir);
  const ms = Math.round(performance.now() - began);
  const file = flags.out as string | undefined;
  if (file !== undefined)
    await writeFile(path.resolve(cwd, file), `${canonicalJson(registry, 2)}\n`).catch((e: unknown) => {
      throw toFabraError(e);
    });
  const counts = {
    entities: count(registry.entities),
    streams: count(registry.streams),
    events: count(registry.events),
    features: count(registry.features),
    services: count(registry.services),
  };
  out.answer({ ok: true, hash: registry.hash, ...counts, out: file ?? null, ms }, () => [
    ...featureTable(registry),
    '',
    [
      plural(counts.features, 'feature'),
      plural(counts.entities, 'entity', 'entities'),
      plural(counts.streams, 'stream'),
      plural(counts.events, 'event'),
      plural(counts.services, 'service'),
    ].join(', '),
    `registry ${registry.hash.slice(0, 12)}, compiled in ${ms} ms${file === undefined ? '' : `, written to ${file}`}`,
  ]);
  out.note('next: fabra plan');
  return 0;
};

const count = (record: object): number => Object.keys(record).length;

function featureTable(registry: Registry): string[] {
  const rows = registry.order.map(id => {
    const f = registry.features[id]!;
    return [f.entity, f.name, `${f.type.base}${f.type.list ? '[]' : ''}`, howOf(registry, f)];
  });
  return columns([['ENTITY', 'FEATURE', 'TYPE', 'HOW'], ...rows]);
}

/** Where a value comes from, in a few words. */
function howOf(registry: Registry, f: FeaturePlan): string {
  switch (f.kind) {
    case 'window':
      return `${f.agg.op} ${f.frame.kind}`;
    case 'derive': {
      const inputs = Object.values(f.inputs);
      return inputs.length > 0 ? `from ${inputs.join(', ')}` : 'on demand';
    }
    case 'table': {
      const view = registry.views[f.view]!;
      if (view.sql === null) return 'pushed';
      return `sql ${view.source}${view.materialize ? (view.every === null ? ', materialized' : `, every ${formatDuration(view.every)}`) : ', live'}`;
    }
    default:
      return `${f.kind} ${f.events.join(', ')}`;
  }
}
