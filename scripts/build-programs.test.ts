import { deepEqual, equal, match } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { echoKernel } from '../src/tshyve/testing/echo-kernel.ts';

const root = fileURLToPath(new URL('..', import.meta.url)),
  dist = join(root, 'dist');

test('both commands run a guest from the bundles', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tshyve-programs-')),
    kernel = join(folder, 'echo');
  try {
    writeFileSync(kernel, echoKernel());
    for (const [name, args] of [
      ['tshyve', ['run', '--kernel', kernel, '--memory=16M', '-l', 'pctestdev']],
      ['bhyve', ['-m', '16M', '-s', '31,lpc', '-l', 'com1,stdio', '-l', 'pc-testdev', '-o', `kernel=${kernel}`, 'vm']],
    ] as const) {
      const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, `bin/${name}.mjs`), ...args], {
        input: 'hello q',
        encoding: 'latin1',
        timeout: 60_000,
      });
      deepEqual({ status, stdout, stderr }, { status: 7, stdout: 'ready\nhello q', stderr: '' }, name);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('what a subcommand alone needs is loaded by it alone', () => {
  const { status, stdout } = spawnSync(
    process.execPath,
    [
      '-e',
      `require(process.argv[1]); process.on('exit', () => console.log(process.moduleLoadList.join()))`,
      join(dist, 'tshyve.cjs'),
      '--help',
    ],
    { encoding: 'utf8', timeout: 60_000 },
  );
  equal(status, 0);
  match(stdout, /^usage: tshyve/);
  for (const name of ['http', 'tls', 'zlib', 'crypto']) equal(stdout.includes(`NativeModule ${name},`), false, name);
});

test('what was compiled in the run at build time is taken by V8', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tshyve-programs-')),
    hook = join(folder, 'hook.cjs');
  try {
    writeFileSync(
      hook,
      `const vm = require('node:vm');
      vm.Script = class extends vm.Script {
        constructor(source, options) { super(source, options); process.stderr.write(options.cachedData.length > 0 && !this.cachedDataRejected ? 'taken' : 'refused'); }
      };`,
    );
    const { stderr } = spawnSync(process.execPath, [join(root, 'bin/tshyve.mjs'), '--help'], {
      encoding: 'utf8',
      timeout: 60_000,
      env: { ...process.env, NODE_OPTIONS: `--require=${hook}` },
    });
    equal(stderr, 'taken');
  } finally {
    rmSync(folder, { recursive: true });
  }
  for (const name of ['tshyve', 'bhyve', 'vcpu', 'compiler'])
    equal(readdirSync(dist).filter((file) => new RegExp(`^${name}-\\w+\\.code$`).test(file)).length, 1, name);
});

test('a stack trace finds its way to the sources', () => {
  const maps = readdirSync(dist).filter((file) => file.endsWith('.cjs.map'));
  equal(maps.length, 4);
  for (const map of maps) {
    const { sources } = JSON.parse(readFileSync(join(dist, map), 'utf8')) as { sources: string[] };
    for (const source of sources) equal(existsSync(resolve(dist, source)), true, `${map}: ${source}`);
  }
});
