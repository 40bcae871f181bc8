/** `fabra doctor`: each setting with its origin, and whether what they point at is in order. Exit 1 when it is not. */
import { statfs } from 'node:fs/promises';
import { type ResolvedConfig, redact } from '../../config/resolve.ts';
import type { ConfigKey } from '../../config/schema.ts';
import { formatDuration } from '../../lib/duration.ts';
import { toFabraError } from '../../lib/errors.ts';
import { iso } from '../../lib/time.ts';
import type { Compiled } from '../../runtime/project.ts';
import { columns } from '../output.ts';
import type { Invocation, Run } from '../spec.ts';
import { viewStatus } from '../views.ts';
import { openConfig, withProject } from '../wire.ts';

interface Check {
  name: string;
  status: 'ok' | 'warn' | 'failed';
  message: string;
  hint: string | null;
}

const LEAST_NODE = [20, 19] as const;
const LOW_SPACE = 1024 ** 3;

export const run: Run = async call => {
  const { out } = call;
  const config = await openConfig(call);
  const checks = [node(), await disk(config), await definitions(config), ...(await sources(call, config)), await store(call, config), ...(await schedules(call))];
  const ok = checks.every(c => c.status !== 'failed');
  const settings = settingsOf(config);
  out.answer({ ok, project: config.dir, settings, checks }, () => [
    `project ${config.dir}`,
    '',
    ...columns([['SETTING', 'VALUE', 'FROM'], ...settings.map(s => [s.name, String(s.value ?? '-'), s.from])]),
    '',
    ...checks.flatMap(c => [`${mark(c, out)} ${c.name}: ${c.message}`, ...(c.hint ? [`    -> ${c.hint}`] : [])]),
  ]);
  return ok ? 0 : 1;
};

function mark(c: Check, out: Invocation['out']): string {
  if (c.status === 'ok') return out.paint('green', 'ok    ');
  return c.status === 'warn' ? out.paint('yellow', 'warn  ') : out.paint('red', 'failed');
}

/** Secrets are said to be set, never shown. */
function settingsOf(config: ResolvedConfig): { name: string; value: string | number | null; from: string }[] {
  const { origins } = config;
  return (Object.keys(origins) as ConfigKey[]).map(name => {
    const value = config[name];
    const shown = name === 'apiKey' ? value && 'set (hidden)' : typeof value === 'string' ? redact(value) : value;
    return { name, value: shown === '' ? null : shown, from: origins[name] };
  });
}

const passed = (name: string, message: string): Check => ({ name, status: 'ok', message, hint: null });

function node(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])) return passed('node', process.versions.node);
  return { name: 'node', status: 'failed', message: `${process.versions.node} is too old`, hint: `Install Node ${LEAST_NODE.join('.')} or newer.` };
}

async function disk(config: ResolvedConfig): Promise<Check> {
  const { bavail, bsize } = await statfs(config.dir);
  const free = bavail * bsize;
  const text = `${(free / 1024 ** 3).toFixed(1)} GB free`;
  return free >= LOW_SPACE ? passed('disk', text) : { name: 'disk', status: 'warn', message: text, hint: 'The log and history grow with the events: make room.' };
}

async function guarded(name: string, check: () => Promise<Check>): Promise<Check> {
  try {
    return await check();
  } catch (e) {
    const { message, hint } = toFabraError(e);
    return { name, status: 'failed', message, hint: hint ?? null };
  }
}

const definitions = (config: ResolvedConfig): Promise<Check> =>
  guarded('definitions', async () => {
    const { compileProject } = await import('../../registry/compile.ts');
    const { registry } = await compileProject(config.features, config.dir);
    return passed('definitions', `${Object.keys(registry.features).length} features, registry ${registry.hash.slice(0, 12)}`);
  });

const store = (call: Invocation, config: ResolvedConfig): Promise<Check> =>
  guarded('store', () =>
    withProject(call, async ({ catalog }) => {
      const applied = await catalog.applied();
      if (!applied) return { name: 'store', status: 'warn', message: 'opens; no definitions are applied yet', hint: 'Run: fabra apply' };
      const { compileProject } = await import('../../registry/compile.ts');
      const { diffRegistries } = await import('../../registry/diff.ts');
      const next = await compileProject(config.features, config.dir).catch(() => null);
      const differs = next !== null && diffRegistries(applied.registry, next.registry).changes.length > 0;
      if (differs) return { name: 'store', status: 'warn', message: `opens; revision ${applied.revision} is applied, the definitions differ from it`, hint: 'Run: fabra plan' };
      return passed('store', `opens; revision ${applied.revision} is applied`);
    }),
  );

/** Every source is there, and its views' columns fit: what the next run or read would find. */
async function sources(call: Invocation, config: ResolvedConfig): Promise<Check[]> {
  const { compileProject } = await import('../../registry/compile.ts');
  const compiled: Compiled | null = await compileProject(config.features, config.dir).catch(() => null);
  if (!compiled || Object.keys(compiled.registry.sources).length === 0) return [];
  return withProject(call, project =>
    Promise.all(
      Object.keys(compiled.registry.sources).map(name =>
        guarded(`source ${name}`, async () => {
          const views = Object.values(compiled.registry.views).filter(v => v.source === name);
          for (const view of views) await project.tables.check(view, compiled);
          return passed(`source ${name}`, `answers; ${views.length === 1 ? 'one view fits' : `${views.length} views fit`}`);
        }),
      ),
    ),
  );
}

/** A store that does not open is told by its own check. */
async function schedules(call: Invocation): Promise<Check[]> {
  return withProject(call, async project => {
    const applied = await project.catalog.applied();
    const views = applied ? await viewStatus(project, applied.registry, project.clock.now()) : [];
    return views.flatMap(({ view, last, good, overdue }): Check[] => {
      const name = `view ${view.id}`;
      if (last?.status === 'failed')
        return [{ name, status: 'warn', message: `its last run failed: ${last.error}`, hint: `Run: fabra materialize --feature ${view.features[0]!.id}` }];
      if (overdue)
        return [
          {
            name,
            status: 'warn',
            message: good ? `overdue: last run ${iso(good.at)}, every ${formatDuration(view.every!)}` : 'scheduled, and never run',
            hint: project.writer() === null ? 'Run: fabra worker' : `Run: fabra materialize --feature ${view.features[0]!.id}`,
          },
        ];
      return good ? [passed(name, `last run ${iso(good.at)}`)] : [{ name, status: 'warn', message: 'materialized by hand, and never run', hint: 'Run: fabra materialize' }];
    });
  }).catch(() => []);
}
