import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { FoldRun, putFold, readFold, settleFold } from '../../src/engine/fold.ts';
import type { FoldCode, RoutedEvent } from '../../src/engine/units.ts';
import { encodePayload } from '../../src/engine/payload.ts';
import { joinKey } from '../../src/lib/text.ts';
import { FoldMemory } from '../support/fold-nodes.ts';

const HOUR = 3_600_000;
let offset = 0;
const event = (ts: number, id: string, payload: unknown = {}, more: Partial<RoutedEvent> = {}): RoutedEvent => ({
  ...{ stream: 's', partition: 0, offset: offset++, appended: ts, ts, id, type: 'x', payload: encodePayload(payload), applied: false },
  ...more,
});

/** Counts its steps; the state is the list of ids. */
function counting() {
  const of = { steps: 0 };
  const code: FoldCode = {
    state: z.array(z.string()),
    initial: [],
    step: (s, e) => {
      of.steps++;
      return [...(s as string[]), (e as { event_id: string }).event_id];
    },
    value: s => (s as string[]).join(''),
  };
  return { of, unit: { code, keyColumns: ['k'] } };
}

describe('what a step is given', () => {
  it('the event with its key for people, its payload with int64 and dates, anew each time', () => {
    const given: unknown[] = [];
    const code: FoldCode = {
      state: z.number(),
      initial: 0,
      step: (s, e) => {
        given.push(structuredClone(e));
        (e as { payload: { list: number[] } }).payload.list.push(9);
        return (s as number) + 1;
      },
      value: null,
    };
    const nodes = new FoldMemory();
    const unit = { code, keyColumns: ['a', 'b'] };
    const payload = { list: [1], big: 2n ** 60n, when: new Date(5) };
    putFold(unit, joinKey(['x:1', 'y,z']), nodes, [event(10, 'a', payload)]);
    putFold(unit, joinKey(['x:1', 'y,z']), nodes, [event(9, 'b', payload)]);
    const [first, , again] = given;
    expect(first).toEqual({ event_type: 'x', event_id: 'a', entity_id: 'x:1,y,z', timestamp: 10, payload });
    expect(again).toEqual(first);
    expect(readFold(unit, joinKey(['x:1', 'y,z']), nodes, 11)).toEqual({ state: { value: 2, ts: 10 }, floor: null });
  });

  it('an initial state that nobody can change', () => {
    const code: FoldCode = {
      state: z.object({ ids: z.array(z.string()) }),
      initial: { ids: [] },
      step: (s, e) => {
        (s as { ids: string[] }).ids.push((e as { event_id: string }).event_id);
        return s;
      },
      value: null,
    };
    for (let i = 0; i < 2; i++) {
      const nodes = new FoldMemory();
      putFold({ code, keyColumns: ['k'] }, 'k', nodes, [event(1, 'a')]);
      expect(readFold({ code, keyColumns: ['k'] }, 'k', nodes, 2).state).toEqual({ value: { ids: ['a'] }, ts: 1 });
    }
    expect(code.initial).toEqual({ ids: [] });
  });
});

describe('a step that fails', () => {
  const code: FoldCode = {
    state: z.object({ sum: z.number() }),
    initial: { sum: 0 },
    step: (s, e) => {
      const state = s as { sum: number };
      const { v } = (e as { payload: { v: unknown } }).payload;
      state.sum += Number(v);
      if (v === 'throw') throw new Error('no');
      return v === 'undefined' ? undefined : state;
    },
    value: s => {
      const { sum } = s as { sum: number };
      if (sum > 100) throw new Error(`${sum} is too much`);
      return sum;
    },
  };
  const unit = { code, keyColumns: ['k'] };

  it('leaves the state and its time as they were, and harms nothing that comes after', () => {
    const nodes = new FoldMemory();
    putFold(unit, 'k', nodes, [event(1, 'a', { v: 'throw' })]);
    expect(readFold(unit, 'k', nodes, 9).state).toBeNull();
    putFold(unit, 'k', nodes, [event(2, 'b', { v: 5 }), event(3, 'c', { v: 'throw' }), event(4, 'd', { v: 'undefined' }), event(5, 'e', { v: 'NaN' })]);
    expect(readFold(unit, 'k', nodes, 9).state).toEqual({ value: 5, ts: 2 });
    putFold(unit, 'k', nodes, [event(6, 'f', { v: 2 })]);
    expect(readFold(unit, 'k', nodes, 9).state).toEqual({ value: 7, ts: 6 });
    const run = new FoldRun(unit, 'k');
    expect([{ v: 5 }, { v: 'throw' }, { v: 2 }].map((p, i) => run.apply(event(i, `${i}`, p)))).toEqual([true, false, true]);
    expect(run.value()).toEqual({ value: 7, ts: 2 });
  });

  it('a value that throws is an error of that read alone', () => {
    const nodes = new FoldMemory();
    putFold(unit, 'k', nodes, [event(1, 'a', { v: 90 }), event(2, 'b', { v: 20 }), event(3, 'c', { v: -50 })]);
    expect([2, 3, 4].map(at => readFold(unit, 'k', nodes, at).state)).toEqual([
      { value: 90, ts: 1 },
      { error: '110 is too much', ts: 2 },
      { value: 60, ts: 3 },
    ]);
  });
});

