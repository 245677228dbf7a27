/**
 * The program of a vCPU's thread on Node.
 * Runs on: the vCPU's own thread.
 */
import { workerData } from 'node:worker_threads';
import { loadProcessor, runVcpu, type VcpuInit } from '../vmmapi/index.ts';
import { monotonicNs } from './host-node.ts';

// What spawn in host-node.ts hands over.
const init = workerData as VcpuInit;
runVcpu(init, { nowNs: monotonicNs }, await loadProcessor(init.cpuTier));
