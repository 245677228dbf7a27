import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuidRows } from './cpuid.ts';

const leaf = (tscHz: number, leafNumber: number): { eax: number; ebx: number; ecx: number } => {
  const row = cpuidRows({ tscHz }).find((candidate) => candidate.leaf === leafNumber);
  assert.ok(row);
  return row;
};

test('the TSC ratio is what a 32-bit multiplication of kilohertz can use, or none', () => {
  for (const tscHz of [1e6, 1_073_741_824, 999_999_937, 1e9, 1.5e9, 2_793_415_000, 3_000_000_001, 4_294_967_296, 1e10]) {
    const { eax: denominator, ebx: numerator, ecx: crystalHz } = leaf(tscHz, 0x15);
    if (numerator === 0) {
      assert.deepEqual([denominator, crystalHz], [0, 0]);
      // Then the megahertz are exact, or not told either.
      const { eax: mhz } = leaf(tscHz, 0x16);
      assert.ok(mhz === 0 || mhz * 1e6 === tscHz, `${tscHz} Hz: ${mhz} MHz`);
      continue;
    }
    const product = Math.floor(crystalHz / 1000) * numerator;
    assert.ok(product <= 0xffffffff, `${tscHz} Hz: ${product}`);
    assert.ok(Math.abs(Math.floor(product / denominator) * 1000 - tscHz) <= tscHz * 1e-5 + 1000, `${tscHz} Hz`);
  }
  assert.deepEqual([leaf(1_073_741_824, 0x15).ebx, leaf(1_073_741_824, 0x15).eax], [8, 1]);
});
