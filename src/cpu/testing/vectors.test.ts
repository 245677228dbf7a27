/**
 * The committed sample of a real CPU's answers, and, in the full run, 100,000 fresh ones.
 * Runs on: the test runner. TSHYVE_TEST_FULL=1 adds the fresh ones where this machine can make them.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { judge } from './judge.ts';
import { Maker } from './maker.ts';
import { NativeCpu, isModelledVendor } from './native-cpu.ts';
import { WatchedEngine } from './watched-engine.ts';
import type { StepEngine } from './step-engine.ts';
import { expectedOf, readHead, readVectors } from './vectors.ts';
import type { Vector } from './vectors.ts';

const SAMPLE = fileURLToPath(new URL('vectors/x86-64-v2.jsonl.br', import.meta.url));
const FRESH_COUNT = 100_000;

/** FPREM, FPREM1 and FXAM: their C1 always counts. */
const showsC1 = ({ code }: Vector): boolean => /d9(f8|f5|e5)$/.test(code);

function wrong(engine: StepEngine, vectors: readonly Vector[]): string[] {
  const failures: string[] = [];
  for (const vector of vectors) {
    const differences = judge(engine.run(vector), expectedOf(vector), { c1: showsC1(vector) });
    if (differences.length > 0) failures.push(`#${vector.id} mode ${vector.mode} ${vector.code}: ${differences.join('; ')}`);
  }
  return failures;
}

test('the sample names its CPU and holds at least 10,000 vectors', () => {
  const head = readHead(SAMPLE);
  ok(head.cpu.length > 0);
  equal(readVectors(SAMPLE).length, head.count);
  ok(head.count >= 10_000);
});

/** Every nth vector: each one that is compiled is a module of its own. */
const SAMPLED = { interpreter: 1, interpreter64: 1, jit: 10, jit64: 10 } as const;
for (const [name, step] of Object.entries(SAMPLED) as [keyof typeof SAMPLED, number][])
  test(`engine ${name} answers the sample as the real CPU did`, async () => {
    using engine = new WatchedEngine(name);
    const failures = wrong(
      engine,
      readVectors(SAMPLE).filter((_, index) => index % step === 0),
    );
    deepEqual(failures.slice(0, 20), [], `${failures.length} wrong: node src/cpu/testing/compare.ts ${SAMPLE} --engine ${name}`);
  });

test('the recorder gives the same vectors for the same seed', (t) => {
  using cpu = NativeCpu.open();
  if (cpu === null) return t.skip('needs Linux on x86-64 with gcc');
  deepEqual(new Maker(7).vectors(cpu, 200), new Maker(7).vectors(cpu, 200));
});

test('the interpreter answers fresh vectors as this CPU does', async (t) => {
  using cpu = process.env['TSHYVE_TEST_FULL'] === '1' && isModelledVendor() ? NativeCpu.open() : null;
  if (cpu === null)
    return t.skip("only in test:full, on Linux with gcc on one of Intel's processors, which ours follows where vendors differ");
  const seed = Date.now() % 2 ** 31;
  t.diagnostic(`seed ${seed}`);
  using engine = new WatchedEngine('interpreter');
  const maker = new Maker(seed);
  const failures: string[] = [];
  for (let made = 0; made < FRESH_COUNT; made += 10_000) failures.push(...wrong(engine, maker.vectors(cpu, 10_000, made + 1)));
  deepEqual(failures.slice(0, 20), [], `seed ${seed}: ${failures.length} wrong`);
});
