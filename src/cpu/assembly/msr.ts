/**
 * RDMSR, WRMSR, RDTSC, RDTSCP, RDPMC: the model-specific registers that the processor itself holds; all others go to the bus.
 * Implements: SDM vol. 4 (architectural MSRs), vol. 3A 12.11 MTRRs, 12.12 PAT, 18.17 Time-Stamp Counter; bhyve: fixed ranges, WC and 10 variable ranges.
 * Runs on: the vCPU's own thread. Not modelled: what memory types do (RAM is coherent), performance counters (RDPMC: #GP).
 */
import { MSR_ROWS, MSR_ROW_BYTES, MSR_TABLE, MSR_WRITE_IGNORED } from '../../base/memory-map.ts';
import {
  VCPU_CR0, VCPU_CR4, VCPU_CSTAR, VCPU_DEBUGCTL, VCPU_EFER, VCPU_GPR, VCPU_KERNEL_GS_BASE, VCPU_LSTAR, VCPU_MCG_STATUS, VCPU_MISC_ENABLE, VCPU_MTRR_DEF_TYPE, VCPU_MTRR_FIXED,
  VCPU_MTRR_VARIABLE, VCPU_PAT, VCPU_RETIRED, VCPU_SCRATCH, VCPU_SEG_BASE, VCPU_SFMASK, VCPU_SPEC_CTRL, VCPU_STAR, VCPU_SYSENTER_CS, VCPU_SYSENTER_EIP, VCPU_SYSENTER_ESP, VCPU_TSC_ADJUST, VCPU_TSC_AUX, VCPU_TSC_OFFSET,
} from '../../generated/vcpu-layout.ts';
import { CR0_PG, CR0_PE, CR4_TSD, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE, PHYSICAL_ADDRESS_BITS, SEG_FS, SEG_GS } from './bits';
import { raiseGp } from './faults';
import { busMsrRead, busMsrWrite, busTsc, busTscAt } from './imports';
import { isCanonical } from './memory';
import { cplOf } from './segments';
import { tlbFlushAll, updateMode } from './tlb';

const MSR_TSC: u32 = 0x10, MSR_TSC_ADJUST: u32 = 0x3b, MSR_SPEC_CTRL: u32 = 0x48, MSR_PRED_CMD: u32 = 0x49, MSR_MTRR_CAP: u32 = 0xfe, MSR_SYSENTER_CS: u32 = 0x174, MSR_SYSENTER_ESP: u32 = 0x175, MSR_SYSENTER_EIP: u32 = 0x176,
  MSR_MCG_CAP: u32 = 0x179, MSR_MCG_STATUS: u32 = 0x17a, MSR_MISC_ENABLE: u32 = 0x1a0, MSR_DEBUGCTL: u32 = 0x1d9, MSR_MTRR_VARIABLE: u32 = 0x200,
  MSR_MTRR_VARIABLE_END: u32 = 0x214, MSR_PAT: u32 = 0x277, MSR_MTRR_DEF_TYPE: u32 = 0x2ff, MSR_EFER: u32 = 0xc0000080, MSR_STAR: u32 = 0xc0000081, MSR_LSTAR: u32 = 0xc0000082,
  MSR_CSTAR: u32 = 0xc0000083, MSR_SFMASK: u32 = 0xc0000084, MSR_FS_BASE: u32 = 0xc0000100, MSR_GS_BASE: u32 = 0xc0000101, MSR_KERNEL_GS_BASE: u32 = 0xc0000102, MSR_TSC_AUX: u32 = 0xc0000103;

/** Fixed ranges and write combining, 10 variable ranges. */
const MTRR_CAP: u64 = 0x50a;

/** Move the guest's counter, and IA32_TSC_ADJUST with it (SDM 3B 18.17.3). The bus adds tscOffset to the VM's clock. */
function moveTsc(vcpu: usize, by: u64): void {
  store<u64>(vcpu, load<u64>(vcpu, VCPU_TSC_OFFSET) + by, VCPU_TSC_OFFSET);
  store<u64>(vcpu, load<u64>(vcpu, VCPU_TSC_ADJUST) + by, VCPU_TSC_ADJUST);
}

/** Row of a constant register in the table of cpu/msr.ts, or 0. */
function constantRow(msr: u32): usize {
  const count = min<u32>(load<u32>(MSR_TABLE), 1024);
  let row: usize = MSR_ROWS;
  for (let i: u32 = 0; i < count; i++) {
    if (load<u32>(row) == msr) return row;
    row += MSR_ROW_BYTES;
  }
  return 0;
}

/** Index of a fixed-range MTRR, or -1. */
function fixedIndex(msr: u32): i32 {
  if (msr == 0x250) return 0;
  if (msr == 0x258 || msr == 0x259) return msr - 0x258 + 1;
  return msr >= 0x268 && msr <= 0x26f ? msr - 0x268 + 3 : -1;
}

function isMemoryType(type: u64): bool { return type == 0 || type == 1 || type == 4 || type == 5 || type == 6; }

