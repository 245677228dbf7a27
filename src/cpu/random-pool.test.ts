import assert from 'node:assert/strict';
import { test } from 'node:test';
import { POOL_BYTES, RandomPool } from './random-pool.ts';

test('each byte of the source is used once, in its order, and wiped', () => {
  let next = 1,
    pool: Uint8Array | undefined;
  const random = new RandomPool((bytes) => {
    pool = bytes;
    for (let at = 0; at < bytes.length; at++) bytes[at] = next++ % 251;
  });
  const taken = new Uint8Array(2 * POOL_BYTES + 16);
  for (let at = 0; at < taken.length; at += 8) {
    random.take(taken, at);
    assert.ok(
      pool!.subarray(0, (at % POOL_BYTES) + 8).every((value) => value === 0), // the first take has asked for it
      `byte ${at}`,
    );
  }
  assert.deepEqual(
    taken,
    Uint8Array.from(taken, (_unused, at) => (at + 1) % 251),
  );
  assert.equal(next, 3 * POOL_BYTES + 1);
});
