import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';

/** Priority of a thread before and after it has given way, and of the thread that started it. */
async function priorities(): Promise<{ before: number; after: number; starter: number }> {
  const program = `
    const { readlinkSync } = require('node:fs');
    const { getPriority } = require('node:os');
    const { parentPort } = require('node:worker_threads');
    const self = Number(readlinkSync('/proc/thread-self').replace(/.*\\//, ''));
    import(${JSON.stringify(new URL('./background.ts', import.meta.url).href)}).then(({ giveWay }) => {
      const before = getPriority(self);
      giveWay();
      parentPort.postMessage({ before, after: getPriority(self), starter: getPriority(process.pid) });
    });`;
  const worker = new Worker(program, { eval: true });
  return await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

test(
  'a thread that gives way is alone in it',
  { skip: process.platform !== 'linux' && 'priorities of threads are those of Linux' },
  async () => {
    const { before, after, starter } = await priorities();
    assert.equal(after, Math.max(before, 10));
    assert.equal(starter, before);
  },
);
