/**
 * Open the serial backends a configuration names, before the machine is built: what can fail (listen, open) fails here, by name.
 * Runs on: main event loop.
 */
import { VmError } from '../../base/errors.ts';
import { openNone } from './char-port.ts';
import type { OpenBackend } from './char-port.ts';
import { parseBackend } from './backend-name.ts';
import { openTcp } from './tcp.ts';
import { openTty } from './tty.ts';

/** A serial port and the backend it is to have. */
export interface BackendRequest {
  /** `com1`. */
  readonly port: string;
  readonly backend: string;
}

/**
 * @param openStdio the one console of the process; asked for at most once.
 * @throws VmError naming port, backend and cause; whatever was opened before is closed.
 */
export async function openBackends(
  requests: readonly BackendRequest[],
  openStdio: (port: string) => OpenBackend,
): Promise<Map<string, OpenBackend>> {
  const opened = new Map<string, OpenBackend>();
  const parsed = requests.map(({ port, backend }) => ({ port, name: parseBackend(`-l ${port}`, backend) }));
  let console: string | undefined;
  for (const { port, name } of parsed) {
    if (name.kind !== 'stdio') continue;
    if (console !== undefined) {
      throw new VmError('EBUSY', `-l ${port},stdio: ${console} has stdio already; expected one of none, a tty path or tcp=HOST:PORT`);
    }
    console = port;
  }
  try {
    for (const { port, name } of parsed) {
      // The terminal last: an error of another port is printed on a terminal in its usual mode.
      if (name.kind === 'tcp') opened.set(port, await openTcp(`-l ${port}`, name.host, name.port));
      else if (name.kind === 'tty') opened.set(port, openTty(`-l ${port}`, name.path));
      else if (name.kind === 'none') opened.set(port, openNone());
    }
    if (console !== undefined) opened.set(console, openStdio(console));
  } catch (error) {
    await Promise.all([...opened.values()].map((backend) => backend.close()));
    throw error;
  }
  return opened;
}
