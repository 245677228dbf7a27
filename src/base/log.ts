/**
 * The log interface that is handed to every part; the host decides where lines go.
 * Runs on: any thread that was given one.
 */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

/** Message: what, value, consequence. Plain calls are rate limited: a guest can cause them. */
export interface Log {
  error(message: string): void;
  warn(message: string): void;
  info(message: string): void;
  debug(message: string): void;
  /** A log for a named instance: `com1`, `pci0:3:0`. */
  named(instance: string): Log;
}

const RATE_LINES = 20;
const RATE_WINDOW_MS = 1000;

/** A log that passes at most 20 lines a second to `write`, saying how many it swallowed. */
export function createLog(write: (level: LogLevel, line: string) => void, nowMs: () => number, instance = ''): Log {
  let windowStartMs = nowMs();
  let lines = 0;
  const line = (level: LogLevel, message: string): void => {
    const now = nowMs();
    if (now - windowStartMs >= RATE_WINDOW_MS) {
      if (lines > RATE_LINES) write('warn', `${instance}${instance && ': '}${lines - RATE_LINES} further messages suppressed`);
      windowStartMs = now;
      lines = 0;
    }
    if (++lines <= RATE_LINES) write(level, instance ? `${instance}: ${message}` : message);
  };
  return {
    error: (message) => line('error', message),
    warn: (message) => line('warn', message),
    info: (message) => line('info', message),
    debug: (message) => line('debug', message),
    named: (child) => createLog(write, nowMs, child),
  };
}

export const silentLog: Log = { error() {}, warn() {}, info() {}, debug() {}, named: () => silentLog };
