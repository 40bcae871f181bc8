/** Answers as JSON text, written by hand: a general serializer walks every cell object again (measured: docs in test/bench/serve.ts). */
import type { Cell, Value } from '../../engine/values.ts';
import { toJson } from '../../lib/json.ts';
import { iso } from '../../lib/time.ts';
import type { Position } from '../../ports/online-store.ts';
import type { FeaturePlan } from '../../registry/types.ts';
import type { Asked } from './request.ts';
import type { Selection } from './names.ts';

interface Written {
  value: string;
  status: string;
  ts: string;
  reason: string | null;
}

const NULL = 'null';
const NOT_JSON = 'COMPUTE: what it returned cannot be written as JSON';

/** ISO texts of instants: neighbours in an answer often share them. */
class Times {
  private last = Number.NaN;
  private text = '';

  of(ts: number | null): string {
    if (ts === null) return NULL;
    if (ts !== this.last) {
      this.last = ts;
      this.text = `"${iso(ts)}"`;
    }
    return this.text;
  }
}

/** A value as JSON; undefined when it is none. int64 goes out as text. */
function valueText(v: Value, int64: boolean): string | undefined {
  if (v === null) return NULL;
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
      try {
        return int64 && Array.isArray(v) ? JSON.stringify(v.map(x => (x === null ? null : String(x)))) : toJson(v);
      } catch {
        return undefined;
      }
  }
}

function write(f: FeaturePlan, cell: Cell, times: Times): Written {
  const value = valueText(cell.value, f.type.base === 'int64');
  if (value === undefined) return { value: NULL, status: '"ERROR"', ts: NULL, reason: JSON.stringify(NOT_JSON) };
  return { value, status: `"${cell.status}"`, ts: times.of(cell.ts), reason: cell.reason === undefined ? null : JSON.stringify(cell.reason) };
}

/** `{metadata, results, as_of, position}`: per feature, arrays as long as the rows. */
export function columnar(asked: Asked, cells: readonly Cell[][], position: Position): string {
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
  return `${out}],"as_of":"${iso(asked.at)}","position":${JSON.stringify(position)}}`;
}

const heads = new WeakMap<Selection, string>();
function headOf(selection: Selection): string {
  let text = heads.get(selection);
  if (text === undefined) heads.set(selection, (text = JSON.stringify(selection.names)));
  return text;
}

/** `{entity, key, as_of, features: {name: {value, status, ts}}, position}` of one row. */
export function single(entity: string, key: string, selection: Selection, cells: readonly Cell[], at: number, position: Position): string {
  const times = new Times();
  const features = selection.plans.map((plan, f) => {
    const w = write(plan, cells[f]!, times);
    return `${JSON.stringify(selection.names[f])}:{"value":${w.value},"status":${w.status},"ts":${w.ts}${w.reason === null ? '' : `,"reason":${w.reason}`}}`;
  });
  return `{"entity":${JSON.stringify(entity)},"key":${JSON.stringify(key)},"as_of":"${iso(at)}","features":{${features.join(',')}},"position":${JSON.stringify(position)}}`;
}
