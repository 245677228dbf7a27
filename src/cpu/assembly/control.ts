/**
 * Control and debug registers, TLB instructions, and the instructions that stand beside them.
 * Implements: SDM vol. 3A 2.5 Control Registers, 2.6 Extended Control Registers, 4.1.2 Paging-Mode Enabling, 4.10.4 Invalidation, 18.2 Debug Registers;
 * vol. 2 MOV CR, MOV DR, LMSW, SMSW, CLTS, INVLPG, INVPCID, XSETBV, XGETBV, HLT.
 * Runs on: the vCPU's own thread.
 */
import {
  VCPU_CR0, VCPU_CR2, VCPU_CR3, VCPU_CR4, VCPU_CR8, VCPU_DR, VCPU_EFER, VCPU_GPR, VCPU_HALTED, VCPU_XCR0,
} from '../../generated/vcpu-layout.ts';
import {
  ACCESS_L, ACCESS_TYPE, CR0_CD, CR0_EM, CR0_ET, CR0_KNOWN, CR0_MP, CR0_NW, CR0_PE, CR0_PG, CR0_TS, CR0_WP, CR4_DE, CR4_KNOWN, CR4_OSXSAVE, CR4_PAE, CR4_PCIDE, CR4_PGE, CR4_PSE, CR4_SMAP,
  CR4_SMEP, DR6_BD, DR6_FIXED, DR7_FIXED, DR7_GD, EFER_LMA, EFER_LME, PHYSICAL_ADDRESS_BITS, SEG_CS, SEG_TR, VECTOR_DB, XCR0_SSE, XCR0_X87,
} from './bits';
import { faulted, raiseGp, raiseUd } from './faults';
import { busReadTpr, busWriteTpr } from './imports';
import { hasBreakpoints, lookForEvents } from './look';
import { isCanonical, slowLoad64 } from './memory';
import { loadPdptes } from './paging';
import { raise } from './raise';
import { cplOf, is64, isLong, segAccess, umipAllows } from './segments';
import { tlbFlushAll, tlbFlushNonGlobal, tlbFlushPage, updateAccessClass, updateMode } from './tlb';

function supervisor(vcpu: usize): bool {
  if (cplOf(vcpu) == 0) return true;
  raiseGp(vcpu, 0);
  return false;
}

/** INVD, WBINVD and whatever else only asks for CPL 0. */
export function requireSupervisor(vcpu: usize): void { supervisor(vcpu); }

export function undefinedInstruction(vcpu: usize): void { raiseUd(vcpu); }

export function readControl(vcpu: usize, index: u32): u64 {
  if (index != 0 && index != 2 && index != 3 && index != 4 && index != 8) {
    raiseUd(vcpu);
    return 0;
  }
  if (!supervisor(vcpu)) return 0;
  if (index == 0) return load<u64>(vcpu, VCPU_CR0);
  if (index == 2) return load<u64>(vcpu, VCPU_CR2);
  if (index == 3) return load<u64>(vcpu, VCPU_CR3);
  return index == 4 ? load<u64>(vcpu, VCPU_CR4) : <u64>busReadTpr(vcpu);
}

export function writeControl(vcpu: usize, index: u32, value: u64): void {
  if (index != 0 && index != 2 && index != 3 && index != 4 && index != 8) {
    raiseUd(vcpu);
    return;
  }
  if (!supervisor(vcpu)) return;
  if (!is64(vcpu)) value &= 0xffffffff;
  if (index == 0) writeCr0(vcpu, value);
  else if (index == 2) store<u64>(vcpu, value, VCPU_CR2);
  else if (index == 3) writeCr3(vcpu, value);
  else if (index == 4) writeCr4(vcpu, value);
  else if (value & ~<u64>15) {
    raiseGp(vcpu, 0);
  } else {
    store<u64>(vcpu, value, VCPU_CR8);
    busWriteTpr(vcpu, <u32>value);
  }
}

