/**
 * Far transfers: JMP, CALL and RET far, IRET, SYSCALL, SYSRET, SYSENTER, SYSEXIT.
 * Implements: SDM vol. 2 "Operation" of each; vol. 3A 5.8 Privilege Level Checking When Transferring Program Control, 5.8.3 Call Gates.
 * Runs on: the vCPU's own thread. Not modelled: hardware task switches (#TS, or #GP on a task return), virtual-8086 mode (#GP).
 */
import {
  VCPU_CPL, VCPU_EFER, VCPU_GPR, VCPU_LSTAR, VCPU_NEXT_RIP, VCPU_NMI_BLOCKED, VCPU_RFLAGS, VCPU_RIP, VCPU_SEG_SELECTOR, VCPU_SFMASK, VCPU_STAR,
  VCPU_SYSENTER_CS, VCPU_SYSENTER_EIP, VCPU_SYSENTER_ESP,
} from '../../generated/vcpu-layout.ts';
import { ACCESS_DB, ACCESS_L, ACCESS_P, ACCESS_S, ACCESS_TYPE, EFER_SCE, SEG_CS, SEG_SS } from './bits';
import { faulted, raiseGp, raiseNp, raiseSs, raiseTs, raiseUd } from './faults';
import { readRflags, storeRflags } from './flags';
import { lookAfterFlags, lookInShadow } from './look';
import { isCanonical, loadWith, storeWith, systemLoad64 } from './memory';
import { WHO_USER } from './paging';
import {
  cplOf, descriptorAccess, descriptorAddress, descriptorBase, descriptorLimit, dplOf, dropInnerSegments, enterCode, is64, isCode, isConforming, isLong, isNull, isProtected,
  isWritableData, markAccessed, NO_DESCRIPTOR, segAccess, segBase, segLimit, segSelector, setFromDescriptor, setNull, setRealSegment, setSegment,
} from './segments';
import {
  addressOn, innerStack, innerStack64, maskOfStack, newDescriptor, newPointer, newSelector, peekStack, probeNewStack, probePushes, put, setStackPointer, stackAddress, stackMask, stackPointer, whoAt,
} from './stack';
import { updateAccessClass, updateMode } from './tlb';

const TF: u64 = 0x100, IF: u64 = 0x200, IOPL: u64 = 0x3000, NT: u64 = 0x4000, RF: u64 = 0x10000, VM: u64 = 0x20000, AC: u64 = 0x40000, VIF: u64 = 0x80000, VIP: u64 = 0x100000, ID: u64 = 0x200000;
/** CF PF AF ZF SF TF DF OF NT. */
const FLAGS_USER: u64 = 0x4dd5;
const ALL_ONES: u64 = 0xffffffffffffffff;
const SHADOW_STI: u32 = 1;
const GATE_CALL: u32 = 12, GATE_CALL_16: u32 = 4, GATE_TASK: u32 = 5, TSS_16: u32 = 1, TSS: u32 = 9;

function sizeMask(sizeBytes: u32): u64 { return sizeBytes == 8 ? ALL_ONES : sizeBytes == 4 ? 0xffffffff : 0xffff; }

function transferred(vcpu: usize, rip: u64): void {
  store<u64>(vcpu, rip, VCPU_RIP);
  updateMode(vcpu);
  updateAccessClass(vcpu);
}

/** Is `rip` inside the code segment to be entered? #GP(0) when not. */
function ripAllowed(vcpu: usize, descriptor: u64, rip: u64): bool {
  const wide = isLong(vcpu) && (descriptorAccess(descriptor) & ACCESS_L) != 0;
  if (wide ? isCanonical(rip) : rip <= <u64>descriptorLimit(descriptor)) return true;
  raiseGp(vcpu, 0);
  return false;
}

/** Compatibility mode takes the lower half of a 64-bit offset, and checks no more of it. */
function ripIn(vcpu: usize, descriptor: u64, rip: u64): u64 { return isLong(vcpu) && (descriptorAccess(descriptor) & ACCESS_L) == 0 ? rip & 0xffffffff : rip; }

/** In IA-32e mode a code segment is either L or D. */
function isBadLong(vcpu: usize, access: u32): bool { return isLong(vcpu) && (access & (ACCESS_L | ACCESS_DB)) == (ACCESS_L | ACCESS_DB); }

