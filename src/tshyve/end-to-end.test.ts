import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { testOnTerminal } from '../bhyve/testing/on-terminal.ts';
import { VM } from './vm.ts';
import { echoKernel, floodKernel, portReadKernel, rebootKernel } from './testing/echo-kernel.ts';

const folder = mkdtempSync(join(tmpdir(), 'tshyve-end-to-end-'));
after(() => rmSync(folder, { recursive: true }));
const kernel = join(folder, 'echo');
writeFileSync(kernel, echoKernel());

function program(name: 'bhyve' | 'tshyve', args: readonly string[], input: string): { status: number | null; out: string; error: string } {
  const main = fileURLToPath(new URL(`../${name}/main.ts`, import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...args], {
    input,
    encoding: 'latin1',
    timeout: 60_000,
  });
  return { status, out: stdout, error: stderr };
}

test('bhyve runs a guest on its stdin and stdout', () => {
  const text = 'any bytes: \x01x \xff \x03 '.repeat(50);
  const args = ['-m', '16M', '-s', '0,hostbridge', '-s', '31,lpc', '-l', 'com1,stdio', '-o', `kernel=${kernel}`];
  assert.deepEqual(program('bhyve', [...args, '-l', 'pc-testdev', 'vm'], Buffer.from(`${text}q`, 'latin1').toString('latin1')).status, 7);
  const halted = program('bhyve', [...args, 'vm'], 'hello q');
  assert.deepEqual(halted, { status: 2, out: 'ready\nhello q', error: '' });
});

test('tshyve run: the same with its own defaults', () => {
  assert.deepEqual(program('tshyve', ['run', '--kernel', kernel, '--memory=16M', '-l', 'pctestdev'], 'abc q'), {
    status: 7,
    out: 'ready\nabc q',
    error: '',
  });
  const stats = program('tshyve', ['run', '--kernel', kernel, '--stats', '-l', 'pctestdev'], 'q');
  assert.equal(stats.status, 7);
  assert.match(stats.error, /guest instructions executed +\d+\n/);
});

test('a reset starts the guest again in the same process, with its memory; power-off ends it with 0', () => {
  const path = join(folder, 'reboot');
  writeFileSync(path, rebootKernel());
  assert.deepEqual(program('tshyve', ['run', '--kernel', path], ''), { status: 0, out: 'boot\nboot\nboot\n', error: '' });
  assert.deepEqual(program('tshyve', ['run', '--kernel', path, '--no-reboot'], ''), { status: 0, out: 'boot\n', error: '' });
  assert.equal(program('bhyve', ['-s', '31,lpc', '-l', 'com1,stdio', '-o', `kernel=${path}`, 'vm'], '').status, 0);
});

test('a reader that is slower than the guest gets every byte', async () => {
  const path = join(folder, 'flood');
  const sizeBytes = 1_000_000;
  writeFileSync(path, floodKernel(sizeBytes));
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, 'run', '--kernel', path, '-l', 'pctestdev'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  let seenBytes = 0;
  for await (const chunk of child.stdout) {
    assert.match((chunk as Buffer).toString(), /^x+$/);
    seenBytes += (chunk as Buffer).length;
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
  }
  assert.deepEqual(await exited, [1, null]);
  assert.equal(seenBytes, sizeBytes);
});

test('a kernel that is none, or is cut off, is one line and status 4', () => {
  const bad = join(folder, 'bad');
  for (const bytes of [new Uint8Array(5000), echoKernel().subarray(0, 30), new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])]) {
    writeFileSync(bad, bytes);
    const { status, out, error } = program('tshyve', ['run', '--kernel', bad], '');
    assert.deepEqual([status, out, error.split('\n').length, error.startsWith('tshyve: ')], [4, '', 2, true], error);
    assert.ok(error.includes(bad), error);
  }
});

