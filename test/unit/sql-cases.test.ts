import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Duck } from '../../src/stores/duckdb/engine.ts';
import { cases, mismatches } from '../oracle/cases.ts';
import { SqlSubject } from './sql-subject.ts';

let db: Duck;
beforeAll(async () => {
  db = await Duck.open({ threads: 1 });
});
afterAll(() => db.close());

describe('SQL history on the written cases', () => {
  it.each(cases.map(c => [c.name, c] as const))('%s', async (_, c) => {
    const subject = await SqlSubject.open(c.registry, c.log, db);
    expect(await mismatches(c, { value: (id, key, T) => subject.value(id, key, T) })).toEqual([]);
    await subject.close();
  });
});
