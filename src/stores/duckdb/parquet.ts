/** Rows of a Parquet file as plain objects, for replay: times as ISO text, 64-bit integers as BigInt where a double is too small. */
import { text } from '../../sql/columns.ts';
import { Duck } from './engine.ts';

export async function* parquetRows(path: string): AsyncGenerator<Record<string, unknown>[]> {
  const db = await Duck.open({ threads: 1 });
  try {
    const described = await db.rows(`DESCRIBE SELECT * FROM read_parquet(${text(path)})`);
    const columns = described.map(c => {
      const name = `"${String(c.column_name).replaceAll('"', '""')}"`;
      return /^(TIMESTAMP|DATE)/.test(String(c.column_type)) ? `strftime(${name}, '%Y-%m-%dT%H:%M:%S.%gZ') AS ${name}` : name;
    });
    const names = described.map(c => String(c.column_name));
    for await (const chunk of db.stream(`SELECT ${columns.join(', ')} FROM read_parquet(${text(path)})`))
      yield Array.from({ length: chunk.rows }, (_, i) => Object.fromEntries(names.map((n, c) => [n, chunk.columns[c]![i]])));
  } finally {
    db.close();
  }
}
