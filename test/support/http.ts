/** A server over definitions made in a test, on the embedded stores. */
import type { FastifyInstance } from 'fastify';
import type { Clock } from '../../src/lib/clock.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { compileDefinitions } from '../../src/registry/compile.ts';
import { applyRegistry } from '../../src/runtime/apply.ts';
import type { Compiled } from '../../src/runtime/project.ts';
import { createServer } from '../../src/runtime/server/index.ts';
import { runWorker } from '../../src/runtime/worker.ts';
import { newDir, openTestProject, type TestProject } from './project.ts';

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: what is asserted is its shape
  body: any;
}

export interface TestServer {
  project: TestProject;
  compiled: Compiled;
  app: FastifyInstance;
  url: string;
  get(path: string, init?: RequestInit): Promise<Answer>;
  post(path: string, body: unknown): Promise<Answer>;
  /** Appends events and applies them. */
  feed(stream: string, events: readonly object[]): Promise<void>;
  close(): Promise<void>;
}

export async function serveDefinitions(name: string, defs: Record<string, unknown>, options: { dir?: string; clock?: Clock } = {}): Promise<TestServer> {
  const compiled = compileDefinitions(defs) as unknown as Compiled;
  const project = { ...(await openTestProject(options.dir ?? newDir(name))), clock: options.clock ?? systemClock };
  await applyRegistry(project, compiled, { newVersion: false, consent: false });
  const app = createServer(project, compiled);
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const get = async (path: string, init: RequestInit = {}): Promise<Answer> => {
    const response = await fetch(url + path, init);
    const text = await response.text();
    return { status: response.status, body: response.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : text };
  };
  return {
    project,
    compiled,
    app,
    url,
    get,
    post: (path, body) => get(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    async feed(stream, events) {
      await project.bus.append(
        stream,
        events.map(e => ({ bytes: Buffer.from(JSON.stringify(e)) })),
        project.clock.now(),
      );
      await runWorker({ ...project, clock: systemClock }, compiled, { untilIdle: true, signal: new AbortController().signal });
    },
    async close() {
      await app.close();
      await project.close();
    },
  };
}
