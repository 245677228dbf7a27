import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { compareDebianVersions } from './debian-version.ts';

test('versions are ordered as dpkg orders them', () => {
  const ascending = [
    '0.9~~',
    '0.9~beta',
    '0.9',
    '0.9-1',
    '0.9-1+b1',
    '0.9a',
    '0.9+1',
    '0.10',
    '6.1.176-1',
    '6.1.192-1~deb12u1',
    '6.1.192-1',
    '6.1.192-2',
    '6.12.9-1',
    '6.12.117-1~deb12u1',
    '1:0.1',
    '1:1.35.0-4+deb12u1+b1',
  ];
  for (const [i, a] of ascending.entries()) {
    for (const [j, b] of ascending.entries()) equal(Math.sign(compareDebianVersions(a, b)), Math.sign(i - j), `${a} and ${b}`);
  }
  equal(compareDebianVersions('1.002-01', '1.2-1'), 0);
});
