/**
 * The door of the processor: what the vmm may use of it.
 * Runs on: any thread.
 */
export * from './state.ts';
export * from './flag-kinds.ts';
export { Processor, compiles, memory0Pages } from './processor.ts';
export type { Bus, CpuTier, ProcessorModules, ProcessorOptions } from './processor.ts';
export { RAM_INDEX_BITS, RAM_MAX_PAGES, RAM_START, createRam, ramBytes, ramIndexOf } from './guest-ram.ts';
export type { RamIndex } from './guest-ram.ts';
export { cpuidRows, DEFAULT_BRAND, DEFAULT_VENDOR, PHYSICAL_ADDRESS_BITS, writeCpuidTable } from './cpuid.ts';
export type { CpuidConfig, CpuidRow } from './cpuid.ts';
export { MEMORY0_MAX_PAGES } from './wasm/limits.ts';
export { CONSTANT_MSRS, writeMsrTable } from './msr.ts';

export { BUILD_ID, checkBuild, manifestOf } from './build-id.ts';
export { TIER1_COUNTERS } from './jit/statistics.ts';
export type { CompileEntry, CompiledModule, Compiler, RegionEvent } from './jit/compilation.ts';
export { KeptRegions } from './jit/kept-regions.ts';
export { imageOf, keptCodeIn } from './jit/kept-image.ts';
export type { RegionLimits } from './jit/region-compiler.ts';

/** The compiler brings all declarations with it, so it is loaded only where it runs. */
export const loadCompiler = async (): Promise<typeof import('./jit/region-compiler.ts')> => await import('./jit/region-compiler.ts');
export const loadTrace = async (): Promise<typeof import('./jit/trace.ts')> => await import('./jit/trace.ts');
