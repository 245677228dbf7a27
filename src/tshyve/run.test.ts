import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { VmError } from '../base/errors.ts';
import { describe } from '../bhyve/index.ts';
import { runTshyve } from './cli.ts';
import { parseRun, runStatus, setBoot } from './run.ts';
import type { RunRequest } from './run.ts';

const folder = mkdtempSync(join(tmpdir(), 'tshyve-run-'));
after(() => rmSync(folder, { recursive: true }));
const bzImage = join(folder, 'bzImage');
writeFileSync(bzImage, Buffer.concat([Buffer.alloc(0x202), Buffer.from('HdrS'), Buffer.alloc(100)]));
const GUEST = { kernelPath: '/g/vmlinuz', initrdPath: '/g/initrd', commandLine: 'console=ttyS0 quiet', description: '' };

function request(...args: string[]): RunRequest {
  const parsed = parseRun(args, () => {});
  assert.ok(parsed);
  return parsed;
}

function boot(guest: typeof GUEST | undefined, ...args: string[]): (string | undefined)[] {
  const parsed = request(...args);
  setBoot(parsed, guest);
  return ['kernel', 'initrd', 'cmdline'].map((variable) => parsed.tree.get(variable));
}

test('options, in any place', () => {
  const parsed = request(
    '--memory',
    '1G',
    'debian',
    '--cpus=1',
    '-l',
    'com2,tcp=127.0.0.1:9000',
    '-o',
    'x86.strictio=1',
    '--no-reboot',
    '--stats',
    '--cpu-tier',
    'interpreter',
    '--code-cache=64M',
    '--mirror=http://m',
    '-l',
    'pctestdev',
  );
  assert.deepEqual([parsed.guest, parsed.noReboot, parsed.stats, parsed.mirror], ['debian', true, true, 'http://m']);
  for (const [variable, value] of [
    ['memory.size', '1G'],
    ['cpus', '1'],
    ['lpc.com1.path', 'stdio'],
    ['lpc.com2.path', 'tcp=127.0.0.1:9000'],
    ['x86.strictio', '1'],
    ['cpu.tier', 'interpreter'],
    ['cpu.codecache', '64M'],
    ['name', 'debian'],
    ['lpc.pc-testdev', 'true'],
    ['console.escape', 'true'],
    ['pci.0.31.0.device', 'lpc'],
    ['rtc.use_localtime', 'false'],
  ] as const)
    assert.equal(parsed.tree.get(variable), value, variable);
  assert.equal(request('-s', '3,lpc', '-s', '0,amd_hostbridge').tree.get('pci.0.31.0.device'), undefined);
  assert.equal(request('-s', '0,lpc').tree.get('pci.0.31.0.device'), undefined);
  assert.equal(request('-l', 'com1,none').tree.get('lpc.com1.path'), 'none');
  assert.equal(request('--mem', '2G').tree.get('memory.size'), '2G');
  assert.equal(request('debian', '--trace-jit').tree.get('cpu.tracejit'), '-');
  assert.equal(request('--trace-jit', 'debian').guest, 'debian');
  assert.equal(request('--trace-jit=a%b\\').tree.get('cpu.tracejit'), 'a%b\\');
  assert.equal(request().tree.get('cpu.tracejit'), undefined);
  assert.equal(request().guest, 'debian');
  assert.equal(request('--kernel', 'x').guest, undefined);
  assert.equal(request('--initrd', 'x').guest, 'debian');
  assert.equal(request('-l', 'bootrom,/r').guest, undefined);
});

test("kernel, initrd and command line: the guest's own, and what the user puts in their place", () => {
  assert.deepEqual(boot(GUEST, 'debian'), ['/g/vmlinuz', '/g/initrd', 'console=ttyS0 quiet']);
  assert.deepEqual(boot(GUEST, 'debian', '--append', 'debug 100%'), ['/g/vmlinuz', '/g/initrd', 'console=ttyS0 quiet debug 100%']);
  assert.deepEqual(boot(GUEST, 'debian', '--kernel', '/k', '--initrd', '/i'), ['/k', '/i', 'console=ttyS0 quiet']);
  assert.deepEqual(boot(undefined, '--kernel', '/k'), ['/k', undefined, undefined]);
  assert.deepEqual(boot(undefined, '--kernel', bzImage), [bzImage, undefined, 'console=ttyS0']);
  assert.deepEqual(boot(undefined, '--kernel', bzImage, '--append', ''), [bzImage, undefined, undefined]);
  assert.deepEqual(boot(undefined, '--kernel', '/k', '--append', 'a=%(b) \\'), ['/k', undefined, 'a=%(b) \\']);
  assert.deepEqual(boot(undefined, '-o', 'kernel=/k', '-o', 'cmdline=x'), ['/k', undefined, 'x']);
});

test("the exit status is 0 when it ended as wanted, else bhyve's", () => {
  for (const [end, status] of [
    [{ reason: 'poweroff' }, 0],
    [{ reason: 'reset' }, 0],
    [{ reason: 'quit' }, 0],
    [{ reason: 'halt' }, 2],
    [{ reason: 'triplefault' }, 3],
    [{ reason: 'debug-exit', status: 35 }, 35],
  ] as const)
    assert.equal(runStatus(end), status);
});

async function tshyve(...args: string[]): Promise<{ status: number; out: string; error: string }> {
  let out = '',
    error = '';
  const status = await runTshyve(
    args,
    {
      stdout: {
        write: (text) => {
          out += text;
        },
      },
      stderr: {
        write: (text) => {
          error += text;
        },
      },
      env: { XDG_CACHE_HOME: folder },
    },
    (error) => Promise.resolve(describe(error)),
  );
  return { status, out, error };
}

