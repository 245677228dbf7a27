import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SerialPort } from './serial.ts';

const say = (port: SerialPort, text: string): void => {
  for (const value of Buffer.from(text)) port.write(value);
};

test('expect finds text and expressions, from the end of the last match on', async () => {
  const port = new SerialPort('com1');
  say(port, 'boot: one two\nlogin: ');
  const first = await port.expect(/boot: (\w+)/g);
  assert.deepEqual(first, { text: 'boot: one', before: '', groups: ['one'] });
  assert.deepEqual(await port.expect('login: '), { text: 'login: ', before: ' two\n', groups: [] });
  const later = [port.expect('a'), port.expect('b')];
  say(port, 'xa');
  say(port, 'yb');
  assert.deepEqual(
    (await Promise.all(later)).map(({ before }) => before),
    ['x', 'y'],
  );
});

test('expect says what it saw when time is up or the VM ends', async () => {
  const port = new SerialPort('com1');
  say(port, 'panic: no init\n');
  await assert.rejects(port.expect('login:', { timeoutMs: 5 }), {
    code: 'ETIMEDOUT',
    message: 'com1: expected \'login:\': not seen within 5 ms; the output ends with "panic: no init\\n"',
  });
  const pending = port.expect(/shell/);
  port.end('poweroff');
  await assert.rejects(pending, { code: 'EIO', message: /^com1: expected \/shell\/: the VM ended before \(poweroff\)/ });
  await assert.rejects(port.expect('x'), { code: 'EIO' });
  assert.equal((await port.expect('panic')).text, 'panic');
});

test('UTF-8 that comes byte by byte is text', async () => {
  const port = new SerialPort('com1');
  for (const value of Buffer.from('grün €\n')) {
    port.write(value);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await port.expect(/\n/)).before, 'grün €');
});

test('a write resolves when the guest has taken it, no faster than its FIFO', async () => {
  const port = new SerialPort('com1');
  const taken: number[] = [];
  let done = false;
  const written = port.write('x'.repeat(40)).then(() => {
    done = true;
  });
  port.onByte = (value) => {
    taken.push(value);
    if (taken.length % 16 === 0) port.hold();
  };
  await Promise.resolve();
  assert.deepEqual([taken.length, done], [16, false]);
  port.release();
  port.release();
  await written;
  assert.equal(taken.length, 40);
  void port.write('never taken').then(() => {
    done = false;
  });
  port.hold();
  const blocked = port.write('y');
  port.end('poweroff');
  await blocked;
});

test('as streams: bytes come out, and a slow reader makes the port congested', async () => {
  const port = new SerialPort('com1');
  const { readable } = port;
  say(port, 'z'.repeat(200_000));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(port.congested, true);
  const drained = port.drained();
  let sizeBytes = 0;
  readable.on('data', (chunk: Buffer) => {
    sizeBytes += chunk.length;
  });
  await drained;
  assert.equal(port.congested, false);
  const ended = new Promise((resolve) => readable.on('end', resolve));
  port.end('poweroff');
  await ended;
  assert.equal(sizeBytes, 200_000);
  const taken: number[] = [];
  const other = new SerialPort('com1');
  other.onByte = (value) => taken.push(value);
  await new Promise((resolve) => other.writable.end('hello', () => resolve(undefined)));
  assert.equal(Buffer.from(taken).toString(), 'hello');
});
