/** Tests of the registry of virtual machines. */
import { deepEqual, equal, rejects, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { threadlessHost } from '../vmm/testing/fakes.ts';
import { MAX_NAME_BYTES, Vmmapi } from './index.ts';

const code = (expected: string) => ({ code: expected });

test('a name belongs to one VM, from create to destroy', async () => {
  const api = new Vmmapi(threadlessHost());
  throws(() => api.open('a'), code('ENOENT'));
  const vm = api.create('a');
  equal(api.open('a'), vm);
  throws(() => api.create('a'), code('EEXIST'));
  deepEqual(api.names(), ['a']);
  await api.destroy('a');
  await rejects(api.destroy('a'), code('EINVAL'));
  throws(() => api.open('a'), code('ENOENT'));
  api.create('a');
});

test('names that no device node could have are refused', () => {
  const api = new Vmmapi(threadlessHost());
  for (const name of ['', '.', '..', 'a/b', 'a\n', '\0']) throws(() => api.create(name), code('EINVAL'), JSON.stringify(name));
  throws(() => api.create('x'.repeat(MAX_NAME_BYTES + 1)), code('ENAMETOOLONG'));
  throws(() => api.create('\u00e9'.repeat(MAX_NAME_BYTES / 2 + 1)), code('ENAMETOOLONG'));
  api.create('x'.repeat(MAX_NAME_BYTES));
  api.create('debian 12, the second');
});

test('openf makes, reopens or reinitialises, as its flags say', () => {
  const api = new Vmmapi(threadlessHost());
  throws(() => api.openf('a', {}), code('ENOENT'));
  throws(() => api.openf('a', { reinit: true }), code('ENOENT'));
  const vm = api.openf('a', { create: true, reinit: true });
  equal(api.openf('a', {}), vm);
  throws(() => api.openf('a', { create: true }), code('EEXIST'));
  vm.setupMemory(4096 * 16);
  equal(api.openf('a', { create: true, reinit: true }), vm);
  vm.vcpu(0).activate();
  throws(() => api.openf('a', { reinit: true }), code('EBUSY'));
});

test('two registries do not share names', () => {
  const host = threadlessHost();
  const one = new Vmmapi(host),
    two = new Vmmapi(host);
  one.create('a');
  two.create('a');
});
