/**
 * Real-time clock with 128 bytes of CMOS.
 * Implements: Motorola MC146818A data sheet (registers A-D, alarms, UIP); century at 32h; bhyve's vm_rtc_* calls.
 * Runs on: any thread, under the device lock. The date is kept as seconds and rendered on access; register C is brought up to date on
 * access and at deadlines, and only interrupts that are enabled have deadlines. Not modelled: SQW, daylight saving (DSE).
 */
import { VM_DEVICES } from '../../base/memory-map.ts';
import { DEVICES_RTC, RTC_BASE_NS, RTC_BASE_SEC, RTC_BROKEN, RTC_CMOS, RTC_DEADLINE_NS, RTC_INDEX, RTC_IRQ_LEVEL, RTC_SEEN_NS } from '../../generated/vmm-layout.ts';
import { EINVAL } from '../exits.ts';
import { IRQ_RTC } from '../layout.ts';
import { NEVER, NS_PER_SEC, scale, scaleUp, vmNowNs } from './clock.ts';
import { isaChange } from './pic.ts';

const RTC: usize = VM_DEVICES + DEVICES_RTC;
const CMOS: usize = RTC + RTC_CMOS;
const REG_SECONDS: u32 = 0, REG_SECONDS_ALARM: u32 = 1, REG_MINUTES: u32 = 2, REG_MINUTES_ALARM: u32 = 3, REG_HOURS: u32 = 4, REG_HOURS_ALARM: u32 = 5;
const REG_WEEKDAY: u32 = 6, REG_DAY: u32 = 7, REG_MONTH: u32 = 8, REG_YEAR: u32 = 9, REG_A: u32 = 10, REG_B: u32 = 11, REG_C: u32 = 12, REG_D: u32 = 13, REG_CENTURY: u32 = 0x32;
const A_UIP: u32 = 0x80, A_DIVIDER: u32 = 0x70, A_DIVIDER_RUN: u32 = 0x20, A_RATE: u32 = 15;
const B_SET: u32 = 0x80, B_PIE: u32 = 0x40, B_AIE: u32 = 0x20, B_UIE: u32 = 0x10, B_BINARY: u32 = 4, B_24H: u32 = 2;
const C_IRQF: u32 = 0x80, C_PF: u32 = 0x40, C_AF: u32 = 0x20, C_UF: u32 = 0x10;
const D_VALID: u32 = 0x80;
/** UIP rises 244 us before an update, which takes 1984 us on a 32768 Hz base; the update ends as the second begins. */
const UPDATE_NS: u64 = 244000 + 1984000;
const DAY_SEC: i64 = 86400;
/** 10000-01-01: the century register holds two digits. */
export const RTC_END_SEC: i64 = 253402300800;
/** 0000-03-01 is 719468 days before 1970. */
const EPOCH_DAYS: i64 = 719468;

function reg(index: u32): u32 { return load<u8>(CMOS + index); }
function setReg(index: u32, value: u32): void { store<u8>(CMOS + index, <u8>value); }

// --- dates ---

function floorDiv(value: i64, divisor: i64): i64 { return value >= 0 ? value / divisor : -((divisor - 1 - value) / divisor); }

/** Days since 1970-01-01 of a date of the Gregorian calendar; years begin in March, so that the leap day is the last. */
function daysOf(year: i64, month: i64, day: i64): i64 {
  const y = month <= 2 ? year - 1 : year, era = floorDiv(y, 400), yearOfEra = y - era * 400;
  const dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - EPOCH_DAYS;
}

function monthDays(year: i64, month: i64): i64 {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

function encode(value: u32): u32 { return (reg(REG_B) & B_BINARY) != 0 ? value : value / 10 << 4 | value % 10; }

/** @returns -1 for a byte that is no number in the present format. */
function decode(value: u32): i32 {
  if ((reg(REG_B) & B_BINARY) != 0) return value;
  return (value & 15) > 9 || value >> 4 > 9 ? -1 : (value >> 4) * 10 + (value & 15);
}

function encodeHour(hour: u32): u32 {
  if ((reg(REG_B) & B_24H) != 0) return encode(hour);
  return encode(hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0);
}

function decodeHour(value: u32): i32 {
  if ((reg(REG_B) & B_24H) != 0) { const hour = decode(value); return hour > 23 ? -1 : hour; }
  const hour = decode(value & 0x7f);
  if (hour < 1 || hour > 12) return -1;
  return hour % 12 + ((value & 0x80) != 0 ? 12 : 0);
}

/** Render a time into the date registers. */
function render(sec: i64): void {
  const days = floorDiv(sec, DAY_SEC), second = <u32>(sec - days * DAY_SEC);
  const shifted = days + EPOCH_DAYS, era = floorDiv(shifted, 146097), dayOfEra = shifted - era * 146097;
  const yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146096) / 365;
  const dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100), shiftedMonth = (5 * dayOfYear + 2) / 153;
  const day = <u32>(dayOfYear - (153 * shiftedMonth + 2) / 5 + 1), month = <u32>(shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9);
  const year = <u32>(yearOfEra + era * 400 + (month <= 2 ? 1 : 0));
  setReg(REG_SECONDS, encode(second % 60));
  setReg(REG_MINUTES, encode(second / 60 % 60));
  setReg(REG_HOURS, encodeHour(second / 3600));
  // 1970-01-01 was a Thursday; Sunday is 1.
  setReg(REG_WEEKDAY, encode(<u32>((days + 4) - floorDiv(days + 4, 7) * 7) + 1));
  setReg(REG_DAY, encode(day));
  setReg(REG_MONTH, encode(month));
  setReg(REG_YEAR, encode(year % 100));
  setReg(REG_CENTURY, encode(year / 100 % 100));
}

