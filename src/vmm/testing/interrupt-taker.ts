/**
 * A vCPU's thread that does nothing but take interrupts: sleeps on its requests word, takes, ends, counts.
 * Runs on: a worker of vmm/threads.test.ts.
 */
import { workerData } from 'node:worker_threads';
import { VCPU_REQUESTS } from '../../generated/vcpu-layout.ts';
import { instantiateVmm } from '../vmm-exports.ts';

export interface TakerData {
  readonly module: WebAssembly.Module;
  readonly memory0: WebAssembly.Memory;
  readonly vcpu: number;
  /** [0] interrupts taken, [1] 1: end. */
  readonly counters: Int32Array;
}

const { module, memory0, vcpu, counters } = workerData as TakerData;
const vmm = instantiateVmm(module, memory0, { nowNs: () => 0, exit: () => {} });
const words = new Int32Array(memory0.buffer),
  requests = (vcpu + VCPU_REQUESTS) >> 2;

while (Atomics.load(counters, 1) === 0) {
  Atomics.store(words, requests, 0);
  while (vmm.interruptVector(vcpu) >= 0) {
    vmm.interruptAck(vcpu);
    vmm.mmioWrite(vcpu, 0xfee000b0n, 4, 0n);
    Atomics.add(counters, 0, 1);
    Atomics.notify(counters, 0);
  }
  Atomics.wait(words, requests, 0, 5000);
}
