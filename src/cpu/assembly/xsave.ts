/**
 * FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XRSTOR: x87 and SSE state in the legacy region, standard form of the XSAVE header.
 * Implements: SDM vol. 1 10.5 FXSAVE and FXRSTOR, 13.4 XSAVE Area, 13.6 Processor Tracking, 13.7-13.9; CPUID Dh offers components 0 and 1, no compaction.
 * Runs on: the vCPU's own thread. Faults come first: the whole area is probed before anything moves.
 */
import {
  VCPU_CR0, VCPU_CR4, VCPU_FCS, VCPU_FCW, VCPU_FDP, VCPU_FDS, VCPU_FIP, VCPU_FOP, VCPU_FPR, VCPU_FSW, VCPU_FTW, VCPU_GPR, VCPU_IMAGE, VCPU_MXCSR, VCPU_VECTOR, VCPU_XCR0,
} from '../../generated/vcpu-layout.ts';
import { CR0_EM, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE, XCR0_SSE, XCR0_X87 } from './bits';
import { faulted, raiseAddress, raiseGp, raiseNm, raiseUd } from './faults';
import { isCanonical, loadProbed, misaligned, probeRange, slowLoad32, slowLoad64, slowStore32, slowStore64, storeProbed } from './memory';
import { ACCESS_READ, ACCESS_WRITE } from './paging';
import { is64 } from './segments';
import { fpuApplyFxImage, fpuApplyFxVectors, fpuBuildFxImage, fpuBuildFxVectors } from './x87-state';

const LEGACY_BYTES: u32 = 512, XSAVE_BYTES: u32 = 576;
const MXCSR_MASK: u32 = 0xffff, FCW_INITIAL: u32 = 0x37f;
const AVX: u64 = 4;

function next(vcpu: usize, gva: u64, offset: u32): u64 { return is64(vcpu) ? gva + offset : (gva + offset) & 0xffffffff; }
function save32(vcpu: usize, gva: u64, offset: u32, value: u32, segment: u32): void { slowStore32(vcpu, next(vcpu, gva, offset), value, segment); }
function save64(vcpu: usize, gva: u64, offset: u32, value: u64, segment: u32): void { slowStore64(vcpu, next(vcpu, gva, offset), value, segment); }
function read32(vcpu: usize, gva: u64, offset: u32, segment: u32): u32 { return slowLoad32(vcpu, next(vcpu, gva, offset), segment); }
function read64(vcpu: usize, gva: u64, offset: u32, segment: u32): u64 { return slowLoad64(vcpu, next(vcpu, gva, offset), segment); }

/** XMM registers that the present mode can name. */
function xmmCount(vcpu: usize): u32 { return is64(vcpu) ? 16 : 8; }

/** Bytes [from, end) of the image in the record to the area, which was probed. */
function saveImage(vcpu: usize, gva: u64, from: u32, end: u32): void { storeProbed(vcpu, next(vcpu, gva, from), vcpu + VCPU_IMAGE + from, end - from); }
function readImage(vcpu: usize, gva: u64, from: u32, end: u32): void { loadProbed(vcpu, next(vcpu, gva, from), vcpu + VCPU_IMAGE + from, end - from); }

function saveX87(vcpu: usize, gva: u64, wide: u32): void {
  fpuBuildFxImage(vcpu, wide);
  saveImage(vcpu, gva, 0, 24);
  saveImage(vcpu, gva, 32, 160);
}

/** All that the legacy region can hold, in one piece. */
function saveLegacy(vcpu: usize, gva: u64, wide: u32): void {
  fpuBuildFxImage(vcpu, wide);
  fpuBuildFxVectors(vcpu, xmmCount(vcpu));
  saveImage(vcpu, gva, 0, 160 + xmmCount(vcpu) * 16);
}

function saveMxcsr(vcpu: usize, gva: u64, segment: u32): void {
  save32(vcpu, gva, 24, load<u32>(vcpu, VCPU_MXCSR), segment);
  save32(vcpu, gva, 28, MXCSR_MASK, segment);
}

function saveXmm(vcpu: usize, gva: u64): void {
  fpuBuildFxVectors(vcpu, xmmCount(vcpu));
  saveImage(vcpu, gva, 160, 160 + xmmCount(vcpu) * 16);
}

