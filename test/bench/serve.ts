/**
 * POST /v1/features over HTTP against a bare node:http JSON echo in the same run: serve [seconds]. The servers run one after the other on
 * core 0, the load on another; the ratio is of requests a second, and of CPU time a request (which the load generator cannot blur).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import http from 'node:http';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { createServer } from '../../src/runtime/server/index.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { fill, rate, scratch } from './support.ts';

const role = process.argv[2];
const CONNECTIONS = 16;
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** The load asks for the CPU time used so far. */
function answerCpu(): void {
  process.stdin.setEncoding('utf8').on('data', (text: string) => {
    if (text.includes('cpu')) {
      const { user, system } = process.cpuUsage();
      say({ cpu: user + system });
    }
  });
}

async function echo(): Promise<void> {
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (c: Buffer) => chunks.push(c));
    request.on('end', () => {
      const text = JSON.stringify(JSON.parse(Buffer.concat(chunks).toString('utf8')));
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
      response.end(text);
    });
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  say({ port: (server.address() as AddressInfo).port, bodies: null });
}

async function serve(): Promise<void> {
  const s = await scratch();
  process.on('disconnect', () => void s.done());
  await fill(s, 100_000);
  await runWorker(s.project, s.compiled, { untilIdle: true, signal: new AbortController().signal });
  const view = await s.project.history.open(s.compiled);
  const users = await view.sampleKeys('user', 2_000, 1);
  const products = await view.sampleKeys('product', 1_000, 1);
  const sessions = await view.sampleKeys('session', 2_000, 1);
  await view.close();
  const app = createServer(s.project, s.compiled);
  await app.listen({ host: '127.0.0.1', port: 0 });
  const features = Object.values(s.compiled.registry.features).map(f => f.name);
  const bodies = Array.from({ length: 2_000 }, (_, i) => {
    const [user_id, session_id] = sessions[i % sessions.length]!;
    const entities = { user_id: [i % 2 ? user_id : users[i % users.length]![0]], session_id: [session_id], product_id: [products[i % products.length]![0]] };
    return JSON.stringify({ entities, features, as_of: Date.UTC(2025, 0, 15) + ((i * 7_919_131) % 86_400_000), request: { cart_total: 12.5 } });
  });
  say({ port: (app.server.address() as AddressInfo).port, bodies, features: features.length });
}

interface Up {
  child: ChildProcess;
  port: number;
  bodies: string[] | null;
  cpu(): Promise<number>;
}

async function start(which: string): Promise<Up> {
  const child = spawn('taskset', ['-c', '0', process.execPath, process.argv[1]!, which], { stdio: ['pipe', 'pipe', 'inherit'] });
  let waiting: ((line: Record<string, unknown>) => void) | null = null;
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (t: string) => {
    text += t;
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n')) {
      waiting?.(JSON.parse(text.slice(0, at)) as Record<string, unknown>);
      text = text.slice(at + 1);
    }
  });
  const next = () => new Promise<Record<string, unknown>>(resolve => (waiting = resolve));
  const first = (await next()) as unknown as { port: number; bodies: string[] | null };
  return {
    child,
    ...first,
    async cpu() {
      const answer = next();
      child.stdin.write('cpu\n');
      return (await answer).cpu as number;
    },
  };
}

/** Requests on raw sockets, one in flight each: a client library would cost more than the server. */
async function load(port: number, bodies: string[], ms: number): Promise<{ done: number; times: number[]; bytes: number }> {
  const requests = bodies.map(b => Buffer.from(`POST /v1/features HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(b)}\r\n\r\n${b}`));
  let done = 0;
  let bytes = 0;
  const times: number[] = [];
  const end = performance.now() + ms;
  await Promise.all(
    Array.from(
      { length: CONNECTIONS },
      (_, c) =>
        new Promise<void>((resolve, reject) => {
          let i = c * 101;
          let sent = 0;
          let got = 0;
          let total = -1;
          const socket = net.connect(port, '127.0.0.1').setNoDelay(true);
          const send = (): void => {
            if (performance.now() >= end) return void socket.end(resolve);
            sent = performance.now();
            got = 0;
            total = -1;
            socket.write(requests[i++ % requests.length]!);
          };
          socket.on('connect', send).on('error', reject);
          socket.on('data', chunk => {
            got += chunk.length;
            if (total < 0) {
              const head = chunk.toString('latin1', 0, 600);
              if (!head.startsWith('HTTP/1.1 200')) return reject(new Error(chunk.toString()));
              total = head.indexOf('\r\n\r\n') + 4 + Number(/content-length: (\d+)/i.exec(head)![1]);
            }
            if (got < total) return;
            done++;
            bytes += got;
            times.push((performance.now() - sent) * 1000);
            send();
          });
        }),
    ),
  );
  return { done, times, bytes };
}

async function measure(): Promise<void> {
  const ms = Number(role ?? 5) * 1000;
  const served = await start('serve');
  const bare = await start('echo');
  const bodies = served.bodies!;
  const rounds: { name: string; up: Up }[] = [1, 2, 3].flatMap(() => [
    { name: 'echo', up: bare },
    { name: 'serve', up: served },
  ]);
  await load(served.port, bodies, 2_000);
  await load(bare.port, bodies, 2_000);
  const best: Record<string, { rps: number; cpu: number }> = {};
  for (const { name, up } of rounds) {
    const before = await up.cpu();
    const { done, times, bytes } = await load(up.port, bodies, ms / 3);
    const cpu = ((await up.cpu()) - before) / done;
    times.sort((a, b) => a - b);
    console.log(
      `${name}: ${rate(done, ms / 3)}, ${cpu.toFixed(1)} us CPU a request, ${Math.round(bytes / done)} bytes an answer, p50 ${times[times.length >> 1]!.toFixed(0)} us, p99 ${times[Math.floor(times.length * 0.99)]!.toFixed(0)} us`,
    );
    if (!best[name] || best[name].cpu > cpu) best[name] = { rps: (done / ms) * 3000, cpu };
  }
  const { echo: e, serve: f } = best;
  console.log(`serve: ${((f!.rps / e!.rps) * 100).toFixed(0)} % of the bare echo's requests a second, ${((e!.cpu / f!.cpu) * 100).toFixed(0)} % by CPU time (bar: 40 %)`);
  for (const { child } of [served, bare]) child.kill();
}

if (role === 'echo' || role === 'serve') {
  answerCpu();
  await (role === 'echo' ? echo() : serve());
} else await measure();
