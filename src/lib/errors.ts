/**
 * Every error a user can meet, in one table: exit code (1 the check failed, 2 the user's definitions, flags or data,
 * 3 the environment) and HTTP status. The message says what happened, the hint what to type next.
 */
const TABLE = {
  BAD_DURATION: [2, 400],
  BAD_TIME: [2, 400],
  BAD_KEY: [2, 400],
  BAD_FLAG: [2, 400],
  BAD_REQUEST: [2, 400],
  BAD_CONFIG: [2, 500],
  BAD_DEFINITION: [2, 500],
  COMPILE_FAILED: [2, 500],
  NO_PROJECT: [2, 500],
  NOT_APPLIED: [2, 503],
  BREAKING_CHANGE: [2, 409],
  CONSENT_NEEDED: [2, 409],
  UNKNOWN_FEATURE: [2, 404],
  UNKNOWN_ENTITY: [2, 404],
  UNKNOWN_SERVICE: [2, 404],
  UNKNOWN_EVENT: [2, 404],
  UNKNOWN_STREAM: [2, 404],
  UNKNOWN_TEMPLATE: [2, 404],
  UNKNOWN_TOPIC: [2, 404],
  BAD_EVENT: [2, 422],
  NAME_COLLISION: [2, 400],
  BAD_SPINE: [2, 400],
  BAD_QUERY: [2, 400],
  BAD_ROWS: [2, 422],
  BAD_VALUE: [2, 422],
  UNKNOWN_SOURCE: [2, 422],
  NOT_REPLAYABLE: [2, 400],
  NOT_MATERIALIZED: [2, 409],
  STALE_FEATURES: [1, 503],
  SOURCE_FAILED: [3, 503],
  JOB_BUSY: [3, 409],
  BAD_FILE: [2, 400],
  TRUNCATED_INPUT: [2, 400],
  FILE_NOT_FOUND: [2, 404],
  FILE_EXISTS: [2, 409],
  DIRECTORY_NOT_EMPTY: [1, 409],
  AS_OF_EXPIRED: [2, 410],
  NOT_FOUND: [2, 404],
  PARITY_BREACH: [1, 500],
  NOTHING_COMPARED: [1, 500],
  CHECK_FAILED: [1, 500],
  HISTORY_STALE: [2, 503],
  WRITER_BUSY: [3, 503],
  FENCED: [3, 503],
  ROLLBACK: [3, 503],
  DISK_FULL: [3, 507],
  DISK: [3, 500],
  STORE_FAILED: [3, 503],
  STORE_INCOMPATIBLE: [3, 503],
  FORBIDDEN: [2, 403],
  PORT_TAKEN: [3, 503],
  TOO_LARGE: [2, 413],
  OVERLOADED: [3, 503],
  TIMEOUT: [3, 504],
  UNSUPPORTED: [2, 501],
  INTERRUPTED: [130, 499],
  INTERNAL: [3, 500],
} as const satisfies Record<string, readonly [exit: number, http: number]>;

export type ErrorCode = keyof typeof TABLE;

export interface ErrorDetail {
  /** What to type or do next. */
  hint?: string;
  /** file:line of the definition, or line of the data file. */
  where?: string;
  /** Path inside a request body. */
  path?: string;
  /** The same call may succeed later. */
  retry?: boolean;
  cause?: unknown;
  /** The single problems of a compile. */
  problems?: Problem[];
}

export interface Problem {
  code: ErrorCode;
  message: string;
  hint?: string;
  where?: string;
}

/** The one error class; `code` decides exit code and HTTP status. */
export class FabraError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly where: string | undefined;
  readonly path: string | undefined;
  readonly retry: boolean;
  readonly problems: Problem[] | undefined;
  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = 'FabraError';
    this.code = code;
    this.hint = detail.hint;
    this.where = detail.where;
    this.path = detail.path;
    this.retry = detail.retry ?? false;
    this.problems = detail.problems;
  }
  get exitCode(): number {
    return TABLE[this.code][0];
  }
  get httpStatus(): number {
    return TABLE[this.code][1];
  }
  /** `{error: ...}` body for JSON output and HTTP answers. */
  toJSON(): { error: Record<string, unknown> } {
    const { code, message, hint, where, path, problems } = this;
    return { error: { code, message, hint: hint ?? null, ...(where && { where }), ...(path && { path }), ...(problems && { problems }) } };
  }
}

/** Turns whatever was thrown into a coded error; the store's and the disk's own words become ours. */
export function toFabraError(e: unknown): FabraError {
  if (e instanceof FabraError) return e;
  const err = e instanceof Error ? e : new Error(String(e));
  const code = (err as NodeJS.ErrnoException).code;
  const text = err.message;
  if (code === 'ENOSPC' || /No space left|ENOSPC|MDB_MAP_FULL|disk full/i.test(text))
    return new FabraError('DISK_FULL', 'no space is left on the disk of the project', {
      hint: 'Free some space (df -h shows how much), then run the same command again: nothing was half written.',
      cause: err,
    });
  if (code === 'ENOENT')
    return new FabraError('FILE_NOT_FOUND', `no such file: ${(err as NodeJS.ErrnoException).path ?? text}`, {
      hint: 'Check the path.',
      cause: err,
    });
  if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM')
    return new FabraError('DISK', `not allowed: ${(err as NodeJS.ErrnoException).path ?? text}`, {
      hint: 'Check the owner and the mode of the file or folder.',
      cause: err,
    });
  if (code === 'EADDRINUSE')
    return new FabraError('PORT_TAKEN', 'the port is taken by another process', { hint: 'Choose another: --port 0 lets the system pick one.', cause: err });
  return new FabraError('INTERNAL', text || 'an unexpected error', {
    hint: 'Run again with FABRA_DEBUG=1 for the stack, and report it.',
    cause: err,
  });
}
