import { equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';
import type { WorkloadResult } from './guest-program.ts';
import type { BootRun, WorkloadsRun } from './measurements.ts';
import { chart, checksumFailures, compareWorkloads, markdownReport, type Results, type Setting } from './report.ts';

const MIB = 2 ** 20;

const boot = (wallSeconds: number, instructions?: number): BootRun => ({
  wallSeconds,
  cpuSeconds: wallSeconds + 1,
  instructions,
  idle: { memory: { residentBytes: 300 * MIB, touchedRamBytes: 180 * MIB }, cpuShare: 0.012 },
});
const result = (name: string, seconds: number, checksum = 'aa'): WorkloadResult => ({ name, seconds, checksum });
const workloadsRun = (results: readonly WorkloadResult[], clockRate = 1): WorkloadsRun => ({
  results,
  failed: new Map(),
  memory: { residentBytes: 500 * MIB, touchedRamBytes: 300 * MIB },
  clockRate,
});

const setting: Setting = {
  parts: new Set(['boot', 'start', 'idle', 'paths', 'guest']),
  contenders: [
    { name: 'tshyve', described: 'tshyve run', ramOffsetBytes: 0, command: () => ({ program: '', args: [] }) },
    { name: 'QEMU TCG', described: 'qemu', ramOffsetBytes: 0, command: () => ({ program: '', args: [] }) },
  ],
  workloads: [
    { name: 'crc32', group: 'compute' },
    { name: 'sieve', group: 'compute' },
    { name: 'pipe', group: 'system' },
  ],
  scale: 0.5,
  facts: [['commit', 'abc']],
};

const results: Results = {
  firstBoots: [boot(7), boot(5.5)],
  boot: { tshyve: [boot(4, 2e9), boot(5, 2e9), boot(6, 2e9)], 'QEMU TCG': [boot(10), boot(10), boot(10)] },
  start: { tshyve: [0.3], 'QEMU TCG': [0.2] },
  paths: { tshyve: [new Map([['RDTSC', 8]])], 'QEMU TCG': [new Map([['RDTSC', 12]])] },
  workloads: {
    tshyve: [workloadsRun([result('crc32', 1), result('sieve', 2), result('pipe', 4)])],
    'QEMU TCG': [workloadsRun([result('crc32', 4), result('sieve', 2), result('pipe', 1)])],
  },
  native: [[result('crc32', 0.5), result('sieve', 0.5), result('pipe', 0.5)]],
  failures: [],
};

test('the page has medians, spreads, ratios and means', () => {
  const page = markdownReport(results, setting, 'benchmarks.svg');
  match(page, /wall time, s \| 5\.00 \(±20 %\) \| 10\.00 \(±0 %\) \| 2\.00 \|/);
  match(page, /it had none: the first one took 7\.00 s \(8\.00 s of CPU time\); 2 were not counted/);
  match(page, /instructions a second of wall time, millions \| 400 /);
  match(page, /first instruction of a kernel, s \| 0\.300 \| 0\.200 \|/);
  match(page, /resident memory above that, MiB \| 120 /);
  match(page, /RDTSC \| 8 \| 12 \| 1\.50 \|/);
  match(page, /`crc32` \| compute \| 0\.500 \| 1\.000 \| 4\.000 \| 4\.00 \| 0\.500 \| agree \|/);
  match(page, /\| compute \| 2\.00 \| 1\.00 \| 0\.354 \| 2 of 2 \|/);
  match(page, /\| system \| 0\.25 \| 0\.25 \|/);
  ok(!page.includes('NaN') && !page.includes('Infinity'));
});

test('a checksum that differs, a failure and a doubtful clock are said', () => {
  const wrong: Results = {
    ...results,
    workloads: { ...results.workloads, tshyve: [workloadsRun([result('crc32', 1, 'bb')], 1.5)] },
    failures: ['workload pipe: no answer |\nin time'],
  };
  equal(checksumFailures(compareWorkloads(wrong, setting.workloads)).length, 1);
  const page = markdownReport(wrong, setting, undefined);
  match(page, /`crc32` .*\*\*differ\*\*/);
  match(page, /1\.500 times as fast/);
  match(page, /- workload pipe: no answer \\\| in time\n/);
  match(page, /\| system \| - \| - \| - \| 0 of 1 \|/);
});

test('without QEMU the page and the picture have our own figures', () => {
  const alone: Results = {
    ...results,
    boot: { tshyve: results.boot.tshyve! },
    start: { tshyve: [0.3] },
    workloads: { tshyve: results.workloads.tshyve! },
  };
  const page = markdownReport(alone, { ...setting, contenders: setting.contenders.slice(0, 1) }, 'benchmarks.svg');
  match(page, /wall time, s \| 5\.00 \(±20 %\) \| - \| - \|/);
  ok(!page.includes('NaN') && !page.includes('Infinity'));
  match(chart(alone, { ...setting, contenders: setting.contenders.slice(0, 1) })!, /5\.00 s/);
  equal(chart({ firstBoots: [], boot: {}, start: {}, paths: {}, workloads: {}, native: [], failures: [] }, setting), undefined);
});

test('the picture has a bar for each ratio, faster ones to the right of 1', () => {
  const svg = chart(results, setting)!;
  const bars = [...svg.matchAll(/<rect class="(\w+)" x="([\d.]+)" y="\d+" width="([\d.]+)"/g)];
  equal(bars.length, 2 + 3 + 2);
  ok(svg.includes('prefers-color-scheme: dark'));
  ok(!/NaN|Infinity/.test(svg));
  for (const [, , left, width] of bars) ok(Number(left) >= 0 && Number(left) + Number(width) <= 760);
});
