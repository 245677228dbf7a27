/**
 * Local APIC of a vCPU: registers by MMIO and MSR, acceptance and priorities, local vector table, IPIs.
 * Implements: SDM vol 3 chapter "Advanced Programmable Interrupt Controller (APIC)", xAPIC and x2APIC; bhyve's version 10h, max LVT 6.
 * Runs on: the vCPU's own thread (others only through inbox.ts). Not modelled: focus processor, APR, SMI, level-triggered LINT pins.
 */
import { COUNTER_EXTINT, VCPU_LAPIC, VM_BASE } from '../../base/memory-map.ts';
import { REQUEST_INTERRUPT } from '../../base/vcpu-words.ts';
import { VCPU_APIC_BASE, VCPU_COUNTERS, VCPU_CR8, VCPU_EXIT_CODE, VCPU_EXIT_REASON, VCPU_EXIT_VALUE, VCPU_REQUESTS } from '../../generated/vcpu-layout.ts';
import {
  LAPIC_ATTENTION, LAPIC_CURRENT_COUNT, LAPIC_DFR, LAPIC_DIVIDE, LAPIC_EOI, LAPIC_ESR, LAPIC_ESR_PENDING, LAPIC_EXT_INT, LAPIC_ICR_HIGH, LAPIC_ICR_LOW, LAPIC_ID,
  LAPIC_INBOX_EDGE, LAPIC_INBOX_LEVEL, LAPIC_INITIAL_COUNT, LAPIC_IRR, LAPIC_ISR, LAPIC_LDR, LAPIC_LVT_CMCI, LAPIC_LVT_ERROR, LAPIC_LVT_LINT0, LAPIC_LVT_LINT1,
  LAPIC_LVT_PMC, LAPIC_LVT_THERMAL, LAPIC_LVT_TIMER, LAPIC_PPR, LAPIC_SVR, LAPIC_TMR, LAPIC_TPR, LAPIC_VERSION, VM_OPTIONS,
} from '../../generated/vmm-layout.ts';
import { EINVAL, EXIT_IPI } from '../exits.ts';
import { LAPIC_GPA, VM_OPTION_X2APIC } from '../layout.ts';
import { hostExit } from './host.ts';
import { indexOf, postExtInt, postNmi, postVector, vcpuAt, vcpuCount, wantAttention } from './inbox.ts';
import { ioapicEoi } from './ioapic.ts';
import { lapicTimerCurrentCount, lapicTimerModeChanged, lapicTimerReset, lapicTimerSetCount, lapicTimerSetDivide, TIMER_MODE_MASK, timerMode, TIMER_TSC_DEADLINE } from './lapic-timer.ts';
import { picAcknowledge, picIntr, picPeek } from './pic.ts';
import {
  addressed, APIC_BASE_BSP, APIC_BASE_ENABLE, APIC_BASE_X2APIC, apicEnabled, apicX2, DELIVERY_EXTINT, DELIVERY_FIXED, DELIVERY_INIT, DELIVERY_LOWEST, DELIVERY_NMI,
  DELIVERY_STARTUP, lowestPriority, softwareEnabled, SVR_ENABLE, x2apicLdr,
} from './routing.ts';

const VERSION: u32 = 0x10 | 6 << 16;
const LVT_MASKED: u32 = 0x10000;
export const ESR_SEND_ILLEGAL: u32 = 0x20, ESR_RECEIVE_ILLEGAL: u32 = 0x40, ESR_ILLEGAL_REGISTER: u32 = 0x80;

// --- reset ---

/** Power-up or RESET state. The vCPU must be stopped. SDM vol 3 "Local APIC State After Power-Up or Reset". */
export function lapicReset(vcpu: usize): void {
  const bsp = indexOf(vcpu) == 0;
  atomic.store<u64>(vcpu, <u64>(<u32>LAPIC_GPA) | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0), VCPU_APIC_BASE);
  lapicInit(vcpu);
}

