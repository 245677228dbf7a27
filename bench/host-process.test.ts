import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { memoryUse, Processes } from './host-process.ts';

const node = (script: string) => ({ program: process.execPath, args: ['-e', script] });

test('patterns are found one behind the other, however the output is cut', async () => {
  await using child = new Processes().start(
    node(`process.stdin.on('data', (text) => process.stdout.write('got ' + text)); process.stdout.write('one $ ')`),
  );
  equal((await child.expect(/one \$ /, 10_000)).match[0], 'one $ ');
  ok(child.cpuSeconds() > 0);
  ok(child.memory(2 ** 40).residentBytes > 2 ** 20);
  child.write('x');
  child.write('y');
  await child.expect(/x.*y/s, 10_000);
});

test('a program that ends, is late or does not exist is one clear error', async () => {
  const processes = new Processes();
  await rejects(
    processes.start(node(`console.error('no such disk'); process.exit(3)`)).expect(/ready/, 10_000),
    /ended with status 3.*no such disk/,
  );
  await rejects(processes.start({ program: '/no/such/qemu', args: [] }).expect(/ready/, 10_000), /qemu.*ENOENT/);
  const silent = processes.start(node('setInterval(() => {}, 1000)'));
  await rejects(silent.expect(/ready/, 50), /said nothing of the kind in 0.05 s/);
  processes.killAll();
  equal(await silent.end(), true);
});

test('guest RAM is told from the rest of the memory by size and rights', () => {
  const mapping = (start: number, sizeBytes: number, rights: string, rssKib: number): string =>
    `${start.toString(16)}-${(start + sizeBytes).toString(16)} ${rights} 00000000 00:00 0 \nSize: ${sizeBytes / 1024} kB\nRss: ${rssKib} kB\nVmFlags: rd\n`;
  const smaps =
    mapping(0x1000, 0x4000, 'rw-p', 16) + mapping(0x10_0000, 0x100_0000, 'rw-p', 1000) + mapping(0x1000_0000, 0x200_0000, 'rwxp', 5);
  deepEqual(memoryUse(smaps, 0x100_0000), { residentBytes: 1021 * 1024, touchedRamBytes: 1000 * 1024 });
});
