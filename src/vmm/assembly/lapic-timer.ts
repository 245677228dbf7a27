/**
 * Timer of the local APIC: one-shot and periodic on the 128 MiHz bus clock, TSC-deadline on the guest's TSC.
 * Implements: SDM vol 3 "APIC Timer", "TSC-Deadline Mode". Runs on: the vCPU's own thread.
 * Periods that pass while the host is late collapse into one interrupt, as in hardware whose IRR bit is still set; the phase is kept.
 */
import { VCPU_LAPIC, VM_BASE } from '../../base/memory-map.ts';
import { VCPU_TSC_OFFSET } from '../../generated/vcpu-layout.ts';
import {
  LAPIC_DEADLINE_TSC_OFFSET, LAPIC_DIVIDE, LAPIC_INITIAL_COUNT, LAPIC_LVT_TIMER, LAPIC_TIMER_ARMED, LAPIC_TIMER_DEADLINE_NS, LAPIC_TIMER_PERIOD_TICKS, LAPIC_TIMER_START_TICK, LAPIC_TSC_DEADLINE, VM_TSC_HZ,
} from '../../generated/vmm-layout.ts';
import { LAPIC_TIMER_HZ } from '../layout.ts';
import { NEVER, NS_PER_SEC, scale, tickToNs, tsc, vmNowNs } from './clock.ts';
import { lapicFireTimer } from './lapic.ts';

export const TIMER_MODE_MASK: u32 = 0x60000;
export const TIMER_ONE_SHOT: u32 = 0, TIMER_PERIODIC: u32 = 0x20000, TIMER_TSC_DEADLINE: u32 = 0x40000;

export function timerMode(vcpu: usize): u32 { return load<u32>(vcpu + VCPU_LAPIC, LAPIC_LVT_TIMER) & TIMER_MODE_MASK; }

function busTick(nowNs: u64): u64 { return scale(nowNs, LAPIC_TIMER_HZ, NS_PER_SEC); }

/** Divide configuration: bits 3, 1 and 0 give log2 of the divider minus 1, and 111 divides by 1. */
function divider(lapic: usize): u32 {
  const code = load<u32>(lapic, LAPIC_DIVIDE);
  return <u32>1 << (((code & 3 | code >> 1 & 4) + 1) & 7);
}

function disarm(lapic: usize): void {
  store<u32>(lapic, 0, LAPIC_TIMER_ARMED);
  store<u64>(lapic, NEVER, LAPIC_TIMER_DEADLINE_NS);
}

export function lapicTimerReset(vcpu: usize): void {
  const lapic = vcpu + VCPU_LAPIC;
  store<u32>(lapic, 0, LAPIC_INITIAL_COUNT);
  store<u32>(lapic, 0, LAPIC_DIVIDE);
  store<u64>(lapic, 0, LAPIC_TSC_DEADLINE);
  store<u64>(lapic, 0, LAPIC_TIMER_PERIOD_TICKS);
  store<u64>(lapic, 0, LAPIC_TIMER_START_TICK);
  disarm(lapic);
}

/** Count down `ticks` of the bus clock from bus tick `start`. */
function arm(lapic: usize, start: u64, ticks: u64): void {
  store<u64>(lapic, start, LAPIC_TIMER_START_TICK);
  store<u64>(lapic, ticks, LAPIC_TIMER_PERIOD_TICKS);
  store<u32>(lapic, 1, LAPIC_TIMER_ARMED);
  store<u64>(lapic, tickToNs(start + ticks, LAPIC_TIMER_HZ), LAPIC_TIMER_DEADLINE_NS);
}

/** A write of 0 stops the timer; in TSC-deadline mode the register is ignored. */
export function lapicTimerSetCount(vcpu: usize, count: u32): void {
  const lapic = vcpu + VCPU_LAPIC;
  if (timerMode(vcpu) == TIMER_TSC_DEADLINE) return;
  store<u32>(lapic, count, LAPIC_INITIAL_COUNT);
  if (count == 0) disarm(lapic);
  else arm(lapic, busTick(vmNowNs()), <u64>count * divider(lapic));
}

export function lapicTimerCurrentCount(vcpu: usize): u32 {
  const lapic = vcpu + VCPU_LAPIC;
  if (timerMode(vcpu) == TIMER_TSC_DEADLINE || load<u32>(lapic, LAPIC_TIMER_ARMED) == 0) return 0;
  const nowNs = vmNowNs();
  lapicTimerPoll(vcpu, nowNs);
  if (load<u32>(lapic, LAPIC_TIMER_ARMED) == 0) return 0;
  const end = load<u64>(lapic, LAPIC_TIMER_START_TICK) + load<u64>(lapic, LAPIC_TIMER_PERIOD_TICKS), now = busTick(nowNs);
  if (now >= end) return 0;
  const divide = <u64>divider(lapic);
  return <u32>min((end - now + divide - 1) / divide, 0xffffffff);
}

