/** Structured logs: one JSON line each. `src/cli` decides where the lines go. */
export type Level = 'debug' | 'info' | 'warn' | 'error';
const RANK: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 };

export interface Logger {
  readonly level: Level;
  log(level: Level, fields: Record<string, unknown>): void;
}

export function jsonLogger(write: (line: string) => void, level: Level = 'info'): Logger {
  return {
    level,
    log(at, fields) {
      if (RANK[at] >= RANK[level]) write(`${JSON.stringify({ level: at, ...fields })}\n`);
    },
  };
}

export const silentLogger: Logger = { level: 'error', log: () => {} };
