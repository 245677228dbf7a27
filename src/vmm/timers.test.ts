/** Tests of vmm/assembly/pit.ts, hpet.ts, pmtimer.ts by their registers, with a clock that the test moves. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { HPET_GPA, PIT_HZ } from './layout.ts';
import { InCoreMachine } from './testing/in-core-machine.ts';

const TICK_NS = 1e9 / PIT_HZ;

/** Time that reaches PIT tick `ticks` from tick 0. */
const pitNs = (ticks: number): number => Math.ceil(ticks * TICK_NS);

function pitMachine(): InCoreMachine {
  const m = new InCoreMachine();
  m.initPic(0);
  return m;
}

/** Program a channel; the clock is at tick 0 of the VM. */
function program(m: InCoreMachine, channel: number, mode: number, count: number, bcd = 0): void {
  m.out(0x43, (channel << 6) | 0x30 | (mode << 1) | bcd);
  m.out(0x40 + channel, count & 0xff);
  m.out(0x40 + channel, count >> 8);
}

function count(m: InCoreMachine, channel: number): number {
  m.out(0x43, channel << 6);
  const low = m.in(0x40 + channel);
  return low | (m.in(0x40 + channel) << 8);
}

/** Status by read-back. */
function status(m: InCoreMachine, channel: number): number {
  m.out(0x43, 0xe0 | (2 << channel));
  return m.in(0x40 + channel);
}

function takeIrq0(m: InCoreMachine): boolean {
  const vector = m.take();
  if (vector === 0x20) m.out(0x20, 0x20);
  return vector === 0x20;
}

test('PIT mode 0: one interrupt at the terminal count, then the count wraps', () => {
  const m = pitMachine();
  program(m, 0, 0, 1000);
  equal(status(m, 0), 0x30, 'OUT low');
  m.advance(pitNs(400));
  equal(count(m, 0), 600);
  m.advance(pitNs(999) - pitNs(400));
  equal(takeIrq0(m), false);
  m.advance(pitNs(1000) - pitNs(999));
  equal(takeIrq0(m), true);
  equal(status(m, 0), 0xb0);
  equal(m.vmm.nextDeadlineNs(m.cpu()), Infinity);
  m.advance(pitNs(1010) - pitNs(1000));
  equal(count(m, 0), 65526);
});

test('PIT mode 2: a rate without drift; late periods collapse', () => {
  const m = pitMachine();
  program(m, 0, 2, 11932);
  let irqs = 0;
  for (let i = 1; i <= 100; i++) {
    m.hostNs = 5_000_000 + pitNs(11932 * i);
    m.vmm.poll(m.cpu());
    if (takeIrq0(m)) irqs++;
    equal(m.vmm.nextDeadlineNs(m.cpu()), 5_000_000 + pitNs(11932 * (i + 1)));
  }
  equal(irqs, 100);
  m.advance(pitNs(11932 * 5));
  equal(takeIrq0(m), true);
  equal(takeIrq0(m), false);
});

test('PIT mode 2: a new count takes over at the end of the period', () => {
  const m = pitMachine();
  program(m, 0, 2, 1000);
  m.advance(pitNs(100));
  m.out(0x40, 0x88);
  m.out(0x40, 0x13);
  ok((status(m, 0) & 0x40) !== 0, 'null count');
  equal(count(m, 0), 900);
  m.advance(pitNs(1000) - pitNs(100));
  equal(takeIrq0(m), true, 'the boundary interrupts');
  equal(count(m, 0), 5000);
  equal(m.vmm.nextDeadlineNs(m.cpu()), 5_000_000 + pitNs(6000));
  m.advance(pitNs(6000) - pitNs(1000));
  equal(takeIrq0(m), true);
});

test('PIT mode 3: a square wave that counts by two, odd counts too', () => {
  const m = pitMachine();
  program(m, 0, 3, 1001);
  ok((status(m, 0) & 0x80) !== 0);
  m.advance(pitNs(100));
  equal(count(m, 0), 800);
  m.advance(pitNs(500) - pitNs(100));
  ok((status(m, 0) & 0x80) !== 0);
  m.advance(pitNs(501) - pitNs(500));
  ok((status(m, 0) & 0x80) === 0);
  equal(count(m, 0), 1000);
  m.advance(pitNs(1001) - pitNs(501));
  equal(takeIrq0(m), true);
});

test('PIT mode 4: a strobe one clock after the count', () => {
  const m = pitMachine();
  program(m, 0, 4, 100);
  ok((status(m, 0) & 0x80) !== 0);
  m.advance(pitNs(100));
  ok((status(m, 0) & 0x80) === 0);
  m.advance(pitNs(101) - pitNs(100));
  equal(takeIrq0(m), true);
  ok((status(m, 0) & 0x80) !== 0);
});

