/**
 * The software processor in the shape that the vCPU's loop drives.
 * Runs on: the vCPU's own thread.
 */
import { Processor, compiles, loadCompiler, type CpuTier } from '../cpu/index.ts';
import type { ProcessorFactory } from './host.ts';

/** Load what the tier needs; the factory it resolves to makes processors of that tier. */
export async function loadProcessor(tier: CpuTier | undefined): Promise<ProcessorFactory> {
  const compiler = compiles(tier) ? await loadCompiler() : undefined;
  return (init, host) =>
    new Processor({
      index: init.vcpu,
      memory0: init.memory0,
      memory1: init.memory1,
      modules: init.modules,
      ...(tier && { tier }),
      compiler,
      nowNs: () => host.nowNs(),
      exit: (reason) => {
        host.exit(reason);
      },
      takeWrittenPages: () => host.takeWrittenPages(),
      random: (bytes) => {
        crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>);
      },
    });
}
