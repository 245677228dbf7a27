/**
 * Stacks of far transfers and event delivery: where a frame lies, whether all of it may be written, and the stack of an inner ring.
 * Implements: SDM vol. 3A 6.12.1 and 6.14.2 (stack switch), 7.2.1 and 7.7 Task State Segment; vol. 1 6.2 Stacks.
 * Runs on: the vCPU's own thread.
 */
import { VCPU_CR4, VCPU_GPR, VCPU_RFLAGS, VCPU_SCRATCH, VCPU_STACK_MASK } from '../../generated/vcpu-layout.ts';
import { ACCESS_DB, ACCESS_P, CR4_SMAP, SEG_SS, SEG_TR } from './bits';
import { faulted, raiseSs, raiseTs } from './faults';
import { isCanonical, loadWith, probeWith, storeWith, systemLoad16, systemLoad32, systemLoad64, withinLimit } from './memory';
import { ACCESS_WRITE, WHO_SUPERVISOR, WHO_SUPERVISOR_AC, WHO_USER } from './paging';
import {
  descriptorAccess, descriptorAddress, descriptorBase, descriptorLimit, dplOf, isNull, isWritableData, NO_DESCRIPTOR, segAccess, segBase, segLimit, segSelector,
} from './segments';

const RFLAGS_AC: u64 = 0x40000;
const RSP: usize = 4 * 8;
const ALL_ONES: u64 = 0xffffffffffffffff;

/** scratch[0..3] belong to memory accesses; a stack under construction uses the next: base, limit and access, mask, selector, descriptor. */
const NEW_SELECTOR: usize = VCPU_SCRATCH + 4 * 8, NEW_DESCRIPTOR: usize = VCPU_SCRATCH + 5 * 8, NEW_POINTER: usize = VCPU_SCRATCH + 6 * 8;

export function stackPointer(vcpu: usize): u64 { return load<u64>(vcpu + RSP, VCPU_GPR); }

/** Store rSP under a mask: 16 bits keep the rest, 32 bits clear it. */
export function setStackPointer(vcpu: usize, value: u64, mask: u64): void {
  store<u64>(vcpu + RSP, mask == 0xffff ? (stackPointer(vcpu) & ~mask) | (value & mask) : value & mask, VCPU_GPR);
}

export function stackMask(vcpu: usize): u64 { return load<u64>(vcpu, VCPU_STACK_MASK); }
export function maskOfStack(access: u32): u64 { return access & ACCESS_DB ? 0xffffffff : 0xffff; }

