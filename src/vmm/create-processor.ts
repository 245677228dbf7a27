/**
 * The software processor in the shape that the vCPU's loop drives.
 * Runs on: the vCPU's own thread.
 */
import { Processor, compiles, loadCompiler, loadTrace, type Compiler, type CpuTier, type RegionLimits } from '../cpu/index.ts';
import type { ProcessorFactory, VcpuInit } from './host.ts';

/** Is there work for a thread that compiles? Where everything is compiled, it happens on the vCPU's, before it is executed. */
export const compilesElsewhere = (tier: CpuTier | undefined): boolean => compiles(tier) && tier !== 'always';

/** What the processors of a thread are given by the program around it. */
export interface ProcessorNeeds {
  /** Compiles on another thread; absent: this one does. */
  readonly elsewhere?: Compiler | undefined;
  /** Is given text about each region that is compiled here. */
  readonly trace?: ((text: string) => void) | undefined;
  /** Fills all of `bytes` from a source that is fit for keys. */
  readonly random: (bytes: Uint8Array) => void;
}

/** Load what the tier needs; the factory it resolves to makes processors of that tier. */
export async function loadProcessor(
  { cpuTier, memory0, memory1 }: VcpuInit,
  { elsewhere, trace, random }: ProcessorNeeds,
): Promise<ProcessorFactory> {
  const local = async (limits?: RegionLimits): Promise<Compiler> => {
    const { LocalCompiler } = await loadCompiler();
    return new LocalCompiler(memory0.buffer, memory1, limits, trace && new (await loadTrace()).RegionTrace(trace));
  };
  let compiler: Compiler | undefined;
  if (cpuTier === 'always') compiler = await local({ cap: 250, minimum: 1 });
  else if (compilesElsewhere(cpuTier)) compiler = elsewhere ?? (await local());
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
      random,
    });
}
