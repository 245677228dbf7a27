/**
 * Delivery of interrupts and exceptions: real mode, 16- and 32-bit protected mode, IA-32e mode; double and triple faults.
 * Implements: SDM vol. 3A 6.12 Exception and Interrupt Handling, 6.14 in 64-bit Mode, 6.15 (#DF: contributory classes); vol. 2A INT n "Operation".
 * Runs on: the vCPU's own thread. Not modelled: task gates (#TS on use), virtual-8086 mode.
 */
import {
  VCPU_CPL, VCPU_CR2, VCPU_DR, VCPU_FAULT, VCPU_FAULT_ADDRESS, VCPU_FAULT_ERROR, VCPU_FAULT_HAS_ERROR, VCPU_HALTED, VCPU_IDTR_BASE, VCPU_IDTR_LIMIT, VCPU_NEXT_RIP,
  VCPU_NMI_BLOCKED, VCPU_PENDING_DEBUG, VCPU_RFLAGS, VCPU_RIP, VCPU_SHADOW,
} from '../../generated/vcpu-layout.ts';
import {
  ACCESS_DB, ACCESS_L, ACCESS_P, ACCESS_TYPE, DR7_GD, SEG_CS, SEG_SS, VECTOR_BP, VECTOR_DB, VECTOR_DE, VECTOR_DF, VECTOR_GP, VECTOR_MC, VECTOR_OF, VECTOR_PF, VECTOR_TS,
} from './bits';
import { faulted, raiseGp, raiseNp, raiseTs } from './faults';
import { readRflags } from './flags';
import { isCanonical, probeWith, storeWith, systemLoad32, systemLoad64 } from './memory';
import { ACCESS_WRITE } from './paging';
import {
  cplOf, descriptorAccess, descriptorAddress, descriptorBase, descriptorLimit, dplOf, enterCode, isCode, isConforming, isLong, isNull, isProtected, markAccessed, NO_DESCRIPTOR,
  segAccess, segBase, segLimit, segSelector, setFromDescriptor, setNull, setRealSegment, tableAddress,
} from './segments';
import { innerStack, innerStack64, maskOfStack, newDescriptor, newPointer, newSelector, probeNewStack, probePushes, put, setStackPointer, stackMask, stackPointer, whoAt } from './stack';
import { updateAccessClass, updateMode } from './tlb';

/** Kinds of an event, numbered as in VMCS and in cpu/helpers.ts. */
export const KIND_EXTERNAL: u32 = 0, KIND_NMI: u32 = 2, KIND_EXCEPTION: u32 = 3, KIND_SOFTWARE: u32 = 4, KIND_ICEBP: u32 = 5, KIND_SOFTWARE_EXCEPTION: u32 = 6;

const TF: u64 = 0x100, IF: u64 = 0x200, NT: u64 = 0x4000, RF: u64 = 0x10000, VM: u64 = 0x20000, AC: u64 = 0x40000;
const GATE_TASK: u32 = 5, GATE_INTERRUPT: u32 = 14, GATE_TRAP: u32 = 15, GATE_INTERRUPT_16: u32 = 6, GATE_TRAP_16: u32 = 7;

function isContributory(vector: u32): bool { return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP); }

/** Where the handler returns to: past an INT, at anything else. */
function returnRip(vcpu: usize, kind: u32): u64 { return kind >= KIND_SOFTWARE ? load<u64>(vcpu, VCPU_NEXT_RIP) : load<u64>(vcpu, VCPU_RIP); }

/** RFLAGS as pushed: faults set RF, so that an instruction breakpoint does not hit again (SDM 3A 18.3.1.1). */
function imageOf(vcpu: usize, vector: u32, kind: u32): u64 {
  const fault = kind == KIND_EXCEPTION && vector != VECTOR_DB && vector != VECTOR_BP && vector != VECTOR_OF && vector != VECTOR_DF && vector != VECTOR_MC;
  return readRflags(vcpu) | (fault ? RF : 0);
}

function finish(vcpu: usize, kind: u32, cleared: u64): void {
  store<u64>(vcpu, load<u64>(vcpu, VCPU_RFLAGS) & ~cleared, VCPU_RFLAGS);
  store<u32>(vcpu, 0, VCPU_SHADOW);
  store<u32>(vcpu, 0, VCPU_HALTED);
  if (kind == KIND_NMI) store<u32>(vcpu, 1, VCPU_NMI_BLOCKED);
  updateMode(vcpu);
  updateAccessClass(vcpu);
}

