import { equal } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { md5 } from './md5.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

// RFC 1321 A.5.
for (const [text, digest] of [
  ['', 'd41d8cd98f00b204e9800998ecf8427e'],
  ['a', '0cc175b9c0f1b6a831c399e269772661'],
  ['message digest', 'f96b697d7cb7938d525a2f31aaf161d0'],
  ['12345678901234567890123456789012345678901234567890123456789012345678901234567890', '57edf4a22be3c955ac49da2e2107b67a'],
] as const)
  test(`md5 '${text}'`, () => {
    equal(hex(md5(new TextEncoder().encode(text))), digest);
  });

test('every length around the padding of a block', () => {
  for (let length = 0; length < 200; length++) {
    const message = Uint8Array.from({ length }, (_unused, at) => at * 7 + length);
    equal(hex(md5(message)), createHash('md5').update(message).digest('hex'), `${length} bytes`);
  }
});
