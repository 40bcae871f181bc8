/** Writing history files: synced to disk before anything refers to them. */
import { mkdirSync } from 'node:fs';
import { open, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { toFabraError } from '../../lib/errors.ts';
import { DAY } from '../../lib/duration.ts';
import { isoDate } from '../../lib/time.ts';
import type { HistoryFile } from '../../ports/offline-store.ts';
import { ident, text } from '../../sql/columns.ts';
import type { Duck } from '../duckdb/engine.ts';

/** One file per date of accepted events, one for all others: late and quarantined ones may carry any date. */
export async function writeFiles(
  db: Duck,
  root: string,
  table: string,
  head: Pick<HistoryFile, 'stream' | 'partition' | 'from' | 'to' | 'rules'>,
  tag: string,
): Promise<HistoryFile[]> {
  const t = ident(table);
  const days = await db.rows(
    `SELECT CASE WHEN adm = 0 THEN ts // ${DAY} - CASE WHEN ts % ${DAY} < 0 THEN 1 ELSE 0 END END AS day, count(*) AS rows, min(ts) AS lo, max(ts) AS hi FROM ${t} GROUP BY day ORDER BY day`,
  );
  const out: HistoryFile[] = [];
  for (const d of days) {
    const day = d.day === null ? null : Number(d.day);
    const folder = day === null ? 'not_applied' : `event_date=${isoDate(day * DAY)}`;
    const file = join(encodeURIComponent(head.stream), folder, `p${head.partition}-${head.from}-${head.to}${tag}.parquet`);
    const where = day === null ? 'adm <> 0' : `adm = 0 AND ts >= ${day * DAY} AND ts < ${(day + 1) * DAY}`;
    const bytes = await copyTo(db, `SELECT * FROM ${t} WHERE ${where}`, join(root, file), 'snappy');
    out.push({ ...head, file, rows: Number(d.rows), minTs: Number(d.lo), maxTs: Number(d.hi), bytes });
  }
  return out;
}

/**
 * Runs a query into a Parquet file and waits until file and folder are on disk. Fresh files are snappy, compacted ones zstd
 * (40 % smaller, at twice the time).
 */
export async function copyTo(db: Duck, sql: string, path: string, compression: 'snappy' | 'zstd'): Promise<number> {
  mkdirSync(dirname(path), { recursive: true });
  try {
    await db.run(`COPY (${sql}) TO ${text(path)} (FORMAT parquet, COMPRESSION ${compression})`);
    await sync(path);
    await sync(dirname(path));
  } catch (e) {
    await rm(path, { force: true });
    throw toFabraError(e);
  }
  return (await stat(path)).size;
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Parquet files on disk, relative to the root: to find what a killed writer left behind. */
export async function filesOnDisk(root: string): Promise<string[]> {
  try {
    return (await readdir(root, { recursive: true })).filter(f => f.endsWith('.parquet'));
  } catch {
    return [];
  }
}
