/**
 * Model-specific registers that the processor core does not hold: APIC, TSC deadline, and those that bhyve answers in user space.
 * Implements: SDM vol 4; the AMD registers of bhyve's xmsr.c (constant Intel ones: cpu/msr.ts); bhyve's `-w` rule
 * (unknown: #GP, or with -w reads give 0 and writes are ignored). Runs on: the vCPU's own thread.
 */
import { VM_BASE } from '../../base/memory-map.ts';
import { VCPU_APIC_BASE, VCPU_SCRATCH } from '../../generated/vcpu-layout.ts';
import { VM_LAST_UNKNOWN_MSR, VM_OPTIONS, VM_UNKNOWN_MSR_READS, VM_UNKNOWN_MSR_WRITES } from '../../generated/vmm-layout.ts';
import { VM_OPTION_AMD, VM_OPTION_LENIENT_MSR } from '../layout.ts';
import { x2apicRead, x2apicWrite, writeApicBase } from './lapic.ts';
import { readTscDeadline, setTscDeadline } from './lapic-timer.ts';

const MSR_APIC_BASE: u32 = 0x1b, MSR_BIOS_UPDATE: u32 = 0x79;
const MSR_TSC_DEADLINE: u32 = 0x6e0, MSR_X2APIC: u32 = 0x800, MSR_X2APIC_END: u32 = 0x900;
const MSR_AMD_HWCR: u32 = 0xc0010015, MSR_AMD_NB_CFG: u32 = 0xc001001f, MSR_AMD_PATCH_LOADER: u32 = 0xc0010020, MSR_AMD_VM_CR: u32 = 0xc0010114, MSR_AMD_VM_HSAVE: u32 = 0xc0010117;
const MSR_AMD_PERF: u32 = 0xc0010000, MSR_AMD_PERF_END: u32 = 0xc0010008, MSR_AMD_DE_CFG: u32 = 0xc0011029;

function amd(): bool { return (load<u32>(VM_BASE, VM_OPTIONS) & VM_OPTION_AMD) != 0; }

/** @returns 1 with the value in scratch[0], or 0 for #GP. */
export function readMsr(vcpu: usize, msr: u32): u32 {
  const out = vcpu + VCPU_SCRATCH;
  if (msr >= MSR_X2APIC && msr < MSR_X2APIC_END) return x2apicRead(vcpu, msr - MSR_X2APIC, out) ? 1 : 0;
  let value: u64 = 0;
  switch (msr) {
    case MSR_APIC_BASE: value = load<u64>(vcpu, VCPU_APIC_BASE); break;
    case MSR_TSC_DEADLINE: value = readTscDeadline(vcpu); break;
    default:
      if (!amd() || !readAmdMsr(msr, out)) return unknown(msr, VM_UNKNOWN_MSR_READS, out);
      return 1;
  }
  store<u64>(out, value);
  return 1;
}

function readAmdMsr(msr: u32, out: usize): bool {
  let value: u64 = 0;
  switch (msr) {
    case MSR_AMD_HWCR: value = 0x01000010 | 1 << 9; break;
    case MSR_AMD_NB_CFG: case MSR_AMD_PATCH_LOADER: case MSR_AMD_VM_HSAVE: break;
    // SVMDIS and LOCK.
    case MSR_AMD_VM_CR: value = 0x18; break;
    case MSR_AMD_DE_CFG: value = 1; break;
    default: if (msr < MSR_AMD_PERF || msr >= MSR_AMD_PERF_END) return false;
  }
  store<u64>(out, value);
  return true;
}

/** @returns 1, or 0 for #GP. */
export function writeMsr(vcpu: usize, msr: u32, value: u64): u32 {
  if (msr >= MSR_X2APIC && msr < MSR_X2APIC_END) return x2apicWrite(vcpu, msr - MSR_X2APIC, value) ? 1 : 0;
  switch (msr) {
    case MSR_APIC_BASE: return writeApicBase(vcpu, value) ? 1 : 0;
    case MSR_TSC_DEADLINE: setTscDeadline(vcpu, value); return 1;
    case MSR_BIOS_UPDATE: return 1;
  }
  if (amd()) {
    switch (msr) {
      case MSR_AMD_HWCR: case MSR_AMD_NB_CFG: case MSR_AMD_PATCH_LOADER: case MSR_AMD_DE_CFG: return 1;
    }
    if (msr >= MSR_AMD_PERF && msr < MSR_AMD_PERF_END) return 1;
  }
  return unknown(msr, VM_UNKNOWN_MSR_WRITES, 0);
}

function unknown(msr: u32, counter: usize, out: usize): u32 {
  atomic.add<u64>(<usize>VM_BASE + counter, 1);
  atomic.store<u32>(VM_BASE, msr, VM_LAST_UNKNOWN_MSR);
  if ((load<u32>(VM_BASE, VM_OPTIONS) & VM_OPTION_LENIENT_MSR) == 0) return 0;
  if (out != 0) store<u64>(out, 0);
  return 1;
}