/** The time that the date registers hold, or i64.MIN_VALUE when they hold none. */
function parse(): i64 {
  const second = decode(reg(REG_SECONDS)), minute = decode(reg(REG_MINUTES)), hour = decodeHour(reg(REG_HOURS));
  const day = decode(reg(REG_DAY)), month = decode(reg(REG_MONTH)), yearOfCentury = decode(reg(REG_YEAR)), century = decode(reg(REG_CENTURY));
  if (<u32>second > 59 || <u32>minute > 59 || hour < 0 || <u32>yearOfCentury > 99 || <u32>century > 99 || month < 1 || month > 12 || day < 1) return i64.MIN_VALUE;
  const year = <i64>century * 100 + yearOfCentury;
  if (day > monthDays(year, month)) return i64.MIN_VALUE;
  return daysOf(year, month, day) * DAY_SEC + hour * 3600 + minute * 60 + second;
}

// --- the running clock ---

function dividerRuns(): bool { return (reg(REG_A) & A_DIVIDER) == A_DIVIDER_RUN; }

/** Do seconds pass? Not while SET is 1, the divider is stopped or held in reset, or the registers hold nonsense. */
function updates(): bool { return (reg(REG_B) & B_SET) == 0 && dividerRuns() && load<u32>(RTC, RTC_BROKEN) == 0; }

function secondsAt(nowNs: u64): i64 {
  const base = load<i64>(RTC, RTC_BASE_SEC), baseNs = load<u64>(RTC, RTC_BASE_NS);
  return updates() && nowNs > baseNs ? base + <i64>((nowNs - baseNs) / NS_PER_SEC) : base;
}

/** Interrupt rate in Hz; 0 none. MC146818A table 5, time base 32768 Hz. */
function periodicHz(): u64 {
  const rate = reg(REG_A) & A_RATE;
  if (rate == 0 || !dividerRuns()) return 0;
  return rate <= 2 ? (rate == 1 ? 256 : 128) : <u64>32768 >> (rate - 1);
}

/** Periods of the divider chain completed at `nowNs`. */
function periodsAt(nowNs: u64, hz: u64): u64 {
  const baseNs = load<u64>(RTC, RTC_BASE_NS);
  return nowNs > baseNs ? scale(nowNs - baseNs, hz, NS_PER_SEC) : 0;
}

/** First second after `after` that the alarm registers match, or i64.MAX_VALUE. A field of C0h or above matches everything. */
function nextAlarm(after: i64): i64 {
  const rawSecond = reg(REG_SECONDS_ALARM), rawMinute = reg(REG_MINUTES_ALARM), rawHour = reg(REG_HOURS_ALARM);
  const second = rawSecond >= 0xc0 ? 60 : decode(rawSecond), minute = rawMinute >= 0xc0 ? 60 : decode(rawMinute), hour = rawHour >= 0xc0 ? 24 : decodeHour(rawHour);
  if (<u32>second > 60 || <u32>minute > 60 || hour < 0 || rawSecond < 0xc0 && second > 59 || rawMinute < 0xc0 && minute > 59) return i64.MAX_VALUE;
  const start = after + 1, day = floorDiv(start, DAY_SEC), from = <i32>(start - day * DAY_SEC);
  for (let today = 0; today < 2; today++) {
    const earliest = today == 0 ? from : 0;
    for (let h = 0; h < 24; h++) {
      if (hour != 24 && h != hour || h < earliest / 3600) continue;
      for (let m = 0; m < 60; m++) {
        const base = h * 3600 + m * 60;
        if (minute != 60 && m != minute || base + 59 < earliest) continue;
        const s = second != 60 ? second : max(0, earliest - base);
        if (base + s >= earliest) return (day + today) * DAY_SEC + base + s;
      }
    }
  }
  return i64.MAX_VALUE;
}

