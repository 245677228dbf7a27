/**
 * The software processor in the shape that the vCPU's loop drives.
 * Runs on: the vCPU's own thread.
 */
import { Processor, compiles, loadCompiler, type Compiler, type CpuTier } from '../cpu/index.ts';
import type { ProcessorFactory, VcpuInit } from './host.ts';

/** Is there work for a thread that compiles? Where everything is compiled, it happens on the vCPU's, before it is executed. */
export const compilesElsewhere = (tier: CpuTier | undefined): boolean => compiles(tier) && tier !== 'always';

/**
 * Load what the tier needs; the factory it resolves to makes processors of that tier.
 * @param elsewhere compiles on another thread; absent: this one does.
 */
export async function loadProcessor({ cpuTier, memory1 }: VcpuInit, elsewhere?: Compiler): Promise<ProcessorFactory> {
  let compiler: Compiler | undefined;
  if (cpuTier === 'always') compiler = new (await loadCompiler()).LocalCompiler(memory1, { cap: 250, minimum: 1 });
  else if (compilesElsewhere(cpuTier)) compiler = elsewhere ?? new (await loadCompiler()).LocalCompiler(memory1);
  return (init, host) =>
    new Processor({
      index: init.vcpu,
      memory0: init.memory0,
      memory1: init.memory1,
      modules: init.modules,
      ...(init.cpuTier && { tier: init.cpuTier }),
      compiler,
      codeCacheBytes: init.codeCacheBytes,
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
