/** Answers as JSON text, written by hand: a general serializer would have to be given objects made only for it. */
import type { Cell, Value } from '../../engine/values.ts';
import { toJson } from '../../lib/json.ts';
import { iso } from '../../lib/time.ts';
import type { Position } from '../../ports/online-store.ts';
import type { FeaturePlan } from '../../registry/types.ts';
import type { Stale } from '../read/stale.ts';
import type { Asked } from './request.ts';
import type { Selection } from './names.ts';

interface Written {
  value: string;
  status: string;
  ts: string;
  reason: string | null;
  detail: string | null;
}

const NULL = 'null';
const NOT_JSON = 'COMPUTE: what it returned cannot be written as JSON';

const DAY = 86_400_000;
/** 0000-01-01 and 10000-01-01: outside, years are written otherwise. */
const FIRST = -62_167_219_200_000;
const LAST = 253_402_300_800_000;
const two = Array.from({ length: 60 }, (_, i) => String(i).padStart(2, '0'));
const three = Array.from({ length: 1_000 }, (_, i) => String(i).padStart(3, '0'));

/** ISO texts of instants: most of an answer's are on the same day (a fifth of the time of `toISOString`). */
class Times {
  private day = Number.NaN;
  private text = '';

  of(ts: number | null): string {
    if (ts === null) return NULL;
    if (ts < FIRST || ts >= LAST) return `"${iso(ts)}"`;
    const day = Math.floor(ts / DAY);
    if (day !== this.day) {
      this.day = day;
      this.text = `"${iso(day * DAY).slice(0, 11)}`;
    }
    const ms = ts - day * DAY;
    const s = (ms / 1000) | 0;
    const m = (s / 60) | 0;
    return `${this.text}${two[(m / 60) | 0]}:${two[m % 60]}:${two[s % 60]}.${three[ms % 1000]}Z"`;
  }
}

/** A value as JSON; undefined when it is none. int64 goes out as text. */
function valueText(v: Value | undefined, int64: boolean): string | undefined {
  if (v === null || v === undefined) return NULL;
  switch (typeof v) {
    case 'number':
      return Number.isFinite(v) ? (int64 ? `"${v}"` : `${v}`) : NULL;
    case 'string':
      return JSON.stringify(v);
    case 'boolean':
      return v ? 'true' : 'false';
    case 'bigint':
      return `"${v}"`;
    default:
      return Array.isArray(v) ? listText(v, int64) : toJson(v);
  }
}

function listText(list: readonly Value[], int64: boolean): string | undefined {
  let out = '[';
  for (let i = 0; i < list.length; i++) {
    const item = valueText(list[i], int64);
    if (item === undefined) return undefined;
    out += i === 0 ? item : `,${item}`;
  }
  return `${out}]`;
}

/** Derived code may return anything, also what has no JSON. */
function derivedText(v: Value, int64: boolean): string | undefined {
  try {
    return valueText(v, int64);
  } catch {
    return undefined;
  }
}

/** A value as JSON with whole numbers of any size as numbers; undefined when it has none. */
export function cellText(f: FeaturePlan, { value }: Cell): string | undefined {
  if (f.type.base !== 'int64') return f.kind === 'derive' ? derivedText(value, false) : valueText(value, false);
  return Array.isArray(value) ? `[${value.map(v => v ?? NULL).join(',')}]` : value === null ? NULL : String(value);
}

function write(f: FeaturePlan, cell: Cell, times: Times): Written {
  const int64 = f.type.base === 'int64';
  const value = f.kind === 'derive' ? derivedText(cell.value, int64) : valueText(cell.value, int64);
  if (value === undefined) return { value: NULL, status: '"ERROR"', ts: NULL, reason: JSON.stringify(NOT_JSON), detail: null };
  const { status, ts, reason, detail } = cell;
  return {
    value,
    status: `"${status}"`,
    ts: times.of(ts),
    reason: reason === undefined ? null : JSON.stringify(reason),
    detail: detail === undefined ? null : JSON.stringify(detail),
  };
}

/** `{metadata, results, as_of, position}`: per feature, arrays as long as the rows; with `degraded` and `stale` when values are too old. */
export function columnar(asked: Asked, cells: readonly Cell[][], position: Position, stale: readonly Stale[]): string {
  const { selection, places, length } = asked;
  const times = new Times();
  let out = `{"metadata":{"names":${headOf(selection)}},"results":[`;
  for (let f = 0; f < selection.plans.length; f++) {
    const plan = selection.plans[f]!;
    let values = '';
    let statuses = '';
    let stamps = '';
    let reasons: (string | null)[] | null = null;
    for (let i = 0; i < length; i++) {
      const w = write(plan, cells[places === null ? i : places[i]!]![f]!, times);
      const comma = i === 0 ? '' : ',';
      values += comma + w.value;
      statuses += comma + w.status;
      stamps += comma + w.ts;
      if (w.reason !== null) (reasons ??= new Array<string | null>(length).fill(null))[i] = w.reason;
    }
    out += `${f === 0 ? '' : ','}{"values":[${values}],"statuses":[${statuses}],"timestamps":[${stamps}]${reasons === null ? '' : `,"reasons":[${reasons.map(r => r ?? NULL).join(',')}]`}}`;
  }
  return `${out}],"as_of":"${iso(asked.at)}","position":${JSON.stringify(position)}${degraded(stale, places)}}`;
}

/** Rows by their place in the answer: those of equal keys were read once. */
function degraded(stale: readonly Stale[], places: Asked['places']): string {
  if (stale.length === 0) return '';
  const list = places === null ? stale : stale.map(s => ({ ...s, rows: places.flatMap((p, i) => (s.rows.includes(p) ? i : [])) }));
  return `,"degraded":true,"stale":${JSON.stringify(list)}`;
}

const heads = new WeakMap<Selection, string>();
function headOf(selection: Selection): string {
  let text = heads.get(selection);
  if (text === undefined) heads.set(selection, (text = JSON.stringify(selection.names)));
  return text;
}

/** `{entity, key, as_of, features: {name: {value, status, ts}}, position}` of one row. */
export function single(entity: string, key: string, selection: Selection, cells: readonly Cell[], at: number, position: Position, stale: readonly Stale[]): string {
  const times = new Times();
  const features = selection.plans.map((plan, f) => {
    const w = write(plan, cells[f]!, times);
    return `${JSON.stringify(selection.names[f])}:{"value":${w.value},"status":${w.status},"ts":${w.ts}${w.reason === null ? '' : `,"reason":${w.reason}`}${w.detail === null ? '' : `,"detail":${w.detail}`}}`;
  });
  return `{"entity":${JSON.stringify(entity)},"key":${JSON.stringify(key)},"as_of":"${iso(at)}","features":{${features.join(',')}},"position":${JSON.stringify(position)}${degraded(stale, null)}}`;
}
