/**
 * Programmable interval timer with three channels, and port 61h.
 * Implements: Intel 8254 data sheet (modes 0-5, BCD, latch, read-back, gate); PIIX 4.5.1 NMI Status and Control.
 * Runs on: any thread, under the device lock. Counters are computed from the clock; only channel 0's output has deadlines.
 * A new count begins with the write, not one clock later. Edges that pass while the host is late collapse into one.
 */
import { VM_DEVICES } from '../../base/memory-map.ts';
import {
  DEVICES_PIT, PIT_CHANNEL_ACCESS, PIT_CHANNEL_BCD, PIT_CHANNEL_CHANGE_TICK, PIT_CHANNEL_EDGE_TICK, PIT_CHANNEL_FROZEN_TICKS, PIT_CHANNEL_GATE, PIT_CHANNEL_LATCHED,
  PIT_CHANNEL_LATCHED_COUNT, PIT_CHANNEL_LOADED, PIT_CHANNEL_MODE, PIT_CHANNEL_NEXT_RELOAD, PIT_CHANNEL_READ_PHASE, PIT_CHANNEL_RELOAD, PIT_CHANNEL_SIZE_BYTES,
  PIT_CHANNEL_START_TICK, PIT_CHANNEL_STATUS, PIT_CHANNEL_STATUS_LATCHED, PIT_CHANNEL_TRIGGERED, PIT_CHANNEL_WRITE_LOW, PIT_CHANNEL_WRITE_PHASE, PIT_CHANNELS,
  PIT_CONTROL61, PIT_DEADLINE_NS,
} from '../../generated/vmm-layout.ts';
import { GSI_TIMER, IRQ_TIMER, PIT_HZ } from '../layout.ts';
import { NEVER, NS_PER_SEC, scale, tickToNs, vmNowNs } from './clock.ts';
import { isaPulseLocked } from './pic.ts';

const PIT: usize = VM_DEVICES + DEVICES_PIT;
/** Half a period of the refresh request on port 61h. */
const REFRESH_NS: u64 = 15085;

function channelAt(index: u32): usize { return PIT + PIT_CHANNELS + index * PIT_CHANNEL_SIZE_BYTES; }

function pitTick(nowNs: u64): u64 { return scale(nowNs, PIT_HZ, NS_PER_SEC); }

export function pitReset(): void {
  memory.fill(PIT, 0, PIT_CHANNELS + 3 * PIT_CHANNEL_SIZE_BYTES);
  for (let i: u32 = 0; i < 3; i++) {
    store<u32>(channelAt(i), 3, PIT_CHANNEL_ACCESS);
    store<u32>(channelAt(i), i == 2 ? 0 : 1, PIT_CHANNEL_GATE);
  }
  store<u64>(PIT, NEVER, PIT_DEADLINE_NS);
}

// --- the count and the output, from the clock ---

function countsRepeatedly(channel: usize): bool {
  const mode = load<u32>(channel, PIT_CHANNEL_MODE);
  return mode == 2 || mode == 3;
}

function needsTrigger(channel: usize): bool {
  const mode = load<u32>(channel, PIT_CHANNEL_MODE);
  return mode == 1 || mode == 5;
}

/** Modes 2 and 3: a count written meanwhile takes over at the end of a period. */
function applyReload(channel: usize, now: u64): void {
  const next = load<u32>(channel, PIT_CHANNEL_NEXT_RELOAD), at = load<u64>(channel, PIT_CHANNEL_CHANGE_TICK);
  if (next == 0 || now < at || load<u32>(channel, PIT_CHANNEL_GATE) == 0) return;
  store<u32>(channel, next, PIT_CHANNEL_RELOAD);
  store<u32>(channel, 0, PIT_CHANNEL_NEXT_RELOAD);
  store<u64>(channel, at, PIT_CHANNEL_START_TICK);
}

/** Clocks since the present count began; stands still while the gate is low where the mode says so. */
function elapsedTicks(channel: usize, now: u64): u64 {
  if (load<u32>(channel, PIT_CHANNEL_GATE) == 0 && !needsTrigger(channel)) return load<u64>(channel, PIT_CHANNEL_FROZEN_TICKS);
  return now - load<u64>(channel, PIT_CHANNEL_START_TICK);
}

