/**
 * Names of serial backends as they stand in `-l comN,BACKEND` and `lpc.comN.path`.
 * Implements: bhyve(8) serial backends: stdio, a tty path, tcp=ip:port; `none` is ours. Runs on: main event loop.
 */
import { VmError } from '../../base/errors.ts';
import { quote } from '../config/numbers.ts';

export type BackendName =
  | { readonly kind: 'stdio' }
  | { readonly kind: 'none' }
  | { readonly kind: 'tty'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** @throws VmError EINVAL naming the port, the value and what is accepted. */
export function parseBackend(flag: string, text: string): BackendName {
  if (text === 'stdio' || text === 'none') return { kind: text };
  if (text.startsWith('tcp=')) {
    const match = /^tcp=(\[[0-9a-fA-F:.%\w]+\]|[^:[\]]+):([0-9]{1,5})$/.exec(text);
    const host = match?.[1]?.replace(/^\[|\]$/g, '');
    const port = Number(match?.[2] ?? Number.NaN);
    if (host !== undefined && port <= 65_535) return { kind: 'tcp', host, port };
  } else if (text.startsWith('/')) return { kind: 'tty', path: text };
  throw new VmError('EINVAL', `${flag} ${quote(text)}: unknown backend; expected stdio, none, a tty path (/dev/...) or tcp=HOST:PORT`);
}
