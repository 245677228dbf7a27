import { ok, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { geometricMean, median, spread } from './statistics.ts';

test('the median of an odd and of an even number of values', () => {
  equal(median([3, 1, 2]), 2);
  equal(median([4, 1, 3, 2]), 2.5);
  ok(Number.isNaN(median([])));
});

test('the geometric mean treats a ratio and its inverse alike', () => {
  ok(Math.abs(geometricMean([4, 0.25]) - 1) < 1e-12);
  ok(Number.isNaN(geometricMean([])));
});

test('the spread is half the range as a share of the median', () => {
  equal(spread([8, 10, 12]), 0.2);
  equal(spread([7]), 0);
});
