import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { decimal, int64 } from '../../src/index.ts';
import { hashByText } from '../../src/registry/codehash.ts';
import { columnsOf } from '../../src/registry/columns.ts';
import { rulesOf } from '../../src/registry/rules.ts';

const show = (schema: z.ZodType, side: 'input' | 'output' = 'output'): Record<string, string> =>
  Object.fromEntries(columnsOf(schema, side).columns.map(c => [c.name, `${c.kind}${c.places === undefined ? '' : `/${c.places}`}${c.nullable ? '?' : ''}`]));
const one = (v: z.ZodType, side: 'input' | 'output' = 'output'): string | undefined => show(z.object({ v }), side).v;

describe('kinds', () => {
  const cases: [string, z.ZodType, string | undefined][] = [
    ['string', z.string().min(1), 'string'],
    ['email', z.email(), 'string'],
    ['enum', z.enum(['a', 'b']), 'string'],
    ['literal', z.literal('a'), 'string'],
    ['literals with null', z.literal(['a', null]), 'string?'],
    ['literal number', z.literal([1, 2]), 'int/0'],
    ['literal fraction', z.literal([1, 2.5]), 'decimal/6'],
    ['literal mix', z.literal([1, 'a']), undefined],
    ['template', z.templateLiteral(['u_', z.int()]), 'string'],
    ['boolean', z.boolean(), 'bool'],
    ['int', z.int(), 'int/0'],
    ['number().int()', z.number().int().min(1), 'int/0'],
    ['int32', z.int32(), 'int/0'],
    ['number', z.number(), 'decimal/6'],
    ['coerced', z.coerce.number(), 'decimal/6'],
    ['decimal', decimal(2).nonnegative(), 'decimal/2'],
    ['decimal nullish', decimal(0).nullish(), 'decimal/0?'],
    ['int64', int64(), 'int64/0'],
    ['int64 optional', int64().optional(), 'int64/0?'],
    ['bigint', z.bigint(), 'int64/0'],
    ['optional', z.string().optional(), 'string?'],
    ['nullable', z.string().nullable(), 'string?'],
    ['default', z.string().default('x'), 'string'],
    ['default over nullable', z.string().nullable().default('x'), 'string?'],
    ['default over optional', z.string().optional().default('x'), 'string'],
    ['prefault', z.string().prefault('x'), 'string'],
    ['catch', z.int().catch(0), 'int/0'],
    ['readonly', z.string().readonly(), 'string'],
    ['nonoptional', z.string().optional().nonoptional(), 'string'],
    ['piped', z.string().transform(Number).pipe(z.int()), 'int/0'],
    ['preprocess', z.preprocess(v => v, z.boolean()), 'bool'],
    ['stringbool', z.stringbool(), 'bool'],
    ['lazy', z.lazy(() => z.string()), 'string'],
    ['union of one kind', z.union([z.literal('a'), z.string()]), 'string'],
    ['union with null', z.union([z.string(), z.null()]), 'string?'],
    ['mixed union', z.union([z.string(), z.int()]), undefined],
    ['array', z.array(z.string()), undefined],
    ['record', z.record(z.string(), z.string()), undefined],
    ['unknown', z.unknown(), undefined],
  ];
  it.each(cases)('%s', (_, schema, kind) => expect(one(schema)).toBe(kind));
});

describe('the input side', () => {
  it('is before the transform, and defaults may be missing there', () => {
    expect(one(z.string().default('x'), 'input')).toBe('string?');
    expect(one(z.int().catch(0), 'input')).toBe('int/0?');
    expect(one(z.stringbool(), 'input')).toBe('string');
    const schema = z
      .object({ a: z.string(), price: decimal(2) })
      .transform(e => ({ a: e.a, x: e.price }))
      .pipe(z.object({ a: z.string(), x: z.number() }));
    expect(show(schema, 'input')).toEqual({ a: 'string', price: 'decimal/2' });
    expect(show(schema)).toEqual({ a: 'string', x: 'decimal/6' });
  });
});

