/** Rows from outside (pushes, handlers) on their way to files, and small files of them joined. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TableRow, TableUnit } from '../../engine/units.ts';
import { text } from '../../sql/columns.ts';
import { Duck } from '../duckdb/engine.ts';
import { drop, peek } from '../embedded/outbox.ts';
import { unitSpaceOf } from '../embedded/spaces.ts';
import { copyTo } from '../history/files.ts';
import { GRACE_MS } from '../history/manifest.ts';
import { type TableFile, TableManifest } from './manifest.ts';
import { folderOf, type RecordOptions } from './record.ts';
import { appendRows, createRows } from './relate.ts';

interface Given {
  table: TableUnit;
  key: string;
  row: TableRow;
}

/** Outbox rows moved at once. */
const SLICE = 50_000;
/** Files of a table are joined when there are this many small ones. */
const JOIN_AT = 16;
const SMALL = 50_000;

/** Writes one file per table; nothing refers to them yet. */
async function writeGiven(options: RecordOptions, rows: readonly Given[]): Promise<{ table: TableUnit; file: TableFile }[]> {
  const byTable = new Map<string, Given[]>();
  for (const r of rows) {
    const name = `${r.table.id}:${r.table.hash}`;
    const some = byTable.get(name);
    if (some) some.push(r);
    else byTable.set(name, [r]);
  }
  const db = await Duck.open(options.duck);
  try {
    const out: { table: TableUnit; file: TableFile }[] = [];
    for (const some of byTable.values()) {
      const { table } = some[0]!;
      const name = `g${db.next()}`;
      await db.run(createRows(name, table.keyColumns.length));
      await appendRows(db, name, table.keyColumns.length, some);
      const file = `${folderOf(table)}/g-${randomUUID()}.parquet`;
      await copyTo(db, `SELECT DISTINCT * FROM ${name} ORDER BY ALL`, join(options.dir, file), 'snappy');
      out.push({ table, file: { file, at: null, from: 'given', rows: some.length } });
    }
    return out;
  } finally {
    db.close();
  }
}

export async function append(options: RecordOptions, rows: readonly Given[]): Promise<void> {
  if (rows.length === 0) return;
  const files = await writeGiven(options, rows);
  const manifest = new TableManifest(options.env);
  options.env.write(() => {
    for (const { table, file } of files) manifest.addFile(table.id, table.hash, file);
  });
}

/**
 * Moves the outbox to files; rows of tables that are no more are dropped: by what is applied, since a process that started before
 * a table was made does not know it. Returns how many rows went.
 */
export async function flush(options: RecordOptions, tables: ReadonlyMap<string, TableUnit>): Promise<number> {
  const manifest = new TableManifest(options.env);
  let moved = 0;
  for (;;) {
    options.env.refresh();
    const rows = peek(options.env, 0, SLICE);
    if (rows.length === 0) break;
    const live = rows.filter(r => unitSpaceOf(options.env, 'table', r.table));
    const files = await writeGiven(options, live);
    const done = options.env.write(() => {
      // Another process may have moved them meanwhile.
      if (peek(options.env, 0, 1)[0]?.seq !== rows[0]!.seq) return false;
      for (const { table, file } of files) manifest.addFile(table.id, table.hash, file);
      drop(options.env, rows[rows.length - 1]!.seq);
      return true;
    });
    if (!done) {
      for (const { file } of files) await rm(join(options.dir, file.file), { force: true });
      break;
    }
    moved += rows.length;
  }
  for (const table of tables.values()) await joinSmall(options, manifest, table);
  return moved;
}

/** A flush a minute makes many files; replaced ones are deleted late, so that no reader misses one. */
async function joinSmall(options: RecordOptions, manifest: TableManifest, table: TableUnit): Promise<void> {
  const small = manifest.files(table.id, table.hash).filter(f => f.from === 'given' && f.rows < SMALL);
  if (small.length < JOIN_AT) return;
  const db = await Duck.open(options.duck);
  const file = `${folderOf(table)}/g-${randomUUID()}.parquet`;
  try {
    const list = small.map(f => text(join(options.dir, f.file))).join(', ');
    await copyTo(db, `SELECT DISTINCT * FROM read_parquet([${list}], hive_partitioning = false) ORDER BY ALL`, join(options.dir, file), 'zstd');
  } finally {
    db.close();
  }
  const { env } = options;
  const swapped = env.write(() => {
    const now = new Set(manifest.files(table.id, table.hash).map(f => f.file));
    if (!small.every(f => now.has(f.file))) return false;
    for (const f of small) manifest.removeFile(table.id, table.hash, f, options.clock.now() + GRACE_MS);
    manifest.addFile(table.id, table.hash, { file, at: null, from: 'given', rows: small.reduce((n, f) => n + f.rows, 0) });
    return true;
  });
  if (!swapped) await rm(join(options.dir, file), { force: true });
}