/** Whose rights accesses of code at `cpl` have. */
export function whoAt(vcpu: usize, cpl: u32): u32 {
  if (cpl == 3) return WHO_USER;
  return (load<u64>(vcpu, VCPU_CR4) & CR4_SMAP) != 0 && (load<u64>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0 ? WHO_SUPERVISOR_AC : WHO_SUPERVISOR;
}

/** Linear address of an element on the present stack, or #SS(error). */
export function stackAddress(vcpu: usize, offset: u64, sizeBytes: u32, error: u32): u64 {
  return addressOn(vcpu, segBase(vcpu, SEG_SS), segLimit(vcpu, SEG_SS), segAccess(vcpu, SEG_SS), stackMask(vcpu), offset, sizeBytes, error);
}

/** The same on any stack; a mask of all ones is a 64-bit one. */
export function addressOn(vcpu: usize, base: u64, limit: u32, access: u32, mask: u64, offset: u64, sizeBytes: u32, error: u32): u64 {
  if (mask == ALL_ONES) {
    if (!isCanonical(offset) || !isCanonical(offset + sizeBytes - 1)) raiseSs(vcpu, error);
    return offset;
  }
  const start = offset & mask;
  if (!withinLimit(access, limit, start, start + sizeBytes - 1)) raiseSs(vcpu, error);
  return (base + start) & 0xffffffff;
}

/** The element `index` places above the top of the present stack. */
export function peekStack(vcpu: usize, index: u32, sizeBytes: u32, who: u32): u64 {
  const at = stackAddress(vcpu, stackPointer(vcpu) + <u64>index * sizeBytes, sizeBytes, 0);
  return faulted(vcpu) ? 0 : loadWith(vcpu, at, sizeBytes, SEG_SS, who);
}

/** May `count` elements be pushed below `top`? Raises #SS(error) or #PF when not. */
export function probePushes(vcpu: usize, base: u64, limit: u32, access: u32, mask: u64, top: u64, count: u32, sizeBytes: u32, error: u32, who: u32): bool {
  for (let i: u32 = 1; i <= count; i++) {
    const at = addressOn(vcpu, base, limit, access, mask, top - <u64>i * sizeBytes, sizeBytes, error);
    if (faulted(vcpu) || !probeWith(vcpu, at, sizeBytes, SEG_SS, ACCESS_WRITE, who)) return false;
  }
  return true;
}

/** Store one element of a probed frame. */
export function put(vcpu: usize, base: u64, mask: u64, offset: u64, value: u64, sizeBytes: u32, who: u32): void {
  storeWith(vcpu, mask == ALL_ONES ? offset : (base + (offset & mask)) & 0xffffffff, value, sizeBytes, SEG_SS, who);
}

/** RSP of an inner ring or an IST entry out of the 64-bit TSS. @param offset in the TSS. #TS or #SS(ext) */
export function innerStack64(vcpu: usize, offset: u32, ext: u32): u64 {
  if (offset + 7 > segLimit(vcpu, SEG_TR)) {
    raiseTs(vcpu, (segSelector(vcpu, SEG_TR) & 0xfffc) | ext);
    return 0;
  }
  const pointer = systemLoad64(vcpu, segBase(vcpu, SEG_TR) + offset);
  if (!faulted(vcpu) && !isCanonical(pointer)) raiseSs(vcpu, ext);
  return pointer;
}

/** SS:ESP of ring `cpl` out of a 16- or 32-bit TSS, with the checks on that SS: then newSelector, newDescriptor, newPointer hold it. */
export function innerStack(vcpu: usize, cpl: u32, ext: u32): bool {
  const wide = (segAccess(vcpu, SEG_TR) & 8) != 0, offset = wide ? cpl * 8 + 4 : cpl * 4 + 2, tss = segBase(vcpu, SEG_TR);
  if (offset + (wide ? 5 : 3) > segLimit(vcpu, SEG_TR)) {
    raiseTs(vcpu, (segSelector(vcpu, SEG_TR) & 0xfffc) | ext);
    return false;
  }
  const pointer = wide ? systemLoad32(vcpu, (tss + offset) & 0xffffffff) : systemLoad16(vcpu, (tss + offset) & 0xffffffff);
  if (faulted(vcpu)) return false;
  const selector = systemLoad16(vcpu, (tss + offset + (wide ? 4 : 2)) & 0xffffffff);
  if (faulted(vcpu)) return false;
  if (isNull(selector)) {
    raiseTs(vcpu, ext);
    return false;
  }
  const error = (selector & 0xfffc) | ext, at = descriptorAddress(vcpu, selector, 8);
  if (at == NO_DESCRIPTOR) {
    raiseTs(vcpu, error);
    return false;
  }
  const descriptor = systemLoad64(vcpu, at);
  if (faulted(vcpu)) return false;
  const access = descriptorAccess(descriptor);
  if ((selector & 3) != cpl || dplOf(access) != cpl || !isWritableData(access)) {
    raiseTs(vcpu, error);
    return false;
  }
  if ((access & ACCESS_P) == 0) {
    raiseSs(vcpu, error);
    return false;
  }
  store<u64>(vcpu + NEW_SELECTOR, selector);
  store<u64>(vcpu + NEW_DESCRIPTOR, descriptor);
  store<u64>(vcpu + NEW_POINTER, pointer);
  return true;
}

export function newSelector(vcpu: usize): u32 { return load<u32>(vcpu + NEW_SELECTOR); }
export function newDescriptor(vcpu: usize): u64 { return load<u64>(vcpu + NEW_DESCRIPTOR); }
export function newPointer(vcpu: usize): u64 { return load<u64>(vcpu + NEW_POINTER); }

export function probeNewStack(vcpu: usize, count: u32, sizeBytes: u32, error: u32, who: u32): bool {
  const descriptor = newDescriptor(vcpu), access = descriptorAccess(descriptor);
  return probePushes(vcpu, descriptorBase(descriptor), descriptorLimit(descriptor), access, maskOfStack(access), newPointer(vcpu), count, sizeBytes, error, who);
}
