/** Which columns of a view's result are its keys, times and values, and whether they fit. */
import { FabraError } from '../../lib/errors.ts';
import { suggest } from '../../lib/text.ts';
import type { SourcePlan, ValueType, ViewPlan } from '../../registry/types.ts';
import { keyOf, MISFIT, type ResultColumn, type Taken, timeOf, valueOf } from './convert.ts';

export interface ViewColumns {
  keys: { column: ResultColumn; taken: Taken<string> }[];
  time: Taken<number> | null;
  created: Taken<number> | null;
  values: Taken<unknown>[];
  /** All of them, once each. */
  used: ResultColumn[];
}

const typeName = (t: ValueType): string => (t.list ? `a list of ${t.base}` : t.base);

/** @throws FabraError BAD_QUERY naming view, column, what was found and what is wanted. `empty` says whether a column of text holds nothing at all. */
export async function columnsOf(
  view: ViewPlan,
  key: readonly string[],
  source: SourcePlan,
  columns: readonly ResultColumn[],
  empty: (c: ResultColumn) => Promise<boolean>,
): Promise<ViewColumns> {
  const finder = new Finder(view, source, columns);
  const keys = key.map(name => {
    const column = finder.named(name, 'key column');
    const taken = keyOf(column);
    if (!taken) throw finder.misfit(column, 'a key: text or an integer', `Select it as text: cast(${name} as varchar) as ${name}.`);
    return { column, taken };
  });
  const time = finder.time(view.time, 'time');
  const created = finder.time(view.created, 'created');
  const rest = columns.filter(c => ![...keys.map(k => k.column), time?.column, created?.column].includes(c));
  const values: { column: ResultColumn; taken: Taken<unknown> }[] = [];
  for (const f of view.features) {
    const column = finder.value(f, rest);
    const taken = valueOf(column, f.type) ?? (column.type === 'VARCHAR' && (await empty(column)) ? nothing(column) : null);
    if (!taken) throw finder.misfit(column, `${typeName(f.type)}, the type of '${f.id}'`, castHint(column.name, f.type));
    values.push({ column, taken });
  }
  const used = [...new Set([...keys.map(k => k.column), ...[time?.column, created?.column].filter(c => c !== undefined), ...values.map(v => v.column)])];
  return { keys, time: time?.taken ?? null, created: created?.taken ?? null, values: values.map(v => v.taken), used };
}

/** A column with no value in any row has no type of its own: a CSV without rows, say. */
const nothing = (c: ResultColumn): Taken<unknown> => ({ sql: `q."${c.name.replaceAll('"', '""')}"`, read: v => (v === null ? null : MISFIT) });

const CASTS = { number: 'double', int: 'bigint', int64: 'bigint', string: 'varchar', boolean: 'boolean', json: 'json' } as const;
const castHint = (name: string, t: ValueType): string => `Change the feature's type, or the column's: cast(${name} as ${CASTS[t.base]}${t.list ? '[]' : ''}) as ${name}.`;

class Finder {
  private readonly view: ViewPlan;
  private readonly source: SourcePlan;
  private readonly columns: readonly ResultColumn[];

  constructor(view: ViewPlan, source: SourcePlan, columns: readonly ResultColumn[]) {
    this.view = view;
    this.source = source;
    this.columns = columns;
  }

  find(name: string): ResultColumn | undefined {
    const mapped = this.source.fieldMapping[name];
    const named = (n: string | undefined) => this.columns.find(c => c.name === n) ?? this.columns.find(c => c.name.toLowerCase() === n?.toLowerCase());
    return named(name) ?? (mapped === undefined ? undefined : named(mapped));
  }

  named(name: string, what: string): ResultColumn {
    const found = this.find(name);
    if (found) return found;
    throw new FabraError('BAD_QUERY', `view '${this.view.id}': its SQL gives no ${what} '${name}'`, {
      hint: `Add it to the select. ${suggest(
        name,
        this.columns.map(c => c.name),
      )}`,
    });
  }

  time(name: string | null, what: string): { column: ResultColumn; taken: Taken<number> } | null {
    if (name === null) return null;
    const column = this.named(name, `${what} column`);
    const taken = timeOf(column);
    if (!taken) throw this.misfit(column, 'a timestamp, a date, ISO text or epoch ms', `Select it as a time: cast(${name} as timestamp) as ${name}.`);
    return { column, taken };
  }

  /** The column named, else the feature's own name, else the only one left. */
  value(f: ViewPlan['features'][number], rest: readonly ResultColumn[]): ResultColumn {
    if (f.column !== null) return this.named(f.column, 'column');
    const own = this.find(f.id.slice(f.id.indexOf('.') + 1));
    if (own) return own;
    if (rest.length === 1) return rest[0]!;
    const names = rest.map(c => c.name);
    throw new FabraError('BAD_QUERY', `view '${this.view.id}': which column holds '${f.id}'? The SQL gives ${names.length === 0 ? 'none beside key and time' : names.join(', ')}`, {
      hint: `Name it: { column: '${names[0] ?? f.id.slice(f.id.indexOf('.') + 1)}' }.`,
    });
  }

  misfit(column: ResultColumn, wanted: string, hint: string): FabraError {
    return new FabraError('BAD_QUERY', `view '${this.view.id}': column '${column.name}' is ${column.type}, wanted ${wanted}`, { hint });
  }
}