/** After an INIT: the same, but the mode (xAPIC, x2APIC, disabled) stays. SDM vol 3 "Local APIC State After It Receives an INIT-Deassert IPI". */
export function lapicInit(vcpu: usize): void {
  const lapic = vcpu + VCPU_LAPIC;
  for (let word: usize = 0; word < 8; word++) {
    store<u32>(lapic + (word << 4), 0, LAPIC_ISR);
    store<u32>(lapic + (word << 4), 0, LAPIC_TMR);
    store<u32>(lapic + (word << 4), 0, LAPIC_IRR);
    atomic.store<u32>(lapic + (word << 2), 0, LAPIC_INBOX_EDGE);
    atomic.store<u32>(lapic + (word << 2), 0, LAPIC_INBOX_LEVEL);
  }
  store<u32>(lapic, 0, LAPIC_TPR);
  store<u32>(lapic, 0, LAPIC_PPR);
  store<u64>(vcpu, 0, VCPU_CR8);
  store<u32>(lapic, 0, LAPIC_LDR);
  store<u32>(lapic, 0xffffffff, LAPIC_DFR);
  store<u32>(lapic, 0xff, LAPIC_SVR);
  store<u32>(lapic, 0, LAPIC_ESR);
  store<u32>(lapic, 0, LAPIC_ESR_PENDING);
  store<u32>(lapic, 0, LAPIC_ICR_LOW);
  store<u32>(lapic, 0, LAPIC_ICR_HIGH);
  store<u32>(lapic, LVT_MASKED, LAPIC_LVT_CMCI);
  for (let offset: usize = LAPIC_LVT_TIMER; offset <= <usize>LAPIC_LVT_ERROR; offset += 16) store<u32>(lapic + offset, LVT_MASKED);
  atomic.store<u32>(lapic, 0, LAPIC_EXT_INT);
  atomic.store<u32>(lapic, 0, LAPIC_ATTENTION);
  lapicTimerReset(vcpu);
}

// --- acceptance and priorities ---

/** Highest vector set in ISR, TMR or IRR (eight words, 16 bytes apart), or -1. */
function highestVector(words: usize): i32 {
  for (let word: i32 = 7; word >= 0; word--) {
    const bits = load<u32>(words + (<usize>word << 4));
    if (bits != 0) return (word << 5) + 31 - <i32>clz(bits);
  }
  return -1;
}

function setVector(words: usize, vector: u32): void {
  const word = words + (vector >> 5 << 4);
  store<u32>(word, load<u32>(word) | 1 << (vector & 31));
}

function clearVector(words: usize, vector: u32): void {
  const word = words + (vector >> 5 << 4);
  store<u32>(word, load<u32>(word) & ~(1 << (vector & 31)));
}

function testVector(words: usize, vector: u32): bool {
  return (load<u32>(words + (vector >> 5 << 4)) >> (vector & 31) & 1) != 0;
}

/** SDM vol 3 "Task and Processor Priorities": the higher class of TPR and of the vector in service. */
function updatePpr(lapic: usize): void {
  const inService = highestVector(lapic + LAPIC_ISR), tpr = load<u32>(lapic, LAPIC_TPR);
  const isrClass: u32 = inService < 0 ? 0 : <u32>inService & 0xf0;
  store<u32>(lapic, (tpr & 0xf0) >= isrClass ? tpr : isrClass, LAPIC_PPR);
}

/** Move what others have posted into IRR and TMR. */
function collectInbox(vcpu: usize): void {
  const lapic = vcpu + VCPU_LAPIC;
  for (let word: usize = 0; word < 8; word++) {
    let edge: u32 = 0, level: u32 = 0;
    if (atomic.load<u32>(lapic + (word << 2), LAPIC_INBOX_EDGE) != 0) edge = atomic.xchg<u32>(lapic + (word << 2), 0, LAPIC_INBOX_EDGE);
    if (atomic.load<u32>(lapic + (word << 2), LAPIC_INBOX_LEVEL) != 0) level = atomic.xchg<u32>(lapic + (word << 2), 0, LAPIC_INBOX_LEVEL);
    if ((edge | level) == 0) continue;
    if (word == 0 && ((edge | level) & 0xffff) != 0) {
      edge &= 0xffff0000;
      level &= 0xffff0000;
      lapicSetError(vcpu, ESR_RECEIVE_ILLEGAL);
    }
    const tmr = lapic + LAPIC_TMR + (word << 4), irr = lapic + LAPIC_IRR + (word << 4);
    store<u32>(tmr, load<u32>(tmr) & ~edge | level);
    store<u32>(irr, load<u32>(irr) | edge | level);
  }
}

