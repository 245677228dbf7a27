/** Tests of vmm/assembly/ports.ts, bus.ts, posted.ts and of posted-ring.ts: which way an access goes, and that none traps. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { PCI_CONFIG, PCI_CONFIG_FUNCTION_BYTES, PCI_FUNCTIONS, PORT_MODES, PORT_SHADOWS, VM_BASE } from '../base/memory-map.ts';
import { EXIT_INOUT, EXIT_INST_EMUL } from './exits.ts';
import {
  PORT_MODE_NOTIFIED,
  PORT_MODE_OPEN_BUS,
  PORT_MODE_PCI_ADDRESS,
  PORT_MODE_PCI_DATA,
  PORT_MODE_POSTED,
  PORT_MODE_SHADOW,
  PORT_MODE_UNLESS_SAME,
  POSTED_ENTRIES,
} from './layout.ts';
import { PostedRing, type PostedSink } from './posted-ring.ts';
import { POSTED_RANGE, VM } from './state.ts';
import { InCoreMachine } from './testing/in-core-machine.ts';

function setMode(m: InCoreMachine, port: number, read: number, write: number): void {
  m.view.setUint8(PORT_MODES + port, read | (write << 4));
}

class Recorder implements PostedSink {
  readonly writes: (readonly [kind: string, at: number, sizeBytes: number, value: number, high: number, vcpu: number])[] = [];
  writePort(port: number, sizeBytes: number, value: number, vcpu: number): void {
    this.writes.push(['port', port, sizeBytes, value, 0, vcpu]);
  }
  writeMemory(gpa: number, sizeBytes: number, low: number, high: number, vcpu: number): void {
    this.writes.push(['memory', gpa, sizeBytes, low, high, vcpu]);
  }
}

test('a port without a mode exits with its whole access', () => {
  const m = new InCoreMachine();
  m.answer = 0x1234_5678n;
  equal(m.vmm.portRead(m.cpu(), 0xcfc, 4) >>> 0, 0x12345678);
  equal(m.vmm.portRead(m.cpu(), 0xcfe, 2), 0x5678);
  m.vmm.portWrite(m.cpu(), 0xcf8, 4, 0x80000000);
  m.vmm.portWrite(m.cpu(), 0x3f8, 1, 0x1ff);
  deepEqual(
    m.exits.map((e) => [e.reason, e.input, e.port, e.sizeBytes]),
    [
      [EXIT_INOUT, true, 0xcfc, 4],
      [EXIT_INOUT, true, 0xcfe, 2],
      [EXIT_INOUT, false, 0xcf8, 4],
      [EXIT_INOUT, false, 0x3f8, 1],
    ],
  );
  deepEqual(
    m.exits.slice(2).map((e) => e.value),
    [0x80000000n, 0xffn],
  );
});

test('byte devices take wide accesses byte by byte, and the neighbour exits for itself', () => {
  const m = new InCoreMachine();
  m.vmm.portWrite(m.cpu(), 0x70, 2, 0x5540);
  equal(m.in(0x71), 0x55);
  equal(m.vmm.portRead(m.cpu(), 0x70, 2), 0x55ff);
  equal(m.exits.length, 0);
  m.answer = 0xabn;
  equal(m.vmm.portRead(m.cpu(), 0x71, 2), 0xab55);
  deepEqual(
    m.exits.map((e) => [e.port, e.sizeBytes]),
    [[0x72, 1]],
  );
});

test('shadowed reads and open-bus ports ask nobody', () => {
  const m = new InCoreMachine();
  setMode(m, 0x3fd, PORT_MODE_SHADOW, 0);
  m.view.setUint8(PORT_SHADOWS + 0x3fd, 0x60);
  equal(m.in(0x3fd), 0x60);
  for (const port of [0x80, 0x81, 0x82, 0x83]) setMode(m, port, PORT_MODE_OPEN_BUS, PORT_MODE_OPEN_BUS);
  equal(m.vmm.portRead(m.cpu(), 0x80, 4) >>> 0, 0xffffffff);
  m.out(0x80, 1);
  equal(m.exits.length, 0);
  m.vmm.portRead(m.cpu(), 0x3fd, 2);
  equal(m.exits.length, 1, 'wider than the shadow');
});

test('a write of what a port holds already leaves only where somebody else would see it', () => {
  const m = new InCoreMachine();
  setMode(m, 0x3f9, PORT_MODE_SHADOW, PORT_MODE_UNLESS_SAME);
  m.view.setUint8(PORT_SHADOWS + 0x3f9, 5);
  m.out(0x3f9, 5);
  equal(m.exits.length, 0);
  m.out(0x3f9, 0);
  m.vmm.portWrite(m.cpu(), 0x3f9, 2, 0x0005);
  equal(m.exits.length, 2, 'another value; wider than the shadow');
  setMode(m, 0x3f9, 0, PORT_MODE_UNLESS_SAME);
  m.out(0x3f9, 5);
  equal(m.exits.length, 3, 'nothing is shadowed: the byte may be old');
});

test('PCI configuration space is read where the vCPU is', () => {
  const m = new InCoreMachine();
  setMode(m, 0xcf8, PORT_MODE_PCI_ADDRESS, PORT_MODE_PCI_ADDRESS);
  for (let port = 0xcfc; port <= 0xcff; port++) setMode(m, port, PORT_MODE_PCI_DATA, 0);
  const number = (3 << 8) | (31 << 3) | 2;
  m.view.setUint8(PCI_FUNCTIONS + (number >> 3), 1 << 2); // 3:31:2
  m.view.setUint32(PCI_CONFIG + number * PCI_CONFIG_FUNCTION_BYTES + 0x40, 0x44332211, true);
  const select = (address: number): void => m.vmm.portWrite(m.cpu(), 0xcf8, 4, address);
  const read = (port = 0xcfc, sizeBytes = 4): number => m.vmm.portRead(m.cpu(), port, sizeBytes) >>> 0;
  select(0x8003_fa40);
  equal(read(), 0x44332211);
  deepEqual([read(0xcfd, 1), read(0xcfe, 2), read(0xcff, 1)], [0x22, 0x4433, 0x44]);
  equal(read(0xcf8), 0x8003_fa40, 'the register itself');
  select(0xff03_fa43);
  equal(read(0xcf8), 0x8003_fa40, 'bits that it does not have');
  equal(read(), 0x44332211);
  select(0x8003_f940);
  equal(read(), 0xffffffff, 'another function');
  select(0x0003_fa40);
  equal(read(), 0xffffffff, 'the enable bit is clear');
  equal(m.exits.length, 0);
  select(0x8003_fa40);
  m.vmm.portWrite(m.cpu(), 0xcf8, 1, 0x55);
  equal(read(), 0x44332211, 'only a dword is the address');
  read(0xcf8, 2);
  read(0xcfd, 2);
  read(0xcfe, 4);
  m.vmm.portWrite(m.cpu(), 0xcfc, 4, 1);
  equal(m.exits.length, 5, 'parts of the register, crooked accesses and writes ask');
  m.vmm.vmmReset();
  equal(read(), 0xffffffff, 'a reset clears the address');
});

test('device memory exits with address, width and value; reads are cut to the width', () => {
  const m = new InCoreMachine();
  m.answer = 0x1122_3344_5566_7788n;
  for (const [size, value] of [
    [1, 0x88n],
    [2, 0x7788n],
    [4, 0x5566_7788n],
    [8, 0x1122_3344_5566_7788n],
  ] as const)
    equal(m.vmm.mmioRead(m.cpu(), 0xc0000000n, size), value);
  m.vmm.mmioWrite(m.cpu(), 0xf_ffff_ffff_f000n, 4, 0xabcd_1234_5678n);
  equal(m.exits.at(-1)?.gpa, 0xf_ffff_ffff_f000n);
  equal(m.exits.at(-1)?.value, 0x1234_5678n);
  ok(m.exits.every((e) => e.reason === EXIT_INST_EMUL));
  m.vmm.mmioRead(m.cpu(), 0xfed003fcn, 8);
  equal(m.exits.at(-1)?.gpa, 0xfed003fcn, 'an access that leaves the device is not the device’s');
  m.vmm.mmioRead(m.cpu(), 0xffff_ffff_ffff_fffcn, 8);
});

test('posted writes arrive in order, with ports and memory, and wrap around the ring', () => {
  const m = new InCoreMachine({ vcpus: 2 });
  const seen = new Recorder(),
    ring = new PostedRing(m.memory, seen, () => nextTurn());
  setMode(m, 0x3f8, 0, PORT_MODE_POSTED);
  const view = m.view,
    range = VM_BASE + VM.offset.postedRanges;
  view.setBigUint64(range + POSTED_RANGE.offset.gpa, 0xf_c000_0000_0000n, true);
  view.setBigUint64(range + POSTED_RANGE.offset.end, 0xf_c000_0000_1000n, true);
  view.setUint32(range + POSTED_RANGE.offset.mode, PORT_MODE_NOTIFIED, true);
  view.setUint32(VM_BASE + VM.offset.postedRangeCount, 1, true);
  m.out(0x3f8, 0x41);
  m.vmm.mmioWrite(m.cpu(1), 0xf_c000_0000_0ff8n, 8, 0x1234_5678_9abc_def0n);
  m.vmm.mmioWrite(m.cpu(), 0xf_c000_0000_0ffcn, 8, 0n);
  equal(m.exits.length, 1, 'across the end: an exit');
  view.setUint32(VM_BASE + VM.offset.postedRangeVersion, 1, true);
  m.vmm.mmioWrite(m.cpu(), 0xf_c000_0000_0000n, 4, 0n);
  equal(m.exits.length, 2, 'while the list is edited: an exit');
  equal(ring.drain(), 2);
  deepEqual(seen.writes, [
    ['port', 0x3f8, 1, 0x41, 0, 0],
    ['memory', 0xf_c000_0000_0ff8, 8, 0x9abcdef0, 0x12345678, 1],
  ]);
  seen.writes.length = 0;
  for (let i = 0; i < POSTED_ENTRIES * 5; i += 1000) {
    for (let k = 0; k < 1000; k++) m.out(0x3f8, (i + k) & 0xff);
    ring.drainAll();
  }
  ok(seen.writes.length > POSTED_ENTRIES * 5 - 1 && seen.writes.every(([, , , value], i) => value === (i & 0xff)));
  equal(ring.drain(), 0);
});

test('a sink that drains the ring itself sees each write once', () => {
  const m = new InCoreMachine();
  setMode(m, 0x3f8, 0, PORT_MODE_POSTED);
  const values: number[] = [];
  const ring: PostedRing = new PostedRing(
    m.memory,
    {
      writePort(_port, _size, value) {
        values.push(value);
        ring.drain(2);
      },
      writeMemory() {},
    },
    () => nextTurn(),
  );
  for (let i = 0; i < 10; i++) m.out(0x3f8, i);
  ring.drainAll();
  deepEqual(values, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('the consumer sleeps until a notified write, until posted ones are old or many, or until the vCPU stops', async () => {
  const m = new InCoreMachine();
  const seen = new Recorder(),
    ring = new PostedRing(m.memory, seen, () => nextTurn());
  setMode(m, 0x100, 0, PORT_MODE_NOTIFIED);
  setMode(m, 0x101, 0, PORT_MODE_POSTED);
  const served = ring.run();
  const until = async (length: number): Promise<void> => {
    for (let i = 0; i < 1000 && seen.writes.length < length; i++) await nextTurn();
  };
  m.out(0x100, 1);
  await until(1);
  equal(seen.writes.length, 1);
  m.out(0x101, 2);
  await nextTurn();
  await nextTurn();
  equal(seen.writes.length, 1, 'not announced yet');
  m.advance(0);
  await nextTurn();
  await nextTurn();
  equal(seen.writes.length, 1, 'a slice has ended, a moment later');
  m.advance(3_000_000);
  await until(2);
  equal(seen.writes.length, 2, 'old');
  for (let i = 0; i < 1500; i++) m.out(0x101, 3);
  await until(1502);
  ok(seen.writes.length > 1002, 'many');
  m.vmm.nextDeadlineNs(m.cpu());
  await until(1502);
  equal(seen.writes.length, 1502, 'before a sleep');
  m.out(0x101, 4);
  m.vmm.announcePosted();
  await until(1503);
  equal(seen.writes.length, 1503, 'before a stop');
  m.advance(0);
  m.out(0x101, 5);
  m.advance(0);
  ring.drainAll();
  m.out(0x101, 6);
  m.advance(3_000_000);
  await nextTurn();
  await nextTurn();
  equal(seen.writes.length, 1504, 'what was decided for others does not count');
  m.advance(3_000_000);
  await until(1505);
  equal(seen.writes.length, 1505);
  ring.close();
  await served;
});

test('random traffic never traps, and answers fit their widths', () => {
  const size = fc.constantFrom(1, 2, 4, 8),
    value = fc.oneof(fc.bigInt(0n, (1n << 64n) - 1n), fc.constantFrom(0n, 1n, 0xffn, 0xffffffffn, ~0n & ((1n << 64n) - 1n)));
  const gpa = fc.oneof(
    fc.integer({ min: 0, max: 0x3ff }).map((o) => 0xfee00000n + BigInt(o)),
    fc.constantFrom(0xfec00000n, 0xfec00010n),
    fc.integer({ min: 0, max: 0x3ff }).map((o) => 0xfed00000n + BigInt(o)),
    fc.bigInt(0n, (1n << 52n) - 1n),
  );
  const port = fc.oneof(
    fc.constantFrom(0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x408, 0x4d0, 0x4d1),
    fc.integer({ min: 0, max: 0xffff }),
  );
  const msr = fc.oneof(
    fc.integer({ min: 0x800, max: 0x83f }),
    fc.constantFrom(0x1b, 0x6e0),
    fc.integer({ min: 0, max: 0xffffffff }).map((n) => n | 0),
  );
  const step = fc.oneof(
    fc.tuple(fc.constant('load' as const), gpa, size, value),
    fc.tuple(fc.constant('store' as const), gpa, size, value),
    fc.tuple(fc.constant('in' as const), port, size, value),
    fc.tuple(fc.constant('out' as const), port, size, value),
    fc.tuple(fc.constant('rdmsr' as const), msr, size, value),
    fc.tuple(fc.constant('wrmsr' as const), msr, size, value),
    fc.tuple(fc.constant('line' as const), fc.integer({ min: -2, max: 40 }), size, value),
    fc.tuple(fc.constant('time' as const), fc.integer({ min: 0, max: 2_000_000_000 }), size, value),
  );
  const m = new InCoreMachine({ vcpus: 2 });
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 120 }), fc.integer({ min: 0, max: 1 }), (steps, index) => {
      const cpu = m.cpu(index),
        { vmm } = m;
      m.exits.length = 0;
      for (const [kind, at, sizeBytes, bits] of steps) {
        const limit = 1n << BigInt(sizeBytes * 8),
          n = Number(at);
        if (kind === 'load') ok(BigInt.asUintN(64, vmm.mmioRead(cpu, BigInt(at), sizeBytes)) < limit);
        else if (kind === 'store') vmm.mmioWrite(cpu, BigInt(at), sizeBytes, bits);
        else if (kind === 'in') {
          const read = vmm.portRead(cpu, n, sizeBytes) >>> 0;
          if (sizeBytes < 4) ok(read < Number(limit));
        } else if (kind === 'out') vmm.portWrite(cpu, n, sizeBytes, Number(bits & 0xffffffffn));
        else if (kind === 'rdmsr') vmm.msrRead(cpu, n);
        else if (kind === 'wrmsr') vmm.msrWrite(cpu, n, bits);
        else if (kind === 'line') {
          vmm.isaPulse(n, n);
          vmm.ioapicAssert(n);
          vmm.ioapicDeassert(n);
          vmm.lapicIrq(index, n * 8);
          vmm.lapicMsi(0xfee00000n | (bits & 0xfffffn), bits);
        } else m.advance(n, index);
        ok(vmm.nextDeadlineNs(cpu) >= 0);
        const offered = vmm.interruptVector(cpu);
        ok(offered >= -1 && offered < 256);
        if (offered >= 0 && (bits & 1n) === 1n) ok(vmm.interruptAck(cpu) >= 0);
      }
    }),
    { numRuns: 300 },
  );
});
