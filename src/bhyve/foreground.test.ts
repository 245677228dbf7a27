import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readConfigFile } from './boot-files.ts';
import { parseCommandLine } from './config/command-line.ts';
import { bhyveStatus, runInForeground } from './foreground.ts';
import type { ForegroundProcess } from './foreground.ts';
import { createFakeEngine } from './testing/fake-engine.ts';
import { testOnTerminal, type TerminalResult, type TerminalStep } from './testing/on-terminal.ts';

const FAKE = fileURLToPath(new URL('testing/fake-bhyve.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tshyve-foreground-'));
after(() => rmSync(folder, { recursive: true }));
const kernel = join(folder, 'kernel');
writeFileSync(kernel, 'kernel');
const ARGS = ['--disable-warning=ExperimentalWarning', FAKE, '-s', '31,lpc', '-l', 'com1,stdio', '-o', `kernel=${kernel}`];

function run(input: string, ...args: string[]): { status: number | null; out: string; error: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...ARGS, ...args, 'vm'], { input, encoding: 'latin1', timeout: 20_000 });
  return { status, out: stdout, error: stderr };
}

test("each end of the guest has bhyve's status", () => {
  for (const [input, status] of [
    ['off\n', 1],
    ['reboot\n', 0],
    ['halt\n', 2],
    ['triple\n', 3],
    ['exit 7\n', 7],
  ] as const) {
    assert.deepEqual(run(input), { status, out: 'ready 1\r\n', error: '' }, input);
  }
});

test('a machine that fails, and a mistake of ours, are one line and status 4', () => {
  assert.deepEqual(run('fail disk on fire\n'), { status: 4, out: 'ready 1\r\n', error: 'bhyve: disk on fire\n' });
  const crash = run('echo last words\ncrash\n');
  assert.deepEqual([crash.status, crash.out], [4, 'ready 1\r\n"last words"\r\n']);
  assert.match(crash.error, /^bhyve: internal error: TypeError: crash was asked for[^\n]*\n$/);
});

test('a pipe as stdin: every byte arrives, its end does not end the VM, every byte of output leaves', async () => {
  const line = 'z'.repeat(20_000);
  const result = run(`echo ${line}\necho \x01x\x01c\necho \x03\nflood 1000000\noff\n`);
  assert.equal(result.status, 1);
  assert.equal(result.out, `ready 1\r\n"${line}"\r\n"\\u0001x\\u0001c"\r\n"\\u0003"\r\n${'x'.repeat(999_999)}\n`);
  const child = spawn(process.execPath, [...ARGS, 'vm'], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [null, 'SIGTERM']);
});

