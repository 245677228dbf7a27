/**
 * The program of a vCPU's thread in tests.
 * Runs on: the vCPU's own thread.
 */
import { workerData } from 'node:worker_threads';
import type { VcpuInit } from '../host.ts';
import { runVcpu } from '../vcpu-loop.ts';
import { createScripted } from './scripted-processor.ts';

// What threadHost in fakes.ts hands over.
runVcpu(workerData as VcpuInit, { nowNs: () => Number(process.hrtime.bigint()) }, createScripted);
