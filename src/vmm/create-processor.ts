/**
 * The software processor in the shape that the vCPU's loop drives.
 * Runs on: the vCPU's own thread.
 */
import { Processor } from '../cpu/index.ts';
import type { ProcessorFactory } from './host.ts';

export const createProcessor: ProcessorFactory = (init, host) =>
  new Processor({
    index: init.vcpu,
    memory0: init.memory0,
    memory1: init.memory1,
    modules: init.modules,
    ...(init.cpuTier && { tier: init.cpuTier }),
    nowNs: () => host.nowNs(),
    exit: (reason) => {
      host.exit(reason);
    },
    takeWrittenPages: () => host.takeWrittenPages(),
    random: (bytes) => {
      crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>);
    },
  });