test('PIT channel 2: gate and output on port 61h in all modes', () => {
  const m = pitMachine();
  program(m, 2, 0, 100);
  m.advance(pitNs(1000));
  equal(m.in(0x61) & 0x20, 0, 'the gate holds the count');
  m.out(0x61, 1);
  m.advance(pitNs(50));
  m.out(0x61, 0);
  m.advance(pitNs(1000));
  m.out(0x61, 1);
  m.advance(pitNs(40));
  equal(m.in(0x61) & 0x21, 1);
  m.advance(pitNs(12));
  equal(m.in(0x61) & 0x21, 0x21);

  for (const mode of [1, 5]) {
    m.out(0x61, 0);
    program(m, 2, mode, 100);
    m.advance(pitNs(500));
    equal(m.in(0x61) & 0x20, 0x20, `mode ${mode} rests high`);
    m.out(0x61, 1);
    m.advance(pitNs(50));
    equal(m.in(0x61) & 0x20, mode === 1 ? 0 : 0x20);
    m.advance(pitNs(60));
    equal(m.in(0x61) & 0x20, 0x20);
  }
  m.out(0x61, 0);
  program(m, 2, 3, 1000);
  equal(m.in(0x61) & 0x20, 0x20);
  m.out(0x61, 0xff);
  m.advance(pitNs(600));
  equal(m.in(0x61) & 0x2f, 0x0f, 'bits 0-3 stay, OUT is low in the second half');
  const before = m.in(0x61) & 0x10;
  m.advance(15_085);
  equal(m.in(0x61) & 0x10, before ^ 0x10, 'refresh toggles');
});

test('PIT: BCD, byte access, latches in their order', () => {
  const m = pitMachine();
  program(m, 0, 2, 0x1000, 1);
  m.advance(pitNs(1));
  equal(count(m, 0), 0x999);
  m.out(0x43, 0x14);
  m.out(0x40, 200);
  m.advance(pitNs(10));
  equal(m.in(0x40), 190);
  m.out(0x43, 0x24);
  m.out(0x40, 2);
  equal(m.in(0x40), 2);
  program(m, 0, 2, 0x1234);
  m.out(0x43, 0xc2);
  m.advance(pitNs(500));
  equal(m.in(0x40), 0xb4, 'status first');
  equal(m.in(0x40) | (m.in(0x40) << 8), 0x1234, 'then the latched count');
  m.out(0x43, 0x00);
  const latched = m.in(0x40);
  m.advance(pitNs(77));
  m.out(0x43, 0x00);
  equal(m.in(0x40), (0x1234 - 500) >> 8, `a latch stays until it is read (low was ${latched})`);
  equal(m.in(0x43), 0xff);
});

test('PIT interrupts IOAPIC pin 2', () => {
  const m = new InCoreMachine();
  m.enableLapic();
  m.route(2, 0x30);
  program(m, 0, 2, 1193);
  m.advance(1_000_000);
  equal(m.take(), 0x30);
});

test('the PM timer runs at 3579545 Hz and is read as a dword only', () => {
  const m = new InCoreMachine();
  m.advance(1e9);
  equal(m.vmm.portRead(m.cpu(), 0x408, 4) >>> 0, 3_579_545);
  m.advance(1300e9);
  equal(m.vmm.portRead(m.cpu(), 0x408, 4) >>> 0, (3_579_545 * 1301) % 2 ** 32);
  equal(m.vmm.portRead(m.cpu(), 0x408, 2), 0xffff);
  m.vmm.portWrite(m.cpu(), 0x408, 4, 0);
  equal(m.vmm.portRead(m.cpu(), 0x40a, 4) >>> 0, 0xffffffff);
});

const HPET_HZ = 2 ** 24;
const hpetNs = (ticks: number): number => Math.ceil((ticks / HPET_HZ) * 1e9);

function hpetMachine(): InCoreMachine {
  const m = new InCoreMachine();
  m.enableLapic();
  m.route(20, 0x50);
  m.route(21, 0x8000 | 0x61);
  return m;
}

test('HPET: capabilities, reset values, a 32-bit counter that stops', () => {
  const m = hpetMachine();
  equal(m.hpetRead(0, 8), (0x038d7ea480860701n & ~0xffffffff00000000n) | (59604644n << 32n));
  equal(m.vmm.hpetCapabilities() >>> 0, 0x80860701);
  equal(m.hpetRead(4), 59604644n);
  for (let i = 0; i < 8; i++) equal(m.hpetRead(0x100 + i * 0x20, 8), 0x00f0000000008010n);
  equal(m.hpetRead(0x108), 0xffffffffn);
  m.advance(1e9);
  equal(m.hpetRead(0xf0, 8), 0n);
  m.hpetWrite(0xf0, 0xfffffff0);
  m.hpetWrite(0x10, 3);
  equal(m.hpetRead(0x10), 1n, 'no legacy replacement');
  m.advance(hpetNs(0x20));
  equal(m.hpetRead(0xf0, 8), 0x10n, 'wraps at 32 bits');
  m.hpetWrite(0xf0, 5);
  equal(m.hpetRead(0xf0), 0x10n, 'read-only while it runs');
  m.hpetWrite(0x10, 0);
  m.advance(1e9);
  equal(m.hpetRead(0xf0), 0x10n);
});

