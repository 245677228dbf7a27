import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { perfectHash } from './perfect-hash.ts';

test('each number has a place of its own', () => {
  for (const numbers of [
    [0, 16],
    [0x401000, 0x401010, 0x401055, -0x7000, 0x7f_ffff_f000],
    Array.from({ length: 60 }, (_, i) => i * i * 7 - 300),
  ]) {
    const hash = perfectHash(numbers)!;
    deepEqual(
      numbers.map((number) => hash.places[Math.imul(number, hash.multiplier) >>> hash.shift]),
      numbers.map((_, which) => which),
    );
    ok(hash.places.length <= 8 * numbers.length);
  }
});

test('numbers with the same lower half have none', () => {
  equal(perfectHash([5, 5 + 0x1_0000_0000]), undefined);
});
