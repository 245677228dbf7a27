/**
 * Segment registers: descriptors, their checks and loads, the system segments and tables.
 * Implements: SDM vol. 3A 3.4 Logical and Linear Addresses, 5.6-5.10 Privilege; SDM vol. 2 MOV, LDS, LLDT, LTR, LAR, LSL, VERR, ARPL, LGDT, SGDT, SLDT, STR, RDFSBASE, SWAPGS.
 * Runs on: the vCPU's own thread. Not modelled: virtual-8086 mode.
 */
import {
  VCPU_CPL, VCPU_CR0, VCPU_CR4, VCPU_EFER, VCPU_GDTR_BASE, VCPU_GDTR_LIMIT, VCPU_IDTR_BASE, VCPU_IDTR_LIMIT, VCPU_KERNEL_GS_BASE, VCPU_MODE, VCPU_SEG_ACCESS,
  VCPU_SEG_BASE, VCPU_SEG_LIMIT, VCPU_SEG_SELECTOR,
} from '../../generated/vcpu-layout.ts';
import {
  ACCESS_ACCESSED, ACCESS_CODE, ACCESS_CONFORMING, ACCESS_G, ACCESS_P, ACCESS_READABLE, ACCESS_S, ACCESS_TYPE, ACCESS_UNUSABLE, ACCESS_WRITABLE, CR0_PE, CR4_FSGSBASE, CR4_UMIP,
  EFER_LMA, SEG_CS, SEG_GS, SEG_LDTR, SEG_SS, SEG_TR,
} from './bits';
import { faulted, raiseGp, raiseNp, raiseSs, raiseUd } from './faults';
import { setZero } from './flags';
import { lookInShadow } from './look';
import { isCanonical, probeRange, slowLoad16, slowLoad32, slowLoad64, slowStore16, slowStore32, slowStore64, systemLoad32, systemLoad64, systemStore8 } from './memory';
import { ACCESS_WRITE } from './paging';
import { updateAccessClass, updateMode } from './tlb';

export const NO_DESCRIPTOR: u64 = 0xffffffffffffffff;
const SHADOW_MOV_SS: u32 = 2;

export function cplOf(vcpu: usize): u32 { return load<u32>(vcpu, VCPU_CPL); }
export function isProtected(vcpu: usize): bool { return (load<u64>(vcpu, VCPU_CR0) & CR0_PE) != 0; }
/** IA-32e mode: 64-bit or compatibility. */
export function isLong(vcpu: usize): bool { return (load<u64>(vcpu, VCPU_EFER) & EFER_LMA) != 0; }
/** 64-bit mode proper. */
export function is64(vcpu: usize): bool { return (load<u32>(vcpu, VCPU_MODE) & 3) == 2; }

export function segAccess(vcpu: usize, segment: u32): u32 { return load<u32>(vcpu + segment * 4, VCPU_SEG_ACCESS); }
export function segSelector(vcpu: usize, segment: u32): u32 { return load<u32>(vcpu + segment * 4, VCPU_SEG_SELECTOR); }
export function segBase(vcpu: usize, segment: u32): u64 { return load<u64>(vcpu + segment * 8, VCPU_SEG_BASE); }
export function segLimit(vcpu: usize, segment: u32): u32 { return load<u32>(vcpu + segment * 4, VCPU_SEG_LIMIT); }

export function setSegment(vcpu: usize, segment: u32, selector: u32, base: u64, limit: u32, access: u32): void {
  store<u32>(vcpu + segment * 4, selector & 0xffff, VCPU_SEG_SELECTOR);
  store<u64>(vcpu + segment * 8, base, VCPU_SEG_BASE);
  store<u32>(vcpu + segment * 4, limit, VCPU_SEG_LIMIT);
  store<u32>(vcpu + segment * 4, access, VCPU_SEG_ACCESS);
}

// --- descriptors ---

export function descriptorAccess(descriptor: u64): u32 { return <u32>(descriptor >> 40) & 0xf0ff; }
export function descriptorBase(descriptor: u64): u64 { return ((descriptor >> 16) & 0xffffff) | ((descriptor >> 56) << 24); }
export function descriptorLimit(descriptor: u64): u32 {
  const limit = (<u32>descriptor & 0xffff) | (<u32>(descriptor >> 32) & 0xf0000);
  return descriptorAccess(descriptor) & ACCESS_G ? (limit << 12) | 0xfff : limit;
}
export function dplOf(access: u32): u32 { return (access >> 5) & 3; }
export function isCode(access: u32): bool { return (access & (ACCESS_S | ACCESS_CODE)) == (ACCESS_S | ACCESS_CODE); }
export function isConforming(access: u32): bool { return (access & ACCESS_CONFORMING) != 0; }
export function isWritableData(access: u32): bool { return (access & (ACCESS_S | ACCESS_CODE | ACCESS_WRITABLE)) == (ACCESS_S | ACCESS_WRITABLE); }
export function isNull(selector: u32): bool { return (selector & 0xfffc) == 0; }

