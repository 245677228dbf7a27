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
export {
  clts, hlt, invlpg, invpcid, lmsw, readControl, readDebug, requireSupervisor, smsw, undefinedInstruction, writeControl, writeDebug, xgetbv, xsetbv,
} from './control';
export { rdmsr, rdpmc, readMsr, readTsc, writeMsr, wrmsr } from './msr';
export { cpuid } from './cpuid';
export { fxrstor, fxsave, xrstor, xsave, xsaveopt } from './xsave';
export {
  aaa, aad, aam, aas, bound, crc32, daa, das, divide, divideSigned, enter, multiplyHigh, multiplyHighSigned, popAll, pushAll, random,
} from './integer';
export { pcmpestri, pcmpestrm, pcmpistri, pcmpistrm } from './strings-sse';
export { resetCpu } from './reset';
export {
  codeDecodedBits, codeFlush, codeForgetJumps, codeInitialize, codeLookupAt, codeMarkLines, codeSeparate, codeUopAt, codeWrittenAt,
} from './code';
export { checkFpu, checkNear, raiseFault, run, settleFlags } from './run';
export * from './x87';
export * from './x87-memory';
export * from './x87-state';
export * from './sse';
