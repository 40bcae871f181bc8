/** Where the rows to label come from, as a table of DuckDB: `rid` (0 …), `line`, and `c<i>` as they came. */
import type { SpineColumn, SpineSource } from '../../ports/offline-store.ts';
import { ident, text } from '../../sql/columns.ts';
import type { Duck } from '../duckdb/engine.ts';
import type { AnswerHost } from './answer.ts';

export type TypedColumn = SpineColumn & { sql: string };

export async function loadParquet(db: Duck, table: string, file: string): Promise<TypedColumn[]> {
  const from = `read_parquet(${text(file)}, file_row_number = true, hive_partitioning = false)`;
  const described = (await db.rows(`DESCRIBE SELECT * EXCLUDE (file_row_number) FROM ${from}`)).map(d => ({ name: String(d.column_name), sql: String(d.column_type) }));
  const list = described.map((c, i) => `, ${ident(c.name)} AS c${i}`).join('');
  await db.run(`CREATE TABLE ${ident(table)} AS SELECT file_row_number AS rid, file_row_number + 1 AS line${list} FROM ${from} ORDER BY file_row_number`);
  return described.map(c => ({ ...c, kind: kindOf(c.sql) }));
}

function kindOf(type: string): SpineColumn['kind'] {
  if (type === 'VARCHAR') return 'text';
  if (/^(TIMESTAMP|DATE)/.test(type)) return 'time';
  if (/^U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$/.test(type)) return 'integer';
  return /^(DOUBLE|FLOAT|DECIMAL)/.test(type) ? 'number' : 'other';
}

export async function loadText(db: Duck, table: string, source: Extract<SpineSource, { columns: unknown }>): Promise<TypedColumn[]> {
  await db.run(`CREATE TABLE ${ident(table)} (rid BIGINT, line BIGINT${source.columns.map((_, i) => `, c${i} VARCHAR`).join('')})`);
  let rid = 0;
  for await (const { lines, cells } of source.batches) {
    await db.append(table, [
      { type: 'BIGINT', values: lines.map((_, i) => rid + i) },
      { type: 'BIGINT', values: lines },
      ...cells.map(values => ({ type: 'VARCHAR' as const, values })),
    ]);
    rid += lines.length;
  }
  return source.columns.map(name => ({ name, kind: 'text', sql: 'VARCHAR' }));
}

/** One SELECT, run where files are read, without a way to write any. */
export async function loadSql(db: Duck, table: string, { sql, cwd }: Extract<SpineSource, { sql: string }>): Promise<TypedColumn[]> {
  const raw = `${table}_raw`;
  await db.run(`SET file_search_path = ${text(cwd)}`);
  try {
    await db.select(sql, raw);
    const described = (await db.rows(`DESCRIBE ${ident(raw)}`)).map(d => ({ name: String(d.column_name), sql: String(d.column_type) }));
    const list = described.map((c, i) => `, ${ident(c.name)} AS c${i}`).join('');
    await db.run(`CREATE TABLE ${ident(table)} AS SELECT rowid AS rid, rowid + 1 AS line${list} FROM ${ident(raw)} ORDER BY rowid`);
    return described.map(c => ({ ...c, kind: kindOf(c.sql) }));
  } finally {
    await db.run(`DROP TABLE IF EXISTS ${ident(raw)}`);
    await db.run(`RESET file_search_path`);
  }
}

/** Every instant from which a row of these tables counts, once per key, oldest first. */
export async function loadChanges(host: AnswerHost, table: string, { changes, from, to }: Extract<SpineSource, { changes: unknown }>): Promise<TypedColumn[]> {
  const key = host.compiled.registry.entities[changes[0]!.entity]!.key;
  const parts = key.map((_, i) => `k${i}`);
  const sources: string[] = [];
  for (const id of new Set(changes.map(f => (f.kind === 'table' ? f.view : f.id)))) {
    // A handler's row counts behind its event, not at it.
    const after = host.compiled.registry.features[id]?.kind === 'on' ? 1 : 0;
    const range = `NOT gone AND eff >= ${Math.trunc(from)} AND eff <= ${Math.trunc(to)}`;
    sources.push(`SELECT ${[...parts, `eff + ${after} AS since`].join(', ')} FROM ${ident(await host.table(id))} WHERE ${range}`);
  }
  const rows = `SELECT DISTINCT * FROM (${sources.join(' UNION ALL ')})`;
  const columns = [...parts, 'make_timestamptz(since * 1000)'].map((c, i) => `${c} AS c${i}`).join(', ');
  const order = ['since', ...parts].join(', ');
  await host.db.run(
    `CREATE TABLE ${ident(table)} AS SELECT row_number() OVER (ORDER BY ${order}) - 1 AS rid, row_number() OVER (ORDER BY ${order}) AS line, ${columns} FROM (${rows}) ORDER BY rid`,
  );
  return [...key.map((name): TypedColumn => ({ name, kind: 'text', sql: 'VARCHAR' })), { name: 'event_timestamp', kind: 'time', sql: 'TIMESTAMP WITH TIME ZONE' }];
}
