/**
 * The program of a vCPU's thread on Node.
 * Runs on: the vCPU's own thread.
 */
import { workerData } from 'node:worker_threads';
import { loadProcessor, runVcpu } from '../vmmapi/index.ts';
import { RemoteCompiler } from './compiler-link.ts';
import { monotonicNs, type NodeVcpuInit } from './host-node.ts';
import { traceWriter } from './trace-file.ts';

// What spawn in host-node.ts hands over.
const init = workerData as NodeVcpuInit;
const remote = init.compiler && new RemoteCompiler(init.compiler);
const trace = init.traceFd === undefined ? undefined : traceWriter(init.traceFd, () => {});
runVcpu(init, { nowNs: monotonicNs }, await loadProcessor(init, remote, trace));
