/**
 * The door of vmm.wasm: the bus of a vCPU (its address first), and what the main thread does with devices (a vCPU's index).
 * Implements: docs/internals.md "bus"; libvmmapi's interrupt and RTC calls with their errnos. Runs on: any thread: no globals, all state
 * lies in memory 0. Every function with a `vcpu` address runs on that vCPU's thread, or while the vCPU is stopped.
 */
import { VCPU_LAPIC, VM_BASE } from '../../base/memory-map.ts';
import { REQUEST_KICK } from '../../base/vcpu-words.ts';
import { VCPU_APIC_ID } from '../../generated/vcpu-layout.ts';
import {
  LAPIC_LVT_TIMER, LAPIC_TIMER_DEADLINE_NS, VM_CLOCK_BASE_NS, VM_CLOCK_STOPPED, VM_DEVICE_DEADLINE_NS, VM_OPTIONS, VM_POSTED_RANGE_COUNT, VM_TSC_HZ, VM_VCPU_COUNT,
} from '../../generated/vmm-layout.ts';
import { EINVAL } from '../exits.ts';
import { IOAPIC_PINS, MAX_VCPUS } from '../layout.ts';
import { readMmio, writeMmio } from './bus.ts';
import { hostNowNs, NEVER, startClock, stopClock, tsc as readTsc, tscAt as readTscAt, tscReadClock, vmNowNs } from './clock.ts';
import { HPET_CAPABILITIES, hpetReset, hpetRun } from './hpet.ts';
import { kick as kickVcpu, postNmi, vcpuAt, vcpuCount } from './inbox.ts';
import { ioapicLine, ioapicReset } from './ioapic.ts';
import * as lapic from './lapic.ts';
import { followTsc, lapicTimerPoll } from './lapic-timer.ts';
import { lockDevices, unlockDevices } from './lock.ts';
import { readMsr, writeMsr } from './msr.ts';
import { isaChange, isaPulseLocked, picReset, picSetTrigger } from './pic.ts';
import { pitReset, pitRun } from './pit.ts';
import { portsInit, portsReset, readPort, writePort } from './ports.ts';
import { wakeConsumer, wakeConsumerInTime } from './posted.ts';
import { deliverMsi } from './routing.ts';
import { rtcGet, rtcInit, rtcPeek, rtcPoke, rtcReset, rtcRun, rtcSet } from './rtc.ts';

// --- life cycle ---

/** Set up a new VM in zeroed memory; its clock starts now. @returns 0, or EINVAL for a count or frequency out of range. */
export function vmmInit(vcpus: u32, tscHz: f64, options: u32): i32 {
  if (vcpus < 1 || vcpus > <u32>MAX_VCPUS || !(tscHz >= 1000000 && tscHz <= 10000000000)) return EINVAL;
  store<u32>(VM_BASE, vcpus, VM_VCPU_COUNT);
  store<u32>(VM_BASE, options, VM_OPTIONS);
  store<u64>(VM_BASE, <u64>tscHz, VM_TSC_HZ);
  // A whole number, so that a deadline is the same instant on both clocks.
  store<f64>(VM_BASE, floor(hostNowNs()), VM_CLOCK_BASE_NS);
  store<u32>(VM_BASE, 0, VM_CLOCK_STOPPED);
  portsInit();
  rtcInit();
  for (let i: u32 = 0; i < vcpus; i++) store<u32>(vcpuAt(i), i, VCPU_APIC_ID);
  vmmReset();
  return 0;
}

/** Reset all devices, as bhyve's reinit: RTC date, NVRAM, port modes and the clock go on. Every vCPU is stopped. */
export function vmmReset(): void {
  lockDevices();
  // The RTC first: it lets go of its line.
  rtcReset();
  picReset();
  ioapicReset();
  pitReset();
  hpetReset();
  unlockDevices();
  portsReset();
  atomic.store<u32>(VM_BASE, 0, VM_POSTED_RANGE_COUNT);
  for (let i: u32 = 0, count = vcpuCount(); i < count; i++) lapic.lapicReset(vcpuAt(i));
}

/** Address of a vCPU by index, or 0. */
function vcpuByIndex(index: i32): usize { return <u32>index < vcpuCount() ? vcpuAt(index) : 0; }

