/**
 * The program of a vCPU's thread on Node.
 * Runs on: the vCPU's own thread.
 */
import { enableCompileCache } from 'node:module';
import { workerData } from 'node:worker_threads';
import type { VcpuInit } from '../vmmapi/index.ts';
import { monotonicNs } from './host-node.ts';

// The instruction set is a lot of source: compiled once, it loads in a third of the time. So it is imported after this line.
enableCompileCache();
const { createProcessor, runVcpu } = await import('../vmmapi/index.ts');

// What spawn in host-node.ts hands over.
runVcpu(workerData as VcpuInit, { nowNs: monotonicNs }, createProcessor);