test('whatever is not accepted is one line that names it, and status 4', async () => {
  for (const [args, message] of [
    [['fly'], 'tshyve: fly: unknown command; expected run, pull, list, doctor\n'],
    [['run', '--warp', '9'], "tshyve run: unrecognized option `--warp'; 'tshyve run --help' lists what is accepted\n"],
    [['run', '--kernel'], /^tshyve run: option `--kernel' requires an argument/],
    [['run', '--no-reboot=1'], /^tshyve run: option `--no-reboot' doesn't allow an argument/],
    [['run', '-z'], /^tshyve run: invalid option -- z/],
    [['run', '--m', '1G'], /^tshyve run: option `--m' is ambiguous/],
    [['run', 'plan9'], /^tshyve: guest 'plan9': expected one of debian/],
    [['run', 'debian', 'debian'], /^tshyve run 'debian' 'debian': expected one guest/],
    [['run', '--kernel', ''], "tshyve: --kernel '': expected the path of a file\n"],
    [['run', '--kernel', '/nonexistent'], "tshyve: kernel '/nonexistent': cannot be read: no such file\n"],
    [['run', '--kernel', folder], /^tshyve: kernel '.*': it is a directory; expected a file or a pipe\n$/],
    [['run', '--kernel', bzImage, '--initrd', '/nonexistent'], "tshyve: initrd '/nonexistent': cannot be read: no such file\n"],
    [['run', '--kernel', bzImage, '-m', '0'], /^tshyve: -m '0': invalid memsize; expected/],
    [['run', '--kernel', bzImage, '--memory', '-5'], /^tshyve: -m '-5': invalid memsize/],
    [['run', '--kernel', bzImage, '--memory', ''], /^tshyve: --memory '': expected a size/],
    [['run', '--kernel', bzImage, '--cpus', 'many'], /^tshyve: Invalid value for cpus: 'many'/],
    [['run', '--kernel', bzImage, '--cpus', '2'], 'tshyve: 2 vCPUs requested but only 1 available\n'],
    [['run', '--cpus', 'x=1'], /^tshyve: --cpus 'x=1': expected N or/],
    [['run', '--kernel', bzImage, '--cpu-tier', 'warp'], /^tshyve: cpu.tier='warp': expected default or interpreter/],
    [['run', '--kernel', bzImage, '--trace-jit='], /^tshyve: --trace-jit '': expected the path of a file/],
    [['run', '--kernel', bzImage, '--trace-jit=t', '--cpu-tier', 'interpreter'], /^tshyve: cpu.tracejit='t': nothing is compiled/],
    [['run', '--kernel', bzImage, `--trace-jit=${folder}`], /^tshyve: cpu.tracejit '.*': cannot be written: it is a directory\n$/],
    [['run', '-l', 'com9,stdio'], /^tshyve: -l 'com9,stdio': expected com1 to com4/],
    [['run', '--kernel', bzImage, '-l', 'com1,file'], /^tshyve: -l com1 'file': unknown backend/],
    [['run', '-o', 'x'], /^tshyve: -o 'x': invalid configuration option; expected KEY=VALUE/],
    [['run', '-s', '3,virtio-net,slirp'], /^tshyve: pci slot 0:3:0: device "virtio-net" is not in this version/],
    [['run', 'debian', '-l', 'bootrom,/r'], /^tshyve: -l bootrom,\/r: a boot ROM boots by itself/],
    [['list', 'x'], /^tshyve list x: expected no operand/],
    [['pull', '--fast'], /^tshyve pull: .*--fast/],
  ] as const) {
    const { status, out, error } = await tshyve(...args);
    assert.equal(status, 4, `${args.join(' ')}: ${error}`);
    if (typeof message === 'string') assert.equal(error, message);
    else assert.match(error, message);
    assert.equal(error.split('\n').length, 2, error);
    assert.equal(out, '');
  }
});

test('--help everywhere', async () => {
  for (const args of [
    ['--help'],
    ['-h'],
    ['run', '--help'],
    ['run', 'debian', '-h'],
    ['pull', '--help'],
    ['list', '--help'],
    ['doctor', '--help'],
  ]) {
    const { status, out, error } = await tshyve(...args);
    assert.deepEqual([status, error], [0, ''], args.join(' '));
    assert.match(out, /^usage: tshyve /);
  }
  const bare = await tshyve();
  assert.equal(bare.status, 4);
  assert.match(bare.error, /^usage: tshyve COMMAND/);
});

test('config.dump prints what would be run', async () => {
  const { status, out } = await tshyve('run', '--kernel', bzImage, '-o', 'config.dump=1');
  assert.equal(status, 1);
  assert.ok(out.includes(`kernel=${bzImage}\n`) && out.includes('cmdline=console=ttyS0\n'));
});

test('fuzz: any words are a request or a VmError', () => {
  const word = fc.oneof(
    fc.string(),
    fc.constantFrom(
      '--kernel',
      '--memory=1G',
      '-l',
      '-o',
      '-s',
      '--append',
      '--',
      'debian',
      '-c',
      'com1,none',
      'a=b',
      '31,lpc',
      '--no-reboot',
    ),
  );
  fc.assert(
    fc.property(fc.array(word), (args) => {
      try {
        const parsed = parseRun(args, () => {});
        if (parsed) setBoot(parsed, parsed.guest === undefined ? undefined : GUEST);
      } catch (error) {
        assert.ok(error instanceof VmError, String(error));
      }
    }),
  );
});