/** Power-up state of one LAPIC. */
export function lapicReset(index: i32): i32 {
  const vcpu = vcpuByIndex(index);
  if (vcpu == 0) return EINVAL;
  lapic.lapicReset(vcpu);
  return 0;
}

/** What an INIT does to it: the mode stays. */
export function lapicInit(index: i32): i32 {
  const vcpu = vcpuByIndex(index);
  if (vcpu == 0) return EINVAL;
  lapic.lapicInit(vcpu);
  return 0;
}

/** Pause and resume of the VM's clock and TSC; every vCPU is stopped. */
export function clockStop(): void { stopClock(); }
export function clockStart(): void { startClock(); }
export function nowNs(): f64 { return <f64>vmNowNs(); }

// --- bus of a vCPU ---

export function mmioRead(vcpu: u32, gpa: u64, sizeBytes: u32): u64 {
  tscReadClock(vcpu);
  return readMmio(vcpu, gpa, sizeBytes);
}
export function mmioWrite(vcpu: u32, gpa: u64, sizeBytes: u32, value: u64): void {
  tscReadClock(vcpu);
  writeMmio(vcpu, gpa, sizeBytes, value);
}
export function portRead(vcpu: u32, port: u32, sizeBytes: u32): u32 {
  tscReadClock(vcpu);
  return readPort(vcpu, port, sizeBytes);
}
export function portWrite(vcpu: u32, port: u32, sizeBytes: u32, value: u32): void {
  tscReadClock(vcpu);
  writePort(vcpu, port, sizeBytes, value);
}
export function msrRead(vcpu: u32, msr: u32): u32 { return readMsr(vcpu, msr); }
export function msrWrite(vcpu: u32, msr: u32, value: u64): u32 { return writeMsr(vcpu, msr, value); }
export function interruptVector(vcpu: u32): i32 { return lapic.interruptVector(vcpu); }
export function interruptAck(vcpu: u32): i32 { return lapic.interruptAck(vcpu); }
export function readTpr(vcpu: u32): u32 { return lapic.readTpr(vcpu); }
export function writeTpr(vcpu: u32, value: u32): void { lapic.writeTpr(vcpu, value); }
export function tsc(vcpu: u32): u64 { return readTsc(vcpu); }
export function tscAt(vcpu: u32, retired: u64): u64 { return readTscAt(vcpu, retired); }

/** Hot, at the end of each slice and before a sleep: run the timers that are due, tell the main loop of posted writes. */
export function poll(vcpu: u32): void {
  wakeConsumerInTime();
  tscReadClock(vcpu);
  followTsc(vcpu);
  const own = load<u64>(vcpu + VCPU_LAPIC, LAPIC_TIMER_DEADLINE_NS), shared = atomic.load<u64>(VM_BASE, VM_DEVICE_DEADLINE_NS);
  if (min(own, shared) == NEVER) return;
  const now = vmNowNs();
  if (now >= own) lapicTimerPoll(vcpu, now);
  if (now >= shared) {
    lockDevices();
    pitRun(now);
    hpetRun(now);
    rtcRun(now);
    unlockDevices();
  }
}

/**
 * Next time of the host's clock at which poll() has work for a sleeping vCPU, or Infinity. A masked LAPIC timer wakes nobody.
 * Called before a sleep, so posted writes are announced here as well.
 */
export function nextDeadlineNs(vcpu: u32): f64 {
  wakeConsumer();
  tscReadClock(vcpu);
  followTsc(vcpu);
  if (load<u32>(VM_BASE, VM_CLOCK_STOPPED) != 0) return Infinity;
  let deadline = atomic.load<u64>(VM_BASE, VM_DEVICE_DEADLINE_NS);
  if ((load<u32>(vcpu + VCPU_LAPIC, LAPIC_LVT_TIMER) & 0x10000) == 0) deadline = min(deadline, load<u64>(vcpu + VCPU_LAPIC, LAPIC_TIMER_DEADLINE_NS));
  return deadline == NEVER ? Infinity : <f64>deadline + load<f64>(VM_BASE, VM_CLOCK_BASE_NS);
}

/** Tell the consumer of what was posted, now: the vCPU will execute nothing for a while. */
export function announcePosted(): void { wakeConsumer(); }

