import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { silentLog } from '../../base/log.ts';
import { TestIrqLines, TestPortModes } from '../devices/testing.ts';
import { PortTable } from '../inout.ts';
import { GIB, MIB } from '../layout.ts';
import { MmioMap } from '../mem.ts';
import { PciBus, window64Of } from './bus.ts';
import { PciFunction, type BarHandler, type BarKind } from './function.ts';
import { PirqRouter } from './irq.ts';
import { LPC_IDENTITY, createLpc } from './lpc.ts';

const IDENTITY = { vendor: 0x10dd, device: 1, classCode: 2, subclass: 0 };

class Memory implements BarHandler {
  readonly log: string[] = [];
  read(offset: number): number {
    return offset;
  }
  write(offset: number, sizeBytes: number, value: number): void {
    this.log.push(`write ${offset} ${sizeBytes} ${value}`);
  }
  moved(address: number | undefined): void {
    this.log.push(`moved ${address?.toString(16)}`);
  }
}

interface Options {
  readonly bars?: readonly (readonly [number, BarKind, number])[];
  readonly enableBars?: boolean;
  readonly build?: (pci: PciFunction) => void;
}

function bench({ bars = [], enableBars = true, build }: Options = {}) {
  const lines = new TestIrqLines();
  const modes = new TestPortModes();
  const ports = new PortTable(modes, silentLog, false);
  const memory = new MmioMap();
  const pirq = new PirqRouter(lines);
  const bus = new PciBus({ ports, memory, lines, pirq, log: silentLog });
  const pci = new PciFunction({ bus: 0, slot: 3, func: 0, name: 'dummy' }, IDENTITY, silentLog);
  const handlers = bars.map(([index, kind, sizeBytes]) => {
    const handler = new Memory();
    pci.addBar(index, kind, sizeBytes, handler);
    return handler;
  });
  build?.(pci);
  bus.add(pci);
  bus.add(createLpc({ bus: 0, slot: 31, func: 0 }, LPC_IDENTITY, pirq, silentLog));
  bus.routeIntx(pci, false);
  bus.powerUp({ enableBars, lowmemBytes: GIB, highmemBytes: 0 });
  lines.take();
  const write = (offset: number, value: number, sizeBytes = 4): void => {
    bus.writeConfig(0, 3, 0, offset, sizeBytes, value);
  };
  const read = (offset: number, sizeBytes = 4): number => bus.readConfig(0, 3, 0, offset, sizeBytes);
  return { bus, pci, handlers, lines, modes, ports, memory, write, read };
}

test('sizing, moving and switching off a BAR', () => {
  const { handlers, memory, ports, write, read } = bench({
    bars: [
      [0, 'io', 8],
      [1, 'mem32', 4096],
      [2, 'mem64', 64 * MIB],
    ],
  });
  deepEqual([read(0x10), read(0x14), read(0x18), read(0x1c)], [0x2001, 0xc400_0000, 0xc000_000c, 0]); // largest first
  equal(memory.read(0, 0xc400_0010, 4), 0x10);
  equal(ports.read(0x2004, 1), 4);
  for (const [offset, sized] of [
    [0x10, 0xfff9],
    [0x14, 0xffff_f000],
    [0x18, 0xfc00_000c],
    [0x1c, 0xffff_ffff],
  ] as const) {
    const before = read(offset);
    write(offset, 0xffff_ffff);
    equal(read(offset), sized);
    write(offset, before);
    equal(read(offset), before);
  }
  write(0x14, 0xd000_0000);
  equal(memory.read(0, 0xc400_0010, 4), 0xffff_ffff);
  equal(memory.read(0, 0xd000_0010, 4), 0x10);
  write(0x14, 0xaa, 1); // a part of an address is dropped
  equal(read(0x14), 0xd000_0000);
  write(4, 0, 2);
  equal(memory.read(0, 0xd000_0010, 4), 0xffff_ffff);
  equal(ports.read(0x2004, 1), 0xff);
  deepEqual(handlers[1]?.log.slice(-2), ['moved d0000000', 'moved undefined']);
  write(4, 3, 2);
  memory.write(0, 0xd000_0020, 2, 0x1234);
  equal(handlers[1]?.log.at(-1), 'write 32 2 4660');
});

