/** Records and bytes that window state writes per event, adaptive tree against a fixed ladder (leaves that split at once): tree */
import { admit, newAdmitState } from '../../src/engine/admit.ts';
import { Decoder } from '../../src/engine/decode.ts';
import { compileGroups } from '../../src/engine/group.ts';
import { readUnits } from '../../src/engine/read.ts';
import { Router } from '../../src/engine/route.ts';
import { applyRows, type PendingRow } from '../../src/engine/tree.ts';
import { MemoryNodes } from '../support/memory-nodes.ts';
import { fill, quantiles, scratch } from './support.ts';

class Counting extends MemoryNodes {
  static records = 0;
  static bytes = 0;
  override put(level: number, start: number, bytes: Buffer): void {
    Counting.records++;
    Counting.bytes += bytes.length;
    super.put(level, start, bytes);
  }
}

const s = await scratch();
await fill(s, 100_000);
const { registry, code } = s.compiled;
const groups = [...compileGroups(registry).groups.values()];
const decoder = new Decoder(registry, 'events_raw', code.schemas);
for (const batch of [100, 5_000])
  for (const most of [0, 16, 64, 128, 256, 1024]) {
    Counting.records = 0;
    Counting.bytes = 0;
    const state = newAdmitState();
    const router = new Router(groups);
    const nodes = new Map<string, Counting>();
    const began = performance.now();
    for (let from = 0; ; ) {
      const records = await s.project.bus.poll('events_raw', 0, from, batch);
      if (records.length === 0) break;
      from = records[records.length - 1]!.offset + 1;
      const parts = new Map<string, { group: (typeof groups)[number]; rows: PendingRow[] }>();
      for (const r of records) {
        const d = decoder.decode(r, 0);
        if (!d.ok || admit(state, registry.streams.events_raw!, d.event.ts, d.event.appended) !== 'ok') continue;
        router.route(d.event, (group, key, row) => {
          const id = `${group.id}|${key}`;
          if (!parts.has(id)) parts.set(id, { group, rows: [] });
          parts.get(id)!.rows.push(row);
        });
      }
      for (const [id, { group, rows }] of parts) {
        let n = nodes.get(id);
        if (!n) nodes.set(id, (n = new Counting()));
        applyRows(group, n, rows, most);
      }
    }
    const ms = performance.now() - began;
    const stored = [...nodes.values()].reduce((sum, n) => sum + [...n.nodes.values()].reduce((b, x) => b + x.bytes.length, 0), 0);
    const times: number[] = [];
    const hot = [...nodes]
      .filter(([id]) => id.startsWith('product'))
      .sort((a, b) => b[1].nodes.size - a[1].nodes.size)
      .slice(0, 20);
    const product = groups.find(g => g.entity === 'product')!;
    for (let i = 0; i < 400; i++)
      for (const [, n] of hot) {
        const t = performance.now();
        readUnits(
          product,
          n,
          Date.UTC(2025, 0, 15) + ((i * 7_919_131) % 86_400_000),
          product.units.map(u => u.index),
        );
        times.push((performance.now() - t) * 1000);
      }
    console.log(
      `batch ${batch}, split above ${most}: ${(Counting.records / 100_000).toFixed(2)} records and ${(Counting.bytes / 100_000).toFixed(0)} bytes written an event, ${(stored / 1e6).toFixed(1)} MB stored, ${(ms / 100).toFixed(1)} us an event in memory; 20 hottest products ${quantiles(times)}`,
    );
  }
await s.done();
