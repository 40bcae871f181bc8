/** `fabra serve`: features out and events in over HTTP, until it is told to stop. */
import type { AddressInfo } from 'node:net';
import { FabraError } from '../../lib/errors.ts';
import { jsonLogger } from '../../lib/log.ts';
import { checkHost } from '../../runtime/server/auth.ts';
import { compileProject } from '../../registry/compile.ts';
import type { Compiled } from '../../runtime/project.ts';
import { createServer, followApplied } from '../../runtime/server/index.ts';
import { withCompiled } from '../open.ts';
import { plural } from '../output.ts';
import type { Run } from '../spec.ts';

const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_PORT = 8080;
/** How often to look for a newly applied registry. */
const FOLLOW_MS = 1_000;

export const run: Run = call =>
  withCompiled(call, async (opened, compiled) => {
    const { flags, out, signal, env } = call;
    const host = (flags.host as string | undefined) ?? DEFAULT_HOST;
    const wanted = (flags.port as number | undefined) ?? DEFAULT_PORT;
    if (wanted > 65_535) throw new FabraError('BAD_FLAG', `--port ${wanted} is no port`, { hint: 'Ports go up to 65535; 0 lets the system pick one.' });
    const { apiKey } = opened.config;
    checkHost(host, apiKey);
    // A server that fails in silence helps nobody: without FABRA_LOG_LEVEL its errors still reach stderr.
    const log = env.FABRA_LOG_LEVEL ? opened.log : jsonLogger(line => void out.stderr.write(line), 'error');
    const app = createServer({ ...opened, log }, compiled, { apiKey });
    try {
      await app.listen({ host, port: wanted });
      const { address, port, family } = app.server.address() as AddressInfo;
      const url = `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
      const features = Object.keys(compiled.registry.features).length;
      out.answer({ url, host: address, port, pid: process.pid, registry: compiled.registry.hash, features, api_key: apiKey !== null }, () => [
        `serving ${plural(features, 'feature')} at ${url}`,
      ]);
      out.note(apiKey === null ? 'open to this machine alone, without a key' : 'every route but /healthz and /readyz needs the API key', `try: curl ${url}/readyz`);
      const { features: file, dir } = opened.config;
      await followApplied(app, async () => (await compileProject(file, dir)) as unknown as Compiled, {
        everyMs: FOLLOW_MS,
        signal,
        onChange: revision => out.note(`revision ${revision} is applied: serving it`),
        onProblem: text => out.note(`! ${text}`),
      });
    } finally {
      // Answers what is in flight, then closes.
      await app.close();
    }
    return 0;
  });
