/**
 * FLDENV, FNSTENV, FRSTOR and FNSAVE whole, with their memory accesses.
 * Implements: Intel SDM vol 2A FLDENV FNSTENV FRSTOR FNSAVE. Runs on: the vCPU's own thread.
 */
import { VCPU_CPL, VCPU_FAULT, VCPU_FSW, VCPU_IMAGE, VCPU_RFLAGS } from '../../generated/vcpu-layout.ts';
import { probeRange, probeWith, slowLoad16, slowLoad32, slowStore16, slowStore32 } from './memory';
import { ACCESS_READ, ACCESS_WRITE, WHO_USER } from './paging';
import { raise } from './raise.ts';
import { is64 } from './segments';
import { FSW_ES } from './x87.ts';
import { fpuApplyEnvironment, fpuApplySave, fpuBuildEnvironment, fpuBuildSave, fpuInitialize, fpuMaskExceptions } from './x87-state.ts';

const RFLAGS_AC: u64 = 0x40000;
const NARROW_ENVIRONMENT_BYTES: u32 = 14, NARROW_IMAGE_BYTES: u32 = 94;
/** The 16-bit forms consist of words, the others of doublewords, as alignment checking sees them. */
function elementBytes(sizeBytes: u32): u32 { return sizeBytes == NARROW_ENVIRONMENT_BYTES || sizeBytes == NARROW_IMAGE_BYTES ? 2 : 4; }

/** Outside 64-bit mode linear addresses have 32 bits. */
function place(vcpu: usize, gva: u64, at: u32): u64 { return is64(vcpu) ? gva + at : gva + at & 0xffffffff; }

/**
 * The first element and the last byte of an image are tried first, so that nothing is stored when one is refused; CR2 names that one. An
 * image counts as aligned by its first element.
 * @returns false on a fault.
 */
function bothEnds(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32, access: u32): bool {
  const checksAlignment = (load<u64>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0 && load<u32>(vcpu, VCPU_CPL) == 3;
  if (checksAlignment && !probeWith(vcpu, gva, elementBytes(sizeBytes), segment, access, WHO_USER)) return false;
  return probeRange(vcpu, gva, elementBytes(sizeBytes), segment, access) && probeRange(vcpu, place(vcpu, gva, sizeBytes - 1), 1, segment, access);
}

/** @returns false when a store faulted. */
function storeImage(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32): bool {
  if (!bothEnds(vcpu, gva, sizeBytes, segment, ACCESS_WRITE)) return false;
  const step = elementBytes(sizeBytes);
  for (let at: u32 = 0; at < sizeBytes; at += step) {
    const from = vcpu + VCPU_IMAGE + at;
    if (step == 2) slowStore16(vcpu, place(vcpu, gva, at), load<u16>(from), segment);
    else slowStore32(vcpu, place(vcpu, gva, at), load<u32>(from), segment);
    if (load<u32>(vcpu, VCPU_FAULT)) return false;
  }
  return true;
}

function loadImage(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32): bool {
  if (!bothEnds(vcpu, gva, sizeBytes, segment, ACCESS_READ)) return false;
  const step = elementBytes(sizeBytes);
  for (let at: u32 = 0; at < sizeBytes; at += step) {
    const to = vcpu + VCPU_IMAGE + at;
    if (step == 2) store<u16>(to, <u16>slowLoad16(vcpu, place(vcpu, gva, at), segment));
    else store<u32>(to, slowLoad32(vcpu, place(vcpu, gva, at), segment));
    if (load<u32>(vcpu, VCPU_FAULT)) return false;
  }
  return true;
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
