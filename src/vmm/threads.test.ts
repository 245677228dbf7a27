/** Tests of the devices' lock and of the LAPIC's inbox between threads. */
import { equal, notEqual } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { InCoreMachine } from './testing/in-core-machine.ts';
import type { TakerData } from './testing/interrupt-taker.ts';

const INTERRUPTS = 2000;

test('no interrupt posted from another thread is lost, neither edge nor level nor MSI', async () => {
  const m = new InCoreMachine();
  m.enableLapic();
  m.route(4, 0x44);
  m.route(20, 0x8000 | 0x55);
  const counters = new Int32Array(new SharedArrayBuffer(8));
  const module = new WebAssembly.Module(readFileSync(new URL('../generated/vmm.wasm', import.meta.url)));
  const worker = new Worker(new URL('./testing/interrupt-taker.ts', import.meta.url), { workerData: { module, memory0: m.memory, vcpu: m.cpu(), counters } satisfies TakerData });
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
  await new Promise((resolve) => { worker.once('exit', resolve); });
});
