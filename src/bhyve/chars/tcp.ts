/**
 * A serial port on a TCP listener.
 * Implements: bhyve(8) `-l comN,tcp=ip:port`: one client at a time, further ones are dropped at once; what the guest writes while nobody is
 * connected is lost, as on a line without a reader.
 * Runs on: main event loop.
 */
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { VmError } from '../../base/errors.ts';
import { QueuedBackend } from './char-port.ts';
import type { OpenBackend } from './char-port.ts';

export interface TcpBackend extends OpenBackend {
  /** The port listened on, the host's choice when 0 was asked for. */
  readonly port: number;
}

/** @throws VmError when the address cannot be listened on. */
export async function openTcp(flag: string, host: string, port: number): Promise<TcpBackend> {
  const clients: { current: Socket | undefined } = { current: undefined };
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    if (clients.current) {
      socket.destroy();
      return;
    }
    clients.current = socket;
    socket.on('data', (bytes: Buffer) => backend.input.push(bytes));
    socket.on('close', () => {
      if (clients.current === socket) clients.current = undefined;
    });
  });
  const backend = new QueuedBackend({
    sink: (bytes) =>
      new Promise((resolve) => {
        const socket = clients.current;
        if (!socket || socket.destroyed) {
          resolve();
          return;
        }
        // 'close' settles it for a client that vanishes while it is being written to.
        const done = (): void => {
          socket.off('close', done);
          resolve();
        };
        socket.once('close', done);
        socket.write(bytes, done);
      }),
    setFlowing: (flowing) => {
      if (flowing) clients.current?.resume();
      else clients.current?.pause();
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        clients.current?.destroySoon();
      }),
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        new VmError(
          'EACCES',
          `${flag} tcp=${host}:${port}: cannot listen there (${cause.code ?? cause.message}); expected a free port of this host`,
          { cause },
        ),
      );
    });
    server.listen({ host, port }, () => resolve());
  });
  return Object.assign(backend, { port: (server.address() as AddressInfo).port });
}