/** One attempt. @returns false with `fault` raised and nothing else changed */
export function tryDeliver(vcpu: usize, vector: u32, kind: u32, hasError: u32, error: u32): bool {
  if (!isProtected(vcpu)) return deliverReal(vcpu, vector, kind);
  return isLong(vcpu) ? deliver64(vcpu, vector, kind, hasError, error) : deliver32(vcpu, vector, kind, hasError, error);
}

/** SDM 3A 20.1.4: the interrupt vector table. */
function deliverReal(vcpu: usize, vector: u32, kind: u32): bool {
  if (vector * 4 + 3 > load<u32>(vcpu, VCPU_IDTR_LIMIT)) {
    raiseGp(vcpu, 0);
    return false;
  }
  const entry = systemLoad32(vcpu, (load<u64>(vcpu, VCPU_IDTR_BASE) + vector * 4) & 0xffffffff);
  if (faulted(vcpu)) return false;
  const base = segBase(vcpu, SEG_SS), mask = stackMask(vcpu), top = stackPointer(vcpu), who = whoAt(vcpu, 0);
  if (!probePushes(vcpu, base, segLimit(vcpu, SEG_SS), segAccess(vcpu, SEG_SS), mask, top, 3, 2, 0, who)) return false;
  put(vcpu, base, mask, top - 2, imageOf(vcpu, vector, KIND_EXTERNAL), 2, who);
  put(vcpu, base, mask, top - 4, segSelector(vcpu, SEG_CS), 2, who);
  put(vcpu, base, mask, top - 6, returnRip(vcpu, kind), 2, who);
  setStackPointer(vcpu, top - 6, mask);
  setRealSegment(vcpu, SEG_CS, entry >> 16);
  store<u64>(vcpu, <u64>(entry & 0xffff), VCPU_RIP);
  finish(vcpu, kind, IF | TF | AC | RF);
  return true;
}

function isSoftware(kind: u32): bool { return kind == KIND_SOFTWARE || kind == KIND_SOFTWARE_EXCEPTION; }

/** The gate's own checks. @returns false with #GP or #NP raised */
function gateAllows(vcpu: usize, access: u32, kind: u32, error: u32, known: bool): bool {
  if (!known || (isSoftware(kind) && dplOf(access) < cplOf(vcpu))) {
    raiseGp(vcpu, error);
    return false;
  }
  if ((access & ACCESS_P) == 0) {
    raiseNp(vcpu, error);
    return false;
  }
  return true;
}

/** The handler's code segment. @returns its descriptor, or 0 with a fault raised (a good one is never 0) */
function handlerCode(vcpu: usize, selector: u32, ext: u32, long: bool): u64 {
  if (isNull(selector)) {
    raiseGp(vcpu, ext);
    return 0;
  }
  const error = (selector & 0xfffc) | ext, at = descriptorAddress(vcpu, selector, 8);
  if (at == NO_DESCRIPTOR) {
    raiseGp(vcpu, error);
    return 0;
  }
  const descriptor = systemLoad64(vcpu, at);
  if (faulted(vcpu)) return 0;
  const access = descriptorAccess(descriptor);
  if (!isCode(access) || dplOf(access) > cplOf(vcpu) || (long && (access & (ACCESS_L | ACCESS_DB)) != ACCESS_L)) {
    raiseGp(vcpu, error);
    return 0;
  }
  if ((access & ACCESS_P) == 0) {
    raiseNp(vcpu, error);
    return 0;
  }
  return markAccessed(vcpu, at, descriptor) ? descriptor : 0;
}

