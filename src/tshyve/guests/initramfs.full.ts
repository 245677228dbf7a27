/**
 * The Debian guests under QEMU: what their init promises holds on another machine than ours.
 * Runs on: `npm run test:full`, where qemu-system-x86_64 is installed and the guest is in the cache.
 */
import { equal, ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { listGuests } from './index.ts';

const PROMPT = '/ # ';
const here = (await listGuests()).filter(({ cached }) => cached !== undefined);
const hasQemu = await new Promise<boolean>((resolve) => {
  spawn('qemu-system-x86_64', ['--version'], { stdio: 'ignore' })
    .on('error', () => resolve(false))
    .on('exit', (code) => resolve(code === 0));
});
const skip = !hasQemu ? 'qemu-system-x86_64 is not installed' : here.length === 0 ? 'no guest in the cache: tshyve pull debian' : false;

/** Type `lines`, each at a prompt; a function is called in place of typing. @returns all output, when the machine has gone */
async function boot(name: string, words: string, lines: readonly (string | ((monitor: string) => void))[]): Promise<string> {
  const { kernelPath, initrdPath, commandLine } = here.find((guest) => guest.name === name)!.cached!;
  const folder = await mkdtemp(join(tmpdir(), 'tshyve-qemu-'));
  const monitor = join(folder, 'monitor');
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...['-accel', 'tcg', '-m', '512', '-display', 'none', '-no-reboot', '-serial', 'stdio', '-monitor', `unix:${monitor},server,nowait`],
      ...['-kernel', kernelPath, '-initrd', initrdPath, '-append', `${commandLine} ${words}`],
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  let output = '';
  let seen = 0;
  let next = 0;
  qemu.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    for (let at = output.indexOf(PROMPT, seen); at >= 0 && next < lines.length; at = output.indexOf(PROMPT, seen)) {
      seen = at + PROMPT.length;
      const line = lines[next++]!;
      if (typeof line === 'string') qemu.stdin.write(`${line}\n`);
      else line(monitor);
    }
  });
  try {
    equal(await new Promise((resolve) => qemu.on('exit', resolve)), 0);
    return output;
  } finally {
    await rm(folder, { recursive: true });
  }
}

for (const name of here.length > 0 ? here.map((guest) => guest.name) : ['debian']) {
  test(`${name}: a shell with job control on the console; poweroff ends it`, { skip }, async () => {
    const output = await boot(name, '', ['tty; sleep 9 & jobs', 'ls -d /proc/self /sys/class /bin/ls', 'poweroff']);
    for (const text of ['/dev/ttyS0', '[1]+  Running', '/sys/class', 'reboot: Power down']) ok(output.includes(text), text);
    ok(!output.includes("can't access tty"));
  });

  test(`${name}: leaving the shell ends it`, { skip }, async () => {
    ok((await boot(name, '', ['exit'])).includes('reboot: Power down'));
  });

  test(`${name}: reboot reboots`, { skip }, async () => {
    ok((await boot(name, '', ['reboot'])).includes('reboot: machine restart'));
  });

  test(`${name}: run="..." runs in place of a shell, and powers off`, { skip }, async () => {
    const output = await boot(name, 'run="echo sum $((6 * 7)); tty"', []);
    ok(
      output.includes('sum 42') && output.includes('/dev/') && output.includes('reboot: Power down') && !output.includes(PROMPT),
      output.slice(-500),
    );
  });

  test(`${name}: the ACPI power button powers off`, { skip }, async () => {
    const press = (monitor: string): void => void connect(monitor).end('system_powerdown\n');
    ok((await boot(name, '', ['echo ready', press])).includes('reboot: Power down'));
  });
}