/** The descriptor that a selector names, null and limit checked. @returns 0 with #GP raised. A descriptor of zeros is refused here as well. */
function fetchDescriptor(vcpu: usize, selector: u32): u64 {
  const error = selector & 0xfffc, at = isNull(selector) ? NO_DESCRIPTOR : descriptorAddress(vcpu, selector, 8);
  if (at == NO_DESCRIPTOR) {
    raiseGp(vcpu, error);
    return 0;
  }
  const descriptor = systemLoad64(vcpu, at);
  if (!faulted(vcpu) && descriptor == 0) raiseGp(vcpu, error);
  return descriptor;
}

function markSelector(vcpu: usize, selector: u32, descriptor: u64): bool { return markAccessed(vcpu, descriptorAddress(vcpu, selector, 8), descriptor); }

// --- JMP and CALL ---

/** JMP ptr16:16, ptr16:32, m16:16, m16:32, m16:64. */
export function farJump(vcpu: usize, selector: u32, offset: u64, sizeBytes: u32): void { farTransfer(vcpu, selector & 0xffff, offset & sizeMask(sizeBytes), sizeBytes, false); }

/** CALL far. */
export function farCall(vcpu: usize, selector: u32, offset: u64, sizeBytes: u32): void { farTransfer(vcpu, selector & 0xffff, offset & sizeMask(sizeBytes), sizeBytes, true); }

/**
 * Push CS and the return address on the present stack; rSP moves by `dropReturn`, when nothing can fault any more. As on processors, what has
 * been pushed stays there on a fault.
 * @returns false with a fault raised
 */
function pushReturn(vcpu: usize, sizeBytes: u32): bool {
  return pushBelow(vcpu, sizeBytes, segSelector(vcpu, SEG_CS), sizeBytes) && pushBelow(vcpu, 2 * sizeBytes, load<u64>(vcpu, VCPU_NEXT_RIP), sizeBytes);
}

function pushBelow(vcpu: usize, distance: u32, value: u64, sizeBytes: u32): bool {
  const at = stackAddress(vcpu, stackPointer(vcpu) - distance, sizeBytes, 0);
  if (faulted(vcpu)) return false;
  storeWith(vcpu, at, value, sizeBytes, SEG_SS, whoAt(vcpu, cplOf(vcpu)));
  return !faulted(vcpu);
}

function dropReturn(vcpu: usize, sizeBytes: u32): void { setStackPointer(vcpu, stackPointer(vcpu) - 2 * sizeBytes, stackMask(vcpu)); }

function farTransfer(vcpu: usize, selector: u32, offset: u64, sizeBytes: u32, call: bool): void {
  if (!isProtected(vcpu)) {
    if (offset > <u64>segLimit(vcpu, SEG_CS)) {
      raiseGp(vcpu, 0);
      return;
    }
    if (call) {
      if (!pushReturn(vcpu, sizeBytes)) return;
      dropReturn(vcpu, sizeBytes);
    }
    setRealSegment(vcpu, SEG_CS, selector);
    transferred(vcpu, offset);
    return;
  }
  const descriptor = fetchDescriptor(vcpu, selector);
  if (faulted(vcpu)) return;
  const access = descriptorAccess(descriptor);
  if ((access & ACCESS_S) == 0) {
    throughSystem(vcpu, selector, descriptor, call);
    return;
  }
  const error = selector & 0xfffc, cpl = cplOf(vcpu), dpl = dplOf(access);
  if (!isCode(access) || isBadLong(vcpu, access) || (isConforming(access) ? dpl > cpl : (selector & 3) > cpl || dpl != cpl)) {
    raiseGp(vcpu, error);
    return;
  }
  if ((access & ACCESS_P) == 0) {
    raiseNp(vcpu, error);
    return;
  }
  if (call && !pushReturn(vcpu, sizeBytes)) return;
  const rip = ripIn(vcpu, descriptor, offset);
  if (!ripAllowed(vcpu, descriptor, rip) || !markSelector(vcpu, selector, descriptor)) return;
  if (call) dropReturn(vcpu, sizeBytes);
  enterCode(vcpu, selector, descriptor, cpl);
  transferred(vcpu, rip);
}

