/**
 * Random programs through all tiers: at the end of each slice, registers, flags, memory and the count of instructions are those of single
 * steps in tier 0. 500 programs; in the full run 10,000 and as many again of seeds that nobody has seen.
 * Runs on: the test runner. `node src/cpu/testing/lockstep-main.ts SEED` runs one again, and shows what is left when it is reduced.
 */
import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { Lockstep, tryProgram } from '../testing/lockstep.ts';

const FULL = process.env['TSHYVE_TEST_FULL'] === '1';
const COUNT = FULL ? 10_000 : 500;
const MAX_FAILURES = 3;

function runAlike(first: number, count: number): Lockstep {
  const lockstep = new Lockstep(),
    failures: string[] = [];
  for (let seed = first; seed < first + count && failures.length < MAX_FAILURES; seed++) {
    const failure = tryProgram(lockstep, seed);
    if (failure) failures.push(`node src/cpu/testing/lockstep-main.ts ${seed}: ${failure.text}`);
  }
  equal(failures.join('\n'), '');
  return lockstep;
}

test(`${COUNT} random programs run alike in all tiers`, (t) => {
  const { ends } = runAlike(1, COUNT);
  ok(ends.halted > COUNT / 4, `only ${ends.halted} of ${COUNT} programs reached their end`);
  t.diagnostic(JSON.stringify(ends));
});

test('random programs of fresh seeds run alike in all tiers', (t) => {
  if (!FULL) return t.skip('only in test:full');
  const first = (Date.now() % 1_000_000) * 1000;
  t.diagnostic(`seeds from ${first}`);
  runAlike(first, COUNT);
});
