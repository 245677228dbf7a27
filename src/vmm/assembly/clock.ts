/**
 * The VM's one clock, in nanoseconds since the VM began to run, and exact conversions between it and device ticks.
 * Implements: SDM vol 3 "Time-Stamp Counter". Runs on: any thread. All devices read the clock through vmNowNs() alone.
 */
import { VCPU_LAPIC, VM_BASE } from '../../base/memory-map.ts';
import { VCPU_TSC_OFFSET } from '../../generated/vcpu-layout.ts';
import { LAPIC_LAST_TSC, VM_CLOCK_BASE_NS, VM_CLOCK_STOPPED, VM_STOPPED_NS, VM_TSC_HZ } from '../../generated/vmm-layout.ts';

@external('host', 'nowNs') export declare function hostNowNs(): f64;

export const NS_PER_SEC: u64 = 1000000000;
/** A deadline that never comes. */
export const NEVER: u64 = 0x7fffffffffffffff;
/** Times behind this (292 years) count as never, so that sums of two cannot wrap. */
export const FAR: u64 = 0x3fffffffffffffff;

export function vmNowNs(): u64 {
  if (load<u32>(VM_BASE, VM_CLOCK_STOPPED) != 0) return load<u64>(VM_BASE, VM_STOPPED_NS);
  const ns = hostNowNs() - load<f64>(VM_BASE, VM_CLOCK_BASE_NS);
  return ns > 0 ? <u64>ns : 0;
}

/** Let the clock stand (pause) or go on from where it stood. */
export function stopClock(): void {
  if (load<u32>(VM_BASE, VM_CLOCK_STOPPED) != 0) return;
  store<u64>(VM_BASE, vmNowNs(), VM_STOPPED_NS);
  atomic.store<u32>(VM_BASE, 1, VM_CLOCK_STOPPED);
}

export function startClock(): void {
  if (load<u32>(VM_BASE, VM_CLOCK_STOPPED) == 0) return;
  store<f64>(VM_BASE, hostNowNs() - <f64>load<u64>(VM_BASE, VM_STOPPED_NS), VM_CLOCK_BASE_NS);
  atomic.store<u32>(VM_BASE, 0, VM_CLOCK_STOPPED);
}

/** floor(value * numerator / denominator), exact while numerator * denominator < 2^64 and the result fits. */
export function scale(value: u64, numerator: u64, denominator: u64): u64 {
  return value / denominator * numerator + value % denominator * numerator / denominator;
}

/** The same rounded up: a deadline in ns is never before its tick. */
export function scaleUp(value: u64, numerator: u64, denominator: u64): u64 {
  return value / denominator * numerator + (value % denominator * numerator + denominator - 1) / denominator;
}

/** When `tick` of a clock of `hz` has been reached, in ns, or NEVER when it lies centuries ahead. */
export function tickToNs(tick: u64, hz: u64): u64 {
  if (tick / hz > 9000000000) return NEVER;
  return scaleUp(tick, NS_PER_SEC, hz);
}

/** Ticks of the invariant TSC since the VM began, without the vCPU's offset. */
export function tscTicks(): u64 { return scale(vmNowNs(), load<u64>(VM_BASE, VM_TSC_HZ), NS_PER_SEC); }

/** RDTSC of this vCPU. The clocks of two host threads may differ a little, so a vCPU that moves must not see time go back. */
export function tsc(vcpu: usize): u64 {
  const ticks = max(tscTicks(), load<u64>(vcpu + VCPU_LAPIC, LAPIC_LAST_TSC));
  store<u64>(vcpu + VCPU_LAPIC, ticks, LAPIC_LAST_TSC);
  return ticks + load<u64>(vcpu, VCPU_TSC_OFFSET);
}