/** The vector that IRR offers above PPR, or -1. */
function deliverable(lapic: usize): i32 {
  const vector = highestVector(lapic + LAPIC_IRR);
  return vector >= 0 && (<u32>vector & 0xf0) > (load<u32>(lapic, LAPIC_PPR) & 0xf0) ? vector : -1;
}

/**
 * Does the PIC reach this vCPU now? Through LINT0 as ExtINT, through an IOAPIC ExtINT message, or directly while the APIC is off.
 * A software-disabled APIC of the BSP lets it through too, as bhyve's does: a kernel started without firmware finds virtual wire mode.
 */
function acceptsPic(vcpu: usize): bool {
  const lapic = vcpu + VCPU_LAPIC;
  if (!picIntr()) {
    if (atomic.load<u32>(lapic, LAPIC_EXT_INT) != 0) atomic.store<u32>(lapic, 0, LAPIC_EXT_INT);
    return false;
  }
  if (!apicEnabled(vcpu) || atomic.load<u32>(lapic, LAPIC_EXT_INT) != 0) return true;
  if ((load<u32>(lapic, LAPIC_SVR) & SVR_ENABLE) == 0) return indexOf(vcpu) == 0;
  return (load<u32>(lapic, LAPIC_LVT_LINT0) & (LVT_MASKED | 0x700)) == DELIVERY_EXTINT << 8;
}

/** Would a rising INTR of the PIC interest this vCPU? Asked from any thread. */
export function listensToPic(vcpu: usize): bool {
  if (!softwareEnabled(vcpu)) return !apicEnabled(vcpu) || indexOf(vcpu) == 0;
  return (atomic.load<u32>(vcpu + VCPU_LAPIC, LAPIC_LVT_LINT0) & (LVT_MASKED | 0x700)) == DELIVERY_EXTINT << 8;
}

/** Hot: the vector that would be delivered now, or -1. One load while nothing is up. */
export function interruptVector(vcpu: usize): i32 {
  if (atomic.load<u32>(vcpu + VCPU_LAPIC, LAPIC_ATTENTION) == 0) return -1;
  return pendingVector(vcpu);
}

function pendingVector(vcpu: usize): i32 {
  const lapic = vcpu + VCPU_LAPIC;
  // Cleared first: what is posted from here on sets it again.
  atomic.store<u32>(lapic, 0, LAPIC_ATTENTION);
  collectInbox(vcpu);
  let vector: i32 = -1;
  if (acceptsPic(vcpu)) vector = picPeek();
  else if (apicEnabled(vcpu)) vector = deliverable(lapic);
  if (vector >= 0) atomic.store<u32>(lapic, 1, LAPIC_ATTENTION);
  return vector;
}

/** INTA: the interrupt enters service. @returns its vector, or -1 when nothing is deliverable. */
export function interruptAck(vcpu: usize): i32 {
  const lapic = vcpu + VCPU_LAPIC;
  collectInbox(vcpu);
  atomic.store<u32>(lapic, 1, LAPIC_ATTENTION);
  if (acceptsPic(vcpu)) {
    atomic.store<u32>(lapic, 0, LAPIC_EXT_INT);
    store<u64>(vcpu + COUNTER_EXTINT * 8, load<u64>(vcpu + COUNTER_EXTINT * 8, VCPU_COUNTERS) + 1, VCPU_COUNTERS);
    return picAcknowledge();
  }
  if (!apicEnabled(vcpu)) return -1;
  const vector = deliverable(lapic);
  if (vector < 0) return -1;
  clearVector(lapic + LAPIC_IRR, vector);
  setVector(lapic + LAPIC_ISR, vector);
  updatePpr(lapic);
  return vector;
}

/** After a change by this thread that may have made something deliverable. */
function recheck(vcpu: usize): void {
  const lapic = vcpu + VCPU_LAPIC;
  atomic.store<u32>(lapic, 1, LAPIC_ATTENTION);
  if (pendingVector(vcpu) >= 0) atomic.or<u32>(vcpu, REQUEST_INTERRUPT, VCPU_REQUESTS);
}

/** Accept a fixed, edge-triggered interrupt from this vCPU itself. */
function acceptOwn(vcpu: usize, vector: u32): void {
  if (vector < 16) { lapicSetError(vcpu, ESR_RECEIVE_ILLEGAL); return; }
  const lapic = vcpu + VCPU_LAPIC;
  clearVector(lapic + LAPIC_TMR, vector);
  setVector(lapic + LAPIC_IRR, vector);
  atomic.store<u32>(lapic, 1, LAPIC_ATTENTION);
  atomic.or<u32>(vcpu, REQUEST_INTERRUPT, VCPU_REQUESTS);
}

