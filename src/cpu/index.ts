/**
 * The door of cpu/: what other folders may use of the processor.
 * Runs on: any thread.
 */
export * from './flag-kinds.ts';
export * from './state.ts';