test('a reader that goes away ends the VM', async () => {
  const child = spawn(process.execPath, [...ARGS, 'vm'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.stdout.destroy();
  child.stdin.on('error', () => {});
  child.stdin.write('flood 100000\n');
  assert.deepEqual(await once(child, 'exit'), [1, null]);
});

test('a slow reader gets everything', async () => {
  const child = spawn(process.execPath, [...ARGS, 'vm'], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end('flood 500000\noff\n');
  let sizeBytes = 0;
  for await (const chunk of child.stdout) {
    sizeBytes += (chunk as Buffer).length;
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
  assert.equal(sizeBytes, 500_000 + 'ready 1\r\n'.length);
});

test('SIGTERM presses the power button once the guest has enabled ACPI, and kills before', async () => {
  const child = spawn(process.execPath, [...ARGS, 'vm'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (bytes: Buffer) => {
    out += bytes.toString();
    if (out.endsWith('ready 1\r\n')) child.stdin.write('acpi\n');
    if (out.endsWith('acpi on\r\n')) child.kill('SIGTERM');
  });
  assert.deepEqual(await once(child, 'exit'), [1, null]);
  assert.equal(out, 'ready 1\r\nacpi on\r\npower button\r\n');
});

test('a restart happens in the same process', () => {
  assert.deepEqual(run('reboot\nreboot\noff\n', '-o', 'restart=1'), { status: 1, out: 'ready 1\r\nready 2\r\nready 3\r\n', error: '' });
});

/** The same without a process of its own. */
async function runHere(...args: string[]): Promise<{ status: number; error: string; raw: boolean[] }> {
  const raw: boolean[] = [];
  let error = '';
  const commandLine = parseCommandLine([...ARGS.slice(2), ...args, 'vm'], { program: 'bhyve', readConfigFile, warn() {} });
  if (commandLine.kind === 'exit') return { status: commandLine.status, error: commandLine.error, raw };
  const nothing = (): void => {};
  const host: ForegroundProcess = {
    stdin: { isTTY: true, setRawMode: (mode) => raw.push(mode), on: nothing, pause: nothing, resume: nothing },
    stdoutFd: -1,
    writeError: (text) => {
      error += text;
    },
    on: nothing,
    off: nothing,
    onSignal: nothing,
    offSignal: nothing,
    onFatal: nothing,
    offFatal: nothing,
    die: nothing,
    exit: nothing,
    windowSize: () => undefined,
  };
  const status = await runInForeground(
    { program: 'bhyve', tree: commandLine.tree, process: host, createEngine: createFakeEngine, onReset: 'end', logLevel: 'warn' },
    bhyveStatus,
  );
  return { status, error, raw };
}

test('bad files and variables are one line and status 4, before the console is touched', async () => {
  writeFileSync(join(folder, 'empty'), '');
  for (const [args, message] of [
    [['-o', 'kernel=/nonexistent'], "bhyve: kernel '/nonexistent': cannot be read: no such file\n"],
    [['-o', 'kernel=/'], "bhyve: kernel '/': it is a directory; expected a file or a pipe\n"],
    [['-o', 'kernel=/dev/zero'], "bhyve: kernel '/dev/zero': it is a device; expected a file or a pipe\n"],
    [['-o', `kernel=${folder}/empty`], `bhyve: kernel '${folder}/empty': the file is empty\n`],
    [['-o', `kernel=${process.execPath}`, '-m', '16M'], /^bhyve: kernel .*: more than 16M; expected at most that \(guest memory: 16M\)\n$/],
    [['-o', 'initrd=/nonexistent'], "bhyve: initrd '/nonexistent': cannot be read: no such file\n"],
    [['-o', 'module.1.path=/x'], /^bhyve: module.0.path: not set; expected/],
    [['-m', '0'], /^bhyve: -m '0': invalid memsize; expected/],
    [['-m', '900T'], /^bhyve: -m '900T': invalid memsize; expected/],
    [['-c', '2'], 'bhyve: 2 vCPUs requested but only 1 available\n'],
    [['-l', 'com2,stdio'], /^bhyve: -l com2,stdio: com1 has stdio already/],
    [['-l', 'com2,/dev/null'], /^bhyve: -l com2 \/dev\/null: not a terminal/],
    [['-k', '/nonexistent'], "bhyve: Failed to open configuration file '/nonexistent': no such file\n"],
    [['-k', '/dev/zero'], /^bhyve: Failed to open configuration file '\/dev\/zero': it is a device/],
  ] as const) {
    const { status, error, raw } = await runHere(...args);
    assert.equal(status, 4, args.join(' '));
    if (typeof message === 'string') assert.equal(error, message);
    else assert.match(error, message);
    assert.equal(error.split('\n').length, 2, error);
    assert.deepEqual(raw, []);
  }
});

const onTerminal = (
  name: string,
  steps: readonly TerminalStep[],
  check: (result: TerminalResult) => void,
  args: readonly string[] = [],
): void => testOnTerminal(name, [...ARGS.slice(1), '-o', 'console.escape=true', ...args, 'vm'], steps, check);

onTerminal(
  'terminal: Ctrl-C, Ctrl-Z and Ctrl-D are bytes for the guest',
  [
    { expect: 'ready 1' },
    { raw: true },
    { send: 'echo \x03\x1a\x04\x1c\r' },
    { expect: '"\\u0003\\u001a\\u0004\\u001c"' },
    { send: 'off\r' },
  ],
  (result) => assert.equal(result.status, 1),
);

onTerminal('terminal: Ctrl-A x quits', [{ expect: 'ready 1' }, { send: '\x01x' }], (result) => assert.equal(result.status, 1));

onTerminal(
  "terminal: Ctrl-A c opens the monitor, the guest's output waits meanwhile",
  [
    { expect: 'ready 1' },
    { send: 'echo one\r' },
    { expect: '"one"' },
    { send: '\x01c' },
    { expect: '(tshyve) ' },
    { send: 'info registers\r' },
    { expect: 'registers: lives=1' },
    { expect: '(tshyve) ' },
    { send: 'nmi\r' },
    { expect: '(tshyve) ' },
    { send: 'hlep\x7f\x7f\x7felp\r' },
    { expect: 'powerdown ' },
    { expect: '(tshyve) ' },
    { send: 'info config\r' },
    { expect: 'lpc.com1.path=stdio' },
    { expect: '(tshyve) ' },
    { send: 'nonsense\r' },
    { expect: 'nonsense: unknown command' },
    { send: '\x01c' },
    { expect: 'nmi' },
    { send: 'echo \x01\x01\r' },
    { expect: '"\\u0001"' },
    { send: '\x01cquit\r' },
  ],
  (result) => assert.equal(result.status, 1),
);

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const) {
  onTerminal(
    `terminal: ${signal} from outside ends the process by that signal`,
    [{ expect: 'ready 1' }, { raw: true }, { signal }],
    (result) => assert.equal(result.status, -{ SIGTERM: 15, SIGINT: 2, SIGHUP: 1, SIGQUIT: 3 }[signal]),
  );
}

onTerminal('terminal: an uncaught error of ours', [{ expect: 'ready 1' }, { send: 'crash\r' }], (result) => {
  assert.equal(result.status, 4);
  assert.match(result.output, /bhyve: internal error: TypeError/);
});
onTerminal('terminal: a machine that fails', [{ expect: 'ready 1' }, { send: 'fail oh no\r' }], (result) => {
  assert.equal(result.status, 4);
  assert.match(result.output, /bhyve: oh no\r\n$/);
});
onTerminal('terminal: a kernel that is missing', [], (result) => assert.equal(result.status, 4), ['-o', 'kernel=/nonexistent']);
