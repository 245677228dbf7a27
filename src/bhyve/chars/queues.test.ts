import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EscapeDecoder } from './escape.ts';
import { InputQueue } from './input-queue.ts';
import { CONGESTED_BYTES, OutputQueue } from './output-queue.ts';

const text = (chunks: readonly Uint8Array[]): string => Buffer.concat(chunks).toString('latin1');

test('output keeps its order and gathers a burst into one write', async () => {
  const chunks: Uint8Array[] = [];
  const queue = new OutputQueue((bytes) => {
    chunks.push(bytes.slice());
    return Promise.resolve();
  });
  queue.writeBytes(Buffer.from('hello '));
  queue.writeBytes(Buffer.from('world'));
  await queue.flush();
  assert.deepEqual([text(chunks), chunks.length, queue.backlogBytes], ['hello world', 1, 0]);
});

test('a slow reader makes the queue congested, and drained resolves when it has read', async () => {
  const waiting: (() => void)[] = [];
  let taken = 0;
  const queue = new OutputQueue(
    (bytes) =>
      new Promise((resolve) => {
        waiting.push(() => {
          taken += bytes.length;
          resolve();
        });
      }),
  );
  const total = CONGESTED_BYTES + 100_000;
  for (let index = 0; index < total; index++) queue.write(index & 0xff);
  assert.equal(queue.congested, true);
  let drained = false;
  const done = queue.drained().then(() => {
    drained = true;
  });
  while (queue.backlogBytes >= CONGESTED_BYTES / 2) {
    assert.equal(drained, false);
    await new Promise((resolve) => setImmediate(resolve));
    waiting.shift()?.();
    await Promise.resolve();
  }
  await done;
  const flushed = queue.flush();
  while (taken < total) {
    await new Promise((resolve) => setImmediate(resolve));
    waiting.shift()?.();
  }
  await flushed;
  assert.equal(taken, total);
});

test('a reader that goes away is reported once, and what follows is dropped', async () => {
  const gone: unknown[] = [];
  const queue = new OutputQueue(
    () => Promise.reject(new Error('EPIPE')),
    (cause) => gone.push(cause),
  );
  queue.writeBytes(Buffer.alloc(100_000));
  await queue.flush();
  queue.write(1);
  await queue.flush();
  assert.deepEqual([gone.length, queue.backlogBytes, queue.congested], [1, 0, false]);
});

test('held output waits, and is all there after release', async () => {
  const chunks: Uint8Array[] = [];
  const queue = new OutputQueue((bytes) => {
    chunks.push(bytes.slice());
    return Promise.resolve();
  });
  queue.hold();
  queue.writeBytes(Buffer.from('abc'));
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(chunks.length, 0);
  queue.release();
  await queue.flush();
  assert.equal(text(chunks), 'abc');
});

test('input comes no faster than the device takes it, and a full queue stops the source', () => {
  const taken: number[] = [];
  const flow: boolean[] = [];
  const queue = new InputQueue((flowing) => flow.push(flowing));
  queue.push(Buffer.from('early'));
  queue.onByte = (value) => {
    taken.push(value);
    if (taken.length % 16 === 0) queue.hold();
  };
  queue.deliver();
  queue.push(Buffer.alloc(10_000, 0x61));
  assert.equal(taken.length, 16);
  assert.deepEqual(flow, [false]);
  while (queue.waitingBytes > 0) queue.release();
  assert.equal(taken.length, 10_005);
  assert.deepEqual(flow, [false, true]);
  assert.equal(Buffer.from(taken.slice(0, 6)).toString(), 'earlya');
});

test('Ctrl-A keys are taken out, everything else goes to the guest', () => {
  const decoder = new EscapeDecoder();
  const run = (keys: string): string[] =>
    [...decoder.decode(Buffer.from(keys))].map((piece) => (typeof piece === 'string' ? `<${piece}>` : text([piece])));
  assert.deepEqual(run('ls\rx'), ['ls\rx']);
  assert.deepEqual(run('a\x01cb'), ['a', '<monitor>', 'b']);
  assert.deepEqual(run('\x01'), []);
  assert.deepEqual(run('x'), ['<quit>']);
  assert.deepEqual(run('\x01\x01\x01a\x01z\x01h'), ['\x01\x01\x01z', '<help>']);
  assert.deepEqual(run('\x03\x1a\x04'), ['\x03\x1a\x04']);
});
