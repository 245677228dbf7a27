/**
 * High precision event timers: a 32-bit counter at 16 MiHz and eight timers, all periodic- and FSB-capable.
 * Implements: IA-PC HPET 1.0a 2.3 (registers), 2.3.9 (timers); bhyve's vendor, revision and routing (IOAPIC pins 20-23, no legacy
 * replacement). Runs on: any thread, under the device lock.
 */
import { VM_DEVICES } from '../../base/memory-map.ts';
import {
  DEVICES_HPET, HPET_BASE_TICK, HPET_CONFIG, HPET_COUNTER, HPET_DEADLINE_NS, HPET_STATUS, HPET_TIMER_ARMED, HPET_TIMER_ASSERTED, HPET_TIMER_COMPARATOR, HPET_TIMER_CONFIG,
  HPET_TIMER_MATCH_TICK, HPET_TIMER_PERIOD, HPET_TIMER_ROUTE, HPET_TIMER_SIZE_BYTES, HPET_TIMERS,
} from '../../generated/vmm-layout.ts';
import { HPET_HZ, HPET_PERIOD_FS } from '../layout.ts';
import { NEVER, NS_PER_SEC, scale, tickToNs, vmNowNs } from './clock.ts';
import { ioapicChange, ioapicPulseLocked } from './ioapic.ts';
import { lockDevices, unlockDevices } from './lock.ts';
import { deliverMsi } from './routing.ts';

const HPET: usize = VM_DEVICES + DEVICES_HPET;
const TIMERS: u32 = 8;
/** Revision 1, eight timers, 32-bit counter, no legacy replacement, vendor 8086h, period in fs above. */
export const HPET_CAPABILITIES: u64 = <u64>HPET_PERIOD_FS << 32 | 0x8086 << 16 | (TIMERS - 1) << 8 | 1;
const CONFIG_ENABLE: u64 = 1;
const TIMER_LEVEL: u64 = 2, TIMER_INTERRUPT: u64 = 4, TIMER_PERIODIC: u64 = 8, TIMER_VALUE_SET: u64 = 0x40, TIMER_ROUTE: u64 = 0x3e00, TIMER_FSB: u64 = 0x4000;
/** Periodic-capable, FSB-capable, pins 20-23. */
const TIMER_CAPABILITIES: u64 = 0x00f0000000000000 | 0x8000 | 0x10;
/** TN_32MODE_CNF stays 0: the timers are 32 bits wide anyway. */
const TIMER_WRITABLE: u64 = TIMER_LEVEL | TIMER_INTERRUPT | TIMER_PERIODIC | TIMER_VALUE_SET | TIMER_ROUTE | TIMER_FSB;

function timerAt(index: u32): usize { return HPET + HPET_TIMERS + index * HPET_TIMER_SIZE_BYTES; }

function hpetTick(nowNs: u64): u64 { return scale(nowNs, HPET_HZ, NS_PER_SEC); }

function enabled(): bool { return (load<u64>(HPET, HPET_CONFIG) & CONFIG_ENABLE) != 0; }

function counterAt(tick: u64): u32 {
  const counter = <u32>load<u64>(HPET, HPET_COUNTER);
  return enabled() ? counter + <u32>(tick - load<u64>(HPET, HPET_BASE_TICK)) : counter;
}

export function hpetReset(): void {
  memory.fill(HPET, 0, HPET_TIMERS + TIMERS * HPET_TIMER_SIZE_BYTES);
  for (let i: u32 = 0; i < TIMERS; i++) {
    store<u64>(timerAt(i), TIMER_CAPABILITIES, HPET_TIMER_CONFIG);
    store<u64>(timerAt(i), 0xffffffff, HPET_TIMER_COMPARATOR);
  }
  store<u64>(HPET, NEVER, HPET_DEADLINE_NS);
}

// --- matches ---

/** Find the next match of a timer. A comparator behind the counter matches after the 32-bit wrap (HPET 1.0a 2.3.9.2.1). */
function armTimer(timer: usize, tick: u64): void {
  const config = load<u64>(timer, HPET_TIMER_CONFIG), counter = counterAt(tick);
  store<u32>(timer, 0, HPET_TIMER_ARMED);
  if (!enabled() || (config & TIMER_INTERRUPT) == 0) return;
  const delta = <u32>load<u64>(timer, HPET_TIMER_COMPARATOR) - counter;
  store<u64>(timer, tick + delta, HPET_TIMER_MATCH_TICK);
  store<u32>(timer, 1, HPET_TIMER_ARMED);
}

