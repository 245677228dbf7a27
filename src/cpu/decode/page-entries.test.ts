/** Where a page's micro-ops are found again. Runs on: the test runner. */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { LineTables, PageEntries } from './page-entries.ts';

const key = (offset: number, mode: number): number => offset | (mode << 12);
function near(entries: PageEntries, linesLow: number, linesHigh: number): number[] {
  const found: number[] = [];
  entries.near(linesLow, linesHigh, (_key, uop) => found.push(uop));
  return found;
}

test('an offset may be decoded in several modes', () => {
  const entries = new PageEntries(new LineTables());
  entries.set(key(5, 2), 32);
  entries.set(key(5, 6), 64);
  deepEqual([entries.get(key(5, 2)), entries.get(key(5, 6)), entries.get(key(5, 0)), entries.get(key(6, 2))], [32, 64, 0, 0]);
  entries.delete(key(5, 2));
  deepEqual([entries.get(key(5, 2)), entries.get(key(5, 6))], [0, 64]);
});

test('what may reach into a line begins in it or an instruction before it, and is told once', () => {
  const entries = new PageEntries(new LineTables());
  for (const offset of [0, 49, 50, 63, 64, 127, 128, 2047, 2048, 4095]) entries.set(key(offset, 2), offset + 1);
  deepEqual(near(entries, 0b10, 0), [51, 64, 65, 128]);
  deepEqual(near(entries, 0b110, 0), [51, 64, 65, 128, 129]);
  deepEqual(near(entries, 0, 1), [2048, 2049]);
  deepEqual(near(entries, 0, 1 << 31), [4096]);
  deepEqual(near(entries, 0, 0), []);
  equal(near(entries, -1, -1).length, 10);
});

test("pages share the tables, and do not see what is each other's", () => {
  const tables = new LineTables(),
    pages = Array.from({ length: 40 }, () => new PageEntries(tables));
  for (const [number, page] of pages.entries())
    for (let offset = 0; offset < 4096; offset += 32) page.set(key(offset, 2), number * 4096 + offset + 1);
  for (const [number, page] of pages.entries())
    for (let offset = 0; offset < 4096; offset++) equal(page.get(key(offset, 2)), offset % 32 === 0 ? number * 4096 + offset + 1 : 0);
});
