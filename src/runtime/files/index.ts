export { TruncatedInput } from './errors.ts';
export { rowToEvent, rowToJson, rowWriter } from './json-row.ts';
export { fileFingerprint, formatOf, readHeader, readRows } from './rows.ts';
export type { FileFormat, FileRow, ReadOptions, RowBatch } from './types.ts';
