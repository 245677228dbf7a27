import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { VmError } from '../../base/errors.ts';
import { parseBackend } from './backend-name.ts';
import { openNone } from './char-port.ts';
import { openBackends } from './open-backend.ts';
import { openTcp } from './tcp.ts';

test('backend names', () => {
  for (const [name, backend] of [
    ['stdio', { kind: 'stdio' }],
    ['none', { kind: 'none' }],
    ['/dev/nmdm0A', { kind: 'tty', path: '/dev/nmdm0A' }],
    ['tcp=127.0.0.1:9000', { kind: 'tcp', host: '127.0.0.1', port: 9000 }],
    ['tcp=[::1]:0', { kind: 'tcp', host: '::1', port: 0 }],
  ] as const)
    assert.deepEqual(parseBackend('-l com1', name), backend);
  for (const name of ['', 'x', 'STDIO', 'tcp=', 'tcp=1', 'tcp=:1', 'tcp=a:b', 'tcp=a:65536', 'tcp=a:1:2', 'pty']) {
    assert.throws(() => parseBackend('-l com1', name), { message: /^-l com1 '.*': unknown backend; expected stdio, none, a tty path/ });
  }
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((rest) => `tcp=${rest}`),
      ),
      (name) => {
        try {
          parseBackend('x', name);
        } catch (error) {
          assert.ok(error instanceof VmError);
        }
      },
    ),
  );
});

test('tcp: one client both ways, a second is dropped, a new one may follow', async (t) => {
  const backend = await openTcp('-l com1', '127.0.0.1', 0);
  t.after(() => backend.close());
  const received: number[] = [];
  backend.onByte = (value) => received.push(value);
  backend.write(0x21); // nobody there: lost
  await new Promise((resolve) => setTimeout(resolve, 0));
  await new Promise((resolve) => setImmediate(resolve));
  const first = connect(backend.port, '127.0.0.1');
  await once(first, 'connect');
  const second = connect(backend.port, '127.0.0.1');
  second.on('error', () => {});
  await once(second, 'close');
  first.write('ping');
  while (received.length < 4) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(Buffer.from(received).toString(), 'ping');
  for (const value of Buffer.from('pong')) backend.write(value);
  const [data] = (await once(first, 'data')) as [Buffer];
  assert.equal(data.toString(), 'pong');
  first.destroy();
  await once(first, 'close');
  const third = connect(backend.port, '127.0.0.1');
  third.on('error', () => {});
  third.write('x');
  while (received.length < 5 && !third.closed) await new Promise((resolve) => setImmediate(resolve));
  third.destroy();
});

test('tcp: an address that cannot be had is named', async () => {
  const backend = await openTcp('-l com1', '127.0.0.1', 0);
  await assert.rejects(openTcp('-l com2', '127.0.0.1', backend.port), {
    message: new RegExp(`^-l com2 tcp=127.0.0.1:${backend.port}: cannot listen there \\(EADDRINUSE\\)`),
  });
  await backend.close();
});

test('tty: a missing path and a file that is no terminal are named', async () => {
  for (const [path, message] of [
    ['/nonexistent/tty', /^-l com1 \/nonexistent\/tty: cannot be opened \(ENOENT\)/],
    ['/dev/null', /^-l com1 \/dev\/null: not a terminal/],
    ['/', /^-l com1 \/: cannot be opened \(EISDIR\)/],
  ] as const)
    await assert.rejects(
      openBackends([{ port: 'com1', backend: path }], () => openNone()),
      { message },
    );
});

test('stdio serves one port', async () => {
  const both = [
    { port: 'com1', backend: 'stdio' },
    { port: 'com2', backend: 'stdio' },
  ];
  await assert.rejects(
    openBackends(both, () => openNone()),
    { message: /^-l com2,stdio: com1 has stdio already/ },
  );
  const opened = await openBackends(
    [
      { port: 'com2', backend: 'stdio' },
      { port: 'com3', backend: 'none' },
    ],
    () => openNone(),
  );
  assert.deepEqual([...opened.keys()].sort(), ['com2', 'com3']);
});
