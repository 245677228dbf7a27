/**
 * The whole machine with unmodified Linux guests: every kernel of the table, every way to start one and to end it.
 * Runs on: `npm run test:full`; a guest that is not in the cache and cannot be pulled is skipped.
 */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { zstdDecompressSync } from 'node:zlib';
import { testOnTerminal } from '../src/bhyve/testing/on-terminal.ts';
import { decompress } from '../src/tshyve/guests/deb.ts';
import { guestOrSkip, LinuxGuest, Program } from './linux-guest.ts';

for (const [guest, version] of [
  ['debian:6.12', '6.12.'],
  ['debian:13', '6.12.'],
  ['debian:generic', '6.1.'],
] as const) {
  test(`${guest} boots to a shell and powers off`, async (t) => {
    if (!(await guestOrSkip(t, guest))) return;
    await using linux = await LinuxGuest.boot({ guest });
    ok((await linux.run('uname -r')).startsWith(version));
    equal(await linux.run('cat /sys/devices/system/clocksource/clocksource0/current_clocksource'), 'tsc');
    deepEqual(await linux.complaints(), []);
    deepEqual(await linux.end('poweroff'), { reason: 'poweroff' });
  });
}

test('a guest of 8 GiB has them, and this process only what it touched', async (t) => {
  if (!(await guestOrSkip(t, 'debian'))) return;
  const atStartBytes = process.memoryUsage().rss;
  await using linux = await LinuxGuest.boot({ guest: 'debian', memory: '8G' });
  const totalKib = Number(/MemTotal: +(\d+) kB/.exec(await linux.run('cat /proc/meminfo'))?.[1]);
  ok(totalKib > 8_000_000, `MemTotal: ${totalKib} kB`);
  equal(await linux.run('dmesg | grep -c "BIOS-e820: .*0x0000000100000000-0x000000023fffffff.* usable"'), '1');
  // Half a gigabyte of it, in the highest zone first.
  equal(
    await linux.run('mount -t tmpfs -o size=1g t /mnt && dd if=/dev/zero of=/mnt/a bs=1M count=500 2>/dev/null; du -sm /mnt'),
    '500\t/mnt',
  );
  const residentBytes = process.memoryUsage().rss - atStartBytes;
  ok(residentBytes < 1.25 * 2 ** 30, `${residentBytes} bytes resident`);
  deepEqual(await linux.end('poweroff'), { reason: 'poweroff' });
});

/** The kernel inside a bzImage, as its build made it: an ELF file. Documentation/arch/x86/boot.rst, payload_offset. */
async function unpackKernel(path: string): Promise<Buffer> {
  const image = readFileSync(path);
  const start = ((image[0x1f1] || 4) + 1) * 512 + image.readUInt32LE(0x248);
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c) - 4);
  const sizeBytes = image.readUInt32LE(start + payload.length);
  const magic = payload.readUInt32LE(0);
  if (magic === 0x184c2102) return unpackLz4(payload.subarray(4), sizeBytes);
  if (magic === 0xfd2fb528) return zstdDecompressSync(payload);
  const chunks: Buffer[] = [];
  for await (const chunk of decompress(Readable.from([payload]), 'payload.xz')) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** LZ4's legacy frame: blocks of length and sequences. lz4_Block_format.md, lz4_Frame_format.md "Legacy frame". */
function unpackLz4(input: Buffer, sizeBytes: number): Buffer {
  const output = Buffer.alloc(sizeBytes);
  let to = 0;
  for (let at = 0; at + 4 <= input.length && to < sizeBytes;) {
    const end = at + 4 + input.readUInt32LE(at);
    at += 4;
    const length = (nibble: number): number => {
      let sum = nibble;
      if (nibble === 15) for (let more = 255; more === 255; sum += more) more = input[at++] ?? 0;
      return sum;
    };
    while (at < end) {
      const token = input[at++]!;
      const literals = length(token >> 4);
      to += input.copy(output, to, at, at + literals);
      at += literals;
      if (at >= end) break; // the last sequence has no match
      const from = to - input.readUInt16LE(at);
      at += 2;
      const matched = length(token & 15) + 4;
      // May overlap: byte by byte.
      for (let i = 0; i < matched; i++) output[to++] = output[from + i]!;
    }
  }
  return output;
}

for (const guest of ['debian', 'debian:6.12'] as const) {
  test(`${guest}: its vmlinux boots through the PVH entry`, async (t) => {
    const files = await guestOrSkip(t, guest);
    if (!files) return;
    const kernel = await unpackKernel(files.kernelPath);
    deepEqual([...kernel.subarray(0, 4)], [0x7f, 0x45, 0x4c, 0x46]);
    await using linux = await LinuxGuest.boot({ kernel, initrd: files.initrdPath, cmdline: `${files.commandLine} nokaslr` });
    match(await linux.run('dmesg'), /Booting paravirtualized kernel|PVH/);
    deepEqual(await linux.complaints(), []);
    deepEqual(await linux.end('poweroff'), { reason: 'poweroff' });
  });
}

