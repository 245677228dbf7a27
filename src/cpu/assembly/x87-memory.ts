/**
 * FLDENV, FNSTENV, FRSTOR and FNSAVE whole, with their memory accesses.
 * Implements: Intel SDM vol 2A FLDENV FNSTENV FRSTOR FNSAVE. Runs on: the vCPU's own thread.
 */
import { VCPU_FAULT, VCPU_FSW, VCPU_IMAGE } from '../../generated/vcpu-layout.ts';
import { probeRange, slowLoad16, slowLoad32, slowStore16, slowStore32 } from './memory';
import { ACCESS_READ, ACCESS_WRITE } from './paging';
import { raise } from './raise.ts';
import { is64 } from './segments';
import { FSW_ES } from './x87.ts';
import { fpuApplyEnvironment, fpuApplySave, fpuBuildEnvironment, fpuBuildSave, fpuInitialize, fpuMaskExceptions } from './x87-state.ts';

/** The 16-bit forms' environment consists of words, which alignment checking notices. */
const NARROW_ENVIRONMENT_BYTES: u32 = 14, NARROW_IMAGE_BYTES: u32 = 94;
function isNarrow(sizeBytes: u32): bool { return sizeBytes == NARROW_ENVIRONMENT_BYTES || sizeBytes == NARROW_IMAGE_BYTES; }

/** Outside 64-bit mode linear addresses have 32 bits. */
function place(vcpu: usize, gva: u64, at: u32): u64 { return is64(vcpu) ? gva + at : gva + at & 0xffffffff; }

/** Both ends of an image are tried first, so that nothing is stored when one is refused; CR2 names that end. @returns false on a fault. */
function bothEnds(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32, access: u32): bool {
  return probeRange(vcpu, gva, 1, segment, access) && probeRange(vcpu, place(vcpu, gva, sizeBytes - 1), 1, segment, access);
}

/** @returns false when a store faulted. */
function storeImage(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32): bool {
  if (!bothEnds(vcpu, gva, sizeBytes, segment, ACCESS_WRITE)) return false;
  let at: u32 = 0;
  if (isNarrow(sizeBytes)) {
    for (; at < NARROW_ENVIRONMENT_BYTES; at += 2) {
      slowStore16(vcpu, place(vcpu, gva, at), load<u16>(vcpu + VCPU_IMAGE + at), segment);
      if (load<u32>(vcpu, VCPU_FAULT)) return false;
    }
  }
  for (; at + 4 <= sizeBytes; at += 4) {
    slowStore32(vcpu, place(vcpu, gva, at), load<u32>(vcpu + VCPU_IMAGE + at), segment);
    if (load<u32>(vcpu, VCPU_FAULT)) return false;
  }
  if (at < sizeBytes) slowStore16(vcpu, place(vcpu, gva, at), load<u16>(vcpu + VCPU_IMAGE + at), segment);
  return !load<u32>(vcpu, VCPU_FAULT);
}

function loadImage(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32): bool {
  if (!bothEnds(vcpu, gva, sizeBytes, segment, ACCESS_READ)) return false;
  let at: u32 = 0;
  if (isNarrow(sizeBytes)) {
    for (; at < NARROW_ENVIRONMENT_BYTES; at += 2) {
      store<u16>(vcpu + VCPU_IMAGE + at, <u16>slowLoad16(vcpu, place(vcpu, gva, at), segment));
      if (load<u32>(vcpu, VCPU_FAULT)) return false;
    }
  }
  for (; at + 4 <= sizeBytes; at += 4) {
    store<u32>(vcpu + VCPU_IMAGE + at, slowLoad32(vcpu, place(vcpu, gva, at), segment));
    if (load<u32>(vcpu, VCPU_FAULT)) return false;
  }
  if (at < sizeBytes) store<u16>(vcpu + VCPU_IMAGE + at, <u16>slowLoad16(vcpu, place(vcpu, gva, at), segment));
  return !load<u32>(vcpu, VCPU_FAULT);
}

function pending(vcpu: usize): bool {
  if (!(load<u32>(vcpu, VCPU_FSW) & FSW_ES)) return false;
  raise(vcpu, 16, 0, 0);
  return true;
}

/** FNSTENV. @param wide 1: 32-bit operand size, 28 bytes; 0: 16-bit, 14 bytes. */
export function fpuStoreEnvironment(vcpu: usize, gva: u64, segment: u32, wide: u32): void {
  if (storeImage(vcpu, gva, fpuBuildEnvironment(vcpu, wide), segment)) fpuMaskExceptions(vcpu);
}

/** FNSAVE: 108 or 94 bytes, then as FNINIT. */
export function fpuSave(vcpu: usize, gva: u64, segment: u32, wide: u32): void {
  if (storeImage(vcpu, gva, fpuBuildSave(vcpu, wide), segment)) fpuInitialize(vcpu);
}

/** FLDENV. */
export function fpuLoadEnvironment(vcpu: usize, gva: u64, segment: u32, wide: u32): void {
  if (!pending(vcpu) && loadImage(vcpu, gva, wide ? 28 : 14, segment)) fpuApplyEnvironment(vcpu, wide);
}

/** FRSTOR. */
export function fpuRestore(vcpu: usize, gva: u64, segment: u32, wide: u32): void {
  if (!pending(vcpu) && loadImage(vcpu, gva, wide ? 108 : 94, segment)) fpuApplySave(vcpu, wide);
}
