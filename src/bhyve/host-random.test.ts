import assert from 'node:assert/strict';
import { devNull } from 'node:os';
import { test } from 'node:test';
import { hostRandom } from './host-random.ts';

for (const [device, what] of [
  [undefined, 'the device of the host'],
  ['/no/such/device', 'no device'],
  [devNull, 'a device that ends early'],
] as const) {
  test(`${what}: all bytes are filled, differently each time`, () => {
    const first = new Uint8Array(70_000),
      second = new Uint8Array(70_000);
    hostRandom(first, device);
    hostRandom(second, device);
    assert.notDeepEqual(first, second);
    // 32 zeroes at the end by chance: 2^-256.
    assert.ok(first.subarray(-32).some((value) => value !== 0));
  });
}
