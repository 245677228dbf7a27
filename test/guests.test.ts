/**
 * The small guests in our own machine: every case of every image, and every way to end.
 * Runs on: the test runner. The images are committed; where binutils are present, they are compared with the sources.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { CPU_TIERS } from '../src/bhyve/index.ts';
import type { CpuTier } from '../src/bhyve/config/settings.ts';
import { VM } from '../src/tshyve/index.ts';
import { GUESTS, assemble, parseReport, readImage } from './guests/guests.ts';

const TIMEOUT_MS = 60_000;

/** Tier 1 alone, from the first execution, is the hard case; the others are part of the full run. */
const TIERS = process.env['TSHYVE_TEST_FULL'] ? CPU_TIERS : (['always'] as const);

async function run(image: Uint8Array, cpuTier: CpuTier): Promise<{ output: string; end: string }> {
  await using vm = await VM.create({
    kernel: image,
    memory: '64M',
    testDevice: true,
    cpuTier,
    onReset: 'end',
    options: { 'x86.strictmsr': 'true' },
  });
  const chunks: Buffer[] = [];
  vm.serial.readable.on('data', (chunk: Buffer) => chunks.push(chunk));
  const drained = new Promise((resolve) => vm.serial.readable.once('end', resolve));
  await vm.start();
  const timer = setTimeout(() => void vm.stop(), TIMEOUT_MS);
  const exit = await vm.waitForExit();
  clearTimeout(timer);
  await drained;
  const end =
    exit.reason === 'error' ? `error: ${exit.error.message}` : exit.reason === 'debug-exit' ? `debug-exit ${exit.status}` : exit.reason;
  return { output: Buffer.concat(chunks).toString('latin1'), end };
}

for (const { name, way, end } of GUESTS)
  for (const tier of TIERS)
    test(`guest ${name}, tier ${tier}`, async () => {
      const result = await run(readImage(name), tier);
      if (way !== undefined) return equal(`${result.output}${result.end}`, `exits\n${end}`);
      const report = parseReport(result.output);
      deepEqual(
        report.failed.map(({ line }) => line),
        [],
      );
      equal(result.end, end, result.output.slice(-200));
      ok(report.complete, `cut off: ${result.output.slice(-200)}`);
    });

test('the committed images are those of the sources', (t) => {
  for (const guest of GUESTS) {
    const image = assemble(guest);
    if (image === null) return t.skip('needs binutils for x86-64');
    ok(image.equals(readImage(guest.name)), `${guest.name}: node test/guests/assemble.ts`);
  }
});
