/**
 * The program of a vCPU's thread on Node.
 * Runs on: the vCPU's own thread.
 */
import { parentPort } from 'node:worker_threads';
import { loadProcessor, runVcpu } from '../vmmapi/index.ts';
import { RemoteCompiler } from './compiler-link.ts';
import { monotonicNs, type NodeVcpuInit } from './host-node.ts';
import { hostRandom } from './host-random.ts';

async function work(init: NodeVcpuInit): Promise<void> {
  const elsewhere = init.compiler && new RemoteCompiler(init.compiler);
  // It is used where everything is compiled here. A reader that goes away is nobody's concern.
  const trace = init.traceFd === undefined ? undefined : (await import('./trace-writer.ts')).traceWriter(init.traceFd, () => {});
  runVcpu(init, { nowNs: monotonicNs }, await loadProcessor(init, { elsewhere, trace, random: hostRandom }));
}

// What spawn in host-node.ts hands over: see threads.ts.
parentPort!.once('message', (init: NodeVcpuInit) => void work(init));
