/**
 * Records of the VM and of its in-core devices in memory 0, declared once.
 * Implements: SDM vol 3 "Local APIC Register Address Map"; 82093AA 3.2; 8259A, 8254 and MC146818 data sheets; HPET 1.0a 2.3.
 * Runs on: any thread; who writes a record is said beside it. "shared" fields are reached by atomics only.
 */
import type { Layout } from '../base/layout.ts';
import { field, layout } from '../base/layout.ts';

/** At VM_BASE. Written by the main thread before the vCPUs start, except where said. */
export const VM = layout('VM', {
  vcpuCount: field('u32', 'number of vCPU records in use, 1..63'),
  options: field('u32', 'VM_OPTION_* bits (vmm/layout.ts)'),
  tscHz: field('u64', 'frequency of the guest TSC'),
  clockBaseNs: field('f64', 'host clock at which the VM clock read 0'),
  stoppedNs: field('u64', 'VM clock while it stands still'),
  clockStopped: field('u32', '1 while the VM clock stands still (every vCPU is stopped then)'),
  suspendHow: field('u32', 'shared: suspend reason, 0 while the VM runs; the first writer wins'),
  deviceDeadlineNs: field('u64', 'shared: earliest deadline of PIT, HPET and RTC, written under the device lock', { at: 0x40 }),
  activeVcpus: field('u64', 'shared: bit per activated vCPU', { at: 0x80 }),
  suspendedVcpus: field('u64', 'shared: bit per vCPU that has seen the suspend'),
  debugVcpus: field('u64', 'shared: bit per vCPU held by the debugger or waiting for SIPI'),
  haltedVcpus: field('u64', 'shared: bit per vCPU in HLT with interrupts off'),
  unknownMsrReads: field('u64', 'shared: reads of MSRs nobody knows'),
  unknownMsrWrites: field('u64', 'shared: writes of MSRs nobody knows'),
  lastUnknownMsr: field('u32', 'number of the last of them'),
  postedRangeVersion: field('u32', 'shared: odd while the main thread edits the list', { at: 0x100 }),
  postedRangeCount: field('u32', 'entries in use of the ranges whose writes are posted'),
  postedRanges: field('u8', 'POSTED_RANGE entries', { at: 0x110, count: 0xc00 }),
});

/** A guest-physical range whose writes go into the posted ring, e.g. a page of doorbells. */
export const POSTED_RANGE = layout('POSTED_RANGE', {
  gpa: field('u64', 'first byte'),
  end: field('u64', 'byte after the last'),
  mode: field('u32', 'PORT_MODE_POSTED or PORT_MODE_NOTIFIED'),
});

/** At VM_DEVICES: where each shared device lies. Everything from `pic` on changes under `lock` only. */
export const DEVICES = layout('DEVICES', {
  lock: field('u32', 'shared: spin lock, 1 while held'),
  pic: field('u8', 'PIC', { at: 0x100, count: 0x300 }),
  pit: field('u8', 'PIT', { at: 0x400, count: 0x400 }),
  rtc: field('u8', 'RTC', { at: 0x800, count: 0x200 }),
  ioapic: field('u8', 'IOAPIC', { at: 0x1000, count: 0x1000 }),
  hpet: field('u8', 'HPET', { at: 0x2000, count: 0x1000 }),
});

export const PIC = layout('PIC', {
  intr: field('u32', 'shared: INTR output of the master, read without the lock'),
  chips: field('u8', 'two PIC_CHIP records: master, slave', { at: 0x40, count: 0x100 }),
});

export const PIC_CHIP = layout('PIC_CHIP', {
  ready: field('u32', '1 after ICW1..ICW4'),
  icwStep: field('u32', 'ICW expected next at the odd port: 2, 3, 4, or 0'),
  needIcw4: field('u32', ''),
  single: field('u32', ''),
  vectorBase: field('u32', 'ICW2, low 3 bits 0'),
  irr: field('u32', 'edge requests latched'),
  lines: field('u32', 'inputs that are high'),
  isr: field('u32', 'in service'),
  imr: field('u32', 'masked'),
  elcr: field('u32', 'level-triggered inputs'),
  lowest: field('u32', 'input of lowest priority'),
  autoEoi: field('u32', ''),
  rotateAuto: field('u32', ''),
  specialMask: field('u32', ''),
  specialNested: field('u32', ''),
  readIsr: field('u32', ''),
  poll: field('u32', 'the next read is a poll'),
  counts: field('i32', 'how many devices hold each input high', { count: 8 }),
});

