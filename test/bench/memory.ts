/** Peak anonymous memory of a worker at 1x and 10x events (files mapped by the store apart), each in a process of its own: memory [events] */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { runWorker } from '../../src/runtime/worker.ts';
import { fill, scratch } from './support.ts';

const events = Number(process.argv[2] ?? 300_000);
if (process.argv[3] === 'child') {
  const s = await scratch();
  await fill(s, events);
  global.gc?.();
  const anonymous = () => Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0) / 1024;
  const before = anonymous();
  let peak = before;
  const look = () => {
    peak = Math.max(peak, anonymous());
  };
  const timer = setInterval(look, 20);
  const { read } = await runWorker(s.project, s.compiled, { untilIdle: true, signal: new AbortController().signal, onProgress: look });
  clearInterval(timer);
  console.log(`memory: ${read} events: ${before.toFixed(0)} MB before, peak ${peak.toFixed(0)} MB anonymous`);
  await s.done();
} else for (const n of [events, events * 10]) spawnSync(process.execPath, ['--expose-gc', process.argv[1]!, String(n), 'child'], { stdio: 'inherit' });