/** SDM 3A 6.14. */
function deliver64(vcpu: usize, vector: u32, kind: u32, hasError: u32, error: u32): bool {
  const ext: u32 = isSoftware(kind) ? 0 : 1, gateError = vector * 8 + 2 + ext;
  if (vector * 16 + 15 > load<u32>(vcpu, VCPU_IDTR_LIMIT)) {
    raiseGp(vcpu, gateError);
    return false;
  }
  const gateAt = load<u64>(vcpu, VCPU_IDTR_BASE) + vector * 16, low = systemLoad64(vcpu, gateAt);
  if (faulted(vcpu)) return false;
  const high = systemLoad64(vcpu, gateAt + 8);
  if (faulted(vcpu)) return false;
  const gateAccess = descriptorAccess(low), type = gateAccess & ACCESS_TYPE;
  if (!gateAllows(vcpu, gateAccess, kind, gateError, type == GATE_INTERRUPT || type == GATE_TRAP)) return false;
  const selector = <u32>(low >> 16) & 0xffff, code = handlerCode(vcpu, selector, ext, true);
  if (code == 0) return false;
  const rip = (low & 0xffff) | ((low >> 32) & 0xffff0000) | (high << 32), ist = <u32>(low >> 32) & 7, cpl = cplOf(vcpu), codeAccess = descriptorAccess(code);
  const newCpl = isConforming(codeAccess) ? cpl : dplOf(codeAccess);
  let top = stackPointer(vcpu);
  if (ist != 0) top = innerStack64(vcpu, 0x1c + ist * 8, ext);
  else if (newCpl != cpl) top = innerStack64(vcpu, 4 + newCpl * 8, ext);
  else if (stackMask(vcpu) != 0xffffffffffffffff) top &= 0xffffffff;   // out of compatibility mode, same ring
  if (faulted(vcpu)) return false;
  top &= ~<u64>15;
  const count: u32 = hasError ? 6 : 5, start = top - count * 8, who = whoAt(vcpu, newCpl);
  if (!isCanonical(start) || !isCanonical(top - 1)) {
    raiseSsExt(vcpu, ext);
    return false;
  }
  if (!isCanonical(rip)) {
    raiseGp(vcpu, ext);
    return false;
  }
  if (!probe64(vcpu, start, count * 8, who)) return false;
  let at = start;
  if (hasError) {
    storeWith(vcpu, at, error, 8, SEG_SS, who);
    at += 8;
  }
  storeWith(vcpu, at, returnRip(vcpu, kind), 8, SEG_SS, who);
  storeWith(vcpu, at + 8, segSelector(vcpu, SEG_CS), 8, SEG_SS, who);
  storeWith(vcpu, at + 16, imageOf(vcpu, vector, kind), 8, SEG_SS, who);
  storeWith(vcpu, at + 24, stackPointer(vcpu), 8, SEG_SS, who);
  storeWith(vcpu, at + 32, segSelector(vcpu, SEG_SS), 8, SEG_SS, who);
  enterCode(vcpu, selector, code, newCpl);
  if (newCpl != cpl) setNull(vcpu, SEG_SS, newCpl);
  setStackPointer(vcpu, start, 0xffffffffffffffff);
  store<u64>(vcpu, rip, VCPU_RIP);
  finish(vcpu, kind, TF | NT | RF | VM | (type == GATE_INTERRUPT ? IF : 0));
  return true;
}

/** A frame that comes from compatibility mode is written with 64-bit addresses: the probe may not wrap at 4 GiB. */
function probe64(vcpu: usize, start: u64, sizeBytes: u32, who: u32): bool {
  return probeWith(vcpu, start, 8, SEG_SS, ACCESS_WRITE, who) && probeWith(vcpu, start + sizeBytes - 8, 8, SEG_SS, ACCESS_WRITE, who);
}

function raiseSsExt(vcpu: usize, ext: u32): void {
  store<u32>(vcpu, 12 + 1, VCPU_FAULT);
  store<u32>(vcpu, 1, VCPU_FAULT_HAS_ERROR);
  store<u32>(vcpu, ext, VCPU_FAULT_ERROR);
}