function restoreX87(vcpu: usize, gva: u64, wide: u32): void {
  readImage(vcpu, gva, 0, 160);
  fpuApplyFxImage(vcpu, wide);
}

function initX87(vcpu: usize): void {
  store<u32>(vcpu, FCW_INITIAL, VCPU_FCW);
  store<u32>(vcpu, 0, VCPU_FSW);
  store<u32>(vcpu, 0, VCPU_FTW);
  store<u32>(vcpu, 0, VCPU_FOP);
  store<u32>(vcpu, 0, VCPU_FCS);
  store<u32>(vcpu, 0, VCPU_FDS);
  store<u64>(vcpu, 0, VCPU_FIP);
  store<u64>(vcpu, 0, VCPU_FDP);
  memory.fill(vcpu + VCPU_FPR, 0, 128);
}

function restoreXmm(vcpu: usize, gva: u64): void {
  readImage(vcpu, gva, 160, 160 + xmmCount(vcpu) * 16);
  fpuApplyFxVectors(vcpu, xmmCount(vcpu));
}

function initXmm(vcpu: usize): void {
  for (let i: u32 = 0, count = xmmCount(vcpu); i < count; i++) {
    store<u64>(vcpu + i * 32, 0, VCPU_VECTOR);
    store<u64>(vcpu + i * 32 + 8, 0, VCPU_VECTOR);
  }
}

/** Which components are not in their initial configuration (SDM 1 13.6). */
function inUse(vcpu: usize): u64 {
  let used: u64 = 0;
  if (load<u32>(vcpu, VCPU_FCW) != FCW_INITIAL || load<u32>(vcpu, VCPU_FSW) != 0 || load<u32>(vcpu, VCPU_FTW) != 0 || load<u32>(vcpu, VCPU_FOP) != 0
    || (load<u64>(vcpu, VCPU_FIP) | load<u64>(vcpu, VCPU_FDP)) != 0 || (load<u32>(vcpu, VCPU_FCS) | load<u32>(vcpu, VCPU_FDS)) != 0) used |= XCR0_X87;
  let bits: u64 = 0;
  for (let i: u32 = 0; i < 16; i++) bits |= load<u64>(vcpu + i * 8, VCPU_FPR);
  if (bits != 0) used |= XCR0_X87;
  bits = 0;
  for (let i: u32 = 0, count = xmmCount(vcpu); i < count; i++) bits |= load<u64>(vcpu + i * 32, VCPU_VECTOR) | load<u64>(vcpu + i * 32 + 8, VCPU_VECTOR);
  return bits != 0 ? used | XCR0_SSE : used;
}

// --- FXSAVE, FXRSTOR ---

function legacyAllowed(vcpu: usize, gva: u64, segment: u32): bool {
  if (load<u64>(vcpu, VCPU_CR0) & (CR0_EM | CR0_TS)) {
    raiseNm(vcpu);
    return false;
  }
  if ((gva & 15) == 0) return true;
  if (!isCanonical(gva)) {
    raiseAddress(vcpu, segment);
    return false;
  }
  // Which of the two comes is up to the processor (SDM 2A FXSAVE): where alignment is checked, doublewords are.
  if (!misaligned(vcpu, gva, 4)) raiseGp(vcpu, 0);
  return false;
}

/** The end of the area is tried before the rest, as processors do. */
function probeArea(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32, access: u32): bool {
  return probeRange(vcpu, next(vcpu, gva, sizeBytes - 1), 1, segment, access) && probeRange(vcpu, gva, sizeBytes, segment, access);
}

/** @param wide 1 with REX.W: 64-bit instruction and data pointers */
export function fxsave(vcpu: usize, gva: u64, segment: u32, wide: u32): void {
  if (!legacyAllowed(vcpu, gva, segment) || !probeArea(vcpu, gva, LEGACY_BYTES, segment, ACCESS_WRITE)) return;
  if (load<u64>(vcpu, VCPU_CR4) & CR4_OSFXSR) {
    saveLegacy(vcpu, gva, wide);
    return;
  }
  saveX87(vcpu, gva, wide);
  saveMxcsr(vcpu, gva, segment);
}