/** The count goes on from where it is, at the new rate; later periods are of the new length. */
export function lapicTimerSetDivide(vcpu: usize, value: u32): void {
  const lapic = vcpu + VCPU_LAPIC, count = lapicTimerCurrentCount(vcpu);
  store<u32>(lapic, value, LAPIC_DIVIDE);
  if (timerMode(vcpu) == TIMER_TSC_DEADLINE || load<u32>(lapic, LAPIC_TIMER_ARMED) == 0) return;
  const period = <u64>load<u32>(lapic, LAPIC_INITIAL_COUNT) * divider(lapic), rest = <u64>count * divider(lapic), now = busTick(vmNowNs());
  // May lie before tick 0 of the VM: start + period wraps back to now + rest.
  arm(lapic, now + rest - period, period);
}

/** SDM: a change to or from TSC-deadline mode disarms the timer. */
export function lapicTimerModeChanged(vcpu: usize, oldLvt: u32, lvt: u32): void {
  const lapic = vcpu + VCPU_LAPIC;
  if (((oldLvt ^ lvt) & TIMER_TSC_DEADLINE) == 0) return;
  store<u64>(lapic, 0, LAPIC_TSC_DEADLINE);
  store<u32>(lapic, 0, LAPIC_INITIAL_COUNT);
  disarm(lapic);
}

/** IA32_TSC_DEADLINE; 0 disarms. Ignored in the other modes. */
export function setTscDeadline(vcpu: usize, deadline: u64): void {
  if (timerMode(vcpu) != TIMER_TSC_DEADLINE) return;
  const lapic = vcpu + VCPU_LAPIC;
  store<u64>(lapic, deadline, LAPIC_TSC_DEADLINE);
  if (deadline == 0) { disarm(lapic); return; }
  store<u32>(lapic, 1, LAPIC_TIMER_ARMED);
  store<u64>(lapic, load<u64>(vcpu, VCPU_TSC_OFFSET), LAPIC_DEADLINE_TSC_OFFSET);
  // A deadline that the TSC has passed fires at once.
  const passed = tsc(vcpu) >= deadline;
  store<u64>(lapic, passed ? 0 : tickToNs(deadline - load<u64>(vcpu, VCPU_TSC_OFFSET), load<u64>(VM_BASE, VM_TSC_HZ)), LAPIC_TIMER_DEADLINE_NS);
  if (passed) lapicTimerPoll(vcpu, vmNowNs());
}

export function readTscDeadline(vcpu: usize): u64 {
  if (timerMode(vcpu) != TIMER_TSC_DEADLINE || load<u32>(vcpu + VCPU_LAPIC, LAPIC_TIMER_ARMED) == 0) return 0;
  followTsc(vcpu);
  lapicTimerPoll(vcpu, vmNowNs());
  return load<u64>(vcpu + VCPU_LAPIC, LAPIC_TSC_DEADLINE);
}

/** Hot: the deadline is compared with the TSC that the guest sees, so a new TSC offset moves it in time. */
export function followTsc(vcpu: usize): void {
  const lapic = vcpu + VCPU_LAPIC;
  if (load<u64>(lapic, LAPIC_TSC_DEADLINE) == 0 || load<u64>(vcpu, VCPU_TSC_OFFSET) == load<u64>(lapic, LAPIC_DEADLINE_TSC_OFFSET)) return;
  setTscDeadline(vcpu, load<u64>(lapic, LAPIC_TSC_DEADLINE));
}

/** Fire what is due at `nowNs`. */
export function lapicTimerPoll(vcpu: usize, nowNs: u64): void {
  const lapic = vcpu + VCPU_LAPIC;
  if (nowNs < load<u64>(lapic, LAPIC_TIMER_DEADLINE_NS)) return;
  const mode = timerMode(vcpu);
  if (mode == TIMER_PERIODIC) {
    const period = load<u64>(lapic, LAPIC_TIMER_PERIOD_TICKS), start = load<u64>(lapic, LAPIC_TIMER_START_TICK);
    const elapsed = busTick(nowNs) - start;
    // At least one period has passed; the deadline is rounded up to a nanosecond, so never less.
    arm(lapic, start + max(elapsed / period, 1) * period, period);
  } else {
    if (mode == TIMER_TSC_DEADLINE) store<u64>(lapic, 0, LAPIC_TSC_DEADLINE);
    disarm(lapic);
  }
  lapicFireTimer(vcpu);
}
