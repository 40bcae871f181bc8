/** Who may ask: the API key, and where a server without one may listen. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isIPv4, isIPv6 } from 'node:net';
import { FabraError } from '../../lib/errors.ts';

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Compares in constant time, whatever the lengths. */
export function keyCheck(apiKey: string): (headers: IncomingHttpHeaders) => boolean {
  const wanted = digest(apiKey);
  const same = (given: string): boolean => timingSafeEqual(digest(given), wanted);
  return headers => {
    const own = headers['x-api-key'];
    if (typeof own === 'string' && same(own)) return true;
    const bearer = /^bearer +(.+)$/i.exec(headers.authorization ?? '')?.[1];
    return bearer !== undefined && same(bearer.trim());
  };
}

/** Body of the 403: the same for no key and for a wrong one. */
export const FORBIDDEN = JSON.stringify({
  error: { code: 'FORBIDDEN', message: 'the API key is missing or wrong', hint: 'Send it as "authorization: Bearer <key>" or "x-api-key: <key>".', path: null },
});

export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (bare === 'localhost' || bare === '::1' || bare === '0:0:0:0:0:0:0:1') return true;
  if (isIPv6(bare)) return /^::ffff:127\./.test(bare);
  return isIPv4(bare) && bare.startsWith('127.');
}

/** @throws FabraError BAD_CONFIG for an address others can reach, without a key. */
export function checkHost(host: string, apiKey: string | null): void {
  if (apiKey || isLoopback(host)) return;
  throw new FabraError('BAD_CONFIG', `${host || 'this host'} can be reached by others, and no API key is set`, {
    hint: 'Set FABRA_API_KEY (in .env, say) and start again, or leave --host out to serve this machine alone.',
  });
}