export function fxrstor(vcpu: usize, gva: u64, segment: u32, wide: u32): void {
  if (!legacyAllowed(vcpu, gva, segment) || !probeArea(vcpu, gva, LEGACY_BYTES, segment, ACCESS_READ)) return;
  const mxcsr = read32(vcpu, gva, 24, segment);
  if (faulted(vcpu)) return;
  if (mxcsr & ~MXCSR_MASK) {
    raiseGp(vcpu, 0);
    return;
  }
  restoreX87(vcpu, gva, wide);
  store<u32>(vcpu, mxcsr, VCPU_MXCSR);
  if (load<u64>(vcpu, VCPU_CR4) & CR4_OSFXSR) restoreXmm(vcpu, gva);
}

// --- XSAVE, XSAVEOPT, XRSTOR ---

function extendedAllowed(vcpu: usize, gva: u64): bool {
  if ((load<u64>(vcpu, VCPU_CR4) & CR4_OSXSAVE) == 0) {
    raiseUd(vcpu);
    return false;
  }
  if (load<u64>(vcpu, VCPU_CR0) & CR0_TS) {
    raiseNm(vcpu);
    return false;
  }
  if ((gva & 63) == 0) return true;
  raiseGp(vcpu, 0);
  return false;
}

/** XCR0 AND EDX:EAX: the requested-feature bitmap. */
function requested(vcpu: usize): u64 {
  return load<u64>(vcpu, VCPU_XCR0) & ((load<u64>(vcpu, VCPU_GPR) & 0xffffffff) | (load<u64>(vcpu + 16, VCPU_GPR) << 32));
}

function saveExtended(vcpu: usize, gva: u64, segment: u32, wide: u32, skipInitial: bool): void {
  if (!extendedAllowed(vcpu, gva) || !probeRange(vcpu, gva, XSAVE_BYTES, segment, ACCESS_READ) || !probeRange(vcpu, gva, XSAVE_BYTES, segment, ACCESS_WRITE)) return;
  const bitmap = requested(vcpu), used = inUse(vcpu), saved = skipInitial ? bitmap & used : bitmap;
  const header = read64(vcpu, gva, LEGACY_BYTES, segment);
  if (faulted(vcpu)) return;
  if ((saved & (XCR0_X87 | XCR0_SSE)) == (XCR0_X87 | XCR0_SSE)) {
    saveLegacy(vcpu, gva, wide);
  } else {
    if (saved & XCR0_X87) saveX87(vcpu, gva, wide);
    if (bitmap & (XCR0_SSE | AVX)) saveMxcsr(vcpu, gva, segment);
    if (saved & XCR0_SSE) saveXmm(vcpu, gva);
  }
  save64(vcpu, gva, LEGACY_BYTES, (header & ~bitmap) | (used & bitmap), segment);
}

export function xsave(vcpu: usize, gva: u64, segment: u32, wide: u32): void { saveExtended(vcpu, gva, segment, wide, false); }
export function xsaveopt(vcpu: usize, gva: u64, segment: u32, wide: u32): void { saveExtended(vcpu, gva, segment, wide, true); }

export function xrstor(vcpu: usize, gva: u64, segment: u32, wide: u32): void {
  if (!extendedAllowed(vcpu, gva) || !probeRange(vcpu, gva, XSAVE_BYTES, segment, ACCESS_READ)) return;
  const bitmap = requested(vcpu), present = read64(vcpu, gva, LEGACY_BYTES, segment);
  if (faulted(vcpu)) return;
  const mxcsr = read32(vcpu, gva, 24, segment), loadsMxcsr = (bitmap & (XCR0_SSE | AVX)) != 0;
  // Standard form only: XCOMP_BV and the next 8 bytes of the header are 0 (SDM 1 13.8.1).
  const bad = (present & ~load<u64>(vcpu, VCPU_XCR0)) | read64(vcpu, gva, LEGACY_BYTES + 8, segment) | read64(vcpu, gva, LEGACY_BYTES + 16, segment);
  if (bad != 0 || (loadsMxcsr && (mxcsr & ~MXCSR_MASK) != 0)) {
    raiseGp(vcpu, 0);
    return;
  }
  if (bitmap & XCR0_X87) {
    if (present & XCR0_X87) restoreX87(vcpu, gva, wide);
    else initX87(vcpu);
  }
  if (loadsMxcsr) store<u32>(vcpu, mxcsr, VCPU_MXCSR);
  if (bitmap & XCR0_SSE) {
    if (present & XCR0_SSE) restoreXmm(vcpu, gva);
    else initXmm(vcpu);
  }
}
