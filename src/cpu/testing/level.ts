/**
 * Which instructions of an outside disassembler belong to our processor level.
 * Implements: CPUID features of x86-64-v2 (psABI 1.0 table 3.1) and those that the CPU adds. Runs on: Node; tests only.
 */
import { CpuidFeature, EncodingKind } from 'iced-x86';
import type { Instruction } from 'iced-x86';

/** Features by the names of iced-x86; an instruction that needs any other is left to later levels. */
const LEVEL = new Set(
  (
    'INTEL8086 INTEL8086_ONLY INTEL186 INTEL286 INTEL386 INTEL486 X64 FPU FPU287 FPU387 MMX SSE SSE2 SSE3 SSSE3 SSE4_1 SSE4_2 ' +
    'CLFLUSHOPT CLFSH CMOV CMPXCHG16B CPUID CX8 FSGSBASE FXSR INVPCID MONITOR MOVBE MSR MULTIBYTENOP PAUSE POPCNT PREFETCHW RDPMC RDRAND ' +
    'RDSEED RDTSCP SEP SMAP SYSCALL TSC XSAVE XSAVEOPT'
  ).split(' '),
);

export function isOfLevel(instruction: Instruction): boolean {
  return (
    instruction.encoding === EncodingKind.Legacy && [...instruction.cpuidFeatures()].every((feature) => LEVEL.has(CpuidFeature[feature]!))
  );
}
