import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeEngine } from '../bhyve/testing/fake-engine.ts';
import { VM } from './vm.ts';
import type { VmConfig } from './vm.ts';

const kernel = new TextEncoder().encode('kernel');
const create = (config: VmConfig = {}): Promise<VM> => VM.create({ kernel, ...config }, { createEngine: createFakeEngine });

test('create, start, talk, power off', async () => {
  const vm = await create({ name: 'one' });
  const events: string[] = [];
  vm.on('start', () => events.push('start'))
    .on('restart', (count) => events.push(`restart ${count}`))
    .on('exit', ({ reason }) => events.push(`exit ${reason}`));
  assert.equal(vm.state, 'created');
  await vm.start();
  await vm.serial.expect('ready 1');
  await vm.serial.write('echo hello\n');
  await vm.serial.expect('"hello"');
  assert.equal(await vm.inspect('status'), 'status: lives=1\n');
  await vm.serial.write('reboot\n');
  await vm.serial.expect('ready 2');
  await vm.serial.write('off\n');
  assert.deepEqual(await vm.waitForExit(), { reason: 'poweroff' });
  assert.deepEqual(events, ['start', 'restart 1', 'exit poweroff']);
  assert.equal(vm.state, 'ended');
  await assert.rejects(vm.start(), { code: 'EBUSY' });
  await assert.rejects(vm.inspect('status'), { code: 'ESRCH' });
  assert.deepEqual(await vm.stop(), { reason: 'poweroff' });
});

test('two VMs in one process do not know of each other', async () => {
  await using first = await create({ name: 'first' });
  await using second = await create({ name: 'second' });
  await Promise.all([first.start(), second.start()]);
  await Promise.all([first.serial.write('echo one\n'), second.serial.write('echo two\n')]);
  assert.deepEqual(
    (await Promise.all([first.serial.expect(/"(\w+)"/), second.serial.expect(/"(\w+)"/)])).map(({ groups }) => groups[0]),
    ['one', 'two'],
  );
  await first.stop();
  assert.equal(second.state, 'running');
});

test('every way to end', async () => {
  for (const [line, exit] of [
    ['halt\n', { reason: 'halt' }],
    ['triple\n', { reason: 'triplefault' }],
    ['exit 9\n', { reason: 'debug-exit', status: 9 }],
  ] as const) {
    const vm = await create();
    await vm.start();
    await vm.serial.write(line);
    assert.deepEqual(await vm.waitForExit(), exit);
  }
  const ends = await create({ onReset: 'end' });
  await ends.start();
  await ends.serial.write('reboot\n');
  assert.deepEqual(await ends.waitForExit(), { reason: 'reset' });
  const fails = await create();
  await fails.start();
  const waiting = fails.serial.expect('never');
  await fails.serial.write('fail on fire\n');
  const exit = await fails.waitForExit();
  assert.ok(exit.reason === 'error' && exit.error.message === 'on fire');
  await assert.rejects(waiting, { code: 'EIO' });
  const unstarted = await create();
  assert.deepEqual(await unstarted.stop(), { reason: 'stopped' });
});

test('stop: the plug at once, or the power button first', async () => {
  const plug = await create();
  await plug.start();
  assert.deepEqual(await plug.stop(), { reason: 'stopped' });
  const polite = await create();
  await polite.start();
  assert.equal(polite.pressPowerButton(), false);
  await polite.serial.write('acpi\n');
  await polite.serial.expect('acpi on');
  assert.deepEqual(await polite.stop({ timeoutMs: 1000 }), { reason: 'poweroff' });
  await polite.serial.expect('power button');
});

test('what is wrong with a configuration is said by create', async () => {
  for (const [config, message] of [
    [{ kernel: '/nonexistent' }, "kernel '/nonexistent': cannot be read: no such file"],
    [{ kernel, initrd: '/nonexistent' }, "initrd '/nonexistent': cannot be read: no such file"],
    [{}, /^vm: no bootrom was configured/],
    [{ kernel, memory: 0 }, /^memory: 0: expected a number of bytes/],
    [{ kernel, memory: 1.5 }, /^memory: 1.5/],
    [{ kernel, memory: 'lots' }, /^-m 'lots': invalid memsize/],
    [{ kernel, cpus: 0 }, /^Invalid value for cpus: '0'/],
    [{ kernel, cpus: 1.5 }, /^Invalid value for cpus: '1.5'/],
    [{ kernel, name: 'a/b' }, /^VM name 'a\/b'/],
    [{ guest: 'plan9' }, /^guest 'plan9': expected one of debian/],
    [{ kernel, options: { 'gdb.port': '1' } }, /^gdb.port='1': the debug server/],
    [{ kernel, options: { '': 'x' } }, /^Invalid configuration node/],
  ] as const) {
    await assert.rejects(VM.create(config, { createEngine: createFakeEngine }), (error: Error) => {
      if (typeof message === 'string') assert.equal(error.message, message);
      else assert.match(error.message, message);
      return true;
    });
  }
});
