/** Column types that fabra adds to zod's, and how a schema's output becomes dotted columns in the type system. */
import { z } from 'zod';
import { FabraError } from '../lib/errors.ts';
import { attempt } from './site.ts';

declare module 'zod' {
  interface ZodType<out Output = unknown, out Input = unknown, out Internals extends z.core.$ZodTypeInternals<Output, Input> = z.core.$ZodTypeInternals<Output, Input>> {
    /**
     * zod's own `pipe` wants a target that reads exactly what comes out; a stated output is often narrower (`{...e, revenue}` into
     * the columns to keep) or looser (nullish). This form takes any target that can read the value.
     */
    pipe<T extends z.core.$ZodType>(
      target: T & (z.core.output<this> extends z.core.input<T> ? unknown : 'the value that comes out is not what this schema reads'),
    ): z.ZodPipe<this, T>;
  }
}

/** Kept in the zod definition itself, so that `.nonnegative()` and friends carry it along. */
export interface FabraColumn {
  decimal?: number;
  int64?: true;
}

type WithMark = { clone(def: unknown): unknown; _zod: { def: object } };
const marked = <S>(schema: S, fabra: FabraColumn): S => {
  const s = schema as unknown as WithMark;
  return s.clone({ ...s._zod.def, fabra }) as S;
};

/**
 * A number with a fixed count of decimal places (0 to 12), held as a scaled 64-bit integer: rounded half-even once, at
 * ingestion, exact from then on.
 * @param places decimal places. Values beyond 9.2e18 / 10^places reject the event.
 * @example z.object({ price: decimal(2).nonnegative() })
 */
export function decimal(places: number): z.ZodNumber {
  const checked = attempt(() => {
    if (Number.isInteger(places) && places >= 0 && places <= 12) return places;
    throw new FabraError('BAD_DEFINITION', `decimal(${places}): places must be a whole number from 0 to 12`, { hint: 'Write decimal(2) for cents.' });
  }, 6);
  return marked(z.number(), { decimal: checked });
}

/**
 * A 64-bit integer, exact beyond 2^53: `bigint` in TypeScript, BIGINT in SQL, a string in JSON. Reads integers and decimal texts.
 * @example z.object({ account: int64() })
 */
export function int64() {
  const text = z.string().regex(/^-?\d{1,19}$/, 'Invalid int64');
  return marked(
    z.union([z.bigint(), z.int(), text]).transform((v, context) => {
      const value = BigInt(v);
      if (BigInt.asIntN(64, value) !== value) context.issues.push({ code: 'custom', message: 'Invalid int64: beyond 64 bits', input: v });
      return value;
    }),
    { int64: true },
  );
}

type Leaf = string | number | boolean | bigint;
type Nullish<T> = null extends T ? null : undefined extends T ? null : never;
/** Keys of a row, nested objects as dotted names. */
type Paths<R> = {
  [K in keyof R & string]: NonNullable<R[K]> extends Leaf
    ? K
    : NonNullable<R[K]> extends readonly unknown[]
      ? never
      : NonNullable<R[K]> extends object
        ? `${K}.${Paths<NonNullable<R[K]>>}`
        : never;
}[keyof R & string];
type At<R, P> = P extends keyof R
  ? NonNullable<R[P]> | Nullish<R[P]>
  : P extends `${infer H}.${infer T}`
    ? H extends keyof R
      ? At<NonNullable<R[H]>, T> | Nullish<R[H]>
      : never
    : never;
/** A row's columns by dotted name; missing and null are both `null`. */
export type ColumnsOf<R> = { [P in Paths<R>]: At<R, P> };
