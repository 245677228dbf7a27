/**
 * This process as `runInForeground` sees it.
 * Runs on: main event loop.
 */
import { writeNow } from './chars/host-files.ts';
import type { ForegroundProcess } from './foreground.ts';

const STDOUT = 1,
  STDERR = 2;

/** @param writeError where messages go; default: file descriptor 2, at once. */
export function nodeProcess(
  writeError: (text: string) => unknown = (text) => writeNow(STDERR, new TextEncoder().encode(text)),
): ForegroundProcess {
  return {
    get stdin() {
      return process.stdin;
    },
    stdoutFd: STDOUT,
    writeError: (text) => {
      writeError(text);
    },
    on: (event, listener) => process.on(event, listener),
    off: (event, listener) => process.off(event, listener),
    onSignal: (signal, listener) => {
      process.on(signal, listener);
    },
    offSignal: (signal, listener) => {
      process.off(signal, listener);
    },
    onFatal: (listener) => {
      process.on('uncaughtException', listener);
      process.on('unhandledRejection', listener);
    },
    offFatal: (listener) => {
      process.off('uncaughtException', listener);
      process.off('unhandledRejection', listener);
    },
    die: (signal) => {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    },
    exit: (status) => process.exit(status),
    windowSize: () => (process.stdout.isTTY ? { columns: process.stdout.columns, rows: process.stdout.rows } : undefined),
  };
}