/** Call gates; task gates and TSSs are checked, then refused. */
function throughSystem(vcpu: usize, selector: u32, gate: u64, call: bool): void {
  const access = descriptorAccess(gate), type = access & ACCESS_TYPE, error = selector & 0xfffc, cpl = cplOf(vcpu), long = isLong(vcpu), dpl = dplOf(access);
  const known = type == GATE_CALL || (!long && (type == GATE_CALL_16 || type == GATE_TASK || type == TSS || type == TSS_16));
  if (!known || dpl < cpl || (selector & 3) > dpl) {
    raiseGp(vcpu, error);
    return;
  }
  let high: u64 = 0;
  if (long) {
    const at = descriptorAddress(vcpu, selector, 16);
    if (at != NO_DESCRIPTOR) high = systemLoad64(vcpu, at + 8);
    if (faulted(vcpu)) return;
    if (at == NO_DESCRIPTOR || (high & 0x1f0000000000) != 0) {
      raiseGp(vcpu, error);
      return;
    }
  }
  if ((access & ACCESS_P) == 0) {
    raiseNp(vcpu, error);
    return;
  }
  if (type != GATE_CALL && type != GATE_CALL_16) {
    raiseTs(vcpu, error);
    return;
  }
  const codeSelector = <u32>(gate >> 16) & 0xffff, codeError = codeSelector & 0xfffc, code = fetchDescriptor(vcpu, codeSelector);
  if (faulted(vcpu)) return;
  const codeAccess = descriptorAccess(code), codeDpl = dplOf(codeAccess);
  const inner = call && !isConforming(codeAccess) && codeDpl < cpl;
  if (!isCode(codeAccess) || codeDpl > cpl || (!call && !isConforming(codeAccess) && codeDpl != cpl) || (long && (codeAccess & (ACCESS_L | ACCESS_DB)) != ACCESS_L)) {
    raiseGp(vcpu, codeError);
    return;
  }
  if ((codeAccess & ACCESS_P) == 0) {
    raiseNp(vcpu, codeError);
    return;
  }
  const size: u32 = long ? 8 : type == GATE_CALL ? 4 : 2;
  const rip = (gate & 0xffff) | (size >= 4 ? (gate >> 32) & 0xffff0000 : 0) | (long ? high << 32 : 0);
  if (inner) {
    callInner(vcpu, gate, codeSelector, code, rip, size);
    return;
  }
  if (call && !pushReturn(vcpu, size)) return;
  if (!ripAllowed(vcpu, code, rip) || !markSelector(vcpu, codeSelector, code)) return;
  if (call) dropReturn(vcpu, size);
  enterCode(vcpu, codeSelector, code, cpl);
  transferred(vcpu, rip);
}

/** A call gate to an inner ring: another stack, with the parameters that the gate counts. */
function callInner(vcpu: usize, gate: u64, selector: u32, code: u64, rip: u64, size: u32): void {
  const cpl = cplOf(vcpu), ring = dplOf(descriptorAccess(code)), who = whoAt(vcpu, ring), outerWho = whoAt(vcpu, cpl);
  if (size == 8) {
    let top = innerStack64(vcpu, 4 + ring * 8, 0);
    if (faulted(vcpu) || !probePushes(vcpu, 0, 0, 0, ALL_ONES, top, 4, 8, 0, who)) return;
    if (!ripAllowed(vcpu, code, rip) || !markSelector(vcpu, selector, code)) return;
    put(vcpu, 0, ALL_ONES, top -= 8, segSelector(vcpu, SEG_SS), 8, who);
    put(vcpu, 0, ALL_ONES, top -= 8, stackPointer(vcpu), 8, who);
    put(vcpu, 0, ALL_ONES, top -= 8, segSelector(vcpu, SEG_CS), 8, who);
    put(vcpu, 0, ALL_ONES, top -= 8, load<u64>(vcpu, VCPU_NEXT_RIP), 8, who);
    enterCode(vcpu, selector, code, ring);
    setNull(vcpu, SEG_SS, ring);
    setStackPointer(vcpu, top, ALL_ONES);
    transferred(vcpu, rip);
    return;
  }
  const parameters = <u32>(gate >> 32) & 31;
  if (!innerStack(vcpu, ring, 0) || !probeNewStack(vcpu, 4 + parameters, size, newSelector(vcpu) & 0xfffc, who)) return;
  for (let i: u32 = 0; i < parameters; i++) {
    peekStack(vcpu, i, size, outerWho);
    if (faulted(vcpu)) return;
  }
  if (!ripAllowed(vcpu, code, rip) || !markSelector(vcpu, selector, code)) return;
  const stack = newDescriptor(vcpu), stackSelector = newSelector(vcpu), base = descriptorBase(stack), mask = maskOfStack(descriptorAccess(stack));
  if (!markSelector(vcpu, stackSelector, stack)) return;
  let top = newPointer(vcpu);
  put(vcpu, base, mask, top -= size, segSelector(vcpu, SEG_SS), size, who);
  put(vcpu, base, mask, top -= size, stackPointer(vcpu), size, who);
  for (let i = parameters; i > 0; i--) put(vcpu, base, mask, top -= size, peekStack(vcpu, i - 1, size, outerWho), size, who);
  put(vcpu, base, mask, top -= size, segSelector(vcpu, SEG_CS), size, who);
  put(vcpu, base, mask, top -= size, load<u64>(vcpu, VCPU_NEXT_RIP), size, who);
  enterCode(vcpu, selector, code, ring);
  setFromDescriptor(vcpu, SEG_SS, stackSelector, stack);
  setStackPointer(vcpu, top, mask);
  transferred(vcpu, rip);
}

