import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { count, decimal, derive, entity, feature, service, stream, sum } from '../../src/index.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import { bumpVersions, diffRegistries, renderPlan } from '../../src/registry/diff.ts';
import type { Registry } from '../../src/registry/types.ts';

interface Knobs {
  entityTtl?: '7d' | '8d';
  ttl?: '3h' | '5h';
  window?: '5m' | '10m';
  lateness?: '10m' | '1h';
  extra?: object;
  price?: z.ZodType;
  more?: boolean;
  less?: boolean;
  owner?: string;
  factor?: (v: number) => number;
  key?: string;
}

function registry(k: Knobs = {}): Registry {
  const user = entity('user', { key: (k.key ?? 'user_id') as 'user_id', ttl: k.entityTtl ?? '7d' });
  const ev = stream('ev', { lateness: k.lateness ?? '10m' });
  const shape = z.object({ user_id: z.string(), alt: z.string(), price: (k.price ?? decimal(2)) as z.ZodNumber, unused: z.string().nullish() });
  const view = ev.event('view', shape.extend(k.extra ?? {}) as unknown as typeof shape);
  const buy = ev.event('buy', z.object({ user_id: z.string(), alt: z.string() }));
  const views = feature(user, 'views', count(view).over(k.window ?? '5m'), { owner: k.owner ?? 'a' });
  const spend = feature(user, 'spend', sum(view, 'price').lifetime(), { ttl: k.ttl ?? '3h' });
  const buys = feature(user, 'buys', count(buy).over('1h'));
  const compute = k.factor ?? (v => v * 2);
  const d = feature(user, 'd', derive({ inputs: { views }, compute: ({ views }) => compute(views) }));
  const twice = feature(user, 'twice', derive({ inputs: { views }, compute: k.factor ? ({ views }) => views * 3 : ({ views }) => views * 2 }));
  const svc = service('svc', k.less ? [views] : [views, spend]);
  return compileDefinitions({ views, spend, svc, twice, d, ...(k.more && { more: feature(user, 'more', count(buy).over('2h')) }), ...(!k.less && { buys }) }).registry;
}
const base = registry();
const lines = (k: Knobs): string[] => renderPlan(diffRegistries(base, registry(k)));

describe('a plan', () => {
  it('says nothing when nothing changed', () => {
    expect(diffRegistries(base, registry())).toEqual({ changes: [], breaking: false });
    expect(lines({})).toEqual(['No changes']);
  });

  it('adds everything the first time', () => {
    const { changes, breaking } = diffRegistries(null, base);
    expect(breaking).toBe(false);
    expect(changes.map(c => `${c.op} ${c.kind} ${c.name}`)).toEqual([
      'add entity user',
      'add stream ev',
      'add event ev/buy',
      'add event ev/view',
      'add feature user.buys',
      'add feature user.d',
      'add feature user.spend',
      'add feature user.twice',
      'add feature user.views',
      'add service svc',
    ]);
  });

  it('shows the one field that changed', () => {
    expect(diffRegistries(base, registry({ ttl: '5h' }))).toEqual({
      changes: [{ op: 'change', kind: 'feature', name: 'user.spend', fields: [{ field: 'ttl', from: 10_800_000, to: 18_000_000 }], breaking: false }],
      breaking: false,
    });
    expect(lines({ ttl: '5h' })).toEqual(['~ feature user.spend', '    ttl: 3h → 5h']);
    expect(lines({ entityTtl: '8d' })).toEqual(['~ entity user', '    ttl: 7d → 8d']);
    expect(lines({ owner: 'b' })).toEqual(['~ feature user.views', '    owner: a → b']);
  });

  it('a window is breaking, for that feature alone', () => {
    expect(lines({ window: '10m' })).toEqual(['~ feature user.views  (breaking): it means something else', '    frame.w: 5m → 10m']);
  });

  it('lateness is breaking for all that read the stream', () => {
    expect(lines({ lateness: '1h' })).toEqual([
      '~ stream ev  (breaking): other numbers for user.buys, user.spend, user.views',
      '    lateness: 10m → 1h',
      '~ feature user.buys  (breaking): it reads stream ev, which changed',
      '~ feature user.spend  (breaking): it reads stream ev, which changed',
      '~ feature user.views  (breaking): it reads stream ev, which changed',
    ]);
  });

  it('a column kind is breaking for the features that use the column', () => {
    expect(lines({ price: decimal(3) })).toEqual([
      '~ event ev/view  (breaking): other numbers for user.spend',
      '    columns.price: decimal(2) → decimal(3)',
      '~ feature user.spend  (breaking): it means something else',
      '    agg.column.places: 2 → 3',
    ]);
    expect(
      diffRegistries(base, registry({ price: decimal(2).positive() }))
        .changes.filter(c => c.breaking)
        .map(c => c.name),
    ).toEqual(['ev/view', 'user.spend', 'user.views']);
  });

  it('a new column is compatible as long as old events are still accepted', () => {
    expect(lines({ extra: { page: z.string().nullish() } })).toEqual(['~ event ev/view', '    columns.page: none → string | null']);
    const both = diffRegistries(base, registry({ extra: { page: z.string().nullish() }, window: '10m' }));
    expect(both.changes.map(c => [c.name, c.breaking])).toEqual([
      ['ev/view', false],
      ['user.views', true],
    ]);
    const required = diffRegistries(base, registry({ extra: { page: z.string() } }));
    expect(required.breaking).toBe(true);
    expect(renderPlan(required)[0]).toContain('~ event ev/view  (breaking)');
  });

  it('the key of an entity is breaking', () => {
    const { changes, breaking } = diffRegistries(base, registry({ key: 'alt' }));
    expect(breaking).toBe(true);
    expect(changes[0]).toMatchObject({ kind: 'entity', breaking: true, fields: [{ field: 'key', from: ['user_id'], to: ['alt'] }] });
  });

  it('code of a derived feature is breaking', () => {
    const { changes } = diffRegistries(base, registry({ factor: v => v * 3 }));
    expect(changes).toMatchObject([{ name: 'user.twice', breaking: true, fields: [{ field: 'code' }] }]);
  });

  it('adding is compatible, removing is told apart', () => {
    expect(lines({ more: true })).toEqual(['+ feature user.more']);
    const { changes, breaking } = diffRegistries(base, registry({ less: true }));
    expect(breaking).toBe(false);
    expect(changes.filter(c => c.op === 'remove').map(c => c.name)).toEqual(['ev/buy', 'user.buys']);
    expect(changes.find(c => c.kind === 'service')).toMatchObject({ fields: [{ field: 'features', from: ['user.views', 'user.spend'], to: ['user.views'] }] });
  });
});

describe('versions', () => {
  it('rise where the meaning changed and stay where it did not', () => {
    const one = bumpVersions(base, registry({ window: '10m' }));
    expect([one.features['user.views']!.version, one.features['user.spend']!.version]).toEqual([2, 1]);
    const two = bumpVersions(one, registry({ window: '10m', ttl: '5h' }));
    expect([two.features['user.views']!.version, two.features['user.spend']!.version]).toEqual([2, 1]);
    expect(bumpVersions(two, registry()).features['user.views']!.version).toBe(3);
    expect(bumpVersions(null, base)).toEqual(base);
    expect(bumpVersions(base, registry()).hash).toBe(base.hash);
    expect(one.hash).not.toBe(registry({ window: '10m' }).hash);
    expect(diffRegistries(one, registry({ window: '10m' })).changes).toEqual([]);
  });
});
