/**
 * State of the x87 FPU as a whole: control and status words, environment and FXSAVE images, and its use as MMX registers.
 * Implements: Intel SDM vol 1 8.1.8 to 8.1.11 (figures 8-9 to 8-12: environment formats), 9.6.2 Transitions Between x87 FPU and MMX Code,
 * 10.5.1 FXSAVE Area; vol 2A FLDCW FLDENV FRSTOR FNSTENV FNSAVE FXSAVE.
 * Runs on: the vCPU's own thread. Images are built and read in `image` of the record; x87-memory.ts moves them.
 */
import {
  VCPU_CR0, VCPU_FCS, VCPU_FCW, VCPU_FDP, VCPU_FDS, VCPU_FIP, VCPU_FOP, VCPU_FPR, VCPU_FSW, VCPU_FTW, VCPU_IMAGE, VCPU_MXCSR, VCPU_RFLAGS,
  VCPU_VECTOR,
} from '../../generated/vcpu-layout.ts';
import { raise } from './raise.ts';
import { FSW_ES, FSW_TOP, fpuUpdateSummary } from './x87.ts';

/** Bit 6 reads 1; bits 7 and 13-15 read 0. Bit 12, infinity control, is kept but means nothing. */
const FCW_WRITABLE: u32 = 0x1f3f;
const FCW_FIXED: u32 = 0x40;
const FCW_INITIAL: u32 = 0x37f;
const VECTOR_MF: u32 = 16;
const RFLAGS_VM: u64 = 1 << 17;
const CR0_PE: u64 = 1;

/** MXCSR bits that may be set (DAZ among them), as FXSAVE reports them. */
export const MXCSR_MASK: u32 = 0xffff;

@inline function image(vcpu: usize): usize { return vcpu + VCPU_IMAGE; }

/** FLDCW. Raises #MF for what was pending before; unmasking a set flag makes it pending. */
export function fpuLoadControl(vcpu: usize, value: u32): void {
  if (load<u32>(vcpu, VCPU_FSW) & FSW_ES) return raise(vcpu, VECTOR_MF, 0, 0);
  setControl(vcpu, value);
  fpuUpdateSummary(vcpu);
}

function setControl(vcpu: usize, value: u32): void {
  store<u32>(vcpu, value & FCW_WRITABLE | FCW_FIXED, VCPU_FCW);
}

/** FNINIT. FIP, FDP and FOP are cleared; registers keep their bits. */
export function fpuInitialize(vcpu: usize): void {
  store<u32>(vcpu, FCW_INITIAL, VCPU_FCW);
  store<u32>(vcpu, 0, VCPU_FSW);
  store<u32>(vcpu, 0, VCPU_FTW);
  store<u32>(vcpu, 0, VCPU_FOP);
  store<u64>(vcpu, 0, VCPU_FIP);
  store<u64>(vcpu, 0, VCPU_FDP);
  store<u32>(vcpu, 0, VCPU_FCS);
  store<u32>(vcpu, 0, VCPU_FDS);
}

/** FNCLEX: condition codes and TOP stay. */
export function fpuClearExceptions(vcpu: usize): void {
  store<u32>(vcpu, load<u32>(vcpu, VCPU_FSW) & 0x7f00, VCPU_FSW);
}

/** Two tag bits of a physical register: 0 valid, 1 zero, 2 special, 3 empty (SDM vol 1 8.1.7). */
function tagOf(vcpu: usize, physical: u32): u32 {
  if (!(load<u32>(vcpu, VCPU_FTW) >> physical & 1)) return 3;
  const register = vcpu + VCPU_FPR + (physical << 4);
  const exponent = load<u16>(register, 8) & 0x7fff;
  const significand = load<u64>(register);
  if (exponent == 0) return significand == 0 ? 1 : 2;
  return exponent == 0x7fff || !(significand >> 63) ? 2 : 0;
}

/** The 16-bit tag word of FSTENV. */
export function fpuTagWord(vcpu: usize): u32 {
  let word: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) word |= tagOf(vcpu, i) << (2 * i);
  return word;
}

@inline function isRealForm(vcpu: usize): bool {
  return !(load<u64>(vcpu, VCPU_CR0) & CR0_PE) || (load<u64>(vcpu, VCPU_RFLAGS) & RFLAGS_VM) != 0;
}

/**
 * Write the environment to `image`, in the form of the present mode.
 * @param wide 1 for the 32-bit operand size (28 bytes), 0 for 16 bits (14 bytes).
 * @returns its size in bytes.
 */