test('a BAR on top of another decodes when the place is free', () => {
  const { memory, handlers, write } = bench({
    bars: [
      [0, 'mem32', 4096],
      [1, 'mem32', 4096],
    ],
  });
  write(0x10, 0xc000_1000); // where BAR 1 is
  equal(memory.read(0, 0xc000_0000, 4), 0xffff_ffff);
  write(0x14, 0xd000_0000); // BAR 1 gives way
  deepEqual(handlers[0]?.log.at(-1), 'moved c0001000');
  write(0x10, 0xe000_0000); // ECAM cannot be covered
  equal(handlers[0]?.log.at(-1), 'moved undefined');
});

test('firmware finds the BARs placed and switched off', () => {
  const { read, memory } = bench({ bars: [[0, 'mem32', 4096]], enableBars: false });
  deepEqual([read(4, 2), read(0x10), memory.read(0, 0xc000_0000, 4)], [0, 0xc000_0000, 0xffff_ffff]);
});

test('INTx goes to the IOAPIC pin and, through the PIRQ, to the PIC; MSI holds it back', () => {
  const { pci, lines, write, read, bus } = bench({
    build: (function_) => {
      function_.addMsi(4);
    },
  });
  deepEqual([read(0x3d, 1), read(0x3c, 1)], [1, 5]);
  pci.setIntx(true);
  deepEqual(lines.take(), ['isaAssert 5 16']);
  equal(read(6, 2) & 8, 8);
  write(4, 0x400, 2);
  deepEqual(lines.take(), ['isaDeassert 5 16']);
  write(4, 0, 2);
  deepEqual(lines.take(), ['isaAssert 5 16']);
  bus.writeConfig(0, 31, 0, 0x60, 1, 0x0a); // reroute PIRQ A to 10
  deepEqual(lines.take(), ['isaDeassert 5 -1', 'isaAssert 10 -1']);
  equal(bus.readConfig(0, 31, 0, 0x60, 1), 0x0a);
  bus.writeConfig(0, 31, 0, 0x60, 1, 0x80);
  deepEqual(lines.take(), ['isaDeassert 10 -1']);
  bus.writeConfig(0, 31, 0, 0x60, 4, 0x8080_800d); // 13 is not permitted
  deepEqual(lines.take(), []);
  write(0x42, 1, 2);
  deepEqual(lines.take(), ['ioapicDeassert 16']);
  write(0x44, 0xfee0_1000);
  write(0x4c, 0x41, 2);
  pci.msi(2);
  deepEqual(lines.take(), ['lapicMsi 0xfee01000 0x41']); // one vector allowed: the low bits stay
  write(0x42, 0x21, 2);
  pci.msi(2);
  deepEqual(lines.take(), ['lapicMsi 0xfee01000 0x42']);
  write(0x44, 0x1000);
  pci.msi(0);
  deepEqual(lines.take(), []); // no write to memory by this door
  write(0x42, 0, 2);
  deepEqual(lines.take(), ['ioapicAssert 16']);
});

test('MSI-X: masked vectors wait in their pending bits', () => {
  const { pci, lines, write, memory, read } = bench({
    build: (function_) => {
      function_.addMsix(3, 1);
    },
  });
  equal(read(0x40) >>> 16, 2); // table size - 1
  const table = read(0x14);
  memory.write(0, table + 16, 4, 0xfee0_0000);
  memory.write(0, table + 24, 4, 0x51);
  write(0x42, 0x8000, 2);
  pci.msix(1);
  deepEqual([lines.take(), memory.read(0, table + 4096, 1)], [[], 2]);
  memory.write(0, table + 28, 4, 0);
  deepEqual([lines.take(), memory.read(0, table + 4096, 1)], [['lapicMsi 0xfee00000 0x51'], 0]);
  memory.write(0, table + 28, 2, 1); // neither 4 nor 8 bytes: dropped
  pci.msix(1);
  deepEqual(lines.take(), ['lapicMsi 0xfee00000 0x51']);
  write(0x42, 0xc000, 2);
  pci.msix(1);
  deepEqual(lines.take(), []);
  write(0x42, 0x8000, 2);
  deepEqual(lines.take(), ['lapicMsi 0xfee00000 0x51']);
  pci.msix(99);
  deepEqual(lines.take(), []);
});

