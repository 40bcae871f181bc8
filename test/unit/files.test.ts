import { appendFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ColumnKind, ColumnPlan } from '../../src/registry/types.ts';
import { CsvParser } from '../../src/runtime/files/csv.ts';
import { type FileRow, fileFingerprint, readHeader, readRows, rowToEvent, rowToJson, rowWriter, TruncatedInput } from '../../src/runtime/files/index.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'fabra-files-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

let n = 0;
async function file(name: string, content: string | Buffer): Promise<string> {
  const path = join(dir, `${n++}-${name}`);
  await writeFile(path, content);
  return path;
}
async function all(path: string, options?: Parameters<typeof readRows>[1]): Promise<FileRow[]> {
  const rows: FileRow[] = [];
  for await (const batch of readRows(path, options)) rows.push(...batch.rows);
  return rows;
}
const csv = async (content: string | Buffer): Promise<FileRow[]> => all(await file('a.csv', content));
const values = (rows: FileRow[]) => rows.map(r => r.values);
const numberedErrors = (rows: FileRow[]) => rows.filter(r => r.error).map(r => [r.line, r.error]);

describe('CSV', () => {
  test('empty cells are null, quoted or not; blank lines are no rows; the last line end may be missing', async () => {
    const rows = await csv('a,b,c\n1,,3\n\n"","x",\n,,');
    expect(values(rows)).toEqual([
      { a: '1', b: null, c: '3' },
      { a: null, b: 'x', c: null },
      { a: null, b: null, c: null },
    ]);
    expect(rows.map(r => r.line)).toEqual([2, 4, 5]);
    expect(rows[0]!.raw).toBe('1,,3');
  });

  test('quotes hold delimiters, doubled quotes and line ends; numbering counts lines, not rows', async () => {
    const rows = await csv('a,b\r\n"x, y","he said ""hi"""\r\n"two\r\nlines",z\r\nq,"end"\r\n');
    expect(values(rows)).toEqual([
      { a: 'x, y', b: 'he said "hi"' },
      { a: 'two\r\nlines', b: 'z' },
      { a: 'q', b: 'end' },
    ]);
    expect(rows.map(r => r.line)).toEqual([2, 3, 5]);
    expect(rows[1]!.raw).toBe('"two\r\nlines",z');
  });

  test('a BOM is not part of the first name; a quote inside an unquoted cell is itself', async () => {
    expect(values(await csv('\ufeffa,b\n5" screen,y\n'))).toEqual([{ a: '5" screen', b: 'y' }]);
  });

  test('missing and extra cells are errors with their line; the lines beside them are read', async () => {
    const rows = await csv('a,b\n1,2\n3\n4,5\n6,7,8\n9,"x",\n10,"11"\n');
    expect(numberedErrors(rows)).toEqual([
      [3, '2 cells expected, 1 found'],
      [5, '2 cells expected, 3 found'],
      [6, '2 cells expected, 3 found'],
    ]);
    expect(values(rows.filter(r => !r.error))).toEqual([
      { a: '1', b: '2' },
      { a: '4', b: '5' },
      { a: '10', b: '11' },
    ]);
    expect(rows[1]).toMatchObject({ values: null, raw: '3' });
  });

  test('a quote that never closes costs its own line only', async () => {
    const rows = await csv('a,b\n1,"open\n2,x\n3,y\n');
    expect(numberedErrors(rows)).toEqual([[2, 'a quote that is opened here is never closed']]);
    expect(values(rows.slice(1))).toEqual([
      { a: '2', b: 'x' },
      { a: '3', b: 'y' },
    ]);
    expect(numberedErrors(await csv('a,b\n1,"open'))).toHaveLength(1);
  });

  test('a stray quote that meets another does not swallow the lines between', async () => {
    const rows = await csv('a,b\n1,"open\n2,x\n3,"y"\n4,z\n');
    expect(numberedErrors(rows)).toEqual([[2, 'there is text after a closing quote']]);
    expect(rows.map(r => r.line)).toEqual([2, 3, 4, 5]);
  });

  test('an unclosed quote far from the end is given up after 1 MiB, in a file larger than that', async () => {
    const line = `${'x'.repeat(99)},y\n`;
    const rows = await csv(`a,b\n1,"open\n${line.repeat(30_000)}`);
    expect(numberedErrors(rows)).toEqual([[2, 'a quote that is opened here is not closed within 1048576 characters']]);
    expect(rows).toHaveLength(30_001);
  });

  test('a line that is not UTF-8 is an error, its neighbours and whole emoji are not', async () => {
    const rows = await csv(Buffer.concat([Buffer.from('a,b\nMalmö,\u{1f3ff}\n'), Buffer.from('Malm\xf6,2\n', 'latin1'), Buffer.from('x,\ufffd\n')]));
    expect(numberedErrors(rows)).toEqual([[3, 'the line is not UTF-8 text']]);
    expect(values(rows)).toEqual([{ a: 'Malmö', b: '\u{1f3ff}' }, null, { a: 'x', b: '\ufffd' }]);
    expect(rows.every(r => r.raw.isWellFormed())).toBe(true);
  });

  test('a line beyond 16 MiB is one error, without holding it', async () => {
    const rows = await csv(`a\n1\n${'x'.repeat(17 * 1024 * 1024)}\n2\n${'y'.repeat(17 * 1024 * 1024)}`);
    expect(numberedErrors(rows)).toEqual([
      [3, 'the line is longer than 16 MiB'],
      [5, 'the line is longer than 16 MiB'],
    ]);
    expect(values(rows.filter(r => !r.error))).toEqual([{ a: '1' }, { a: '2' }]);
    expect(rows.every(r => r.raw.length < 100)).toBe(true);
  });

  test('headers: read alone, quoted, empty, twice the same, reserved', async () => {
    expect(await readHeader(await file('h.csv', '\ufeffa,"b,c",d.e\r\n1,2,3'))).toEqual(['a', 'b,c', 'd.e']);
    expect(await readHeader(await file('h.csv', ''))).toEqual([]);
    expect(await readHeader(await file('h.ndjson', '{"a":1}'))).toBeNull();
    expect(await csv('')).toEqual([]);
    await expect(csv('a,b,a\n1,2,3\n')).rejects.toMatchObject({ code: 'BAD_FILE', message: expect.stringContaining('"a" twice') });
    await expect(csv('a,__proto__\n1,2\n')).rejects.toMatchObject({ code: 'BAD_FILE' });
    await expect(csv('a,"b\n1,2\n')).rejects.toMatchObject({ code: 'BAD_FILE' });
    await expect(readHeader(await file('h.csv', Buffer.from('a,\xf6\n', 'latin1')))).rejects.toMatchObject({ code: 'BAD_FILE' });
  });

  test('reads back what is written, at any cut of the input into blocks of lines', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'é', '\u{1f3ff}', ' ', ',', '"', '\n', '\r', ';', '.'), maxLength: 8 });
    const quote = (v: string, always: boolean): string => (always || /[",\n\r]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v);
    const table = fc
      .integer({ min: 1, max: 4 })
      .chain(width => fc.array(fc.tuple(fc.array(text, { minLength: width, maxLength: width }), fc.boolean()), { minLength: 1, maxLength: 8 }));
    fc.assert(
      fc.property(table, fc.boolean(), fc.boolean(), fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }), (rows, crlf, ended, cuts) => {
        const width = rows[0]![0].length;
        const eol = crlf ? '\r\n' : '\n';
        const header = Array.from({ length: width }, (_, i) => `c${i}`);
        // A lone empty cell must be quoted: bare, it would be a blank line.
        const content = [header.join(','), ...rows.map(([cells, always]) => cells.map(c => quote(c, always || width === 1)).join(','))].join(eol) + (ended ? eol : '');
        const parser = new CsvParser('t.csv');
        const out: FileRow[] = [];
        let block = '';
        content.split(/(?<=\n)/).forEach((line, i) => {
          block += line;
          if (!cuts[i % 40]) return;
          parser.push(block, false, out);
          block = '';
        });
        parser.push(block, true, out);
        expect(out.map(r => r.error)).toEqual(rows.map(() => undefined));
        expect(values(out)).toEqual(rows.map(([cells]) => Object.fromEntries(cells.map((c, i) => [`c${i}`, c === '' ? null : c]))));
      }),
      { numRuns: 1000 },
    );
  });

  test('no bad row ever takes a good one with it', () => {
    const bad = fc.constantFrom('1,"open', '"a"b,2', '1', '1,2,3', '","', 'x,"');
    const good = fc.integer({ min: 0, max: 99 }).map(i => `g${i},h${i}`);
    fc.assert(
      fc.property(fc.array(fc.oneof(good, bad), { maxLength: 12 }), lines => {
        const parser = new CsvParser('t.csv');
        const out: FileRow[] = [];
        parser.push(`a,b\n${lines.join('\n')}\n`, true, out);
        // Stray quotes may pair up into one well-formed row over two lines; none of the rows is then one of ours.
        const kept = out.filter(r => !r.error && /^g\d+,h\d+$/.test(r.raw)).map(r => r.raw);
        const swallowed = out.filter(r => r.raw.includes('\n')).flatMap(r => r.raw.split('\n').filter(l => /^g\d+,h\d+$/.test(l)));
        expect([...kept, ...swallowed].sort()).toEqual(lines.filter(l => /^g\d+,h\d+$/.test(l)).sort());
      }),
      { numRuns: 500 },
    );
  });
});