// --- RET far and IRET ---

/** Checks on the code segment that a return goes to. @returns its descriptor, or 0 with a fault raised */
function returnCode(vcpu: usize, selector: u32): u64 {
  const descriptor = fetchDescriptor(vcpu, selector);
  if (faulted(vcpu)) return 0;
  const access = descriptorAccess(descriptor), rpl = selector & 3, dpl = dplOf(access), error = selector & 0xfffc;
  if (!isCode(access) || rpl < cplOf(vcpu) || isBadLong(vcpu, access) || (isConforming(access) ? dpl > rpl : dpl != rpl)) {
    raiseGp(vcpu, error);
    return 0;
  }
  if ((access & ACCESS_P) == 0) {
    raiseNp(vcpu, error);
    return 0;
  }
  return descriptor;
}

/** Checks on the stack segment that a return to `cpl` loads. @returns its descriptor; 0: a null selector which 64-bit code may have, or a fault */
function returnStack(vcpu: usize, selector: u32, cpl: u32, code: u64): u64 {
  if (isNull(selector)) {
    if (!isLong(vcpu) || (descriptorAccess(code) & ACCESS_L) == 0 || cpl == 3 || (selector & 3) != cpl) raiseGp(vcpu, 0);
    return 0;
  }
  const descriptor = fetchDescriptor(vcpu, selector);
  if (faulted(vcpu)) return 0;
  const access = descriptorAccess(descriptor), error = selector & 0xfffc;
  if ((selector & 3) != cpl || !isWritableData(access) || dplOf(access) != cpl) {
    raiseGp(vcpu, error);
    return 0;
  }
  if ((access & ACCESS_P) == 0) {
    raiseSs(vcpu, error);
    return 0;
  }
  return descriptor;
}

/** Everything is checked: enter the code, and the stack where one came with it. */
function returnTo(vcpu: usize, selector: u32, code: u64, rip: u64, withStack: bool, stackSelector: u32, stack: u64, pointer: u64): void {
  const old = cplOf(vcpu), cpl = selector & 3;
  enterCode(vcpu, selector, code, cpl);
  if (withStack) {
    if (stack != 0) setFromDescriptor(vcpu, SEG_SS, stackSelector, stack);
    else setNull(vcpu, SEG_SS, stackSelector);
  }
  updateMode(vcpu);
  if (withStack) setStackPointer(vcpu, pointer, stackMask(vcpu));
  if (cpl > old) dropInnerSegments(vcpu, cpl);
  transferred(vcpu, rip);
}