/** Is the counter counting or has it counted? Before that it shows its last count and the output is at rest. */
function started(channel: usize): bool {
  return load<u32>(channel, PIT_CHANNEL_LOADED) != 0 && (!needsTrigger(channel) || load<u32>(channel, PIT_CHANNEL_TRIGGERED) != 0);
}

/** The counting element, in binary: 0..65535 (0..9999 for BCD, before its encoding). */
function counter(channel: usize, now: u64): u32 {
  applyReload(channel, now);
  const reload = <u64>load<u32>(channel, PIT_CHANNEL_RELOAD), modulus: u64 = load<u32>(channel, PIT_CHANNEL_BCD) != 0 ? 10000 : 65536;
  if (reload == 0 || !started(channel)) return <u32>(reload % modulus);
  const elapsed = elapsedTicks(channel, now);
  const mode = load<u32>(channel, PIT_CHANNEL_MODE);
  if (mode == 2) return <u32>((reload - elapsed % reload) % modulus);
  if (mode == 3) {
    // Counts down by two, twice a period; with an odd count the first half is one clock longer.
    const position = elapsed % reload, half = (reload + 1) / 2, step = position < half ? position : position - half;
    return <u32>(((reload & ~1) - step * 2) % modulus);
  }
  return <u32>((reload + modulus - elapsed % modulus) % modulus);
}

function output(channel: usize, now: u64): bool {
  applyReload(channel, now);
  const mode = load<u32>(channel, PIT_CHANNEL_MODE);
  if (!started(channel)) return mode != 0;
  const reload = <u64>load<u32>(channel, PIT_CHANNEL_RELOAD), elapsed = elapsedTicks(channel, now);
  switch (mode) {
    case 0: case 1: return elapsed >= reload;
    case 2: return load<u32>(channel, PIT_CHANNEL_GATE) == 0 || elapsed % reload != reload - 1;
    case 3: return load<u32>(channel, PIT_CHANNEL_GATE) == 0 || elapsed % reload < (reload + 1) / 2;
    default: return elapsed != reload;
  }
}

// --- channel 0's interrupt ---

/** Tick of the next rising edge of OUT 0 after the last one delivered, or the largest number. */
function nextEdge(channel: usize, now: u64): u64 {
  applyReload(channel, now);
  if (!started(channel) || load<u32>(channel, PIT_CHANNEL_GATE) == 0) return u64.MAX_VALUE;
  const start = load<u64>(channel, PIT_CHANNEL_START_TICK), reload = <u64>load<u32>(channel, PIT_CHANNEL_RELOAD), last = load<u64>(channel, PIT_CHANNEL_EDGE_TICK);
  // A new count takes over at an edge: that one is still to be delivered.
  if (countsRepeatedly(channel)) return last < start ? start : start + (last - start) / reload * reload + reload;
  const edge = start + reload + (load<u32>(channel, PIT_CHANNEL_MODE) >= 4 ? 1 : 0);
  return edge > last ? edge : u64.MAX_VALUE;
}

function schedule(now: u64): void {
  const edge = nextEdge(channelAt(0), now);
  store<u64>(PIT, edge == u64.MAX_VALUE ? NEVER : tickToNs(edge, PIT_HZ), PIT_DEADLINE_NS);
}

/** Lock held: deliver the edge that is due. */
export function pitRun(nowNs: u64): void {
  if (nowNs < load<u64>(PIT, PIT_DEADLINE_NS)) return;
  const channel = channelAt(0), now = pitTick(nowNs);
  if (nextEdge(channel, now) <= now) {
    store<u64>(channel, now, PIT_CHANNEL_EDGE_TICK);
    isaPulseLocked(IRQ_TIMER, GSI_TIMER);
  }
  schedule(now);
}

// --- registers ---

function fromBcd(value: u32): u32 { return (value >> 12 & 15) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15); }

function toBcd(value: u32): u32 { return value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 | value % 10; }

function encodedCount(channel: usize, now: u64): u32 {
  const value = counter(channel, now);
  return load<u32>(channel, PIT_CHANNEL_BCD) != 0 ? toBcd(value) : value;
}