// --- task priority and end of interrupt ---

/** CR8. */
export function readTpr(vcpu: usize): u32 { return load<u32>(vcpu + VCPU_LAPIC, LAPIC_TPR) >> 4 & 15; }

export function writeTpr(vcpu: usize, value: u32): void { setTpr(vcpu, (value & 15) << 4); }

function setTpr(vcpu: usize, value: u32): void {
  const lapic = vcpu + VCPU_LAPIC, old = load<u32>(lapic, LAPIC_TPR);
  atomic.store<u32>(lapic, value & 0xff, LAPIC_TPR);
  store<u64>(vcpu, value >> 4 & 15, VCPU_CR8);
  updatePpr(lapic);
  if (value < old) recheck(vcpu);
}

/** SDM vol 3 "Signaling Interrupt Servicing Completion": a level-triggered vector is told to the IOAPIC. */
function writeEoi(vcpu: usize): void {
  const lapic = vcpu + VCPU_LAPIC, vector = highestVector(lapic + LAPIC_ISR);
  if (vector < 0) return;
  clearVector(lapic + LAPIC_ISR, vector);
  updatePpr(lapic);
  if (testVector(lapic + LAPIC_TMR, vector)) ioapicEoi(vector);
  recheck(vcpu);
}

// --- errors and the local vector table ---

/** Note an error; SDM vol 3 "Error Handling". An error LVT with an illegal vector reports nothing further. */
export function lapicSetError(vcpu: usize, bits: u32): void {
  const lapic = vcpu + VCPU_LAPIC, lvt = load<u32>(lapic, LAPIC_LVT_ERROR);
  store<u32>(lapic, load<u32>(lapic, LAPIC_ESR_PENDING) | bits, LAPIC_ESR_PENDING);
  if ((lvt & LVT_MASKED) != 0) return;
  if ((lvt & 0xff) < 16) store<u32>(lapic, load<u32>(lapic, LAPIC_ESR_PENDING) | ESR_RECEIVE_ILLEGAL, LAPIC_ESR_PENDING);
  else acceptOwn(vcpu, lvt & 0xff);
}

/** The timer has expired. */
export function lapicFireTimer(vcpu: usize): void {
  const lvt = load<u32>(vcpu + VCPU_LAPIC, LAPIC_LVT_TIMER);
  if ((lvt & LVT_MASKED) == 0) acceptOwn(vcpu, lvt & 0xff);
}

/** Raise a local source (0 CMCI, 1 timer, 2 thermal, 3 PMC, 4 LINT0, 5 LINT1, 6 error) from any thread. @returns 0 or EINVAL. */
export function lapicLocal(vcpu: usize, source: u32): i32 {
  if (source > 6) return EINVAL;
  const lapic = vcpu + VCPU_LAPIC;
  if (!softwareEnabled(vcpu)) {
    // The pins are then plain INTR and NMI.
    if (source == 4) postExtInt(vcpu);
    else if (source == 5) postNmi(vcpu);
    return 0;
  }
  const lvt = atomic.load<u32>(source == 0 ? lapic + LAPIC_LVT_CMCI : lapic + LAPIC_LVT_TIMER + ((source - 1) << 4));
  if ((lvt & LVT_MASKED) != 0) return 0;
  const mode: u32 = source == 1 || source == 6 ? DELIVERY_FIXED : lvt >> 8 & 7;
  if (mode == DELIVERY_FIXED) postVector(vcpu, lvt & 0xff, false);
  else if (mode == DELIVERY_NMI) postNmi(vcpu);
  else if (mode == DELIVERY_EXTINT) postExtInt(vcpu);
  return 0;
}

/** Bits of each LVT entry that can be written. SDM vol 3 figure "Local Vector Table (LVT)"; the delivery status is never set. */
function lvtWritable(offset: u32): u32 {
  if (offset == LAPIC_LVT_TIMER) return 0x700ff;
  if (offset == LAPIC_LVT_ERROR) return 0x100ff;
  if (offset == LAPIC_LVT_LINT0 || offset == LAPIC_LVT_LINT1) return 0x1a7ff;
  return 0x107ff;
}

