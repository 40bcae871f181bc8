/** Behaviours of the state itself that a value alone does not show (CASES.md S18-S20, S28, S60). */
import { describe, expect, it } from 'vitest';
import { countRows } from '../../src/engine/read.ts';
import { column, DAY, entityPlan, ev, eventPlan, featurePlan, HOUR, logOf, MINUTE, of, registry, streamPlan } from '../oracle/build.ts';
import { EngineRun } from '../support/engine-run.ts';

const USER = column('user_id', 'string');
const COST = column('cost', 'decimal', 2);
const agg = (op: 'count' | 'sum' | 'min') => ({ op, stream: 'clicks', events: ['view'], ...(op !== 'count' && { column: of(COST) }) });

function world(windows: number[]) {
  return registry({
    entities: [entityPlan('user', ['user_id'])],
    streams: [streamPlan('clicks', { lateness: 400 * DAY })],
    events: [eventPlan('clicks', 'view', [USER, COST])],
    features: windows.flatMap(w => (['count', 'sum', 'min'] as const).map(op => featurePlan('user', `${op}_${w}`, agg(op), { kind: 'over', w }))),
  });
}
const T0 = Date.UTC(2025, 0, 15);
const views = (n: number, step: number) => ({ clicks: logOf(Array.from({ length: n }, (_, i) => ev('view', T0 + i * step, { user_id: 'u1', cost: 100 + i }, { id: `e${i}` }))) });

describe('window state', () => {
  it('S18: keeps raw history once, however many windows look at it', () => {
    const log = views(10_000, 500);
    const rows = (windows: number[]) => countRows(new EngineRun(world(windows), log).nodes('user/clicks', 'u1'));
    expect(rows([5 * MINUTE, HOUR, DAY])).toBe(10_000);
    const bytes = (windows: number[]) => {
      const nodes = new EngineRun(world(windows), log).nodes('user/clicks', 'u1').nodes;
      return [...nodes.values()].reduce((n, x) => n + x.bytes.length, 0);
    };
    expect(bytes([5 * MINUTE, HOUR, DAY])).toBe(bytes([DAY]));
  });

  it('S19: reading changes neither the answer nor the stored bytes', () => {
    const run = new EngineRun(world([HOUR]), views(2_000, 1_000));
    const dump = () => [...run.nodes('user/clicks', 'u1').nodes].map(([k, n]) => [k, n.bytes.toString('hex')]);
    const before = dump();
    const answers = Array.from({ length: 10 }, () => JSON.stringify(['count', 'sum', 'min'].map(op => run.value(`user.${op}_${HOUR}`, ['u1'], T0 + 25 * MINUTE + 7))));
    expect(new Set(answers).size).toBe(1);
    expect(dump()).toEqual(before);
  });

  it('S20: events at or after T in the same hour stay out though the hour has totals', () => {
    const run = new EngineRun(world([2 * HOUR]), views(2_000, 1_000));
    expect([...run.nodes('user/clicks', 'u1').nodes.values()].some(n => n.level === 1 && n.bytes[0] === 2)).toBe(true);
    const T = T0 + 10 * MINUTE;
    expect(run.value(`user.count_${2 * HOUR}`, ['u1'], T).value).toBe(600);
    expect(run.value(`user.min_${2 * HOUR}`, ['u1'], T).value).toBe(1);
    expect(run.value(`user.count_${2 * HOUR}`, ['u1'], T + 1).value).toBe(601);
  });

  it('S60: a window that changes once in six hours costs writes per event, none per step', () => {
    const run = new EngineRun(world([DAY]), views(2, 6 * HOUR), 1);
    const nodes = run.nodes('user/clicks', 'u1');
    expect(nodes.puts).toBe(2);
    for (let s = 0; s < 21_600; s += 60) run.value(`user.count_${DAY}`, ['u1'], T0 + s * 1000);
    expect(nodes.puts).toBe(2);
  });

  it('S28: the last event is readable at once, with no later one to push a watermark', () => {
    const run = new EngineRun(world([5 * MINUTE]), views(1, 0));
    expect(run.value(`user.count_${5 * MINUTE}`, ['u1'], T0 + 1).value).toBe(1);
  });
});
