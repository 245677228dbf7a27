/**
 * Writing to a file descriptor in order, whatever it is: terminal, pipe, file.
 * Runs on: main event loop; the writes themselves run on the host's thread pool, so a slow reader never blocks the loop.
 */
import { write, writeSync } from 'node:fs';
import type { Sink } from './output-queue.ts';

/** A pipe or terminal in non-blocking mode was full: look again. */
const RETRY_MS = 5;

export function descriptorSink(fd: number): Sink {
  return async (bytes) => {
    for (let at = 0; at < bytes.length;) {
      at += await writeSome(fd, bytes.subarray(at));
    }
  };
}

function writeSome(fd: number, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, null, (error, written) => {
      if (!error) resolve(written);
      else if (error.code === 'EAGAIN') setTimeout(() => resolve(0), RETRY_MS);
      else if (error.code === 'EINTR') resolve(0);
      else reject(error);
    });
  });
}

/** Last words when the process is about to end: as much as goes out at once. */
export function writeNow(fd: number, bytes: Uint8Array): void {
  let tries = 100;
  for (let at = 0; at < bytes.length && tries > 0;) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      tries--;
    }
  }
}