describe('files', () => {
  const body = (lines: number): string => `id,v\n${Array.from({ length: lines }, (_, i) => `e${i},${(i * 2654435761) % 1000003}`).join('\n')}\n`;

  test('gzip is seen by its bytes, whatever the name; members may follow each other, and padding of zeros', async () => {
    const text = body(5);
    const expected = await all(await file('a.csv', text));
    expect(expected).toHaveLength(5);
    expect(await all(await file('a.csv.gz', gzipSync(text)))).toEqual(expected);
    expect(await all(await file('a.csv', gzipSync(text)))).toEqual(expected);
    expect(await all(await file('a.csv.gz', text))).toEqual(expected);
    expect(await all(await file('two.csv.gz', Buffer.concat([gzipSync(text.slice(0, 9)), gzipSync(text.slice(9))])))).toEqual(expected);
    expect(await all(await file('padded.csv.gz', Buffer.concat([gzipSync(text), Buffer.alloc(200_000)])))).toEqual(expected);
  });

  test.each([0.02, 0.5, 0.9, 0.99999])('a gzip file cut at %d gives all whole rows before the cut, then says so', async part => {
    const text = body(60_000);
    const bytes = gzipSync(text);
    const path = await file('cut.csv.gz', bytes.subarray(0, Math.floor(bytes.length * part)));
    const rows: FileRow[] = [];
    const error = await (async () => {
      for await (const b of readRows(path)) rows.push(...b.rows);
    })().catch(e => e);
    expect(error).toBeInstanceOf(TruncatedInput);
    expect(error).toMatchObject({ code: 'TRUNCATED_INPUT', line: rows.length + 1 });
    expect(rows.length).toBeGreaterThan(60_000 * (part - 0.3));
    const lines = text.split('\n');
    expect(rows.every((r, i) => r.raw === lines[i + 1] && !r.error)).toBe(true);
  });

  test('an empty .gz is cut, a damaged one is damaged, a missing file is ENOENT', async () => {
    await expect(all(await file('e.csv.gz', ''))).rejects.toBeInstanceOf(TruncatedInput);
    const bytes = gzipSync(body(10));
    bytes[bytes.length - 6]! ^= 255;
    await expect(all(await file('d.csv.gz', bytes))).rejects.toMatchObject({ code: 'TRUNCATED_INPUT', message: expect.stringContaining('damaged') });
    await expect(all(await file('j.csv.gz', Buffer.concat([gzipSync(body(10)), Buffer.from('junk')])))).rejects.toMatchObject({ message: expect.stringContaining('damaged') });
    await expect(all(join(dir, 'none.csv'))).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(readHeader(join(dir, 'none.csv'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('NDJSON: one object per line, errors beside good lines, original text kept', async () => {
    const rows = await all(await file('a.ndjson', '\ufeff{"a":1.10}\r\n\n[1]\n{"a":\n"x"\n{"a":{"b":"é"}}'));
    expect(rows.map(r => [r.line, r.values, r.error !== undefined])).toEqual([
      [1, { a: 1.1 }, false],
      [3, null, true],
      [4, null, true],
      [5, null, true],
      [6, { a: { b: 'é' } }, false],
    ]);
    expect(rows[0]!.raw).toBe('{"a":1.10}');
    await expect(all(await file('a.json', '[\n{"a":1}\n]'))).rejects.toMatchObject({ code: 'BAD_FILE', hint: expect.stringContaining('jq') });
  });

  test('the format follows the extension, else the content', async () => {
    expect(values(await all(await file('x.log', '{"a":1}\n')))).toEqual([{ a: 1 }]);
    expect(values(await all(await file('x.gz', gzipSync('{"a":1}\n'))))).toEqual([{ a: 1 }]);
    expect(values(await all(await file('x.txt', 'a\n1\n')))).toEqual([{ a: '1' }]);
    expect(values(await all(await file('x.tsv', 'a\tb\n1\t2,3\n')))).toEqual([{ a: '1', b: '2,3' }]);
  });

  test('Parquet comes from the function that is passed in', async () => {
    const path = await file('a.parquet', 'PAR1…');
    const rows = await all(path, {
      async *parquet() {
        yield [{ a: 1 }, { a: 2 }];
        yield [{ a: 3 }];
      },
    });
    expect(rows).toEqual([1, 2, 3].map(i => ({ line: i, values: { a: i }, raw: '' })));
    await expect(all(path)).rejects.toMatchObject({ code: 'BAD_FILE' });
  });

  test('batches are near the size asked for', async () => {
    const sizes: number[] = [];
    for await (const b of readRows(await file('b.csv', body(50_000)), { batch: 500 })) sizes.push(b.rows.length);
    expect(sizes.reduce((a, b) => a + b)).toBe(50_000);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1000);
  });

  test('the fingerprint stays while lines are appended, with or without gzip and CRLF, and tells files apart', async () => {
    const path = await file('grow.csv', 'a,b\n1,2');
    const before = await fileFingerprint(path);
    await appendFile(path, '\n3,4\n');
    expect(await fileFingerprint(path)).toBe(before);
    await appendFile(path, '5,6\n'.repeat(5000));
    expect(await fileFingerprint(path)).toBe(before);
    expect(await fileFingerprint(await file('z.csv.gz', gzipSync('a,b\n1,2\n')))).toBe(before);
    expect(await fileFingerprint(await file('w.csv', 'a,b\r\n1,2\r\n'))).toBe(before);
    expect(await fileFingerprint(await file('o.csv', 'a,b\n1,3\n'))).not.toBe(before);
    expect(before).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('rows as JSON', () => {
  const plan = (name: string, kind: ColumnKind, places?: number): ColumnPlan => ({ name, kind, places, nullable: true });
  const columns = [
    plan('s', 'string'),
    plan('d', 'decimal', 2),
    plan('i', 'int', 0),
    plan('big', 'int64', 0),
    plan('ok', 'bool'),
    plan('device.mobile', 'bool'),
    plan('device.os', 'string'),
  ];

  test('dotted names nest, empty cells are left out, undeclared columns are strings', () => {
    expect(rowToJson({ s: 'x', d: '29.90', 'device.mobile': '0', i: null, other: '5', 'device.os': 'iOS', 'geo.city': null }, columns)).toBe(
      '{"s":"x","d":29.90,"device":{"mobile":false,"os":"iOS"},"other":"5"}',
    );
    expect(rowToJson({ s: null }, columns)).toBe('{}');
    expect(rowToEvent({ s: 'x', d: '29.90' }, columns)).toEqual({ s: 'x', d: 29.9 });
  });

  test.each([
    ['d', '29.90', '29.90'],
    ['d', '0.1000000000000000055511151231257827', '0.1000000000000000055511151231257827'],
    ['d', '+5', '5'],
    ['d', '-007.50', '-7.50'],
    ['d', '.5', '0.5'],
    ['d', '5.', '5'],
    ['d', ' 5 ', '5'],
    ['d', '1e3', '1e3'],
    ['d', 'n/a', '"n/a"'],
    ['d', '1,5', '"1,5"'],
    ['d', 'NaN', '"NaN"'],
    ['d', '.', '"."'],
    ['d', '-', '"-"'],
    ['d', '0x10', '"0x10"'],
    ['i', '0', '0'],
    ['i', '00', '0'],
    ['i', '12', '12'],
    ['i', '1.5', '1.5'],
    ['big', '9007199254740991', '9007199254740991'],
    ['big', '9007199254740993', '"9007199254740993"'],
    ['big', '-9223372036854775808', '"-9223372036854775808"'],
    ['big', '12', '12'],
    ['big', 'x', '"x"'],
    ['ok', 'true', 'true'],
    ['ok', 'False', 'false'],
    ['ok', '1', 'true'],
    ['ok', 'maybe', '"maybe"'],
    ['s', '5', '"5"'],
    ['s', 'a"b\\c\n\u0001', '"a\\"b\\\\c\\n\\u0001"'],
    ['s', '\u2028é\u{1f3ff}', '"\u2028é\u{1f3ff}"'],
  ])('%s %j becomes %s', (name, cell, json) => {
    const text = rowToJson({ [name]: cell }, columns);
    expect(text).toBe(`{"${name}":${json}}`);
    JSON.parse(text);
  });

  test('every text survives as a string, every double as a number', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', minLength: 1 }), s => void expect(rowToEvent({ s }, columns)).toEqual({ s })));
    fc.assert(fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), d => void expect(rowToEvent({ d: Object.is(d, -0) ? '-0' : String(d) }, columns).d).toBe(d)));
  });

  test('typed values (Parquet) keep their types', () => {
    expect(rowToJson({ d: 1.5, big: 9007199254740993n, i: 5n, t: new Date(0), ok: true, device: { os: 'x' } }, columns)).toBe(
      '{"d":1.5,"big":"9007199254740993","i":5,"t":"1970-01-01T00:00:00.000Z","ok":true,"device":{"os":"x"}}',
    );
  });

  test('a column that is a value and an object is refused', () => {
    expect(() => rowWriter(['device', 'device.os'], columns)).toThrow(/both a value and an object/);
    expect(() => rowWriter(['device.os', 'device'], columns)).toThrow(/both a value and an object/);
  });
});
