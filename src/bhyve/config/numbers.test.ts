import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { VmError } from '../../base/errors.ts';
import { formatSize, parseMemorySize, strtolWhole } from './numbers.ts';

const GIB = 2 ** 30;
const LIMIT = { maxBytes: 14 * GIB, because: 'test' };

test('-m: a bare number below 1 MiB is MiB, else bytes; suffixes in any case', () => {
  for (const [text, sizeBytes] of [
    ['512', 512 * 2 ** 20],
    ['1', 2 ** 20],
    ['0x200', 512 * 2 ** 20],
    ['0400', 256 * 2 ** 20],
    ['1048576', 2 ** 20],
    ['268435456', 2 ** 28],
    ['256M', 2 ** 28],
    ['256m', 2 ** 28],
    ['1G', GIB],
    ['8g', 8 * GIB],
    ['2048K', 2 ** 21],
    ['4096k', 2 ** 22],
  ] as const)
    assert.equal(parseMemorySize('-m', text, LIMIT), sizeBytes, text);
});

test('-m refuses what is no size, with one line that names flag, value and range', () => {
  for (const text of [
    '0',
    '-1',
    '-1G',
    '',
    ' ',
    'x',
    '1.5G',
    '1,5G',
    '1GB',
    'G',
    '0x',
    '1e9',
    '16G',
    '1T',
    '99999999999999999999',
    '999999999999999999999999G',
    '1000000000000',
    '1048577',
    '1K',
    '512 M',
    '512M ',
    '+512',
    '08',
    'NaN',
    'Infinity',
    '1\nG',
  ]) {
    assert.throws(
      () => parseMemorySize('-m', text, LIMIT),
      (error) => {
        assert.ok(error instanceof VmError && error.code === 'EINVAL');
        assert.match(error.message, /^-m '.*': invalid memsize; expected .* from 1M to 14G \(test\)$/);
        return true;
      },
      text,
    );
  }
});

test('property: sizes written in any unit come back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 256, max: (14 * GIB) / 4096 }), (pages) => {
      const sizeBytes = pages * 4096;
      assert.equal(parseMemorySize('-m', formatSize(sizeBytes), LIMIT), sizeBytes);
      assert.equal(parseMemorySize('-m', `${sizeBytes}`, LIMIT), sizeBytes);
      assert.equal(parseMemorySize('-m', `0x${sizeBytes.toString(16)}`, LIMIT), sizeBytes);
    }),
  );
});

test('fuzz: any text is a size in range or a VmError', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9xa-fKMGT.+-]{0,12}$/)), (text) => {
      try {
        const sizeBytes = parseMemorySize('-m', text, LIMIT);
        assert.ok(sizeBytes >= 2 ** 20 && sizeBytes <= LIMIT.maxBytes && sizeBytes % 4096 === 0);
      } catch (error) {
        assert.ok(error instanceof VmError, String(error));
      }
    }),
  );
});

test('property: strtol reads what was printed', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }), (value) => {
      assert.equal(strtolWhole(`${value}`), value);
      const magnitude = value < 0n ? -value : value;
      const sign = value < 0n ? '-' : '';
      assert.equal(strtolWhole(`${sign}0x${magnitude.toString(16)}`), value);
      assert.equal(strtolWhole(`${sign}0${magnitude.toString(8)}`), value);
      assert.equal(strtolWhole(`${sign}${magnitude.toString(16)}`, 16), value);
    }),
  );
  for (const text of ['9223372036854775808', '-9223372036854775809', '0x8000000000000000', '--1', '1-', ''])
    assert.equal(strtolWhole(text), undefined);
});
