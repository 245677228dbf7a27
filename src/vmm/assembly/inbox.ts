/**
 * How any thread gets the attention of a vCPU: requested vectors, NMI, ExtINT, kicks. Atomics only; the vCPU's own thread collects them.
 * Implements: SDM vol 3 "Interrupt Acceptance for Fixed Interrupts" (the receiving half is lapic.ts). Runs on: any thread.
 */
import { VCPU_LAPIC, VCPU_STRIDE, VCPUS, VM_BASE } from '../../base/memory-map.ts';
import { REQUEST_INTERRUPT, REQUEST_NMI } from '../../base/vcpu-words.ts';
import { VCPU_NMI_PENDING, VCPU_REQUESTS } from '../../generated/vcpu-layout.ts';
import { LAPIC_ATTENTION, LAPIC_EXT_INT, LAPIC_INBOX_EDGE, LAPIC_INBOX_LEVEL, VM_VCPU_COUNT } from '../../generated/vmm-layout.ts';

export function vcpuCount(): u32 { return load<u32>(VM_BASE, VM_VCPU_COUNT); }

/** The APIC id: nothing that resets the record can lose it. */
export function indexOf(vcpu: usize): u32 { return <u32>((vcpu - VCPUS) / VCPU_STRIDE); }

export function vcpuAt(index: u32): usize { return <usize>VCPUS + <usize>index * <usize>VCPU_STRIDE; }

/** Set request bits and wake the vCPU should it sleep in HLT: it waits on the same word, so no wake-up is lost. */
export function kick(vcpu: usize, request: u32): void {
  atomic.or<u32>(vcpu, request, VCPU_REQUESTS);
  atomic.notify(vcpu + VCPU_REQUESTS, -1);
}

/** The interrupt state of the vCPU changed in its favour. */
export function wantAttention(vcpu: usize): void {
  atomic.store<u32>(vcpu + VCPU_LAPIC, 1, LAPIC_ATTENTION);
  kick(vcpu, REQUEST_INTERRUPT);
}

/** Vectors below 16 are posted too: the receiver reports them in its ESR. */
export function postVector(vcpu: usize, vector: u32, level: bool): void {
  const word = vcpu + VCPU_LAPIC + ((vector & 0xff) >> 5 << 2), bit: u32 = 1 << (vector & 31);
  if (level) atomic.or<u32>(word, bit, LAPIC_INBOX_LEVEL);
  else atomic.or<u32>(word, bit, LAPIC_INBOX_EDGE);
  wantAttention(vcpu);
}

/** Several before the delivery collapse into one. */
export function postNmi(vcpu: usize): void {
  atomic.store<u32>(vcpu, 1, VCPU_NMI_PENDING);
  kick(vcpu, REQUEST_NMI);
}

export function postExtInt(vcpu: usize): void {
  atomic.store<u32>(vcpu + VCPU_LAPIC, 1, LAPIC_EXT_INT);
  wantAttention(vcpu);
}