function schedule(): void {
  let earliest: u64 = u64.MAX_VALUE;
  for (let i: u32 = 0; i < TIMERS; i++) {
    const timer = timerAt(i);
    if (load<u32>(timer, HPET_TIMER_ARMED) != 0) earliest = min(earliest, load<u64>(timer, HPET_TIMER_MATCH_TICK));
  }
  store<u64>(HPET, earliest == u64.MAX_VALUE ? NEVER : tickToNs(earliest, HPET_HZ), HPET_DEADLINE_NS);
}

function release(index: u32): void {
  const timer = timerAt(index), held = load<u32>(timer, HPET_TIMER_ASSERTED);
  if (held == 0) return;
  store<u32>(timer, 0, HPET_TIMER_ASSERTED);
  ioapicChange(held - 1, -1);
}

function interrupt(index: u32): void {
  const timer = timerAt(index), config = load<u64>(timer, HPET_TIMER_CONFIG);
  if ((config & TIMER_FSB) != 0) {
    const route = load<u64>(timer, HPET_TIMER_ROUTE);
    deliverMsi(route >> 32, route & 0xffffffff);
    return;
  }
  const pin = <u32>(config >> 9) & 31;
  if (pin == 0) return;
  if ((config & TIMER_LEVEL) == 0) { ioapicPulseLocked(pin); return; }
  store<u64>(HPET, load<u64>(HPET, HPET_STATUS) | <u64>1 << index, HPET_STATUS);
  if (load<u32>(timer, HPET_TIMER_ASSERTED) != 0) return;
  store<u32>(timer, pin + 1, HPET_TIMER_ASSERTED);
  ioapicChange(pin, 1);
}

/** Lock held. */
export function hpetRun(nowNs: u64): void {
  if (nowNs < load<u64>(HPET, HPET_DEADLINE_NS)) return;
  const tick = hpetTick(nowNs);
  for (let i: u32 = 0; i < TIMERS; i++) {
    const timer = timerAt(i);
    if (load<u32>(timer, HPET_TIMER_ARMED) == 0 || tick < load<u64>(timer, HPET_TIMER_MATCH_TICK)) continue;
    interrupt(i);
    const match = load<u64>(timer, HPET_TIMER_MATCH_TICK), period = load<u64>(timer, HPET_TIMER_PERIOD);
    // A periodic comparator advances by its period at each match; matches the host was late for are skipped, the phase is kept.
    if ((load<u64>(timer, HPET_TIMER_CONFIG) & TIMER_PERIODIC) != 0 && period != 0) {
      const steps = (tick - match) / period + 1;
      store<u64>(timer, load<u64>(timer, HPET_TIMER_COMPARATOR) + steps * period & 0xffffffff, HPET_TIMER_COMPARATOR);
      store<u64>(timer, match + steps * period, HPET_TIMER_MATCH_TICK);
    } else {
      const steps = ((tick - match) >> 32) + 1;
      store<u64>(timer, match + (steps << 32), HPET_TIMER_MATCH_TICK);
    }
  }
  schedule();
}

// --- registers ---

function writeConfig(value: u64, nowNs: u64): void {
  const tick = hpetTick(nowNs), was = enabled(), counter = counterAt(tick);
  // LEG_RT_CNF is not there.
  store<u64>(HPET, counter, HPET_COUNTER);
  store<u64>(HPET, tick, HPET_BASE_TICK);
  store<u64>(HPET, value & CONFIG_ENABLE, HPET_CONFIG);
  if (was == enabled()) return;
  for (let i: u32 = 0; i < TIMERS; i++) {
    // Stopping the counter drops level interrupts without touching the status, as in bhyve.
    if (was) release(i);
    armTimer(timerAt(i), tick);
  }
}

function writeTimerConfig(index: u32, value: u64, nowNs: u64): void {
  const timer = timerAt(index), old = load<u64>(timer, HPET_TIMER_CONFIG);
  let next = TIMER_CAPABILITIES | value & TIMER_WRITABLE;
  // Only the pins of the capability mask can be routed to (HPET 1.0a 2.3.8.1: the register reads back what is supported).
  const pin = next >> 9 & 31;
  if (pin != 0 && (next >> 32 >> pin & 1) == 0) next &= ~TIMER_ROUTE;
  store<u64>(timer, next, HPET_TIMER_CONFIG);
  if ((old ^ next) & TIMER_PERIODIC) store<u64>(timer, 0, HPET_TIMER_PERIOD);
  // A line that is no longer this timer's is let go.
  if (((old ^ next) & (TIMER_LEVEL | TIMER_ROUTE | TIMER_FSB)) != 0 || (next & TIMER_INTERRUPT) == 0) {
    release(index);
    store<u64>(HPET, load<u64>(HPET, HPET_STATUS) & ~(<u64>1 << index), HPET_STATUS);
  }
  if (((old ^ next) & (TIMER_INTERRUPT | TIMER_PERIODIC)) != 0) armTimer(timer, hpetTick(nowNs));
}

