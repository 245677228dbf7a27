/**
 * Interrupt messages on their way to local APICs: who is addressed, and delivery from IOAPIC, MSI, HPET and IPIs.
 * Implements: SDM vol 3 "Determining IPI Destination", "Message Signalled Interrupts". Runs on: any thread: it only reads the
 * addressed LAPICs' configuration and posts to inboxes.
 */
import { VCPU_LAPIC, VM_BASE } from '../../base/memory-map.ts';
import { VCPU_APIC_BASE } from '../../generated/vcpu-layout.ts';
import { LAPIC_DFR, LAPIC_LDR, LAPIC_SVR, LAPIC_TPR, VM_OPTIONS } from '../../generated/vmm-layout.ts';
import { EINVAL } from '../exits.ts';
import { VM_OPTION_EXTENDED_DESTINATION } from '../layout.ts';
import { indexOf, postExtInt, postNmi, postVector, vcpuAt, vcpuCount } from './inbox.ts';

export const DELIVERY_FIXED: u32 = 0, DELIVERY_LOWEST: u32 = 1, DELIVERY_SMI: u32 = 2, DELIVERY_NMI: u32 = 4, DELIVERY_INIT: u32 = 5, DELIVERY_STARTUP: u32 = 6, DELIVERY_EXTINT: u32 = 7;
export const APIC_BASE_BSP: u64 = 0x100, APIC_BASE_X2APIC: u64 = 0x400, APIC_BASE_ENABLE: u64 = 0x800;
export const SVR_ENABLE: u32 = 0x100;

export function apicEnabled(vcpu: usize): bool { return (atomic.load<u64>(vcpu, VCPU_APIC_BASE) & APIC_BASE_ENABLE) != 0; }
export function apicX2(vcpu: usize): bool { return (atomic.load<u64>(vcpu, VCPU_APIC_BASE) & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == (APIC_BASE_ENABLE | APIC_BASE_X2APIC); }
export function softwareEnabled(vcpu: usize): bool { return apicEnabled(vcpu) && (atomic.load<u32>(vcpu + VCPU_LAPIC, LAPIC_SVR) & SVR_ENABLE) != 0; }

/** Logical x2APIC ID: cluster in the high half, a bit in the low one. SDM vol 3 "Deriving Logical x2APIC ID". */
export function x2apicLdr(id: u32): u32 { return id >> 4 << 16 | 1 << (id & 15); }

/** @param wide the message carries 32 destination bits (an IPI of an x2APIC), not 8. */
export function addressed(vcpu: usize, destination: u32, logical: bool, wide: bool): bool {
  if (!apicEnabled(vcpu)) return false;
  if (destination == (wide ? 0xffffffff : 0xff)) return true;
  const id = indexOf(vcpu);
  if (!logical) return destination == id;
  if (apicX2(vcpu)) {
    const ldr = x2apicLdr(id);
    return destination >> 16 == ldr >> 16 && (destination & ldr & 0xffff) != 0;
  }
  const ldr = atomic.load<u32>(vcpu + VCPU_LAPIC, LAPIC_LDR) >> 24, model = atomic.load<u32>(vcpu + VCPU_LAPIC, LAPIC_DFR) >> 28;
  if (model == 15) return (ldr & destination & 0xff) != 0;
  if (model == 0) return ldr >> 4 == (destination & 0xff) >> 4 && (ldr & destination & 15) != 0;
  return false;
}

/**
 * Among the addressed enabled APICs the one with the lowest task priority, the first of several.
 * @returns vCPU address, or 0. SDM vol 3 "Interrupt Distribution Mechanisms".
 */
export function lowestPriority(destination: u32, logical: bool, wide: bool): usize {
  let best: usize = 0, bestTpr: u32 = 0xffffffff;
  for (let i: u32 = 0, count = vcpuCount(); i < count; i++) {
    const vcpu = vcpuAt(i);
    if (!addressed(vcpu, destination, logical, wide) || !softwareEnabled(vcpu)) continue;
    const tpr = atomic.load<u32>(vcpu + VCPU_LAPIC, LAPIC_TPR) >> 4;
    if (tpr < bestTpr) { best = vcpu; bestTpr = tpr; }
  }
  return best;
}

/**
 * Deliver a message that is no IPI.
 * @returns whether some LAPIC took it. SMI and INIT from a device go nowhere, as in bhyve.
 */
export function deliver(destination: u32, logical: bool, mode: u32, vector: u32, level: bool): bool {
  if (mode == DELIVERY_LOWEST) {
    const vcpu = lowestPriority(destination, logical, false);
    if (vcpu != 0) postVector(vcpu, vector, level);
    return vcpu != 0;
  }
  let taken = false;
  for (let i: u32 = 0, count = vcpuCount(); i < count; i++) {
    const vcpu = vcpuAt(i);
    if (!addressed(vcpu, destination, logical, false)) continue;
    if (mode == DELIVERY_FIXED) {
      if (!softwareEnabled(vcpu)) continue;
      postVector(vcpu, vector, level);
    } else if (mode == DELIVERY_NMI) postNmi(vcpu);
    else if (mode == DELIVERY_EXTINT) postExtInt(vcpu);
    else continue;
    taken = true;
  }
  return taken;
}

/** A write to FEExxxxxh by a device. Always edge. @returns 0, or EINVAL for an address outside of that range. */
export function deliverMsi(address: u64, data: u64): i32 {
  if (address >> 20 != 0xfee) return EINVAL;
  let destination = <u32>(address >> 12) & 0xff;
  if ((load<u32>(VM_BASE, VM_OPTIONS) & VM_OPTION_EXTENDED_DESTINATION) != 0) destination |= (<u32>(address >> 5) & 0x7f) << 8;
  // The destination is logical only with both the redirection hint and the mode bit set.
  deliver(destination, (address & 0xc) == 0xc, <u32>(data >> 8) & 7, <u32>data & 0xff, false);
  return 0;
}
