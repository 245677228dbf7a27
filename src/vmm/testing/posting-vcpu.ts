/**
 * A vCPU's thread that does nothing but write numbers to a port, with a poll at the end of each slice.
 * Runs on: a worker of vmm/threads.test.ts.
 */
import { workerData } from 'node:worker_threads';
import { instantiateVmm } from '../vmm-exports.ts';

export interface PosterData {
  readonly module: WebAssembly.Module;
  readonly memory0: WebAssembly.Memory;
  readonly vcpu: number;
  readonly port: number;
  readonly writes: number;
}

const { module, memory0, vcpu, port, writes } = workerData as PosterData;
const vmm = instantiateVmm(module, memory0, { nowNs: () => 0, exit: () => {} });
for (let i = 0; i < writes; i++) {
  vmm.portWrite(vcpu, port, 4, i);
  if (i % 100 === 99) vmm.poll(vcpu);
}
vmm.announcePosted();
