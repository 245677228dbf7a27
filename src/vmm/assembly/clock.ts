/**
 * The VM's one clock, in nanoseconds since the VM began to run, and exact conversions between it and device ticks.
 * Implements: SDM vol 3 "Time-Stamp Counter". Runs on: any thread. All devices read the clock through vmNowNs() alone.
 */
import { VCPU_LAPIC, VM_BASE } from '../../base/memory-map.ts';
import { VCPU_TSC_OFFSET } from '../../generated/vcpu-layout.ts';
import {
  LAPIC_LAST_TSC, LAPIC_TSC_NEAR, LAPIC_TSC_RATE, LAPIC_TSC_RETIRED, LAPIC_TSC_TICKS, VM_CLOCK_BASE_NS, VM_CLOCK_STOPPED, VM_STOPPED_NS, VM_TSC_HZ, VM_VCPU_COUNT,
} from '../../generated/vmm-layout.ts';

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

/** The clocks of two host threads may differ a little, so a vCPU that moves must not see time go back. */
function shown(vcpu: usize, ticks: u64): u64 {
  const lapic = vcpu + VCPU_LAPIC, highest = max(ticks, load<u64>(lapic, LAPIC_LAST_TSC));
  store<u64>(lapic, highest, LAPIC_LAST_TSC);
  return highest + load<u64>(vcpu, VCPU_TSC_OFFSET);
}

/** The TSC of this vCPU, by the host's clock. */
export function tsc(vcpu: usize): u64 {
  tscReadClock(vcpu);
  return shown(vcpu, tscTicks());
}

/** The next RDTSC reads the host's clock: a slice has ended, or a device was used, whose time must not be ahead of the TSC. */
export function tscReadClock(vcpu: usize): void { store<u32>(vcpu + VCPU_LAPIC, 0, LAPIC_TSC_NEAR); }

/** Instructions that a measured rate rests on, at least. */
const RATE_INSTRUCTIONS: u64 = 1000;
/** A rate is at most so many ticks an instruction: more means that the host did something else. */
const RATE_LIMIT: u64 = 100 << 16;

/**
 * RDTSC of a vCPU that has executed `retired` instructions. Hot: reading the host's clock costs ten times as much as the rest, so within a slice
 * time goes on by the instructions executed, at the rate of the slices before. It is behind the clock or ahead of it by less than a slice, never goes
 * back, and catches up when the clock is read. Several vCPUs may compare their counters, so there the clock is read each time.
 */
export function tscAt(vcpu: usize, retired: u64): u64 {
  const lapic = vcpu + VCPU_LAPIC, executed = retired - load<u64>(lapic, LAPIC_TSC_RETIRED), since = load<u64>(lapic, LAPIC_TSC_TICKS);
  let rate = <u64>load<u32>(lapic, LAPIC_TSC_RATE);
  if (load<u32>(lapic, LAPIC_TSC_NEAR) != 0) return shown(vcpu, since + (executed * rate >> 16));
  const ticks = tscTicks();
  if (executed >= RATE_INSTRUCTIONS) {
    // Down at once and up slowly: a slice in which the host was away, or the guest slept, says little.
    const sample = min((min(ticks - since, <u64>1 << 40) << 16) / executed, RATE_LIMIT);
    rate = rate == 0 || sample < rate ? sample : rate + (min(sample, 2 * rate) - rate >> 3);
    store<u32>(lapic, <u32>rate, LAPIC_TSC_RATE);
  }
  store<u64>(lapic, ticks, LAPIC_TSC_TICKS);
  store<u64>(lapic, retired, LAPIC_TSC_RETIRED);
  store<u32>(lapic, rate != 0 && load<u32>(VM_BASE, VM_VCPU_COUNT) == 1 ? 1 : 0, LAPIC_TSC_NEAR);
  return shown(vcpu, ticks);
}