function writeLvt(vcpu: usize, offset: u32, value: u32): void {
  const lapic = vcpu + VCPU_LAPIC;
  let next = value & lvtWritable(offset);
  if ((load<u32>(lapic, LAPIC_SVR) & SVR_ENABLE) == 0) next |= LVT_MASKED;
  const old = load<u32>(lapic + offset);
  // Timer mode 3 is reserved; such a write leaves the mode alone.
  if (offset == LAPIC_LVT_TIMER && (next & TIMER_MODE_MASK) == TIMER_MODE_MASK) next = next & ~TIMER_MODE_MASK | old & TIMER_MODE_MASK;
  atomic.store<u32>(lapic + offset, next);
  if (offset == LAPIC_LVT_TIMER) lapicTimerModeChanged(vcpu, old, next);
  if (offset == LAPIC_LVT_LINT0) recheck(vcpu);
}

function writeSvr(vcpu: usize, value: u32): void {
  const lapic = vcpu + VCPU_LAPIC;
  atomic.store<u32>(lapic, value & 0x3ff, LAPIC_SVR);
  if ((value & SVR_ENABLE) == 0) {
    atomic.store<u32>(lapic, load<u32>(lapic, LAPIC_LVT_CMCI) | LVT_MASKED, LAPIC_LVT_CMCI);
    for (let offset: usize = LAPIC_LVT_TIMER; offset <= <usize>LAPIC_LVT_ERROR; offset += 16) atomic.store<u32>(lapic + offset, load<u32>(lapic + offset) | LVT_MASKED);
  }
  recheck(vcpu);
}

// --- interprocessor interrupts ---

/**
 * Send what the ICR says. SDM vol 3 "Interrupt Command Register (ICR)".
 * INIT and STARTUP leave as an IPI exit: exitCode = mode << 8 | vector, exitValue = bit per addressed vCPU.
 */
function sendIpi(vcpu: usize, low: u32, destination: u32, wide: bool): void {
  const mode = low >> 8 & 7, vector = low & 0xff, shorthand = low >> 18 & 3, logical = (low & 0x800) != 0;
  if (mode <= DELIVERY_LOWEST && vector < 16) { lapicSetError(vcpu, ESR_SEND_ILLEGAL); return; }
  // INIT level de-assert: only pre-Pentium 4 processors acted on it.
  if (mode == DELIVERY_INIT && (low & 0xc000) == 0x8000) return;
  if (mode == DELIVERY_LOWEST && shorthand == 0) {
    const target = lowestPriority(destination, logical, wide);
    if (target == vcpu) acceptOwn(vcpu, vector);
    else if (target != 0) postVector(target, vector, false);
    return;
  }
  let targets: u64 = 0;
  for (let i: u32 = 0, count = vcpuCount(); i < count; i++) {
    const target = vcpuAt(i);
    if (shorthand == 0 ? !addressed(target, destination, logical, wide) : shorthand == 1 ? target != vcpu : shorthand == 3 && target == vcpu) continue;
    if (shorthand != 0 && !apicEnabled(target)) continue;
    targets |= <u64>1 << i;
    if (mode <= DELIVERY_LOWEST) {
      if (!softwareEnabled(target)) continue;
      if (target == vcpu) acceptOwn(vcpu, vector);
      else postVector(target, vector, false);
    } else if (mode == DELIVERY_NMI) postNmi(target);
  }
  if ((mode == DELIVERY_INIT || mode == DELIVERY_STARTUP) && targets != 0) {
    store<u32>(vcpu, EXIT_IPI, VCPU_EXIT_REASON);
    store<u32>(vcpu, mode << 8 | vector, VCPU_EXIT_CODE);
    store<u64>(vcpu, targets, VCPU_EXIT_VALUE);
    hostExit(<u32>vcpu, EXIT_IPI);
  }
}

function selfIpi(vcpu: usize, vector: u32): void {
  if (vector < 16) lapicSetError(vcpu, ESR_SEND_ILLEGAL);
  else if (softwareEnabled(vcpu)) acceptOwn(vcpu, vector);
}

// --- registers ---

