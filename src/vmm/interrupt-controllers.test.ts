/** Tests of vmm/assembly/pic.ts and ioapic.ts by their registers. */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { EINVAL } from './exits.ts';
import { IOAPIC_GPA } from './layout.ts';
import { InCoreMachine } from './testing/in-core-machine.ts';

const LEVEL = 0x8000,
  MASKED = 0x10000,
  REMOTE_IRR = 0x4000;

/** LAPIC off: the PIC drives the CPU's INTR. */
function picMachine(mask = 0): InCoreMachine {
  const m = new InCoreMachine();
  m.initPic(mask);
  return m;
}

test('PIC: nothing before initialisation, then vectors by priority with nested service', () => {
  const m = new InCoreMachine();
  m.vmm.isaPulse(1, -1);
  equal(m.take(), -1);
  m.initPic(0);
  equal(m.in(0x21), 0);
  m.vmm.isaPulse(4, -1);
  m.vmm.isaPulse(1, -1);
  equal(m.in(0x20), 0x12, 'IRR');
  equal(m.take(), 0x21);
  m.out(0x20, 0x0b);
  equal(m.in(0x20), 0x02, 'ISR');
  equal(m.take(), -1, '4 waits for 1');
  m.vmm.isaPulse(0, -1);
  equal(m.take(), 0x20, '0 interrupts 1');
  m.out(0x20, 0x20);
  equal(m.take(), -1);
  m.out(0x20, 0x20);
  equal(m.take(), 0x24);
  m.out(0x20, 0x64);
  equal(m.in(0x20), 0);
});

test('PIC: the slave comes through input 2, mask and EOI on both', () => {
  const m = picMachine(0x00fb);
  m.vmm.isaPulse(8, -1);
  m.vmm.isaPulse(12, -1);
  equal(m.take(), 0x28);
  equal(m.take(), -1);
  m.out(0xa0, 0x20);
  equal(m.take(), -1, 'the master still serves input 2');
  m.out(0x20, 0x20);
  equal(m.take(), 0x2c);
  m.out(0xa0, 0x20);
  m.out(0x20, 0x20);
  equal(m.take(), -1);
});

test('PIC: special fully nested mode lets the slave interrupt its own service', () => {
  const m = new InCoreMachine();
  m.initPic(0, 0x11);
  m.vmm.isaPulse(12, -1);
  equal(m.take(), 0x2c);
  m.vmm.isaPulse(8, -1);
  equal(m.take(), 0x28);
});

test('PIC: level inputs follow the line and ask again after EOI', () => {
  const m = picMachine();
  equal(m.vmm.isaSetTrigger(9, 1), 0);
  for (const irq of [0, 1, 2, 8, 13, -1, 16]) equal(m.vmm.isaSetTrigger(irq, 1), EINVAL);
  equal(m.in(0x4d1), 2);
  m.vmm.isaAssert(9, -1);
  m.vmm.isaAssert(9, -1);
  const serve = (): number => {
    const v = m.take();
    m.out(0xa0, 0x20);
    m.out(0x20, 0x20);
    return v;
  };
  equal(serve(), 0x29);
  equal(serve(), 0x29);
  m.vmm.isaDeassert(9, -1);
  equal(serve(), 0x29, 'one of two devices still holds it');
  m.vmm.isaDeassert(9, -1);
  equal(m.take(), -1);
  m.vmm.isaDeassert(9, -1);
  m.vmm.isaAssert(9, -1);
  equal(serve(), 0x29, 'a deassert too many does not count');
  m.out(0x4d0, 0xff);
  m.out(0x4d1, 0xff);
  deepEqual([m.in(0x4d0), m.in(0x4d1)], [0xf8, 0xde]);
  deepEqual([m.vmm.isaAssert(16, -1), m.vmm.isaAssert(-1, -1), m.vmm.isaPulse(3, 32)], [EINVAL, EINVAL, EINVAL]);
});

test('PIC: a request that is gone gives the spurious input 7', () => {
  const m = picMachine();
  m.vmm.isaSetTrigger(5, 1);
  m.vmm.isaAssert(5, -1);
  equal(m.vmm.interruptVector(m.cpu()), 0x25);
  m.vmm.isaDeassert(5, -1);
  equal(m.take(), -1);
});

test('PIC: automatic EOI, rotation, specific priority, special mask, poll', () => {
  const m = new InCoreMachine();
  m.initPic(0, 3);
  m.out(0x20, 0x80);
  for (const irq of [3, 4]) m.vmm.isaPulse(irq, -1);
  equal(m.take(), 0x23);
  m.vmm.isaPulse(3, -1);
  equal(m.take(), 0x24, '3 was put last');
  equal(m.take(), 0x23);
  m.initPic(0);
  m.out(0x20, 0xc4);
  for (const irq of [1, 5]) m.vmm.isaPulse(irq, -1);
  equal(m.take(), 0x25, '4 is lowest, so 5 is highest');
  m.out(0x20, 0xa0);
  equal(m.take(), 0x21);
  m.out(0x20, 0x20);
  m.initPic(0);
  m.vmm.isaPulse(1, -1);
  equal(m.take(), 0x21);
  m.vmm.isaPulse(6, -1);
  m.out(0x21, 0x02);
  m.out(0x20, 0x68);
  equal(m.take(), 0x26, 'a masked service holds nobody back');
  m.out(0x20, 0x48);
  m.initPic(0);
  m.out(0x20, 0x0c);
  equal(m.in(0x20), 0);
  m.vmm.isaPulse(6, -1);
  m.out(0x20, 0x0c);
  equal(m.in(0x20), 0x86);
  equal(m.take(), -1);
});