/** RET far. @param release bytes of parameters to drop behind the return address */
export function farReturn(vcpu: usize, sizeBytes: u32, release: u32): void {
  const who = whoAt(vcpu, cplOf(vcpu)), selector = peekSelector(vcpu, 1, sizeBytes, who);   // the highest first, as processors do
  if (faulted(vcpu)) return;
  let rip = peekStack(vcpu, 0, sizeBytes, who);
  if (faulted(vcpu)) return;
  const after = stackPointer(vcpu) + 2 * sizeBytes + release;
  if (!isProtected(vcpu)) {
    if (rip > <u64>segLimit(vcpu, SEG_CS)) {
      raiseGp(vcpu, 0);
      return;
    }
    setStackPointer(vcpu, after, stackMask(vcpu));
    setRealSegment(vcpu, SEG_CS, selector);
    transferred(vcpu, rip);
    return;
  }
  const code = returnCode(vcpu, selector);
  if (faulted(vcpu)) return;
  rip = ripIn(vcpu, code, rip);
  if ((selector & 3) == cplOf(vcpu)) {
    if (!ripAllowed(vcpu, code, rip) || !markSelector(vcpu, selector, code)) return;
    setStackPointer(vcpu, after, stackMask(vcpu));
    returnTo(vcpu, selector, code, rip, false, 0, 0, 0);
    return;
  }
  const stackSelector = <u32>stackAt(vcpu, after + sizeBytes, 2, who);
  if (faulted(vcpu)) return;
  const pointer = stackAt(vcpu, after, sizeBytes, who);
  if (faulted(vcpu)) return;
  const stack = returnStack(vcpu, stackSelector, selector & 3, code);
  if (faulted(vcpu) || !ripAllowed(vcpu, code, rip) || !markSelector(vcpu, selector, code)) return;
  if (stack != 0 && !markSelector(vcpu, stackSelector, stack)) return;
  returnTo(vcpu, selector, code, rip, true, stackSelector, stack, pointer + release);
}

/** Selectors are read as words, whatever lies above them. */
function peekSelector(vcpu: usize, index: u32, sizeBytes: u32, who: u32): u32 {
  return <u32>stackAt(vcpu, stackPointer(vcpu) + <u64>index * sizeBytes, 2, who);
}

function stackAt(vcpu: usize, offset: u64, sizeBytes: u32, who: u32): u64 {
  const at = addressOn(vcpu, segBase(vcpu, SEG_SS), segLimit(vcpu, SEG_SS), segAccess(vcpu, SEG_SS), stackMask(vcpu), offset, sizeBytes, 0);
  return faulted(vcpu) ? 0 : loadWith(vcpu, at, sizeBytes, SEG_SS, who);
}

/** IRET, IRETD, IRETQ. */
export function iret(vcpu: usize, sizeBytes: u32): void {
  // NMIs are let in again even when IRET then faults (SDM 3C 27.2.3 "NMI unblocking due to IRET").
  store<u32>(vcpu, 0, VCPU_NMI_BLOCKED);
  const cpl = cplOf(vcpu), who = whoAt(vcpu, cpl), old = readRflags(vcpu), real = !isProtected(vcpu);
  if (!real && (old & NT) != 0) {
    raiseGp(vcpu, 0);
    return;
  }
  const image = peekStack(vcpu, 2, sizeBytes, who), after = stackPointer(vcpu) + 3 * sizeBytes;   // the highest first, as processors do
  if (faulted(vcpu)) return;
  const selector = peekSelector(vcpu, 1, sizeBytes, who);
  if (faulted(vcpu)) return;
  let rip = peekStack(vcpu, 0, sizeBytes, who);
  if (faulted(vcpu)) return;
  if (real) {
    if (rip > <u64>segLimit(vcpu, SEG_CS)) {
      raiseGp(vcpu, 0);
      return;
    }
    setStackPointer(vcpu, after, stackMask(vcpu));
    setRealSegment(vcpu, SEG_CS, selector);
    // SDM 2A IRET: a 32-bit image changes all but VM, VIF and VIP.
    const changes: u64 = FLAGS_USER | IF | IOPL | (sizeBytes == 2 ? 0 : RF | AC | ID);
    storeRflags(vcpu, (old & ~changes) | (image & changes));
    lookAfterFlags(vcpu);
    transferred(vcpu, rip);
    return;
  }
  if (sizeBytes != 2 && (image & VM) != 0 && cpl == 0 && !isLong(vcpu)) {
    raiseGp(vcpu, 0);
    return;
  }
  const code = returnCode(vcpu, selector);
  if (faulted(vcpu)) return;
  rip = ripIn(vcpu, code, rip);
  const withStack = is64(vcpu) || (selector & 3) != cpl;
  let stack: u64 = 0, stackSelector: u32 = 0, pointer: u64 = 0;
  if (withStack) {
    stackSelector = peekSelector(vcpu, 4, sizeBytes, who);
    if (faulted(vcpu)) return;
    pointer = peekStack(vcpu, 3, sizeBytes, who);
    if (faulted(vcpu)) return;
    stack = returnStack(vcpu, stackSelector, selector & 3, code);
    if (faulted(vcpu)) return;
  }
  if (!ripAllowed(vcpu, code, rip) || !markSelector(vcpu, selector, code)) return;
  if (stack != 0 && !markSelector(vcpu, stackSelector, stack)) return;
  let changes: u64 = FLAGS_USER | (sizeBytes == 2 ? 0 : RF | AC | ID);
  if (cpl <= (<u32>(old >> 12) & 3)) changes |= IF;
  if (cpl == 0) changes |= IOPL | (sizeBytes == 2 ? 0 : VIF | VIP);
  storeRflags(vcpu, (old & ~changes) | (image & changes));
  lookAfterFlags(vcpu);
  if (!withStack) setStackPointer(vcpu, after, stackMask(vcpu));
  returnTo(vcpu, selector, code, rip, withStack, stackSelector, stack, pointer);
}