/** How long a vCPU may sleep from now, 0 when something is due, or Infinity. */
export function sleepNs(vcpu: u32): f64 {
  const deadline = nextDeadlineNs(vcpu);
  return deadline == Infinity ? Infinity : max(deadline - hostNowNs(), 0);
}

// --- interrupts from the main thread ---

function isa(atpicIrq: i32, ioapicIrq: i32, change: i32): i32 {
  if (<u32>atpicIrq > 15 || ioapicIrq < -1 || ioapicIrq >= IOAPIC_PINS) return EINVAL;
  lockDevices();
  if (change == 0) isaPulseLocked(atpicIrq, ioapicIrq);
  else isaChange(atpicIrq, ioapicIrq, change);
  unlockDevices();
  return 0;
}

export function isaAssert(atpicIrq: i32, ioapicIrq: i32): i32 { return isa(atpicIrq, ioapicIrq, 1); }
export function isaDeassert(atpicIrq: i32, ioapicIrq: i32): i32 { return isa(atpicIrq, ioapicIrq, -1); }
export function isaPulse(atpicIrq: i32, ioapicIrq: i32): i32 { return isa(atpicIrq, ioapicIrq, 0); }
export function isaSetTrigger(irq: i32, level: i32): i32 { return picSetTrigger(irq, level != 0); }
export function ioapicAssert(pin: i32): i32 { return ioapicLine(pin, 1); }
export function ioapicDeassert(pin: i32): i32 { return ioapicLine(pin, -1); }
export function ioapicPulse(pin: i32): i32 { return ioapicLine(pin, 0); }
export function ioapicPinCount(): i32 { return IOAPIC_PINS; }
export function lapicMsi(address: u64, data: u64): i32 { return deliverMsi(address, data); }

export function lapicIrq(index: i32, vector: u32): i32 {
  const vcpu = vcpuByIndex(index);
  return vcpu == 0 ? EINVAL : lapic.lapicPost(vcpu, vector);
}

/** `source`: 0 CMCI, 1 timer, 2 thermal, 3 performance counters, 4 LINT0, 5 LINT1, 6 error; index -1: all vCPUs. */
export function lapicLocalIrq(index: i32, source: u32): i32 {
  if (index != -1) {
    const vcpu = vcpuByIndex(index);
    return vcpu == 0 ? EINVAL : lapic.lapicLocal(vcpu, source);
  }
  for (let i: u32 = 0, count = vcpuCount(); i < count; i++) {
    const error = lapic.lapicLocal(vcpuAt(i), source);
    if (error != 0) return error;
  }
  return 0;
}

export function injectNmi(index: i32): i32 {
  const vcpu = vcpuByIndex(index);
  if (vcpu == 0) return EINVAL;
  postNmi(vcpu);
  return 0;
}

/** Set request bits of a vCPU and wake it. */
export function kick(index: i32, requests: u32): i32 {
  const vcpu = vcpuByIndex(index);
  if (vcpu == 0) return EINVAL;
  kickVcpu(vcpu, requests);
  return 0;
}

// --- RTC and HPET from the main thread ---

/** A deadline may have come nearer: whoever sleeps looks again. */
function rtcChanged(): void { kickVcpu(vcpuAt(0), REQUEST_KICK); }

/** @returns the byte, or -EINVAL. */
export function rtcRead(offset: i32): i32 {
  lockDevices();
  const value = rtcPeek(offset);
  unlockDevices();
  return value;
}

export function rtcWrite(offset: i32, value: u32): i32 {
  lockDevices();
  const error = rtcPoke(offset, value);
  unlockDevices();
  return error;
}

/** Unix time in seconds. */
export function rtcSetTime(seconds: f64): i32 {
  if (!(abs(seconds) < 1000000000000)) return EINVAL;
  lockDevices();
  const error = rtcSet(<i64>seconds);
  unlockDevices();
  rtcChanged();
  return error;
}

export function rtcGetTime(): f64 {
  lockDevices();
  const seconds = rtcGet();
  unlockDevices();
  return <f64>seconds;
}

/** Low half of the HPET's capabilities, for its ACPI table. */
export function hpetCapabilities(): u32 { return <u32>HPET_CAPABILITIES; }
