import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { ByPage } from './by-page.ts';

test('what was set for a page is found there and nowhere else, at both ends of a chunk and far above', () => {
  const pages = new ByPage<string>();
  const at = [0x1000, 0x1f_f000, 0x20_0000, 0x2_0000_0000];
  for (const hvaPage of at) pages.set(hvaPage, hvaPage.toString(16));
  for (const hvaPage of at) equal(pages.get(hvaPage), hvaPage.toString(16));
  for (const hvaPage of [0, 0x2000, 0x1f_e000, 0x20_1000, 0x1_0000_0000, 0x4_0000_0000, -1]) equal(pages.get(hvaPage), undefined);
  deepEqual([...pages.keys()], at);
});
