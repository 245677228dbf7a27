/** Tests of the devices' lock and of the LAPIC's inbox between threads. */
import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { PORT_MODES } from '../base/memory-map.ts';
import { PORT_MODE_POSTED } from './layout.ts';
import { PostedRing } from './posted-ring.ts';
import { InCoreMachine } from './testing/in-core-machine.ts';
import type { TakerData } from './testing/interrupt-taker.ts';
import type { PosterData } from './testing/posting-vcpu.ts';

const INTERRUPTS = 2000;
/** Several rings full, from each of two vCPUs. */
const WRITES = 10_000;
const module = new WebAssembly.Module(readFileSync(new URL('../generated/vmm.wasm', import.meta.url)));

test('no interrupt posted from another thread is lost, neither edge nor level nor MSI', async () => {
  const m = new InCoreMachine();
  m.enableLapic();
  m.route(4, 0x44);
  m.route(20, 0x8000 | 0x55);
  const counters = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(new URL('./testing/interrupt-taker.ts', import.meta.url), {
    workerData: { module, memory0: m.memory, vcpu: m.cpu(), counters } satisfies TakerData,
  });
  for (let sent = 0; sent < INTERRUPTS; sent++) {
    if (sent % 3 === 0) m.vmm.isaPulse(4, 4);
    else if (sent % 3 === 1) m.vmm.ioapicPulse(20);
    else m.vmm.lapicMsi(0xfee00000n, 0x66n);
    // The next is sent when this one was taken, so that none may collapse.
    while (Atomics.load(counters, 0) === sent) notEqual(Atomics.wait(counters, 0, sent, 5000), 'timed-out');
  }
  equal(Atomics.load(counters, 0), INTERRUPTS);
  Atomics.store(counters, 1, 1);
  m.vmm.kick(0, 1);
  await new Promise((resolve) => {
    worker.once('exit', resolve);
  });
});

test('vCPUs that post more than the ring holds wait for the consumer, and each one’s writes keep their order', async () => {
  const m = new InCoreMachine({ vcpus: 2 });
  m.view.setUint8(PORT_MODES + 0x3f8, PORT_MODE_POSTED << 4);
  const next = [0, 0],
    disorder: number[] = [];
  let finished = (): void => {};
  const all = new Promise<void>((resolve) => {
    finished = resolve;
  });
  const ring = new PostedRing(
    m.memory,
    {
      writePort(_port, _sizeBytes, value, vcpu) {
        if (value !== next[vcpu]) disorder.push(vcpu);
        next[vcpu] = value + 1;
        if (next[0] === WRITES && next[1] === WRITES) finished();
      },
      writeMemory() {},
    },
    () => nextTurn(),
  );
  const served = ring.run();
  const workers = [0, 1].map(
    (i) =>
      new Worker(new URL('./testing/posting-vcpu.ts', import.meta.url), {
        workerData: { module, memory0: m.memory, vcpu: m.cpu(i), port: 0x3f8, writes: WRITES } satisfies PosterData,
      }),
  );
  await Promise.all([
    all,
    ...workers.map(
      (worker) =>
        new Promise((resolve) => {
          worker.once('exit', resolve);
        }),
    ),
  ]);
  ring.close();
  await served;
  deepEqual([next, disorder], [[WRITES, WRITES], []]);
});
