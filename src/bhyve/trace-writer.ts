/**
 * Writes text about compiled code to an open file. Each text is written at once, on the thread that made it: what has been written is not
 * lost, however the program ends.
 * Runs on: the thread that compiles.
 */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';

const RETRY_MS = 2;

/** @param failed is told when the reader is gone, or the disk is full: nothing more is written then */
export function traceWriter(fd: number, failed: (reason: string) => void): (text: string) => void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  // A console in raw mode begins no line by itself.
  const isTerminal = isatty(fd);
  let isOpen = true;
  return (text) => {
    const bytes = Buffer.from(isTerminal ? text.replaceAll('\n', '\r\n') : text);
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
