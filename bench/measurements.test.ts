import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import type { Contender } from './contenders.ts';
import { Processes } from './host-process.ts';
import { measureBoot, measureWorkloads } from './measurements.ts';

/** A guest's console without a guest: a prompt, `bench`, `poweroff -f`. What a workload does is its name. */
const CONSOLE = `
  process.stdout.write('[    0.1] booting\\r\\n');
  if (process.argv[1] === 'panics') process.stdout.write('Kernel panic - not syncing: no init\\r\\n');
  else process.stdout.write('\\r\\n/ # ');
  let line = '';
  process.stdin.setEncoding('latin1').on('data', (text) => {
    line += text;
    if (!line.endsWith('\\n')) return;
    process.stdout.write(line);
    const [command, , scale, ...names] = line.trim().split(' ');
    line = '';
    if (command === 'poweroff') {
      process.stderr.write('vcpu 0: guest instructions executed   123000000\\n');
      return void setTimeout(() => process.exit(0), 1);
    }
    for (const name of names) {
      if (name === 'hangs') return;
      if (name === 'panics') return void process.stdout.write('Kernel panic - not syncing: Fatal exception\\r\\n');
      if (name === 'dies') process.exit(3);
      if (name === 'crashes') return void process.stdout.write('Segmentation fault\\r\\n/ # ');
      process.stdout.write(name + ' ' + (scale * 2).toFixed(6) + ' 00000000000000aa\\r\\n');
    }
    process.stdout.write('bench done 1.000000\\r\\n/ # ');
  });
  setInterval(() => {}, 1000);
`;

const guest = { kernel: 'none' };
const fake = (how: string): Contender => ({
  name: 'tshyve',
  described: how,
  ramOffsetBytes: 0,
  command: () => ({ program: process.execPath, args: ['-e', CONSOLE, how] }),
});

test('a boot ends at the prompt, and tells the instructions up to the power-off', async () => {
  const run = await measureBoot(new Processes(), fake('boots'), guest, false);
  ok(run.wallSeconds > 0 && run.cpuSeconds >= 0);
  equal(run.instructions, 123e6);
});

test('a kernel that panics is not waited for', async () => {
  await rejects(measureBoot(new Processes(), fake('panics'), guest, false), /Kernel panic - not syncing: no init/);
});

test('a workload that crashes, hangs, panics or ends the machine costs its own result only', async () => {
  const seen: string[] = [];
  const workloads = ['first', 'crashes', 'second', 'hangs', 'third', 'panics', 'fourth', 'dies', 'last'].map((name) => ({
    name,
    group: 'all',
  }));
  const run = await measureWorkloads(new Processes(), fake('boots'), guest, workloads, {
    scale: 0.5,
    limitMs: 1000,
    onResult: ({ name }) => seen.push(name),
  });
  deepEqual(seen, ['first', 'second', 'third', 'fourth', 'last']);
  deepEqual(run.results[0], { name: 'first', seconds: 1, checksum: '00000000000000aa' });
  deepEqual([...run.failed.keys()], ['crashes', 'hangs', 'panics', 'dies']);
  ok(run.memory && run.memory.residentBytes > 0);
});