/** Linear address of the descriptor, or NO_DESCRIPTOR when its table ends before it. @param sizeBytes 8, or 16 for system descriptors of IA-32e mode */
export function descriptorAddress(vcpu: usize, selector: u32, sizeBytes: u32): u64 {
  const offset = selector & 0xfff8;
  if (selector & 4) {
    if ((segAccess(vcpu, SEG_LDTR) & ACCESS_UNUSABLE) != 0 || offset + sizeBytes - 1 > segLimit(vcpu, SEG_LDTR)) return NO_DESCRIPTOR;
    return tableAddress(vcpu, segBase(vcpu, SEG_LDTR), offset);
  }
  if (offset + sizeBytes - 1 > load<u32>(vcpu, VCPU_GDTR_LIMIT)) return NO_DESCRIPTOR;
  return tableAddress(vcpu, load<u64>(vcpu, VCPU_GDTR_BASE), offset);
}

/** Outside IA-32e mode tables wrap at 4 GiB. */
export function tableAddress(vcpu: usize, base: u64, offset: u32): u64 { return isLong(vcpu) ? base + offset : (base + offset) & 0xffffffff; }

/** Set the accessed bit of a code or data descriptor in its table. @returns false when that faulted */
export function markAccessed(vcpu: usize, at: u64, descriptor: u64): bool {
  if (<u32>(descriptor >> 40) & ACCESS_ACCESSED) return true;
  systemStore8(vcpu, at + 5, (<u32>(descriptor >> 40) & 0xff) | ACCESS_ACCESSED);
  return !faulted(vcpu);
}

export function setFromDescriptor(vcpu: usize, segment: u32, selector: u32, descriptor: u64): void {
  setSegment(vcpu, segment, selector, descriptorBase(descriptor), descriptorLimit(descriptor), descriptorAccess(descriptor) | ACCESS_ACCESSED);
}

/** A null selector: unusable, yet with the DPL that a stack of this ring has. */
export function setNull(vcpu: usize, segment: u32, selector: u32): void {
  setSegment(vcpu, segment, selector, 0, 0, ACCESS_UNUSABLE | (segment == SEG_SS ? (selector & 3) << 5 : 0));
}

/** The privilege level has changed together with CS. */
export function enterCode(vcpu: usize, selector: u32, descriptor: u64, cpl: u32): void {
  setFromDescriptor(vcpu, SEG_CS, (selector & 0xfffc) | cpl, descriptor);
  store<u32>(vcpu, cpl, VCPU_CPL);
}

/** Real mode: only selector and base change, unless the register was unusable. */
export function setRealSegment(vcpu: usize, segment: u32, selector: u32): void {
  if (segAccess(vcpu, segment) & ACCESS_UNUSABLE) setSegment(vcpu, segment, selector, 0, 0xffff, 0x93);
  store<u32>(vcpu + segment * 4, selector & 0xffff, VCPU_SEG_SELECTOR);
  store<u64>(vcpu + segment * 8, <u64>(selector & 0xffff) << 4, VCPU_SEG_BASE);
}

// --- loads ---