export function fpuBuildEnvironment(vcpu: usize, wide: u32): u32 {
  const to = image(vcpu);
  const fcw = load<u32>(vcpu, VCPU_FCW), fsw = load<u32>(vcpu, VCPU_FSW), tags = fpuTagWord(vcpu);
  const fip = load<u64>(vcpu, VCPU_FIP), fdp = load<u64>(vcpu, VCPU_FDP), fop = load<u32>(vcpu, VCPU_FOP) & 0x7ff;
  const real = isRealForm(vcpu);
  if (wide) {
    store<u32>(to, fcw | 0xffff0000, 0);
    store<u32>(to, fsw | 0xffff0000, 4);
    store<u32>(to, tags | 0xffff0000, 8);
    if (real) {
      store<u32>(to, <u32>fip & 0xffff | 0xffff0000, 12);
      store<u32>(to, (<u32>fip >> 16) << 12 | fop, 16);
      store<u32>(to, <u32>fdp & 0xffff | 0xffff0000, 20);
      store<u32>(to, (<u32>fdp >> 16) << 12, 24);
    } else {
      store<u32>(to, <u32>fip, 12);
      store<u32>(to, load<u32>(vcpu, VCPU_FCS) & 0xffff | fop << 16, 16);
      store<u32>(to, <u32>fdp, 20);
      store<u32>(to, load<u32>(vcpu, VCPU_FDS) & 0xffff | 0xffff0000, 24);
    }
    return 28;
  }
  store<u16>(to, <u16>fcw, 0);
  store<u16>(to, <u16>fsw, 2);
  store<u16>(to, <u16>tags, 4);
  store<u16>(to, <u16>fip, 6);
  store<u16>(to, <u16>(real ? (<u32>fip >> 16 & 15) << 12 | fop : load<u32>(vcpu, VCPU_FCS)), 8);
  store<u16>(to, <u16>fdp, 10);
  store<u16>(to, <u16>(real ? (<u32>fdp >> 16 & 15) << 12 : load<u32>(vcpu, VCPU_FDS)), 12);
  return 14;
}

/** After FNSTENV has stored its image: all exceptions masked. */
export function fpuMaskExceptions(vcpu: usize): void {
  store<u32>(vcpu, load<u32>(vcpu, VCPU_FCW) | 0x3f, VCPU_FCW);
  fpuUpdateSummary(vcpu);
}

/** FLDENV: take the environment from `image`. @returns its size in bytes. */
export function fpuApplyEnvironment(vcpu: usize, wide: u32): u32 {
  const from = image(vcpu);
  const real = isRealForm(vcpu);
  const size: usize = wide ? 4 : 2;
  setControl(vcpu, load<u16>(from));
  store<u32>(vcpu, load<u16>(from + size), VCPU_FSW);
  const tags = <u32>load<u16>(from + 2 * size);
  let used: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) used |= u32((tags >> (2 * i) & 3) != 3) << i;
  store<u32>(vcpu, used, VCPU_FTW);
  let fip: u32, fdp: u32;
  if (wide) {
    const second = load<u32>(from, 16), fourth = load<u32>(from, 24);
    if (real) {
      fip = load<u16>(from, 12) | (second >> 12 & 0xffff) << 16;
      fdp = load<u16>(from, 20) | (fourth >> 12 & 0xffff) << 16;
      store<u32>(vcpu, second & 0x7ff, VCPU_FOP);
    } else {
      fip = load<u32>(from, 12);
      fdp = load<u32>(from, 20);
      store<u32>(vcpu, second >> 16 & 0x7ff, VCPU_FOP);
    }
  } else {
    fip = load<u16>(from, 6);
    fdp = load<u16>(from, 10);
    if (real) {
      const second = <u32>load<u16>(from, 8), fourth = <u32>load<u16>(from, 12);
      fip |= second >> 12 << 16;
      fdp |= fourth >> 12 << 16;
      store<u32>(vcpu, second & 0x7ff, VCPU_FOP);
    } else {
      store<u32>(vcpu, 0, VCPU_FOP);
    }
  }
  // FCS and FDS stay 0 (CPUID.7.0:EBX[13]).
  store<u64>(vcpu, fip, VCPU_FIP);
  store<u64>(vcpu, fdp, VCPU_FDP);
  fpuUpdateSummary(vcpu);
  return wide ? 28 : 14;
}

@inline function stackRegister(vcpu: usize, i: u32): usize {
  return vcpu + VCPU_FPR + (((load<u32>(vcpu, VCPU_FSW) >> 11) + i & 7) << 4);
}

/** FNSAVE: environment and the eight registers to `image`; the caller stores it and then calls fpuInitialize. @returns 94 or 108. */
export function fpuBuildSave(vcpu: usize, wide: u32): u32 {
  const sizeBytes = fpuBuildEnvironment(vcpu, wide);
  let to = image(vcpu) + sizeBytes;
  for (let i: u32 = 0; i < 8; i++, to += 10) memory.copy(to, stackRegister(vcpu, i), 10);
  return sizeBytes + 80;
}