test('HPET: a one-shot edge timer fires at the match and again after the wrap', () => {
  const m = hpetMachine();
  m.hpetWrite(0x10, 1);
  m.hpetWrite(0x108, 1000);
  m.hpetWrite(0x100, (20 << 9) | 4);
  m.advance(hpetNs(1000) - 1);
  equal(m.take(), -1);
  m.advance(1);
  equal(m.take(), 0x50);
  m.eoi();
  equal(m.vmm.nextDeadlineNs(m.cpu()), 5_000_000 + hpetNs(1000 + 2 ** 32));
  m.hpetWrite(0x108, 500);
  equal(m.take(), -1, 'a comparator behind the counter waits for the wrap');
  m.hpetWrite(0x100, (9 << 9) | 4);
  equal(m.hpetRead(0x100), 0x8014n, 'pins outside of the mask are not taken');
});

test('HPET: a periodic timer with TN_VAL_SET, phase kept when late', () => {
  const m = hpetMachine();
  m.hpetWrite(0x10, 1);
  m.hpetWrite(0x120, (20 << 9) | 0x4c);
  m.hpetWrite(0x128, 5000);
  equal(m.hpetRead(0x120), BigInt((20 << 9) | 0x8018 | 4), 'the bit clears itself');
  m.hpetWrite(0x128, 1000);
  equal(m.hpetRead(0x128), 5000n);
  for (const tick of [5000, 6000, 7000]) {
    m.hostNs = 5_000_000 + hpetNs(tick);
    m.vmm.poll(m.cpu());
    equal(m.take(), 0x50);
    m.eoi();
    equal(m.hpetRead(0x128), BigInt(tick + 1000));
  }
  m.hostNs = 5_000_000 + hpetNs(12_500);
  m.vmm.poll(m.cpu());
  equal(m.take(), 0x50);
  m.eoi();
  equal(m.take(), -1);
  equal(m.hpetRead(0x128), 13_000n);
});

test('HPET: level timers hold their pin until the status bit is cleared', () => {
  const m = hpetMachine();
  m.hpetWrite(0x10, 1);
  m.hpetWrite(0x148, 100);
  m.hpetWrite(0x140, (21 << 9) | 6);
  m.advance(hpetNs(100));
  equal(m.hpetRead(0x20), 4n);
  equal(m.take(), 0x61);
  m.eoi();
  equal(m.take(), 0x61, 'still held');
  m.hpetWrite(0x20, 0xffff);
  equal(m.hpetRead(0x20), 0n);
  m.eoi();
  equal(m.take(), -1);
});

test('HPET: FSB messages', () => {
  const m = hpetMachine();
  m.hpetWrite(0x10, 1);
  m.hpetWrite(0x110, 0xfee00000_00000077n, 8);
  m.hpetWrite(0x108, 10);
  m.hpetWrite(0x100, 0x4004);
  m.advance(hpetNs(10));
  equal(m.take(), 0x77);
});

test('HPET: odd widths give ones; every width at every offset survives', () => {
  const m = hpetMachine();
  for (let offset = 0; offset < 0x400; offset++) {
    for (const size of [1, 2, 4, 8]) {
      if (offset + size > 0x400) continue;
      m.vmm.mmioWrite(m.cpu(), BigInt(HPET_GPA + offset), size, ~0n);
      const value = m.vmm.mmioRead(m.cpu(), BigInt(HPET_GPA + offset), size);
      if (size < 4 || offset % size !== 0) equal(BigInt.asUintN(64, value), (1n << BigInt(size * 8)) - 1n);
      m.advance(1000);
    }
  }
});

test('device timers wake any vCPU and are run once', () => {
  const m = new InCoreMachine({ vcpus: 2 });
  m.initPic(0);
  program(m, 0, 2, 1000);
  deepEqual(
    [0, 1].map((i) => m.vmm.nextDeadlineNs(m.cpu(i))),
    [5_000_000 + pitNs(1000), 5_000_000 + pitNs(1000)],
  );
  m.advance(pitNs(1000), 1);
  equal(m.take(0), 0x20);
  ok((m.requests(0) & 2) !== 0);
  m.out(0x20, 0x20);
  m.advance(0, 0);
  equal(m.take(0), -1);
  equal(m.vmm.sleepNs(m.cpu(0)), pitNs(2000) - pitNs(1000));
});