export const PIT = layout('PIT', {
  deadlineNs: field('u64', 'next rising edge of OUT 0'),
  control61: field('u32', 'port 61h bits 0-3'),
  channels: field('u8', 'three PIT_CHANNEL records', { at: 0x40, count: 0x180 }),
});

export const PIT_CHANNEL = layout('PIT_CHANNEL', {
  startTick: field('u64', 'PIT tick at which the present count began'),
  frozenTicks: field('u64', 'elapsed ticks while the gate holds the count'),
  changeTick: field('u64', 'tick at which nextReload takes over (modes 2 and 3)'),
  edgeTick: field('u64', 'last tick at which an edge of OUT was delivered (channel 0)'),
  mode: field('u32', '0..5'),
  bcd: field('u32', ''),
  access: field('u32', '1 low byte, 2 high byte, 3 low then high'),
  reload: field('u32', 'count, 1..65536; 0 before the first load'),
  nextReload: field('u32', 'count written while modes 2 and 3 run; 0 none'),
  loaded: field('u32', '1 once a count has been written after the control word'),
  triggered: field('u32', 'modes 1 and 5: the gate has risen'),
  gate: field('u32', ''),
  writePhase: field('u32', '1: high byte comes next'),
  writeLow: field('u32', ''),
  readPhase: field('u32', '1: high byte comes next'),
  latched: field('u32', '1 while latchedCount waits to be read'),
  latchedCount: field('u32', ''),
  statusLatched: field('u32', ''),
  status: field('u32', ''),
});

/** MC146818 with 128 bytes. The date is kept as seconds; its registers are rendered on access. */
export const RTC = layout('RTC', {
  deadlineNs: field('u64', 'next enabled interrupt'),
  baseSec: field('u64', 'Unix time (i64) at baseNs, or the time the clock stands at'),
  baseNs: field('u64', 'VM clock at which a second began: the phase of the divider chain'),
  seenNs: field('u64', 'VM clock up to which register C has been brought'),
  broken: field('u32', '1 while the date registers hold no date: the clock stands'),
  irqLevel: field('u32', '1 while IRQ 8 is driven'),
  index: field('u32', 'CMOS index, 0..127'),
  cmos: field('u8', 'registers and RAM', { at: 0x40, count: 128 }),
});

export const IOAPIC = layout('IOAPIC', {
  index: field('u32', 'IOREGSEL'),
  id: field('u32', 'IOAPICID'),
  redirection: field('u64', 'redirection entries', { at: 0x100, count: 32 }),
  counts: field('i32', 'how many devices hold each pin', { count: 32 }),
});

export const HPET = layout('HPET', {
  deadlineNs: field('u64', 'earliest deadline of all timers'),
  config: field('u64', 'general configuration'),
  status: field('u64', 'general interrupt status'),
  counter: field('u64', 'main counter at baseTick; its value while stopped'),
  baseTick: field('u64', 'HPET tick (of the VM clock) at which the counter was started'),
  timers: field('u8', 'eight HPET_TIMER records', { at: 0x100, count: 0x200 }),
});

export const HPET_TIMER = layout('HPET_TIMER', {
  config: field('u64', 'configuration and capabilities'),
  comparator: field('u64', '32-bit comparator'),
  period: field('u64', 'last value written in periodic mode'),
  route: field('u64', 'FSB address (high) and value (low)'),
  matchTick: field('u64', 'HPET tick of the next match'),
  armed: field('u32', ''),
  asserted: field('u32', 'IOAPIC pin + 1 held by a level-triggered timer, 0 none'),
});

const perVector = (at: number) => ({ count: 8, strideBytes: 16, at });
/**
 * At VCPU_LAPIC: registers at their offsets of SDM vol 3 "Local APIC Register Address Map", then what is not architectural.
 * Written by the vCPU's own thread (or by anyone while it is stopped); the inbox is shared.
 */