/** @param uncached also allow 7, UC-: the PAT does. */
function areMemoryTypes(value: u64, uncached: bool): bool {
  for (let i: u64 = 0; i < 64; i += 8) {
    const type = (value >> i) & 0xff;
    if (!isMemoryType(type) && !(uncached && type == 7)) return false;
  }
  return true;
}

/** Registers that are plain 64-bit fields of the record. @returns offset in the record, or 0 */
function plainField(msr: u32): usize {
  if (msr == MSR_STAR) return VCPU_STAR;
  if (msr == MSR_SYSENTER_CS) return VCPU_SYSENTER_CS;
  if (msr == MSR_MCG_STATUS) return VCPU_MCG_STATUS;
  if (msr == MSR_MISC_ENABLE) return VCPU_MISC_ENABLE;
  if (msr == MSR_TSC_ADJUST) return VCPU_TSC_ADJUST;
  return 0;
}

/** Registers that hold a linear address: a non-canonical one is #GP(0). @returns offset in the record, or 0 */
function addressField(msr: u32): usize {
  if (msr == MSR_LSTAR) return VCPU_LSTAR;
  if (msr == MSR_CSTAR) return VCPU_CSTAR;
  if (msr == MSR_FS_BASE) return VCPU_SEG_BASE + SEG_FS * 8;
  if (msr == MSR_GS_BASE) return VCPU_SEG_BASE + SEG_GS * 8;
  if (msr == MSR_KERNEL_GS_BASE) return VCPU_KERNEL_GS_BASE;
  if (msr == MSR_SYSENTER_ESP) return VCPU_SYSENTER_ESP;
  if (msr == MSR_SYSENTER_EIP) return VCPU_SYSENTER_EIP;
  return 0;
}

/** Read an MSR into scratch[0]. @returns 0: #GP(0) */
export function readMsr(vcpu: usize, msr: u32): u32 {
  const field = plainField(msr) + addressField(msr), fixed = fixedIndex(msr);
  let value: u64 = 0;
  if (field != 0) value = load<u64>(vcpu + field);
  else if (msr == MSR_TSC) value = busTsc(vcpu);
  else if (msr == MSR_EFER) value = load<u64>(vcpu, VCPU_EFER);
  else if (msr == MSR_SFMASK) value = load<u64>(vcpu, VCPU_SFMASK);
  else if (msr == MSR_TSC_AUX) value = load<u64>(vcpu, VCPU_TSC_AUX);
  else if (msr == MSR_PAT) value = load<u64>(vcpu, VCPU_PAT);
  else if (msr == MSR_MTRR_CAP) value = MTRR_CAP;
  else if (msr == MSR_MTRR_DEF_TYPE) value = load<u64>(vcpu, VCPU_MTRR_DEF_TYPE);
  else if (fixed >= 0) value = load<u64>(vcpu + <usize>fixed * 8, VCPU_MTRR_FIXED);
  else if (msr >= MSR_MTRR_VARIABLE && msr < MSR_MTRR_VARIABLE_END) value = load<u64>(vcpu + (msr - MSR_MTRR_VARIABLE) * 8, VCPU_MTRR_VARIABLE);
  else if (msr == MSR_DEBUGCTL) value = load<u64>(vcpu, VCPU_DEBUGCTL);
  else if (msr == MSR_MCG_CAP) value = 0;   // no banks
  else if (msr == MSR_SPEC_CTRL) value = load<u64>(vcpu, VCPU_SPEC_CTRL);
  else {
    const row = constantRow(msr);
    if (row == 0) return busMsrRead(vcpu, msr);
    value = load<u64>(row, 8);
  }
  store<u64>(vcpu, value, VCPU_SCRATCH);
  return 1;
}