test('pins of a slot are spread, and with a boot ROM fixed', () => {
  const lines = new TestIrqLines();
  const pirq = new PirqRouter(lines);
  const bus = new PciBus({
    ports: new PortTable(new TestPortModes(), silentLog, false),
    memory: new MmioMap(),
    lines,
    pirq,
    log: silentLog,
  });
  for (const func of [0, 1, 2, 3, 4]) {
    const pci = new PciFunction({ bus: 0, slot: 2, func, name: `f${func}` }, IDENTITY, silentLog);
    bus.add(pci);
    bus.routeIntx(pci, false);
  }
  deepEqual(
    bus.functions().map((pci) => pci.readConfig(0x3d, 1)),
    [1, 2, 3, 4, 1],
  );
  deepEqual(
    bus.intx().map((entry) => [entry.pin, entry.ioapicPin, entry.pirq]),
    [
      [1, 16, 0],
      [2, 17, 1],
      [3, 18, 2],
      [4, 19, 3],
    ],
  );
  bus.powerUp({ enableBars: true, lowmemBytes: GIB, highmemBytes: 0 });
  equal(bus.readConfig(0, 2, 0, 0x0e, 1), 0x80); // multi-function
  deepEqual(pirq.route(5, 2, true), { ioapicPin: 19, pirq: 3 });
  throws(() => {
    bus.add(new PciFunction({ bus: 0, slot: 2, func: 1, name: 'late' }, IDENTITY, silentLog));
  }, /0:2:1,late: the place is taken by f1/);
});

test('the 64-bit window lies behind RAM, at a multiple of 32 GiB', () => {
  deepEqual(
    [window64Of(0).start, window64Of(28 * GIB).start, window64Of(28 * GIB + 1).start].map((start) => start / GIB),
    [32, 32, 64],
  );
});

test('random configuration writes never throw and keep read-only fields', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), fc.constantFrom(1, 2, 4), fc.integer({ min: 0, max: 0xffff_ffff })), {
        maxLength: 200,
      }),
      (writes) => {
        const { write, read, bus } = bench({
          bars: [
            [0, 'io', 32],
            [1, 'mem32', 4096],
            [2, 'mem64', MIB],
            [4, 'mem64', 256 * MIB],
          ],
          build: (pci) => {
            pci.addMsi(8);
            pci.addExpress(4);
          },
        });
        const identity = [read(0), read(8)];
        for (const [offset, sizeBytes, value] of writes) {
          write(offset, sizeBytes === 4 ? value : value % 2 ** (8 * sizeBytes), sizeBytes);
          bus.writeConfig(0, 31, 0, offset, sizeBytes, value % 256);
        }
        deepEqual([read(0), read(8)], identity);
        bus.reset();
      },
    ),
    { numRuns: 60 },
  );
});

test('what vCPUs read of the configuration space by themselves is what the bus would answer', () => {
  const { bus, pci, modes } = bench({
    bars: [
      [0, 'io', 8],
      [2, 'mem64', MIB],
    ],
    build: (built) => {
      built.addExpress(0);
      built.addMsi(4);
    },
  });
  const atStart = bus.functions().map((each) => each.schema.save(each.state));
  const same = (): void => {
    for (const { bus: number, slot, func } of bus.functions())
      for (let offset = 0; offset < 256; offset += 4)
        equal(
          modes.pciConfig.get(`${number}:${slot}:${func} ${offset}`),
          bus.readConfig(number, slot, func, offset, 4),
          `${slot}: ${offset}`,
        );
  };
  same();
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          { weight: 8, arbitrary: fc.tuple(fc.constantFrom(3, 31), fc.nat(63), fc.constantFrom(1, 2, 4), fc.nat(0xffff_ffff)) },
          { weight: 2, arbitrary: fc.boolean() },
          { weight: 1, arbitrary: fc.constantFrom('reset' as const, 'restore' as const) },
        ),
        { maxLength: 20 },
      ),
      (steps) => {
        for (const step of steps) {
          if (typeof step === 'boolean') pci.setIntx(step);
          else if (step === 'reset') bus.reset();
          else if (step === 'restore')
            for (const [index, each] of bus.functions().entries()) {
              each.schema.restore(each.state, atStart[index]!);
              each.restored();
            }
          else bus.writeConfig(0, step[0], 0, step[1] * 4, step[2], step[3] % 2 ** (8 * step[2]));
          same();
        }
      },
    ),
  );
});

test('the address of a configuration access is kept where the vCPUs are, and saved from there', () => {
  const { bus, modes } = bench();
  modes.pciAddress = 0x8000_1804;
  deepEqual(bus.schema.save(bus.state), bus.schema.save({ address: 0x8000_1804 }));
  bus.reset();
  equal(modes.pciAddress, 0);
});