export const LAPIC = layout('LAPIC', {
  id: field('u32', 'not stored: follows the mode', { at: 0x20 }),
  version: field('u32', '', { at: 0x30 }),
  tpr: field('u32', '', { at: 0x80 }),
  apr: field('u32', '', { at: 0x90 }),
  ppr: field('u32', '', { at: 0xa0 }),
  eoi: field('u32', '', { at: 0xb0 }),
  rrd: field('u32', '', { at: 0xc0 }),
  ldr: field('u32', '', { at: 0xd0 }),
  dfr: field('u32', '', { at: 0xe0 }),
  svr: field('u32', '', { at: 0xf0 }),
  isr: field('u32', 'in service', perVector(0x100)),
  tmr: field('u32', 'level-triggered', perVector(0x180)),
  irr: field('u32', 'requested', perVector(0x200)),
  esr: field('u32', 'as latched by the last write', { at: 0x280 }),
  lvtCmci: field('u32', '', { at: 0x2f0 }),
  icrLow: field('u32', '', { at: 0x300 }),
  icrHigh: field('u32', '', { at: 0x310 }),
  lvtTimer: field('u32', '', { at: 0x320 }),
  lvtThermal: field('u32', '', { at: 0x330 }),
  lvtPmc: field('u32', '', { at: 0x340 }),
  lvtLint0: field('u32', '', { at: 0x350 }),
  lvtLint1: field('u32', '', { at: 0x360 }),
  lvtError: field('u32', '', { at: 0x370 }),
  initialCount: field('u32', '', { at: 0x380 }),
  currentCount: field('u32', 'not stored: computed', { at: 0x390 }),
  divide: field('u32', '', { at: 0x3e0 }),
  attention: field('u32', 'shared: 1 when an interrupt may be deliverable', { at: 0x400 }),
  extInt: field('u32', 'shared: an ExtINT message has come'),
  esrPending: field('u32', 'errors since the last write of ESR'),
  timerArmed: field('u32', ''),
  timerDeadlineNs: field('u64', 'VM clock of the next expiry'),
  timerPeriodTicks: field('u64', 'initial count times divider, in ticks of the bus clock'),
  timerStartTick: field('u64', 'bus tick at which the present period began'),
  tscDeadline: field('u64', 'IA32_TSC_DEADLINE, 0 disarmed'),
  deadlineTscOffset: field('u64', 'vcpu.tscOffset for which timerDeadlineNs was computed'),
  lastTsc: field('u64', 'highest TSC shown, so that it never goes back'),
  tscTicks: field('u64', 'TSC when RDTSC last read the clock, without the offset'),
  tscRetired: field('u64', 'instructions that the vCPU had executed by then'),
  tscRate: field('u32', 'ticks an instruction takes, 16 bits behind the point; 0 not known'),
  tscNear: field('u32', '1 while RDTSC may count on from there'),
  inboxEdge: field('u32', 'shared, atomic OR: requested vectors; 0-15 are illegal ones received', { at: 0x480, count: 8 }),
  inboxLevel: field('u32', 'shared, atomic OR: the same, level-triggered', { count: 8 }),
});

/** At POSTED_RING: many producers (vCPUs), one consumer (the main thread). Words that different threads write lie on lines of their own. */
export const POSTED = layout('POSTED', {
  head: field('u32', 'shared: entries reserved by producers, ever', { at: 0x00 }),
  tail: field('u32', 'shared: entries consumed, ever; producers wait here while the ring is full', { at: 0x40 }),
  asleep: field('u32', 'shared: 1 while the consumer sleeps on `signal`', { at: 0x80 }),
  signal: field('u32', 'shared: goes up to wake the consumer', { at: 0xc0 }),
  due: field('u32', 'shared: when the consumer is woken for what is in the ring, in 2^16 ns of the host clock; 0: not decided'),
  entries: field('u8', 'POSTED_ENTRY records', { at: 0x100, count: 2048 * 16 }),
});

export const POSTED_ENTRY = layout('POSTED_ENTRY', {
  address: field('u32', 'port, or bits 0-31 of the gpa'),
  control: field('u32', 'bits 0-19 gpa bits 32-51, 20-23 size in bytes, 24-29 vCPU, 30 memory, 31 phase; stored last'),
  value: field('u64', ''),
});

export const VMM_LAYOUTS: readonly Layout<string>[] = [
  VM,
  POSTED_RANGE,
  DEVICES,
  PIC,
  PIC_CHIP,
  PIT,
  PIT_CHANNEL,
  RTC,
  IOAPIC,
  HPET,
  HPET_TIMER,
  LAPIC,
  POSTED,
  POSTED_ENTRY,
];