describe('copies', () => {
  it('the one with the lowest partition and offset counts, whenever it comes', () => {
    const { unit } = counting();
    const code: FoldCode = { state: z.array(z.number()), initial: [], step: (s, e) => [...(s as number[]), (e as { payload: { v: number } }).payload.v], value: null };
    const of = { ...unit, code };
    for (const order of [
      [0, 1, 2, 3],
      [3, 2, 1, 0],
      [2, 0, 3, 1],
    ]) {
      const nodes = new FoldMemory();
      const copies = [
        event(5, 'a', { v: 0 }, { partition: 0, offset: 9 }),
        event(5, 'a', { v: 1 }, { partition: 1, offset: 2 }),
        event(5, 'a', { v: 2 }, { partition: 1, offset: 3 }),
      ];
      const all = [...copies, event(6, 'b', { v: 3 })];
      for (const i of order) putFold(of, 'k', nodes, [all[i]!]);
      expect(readFold(of, 'k', nodes, 9).state).toEqual({ value: [0, 3], ts: 6 });
      expect(all.filter(e => e.applied).length).toBe(2);
    }
  });

  it('streams, instants and ids tell events apart', () => {
    const { unit } = counting();
    const nodes = new FoldMemory();
    const events = [event(5, 'a'), event(5, 'a', {}, { stream: 'r' }), event(6, 'a'), event(5, 'b')];
    putFold(unit, 'k', nodes, events);
    expect(events.every(e => e.applied)).toBe(true);
    expect(readFold(unit, 'k', nodes, 9).state).toEqual({ value: 'aaba', ts: 6 });
  });
});

describe('what it costs', () => {
  const many = (n: number, every = 1_000) => Array.from({ length: n }, (_, i) => event((i + 1) * every, `${i % 10}`));

  it('one step for an event in order, none for a read of now', () => {
    const { of, unit } = counting();
    const nodes = new FoldMemory();
    for (const e of many(1_000)) putFold(unit, 'k', nodes, [e]);
    expect(of.steps).toBe(1_000);
    nodes.reads = 0;
    expect((readFold(unit, 'k', nodes, 5_000_000).state as { value: string }).value.length).toBe(1_000);
    expect([of.steps, nodes.reads]).toEqual([1_000, 0]);
  });

  it('some hundred steps for one out of order and for a read of the past, however long the log', () => {
    const { of, unit } = counting();
    const nodes = new FoldMemory();
    putFold(unit, 'k', nodes, many(3_000));
    of.steps = 0;
    putFold(unit, 'k', nodes, [event(2_990_500, 'z')]);
    expect(of.steps).toBeLessThan(300);
    of.steps = 0;
    expect((readFold(unit, 'k', nodes, 1_500_500).state as { value: string }).value.length).toBe(1_500);
    expect(of.steps).toBeLessThan(200);
  });

  it('a settled key keeps no events below, and is indexed by the hours it has events in', () => {
    const { of, unit } = counting();
    const nodes = new FoldMemory();
    putFold(unit, 'k', nodes, many(800, 10_000));
    expect([...nodes.hours].sort((a, b) => a - b)).toEqual([0, HOUR, 2 * HOUR]);
    const before = readFold(unit, 'k', nodes, 2 * HOUR + 500);
    settleFold(unit, 'k', nodes, 2 * HOUR);
    expect(nodes.count(0)).toBe(800 - 719);
    expect(readFold(unit, 'k', nodes, 2 * HOUR + 500)).toEqual(before);
    expect(readFold(unit, 'k', nodes, 2 * HOUR - 10_000)).toEqual({ state: null, floor: 2 * HOUR - 9_999 });
    of.steps = 0;
    settleFold(unit, 'k', nodes, 2 * HOUR);
    expect(of.steps).toBe(0);
    // Nothing can come below it any more: what does is not counted.
    const late = event(HOUR, 'late');
    putFold(unit, 'k', nodes, [late]);
    expect(late.applied).toBe(false);
    expect((readFold(unit, 'k', nodes, 9_000_000).state as { value: string }).value.length).toBe(800);
  });
});