/** Drive IRQ 8 as register C and the enables say. */
function updateIrq(): void {
  const flags = reg(REG_C) & ~C_IRQF, raised = (flags & reg(REG_B) & (B_PIE | B_AIE | B_UIE)) != 0;
  setReg(REG_C, raised ? flags | C_IRQF : flags);
  if (raised == (load<u32>(RTC, RTC_IRQ_LEVEL) != 0)) return;
  store<u32>(RTC, raised ? 1 : 0, RTC_IRQ_LEVEL);
  isaChange(IRQ_RTC, IRQ_RTC, raised ? 1 : -1);
}

/** Bring register C up to `nowNs`. */
function advance(nowNs: u64): void {
  const seenNs = load<u64>(RTC, RTC_SEEN_NS);
  if (nowNs <= seenNs) return;
  let flags = reg(REG_C);
  if (updates()) {
    const before = secondsAt(seenNs), after = secondsAt(nowNs);
    if (after > before) {
      flags |= C_UF;
      if ((flags & C_AF) == 0 && nextAlarm(before) <= after) flags |= C_AF;
    }
  }
  const hz = periodicHz();
  if (hz != 0 && periodsAt(nowNs, hz) > periodsAt(seenNs, hz)) flags |= C_PF;
  setReg(REG_C, flags);
  store<u64>(RTC, nowNs, RTC_SEEN_NS);
  updateIrq();
}

/** When a second `sec` begins, in ns of the VM clock. */
function secondNs(sec: i64): u64 {
  const ahead = sec - load<i64>(RTC, RTC_BASE_SEC);
  return ahead < 0 ? 0 : ahead > 9000000000 ? NEVER : load<u64>(RTC, RTC_BASE_NS) + <u64>ahead * NS_PER_SEC;
}

/** An interrupt that is asserted, or whose flag waits to be read, needs no deadline. */
function schedule(nowNs: u64): void {
  const enabled = reg(REG_B) & ~reg(REG_C), hz = periodicHz();
  let deadline = NEVER;
  if (load<u32>(RTC, RTC_IRQ_LEVEL) == 0) {
    if (updates() && (enabled & (B_UIE | B_AIE)) != 0) {
      const now = secondsAt(nowNs);
      if ((enabled & B_UIE) != 0) deadline = secondNs(now + 1);
      if ((enabled & B_AIE) != 0) {
        const alarm = nextAlarm(now);
        if (alarm != i64.MAX_VALUE) deadline = min(deadline, secondNs(alarm));
      }
    }
    if ((enabled & B_PIE) != 0 && hz != 0) deadline = min(deadline, load<u64>(RTC, RTC_BASE_NS) + scaleUp(periodsAt(nowNs, hz) + 1, NS_PER_SEC, hz));
  }
  store<u64>(RTC, deadline, RTC_DEADLINE_NS);
}

/** Lock held. */
export function rtcRun(nowNs: u64): void {
  if (nowNs < load<u64>(RTC, RTC_DEADLINE_NS)) return;
  advance(nowNs);
  schedule(nowNs);
}

/** Start counting from `sec` at `phaseNs`, where a second begins. */
function rebase(sec: i64, phaseNs: u64, nowNs: u64): void {
  store<i64>(RTC, sec, RTC_BASE_SEC);
  store<u64>(RTC, phaseNs, RTC_BASE_NS);
  store<u64>(RTC, nowNs, RTC_SEEN_NS);
}

// --- registers ---

function isDate(index: u32): bool {
  return index == REG_CENTURY || index <= REG_YEAR && index != REG_SECONDS_ALARM && index != REG_MINUTES_ALARM && index != REG_HOURS_ALARM;
}

/** Take the date registers as the time; nonsense stops the clock until it is mended. */
function takeDate(phaseNs: u64, nowNs: u64): void {
  const sec = parse();
  if (sec == i64.MIN_VALUE) { store<u32>(RTC, 1, RTC_BROKEN); return; }
  store<u32>(RTC, 0, RTC_BROKEN);
  rebase(sec, phaseNs, nowNs);
}

function writeDate(index: u32, value: u32, nowNs: u64): void {
  const running = updates();
  if (running) render(secondsAt(nowNs));
  // Whole seconds since the base pass into the date; what is left is the phase.
  const baseNs = load<u64>(RTC, RTC_BASE_NS), phaseNs = running && nowNs > baseNs ? nowNs - (nowNs - baseNs) % NS_PER_SEC : nowNs;
  setReg(index, value);
  if ((reg(REG_B) & B_SET) == 0 && dividerRuns()) takeDate(phaseNs, nowNs);
}

