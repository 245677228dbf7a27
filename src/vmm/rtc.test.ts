/** Tests of vmm/assembly/rtc.ts by ports 70h and 71h. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { EINVAL } from './exits.ts';
import { InCoreMachine } from './testing/in-core-machine.ts';

const SECONDS = 0,
  MINUTES = 2,
  HOURS = 4,
  WEEKDAY = 6,
  DAY = 7,
  MONTH = 8,
  YEAR = 9,
  A = 10,
  B = 11,
  C = 12,
  D = 13,
  CENTURY = 0x32;
const SET = 0x80,
  PIE = 0x40,
  AIE = 0x20,
  UIE = 0x10,
  BINARY = 4,
  H24 = 2;

function rtcMachine(iso = '2024-02-28T23:59:58Z'): InCoreMachine {
  const m = new InCoreMachine();
  m.initPic(0);
  equal(m.vmm.rtcSetTime(Date.parse(iso) / 1000), 0);
  return m;
}

const date = (m: InCoreMachine): string =>
  [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS]
    .map((register) => m.cmosRead(register).toString(16).padStart(2, '0'))
    .join(' ');

function takeIrq8(m: InCoreMachine): boolean {
  const vector = m.take();
  if (vector >= 0) {
    m.out(0xa0, 0x20);
    m.out(0x20, 0x20);
  }
  return vector === 0x28;
}

test('the date is shown in BCD and runs over a leap day', () => {
  const m = rtcMachine();
  equal(date(m), '20 24 02 28 04 23 59 58');
  m.advance(2e9);
  equal(date(m), '20 24 02 29 05 00 00 00');
  m.advance(86400e9);
  equal(date(m), '20 24 03 01 06 00 00 00');
  equal(m.vmm.rtcGetTime(), Date.parse('2024-03-01') / 1000);
});

test('dates from year 0 to 9999 come back as they were set', () => {
  const m = rtcMachine();
  for (const iso of [
    '0000-01-01T00:00:00Z',
    '1969-12-31T23:59:59Z',
    '1970-01-01T00:00:00Z',
    '1900-03-01T12:00:00Z',
    '2000-02-29T01:02:03Z',
    '2100-02-28T13:14:15Z',
    '9999-12-31T23:59:59Z',
  ]) {
    const when = new Date(iso);
    equal(m.vmm.rtcSetTime(when.getTime() / 1000), 0, iso);
    const bcd = (n: number): string => String(n % 100).padStart(2, '0');
    equal(
      date(m),
      [
        Math.floor(when.getUTCFullYear() / 100),
        when.getUTCFullYear(),
        when.getUTCMonth() + 1,
        when.getUTCDate(),
        when.getUTCDay() + 1,
        when.getUTCHours(),
        when.getUTCMinutes(),
        when.getUTCSeconds(),
      ]
        .map(bcd)
        .join(' '),
      iso,
    );
    m.cmosWrite(B, SET | H24);
    m.cmosWrite(B, H24);
    equal(m.vmm.rtcGetTime(), when.getTime() / 1000);
  }
  for (const seconds of [NaN, Infinity, -1e13, 253402300800]) equal(m.vmm.rtcSetTime(seconds), EINVAL);
});

test('binary and 12-hour formats', () => {
  const m = rtcMachine('2024-12-31T13:45:59Z');
  m.cmosWrite(B, BINARY | H24);
  deepEqual(
    [HOURS, MINUTES, SECONDS, YEAR].map((r) => m.cmosRead(r)),
    [13, 45, 59, 24],
  );
  m.cmosWrite(B, 0);
  equal(m.cmosRead(HOURS), 0x81);
  m.cmosWrite(B, BINARY);
  equal(m.cmosRead(HOURS), 0x81);
  m.vmm.rtcSetTime(Date.parse('2024-12-31T00:30:00Z') / 1000);
  equal(m.cmosRead(HOURS), 12);
  m.vmm.rtcSetTime(Date.parse('2024-12-31T12:30:00Z') / 1000);
  equal(m.cmosRead(HOURS), 0x8c);
});

test('SET stops the clock and takes the registers at its end; nonsense stops it', () => {
  const m = rtcMachine();
  m.cmosWrite(B, SET | H24 | UIE);
  equal(m.cmosRead(B), SET | H24, 'SET clears UIE');
  m.advance(100e9);
  equal(m.cmosRead(SECONDS), 0x58);
  for (const [register, value] of [
    [SECONDS, 0x30],
    [MINUTES, 0x15],
    [HOURS, 0x07],
    [DAY, 0x04],
    [MONTH, 0x07],
    [YEAR, 0x76],
    [CENTURY, 0x19],
  ] as const)
    m.cmosWrite(register, value);
  m.cmosWrite(B, H24);
  equal(m.vmm.rtcGetTime(), Date.parse('1976-07-04T07:15:30Z') / 1000);
  m.advance(1e9);
  equal(m.cmosRead(SECONDS), 0x31);
  m.cmosWrite(MONTH, 0x13);
  m.advance(10e9);
  equal(m.cmosRead(SECONDS), 0x31);
  equal(m.cmosRead(MONTH), 0x13, 'nonsense is kept');
  m.cmosWrite(MONTH, 0x12);
  m.advance(1e9);
  equal(m.cmosRead(SECONDS), 0x32);
});

test('a write of a single date register keeps the phase of the second', () => {
  const m = rtcMachine();
  m.advance(300e6);
  m.cmosWrite(MINUTES, 0x10);
  m.advance(699e6);
  equal(m.cmosRead(SECONDS), 0x58);
  m.advance(1e6);
  equal(m.cmosRead(SECONDS), 0x59);
  equal(m.cmosRead(MINUTES), 0x10);
});

test('the divider in reset holds the clock; the first update comes half a second after it', () => {
  const m = rtcMachine();
  m.cmosWrite(A, 0x76);
  m.advance(10e9);
  equal(m.cmosRead(SECONDS), 0x58);
  m.cmosWrite(A, 0x26);
  m.advance(499e6);
  equal(m.cmosRead(SECONDS), 0x58);
  m.advance(1e6);
  equal(m.cmosRead(SECONDS), 0x59);
});

test('UIP is set before the second turns and clear after it', () => {
  const m = rtcMachine();
  equal(m.cmosRead(A), 0x26);
  m.advance(997.7e6);
  equal(m.cmosRead(A), 0x26);
  m.advance(0.2e6);
  equal(m.cmosRead(A), 0xa6);
  m.advance(2.1e6);
  equal(m.cmosRead(A), 0x26);
  equal(m.cmosRead(SECONDS), 0x59);
});

test('periodic interrupts at the rate of register A, once until C is read', () => {
  const m = rtcMachine();
  m.cmosWrite(B, H24 | PIE);
  equal(m.vmm.nextDeadlineNs(m.cpu()), 5_000_000 + 976_563);
  m.advance(976_563);
  equal(takeIrq8(m), true);
  m.advance(5e6);
  equal(takeIrq8(m), false);
  equal(m.vmm.nextDeadlineNs(m.cpu()), Infinity, 'nothing more before C is read');
  equal(m.cmosRead(C) & 0xc0, 0xc0);
  equal(m.cmosRead(C), 0);
  m.advance(1e6);
  equal(takeIrq8(m), true);
  for (const [rate, hz] of [
    [1, 256],
    [2, 128],
    [3, 8192],
    [6, 1024],
    [15, 2],
  ] as const) {
    m.cmosWrite(A, 0x20 | rate);
    m.cmosRead(C);
    const start = m.hostNs - 5_000_000;
    m.cmosWrite(B, H24 | PIE);
    const next = m.vmm.nextDeadlineNs(m.cpu()) - 5_000_000;
    ok(next > start && next - start <= Math.ceil(1e9 / hz), `rate ${rate}`);
    equal(next, Math.ceil((Math.round((next * hz) / 1e9) * 1e9) / hz));
  }
  m.cmosWrite(A, 0x20);
  m.cmosRead(C);
  m.cmosWrite(B, H24 | PIE);
  equal(m.vmm.nextDeadlineNs(m.cpu()), Infinity);
});

test('update-ended and alarm interrupts, with fields that match everything', () => {
  const m = rtcMachine();
  m.cmosWrite(B, H24 | UIE);
  m.advance(1e9);
  equal(takeIrq8(m), true);
  equal(m.cmosRead(C) & 0xb0, 0x90);
  m.cmosWrite(1, 0x00);
  m.cmosWrite(3, 0x30);
  m.cmosWrite(5, 0x06);
  m.cmosWrite(B, H24 | AIE);
  m.cmosRead(C);
  equal((m.vmm.nextDeadlineNs(m.cpu()) - m.hostNs) / 1e9, 1 + 6.5 * 3600);
  m.advance(1e9 + 6.5 * 3600e9);
  equal(takeIrq8(m), true);
  equal(m.cmosRead(C) & 0xb0, 0xb0);
  m.cmosWrite(1, 0xff);
  m.cmosWrite(3, 0xff);
  m.cmosWrite(5, 0xff);
  equal((m.vmm.nextDeadlineNs(m.cpu()) - m.hostNs) / 1e9, 1, 'every second');
  m.cmosWrite(1, 0x05);
  equal((m.vmm.nextDeadlineNs(m.cpu()) - m.hostNs) / 1e9, 5);
  m.cmosWrite(1, 0x5a);
  equal(m.vmm.nextDeadlineNs(m.cpu()), Infinity, 'no such second');
});

test('flags are set without their enables, and enabling raises the line', () => {
  const m = rtcMachine();
  m.advance(3e9);
  equal(m.cmosRead(C), 0x70, 'midnight passed: the alarm registers are 0');
  m.advance(1e9);
  m.cmosWrite(B, H24 | UIE);
  equal(takeIrq8(m), true);
});

test('CMOS: index bit 7 is ignored, C and D are read-only, 70h reads ones, odd values survive everywhere', () => {
  const m = rtcMachine();
  m.cmosWrite(0x80 | 0x40, 0xab);
  equal(m.cmosRead(0x40), 0xab);
  equal(m.in(0x70), 0xff);
  m.cmosWrite(D, 0);
  equal(m.cmosRead(D), 0x80);
  for (let register = 0; register < 256; register++) {
    for (const value of [0, 0xff, 0x80, 0x5a]) {
      m.cmosWrite(register, value);
      m.advance(7e8);
      m.cmosRead(register);
    }
  }
});

test('from outside: NVRAM only can be written; reset keeps date and NVRAM and drops the enables', () => {
  const m = rtcMachine();
  for (const offset of [-1, 0, 10, 13, 0x32, 128]) equal(m.vmm.rtcWrite(offset, 1), EINVAL);
  equal(m.vmm.rtcWrite(0x34, 0x12), 0);
  equal(m.vmm.rtcRead(0x34), 0x12);
  equal(m.vmm.rtcRead(128), -EINVAL);
  equal(m.vmm.rtcRead(SECONDS), 0x58);
  m.cmosWrite(B, H24 | UIE);
  m.advance(1e9);
  m.vmm.vmmReset();
  equal(m.cmosRead(B), H24);
  equal(m.cmosRead(0x34), 0x12);
  equal(date(m), '20 24 02 28 04 23 59 59');
  m.initPic(0);
  m.advance(10e9);
  equal(m.take(), -1);
});
