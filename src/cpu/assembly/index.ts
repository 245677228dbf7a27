/**
 * What cpu.wasm exports: the helpers of instructions and what the run loop and the host call.
 * Implements: docs/internals.md; cpu/helpers.ts lists the helpers. Runs on: the vCPU's own thread.
 */
export { raise } from './raise';
export { computeFlags, readFlags, readRflags, storeRflags, writeFlags } from './flags';
export * from './memory';
export { loadPdptes, peekTranslate } from './paging';
export {
  refreshState, tlbFlushAll, tlbFlushNonGlobal, tlbFlushPage, tlbInitialize, tlbProtectPage, updateAccessClass, updateMode, watchesData,
} from './tlb';
export {
  arpl, lar, lgdt, lidt, lldt, loadSegment, lsl, ltr, moveToSegment, readSegmentBase, sgdt, sidt, sldt, str, swapgs, verr, verw, writeSegmentBase,
} from './segments';
export { deliver, softwareInterrupt } from './exceptions';
export { clac, cli, farCall, farJump, farReturn, iret, popFlags, pushFlags, stac, sti, syscall, sysenter, sysexit, sysret } from './transfers';
export { portCheck, portRead, portWrite } from './ports';
