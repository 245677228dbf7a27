/**
 * The file that text about compiled code goes to.
 * Runs on: main event loop.
 */
import { openSync } from 'node:fs';
import { hostError } from './boot-files.ts';
import { TRACE_STDERR } from './config/settings.ts';

const STDERR_FD = 2;

/** @throws VmError of the system's code, when the file cannot be written. @returns a descriptor */
export function openTrace(path: string): number {
  if (path === TRACE_STDERR) return STDERR_FD;
  try {
    return openSync(path, 'w');
  } catch (cause) {
    throw hostError('cpu.tracejit', path, cause, 'written');
  }
}