// --- fast system calls: flat segments by decree, no descriptor is read ---

const FLAT_CODE: u32 = 0x809b, FLAT_DATA: u32 = 0xc093;

function enterFlat(vcpu: usize, codeSelector: u32, stackSelector: u32, cpl: u32, wide: bool): void {
  setSegment(vcpu, SEG_CS, (codeSelector & 0xfffc) | cpl, 0, 0xffffffff, FLAT_CODE | (cpl << 5) | (wide ? ACCESS_L : ACCESS_DB));
  setSegment(vcpu, SEG_SS, (stackSelector & 0xfffc) | cpl, 0, 0xffffffff, FLAT_DATA | (cpl << 5));
  store<u32>(vcpu, cpl, VCPU_CPL);
}

function gpr(vcpu: usize, index: usize): u64 { return load<u64>(vcpu + index * 8, VCPU_GPR); }

export function syscall(vcpu: usize): void {
  if (!is64(vcpu) || (load<u64>(vcpu, VCPU_EFER) & EFER_SCE) == 0) {
    raiseUd(vcpu);
    return;
  }
  const star = <u32>(load<u64>(vcpu, VCPU_STAR) >> 32) & 0xffff, flags = readRflags(vcpu);
  store<u64>(vcpu + 1 * 8, load<u64>(vcpu, VCPU_NEXT_RIP), VCPU_GPR);
  store<u64>(vcpu + 11 * 8, flags & ~RF, VCPU_GPR);
  storeRflags(vcpu, flags & ~(load<u64>(vcpu, VCPU_SFMASK) | RF | VM));
  enterFlat(vcpu, star & 0xfffc, (star & 0xfffc) + 8, 0, true);
  transferred(vcpu, load<u64>(vcpu, VCPU_LSTAR));
}

export function sysret(vcpu: usize, sizeBytes: u32): void {
  if (!is64(vcpu) || (load<u64>(vcpu, VCPU_EFER) & EFER_SCE) == 0) {
    raiseUd(vcpu);
    return;
  }
  const wide = sizeBytes == 8, rip = gpr(vcpu, 1);
  if (cplOf(vcpu) != 0 || (wide && !isCanonical(rip))) {
    raiseGp(vcpu, 0);
    return;
  }
  const star = <u32>(load<u64>(vcpu, VCPU_STAR) >> 48);
  storeRflags(vcpu, gpr(vcpu, 11) & 0x3c7fd7);
  lookAfterFlags(vcpu);
  enterFlat(vcpu, star + (wide ? 16 : 0), star + 8, 3, wide);
  transferred(vcpu, wide ? rip : rip & 0xffffffff);
}