/** SDM 2B MOV to CR0: which combinations are refused; 4.1.2: what turns IA-32e mode on and off. */
function writeCr0(vcpu: usize, value: u64): void {
  const old = load<u64>(vcpu, VCPU_CR0), cr4 = load<u64>(vcpu, VCPU_CR4), efer = load<u64>(vcpu, VCPU_EFER);
  // Bits 63-32 must be 0; other unknown bits are dropped, and ET stays 1.
  if ((value >> 32) != 0 || ((value & CR0_PG) != 0 && (value & CR0_PE) == 0) || ((value & CR0_NW) != 0 && (value & CR0_CD) == 0)) {
    raiseGp(vcpu, 0);
    return;
  }
  value = (value & CR0_KNOWN) | CR0_ET;
  const turnsOn = (value & ~old & CR0_PG) != 0, turnsOff = (old & ~value & CR0_PG) != 0;
  let newEfer = efer;
  if (turnsOn && (efer & EFER_LME) != 0) {
    const type = segAccess(vcpu, SEG_TR) & ACCESS_TYPE;
    // CS.L must be clear, PAE on, and a 16-bit TSS is refused.
    if ((cr4 & CR4_PAE) == 0 || (segAccess(vcpu, SEG_CS) & ACCESS_L) != 0 || type == 1 || type == 3) {
      raiseGp(vcpu, 0);
      return;
    }
    newEfer |= EFER_LMA;
  }
  if (turnsOff) {
    if (is64(vcpu) || (cr4 & CR4_PCIDE) != 0) {
      raiseGp(vcpu, 0);
      return;
    }
    newEfer &= ~EFER_LMA;
  }
  const pae = (value & CR0_PG) != 0 && (cr4 & CR4_PAE) != 0 && (newEfer & EFER_LMA) == 0;
  if (pae && ((old ^ value) & (CR0_PG | CR0_CD | CR0_NW)) != 0 && !loadPdptes(vcpu, load<u64>(vcpu, VCPU_CR3))) {
    raiseGp(vcpu, 0);
    return;
  }
  store<u64>(vcpu, newEfer, VCPU_EFER);
  store<u64>(vcpu, value, VCPU_CR0);
  if ((old ^ value) & (CR0_PG | CR0_WP | CR0_PE)) tlbFlushAll(vcpu);
  updateMode(vcpu);
  updateAccessClass(vcpu);
}

/** SDM 4.10.4.1: without PCIDs, and with bit 63 clear, the non-global translations go. */
function writeCr3(vcpu: usize, value: u64): void {
  const cr4 = load<u64>(vcpu, VCPU_CR4), long = isLong(vcpu);
  // With PCIDs bit 63 asks to keep translations; ours carry no PCID, so they go all the same.
  if (long && (cr4 & CR4_PCIDE) != 0) value &= 0x7fffffffffffffff;
  if (long && (value >> PHYSICAL_ADDRESS_BITS) != 0) {
    raiseGp(vcpu, 0);
    return;
  }
  if (!long && (load<u64>(vcpu, VCPU_CR0) & CR0_PG) != 0 && (cr4 & CR4_PAE) != 0 && !loadPdptes(vcpu, value)) {
    raiseGp(vcpu, 0);
    return;
  }
  store<u64>(vcpu, value, VCPU_CR3);
  tlbFlushNonGlobal(vcpu);
}

function writeCr4(vcpu: usize, value: u64): void {
  const old = load<u64>(vcpu, VCPU_CR4), long = isLong(vcpu), changed = old ^ value;
  if ((value & ~CR4_KNOWN) != 0
    || (long && (value & CR4_PAE) == 0)
    || ((value & ~old & CR4_PCIDE) != 0 && (!long || (load<u64>(vcpu, VCPU_CR3) & 0xfff) != 0))) {
    raiseGp(vcpu, 0);
    return;
  }
  const paging = (load<u64>(vcpu, VCPU_CR0) & CR0_PG) != 0;
  if (paging && !long && (value & CR4_PAE) != 0 && (changed & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP)) != 0 && !loadPdptes(vcpu, load<u64>(vcpu, VCPU_CR3))) {
    raiseGp(vcpu, 0);
    return;
  }
  store<u64>(vcpu, value, VCPU_CR4);
  if (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)) tlbFlushAll(vcpu);
  updateMode(vcpu);
  updateAccessClass(vcpu);
}

/** SMSW: the low half of CR0 (the handler cuts it to its operand). */
export function smsw(vcpu: usize): u64 { return umipAllows(vcpu) ? load<u64>(vcpu, VCPU_CR0) : 0; }

/** LMSW: PE can be set, not cleared. */
export function lmsw(vcpu: usize, value: u32): void {
  if (!supervisor(vcpu)) return;
  const old = load<u64>(vcpu, VCPU_CR0);
  writeCr0(vcpu, (old & ~(CR0_MP | CR0_EM | CR0_TS)) | (<u64>value & (CR0_PE | CR0_MP | CR0_EM | CR0_TS)));
}

export function clts(vcpu: usize): void {
  if (!supervisor(vcpu)) return;
  store<u64>(vcpu, load<u64>(vcpu, VCPU_CR0) & ~CR0_TS, VCPU_CR0);
  updateMode(vcpu);
}

// --- debug registers ---

