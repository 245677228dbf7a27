/**
 * Numbers in which a vCPU's processor, its thread and the devices talk to each other.
 * Plain integer constants only, because AssemblyScript reads this file too.
 */

// Bits of `requests`, which any thread may set.
export const REQUEST_KICK = 1;
export const REQUEST_INTERRUPT = 2;
export const REQUEST_NMI = 4;
export const REQUEST_SUSPEND = 8;
export const REQUEST_DEBUG = 16;
export const REQUEST_TLB = 32;
export const REQUEST_CODE = 64;

// Bits of `look`, which the vCPU's own thread sets: why the run loop must look before the next instruction. None is a REQUEST_* bit, so that both
// words can be tested together.
/** An event may be deliverable now, or every instruction is looked at (single steps, breakpoints, HLT). */
export const LOOK_EVENT = 0x10000;
/** Nothing waits, but STI or MOV SS must be followed by one instruction before anything is looked at. */
export const LOOK_SHADOW = 0x20000;
/** Nothing waits, but RF goes off with the next instruction. */
export const LOOK_RESUME = 0x40000;

// Bits of `capabilities` which the CPU itself obeys.
export const CAPABILITY_EXIT_ON_EXCEPTION = 1;
export const CAPABILITY_STEP = 2;
export const CAPABILITY_HLT_EXIT = 8;

// What `run` in cpu/assembly/run.ts returns.
export const RUN_BUDGET = 0;
export const RUN_HALTED = 1;
export const RUN_SUSPENDED = 2;
export const RUN_TRIPLE_FAULT = 3;
export const RUN_EXCEPTION = 4;
export const RUN_DEBUG = 5;
export const RUN_STEPPED = 6;