/** MOV, POP, LES, LDS, LSS, LFS, LGS. Source: SDM 2B MOV, "Operation". */
export function loadSegment(vcpu: usize, segment: u32, selector: u32): void {
  selector &= 0xffff;
  if (segment == SEG_CS || segment > SEG_GS) {
    raiseUd(vcpu);
    return;
  }
  if (!isProtected(vcpu)) {
    setRealSegment(vcpu, segment, selector);
    return;
  }
  const cpl = cplOf(vcpu), rpl = selector & 3, error = selector & 0xfffc;
  if (isNull(selector)) {
    if (segment == SEG_SS && (!is64(vcpu) || cpl == 3 || rpl != cpl)) {
      raiseGp(vcpu, 0);
      return;
    }
    setNull(vcpu, segment, selector);
    if (segment == SEG_SS) updateMode(vcpu);
    return;
  }
  const at = descriptorAddress(vcpu, selector, 8);
  if (at == NO_DESCRIPTOR) {
    raiseGp(vcpu, error);
    return;
  }
  const descriptor = systemLoad64(vcpu, at);
  if (faulted(vcpu)) return;
  const access = descriptorAccess(descriptor), dpl = dplOf(access);
  if (segment == SEG_SS) {
    if (rpl != cpl || dpl != cpl || !isWritableData(access)) {
      raiseGp(vcpu, error);
      return;
    }
    if ((access & ACCESS_P) == 0) {
      raiseSs(vcpu, error);
      return;
    }
  } else {
    const readable = (access & ACCESS_S) != 0 && ((access & ACCESS_CODE) == 0 || (access & ACCESS_READABLE) != 0);
    if (!readable || (!(isCode(access) && isConforming(access)) && (rpl > dpl || cpl > dpl))) {
      raiseGp(vcpu, error);
      return;
    }
    if ((access & ACCESS_P) == 0) {
      raiseNp(vcpu, error);
      return;
    }
  }
  if (!markAccessed(vcpu, at, descriptor)) return;
  setFromDescriptor(vcpu, segment, selector, descriptor);
  if (segment == SEG_SS) updateMode(vcpu);
}

/** MOV and POP: into SS they also hold off interrupts and debug traps for one instruction (SDM 3A 6.8.3). */
export function moveToSegment(vcpu: usize, segment: u32, selector: u32): void {
  loadSegment(vcpu, segment, selector);
  if (segment == SEG_SS && !faulted(vcpu)) lookInShadow(vcpu, SHADOW_MOV_SS);
}

/** Data segments that an outer ring may not see become null (SDM: RET and IRET to an outer level). */
export function dropInnerSegments(vcpu: usize, cpl: u32): void {
  dropIfInner(vcpu, 0, cpl);
  dropIfInner(vcpu, 3, cpl);
  dropIfInner(vcpu, 4, cpl);
  dropIfInner(vcpu, 5, cpl);
}

function dropIfInner(vcpu: usize, segment: u32, cpl: u32): void {
  const access = segAccess(vcpu, segment);
  if ((access & ACCESS_UNUSABLE) == 0 && dplOf(access) < cpl && !(isCode(access) && isConforming(access))) {
    // The base stays: 64-bit code sets FS and GS bases apart from their selectors.
    store<u32>(vcpu + segment * 4, 0, VCPU_SEG_SELECTOR);
    store<u32>(vcpu + segment * 4, ACCESS_UNUSABLE, VCPU_SEG_ACCESS);
    store<u32>(vcpu + segment * 4, 0, VCPU_SEG_LIMIT);
  }
}

// --- system segments ---

/** LLDT. */
export function lldt(vcpu: usize, selector: u32): void {
  if (!systemAllowed(vcpu)) return;
  selector &= 0xffff;
  if (isNull(selector)) {
    setNull(vcpu, SEG_LDTR, selector);
    return;
  }
  loadSystem(vcpu, SEG_LDTR, selector);
}

/** LTR: marks the TSS busy. */
export function ltr(vcpu: usize, selector: u32): void {
  if (!systemAllowed(vcpu)) return;
  selector &= 0xffff;
  if (isNull(selector)) {
    raiseGp(vcpu, 0);
    return;
  }
  loadSystem(vcpu, SEG_TR, selector);
}

function systemAllowed(vcpu: usize): bool {
  if (!isProtected(vcpu)) {
    raiseUd(vcpu);
    return false;
  }
  if (cplOf(vcpu) == 0) return true;
  raiseGp(vcpu, 0);
  return false;
}

function loadSystem(vcpu: usize, segment: u32, selector: u32): void {
  const long = isLong(vcpu), error = selector & 0xfffc, at = selector & 4 ? NO_DESCRIPTOR : descriptorAddress(vcpu, selector, long ? 16 : 8);
  if (at == NO_DESCRIPTOR) {
    raiseGp(vcpu, error);
    return;
  }
  const low = systemLoad64(vcpu, at), high = long && !faulted(vcpu) ? systemLoad64(vcpu, at + 8) : 0;
  if (faulted(vcpu)) return;
  const access = descriptorAccess(low), type = access & ACCESS_TYPE;
  const good = segment == SEG_LDTR ? type == 2 : type == 9 || (type == 1 && !long);
  if (!good || (high & 0x1f0000000000) != 0) {
    raiseGp(vcpu, error);
    return;
  }
  if ((access & ACCESS_P) == 0) {
    raiseNp(vcpu, error);
    return;
  }
  const base = descriptorBase(low) | (high << 32);
  if (!isCanonical(base)) {
    raiseGp(vcpu, error);
    return;
  }
  if (segment == SEG_TR) {
    systemStore8(vcpu, at + 5, (access & 0xff) | 2);
    if (faulted(vcpu)) return;
  }
  setSegment(vcpu, segment, selector, base, descriptorLimit(low), access | (segment == SEG_TR ? 2 : 0));
}