function writeComparator(index: u32, value: u64, nowNs: u64): void {
  const timer = timerAt(index), config = load<u64>(timer, HPET_TIMER_CONFIG);
  value &= 0xffffffff;
  if ((config & TIMER_PERIODIC) != 0) {
    store<u64>(timer, value, HPET_TIMER_PERIOD);
    // Without TN_VAL_SET_CNF only the period changes (HPET 1.0a 2.3.9.2.2).
    if ((config & TIMER_VALUE_SET) != 0) store<u64>(timer, value, HPET_TIMER_COMPARATOR);
  } else store<u64>(timer, value, HPET_TIMER_COMPARATOR);
  store<u64>(timer, config & ~TIMER_VALUE_SET, HPET_TIMER_CONFIG);
  armTimer(timer, hpetTick(nowNs));
}

/** The 64-bit register at `offset` (a multiple of 8). */
function readRegister(offset: u32, nowNs: u64): u64 {
  switch (offset) {
    case 0x00: return HPET_CAPABILITIES;
    case 0x10: return load<u64>(HPET, HPET_CONFIG);
    case 0x20: return load<u64>(HPET, HPET_STATUS);
    case 0xf0: return counterAt(hpetTick(nowNs));
  }
  if (offset < 0x100 || offset >= 0x100 + TIMERS * 0x20) return 0;
  const timer = timerAt((offset - 0x100) >> 5);
  switch (offset & 0x18) {
    case 0x00: return load<u64>(timer, HPET_TIMER_CONFIG);
    case 0x08: return load<u64>(timer, HPET_TIMER_COMPARATOR);
    case 0x10: return load<u64>(timer, HPET_TIMER_ROUTE);
  }
  return 0;
}

function writeRegister(offset: u32, value: u64, mask: u64, nowNs: u64): void {
  switch (offset) {
    case 0x10: writeConfig(value, nowNs); return;
    case 0x20:
      // Write 1 to clear, in the bytes written only.
      for (let i: u32 = 0; i < TIMERS; i++) {
        if ((value & mask & <u64>1 << i & load<u64>(HPET, HPET_STATUS)) == 0) continue;
        store<u64>(HPET, load<u64>(HPET, HPET_STATUS) & ~(<u64>1 << i), HPET_STATUS);
        release(i);
      }
      return;
    case 0xf0:
      // Writable while stopped only.
      if (!enabled()) store<u64>(HPET, value & 0xffffffff, HPET_COUNTER);
      return;
  }
  if (offset < 0x100 || offset >= 0x100 + TIMERS * 0x20) return;
  const index = (offset - 0x100) >> 5;
  switch (offset & 0x18) {
    case 0x00: writeTimerConfig(index, value, nowNs); break;
    case 0x08: if ((mask & 0xffffffff) != 0) writeComparator(index, value, nowNs); break;
    case 0x10: store<u64>(timerAt(index), value, HPET_TIMER_ROUTE); break;
  }
}

/** Accesses are 4 or 8 bytes, aligned (HPET 1.0a 2.3.1); reads of other kinds give ones, such writes are dropped. */
function wellFormed(offset: u32, sizeBytes: u32): bool { return (sizeBytes == 4 || sizeBytes == 8) && (offset & sizeBytes - 1) == 0; }

export function hpetMmioRead(offset: u32, sizeBytes: u32): u64 {
  if (!wellFormed(offset, sizeBytes)) return ~<u64>0;
  lockDevices();
  const nowNs = vmNowNs();
  hpetRun(nowNs);
  const value = readRegister(offset & ~7, nowNs);
  unlockDevices();
  return value >> ((offset & 4) << 3);
}

export function hpetMmioWrite(offset: u32, sizeBytes: u32, value: u64): void {
  if (!wellFormed(offset, sizeBytes)) return;
  lockDevices();
  const nowNs = vmNowNs(), shift: u64 = (offset & 4) << 3, mask: u64 = sizeBytes == 8 ? ~<u64>0 : <u64>0xffffffff << shift;
  hpetRun(nowNs);
  const register = offset & ~7, old = readRegister(register, nowNs);
  writeRegister(register, old & ~mask | value << shift & mask, mask, nowNs);
  schedule();
  unlockDevices();
}
