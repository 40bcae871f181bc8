import fc from 'fast-check';
import type { AggOp, AggPlan, ColumnPlan, FilterPlan, FramePlan, RatioPlan, Registry, Scalar, WindowFeaturePlan } from '../../src/registry/types.ts';
import { column, DAY, entityPlan, eventPlan, featurePlan, HOUR, MINUTE, of, registry, SECOND, streamPlan, valueType } from './build.ts';
import { literalOf } from './random-values.ts';

export interface RegistryOptions {
  /** approxCountDistinct and approxPercentile (the oracle then needs its `approx`). Default true. */
  approx?: boolean;
  /** stddev as a side of a ratio. Default true. */
  ratioOfStddev?: boolean;
  /** `maxAhead` on streams: never, always, or by chance (default). */
  maxAhead?: 'never' | 'always' | 'maybe';
  /** Default 2: `clicks` with four types, and `pings` with one event and no type column. */
  streams?: 1 | 2;
  /** Default 8. */
  maxFeatures?: number;
}

/** Every event has these; all nullable, so that any event may leave any entity out. */
export const COLUMNS: ColumnPlan[] = [
  column('b', 'bool'),
  column('big', 'int64'),
  column('d', 'decimal', 2),
  column('device', 'int'),
  column('e', 'decimal', 6),
  column('geo.city', 'string'),
  column('i', 'int'),
  column('region', 'string'),
  column('s', 'string'),
  column('user_id', 'string'),
];
export const TYPES: Record<string, string[]> = { clicks: ['buy', 'cart', 'idle', 'view'], pings: ['ping'] };
const ENTITIES: Record<string, string[]> = { device: ['device'], place: ['user_id', 'region'], user: ['user_id'], visit: ['user_id', 'device'] };

const numeric = COLUMNS.filter(c => c.kind !== 'string' && c.kind !== 'bool');
const sorted = COLUMNS.filter(c => c.kind !== 'bool');
const column$ = (from: ColumnPlan[]) => fc.constantFrom(...from);
const n$ = fc.constantFrom(1, 2, 3, 10);
const q$ = fc.constantFrom({ num: 1, den: 2 }, { num: 9, den: 10 }, { num: 99, den: 100 }, { num: 1, den: 1 }, { num: 1, den: 1000 }, { num: 1, den: 4 });

/** The ops with the columns each may take. */
function shape$(options: RegistryOptions): fc.Arbitrary<Partial<AggPlan> & { op: AggOp }> {
  const one = (ops: AggOp[], columns: ColumnPlan[]) => fc.record({ op: fc.constantFrom(...ops), column: column$(columns).map(of) });
  const approx = options.approx ?? true;
  return fc.oneof(
    { weight: 3, arbitrary: fc.record({ op: fc.constantFrom<AggOp>('count', 'count', 'span') }) },
    { weight: 5, arbitrary: one(['sum', 'avg', 'stddev'], numeric) },
    { weight: 3, arbitrary: one(['min', 'max'], sorted) },
    { weight: 4, arbitrary: one(['countDistinct', 'first', 'last'], COLUMNS) },
    { weight: 4, arbitrary: fc.record({ op: fc.constantFrom<AggOp>('firstN', 'lastN', 'topK'), column: column$(COLUMNS).map(of), n: n$ }) },
    {
      weight: 2,
      arbitrary: fc.record({ op: fc.constant<AggOp>('percentile'), column: column$(numeric).map(of), q: q$, cap: fc.constantFrom(100_000, 3) }),
    },
    { weight: approx ? 1 : 0, arbitrary: one(['approxCountDistinct'], COLUMNS) },
    { weight: approx ? 1 : 0, arbitrary: fc.record({ op: fc.constant<AggOp>('approxPercentile'), column: column$(numeric).map(of), q: q$ }) },
  );
}

function isNumeric(shape: Partial<AggPlan> & { op: AggOp }, options: RegistryOptions): boolean {
  if (shape.op === 'stddev') return options.ratioOfStddev ?? true;
  const type = valueType(shape as AggPlan);
  return !type.list && (type.base === 'number' || type.base === 'int' || type.base === 'int64');
}

/** A filter of at most two levels, its literals from the values that logs are made of. */
export const filter$: fc.Arbitrary<FilterPlan> = fc.letrec<{ leaf: FilterPlan; node: FilterPlan }>(tie => ({
  leaf: column$(COLUMNS).chain(c => leaf$(c)),
  node: fc.oneof(
    { weight: 4, arbitrary: tie('leaf') },
    { weight: 1, arbitrary: tie('leaf').map(arg => ({ op: 'not' as const, arg })) },
    { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('and' as const, 'or' as const), args: fc.array(tie('leaf'), { minLength: 1, maxLength: 3 }) }) },
    {
      weight: 1,
      arbitrary: fc
        .record({ op: fc.constantFrom('and' as const, 'or' as const), args: fc.array(tie('leaf'), { minLength: 2, maxLength: 2 }) })
        .map(arg => ({ op: 'not' as const, arg })),
    },
  ),
})).node;