/** bhyve's command line for Debian's kernel. */
async function bhyveArguments(t: TestContext, words: string): Promise<string[] | undefined> {
  const files = await guestOrSkip(t, 'debian');
  if (!files) return undefined;
  const { kernelPath, initrdPath, commandLine } = files;
  return [
    ...['-c', '1', '-m', '512M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio'],
    ...['-o', `kernel=${kernelPath}`, '-o', `initrd=${initrdPath}`, '-o', `cmdline=${commandLine} ${words}`, 'linux'],
  ];
}

for (const [words, status, said] of [
  ['run="echo $((6*7))"', 1, 'reboot: Power down'],
  ['run="reboot -f"', 0, 'reboot: machine restart'],
  ['run="halt -f"', 2, 'reboot: System halted'],
  ['reboot=t run="reboot -f"', 3, 'reboot: machine restart'],
  ['reboot=a run="reboot -f"', 0, 'reboot: machine restart'],
  ['reboot=k run="reboot -f"', 0, 'reboot: machine restart'],
  ['reboot=p run="reboot -f"', 0, 'reboot: machine restart'],
] as const) {
  test(`bhyve, ${words}: exit status ${status}`, async (t) => {
    const args = await bhyveArguments(t, words);
    if (!args) return;
    const end = await new Program('bhyve', ['-w', '-H', ...args]).end();
    equal(end.status, status, end.output.slice(-400) + end.error);
    ok(end.output.includes(said), end.output.slice(-400));
    equal(end.error, '');
  });
}

test('bhyve: SIGTERM is the power button, and Linux obeys it', async (t) => {
  const args = await bhyveArguments(t, '');
  if (!args) return;
  const bhyve = new Program('bhyve', ['-w', '-H', ...args]);
  await bhyve.prompt();
  bhyve.child.kill('SIGTERM');
  const end = await bhyve.end();
  equal(end.status, 1, end.output.slice(-400) + end.error);
  ok(end.output.includes('reboot: Power down'), end.output.slice(-400));
});

test('bhyve: a kernel that is cut off is an error', async (t) => {
  const files = await guestOrSkip(t, 'debian');
  if (!files) return;
  const folder = mkdtempSync(join(tmpdir(), 'tshyve-linux-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'vmlinuz');
  writeFileSync(path, readFileSync(files.kernelPath).subarray(0, 1_000_000));
  const end = await new Program('bhyve', ['-s', '0,hostbridge', '-s', '31,lpc', '-o', `kernel=${path}`, 'linux']).end();
  equal(end.status, 4);
  match(end.error, /^bhyve: [^\n]*vmlinuz[^\n]*truncated[^\n]*\n$/);
});

test('tshyve run: commands from a pipe, a reboot in the same process, then power-off', async (t) => {
  if (!(await guestOrSkip(t, 'debian'))) return;
  const tshyve = new Program('tshyve', ['run', 'debian']);
  await tshyve.prompt();
  tshyve.child.stdin.write('echo first $((6 * 7)); reboot\n');
  await tshyve.expect('first 42');
  await tshyve.expect('reboot: machine restart');
  await tshyve.expect('Linux version');
  await tshyve.prompt();
  tshyve.child.stdin.end('echo second $((7 * 8)); poweroff\n');
  const end = await tshyve.end();
  deepEqual([end.status, end.error], [0, '']);
  ok(end.output.includes('second 56') && end.output.includes('reboot: Power down'), end.output.slice(-400));
});

test('tshyve run --no-reboot: a reboot ends it with 0; what was piped in before the shell came is not lost', async (t) => {
  if (!(await guestOrSkip(t, 'debian'))) return;
  const tshyve = new Program('tshyve', ['run', '--no-reboot']);
  tshyve.child.stdin.end('echo early $((6 * 7))\nreboot\n');
  const end = await tshyve.end();
  deepEqual([end.status, end.error], [0, ''], end.output.slice(-400));
  ok(end.output.includes('early 42') && end.output.includes('reboot: machine restart'), end.output.slice(-400));
});

testOnTerminal(
  'tshyve run on a terminal: Ctrl-A x in the middle of a boot',
  [fileURLToPath(new URL('../src/tshyve/main.ts', import.meta.url)), 'run', 'debian'],
  [{ expect: 'Linux version' }, { send: '\x01x' }],
  ({ status }) => equal(status, 0),
);
