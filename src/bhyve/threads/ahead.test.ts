import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { startThreadsAhead, takeThread } from './index.ts';

const memory = (pages: number): WebAssembly.Memory => new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });

test('whoever asks first gets the thread that was started ahead, the next one a new thread', async () => {
  const init = { memory0: memory(1), memory1: memory(1), traceFd: undefined };
  startThreadsAhead();
  const marker = new Worker('', { eval: true });
  const threads = [takeThread('compiler', { init }), takeThread('compiler', { init })] as const;
  const vcpu = takeThread('vcpu', { init: {}, program: new URL('data:text/javascript,') });
  try {
    assert.ok(threads[0].threadId < marker.threadId);
    assert.ok(threads[1].threadId > marker.threadId);
    assert.ok(vcpu.threadId > marker.threadId, 'another program is not the one that was started');
  } finally {
    await Promise.all([marker, vcpu, ...threads].map((thread) => thread.terminate()));
  }
});

test('a thread that nobody asks for keeps no program alive', () => {
  const program = `import { startThreadsAhead } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)}; startThreadsAhead();`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 60_000, encoding: 'utf8' });
  assert.deepEqual({ status, stderr }, { status: 0, stderr: '' });
});
