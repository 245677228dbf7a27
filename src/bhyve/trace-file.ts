/**
 * The file that text about compiled code goes to. Each text is written at once, on the thread that made it: what has been written is not lost,
 * however the program ends.
 * Runs on: the main event loop opens it, the thread that compiles writes.
 */
import { openSync, writeSync } from 'node:fs';
import { hostError } from './boot-files.ts';
import { TRACE_STDERR } from './config/settings.ts';

const STDERR_FD = 2;
const RETRY_MS = 2;

/** @throws VmError of the system's code, when the file cannot be written. @returns a descriptor */
export function openTrace(path: string): number {
  if (path === TRACE_STDERR) return STDERR_FD;
  try {
    return openSync(path, 'w');
  } catch (cause) {
    throw hostError('cpu.tracejit', path, cause, 'written');
  }
}

/** @param failed is told when the reader is gone, or the disk is full: nothing more is written then */
export function traceWriter(fd: number, failed: (reason: string) => void): (text: string) => void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  let isOpen = true;
  return (text) => {
    const bytes = Buffer.from(text);
    for (let at = 0; isOpen && at < bytes.length;)
      try {
        at += writeSync(fd, bytes, at);
      } catch (error) {
        // A pipe may be in non-blocking mode, and full.
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') Atomics.wait(pause, 0, 0, RETRY_MS);
        else {
          isOpen = false;
          failed(String(error));
        }
      }
  };
}