export function sysenter(vcpu: usize): void {
  const selector = <u32>load<u64>(vcpu, VCPU_SYSENTER_CS) & 0xffff, long = isLong(vcpu);
  if (!isProtected(vcpu) || isNull(selector)) {
    raiseGp(vcpu, 0);
    return;
  }
  storeRflags(vcpu, readRflags(vcpu) & ~(VM | IF | RF));
  enterFlat(vcpu, selector, (selector & 0xfffc) + 8, 0, long);
  const mask: u64 = long ? ALL_ONES : 0xffffffff;
  store<u64>(vcpu + 4 * 8, load<u64>(vcpu, VCPU_SYSENTER_ESP) & mask, VCPU_GPR);
  transferred(vcpu, load<u64>(vcpu, VCPU_SYSENTER_EIP) & mask);
}

export function sysexit(vcpu: usize, sizeBytes: u32): void {
  const selector = <u32>load<u64>(vcpu, VCPU_SYSENTER_CS) & 0xffff, wide = sizeBytes == 8, rip = gpr(vcpu, 2), rsp = gpr(vcpu, 1);
  if (!isProtected(vcpu) || isNull(selector) || cplOf(vcpu) != 0 || (wide && (!isCanonical(rip) || !isCanonical(rsp)))) {
    raiseGp(vcpu, 0);
    return;
  }
  const code = (selector & 0xfffc) + (wide ? 32 : 16), mask: u64 = wide ? ALL_ONES : 0xffffffff;
  enterFlat(vcpu, code, code + 8, 3, wide);
  store<u64>(vcpu + 4 * 8, rsp & mask, VCPU_GPR);
  transferred(vcpu, rip & mask);
}

// --- the flag instructions which depend on privilege ---

/** PUSHF: VM and RF are pushed as 0. */
export function pushFlags(vcpu: usize): u64 { return readRflags(vcpu) & ~(VM | RF); }

/** POPF, POPFD, POPFQ. Source: SDM 2B POPF, table 4-17. */
export function popFlags(vcpu: usize, value: u64, sizeBytes: u32): void {
  const old = readRflags(vcpu), cpl = cplOf(vcpu);
  let changes: u64 = FLAGS_USER | (sizeBytes == 2 ? 0 : AC | ID);
  if (cpl <= (<u32>(old >> 12) & 3)) changes |= IF;
  if (cpl == 0) changes |= IOPL;
  // RF goes off; VIF and VIP go off at CPL 0, where the manual says "cleared", else stay.
  const cleared: u64 = sizeBytes == 2 ? 0 : RF | (cpl == 0 ? VIF | VIP : 0);
  storeRflags(vcpu, (old & ~(changes | cleared)) | (value & changes));
  lookAfterFlags(vcpu);
  updateAccessClass(vcpu);
}

function iplAllows(vcpu: usize): bool {
  if (!isProtected(vcpu) || cplOf(vcpu) <= (<u32>(load<u64>(vcpu, VCPU_RFLAGS) >> 12) & 3)) return true;
  raiseGp(vcpu, 0);
  return false;
}

export function cli(vcpu: usize): void {
  if (iplAllows(vcpu)) store<u64>(vcpu, load<u64>(vcpu, VCPU_RFLAGS) & ~IF, VCPU_RFLAGS);
}

/** STI: interrupts are held off for one more instruction when IF was clear. */
export function sti(vcpu: usize): void {
  if (!iplAllows(vcpu)) return;
  const flags = load<u64>(vcpu, VCPU_RFLAGS);
  store<u64>(vcpu, flags | IF, VCPU_RFLAGS);
  if ((flags & IF) == 0) lookInShadow(vcpu, SHADOW_STI);
}

/** CLAC, STAC: CPL 0 only, else #UD (SDM 2A CLAC). */
export function clac(vcpu: usize): void { setAc(vcpu, false); }
export function stac(vcpu: usize): void { setAc(vcpu, true); }

function setAc(vcpu: usize, on: bool): void {
  if (cplOf(vcpu) != 0) {
    raiseUd(vcpu);
    return;
  }
  const flags = load<u64>(vcpu, VCPU_RFLAGS);
  store<u64>(vcpu, on ? flags | AC : flags & ~AC, VCPU_RFLAGS);
  updateAccessClass(vcpu);
}