/** SDM 3A 6.12.1. */
function deliver32(vcpu: usize, vector: u32, kind: u32, hasError: u32, error: u32): bool {
  const ext: u32 = isSoftware(kind) ? 0 : 1, gateError = vector * 8 + 2 + ext;
  if (vector * 8 + 7 > load<u32>(vcpu, VCPU_IDTR_LIMIT)) {
    raiseGp(vcpu, gateError);
    return false;
  }
  const gate = systemLoad64(vcpu, tableAddress(vcpu, load<u64>(vcpu, VCPU_IDTR_BASE), vector * 8));
  if (faulted(vcpu)) return false;
  const gateAccess = descriptorAccess(gate), type = gateAccess & ACCESS_TYPE, selector = <u32>(gate >> 16) & 0xffff;
  const known = type == GATE_TASK || type == GATE_INTERRUPT || type == GATE_TRAP || type == GATE_INTERRUPT_16 || type == GATE_TRAP_16;
  if (!gateAllows(vcpu, gateAccess, kind, gateError, known)) return false;
  if (type == GATE_TASK) {
    raiseTs(vcpu, (selector & 0xfffc) | ext);
    return false;
  }
  const code = handlerCode(vcpu, selector, ext, false);
  if (code == 0) return false;
  const size: u32 = type & 8 ? 4 : 2, rip = (gate & 0xffff) | (size == 4 ? (gate >> 32) & 0xffff0000 : 0), cpl = cplOf(vcpu), codeAccess = descriptorAccess(code);
  const newCpl = isConforming(codeAccess) ? cpl : dplOf(codeAccess), inner = newCpl != cpl, count: u32 = (inner ? 5 : 3) + (hasError ? 1 : 0), who = whoAt(vcpu, newCpl);
  let base = segBase(vcpu, SEG_SS), mask = stackMask(vcpu), top = stackPointer(vcpu);
  if (inner) {
    if (!innerStack(vcpu, newCpl, ext) || !probeNewStack(vcpu, count, size, (newSelector(vcpu) & 0xfffc) | ext, who)) return false;
    base = descriptorBase(newDescriptor(vcpu));
    mask = maskOfStack(descriptorAccess(newDescriptor(vcpu)));
    top = newPointer(vcpu);
  } else if (!probePushes(vcpu, base, segLimit(vcpu, SEG_SS), segAccess(vcpu, SEG_SS), mask, top, count, size, ext, who)) {
    return false;
  }
  if (rip > <u64>descriptorLimit(code)) {
    raiseGp(vcpu, ext);
    return false;
  }
  if (inner && !markAccessed(vcpu, descriptorAddress(vcpu, newSelector(vcpu), 8), newDescriptor(vcpu))) return false;
  let at = top;
  if (inner) {
    put(vcpu, base, mask, at -= size, segSelector(vcpu, SEG_SS), size, who);
    put(vcpu, base, mask, at -= size, stackPointer(vcpu), size, who);
  }
  put(vcpu, base, mask, at -= size, imageOf(vcpu, vector, kind), size, who);
  put(vcpu, base, mask, at -= size, segSelector(vcpu, SEG_CS), size, who);
  put(vcpu, base, mask, at -= size, returnRip(vcpu, kind), size, who);
  if (hasError) put(vcpu, base, mask, at -= size, error, size, who);
  enterCode(vcpu, selector, code, newCpl);
  if (inner) setFromDescriptor(vcpu, SEG_SS, newSelector(vcpu), newDescriptor(vcpu));
  setStackPointer(vcpu, at, mask);
  store<u64>(vcpu, rip, VCPU_RIP);
  finish(vcpu, kind, TF | NT | RF | VM | (type == GATE_INTERRUPT || type == GATE_INTERRUPT_16 ? IF : 0));
  return true;
}

/**
 * Deliver an event at vcpu.rip (software kinds return to nextRip), through double fault if it must be.
 * @param kind 0 external, 2 NMI, 3 exception, 4 INT n, 5 INT1, 6 INT3 and INTO
 * @returns 0 delivered, 1 triple fault: the processor shuts down
 */
export function deliver(vcpu: usize, vector: u32, kind: u32, hasError: u32, error: u32): u32 {
  store<u32>(vcpu, 0, VCPU_FAULT);
  // Each round either delivers or moves up: benign, contributory, #PF, #DF, shutdown.
  for (let round = 0; round < 8; round++) {
    if (kind == KIND_EXCEPTION && vector == VECTOR_PF) store<u64>(vcpu, load<u64>(vcpu, VCPU_FAULT_ADDRESS), VCPU_CR2);
    if (kind == KIND_EXCEPTION && vector == VECTOR_DB) noteDebug(vcpu);
    if (tryDeliver(vcpu, vector, kind, hasError, error)) return 0;
    const second = load<u32>(vcpu, VCPU_FAULT) - 1, first = kind == KIND_EXCEPTION ? vector : 0xffffffff;
    store<u32>(vcpu, 0, VCPU_FAULT);
    if (second == VECTOR_PF) store<u64>(vcpu, load<u64>(vcpu, VCPU_FAULT_ADDRESS), VCPU_CR2);
    if (first == VECTOR_DF) return 1;
    const doubled = isContributory(second) ? first == VECTOR_PF || isContributory(first) : second == VECTOR_PF && first == VECTOR_PF;
    kind = KIND_EXCEPTION;
    vector = doubled ? VECTOR_DF : second;
    hasError = doubled ? 1 : load<u32>(vcpu, VCPU_FAULT_HAS_ERROR);
    error = doubled ? 0 : load<u32>(vcpu, VCPU_FAULT_ERROR);
  }
  return 1;
}

/** #DB: what happened goes to DR6, and DR7.GD goes off so that the handler can use the debug registers (SDM 3A 18.2.3, 18.2.4). */
function noteDebug(vcpu: usize): void {
  store<u64>(vcpu + 48, load<u64>(vcpu + 48, VCPU_DR) | load<u32>(vcpu, VCPU_PENDING_DEBUG), VCPU_DR);
  store<u32>(vcpu, 0, VCPU_PENDING_DEBUG);
  store<u64>(vcpu + 56, load<u64>(vcpu + 56, VCPU_DR) & ~DR7_GD, VCPU_DR);
}

/** INT n, INT3, INTO, INT1: on a fault the instruction itself is at fault, so the run loop delivers that. */
export function softwareInterrupt(vcpu: usize, vector: u32, kind: u32): void { tryDeliver(vcpu, vector, kind, 0, 0); }