function readRegister(vcpu: usize, offset: u32): u32 {
  const lapic = vcpu + VCPU_LAPIC;
  switch (offset) {
    case LAPIC_ID: return apicX2(vcpu) ? indexOf(vcpu) : indexOf(vcpu) << 24;
    case LAPIC_VERSION: return VERSION;
    case LAPIC_LDR: return apicX2(vcpu) ? x2apicLdr(indexOf(vcpu)) : load<u32>(lapic, LAPIC_LDR);
    case LAPIC_CURRENT_COUNT: return lapicTimerCurrentCount(vcpu);
    case LAPIC_TPR: case LAPIC_PPR: case LAPIC_DFR: case LAPIC_SVR: case LAPIC_ESR: case LAPIC_LVT_CMCI: case LAPIC_ICR_LOW: case LAPIC_ICR_HIGH:
    case LAPIC_LVT_TIMER: case LAPIC_LVT_THERMAL: case LAPIC_LVT_PMC: case LAPIC_LVT_LINT0: case LAPIC_LVT_LINT1: case LAPIC_LVT_ERROR:
    case LAPIC_INITIAL_COUNT: case LAPIC_DIVIDE:
      return load<u32>(lapic + offset);
  }
  if (offset >= <u32>LAPIC_ISR && offset < <u32>LAPIC_ESR) {
    // What others have sent is accepted already, for all the guest can tell.
    if (atomic.load<u32>(lapic, LAPIC_ATTENTION) != 0) collectInbox(vcpu);
    return load<u32>(lapic + offset);
  }
  return 0;
}

function writeRegister(vcpu: usize, offset: u32, value: u32): void {
  const lapic = vcpu + VCPU_LAPIC;
  switch (offset) {
    case LAPIC_TPR: setTpr(vcpu, value & 0xff); break;
    case LAPIC_EOI: writeEoi(vcpu); break;
    case LAPIC_LDR: atomic.store<u32>(lapic, value & 0xff000000, LAPIC_LDR); break;
    case LAPIC_DFR: atomic.store<u32>(lapic, value | 0x0fffffff, LAPIC_DFR); break;
    case LAPIC_SVR: writeSvr(vcpu, value); break;
    case LAPIC_ESR:
      store<u32>(lapic, load<u32>(lapic, LAPIC_ESR_PENDING), LAPIC_ESR);
      store<u32>(lapic, 0, LAPIC_ESR_PENDING);
      break;
    case LAPIC_ICR_HIGH: store<u32>(lapic, value & 0xff000000, LAPIC_ICR_HIGH); break;
    case LAPIC_ICR_LOW:
      store<u32>(lapic, value & 0xccfff, LAPIC_ICR_LOW);
      sendIpi(vcpu, value, load<u32>(lapic, LAPIC_ICR_HIGH) >> 24, false);
      break;
    case LAPIC_LVT_CMCI: case LAPIC_LVT_TIMER: case LAPIC_LVT_THERMAL: case LAPIC_LVT_PMC: case LAPIC_LVT_LINT0: case LAPIC_LVT_LINT1: case LAPIC_LVT_ERROR:
      writeLvt(vcpu, offset, value);
      break;
    case LAPIC_INITIAL_COUNT: lapicTimerSetCount(vcpu, value); break;
    case LAPIC_DIVIDE: lapicTimerSetDivide(vcpu, value & 11); break;
  }
}

/**
 * Read of the xAPIC page. Registers are 32 bits wide, 16 bytes apart; narrow reads see their bytes, wide ones zeroes above.
 * Ones while the APIC is off or in x2APIC mode: the page is not decoded then.
 */
export function lapicMmioRead(vcpu: usize, offset: u32, sizeBytes: u32): u64 {
  if (!apicEnabled(vcpu) || apicX2(vcpu)) return ~<u64>0;
  if ((offset & 15) >= 4) return 0;
  return <u64>readRegister(vcpu, offset & 0xff0) >> ((offset & 3) << 3);
}

/** Writes must be of 32 bits at least and aligned (SDM vol 3 "The Local APIC Block Diagram"); others are dropped. */
export function lapicMmioWrite(vcpu: usize, offset: u32, sizeBytes: u32, value: u64): void {
  if (!apicEnabled(vcpu) || apicX2(vcpu) || (offset & 15) != 0 || sizeBytes < 4) return;
  writeRegister(vcpu, offset, <u32>value);
}

// --- MSRs ---