/** SLDT, STR, SGDT, SIDT, SMSW: CR4.UMIP keeps them from user code. @returns false with #GP(0) raised */
export function umipAllows(vcpu: usize): bool {
  if (cplOf(vcpu) == 0 || (load<u64>(vcpu, VCPU_CR4) & CR4_UMIP) == 0) return true;
  raiseGp(vcpu, 0);
  return false;
}

export function sldt(vcpu: usize): u32 { return storeSystem(vcpu, SEG_LDTR); }
export function str(vcpu: usize): u32 { return storeSystem(vcpu, SEG_TR); }

function storeSystem(vcpu: usize, segment: u32): u32 {
  if (!isProtected(vcpu)) {
    raiseUd(vcpu);
    return 0;
  }
  return umipAllows(vcpu) ? segSelector(vcpu, segment) : 0;
}

// --- looking at descriptors ---

/** Which system types LAR (bit n: type n) and LSL accept, outside and inside IA-32e mode (SDM 2A LAR, LSL tables). */
const LAR_LEGACY: u32 = 0x1a3e, LAR_LONG: u32 = 0x1a04, LSL_LEGACY: u32 = 0xa0e, LSL_LONG: u32 = 0xa04;

/** @returns the descriptor when LAR or LSL may show it, or NO_DESCRIPTOR. */
function visibleDescriptor(vcpu: usize, selector: u32, types: u32): u64 {
  if (isNull(selector)) return NO_DESCRIPTOR;
  const at = descriptorAddress(vcpu, selector, 8);
  if (at == NO_DESCRIPTOR) return NO_DESCRIPTOR;
  const descriptor = systemLoad64(vcpu, at);
  if (faulted(vcpu)) return NO_DESCRIPTOR;
  const access = descriptorAccess(descriptor), dpl = dplOf(access);
  if ((access & ACCESS_S) == 0 && ((types >> (access & 15)) & 1) == 0) return NO_DESCRIPTOR;
  if (!(isCode(access) && isConforming(access)) && (cplOf(vcpu) > dpl || (selector & 3) > dpl)) return NO_DESCRIPTOR;
  return descriptor;
}

function needsProtected(vcpu: usize): bool {
  if (isProtected(vcpu)) return true;
  raiseUd(vcpu);
  return false;
}

/** LAR: access rights into the destination, or the old one with ZF clear. Bits 16-19, which the SDM leaves open, are those of the limit. */
export function lar(vcpu: usize, selector: u32, old: u64, sizeBytes: u32): u64 {
  if (!needsProtected(vcpu)) return old;
  const descriptor = visibleDescriptor(vcpu, selector & 0xffff, isLong(vcpu) ? LAR_LONG : LAR_LEGACY);
  if (faulted(vcpu)) return old;
  setZero(vcpu, descriptor != NO_DESCRIPTOR);
  return descriptor == NO_DESCRIPTOR ? old : (descriptor >> 32) & (sizeBytes == 2 ? 0xff00 : 0xffff00);
}

/** LSL: the limit in bytes, or the old destination with ZF clear. */
export function lsl(vcpu: usize, selector: u32, old: u64, sizeBytes: u32): u64 {
  if (!needsProtected(vcpu)) return old;
  const descriptor = visibleDescriptor(vcpu, selector & 0xffff, isLong(vcpu) ? LSL_LONG : LSL_LEGACY);
  if (faulted(vcpu)) return old;
  setZero(vcpu, descriptor != NO_DESCRIPTOR);
  if (descriptor == NO_DESCRIPTOR) return old;
  return sizeBytes == 2 ? descriptorLimit(descriptor) & 0xffff : descriptorLimit(descriptor);
}

export function verr(vcpu: usize, selector: u32): void {
  if (!needsProtected(vcpu)) return;
  const descriptor = visibleDescriptor(vcpu, selector & 0xffff, 0), access = descriptorAccess(descriptor);
  if (!faulted(vcpu)) setZero(vcpu, descriptor != NO_DESCRIPTOR && (!isCode(access) || (access & ACCESS_READABLE) != 0));
}

