/**
 * A serial port on a terminal device: a real line, one end of a null modem, a pseudo-terminal.
 * Implements: bhyve(8) `-l comN,/dev/xxx`: raw mode, the line's modem signals ignored.
 * Runs on: main event loop.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { ReadStream, isatty } from 'node:tty';
import { VmError } from '../../base/errors.ts';
import { QueuedBackend } from './char-port.ts';
import type { OpenBackend } from './char-port.ts';
import { descriptorSink } from './host-files.ts';

/** @throws VmError when the path cannot be opened or is not a terminal. */
export function openTty(flag: string, path: string): OpenBackend {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new VmError('ENOENT', `${flag} ${path}: cannot be opened (${code}); expected stdio, none, a tty path or tcp=HOST:PORT`, {
      cause,
    });
  }
  if (!isatty(fd)) {
    closeSync(fd);
    throw new VmError('ENOTTY', `${flag} ${path}: not a terminal; expected stdio, none, a tty path or tcp=HOST:PORT`);
  }
  const input = new ReadStream(fd);
  input.setRawMode(true);
  const backend = new QueuedBackend({
    sink: descriptorSink(fd),
    setFlowing: (flowing) => {
      if (flowing) input.resume();
      else input.pause();
    },
    close: () => {
      input.setRawMode(false);
      input.destroy();
    },
  });
  // The other end of a pseudo-terminal may come and go: EIO is no reason to stop the guest.
  input.on('error', () => {});
  input.on('data', (bytes: Buffer) => backend.input.push(bytes));
  return backend;
}
