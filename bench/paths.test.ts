/** What the kernel of bench/kernel says. Runs on: the test runner. */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { pathTimesOf } from './paths.ts';

const TEXT = 'Booting\r\nperiod 0x989680\r\npath INT, IRETQ 0x00c8 0x0064\r\npath RDTSC 0x0a 0x64\r\npaths done\r\n';

test('nanoseconds are ticks by their period, for each round', () => {
  deepEqual(
    [...pathTimesOf(TEXT)!],
    [
      ['INT, IRETQ', 20],
      ['RDTSC', 1],
    ],
  );
});

test('a report that is cut off is none', () => {
  equal(pathTimesOf(TEXT.slice(0, -20)), undefined);
});