test('two VMs in one process', async (t) => {
  const names = ['one', 'two'];
  const vms = await Promise.all(
    names.map((name) => VM.create({ name, kernel: echoKernel(`I am ${name}\n`), memory: '16M', testDevice: true })),
  );
  await Promise.all(vms.map((vm) => vm.start()));
  await Promise.all(vms.map((vm) => vm.serial.expect(`I am ${vm.name}\n`)));
  await Promise.all(vms.map((vm) => vm.serial.write(`${vm.name} says hello q`)));
  t.after(() => Promise.all(vms.map((vm) => vm.stop())));
  assert.deepEqual(
    await Promise.all(vms.map((vm) => vm.waitForExit())),
    names.map(() => ({ reason: 'debug-exit', status: 7 })),
  );
  for (const vm of vms) assert.equal((await vm.serial.expect('q')).before, `${vm.name} says hello `);
});

test('a VM that is stopped in the middle gives its threads back', async () => {
  await using vm = await VM.create({ kernel: echoKernel(), memory: '16M' });
  await vm.start();
  await vm.serial.expect('ready');
  assert.match(await vm.inspect('registers'), /rip [0-9a-f]{16}/);
  assert.match(await vm.inspect('stats'), /guest instructions executed/);
  assert.deepEqual(await vm.stop(), { reason: 'stopped' });
});

const ON_TERMINAL = [fileURLToPath(new URL('main.ts', import.meta.url)), 'run', '--kernel', kernel, '-m', '16M'];

testOnTerminal(
  'on a terminal: talk, look at the registers, quit',
  ON_TERMINAL,
  [
    { expect: 'ready' },
    { send: 'abc\x03' },
    { expect: 'abc\x03' },
    { send: '\x01c' },
    { expect: '(tshyve) ' },
    { send: 'info reg\r' },
    { expect: 'rip ' },
    { expect: '(tshyve) ' },
    { send: 'info stats\r' },
    { expect: 'guest instructions executed' },
    { send: '\x01c' },
    { send: 'def' },
    { expect: 'def' },
    { send: '\x01x' },
  ],
  ({ status }) => assert.equal(status, 0),
);

testOnTerminal(
  'on a terminal: SIGTERM ends a guest without ACPI at once',
  ON_TERMINAL,
  [{ expect: 'ready' }, { signal: 'SIGTERM' }],
  ({ status }) => assert.equal(status, -15),
);

testOnTerminal('on a terminal: a guest that halts for ever', ON_TERMINAL, [{ expect: 'ready' }, { send: 'q' }], ({ status }) =>
  assert.equal(status, 2),
);

testOnTerminal(
  'on a terminal: a vCPU thread that dies',
  [
    fileURLToPath(new URL('../bhyve/testing/crashing-bhyve.ts', import.meta.url)),
    ...['-m', '16M', '-s', '31,lpc', '-l', 'com1,stdio', '-o', `kernel=${kernel}`, 'vm'],
  ],
  [],
  ({ status, output }) => {
    assert.equal(status, 4);
    assert.match(output, /bhyve: vcpu 0: its thread died: the processor fell off/);
  },
);

test('an access to nothing ends the run where -e says so', () => {
  const path = join(folder, 'port80');
  writeFileSync(path, portReadKernel());
  const args = ['-s', '31,lpc', '-o', `kernel=${path}`, 'vm'];
  assert.deepEqual(program('bhyve', args, ''), { status: 2, out: '', error: '' });
  const strict = program('bhyve', ['-e', ...args], '');
  assert.deepEqual([strict.status, strict.out], [4, '']);
  assert.match(strict.error, /^bhyve: Unhandled inb 0x0080[^\n]*\n$/);
});

test('standard input that cannot be read, standard output that cannot be written', () => {
  const main = fileURLToPath(new URL('main.ts', import.meta.url));
  const shell = (redirection: string): { status: number | null; stdout: string; stderr: string } =>
    spawnSync(
      'sh',
      [
        '-c',
        `exec "$0" --disable-warning=ExperimentalWarning "$1" run --kernel "$2" -m 16M ${redirection}`,
        process.execPath,
        main,
        kernel,
      ],
      {
        encoding: 'utf8',
        timeout: 30_000,
        input: 'q',
      },
    );
  const full = shell('> /dev/full');
  assert.equal(full.status, 4);
  assert.match(full.stderr, /^tshyve: standard output: .*ENOSPC/);
  const closed = shell('>&- ');
  assert.equal(closed.status, 2);
});
