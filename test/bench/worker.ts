/** Worker throughput with the clickstream template's features (19 over three entities), history writing included: worker [events] [batch size] [seven] */
import { runWorker } from '../../src/runtime/worker.ts';
import { fill, rate, scratch } from './support.ts';

const events = Number(process.argv[2] ?? 500_000);
const s = await scratch(process.argv[4] === 'seven');
await fill(s, events);
const spent = { commit: 0, history: 0 };
const { online, history } = s.project;
const commit = online.commit.bind(online);
online.commit = async batch => {
  const t = performance.now();
  const r = await commit(batch);
  spent.commit += performance.now() - t;
  return r;
};
const write = history.write.bind(history);
history.write = async (...args) => {
  const t = performance.now();
  await write(...args);
  spent.history += performance.now() - t;
};
const cpu = process.cpuUsage();
const began = performance.now();
const summary = await runWorker(s.project, s.compiled, {
  untilIdle: true,
  batchSize: Number(process.argv[3]) > 0 ? Number(process.argv[3]) : undefined,
  signal: new AbortController().signal,
});
const ms = performance.now() - began;
const used = process.cpuUsage(cpu);
const us = (x: number) => `${((x * 1000) / summary.read).toFixed(1)} us`;
console.log(
  `worker: ${summary.read} events in ${(ms / 1000).toFixed(1)} s = ${rate(summary.read, ms)}; CPU ${us((used.user + used.system) / 1000)} an event = ${rate(summary.read, (used.user + used.system) / 1000)} per core`,
);
console.log(`  of it: commit ${us(spent.commit)}, history ${us(spent.history)}, decode, admit and route ${us(ms - spent.commit - spent.history)}`);
await s.done();
