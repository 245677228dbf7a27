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
  ok(child.memory({ offsetBytes: 0, sizeBytes: 2 ** 40 }).residentBytes > 2 ** 20);
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

test('guest RAM is told from the rest of the memory by size, place and rights', () => {
  const mapping = (start: number, sizeBytes: number, rights: string, rssKib: number): string =>
    `${start.toString(16)}-${(start + sizeBytes).toString(16)} ${rights} 00000000 00:00 0 \nSize: ${sizeBytes / 1024} kB\nRss: ${rssKib} kB\nVmFlags: rd\n`;
  const smaps =
    mapping(0x1000, 0x4000, 'rw-p', 16) + mapping(0x10_0000, 0x100_0000, 'rw-p', 1000) + mapping(0x1000_0000, 0x200_0000, 'rwxp', 5);
  const asked: [number, number][] = [],
    present = (start: number, sizeBytes: number): number => {
      asked.push([start, sizeBytes]);
      return 1000 * 1024;
    };
  deepEqual(memoryUse(smaps, { offsetBytes: 0x20_0000, sizeBytes: 0xe0_0000 }, present), {
    residentBytes: 1021 * 1024,
    touchedRamBytes: 1000 * 1024,
  });
  deepEqual(asked, [[0x30_0000, 0xe0_0000]]);
});

test('what of a range has memory is asked of the kernel', { skip: process.platform !== 'linux' && 'pagemap is of Linux' }, async () => {
  const sizeBytes = 64 * 2 ** 20,
    touchedBytes = 24 * 2 ** 20,
    processes = new Processes();
  const holder = processes.start(
    node(`const memory = new WebAssembly.Memory({ initial: ${sizeBytes / 65536}, maximum: ${sizeBytes / 65536}, shared: true });
      new Uint8Array(memory.buffer).fill(1, 0, ${touchedBytes});
      console.log('ready');
      setInterval(() => memory, 1000)`),
  );
  await holder.expect(/ready/, 10_000);
  const whole = holder.memory({ offsetBytes: 0, sizeBytes }),
    behind = holder.memory({ offsetBytes: touchedBytes, sizeBytes: sizeBytes - touchedBytes });
  processes.killAll();
  ok(whole.touchedRamBytes >= touchedBytes, `${whole.touchedRamBytes}`);
  ok(whole.touchedRamBytes - behind.touchedRamBytes >= touchedBytes, `${behind.touchedRamBytes}`);
  await holder.end();
});
