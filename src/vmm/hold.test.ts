/** Tests of holding vCPUs, with waits that are made up. */
import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { VCPUS, VCPU_STRIDE, WASM_PAGE_BYTES } from '../base/memory-map.ts';
import { Holder } from './hold.ts';
import { RUN_STATE, SharedWords, type Waits } from './host-state.ts';

function words(wait: Waits['wait']): { shared: SharedWords; notified: number[] } {
  const pages = (VCPUS + 2 * VCPU_STRIDE) / WASM_PAGE_BYTES;
  const notified: number[] = [];
  const memory0 = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return {
    shared: new SharedWords(memory0, {
      wait,
      notify: (_words, index) => {
        notified.push(index);
      },
    }),
    notified,
  };
}

test('a hold may be nested; the thread is woken when the last one ends, also by an error', () => {
  const { shared, notified } = words(() => 'ok');
  const holder = new Holder(shared);
  const hold = shared.vcpuIndex(1, 'hold');
  throws(
    () =>
      holder.withHeld([1], () => {
        holder.withHeld([0, 1], () => {
          equal(shared.load(1, 'hold'), 2);
        });
        deepEqual(notified, [shared.vcpuIndex(0, 'hold')]);
        throw new Error('inside');
      }),
    /inside/,
  );
  equal(shared.load(1, 'hold'), 0);
  deepEqual(notified, [shared.vcpuIndex(0, 'hold'), hold]);
});

test('a running vCPU is asked to stop, and a sleeping one is left alone', () => {
  const asked: number[] = [];
  const { shared } = words(() => {
    asked.push(Atomics.load(shared.i32, shared.requestsIndex(0)));
    shared.store(0, 'state', RUN_STATE.PAUSED);
    return 'ok';
  });
  shared.store(0, 'state', RUN_STATE.RUNNING);
  shared.store(1, 'state', RUN_STATE.SLEEPING);
  equal(
    new Holder(shared).withHeld([0, 1], () => 5),
    5,
  );
  deepEqual(asked, [1]);
  equal(Atomics.load(shared.i32, shared.requestsIndex(1)), 0);
});

test('a vCPU that cannot stop by itself is relieved; one that never stops is an error, and is not held afterwards', () => {
  const { shared } = words(() => 'timed-out');
  const holder = new Holder(shared);
  shared.store(0, 'state', RUN_STATE.RUNNING);
  holder.relieve = () => {
    shared.store(0, 'state', RUN_STATE.EXITED);
  };
  holder.withHeld([0], () => {});
  shared.store(0, 'state', RUN_STATE.RUNNING);
  holder.relieve = () => {};
  throws(
    () => {
      holder.withHeld([0], () => {});
    },
    { code: 'ETIMEDOUT' },
  );
  equal(shared.load(0, 'hold'), 0);
});
