import { FabraError } from '../../lib/errors.ts';

/** The file ends, or stops making sense, before its own end: all rows up to `line` were read and handed over. */
export class TruncatedInput extends FabraError {
  /** Last line that was read whole; 0 when none was. */
  line = 0;
  readonly file: string;
  constructor(file: string, what: string, cause?: unknown) {
    super('TRUNCATED_INPUT', `${file}: ${what}`, { hint: 'Copy or download the file again, then run the same command: rows already taken are not counted twice.', cause });
    this.name = 'TruncatedInput';
    this.file = file;
  }
}

/** A file that cannot be read as what it says it is. */
export const badFile = (file: string, what: string, hint: string): FabraError => new FabraError('BAD_FILE', `${file}: ${what}`, { hint, where: file });