/** FRSTOR from `image`. */
export function fpuApplySave(vcpu: usize, wide: u32): void {
  let from = image(vcpu) + fpuApplyEnvironment(vcpu, wide);
  for (let i: u32 = 0; i < 8; i++, from += 10) memory.copy(stackRegister(vcpu, i), from, 10);
}

/** The ten bytes of an x87 register: a bulk copy of so few costs more than two loads. */
function copyRegister(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u16>(to, load<u16>(from, 8), 8);
}

/**
 * Bytes 0..159 of an FXSAVE area (the x87 and MXCSR part, also the legacy region of XSAVE) to `image`.
 * @param wide 1 with REX.W: 64-bit FIP and FDP.
 */
export function fpuBuildFxImage(vcpu: usize, wide: u32): void {
  const to = image(vcpu);
  memory.fill(to, 0, 160);
  store<u16>(to, <u16>load<u32>(vcpu, VCPU_FCW), 0);
  store<u16>(to, <u16>load<u32>(vcpu, VCPU_FSW), 2);
  store<u8>(to, <u8>load<u32>(vcpu, VCPU_FTW), 4);
  store<u16>(to, <u16>load<u32>(vcpu, VCPU_FOP), 6);
  if (wide) {
    store<u64>(to, load<u64>(vcpu, VCPU_FIP), 8);
    store<u64>(to, load<u64>(vcpu, VCPU_FDP), 16);
  } else {
    store<u32>(to, load<u32>(vcpu, VCPU_FIP), 8);
    store<u16>(to, <u16>load<u32>(vcpu, VCPU_FCS), 12);
    store<u32>(to, load<u32>(vcpu, VCPU_FDP), 16);
    store<u16>(to, <u16>load<u32>(vcpu, VCPU_FDS), 20);
  }
  store<u32>(to, load<u32>(vcpu, VCPU_MXCSR), 24);
  store<u32>(to, MXCSR_MASK, 28);
  for (let i: u32 = 0; i < 8; i++) copyRegister(to + 32 + (i << 4), stackRegister(vcpu, i));
}

/** Bytes 160..415 of an FXSAVE area to `image`: the first `count` XMM registers (16 in 64-bit mode, else 8). */
export function fpuBuildFxVectors(vcpu: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) v128.store(image(vcpu) + 160 + (i << 4), v128.load(vcpu + VCPU_VECTOR + (i << 5)));
}

/** FXRSTOR and XRSTOR of the x87 part (bytes 0..23 and 32..159 of `image`). MXCSR is the caller's: it may have to raise #GP first. */
export function fpuApplyFxImage(vcpu: usize, wide: u32): void {
  const from = image(vcpu);
  setControl(vcpu, load<u16>(from, 0));
  store<u32>(vcpu, load<u16>(from, 2), VCPU_FSW);
  store<u32>(vcpu, load<u8>(from, 4), VCPU_FTW);
  store<u32>(vcpu, load<u16>(from, 6) & 0x7ff, VCPU_FOP);
  store<u64>(vcpu, wide ? load<u64>(from, 8) : <u64>load<u32>(from, 8), VCPU_FIP);
  store<u64>(vcpu, wide ? load<u64>(from, 16) : <u64>load<u32>(from, 16), VCPU_FDP);
  fpuUpdateSummary(vcpu);
  for (let i: u32 = 0; i < 8; i++) copyRegister(stackRegister(vcpu, i), from + 32 + (i << 4));
}

/** FXRSTOR's XMM registers from bytes 160..415 of `image`. */
export function fpuApplyFxVectors(vcpu: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) v128.store(vcpu + VCPU_VECTOR + (i << 5), v128.load(image(vcpu) + 160 + (i << 4)));
}

/** What every MMX instruction but EMMS does before it works: #MF when one is pending, else TOP = 0 and all tags valid. */
export function mmxEnter(vcpu: usize): void {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if (fsw & FSW_ES) return raise(vcpu, VECTOR_MF, 0, 0);
  store<u32>(vcpu, fsw & ~FSW_TOP, VCPU_FSW);
  store<u32>(vcpu, 0xff, VCPU_FTW);
}

/** MMn := value, with the exponent part all ones (SDM vol 1 9.6.2). */
export function mmxWrite(vcpu: usize, n: u32, value: u64): void {
  const register = vcpu + VCPU_FPR + (n << 4);
  store<u64>(register, value);
  store<u16>(register, 0xffff, 8);
}

/** EMMS: all tags empty, TOP = 0. */
export function mmxLeave(vcpu: usize): void {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if (fsw & FSW_ES) return raise(vcpu, VECTOR_MF, 0, 0);
  store<u32>(vcpu, fsw & ~FSW_TOP, VCPU_FSW);
  store<u32>(vcpu, 0, VCPU_FTW);
}