export function verw(vcpu: usize, selector: u32): void {
  if (!needsProtected(vcpu)) return;
  const descriptor = visibleDescriptor(vcpu, selector & 0xffff, 0);
  if (!faulted(vcpu)) setZero(vcpu, descriptor != NO_DESCRIPTOR && isWritableData(descriptorAccess(descriptor)));
}

/** ARPL: the destination with the RPL raised to the source's. ZF is left to the instruction, whose store may still fault. */
export function arpl(vcpu: usize, destination: u32, source: u32): u32 {
  if (!needsProtected(vcpu)) return destination;
  return (destination & 3) < (source & 3) ? (destination & ~3) | (source & 3) : destination;
}

// --- tables ---

export function lgdt(vcpu: usize, gva: u64, segment: u32, sizeBytes: u32): void { loadTable(vcpu, gva, segment, sizeBytes, VCPU_GDTR_BASE, VCPU_GDTR_LIMIT); }
export function lidt(vcpu: usize, gva: u64, segment: u32, sizeBytes: u32): void { loadTable(vcpu, gva, segment, sizeBytes, VCPU_IDTR_BASE, VCPU_IDTR_LIMIT); }

function loadTable(vcpu: usize, gva: u64, segment: u32, sizeBytes: u32, baseField: usize, limitField: usize): void {
  if (cplOf(vcpu) != 0) {
    raiseGp(vcpu, 0);
    return;
  }
  const limit = slowLoad16(vcpu, gva, segment);
  if (faulted(vcpu)) return;
  const wide = is64(vcpu), at = wide ? gva + 2 : (gva + 2) & 0xffffffff;
  let base = wide ? slowLoad64(vcpu, at, segment) : <u64>slowLoad32(vcpu, at, segment);
  if (faulted(vcpu)) return;
  if (!wide && sizeBytes == 2) base &= 0xffffff;
  if (!isCanonical(base)) {
    raiseGp(vcpu, 0);
    return;
  }
  store<u64>(vcpu + baseField, base);
  store<u32>(vcpu + limitField, limit);
}

export function sgdt(vcpu: usize, gva: u64, segment: u32, sizeBytes: u32): void { storeTable(vcpu, gva, segment, VCPU_GDTR_BASE, VCPU_GDTR_LIMIT); }
export function sidt(vcpu: usize, gva: u64, segment: u32, sizeBytes: u32): void { storeTable(vcpu, gva, segment, VCPU_IDTR_BASE, VCPU_IDTR_LIMIT); }

function storeTable(vcpu: usize, gva: u64, segment: u32, baseField: usize, limitField: usize): void {
  if (!umipAllows(vcpu)) return;
  const wide = is64(vcpu);
  if (!probeRange(vcpu, gva, wide ? 10 : 6, segment, ACCESS_WRITE)) return;
  slowStore16(vcpu, gva, load<u32>(vcpu + limitField), segment);
  if (wide) slowStore64(vcpu, gva + 2, load<u64>(vcpu + baseField), segment);
  else slowStore32(vcpu, (gva + 2) & 0xffffffff, load<u32>(vcpu + baseField), segment);
}

// --- FS and GS bases ---

function fsgsbaseAllowed(vcpu: usize): bool {
  if (is64(vcpu) && (load<u64>(vcpu, VCPU_CR4) & CR4_FSGSBASE) != 0) return true;
  raiseUd(vcpu);
  return false;
}

/** RDFSBASE, RDGSBASE. */
export function readSegmentBase(vcpu: usize, segment: u32): u64 { return fsgsbaseAllowed(vcpu) ? segBase(vcpu, segment) : 0; }

/** WRFSBASE, WRGSBASE; a 32-bit operand comes zero-extended. */
export function writeSegmentBase(vcpu: usize, segment: u32, value: u64): void {
  if (!fsgsbaseAllowed(vcpu)) return;
  if (isCanonical(value)) store<u64>(vcpu + segment * 8, value, VCPU_SEG_BASE);
  else raiseGp(vcpu, 0);
}

export function swapgs(vcpu: usize): void {
  if (!is64(vcpu)) {
    raiseUd(vcpu);
    return;
  }
  if (cplOf(vcpu) != 0) {
    raiseGp(vcpu, 0);
    return;
  }
  const base = segBase(vcpu, SEG_GS);
  store<u64>(vcpu + SEG_GS * 8, load<u64>(vcpu, VCPU_KERNEL_GS_BASE), VCPU_SEG_BASE);
  store<u64>(vcpu, base, VCPU_KERNEL_GS_BASE);
}
