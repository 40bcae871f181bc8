/** Integers into a vector without a BigInt each: five of them an event were a tenth of what history costs the worker. */
import type { DuckDBVector } from '@duckdb/node-api';
import type { AppendColumn } from './engine.ts';

/** The parts of the driver's vectors that are fields at run time and private to its types. */
interface Inside {
  items?: BigInt64Array;
  validity?: { setItemValid(i: number, valid: boolean): void };
}

/** Fills a BIGINT vector from `values[from ..]`; false when the vector is not as expected and nothing was written. */
export function writeInt64(vector: DuckDBVector, values: AppendColumn['values'], from: number, rows: number): boolean {
  const { items, validity } = vector as unknown as Inside;
  if (!(items instanceof BigInt64Array) || !validity) return false;
  const halves = new Int32Array(items.buffer, items.byteOffset, rows * 2);
  for (let i = 0; i < rows; i++) {
    const v = values[from + i];
    if (v === null || v === undefined) validity.setItemValid(i, false);
    else if (Number.isSafeInteger(v)) {
      const high = Math.floor((v as number) / 0x1_0000_0000);
      halves[2 * i] = (v as number) - high * 0x1_0000_0000;
      halves[2 * i + 1] = high;
    } else items[i] = BigInt(v as bigint);
  }
  vector.flush();
  return true;
}