/** Write an MSR. @returns 0: #GP(0), and nothing has changed */
export function writeMsr(vcpu: usize, msr: u32, value: u64): u32 {
  const beyond = ~((<u64>1 << PHYSICAL_ADDRESS_BITS) - 1), address = addressField(msr), fixed = fixedIndex(msr);
  if (address != 0) {
    if (!isCanonical(value)) return 0;
    store<u64>(vcpu + address, value);
  } else if (msr == MSR_EFER) {
    return writeEfer(vcpu, value);
  } else if (msr == MSR_STAR) {
    store<u64>(vcpu, value, VCPU_STAR);
  } else if (msr == MSR_SFMASK) {
    if (value >> 32) return 0;
    store<u64>(vcpu, value, VCPU_SFMASK);
  } else if (msr == MSR_TSC) {
    moveTsc(vcpu, value - busTsc(vcpu));
  } else if (msr == MSR_TSC_ADJUST) {
    moveTsc(vcpu, value - load<u64>(vcpu, VCPU_TSC_ADJUST));
  } else if (msr == MSR_TSC_AUX) {
    if (value >> 32) return 0;
    store<u64>(vcpu, value, VCPU_TSC_AUX);
  } else if (msr == MSR_SYSENTER_CS) {
    store<u64>(vcpu, value & 0xffffffff, VCPU_SYSENTER_CS);
  } else if (msr == MSR_PAT) {
    if (!areMemoryTypes(value, true)) return 0;
    store<u64>(vcpu, value, VCPU_PAT);
  } else if (msr == MSR_MTRR_DEF_TYPE) {
    if ((value & ~<u64>0xcff) != 0 || !isMemoryType(value & 0xff)) return 0;
    store<u64>(vcpu, value, VCPU_MTRR_DEF_TYPE);
  } else if (fixed >= 0) {
    if (!areMemoryTypes(value, false)) return 0;
    store<u64>(vcpu + <usize>fixed * 8, value, VCPU_MTRR_FIXED);
  } else if (msr >= MSR_MTRR_VARIABLE && msr < MSR_MTRR_VARIABLE_END) {
    const mask = (msr & 1) != 0;
    if ((value & beyond) != 0 || (mask ? (value & 0x7ff) != 0 : (value & 0xf00) != 0 || !isMemoryType(value & 0xff))) return 0;
    store<u64>(vcpu + (msr - MSR_MTRR_VARIABLE) * 8, value, VCPU_MTRR_VARIABLE);
  } else if (msr == MSR_MISC_ENABLE) {
    // Fast strings (0) alone can be switched; the rest says what there is.
    store<u64>(vcpu, (load<u64>(vcpu, VCPU_MISC_ENABLE) & ~<u64>1) | (value & 1), VCPU_MISC_ENABLE);
  } else if (msr == MSR_MCG_STATUS) {
    if (value != 0) return 0;
    store<u64>(vcpu, 0, VCPU_MCG_STATUS);
  } else if (msr == MSR_DEBUGCTL) {
    // LBR (0) and BTF (1) are kept without effect: no last-branch records are offered.
    if (value & ~<u64>3) return 0;
    store<u64>(vcpu, value, VCPU_DEBUGCTL);
  } else if (msr == MSR_MTRR_CAP || msr == MSR_MCG_CAP) {
    return 0;
  } else if (msr == MSR_SPEC_CTRL) {
    // IBRS, STIBP, SSBD.
    if (value & ~<u64>7) return 0;
    store<u64>(vcpu, value, VCPU_SPEC_CTRL);
  } else if (msr == MSR_PRED_CMD) {
    return value & ~<u64>1 ? 0 : 1;
  } else {
    const row = constantRow(msr);
    return row == 0 ? busMsrWrite(vcpu, msr, value) : load<u32>(row, 4) == MSR_WRITE_IGNORED ? 1 : 0;
  }
  return 1;
}

/** SDM 3A 2.2.1: LME cannot change while paging is on; LMA is not writable and ignored. */
function writeEfer(vcpu: usize, value: u64): u32 {
  const old = load<u64>(vcpu, VCPU_EFER), paging = (load<u64>(vcpu, VCPU_CR0) & (CR0_PG | CR0_PE)) == (CR0_PG | CR0_PE);
  if ((value & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)) != 0 || (paging && ((old ^ value) & EFER_LME) != 0)) return 0;
  store<u64>(vcpu, (value & ~EFER_LMA) | (old & EFER_LMA), VCPU_EFER);
  if ((old ^ value) & EFER_NXE) tlbFlushAll(vcpu);
  updateMode(vcpu);
  return 1;
}

function gpr32(vcpu: usize, index: usize): u32 { return load<u32>(vcpu + index * 8, VCPU_GPR); }

function giveEdxEax(vcpu: usize, value: u64): void {
  store<u64>(vcpu, value & 0xffffffff, VCPU_GPR);
  store<u64>(vcpu + 2 * 8, value >> 32, VCPU_GPR);
}

export function rdmsr(vcpu: usize): void {
  if (cplOf(vcpu) != 0 || !readMsr(vcpu, gpr32(vcpu, 1))) raiseGp(vcpu, 0);
  else giveEdxEax(vcpu, load<u64>(vcpu, VCPU_SCRATCH));
}

export function wrmsr(vcpu: usize): void {
  if (cplOf(vcpu) != 0 || !writeMsr(vcpu, gpr32(vcpu, 1), <u64>gpr32(vcpu, 0) | (<u64>gpr32(vcpu, 2) << 32))) raiseGp(vcpu, 0);
}

function tscAllowed(vcpu: usize): bool {
  if ((load<u64>(vcpu, VCPU_CR4) & CR4_TSD) == 0 || cplOf(vcpu) == 0) return true;
  raiseGp(vcpu, 0);
  return false;
}

/** RDTSC, RDTSCP. @param left instructions left of this execution; those before this one are retired. */
export function readTsc(vcpu: usize, left: i32): u64 {
  return tscAllowed(vcpu) ? busTscAt(vcpu, load<u64>(vcpu, VCPU_RETIRED) - <u64>left) : 0;
}

/** No counters are offered, so every index is out of range. */
export function rdpmc(vcpu: usize): void { raiseGp(vcpu, 0); }