/** Registers A and B decide whether seconds pass: the date is frozen into its registers when they stop, and taken from them on a start. */
function writeControl(index: u32, value: u32, nowNs: u64): void {
  const ran = updates(), dividerRan = dividerRuns();
  if (ran) {
    const sec = secondsAt(nowNs);
    render(sec);
    const baseNs = load<u64>(RTC, RTC_BASE_NS);
    rebase(sec, nowNs > baseNs ? nowNs - (nowNs - baseNs) % NS_PER_SEC : baseNs, nowNs);
  }
  if (index == REG_A) setReg(REG_A, value & ~A_UIP);
  else setReg(REG_B, (value & B_SET) != 0 ? value & ~B_UIE : value);
  const counts = (reg(REG_B) & B_SET) == 0 && dividerRuns();
  // MC146818A: the first update comes half a second after the divider's reset ends.
  if (counts && !ran) takeDate(dividerRan || nowNs < NS_PER_SEC / 2 ? nowNs : nowNs - NS_PER_SEC / 2, nowNs);
  else if (dividerRuns() && !dividerRan) store<u64>(RTC, nowNs, RTC_BASE_NS);
  store<u64>(RTC, nowNs, RTC_SEEN_NS);
  updateIrq();
}

/** Lock held. Port 70h: the NMI mask in bit 7 is ignored. */
export function rtcSelect(value: u32): void { store<u32>(RTC, value & 0x7f, RTC_INDEX); }

/** Lock held. Port 71h. */
export function rtcPortRead(): u32 { return readRegister(load<u32>(RTC, RTC_INDEX)); }

function readRegister(index: u32): u32 {
  const nowNs = vmNowNs();
  if (isDate(index) && updates()) render(secondsAt(nowNs));
  if (index == REG_A) {
    const baseNs = load<u64>(RTC, RTC_BASE_NS);
    const updating = updates() && nowNs >= baseNs && NS_PER_SEC - (nowNs - baseNs) % NS_PER_SEC <= UPDATE_NS;
    return reg(REG_A) | (updating ? A_UIP : 0);
  }
  if (index == REG_C) {
    advance(nowNs);
    const value = reg(REG_C);
    setReg(REG_C, 0);
    updateIrq();
    schedule(nowNs);
    return value;
  }
  return reg(index);
}

/** Lock held. */
export function rtcPortWrite(value: u32): void {
  const index = load<u32>(RTC, RTC_INDEX), nowNs = vmNowNs();
  // C and D are read-only.
  if (index == REG_C || index == REG_D) return;
  advance(nowNs);
  if (index == REG_A || index == REG_B) writeControl(index, value, nowNs);
  else if (isDate(index)) writeDate(index, value, nowNs);
  else setReg(index, value);
  schedule(nowNs);
}

// --- from outside ---

/** At creation: 1970, 24-hour BCD. */
export function rtcInit(): void {
  memory.fill(RTC, 0, RTC_CMOS + 128);
  setReg(REG_A, A_DIVIDER_RUN | 6);
  setReg(REG_B, B_24H);
  setReg(REG_D, D_VALID);
  render(0);
  store<u64>(RTC, NEVER, RTC_DEADLINE_NS);
}

/** RESET clears the interrupt enables and flags; date and CMOS stay. */
export function rtcReset(): void {
  const nowNs = vmNowNs();
  advance(nowNs);
  setReg(REG_B, reg(REG_B) & ~(B_PIE | B_AIE | B_UIE | 8));
  setReg(REG_C, 0);
  store<u32>(RTC, 0, RTC_INDEX);
  updateIrq();
  schedule(nowNs);
}

export function rtcSet(sec: i64): i32 {
  if (sec < daysOf(0, 1, 1) * DAY_SEC || sec >= RTC_END_SEC) return EINVAL;
  const nowNs = vmNowNs();
  advance(nowNs);
  render(sec);
  store<u32>(RTC, 0, RTC_BROKEN);
  rebase(sec, nowNs, nowNs);
  schedule(nowNs);
  return 0;
}

export function rtcGet(): i64 {
  if ((reg(REG_B) & B_SET) == 0) return secondsAt(vmNowNs());
  const sec = parse();
  return sec == i64.MIN_VALUE ? load<i64>(RTC, RTC_BASE_SEC) : sec;
}

/** @returns the byte, or -EINVAL. Register C is shown, not cleared. */
export function rtcPeek(index: i32): i32 {
  if (<u32>index > 127) return -EINVAL;
  if (<u32>index != REG_C) return readRegister(index);
  advance(vmNowNs());
  return reg(REG_C);
}

/** vm_rtc_write: NVRAM only, not the date nor the control registers. @returns 0 or EINVAL. */
export function rtcPoke(index: i32, value: u32): i32 {
  if (<u32>index > 127 || <u32>index <= REG_D || <u32>index == REG_CENTURY) return EINVAL;
  setReg(index, value);
  return 0;
}
