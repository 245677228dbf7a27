/**
 * The door of the processor: what the vmm may use of it.
 * Runs on: any thread.
 */
export * from './state.ts';
export * from './flag-kinds.ts';
export { Processor, memory0Pages } from './processor.ts';
export type { Bus, ProcessorModules, ProcessorOptions } from './processor.ts';