test('PIC: its output pulses IOAPIC pin 0', () => {
  const m = picMachine();
  m.enableLapic();
  m.route(0, 0x700);
  m.vmm.isaPulse(4, -1);
  equal(m.take(), 0x24);
});

test('IOAPIC: id, version, reset values, and what can be written', () => {
  const m = new InCoreMachine();
  equal(m.vmm.ioapicPinCount(), 32);
  equal(m.ioapicRead(1), 0x1f0011);
  for (let pin = 0; pin < 32; pin++) {
    equal(m.ioapicRead(0x10 + pin * 2), 0x10000);
    equal(m.ioapicRead(0x11 + pin * 2), 0x10000);
  }
  m.ioapicWrite(0, 0xffffffff);
  equal(m.ioapicRead(0), 0x0f000000);
  equal(m.ioapicRead(2), 0x0f000000);
  m.ioapicWrite(0x10, 0xffffffff);
  m.ioapicWrite(0x11, 0xffffffff);
  equal(m.ioapicRead(0x10), 0x1afff);
  equal(m.ioapicRead(0x11), 0xff000000);
  equal(m.ioapicRead(0x50), 0);
  equal(m.ioapicRead(0xff), 0);
});

test('IOAPIC: edge pins send at the first assertion, level pins again after EOI while held', () => {
  const m = new InCoreMachine();
  m.enableLapic();
  m.route(4, 0x44);
  m.vmm.ioapicAssert(4);
  m.vmm.ioapicAssert(4);
  equal(m.take(), 0x44);
  m.eoi();
  equal(m.take(), -1);
  m.vmm.ioapicDeassert(4);
  m.vmm.ioapicDeassert(4);
  m.vmm.ioapicPulse(4);
  equal(m.take(), 0x44);
  m.eoi();

  m.route(9, LEVEL | 0x59);
  m.vmm.ioapicAssert(9);
  equal(m.ioapicRead(0x22), LEVEL | REMOTE_IRR | 0x59);
  equal(m.take(), 0x59);
  equal(m.lapicRead(0x180 + 0x20), 1 << 0x19, 'TMR');
  m.vmm.ioapicAssert(9);
  equal(m.take(), -1);
  m.eoi();
  equal(m.take(), 0x59, 'still held: sent again');
  m.vmm.ioapicDeassert(9);
  m.vmm.ioapicDeassert(9);
  m.eoi();
  equal(m.take(), -1);
  equal(m.ioapicRead(0x22), LEVEL | 0x59);
  deepEqual([m.vmm.ioapicAssert(32), m.vmm.ioapicPulse(-1)], [EINVAL, EINVAL]);
});

test('IOAPIC: a held level pin fires when it is unmasked; switching to edge clears a stuck remote IRR', () => {
  const m = new InCoreMachine();
  m.enableLapic();
  m.route(20, MASKED | LEVEL | 0x60);
  m.vmm.ioapicAssert(20);
  equal(m.take(), -1);
  m.ioapicWrite(0x10 + 40, LEVEL | 0x60);
  equal(m.take(), 0x60);
  m.ioapicWrite(0x10 + 40, MASKED | 0x60);
  equal(m.ioapicRead(0x10 + 40), MASKED | 0x60);
  m.ioapicWrite(0x10 + 40, LEVEL | 0x61);
  equal(m.take(), 0x61 - 0x61 - 1, '61h is of the class in service');
  m.eoi();
  equal(m.take(), 0x61);
});

test('IOAPIC: a level interrupt that nobody accepts leaves no remote IRR', () => {
  const m = new InCoreMachine();
  m.route(9, LEVEL | 0x59, 7);
  m.vmm.ioapicAssert(9);
  equal(m.ioapicRead(0x22), LEVEL | 0x59);
});

test('IOAPIC: logical, lowest-priority, NMI and ExtINT messages', () => {
  const m = new InCoreMachine({ vcpus: 2 });
  for (let i = 0; i < 2; i++) {
    m.enableLapic(i);
    m.lapicWrite(0xd0, 1 << (24 + i), i);
  }
  m.route(3, 0x800 | 0x43, 2);
  m.vmm.ioapicPulse(3);
  deepEqual([m.take(0), m.take(1)], [-1, 0x43]);
  m.route(4, 0x900 | 0x94, 3);
  m.lapicWrite(0x80, 0x30, 0);
  m.lapicWrite(0x80, 0x40, 1);
  m.vmm.ioapicPulse(4);
  deepEqual([m.take(0), m.take(1)], [0x94, -1]);
  m.route(5, 0x400, 1);
  m.vmm.ioapicPulse(5);
  deepEqual([m.nmiPending(0), m.nmiPending(1)], [false, true]);
});

test('IOAPIC: 32-bit accesses only; every width at every offset survives', () => {
  const m = new InCoreMachine();
  for (let offset = 0; offset < 0x40; offset++) {
    for (const size of [1, 2, 4, 8]) {
      m.vmm.mmioWrite(m.cpu(), BigInt(IOAPIC_GPA + offset), size, ~0n);
      const value = m.vmm.mmioRead(m.cpu(), BigInt(IOAPIC_GPA + offset), size);
      if (size !== 4 || (offset !== 0 && offset !== 0x10)) equal(value, 0n);
    }
  }
});

test('isa calls drive PIC and IOAPIC together', () => {
  const m = picMachine();
  m.enableLapic();
  m.route(4, 0x44);
  m.vmm.isaAssert(4, 4);
  equal(m.take(), 0x44);
  equal(m.in(0x20), 0x10);
  m.vmm.isaDeassert(4, 4);
});