function leaf$(c: ColumnPlan): fc.Arbitrary<FilterPlan> {
  const literal = literalOf(c.name);
  const name = fc.constant(c.name);
  const ops = c.kind === 'bool' ? (['eq'] as const) : (['eq', 'gt', 'gte', 'lt', 'lte'] as const);
  return fc.oneof(
    { weight: 4, arbitrary: fc.record({ op: fc.constantFrom(...ops), column: name, value: literal }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('in' as const), column: name, values: fc.array(literal, { minLength: 1, maxLength: 3 }) }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('isNull' as const), column: name }) },
  );
}

const w$ = fc.constantFrom(1, SECOND, 7 * SECOND, MINUTE, 5 * MINUTE, 7 * MINUTE, HOUR, 90 * MINUTE, DAY, 3 * DAY, 7 * DAY);
export const frame$: fc.Arbitrary<FramePlan> = fc.oneof(
  { weight: 4, arbitrary: w$.map(w => ({ kind: 'over' as const, w })) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('tumbling' as const), w: w$, previous: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('hopping' as const), w: w$, h: fc.constantFrom(1, SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR, DAY) }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'lifetime' as const }) },
  { weight: 2, arbitrary: fc.constantFrom(1, SECOND, 10 * SECOND, MINUTE, 30 * MINUTE, 6 * HOUR).map(gap => ({ kind: 'session' as const, gap })) },
);

function agg$(shape: fc.Arbitrary<Partial<AggPlan> & { op: AggOp }>, options: RegistryOptions): fc.Arbitrary<AggPlan> {
  const streams = options.streams === 1 ? ['clicks'] : ['clicks', 'clicks', 'pings'];
  // `idle` is used by few, so that some registries ignore it.
  const types$ = fc.uniqueArray(fc.constantFrom('buy', 'buy', 'view', 'view', 'cart', 'idle'), { minLength: 1, maxLength: 3 });
  const where = fc.option(filter$, { nil: undefined, freq: 2 });
  return fc.record({ shape, stream: fc.constantFrom(...streams), types: types$, where }).map(r => ({
    ...r.shape,
    stream: r.stream,
    events: r.stream === 'pings' ? ['ping'] : [...r.types].sort(),
    ...(r.where && { where: r.where }),
  }));
}

/** A default fit for the value's type, or none; none for int64, whose JSON form is the compiler's affair. */
function defaultFor(agg: AggPlan | RatioPlan, pick: number): Scalar | Scalar[] | undefined {
  const { base, list } = valueType(agg);
  const scalars: Partial<Record<typeof base, Scalar>> = { number: 0.5, int: pick, string: 'none', boolean: false };
  const scalar = scalars[base];
  if (pick > 1 || scalar === undefined) return undefined;
  return list ? (pick === 0 ? [] : [scalar]) : scalar;
}

const ttl$ = fc.constantFrom(null, null, SECOND, MINUTE, HOUR, 2 * DAY);

function feature$(options: RegistryOptions) {
  const shape = shape$(options);
  const side = agg$(
    shape.filter(s => isNumeric(s, options)),
    options,
  );
  const zero = fc.constantFrom(undefined, undefined, 0, -1.5);
  const ratio = fc.record({ num: side, den: side, zero }).map((r): RatioPlan => ({ op: 'ratio', num: r.num, den: r.den, ...(r.zero === undefined ? {} : { zero: r.zero }) }));
  return fc.record({
    entity: fc.constantFrom('user', 'user', 'place', 'device', 'visit'),
    agg: fc.oneof({ weight: 5, arbitrary: agg$(shape, options) }, { weight: 1, arbitrary: ratio }),
    frame: frame$,
    pick: fc.nat({ max: 4 }),
    ttl: ttl$,
  });
}

export function arbRegistry(options: RegistryOptions = {}): fc.Arbitrary<Registry> {
  const ahead = { never: fc.constant(null), always: fc.constantFrom(HOUR, 2 * DAY), maybe: fc.constantFrom(null, null, HOUR, 2 * DAY) };
  const stream$ = fc.record({ lateness: fc.constantFrom(0, SECOND, 10 * MINUTE, 10 * MINUTE, HOUR, 2 * DAY), maxAhead: ahead[options.maxAhead ?? 'maybe'] });
  const features$ = fc.array(feature$(options), { minLength: 1, maxLength: options.maxFeatures ?? 8 });
  return fc.record({ clicks: stream$, pings: stream$, features: features$ }).map(r => {
    const names = options.streams === 1 ? ['clicks'] : ['clicks', 'pings'];
    const streams = [streamPlan('clicks', r.clicks), streamPlan('pings', { ...r.pings, type: null })].filter(s => names.includes(s.name));
    const features = r.features.map((f, i): WindowFeaturePlan => {
      const keeps = f.frame.kind === 'lifetime' || f.frame.kind === 'session';
      const value = defaultFor(f.agg, f.pick);
      return featurePlan(f.entity, `f${i}`, f.agg, f.frame, { ttl: keeps ? f.ttl : null, ...(value === undefined ? {} : { default: value }) });
    });
    return registry({
      entities: Object.entries(ENTITIES).map(([name, key]) => entityPlan(name, key)),
      streams,
      events: names.flatMap(stream => (TYPES[stream] as string[]).map(type => eventPlan(stream, type, COLUMNS))),
      features,
    });
  });
}