function latchCount(channel: usize, now: u64): void {
  // A second latch before the first has been read is ignored.
  if (load<u32>(channel, PIT_CHANNEL_LATCHED) != 0) return;
  store<u32>(channel, encodedCount(channel, now), PIT_CHANNEL_LATCHED_COUNT);
  store<u32>(channel, 1, PIT_CHANNEL_LATCHED);
}

function latchStatus(channel: usize, now: u64): void {
  if (load<u32>(channel, PIT_CHANNEL_STATUS_LATCHED) != 0) return;
  const high = output(channel, now);
  // Null count: the count register has not reached the counting element.
  const nullCount = load<u32>(channel, PIT_CHANNEL_LOADED) == 0 || load<u32>(channel, PIT_CHANNEL_NEXT_RELOAD) != 0;
  const status: u32 = (high ? 0x80 : 0) | (nullCount ? 0x40 : 0) | load<u32>(channel, PIT_CHANNEL_ACCESS) << 4 | load<u32>(channel, PIT_CHANNEL_MODE) << 1 | load<u32>(channel, PIT_CHANNEL_BCD);
  store<u32>(channel, status, PIT_CHANNEL_STATUS);
  store<u32>(channel, 1, PIT_CHANNEL_STATUS_LATCHED);
}

function loadCount(index: u32, value: u32, now: u64): void {
  const channel = channelAt(index), bcd = load<u32>(channel, PIT_CHANNEL_BCD) != 0;
  let reload = bcd ? fromBcd(value) : value;
  if (reload == 0) reload = bcd ? 10000 : 65536;
  applyReload(channel, now);
  if (countsRepeatedly(channel) && load<u32>(channel, PIT_CHANNEL_LOADED) != 0) {
    const start = load<u64>(channel, PIT_CHANNEL_START_TICK), period = <u64>load<u32>(channel, PIT_CHANNEL_RELOAD);
    store<u32>(channel, reload, PIT_CHANNEL_NEXT_RELOAD);
    store<u64>(channel, start + (now - start) / period * period + period, PIT_CHANNEL_CHANGE_TICK);
  } else {
    store<u32>(channel, reload, PIT_CHANNEL_RELOAD);
    // Modes 1 and 5 in flight keep counting; the new count serves the next trigger, which starts from `reload` anyway.
    if (!needsTrigger(channel) || load<u32>(channel, PIT_CHANNEL_LOADED) == 0) {
      store<u64>(channel, now, PIT_CHANNEL_START_TICK);
      store<u64>(channel, 0, PIT_CHANNEL_FROZEN_TICKS);
      store<u64>(channel, now, PIT_CHANNEL_EDGE_TICK);
    }
  }
  store<u32>(channel, 1, PIT_CHANNEL_LOADED);
  if (index == 0) schedule(now);
}

function writeControl(value: u32, now: u64): void {
  const select = value >> 6;
  if (select == 3) {
    for (let i: u32 = 0; i < 3; i++) {
      if ((value >> (i + 1) & 1) == 0) continue;
      if ((value & 0x20) == 0) latchCount(channelAt(i), now);
      if ((value & 0x10) == 0) latchStatus(channelAt(i), now);
    }
    return;
  }
  const channel = channelAt(select), access = value >> 4 & 3;
  if (access == 0) { latchCount(channel, now); return; }
  const mode = value >> 1 & 7;
  store<u32>(channel, mode >= 6 ? mode - 4 : mode, PIT_CHANNEL_MODE);
  store<u32>(channel, value & 1, PIT_CHANNEL_BCD);
  store<u32>(channel, access, PIT_CHANNEL_ACCESS);
  store<u32>(channel, 0, PIT_CHANNEL_LOADED);
  store<u32>(channel, 0, PIT_CHANNEL_NEXT_RELOAD);
  store<u32>(channel, 0, PIT_CHANNEL_TRIGGERED);
  store<u32>(channel, 0, PIT_CHANNEL_WRITE_PHASE);
  store<u32>(channel, 0, PIT_CHANNEL_READ_PHASE);
  store<u32>(channel, 0, PIT_CHANNEL_LATCHED);
  store<u32>(channel, 0, PIT_CHANNEL_STATUS_LATCHED);
  if (select == 0) schedule(now);
}