export function writeApicBase(vcpu: usize, value: u64): bool {
  const old = load<u64>(vcpu, VCPU_APIC_BASE), modeBits = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
  // The base cannot be moved, and all other bits are reserved.
  if ((value & ~(modeBits | APIC_BASE_BSP)) != <u64>(<u32>LAPIC_GPA)) return false;
  const from = old & modeBits, to = value & modeBits;
  if (to == APIC_BASE_X2APIC) return false;
  if (to == modeBits && (load<u32>(VM_BASE, VM_OPTIONS) & VM_OPTION_X2APIC) == 0) return false;
  // SDM vol 3 "x2APIC State Transitions": x2APIC is reached from xAPIC and left for disabled only.
  if (from == modeBits && to == APIC_BASE_ENABLE || from == 0 && to == modeBits) return false;
  atomic.store<u64>(vcpu, old & ~modeBits | to, VCPU_APIC_BASE);
  if (from != 0 && to == 0) lapicInit(vcpu);
  // ICR bits 63:32 hold a wider destination from here on.
  if (from == APIC_BASE_ENABLE && to == modeBits) store<u32>(vcpu + VCPU_LAPIC, 0, LAPIC_ICR_HIGH);
  if (from != to) recheck(vcpu);
  return true;
}

/** May MSR 800h + `index` be read? SDM vol 3 table "Local APIC Register Address Map Supported by x2APIC". */
function x2apicReadable(index: u32): bool {
  if (index >= 0x10 && index <= 0x28) return true;
  switch (index) {
    case 0x02: case 0x03: case 0x08: case 0x0a: case 0x0d: case 0x0f: case 0x2f: case 0x30:
    case 0x32: case 0x33: case 0x34: case 0x35: case 0x36: case 0x37: case 0x38: case 0x39: case 0x3e:
      return true;
  }
  return false;
}

/** @returns false: #GP. The value goes to `out`. */
export function x2apicRead(vcpu: usize, index: u32, out: usize): bool {
  if (!apicX2(vcpu) || !x2apicReadable(index)) return false;
  let value: u64 = readRegister(vcpu, index << 4);
  if (index == 0x30) value |= <u64>load<u32>(vcpu + VCPU_LAPIC, LAPIC_ICR_HIGH) << 32;
  store<u64>(out, value);
  return true;
}

/** @returns false: #GP, for read-only and reserved registers, reserved bits, and non-zero writes of EOI and ESR. */
export function x2apicWrite(vcpu: usize, index: u32, value: u64): bool {
  if (!apicX2(vcpu)) return false;
  if (index == 0x30) {
    const low = <u32>value;
    if ((low & 0xfff32000) != 0) return false;
    store<u32>(vcpu + VCPU_LAPIC, low & 0xccfff, LAPIC_ICR_LOW);
    store<u32>(vcpu + VCPU_LAPIC, <u32>(value >> 32), LAPIC_ICR_HIGH);
    sendIpi(vcpu, low, <u32>(value >> 32), true);
    return true;
  }
  if (value >> 32 != 0) return false;
  switch (index) {
    case 0x08: if (value > 0xff) return false; break;
    case 0x0b: case 0x28: if (value != 0) return false; break;
    case 0x3f:
      if (value > 0xff) return false;
      selfIpi(vcpu, <u32>value);
      return true;
    case 0x0f: case 0x2f: case 0x32: case 0x33: case 0x34: case 0x35: case 0x36: case 0x37: case 0x38: case 0x3e: break;
    default: return false;
  }
  writeRegister(vcpu, index << 4, <u32>value);
  return true;
}

/** lapic_irq of bhyve: an edge-triggered vector from any thread. @returns 0 or EINVAL. */
export function lapicPost(vcpu: usize, vector: u32): i32 {
  if (vector < 16 || vector > 255) return EINVAL;
  if (softwareEnabled(vcpu)) postVector(vcpu, vector, false);
  return 0;
}

/** TSC-deadline writes count in that mode only. */
export function timerInDeadlineMode(vcpu: usize): bool { return timerMode(vcpu) == TIMER_TSC_DEADLINE; }

/** The PIC has raised INTR: look again. */
export function picRaised(): void {
  for (let i: u32 = 0, count = vcpuCount(); i < count; i++) {
    const vcpu = vcpuAt(i);
    if (listensToPic(vcpu)) wantAttention(vcpu);
  }
}
