import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { table, type Command } from './command.ts';
import { runDoctor } from './doctor.ts';
import { runList } from './list.ts';
import { runPull } from './pull.ts';

async function withIo(
  body: (run: (command: Command, ...args: string[]) => Promise<{ status: number; stdout: string }>) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tshyve-commands-'));
  try {
    await body(async (command, ...args) => {
      let stdout = '';
      const io = {
        stdout: { write: (text: string) => void (stdout += text) },
        stderr: { write: () => {} },
        env: { XDG_CACHE_HOME: folder },
      };
      return { status: await command(args, io), stdout };
    });
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('each command has a help that names all of its options, and needs nothing to show it', async () => {
  await withIo(async (run) => {
    for (const [command, options] of [
      [runPull, ['--mirror', 'TSHYVE_DEBIAN_MIRROR', 'debian:6.12']],
      [runList, ['--json']],
      [runDoctor, ['--mirror', '--offline']],
    ] as const) {
      for (const flag of ['--help', '-h']) {
        const { status, stdout } = await run(command, flag);
        equal(status, 0);
        match(stdout, /^usage: tshyve \w+ /);
        for (const option of options) ok(stdout.includes(option), option);
      }
    }
  });
});

test('what is not accepted is named', async () => {
  await withIo(async (run) => {
    await rejects(run(runPull, '--nonsense'), { code: 'EUSAGE', message: /tshyve pull: .*'--nonsense'.*--help/ });
    await rejects(run(runPull, '--mirror'), { code: 'EUSAGE', message: /--mirror/ });
    await rejects(run(runPull, 'debian', 'slackware'), { code: 'ENOENT', message: /guest 'slackware': expected one of debian/ });
    await rejects(run(runList, 'x'), { code: 'EUSAGE', message: /tshyve list x: expected no operand/ });
    await rejects(run(runDoctor, 'x'), { code: 'EUSAGE', message: /tshyve doctor x: expected no operand/ });
  });
});

test('list shows every guest and its state, as text and as JSON', async () => {
  await withIo(async (run) => {
    match((await run(runList)).stdout, /debian +not pulled/);
    const guests = JSON.parse((await run(runList, '--json')).stdout) as { name: string }[];
    equal(guests[0]?.name, 'debian');
  });
});

test('doctor finds this machine, which runs the tests, fit for guests; offline it asks no mirror', async () => {
  await withIo(async (run) => {
    const { status, stdout } = await run(runDoctor, '--offline');
    equal(status, 0);
    for (const about of ['Node', 'WebAssembly', 'guest RAM', 'memory', 'cache', 'terminal', '/dev/kvm']) ok(stdout.includes(about), about);
    ok(!stdout.includes('mirror'));
    match(stdout, /Guests can be run here\.\n$/);
  });
});

test('doctor takes a dead mirror for a note, with what to do', async () => {
  await withIo(async (run) => {
    const { status, stdout } = await run(runDoctor, '--mirror', 'http://127.0.0.1:1/debian');
    equal(status, 0);
    match(stdout, /note +mirror +http:\/\/127\.0\.0\.1:1\/debian\/dists\/bookworm\/InRelease: .*\n +-> name another/);
  });
});

test('tables align all columns but the last', () => {
  deepEqual(
    table([
      ['a', 'bb'],
      ['ccc', 'd'],
    ]),
    'a    bb\nccc  d\n',
  );
});
