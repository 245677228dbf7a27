/**
 * The one error class: an errno-like code and a message that names the flag or field, the value and what is accepted.
 * Implements: style rule "errors"; errno names as in errno(2), and EDOOFUS for our own mistakes.
 * Runs on: any thread.
 */
export type ErrorCode =
  | 'EINVAL'
  | 'EEXIST'
  | 'ENOENT'
  | 'EBUSY'
  | 'EALREADY'
  | 'EFAULT'
  | 'ENOMEM'
  | 'ENOSPC'
  | 'ENAMETOOLONG'
  | 'ENXIO'
  | 'ENODEV'
  | 'ENOTSUP'
  | 'EOPNOTSUPP'
  | 'ENOTTY'
  | 'ESRCH'
  | 'EIO'
  | 'EFBIG'
  | 'EACCES'
  | 'ENOEXEC'
  | 'ETIMEDOUT'
  | 'ECONNREFUSED'
  | 'ERANGE'
  | 'EPERM'
  | 'EBADMSG'
  | 'EUSAGE'
  | 'EDOOFUS';

export class VmError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'VmError';
    this.code = code;
  }
}

/** For our own mistakes only: nothing that a guest or a user does may reach it. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new VmError('EDOOFUS', message);
}
