/** `fabra serve`: features out and events in over HTTP, until it is told to stop. */
import type { AddressInfo } from 'node:net';
import { jsonLogger } from '../../lib/log.ts';
import { compileProject } from '../../registry/compile.ts';
import { createServer } from '../../runtime/server/index.ts';
import { checkHost } from '../../runtime/server/auth.ts';
import { plural } from '../output.ts';
import type { Run } from '../spec.ts';
import { openConfig, openProject } from '../wire.ts';

export const DEFAULT_HOST = '127.0.0.1';
export const DEFAULT_PORT = 8080;

export const run: Run = async call => {
  const { flags, out, signal } = call;
  const host = (flags.host as string | undefined) ?? DEFAULT_HOST;
  const config = await openConfig(call);
  checkHost(host, config.apiKey);
  const compiled = await compileProject(config.features, config.dir);
  const log = jsonLogger(line => void out.stderr.write(line));
  const project = await openProject(call, { log });
  try {
    const app = createServer(project, compiled, { apiKey: config.apiKey });
    try {
      await app.listen({ host, port: (flags.port as number | undefined) ?? DEFAULT_PORT });
      const { address, port, family } = app.server.address() as AddressInfo;
      const url = `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
      const features = Object.keys(compiled.registry.features).length;
      out.answer({ url, host: address, port, pid: process.pid, registry: compiled.registry.hash, features, api_key: config.apiKey !== null }, () => [`serving ${plural(features, 'feature')} at ${url}`]);
      out.note(config.apiKey === null ? 'open to this machine, no API key' : 'every route but /healthz and /readyz needs the API key', `try: curl ${url}/readyz`);
      await stopped(signal);
    } finally {
      // Answers what is in flight, then closes.
      await app.close();
    }
  } finally {
    await project.close();
  }
  return 0;
};

const stopped = (signal: AbortSignal): Promise<void> =>
  new Promise(resolve => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
