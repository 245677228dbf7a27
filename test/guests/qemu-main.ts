/**
 * `npm run guests:qemu [-- NAME...]`: the small guests under QEMU's TCG, the reference. Known deviations are listed, others fail.
 * Runs on: the command line; needs qemu-system-x86_64.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GUESTS, QEMU_DEVIATIONS, assemble, parseReport, readImage } from './guests.ts';

const names = process.argv.slice(2);
const work = mkdtempSync(join(tmpdir(), 'tshyve-qemu-'));
let passed = 0,
  failed = 0;
try {
  for (const guest of GUESTS.filter(({ name, way }) => way === undefined && (names.length === 0 || names.includes(name)))) {
    const kernel = join(work, guest.name);
    writeFileSync(kernel, assemble(guest) ?? readImage(guest.name));
    const { stdout, error } = spawnSync(
      'qemu-system-x86_64',
      [
        '-accel',
        'tcg',
        '-cpu',
        'max,vendor=GenuineIntel',
        '-m',
        '256',
        '-device',
        'isa-debug-exit,iobase=0xf4,iosize=4',
        '-device',
        'pc-testdev',
        '-serial',
        'stdio',
        '-display',
        'none',
        '-no-reboot',
        '-kernel',
        kernel,
      ],
      { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    if (error && !stdout) throw error;
    const report = parseReport(stdout);
    const unexpected = report.failed.filter(({ name }) => !(name in QEMU_DEVIATIONS));
    const deviations = report.failed.filter(({ name }) => name in QEMU_DEVIATIONS);
    process.stdout.write(
      `${guest.name}: ${report.passed.length} passed, ${report.skipped.length} left out, ${deviations.length} known deviations, ${unexpected.length} failed${report.complete ? '' : ', did not end'}\n`,
    );
    for (const { line } of unexpected) process.stdout.write(`  ${line}\n`);
    for (const { name } of deviations) process.stdout.write(`  deviation: ${name}: ${QEMU_DEVIATIONS[name]}\n`);
    passed += report.passed.length;
    failed += unexpected.length + (report.complete ? 0 : 1);
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