describe('objects', () => {
  it('are dotted names, null where a parent may be', () => {
    const schema = z.object({
      device: z.object({ mobile: z.boolean(), os: z.string().nullish() }),
      geo: z.object({ city: z.string(), at: z.object({ lat: z.number() }) }).optional(),
    });
    expect(show(schema)).toEqual({ 'device.mobile': 'bool', 'device.os': 'string?', 'geo.at.lat': 'decimal/6?', 'geo.city': 'string?' });
  });
  it('may be joined', () => {
    expect(show(z.object({ a: z.int() }).and(z.object({ b: z.string() })))).toEqual({ a: 'int/0', b: 'string' });
    expect(show(z.strictObject({ a: z.int() }).extend({ b: z.string() }))).toEqual({ a: 'int/0', b: 'string' });
  });
  it('a transform must state what it yields', () => {
    const { problems } = columnsOf(
      z.object({ a: z.int() }).transform(e => e),
      'output',
    );
    expect(problems).toEqual([
      { message: 'its transform does not say which columns it yields', hint: 'State the columns it yields with .pipe(z.object({ … })) after the transform.' },
    ]);
    expect(columnsOf(z.object({ a: z.string().transform(s => s.length) }), 'output').problems[0]?.message).toBe("the transform of 'a' does not say which columns it yields");
    expect(columnsOf(z.string(), 'output').problems[0]?.message).toBe('its schema is not an object');
    expect(columnsOf(z.object({ 'a.b': z.int(), a: z.object({ b: z.int() }) }), 'output').problems[0]?.message).toBe("the column 'a.b' is there twice");
  });
  it('a recursive schema ends', () => {
    const node: z.ZodType = z.lazy(() => z.object({ name: z.string(), next: node.optional() }));
    expect(show(z.object({ node })).node).toBeUndefined();
    expect(rulesOf(z.object({ node }), f => hashByText(f)).rules).toBeTypeOf('string');
  });
});

describe('rules and code of a schema', () => {
  const rules = (s: z.ZodType): ReturnType<typeof rulesOf> => rulesOf(s, f => hashByText(f));
  it('plain columns have none', () => {
    expect(rules(z.object({ a: z.string().nullish(), b: z.int(), c: decimal(2), d: int64(), e: z.object({ f: z.boolean() }).optional() }))).toEqual({ code: null });
  });
  it('tell ranges, patterns, values, defaults and strictness apart', () => {
    const all = [
      z.object({ a: z.string() }),
      z.object({ a: z.string().min(1) }),
      z.object({ a: z.string().min(2) }),
      z.object({ a: z.string().regex(/x/) }),
      z.object({ a: z.email() }),
      z.object({ a: z.enum(['x']) }),
      z.object({ a: z.enum(['x', 'y']) }),
      z.object({ a: z.string().default('x') }),
      z.object({ a: z.string().default('y') }),
      z.object({ a: z.string().catch('y') }),
      z.object({ a: z.string().catch('z') }),
      z.strictObject({ a: z.string() }),
      z.object({ a: z.string().trim() }),
      z.object({ a: z.string().toLowerCase() }),
      z.object({ a: z.string(), t: z.array(z.int()) }),
      z.object({ a: z.stringbool() }),
      z.object({ a: z.stringbool({ truthy: ['ja'] }) }),
      z.object({ a: z.number().gt(1) }),
      z.object({ a: z.number().gte(1) }),
      z.object({ checks: z.string().min(3) }),
    ].map(s => JSON.stringify(rules(s)));
    expect(new Set(all).size).toBe(all.length);
  });
  it('words for people do not count', () => {
    expect(rules(z.object({ a: z.string().min(1, 'too short') }))).toEqual(rules(z.object({ a: z.string().min(1, 'zu kurz').describe('x') })));
  });
  it('functions are code', () => {
    const a = rules(z.object({ a: z.string().refine(s => s.length > 1) }));
    expect(a.code).toMatch(/^[0-9a-f]{32}$/);
    expect(rules(z.object({ a: z.string().refine(s => s.length > 2) })).code).not.toBe(a.code);
    expect(
      rules(
        z.object({
          a: z
            .string()
            .transform(s => s.length)
            .pipe(z.int()),
        }),
      ).code,
    ).not.toBeNull();
  });
});

describe('int64', () => {
  it('holds 64 bits: what is beyond fits no event and no state of a fold', () => {
    expect([2n ** 63n - 1n, -(2n ** 63n), '9223372036854775807', 5].map(v => int64().parse(v))).toEqual([2n ** 63n - 1n, -(2n ** 63n), 2n ** 63n - 1n, 5n]);
    for (const v of [2n ** 63n, -(2n ** 63n) - 1n, '9223372036854775808']) expect(int64().safeParse(v).success).toBe(false);
  });
});