/** DR4 and DR5 are DR6 and DR7, or #UD with CR4.DE; with DR7.GD any access is a #DB. @returns the register, or -1 with a fault raised */
function debugRegister(vcpu: usize, index: u32): i32 {
  if (index == 4 || index == 5) {
    if (load<u64>(vcpu, VCPU_CR4) & CR4_DE) {
      raiseUd(vcpu);
      return -1;
    }
    index += 2;
  }
  if (index > 7) {
    raiseUd(vcpu);
    return -1;
  }
  if (!supervisor(vcpu)) return -1;
  if (load<u64>(vcpu + 56, VCPU_DR) & DR7_GD) {
    store<u64>(vcpu + 48, load<u64>(vcpu + 48, VCPU_DR) | DR6_BD, VCPU_DR);
    raise(vcpu, VECTOR_DB, 0, 0);
    return -1;
  }
  return index;
}

export function readDebug(vcpu: usize, index: u32): u64 {
  const register = debugRegister(vcpu, index);
  return register < 0 ? 0 : load<u64>(vcpu + <usize>register * 8, VCPU_DR);
}

export function writeDebug(vcpu: usize, index: u32, value: u64): void {
  const register = debugRegister(vcpu, index);
  if (register < 0) return;
  if (!is64(vcpu)) value &= 0xffffffff;
  if (register >= 6 && (value >> 32) != 0) {
    raiseGp(vcpu, 0);
    return;
  }
  if (register == 6) value = (value & 0xe00f) | DR6_FIXED;
  if (register == 7) value = (value & 0xffff23ff) | DR7_FIXED;
  store<u64>(vcpu + <usize>register * 8, value, VCPU_DR);
  if (hasBreakpoints(vcpu)) lookForEvents(vcpu);
  updateAccessClass(vcpu);
}

// --- TLB ---

export function invlpg(vcpu: usize, linear: u64): void {
  if (!supervisor(vcpu)) return;
  // A non-canonical address is a NOP (SDM 2A INVLPG).
  if (isCanonical(linear)) tlbFlushPage(vcpu, linear);
}

/** INVPCID. Translations carry no PCID: what belongs to one is among the non-global ones. */
export function invpcid(vcpu: usize, type: u64, gva: u64, segment: u32): void {
  if (!supervisor(vcpu)) return;
  const low = slowLoad64(vcpu, gva, segment), high = faulted(vcpu) ? 0 : slowLoad64(vcpu, is64(vcpu) ? gva + 8 : (gva + 8) & 0xffffffff, segment);
  if (faulted(vcpu)) return;
  const pcids = (load<u64>(vcpu, VCPU_CR4) & CR4_PCIDE) != 0;
  if (type > 3 || (low >> 12) != 0 || (type == 0 && !isCanonical(high)) || (type < 2 && !pcids && low != 0)) {
    raiseGp(vcpu, 0);
    return;
  }
  if (type == 0) tlbFlushNonGlobalPage(vcpu, high);
  else if (type == 2) tlbFlushAll(vcpu);
  else tlbFlushNonGlobal(vcpu);
}

/** More may go than must: the global one of that address as well. */
function tlbFlushNonGlobalPage(vcpu: usize, linear: u64): void { tlbFlushPage(vcpu, linear); }

// --- extended control registers ---

function xsaveOn(vcpu: usize): bool {
  if (load<u64>(vcpu, VCPU_CR4) & CR4_OSXSAVE) return true;
  raiseUd(vcpu);
  return false;
}

export function xgetbv(vcpu: usize): void {
  if (!xsaveOn(vcpu)) return;
  if (<u32>load<u64>(vcpu + 8, VCPU_GPR) != 0) {
    raiseGp(vcpu, 0);
    return;
  }
  const value = load<u64>(vcpu, VCPU_XCR0);
  store<u64>(vcpu, value & 0xffffffff, VCPU_GPR);
  store<u64>(vcpu + 16, value >> 32, VCPU_GPR);
}

export function xsetbv(vcpu: usize): void {
  if (!xsaveOn(vcpu) || !supervisor(vcpu)) return;
  const value = (load<u64>(vcpu, VCPU_GPR) & 0xffffffff) | (load<u64>(vcpu + 16, VCPU_GPR) << 32);
  if (<u32>load<u64>(vcpu + 8, VCPU_GPR) != 0 || (value & XCR0_X87) == 0 || (value & ~(XCR0_X87 | XCR0_SSE)) != 0) raiseGp(vcpu, 0);
  else store<u64>(vcpu, value, VCPU_XCR0);
}

/** HLT: the run loop waits for an event. */
export function hlt(vcpu: usize): void {
  if (!supervisor(vcpu)) return;
  store<u32>(vcpu, 1, VCPU_HALTED);
  lookForEvents(vcpu);
}