/** Lock held. Port 40h + `index`. */
export function pitWrite(index: u32, value: u32): void {
  const now = pitTick(vmNowNs());
  if (index == 3) { writeControl(value, now); return; }
  const channel = channelAt(index);
  switch (load<u32>(channel, PIT_CHANNEL_ACCESS)) {
    case 1: loadCount(index, value, now); return;
    case 2: loadCount(index, value << 8, now); return;
  }
  if (load<u32>(channel, PIT_CHANNEL_WRITE_PHASE) == 0) {
    store<u32>(channel, value, PIT_CHANNEL_WRITE_LOW);
    store<u32>(channel, 1, PIT_CHANNEL_WRITE_PHASE);
    // 8254: writing the first byte stops the count in mode 0, and OUT stays low.
    if (load<u32>(channel, PIT_CHANNEL_MODE) == 0) {
      store<u32>(channel, 0, PIT_CHANNEL_LOADED);
      if (index == 0) schedule(now);
    }
    return;
  }
  store<u32>(channel, 0, PIT_CHANNEL_WRITE_PHASE);
  loadCount(index, load<u32>(channel, PIT_CHANNEL_WRITE_LOW) | value << 8, now);
}

/** Lock held. Status first, then the latched count, then the running one, as the access mode says. */
export function pitRead(index: u32): u32 {
  if (index == 3) return 0xff;
  const channel = channelAt(index);
  if (load<u32>(channel, PIT_CHANNEL_STATUS_LATCHED) != 0) {
    store<u32>(channel, 0, PIT_CHANNEL_STATUS_LATCHED);
    return load<u32>(channel, PIT_CHANNEL_STATUS);
  }
  const latched = load<u32>(channel, PIT_CHANNEL_LATCHED) != 0;
  const value = latched ? load<u32>(channel, PIT_CHANNEL_LATCHED_COUNT) : encodedCount(channel, pitTick(vmNowNs()));
  const access = load<u32>(channel, PIT_CHANNEL_ACCESS);
  if (access != 3) {
    store<u32>(channel, 0, PIT_CHANNEL_LATCHED);
    return access == 1 ? value & 0xff : value >> 8;
  }
  const high = load<u32>(channel, PIT_CHANNEL_READ_PHASE) != 0;
  store<u32>(channel, high ? 0 : 1, PIT_CHANNEL_READ_PHASE);
  if (high) store<u32>(channel, 0, PIT_CHANNEL_LATCHED);
  return high ? value >> 8 : value & 0xff;
}

/** The gate of channel 2: low stops or holds, a rise (re)starts. 8254 figure "Gate Pin Operations Summary". */
function setGate(channel: usize, gate: u32, now: u64): void {
  if (gate == load<u32>(channel, PIT_CHANNEL_GATE)) return;
  applyReload(channel, now);
  if (gate == 0) {
    store<u64>(channel, now - load<u64>(channel, PIT_CHANNEL_START_TICK), PIT_CHANNEL_FROZEN_TICKS);
  } else if (needsTrigger(channel) || countsRepeatedly(channel)) {
    const next = load<u32>(channel, PIT_CHANNEL_NEXT_RELOAD);
    if (next != 0) store<u32>(channel, next, PIT_CHANNEL_RELOAD);
    store<u32>(channel, 0, PIT_CHANNEL_NEXT_RELOAD);
    store<u64>(channel, now, PIT_CHANNEL_START_TICK);
    store<u32>(channel, 1, PIT_CHANNEL_TRIGGERED);
  } else store<u64>(channel, now - load<u64>(channel, PIT_CHANNEL_FROZEN_TICKS), PIT_CHANNEL_START_TICK);
  store<u32>(channel, gate, PIT_CHANNEL_GATE);
}

/** Lock held. Port 61h: bits 0-3 as written, 4 refresh request, 5 OUT 2. */
export function nmiStatusRead(): u32 {
  const nowNs = vmNowNs();
  return load<u32>(PIT, PIT_CONTROL61) | <u32>(nowNs / REFRESH_NS & 1) << 4 | (output(channelAt(2), pitTick(nowNs)) ? 0x20 : 0);
}

export function nmiStatusWrite(value: u32): void {
  store<u32>(PIT, value & 15, PIT_CONTROL61);
  setGate(channelAt(2), value & 1, pitTick(vmNowNs()));
}
