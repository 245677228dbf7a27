import { deepEqual, equal, match, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../base/log.ts';
import { MemoryBackend } from './chars/backend.ts';
import { TestIrqLines, TestPortModes } from './devices/testing.ts';
import { MIB } from './layout.ts';
import { createMachine, type Machine } from './machine.ts';
import type { MachineSettings, MachineVm } from './ports-of-machine.ts';

const SETTINGS: MachineSettings = {
  name: 'test',
  topology: { cpus: 2, sockets: 2, cores: 1, threads: 1 },
  uuid: '00112233-4455-6677-8899-aabbccddeeff',
  strictIo: false,
  rtcLocalTime: false,
  pci: [
    { bus: 0, slot: 0, func: 0, device: 'hostbridge' },
    { bus: 0, slot: 31, func: 0, device: 'lpc' },
  ],
  pcTestDev: true,
};

interface Bench {
  readonly machine: Machine;
  readonly ram: Uint8Array;
  readonly lines: TestIrqLines;
  readonly console: MemoryBackend;
  readonly suspends: string[];
  readonly exits: number[];
  readonly flushed: number[];
  readonly cmos: Map<number, number>;
  readonly modes: TestPortModes;
  in(port: number, sizeBytes?: number): number;
  out(port: number, value: number, sizeBytes?: number): void;
}

function bench(settings: Partial<MachineSettings> = {}, variables: Record<string, string> = {}, ramBytes = 32 * MIB): Bench {
  const ram = new Uint8Array(ramBytes);
  const lines = new TestIrqLines();
  const console = new MemoryBackend();
  const suspends: string[] = [],
    exits: number[] = [],
    flushed: number[] = [];
  const cmos = new Map<number, number>();
  const modes = new TestPortModes();
  const vm: MachineVm = {
    name: 'test',
    lowmemBytes: ramBytes,
    highmemBytes: 0,
    memory: { view: (gpa, sizeBytes) => (gpa <= ramBytes && sizeBytes <= ramBytes - gpa ? ram.subarray(gpa, gpa + sizeBytes) : undefined) },
    irq: lines,
    ports: modes,
    suspend: (reason) => {
      suspends.push(reason);
    },
    flushTranslation: (gpa) => {
      flushed.push(gpa);
    },
    rtcWrite: (offset, value) => {
      cmos.set(offset, value);
    },
    rtcSetTime: (seconds) => {
      cmos.set(-1, seconds);
    },
    hpetCapabilities: 0x80860701,
    mapDevmem: (_name, _gpa, sizeBytes) => new Uint8Array(sizeBytes),
  };
  const machine = createMachine(
    { ...SETTINGS, ...settings },
    { get: (name) => variables[name], children: () => [] },
    vm,
    {
      log: silentLog,
      clock: { nowMs: () => 1_000_000_500, localOffsetMs: () => 3_600_000 },
      serial: new Map([['com1', console]]),
      debugExit: (status) => {
        exits.push(status);
      },
    },
    false,
  );
  return {
    machine,
    ram,
    lines,
    console,
    suspends,
    exits,
    flushed,
    cmos,
    modes,
    in: (port, sizeBytes = 1) => machine.handlePortRead(0, port, sizeBytes),
    out: (port, value, sizeBytes = 1) => {
      machine.handlePortWrite(0, port, sizeBytes, value);
    },
  };
}

test('what nobody claims reads ones and needs no exit; with -e it ends the run', () => {
  const lenient = bench();
  equal(lenient.in(0x80), 0xff);
  equal(lenient.in(0x1234, 4), 0xffff_ffff);
  equal(lenient.modes.modes.get(0x80), 'open-bus open-bus');
  equal(lenient.modes.modes.has(0x40), false); // the PIT is vmm's
  const strict = bench({ strictIo: true });
  throws(() => strict.in(0x80), { code: 'EIO', message: /Unhandled inb 0x0080/ });
  equal(strict.modes.modes.get(0x80), 'exit exit');
});

test('the console reaches its backend', () => {
  const { out, console } = bench();
  for (const byte of new TextEncoder().encode('boot\n')) out(0x3f8, byte);
  equal(console.text(), 'boot\n');
});

test('all ways to reset and power off', () => {
  const { out, in: read, suspends } = bench();
  out(0xcf9, 0x02);
  out(0xcf9, 0x06);
  out(0x64, 0xfe);
  out(0x92, 0x01);
  out(0x92, 0x01); // no change from 0 to 1
  out(0x64, 0xd1);
  out(0x60, 0x02);
  deepEqual(suspends.splice(0), ['reset', 'reset', 'reset', 'reset']);
  equal(read(0xcf9), 0x02);
  out(0x404, 0x2000 | (4 << 10), 2);
  deepEqual(suspends, []);
  out(0x404, 0x2000 | (5 << 10), 2);
  deepEqual(suspends, ['poweroff']);
});

test('the power button needs an operating system that listens', () => {
  const { machine, out, in: read, lines } = bench();
  equal(machine.pressPowerButton(), false);
  out(0xb2, 0xa0);
  equal(read(0x404, 2), 1);
  lines.take();
  out(0x402, 0x0100, 2);
  equal(machine.pressPowerButton(), true);
  deepEqual(lines.take(), ['isaAssert 9 9']);
  equal(read(0x400, 2), 0x100);
  equal(read(0x401, 1), 1);
  out(0x400, 0x100, 2);
  deepEqual(lines.take(), ['isaDeassert 9 9']);
  out(0xb2, 0xa1);
  equal(machine.pressPowerButton(), false);
});

test('both configuration mechanisms show the same bridges', () => {
  const { machine, in: read, out } = bench();
  out(0xcf8, 0x8000_0000, 4);
  equal(read(0xcfc, 4), 0x1275_1275);
  equal(read(0xcfe, 2), 0x1275);
  equal(machine.handleMmioRead(0, 0xe000_0000, 4), 0x1275_1275);
  out(0xcf8, 0x8000_f808, 4);
  equal(read(0xcfc, 4), 0x0601_0000);
  equal(machine.handleMmioRead(0, 0xe000_0000 + (31 << 15), 4), 0x7000_8086);
  equal(machine.handleMmioRead(0, 0xe000_0000 + (31 << 15), 8), 0x7000_8086);
  equal(machine.mmioReadHigh, machine.handleMmioRead(0, 0xe000_0004 + (31 << 15), 4));
  out(0xcf8, 0x0000_0000, 4);
  equal(read(0xcfc, 4), 0xffff_ffff); // not enabled
  equal(read(0xcf8, 2), 0xffff);
  out(0xcf8, 0x8000_0800, 4);
  equal(read(0xcfc, 4), 0xffff_ffff); // nobody there
  equal(machine.handleMmioRead(0, 0xe000_0100, 4), 0); // no extended capabilities
  equal(machine.handleMmioRead(0, 0xe000_0104, 4), 0xffff_ffff);
  equal(machine.handleMmioRead(0, 0xe000_0001, 2), 0xffff); // not aligned
  equal(machine.handleMmioRead(0, 0xd000_0000, 4), 0xffff_ffff); // the hole
});

test('pc-testdev does what kernel authors expect', () => {
  const { machine, in: read, out, exits, flushed, lines } = bench();
  out(0xf4, 0, 4);
  out(0xf4, 5);
  out(0xf4, 0x31, 2);
  deepEqual(exits, [1, 11, 99]);
  out(0xe0, 0x1234_5678, 4);
  out(0xe1, 0xab);
  equal(read(0xe0, 4), 0x1234_ab78);
  equal(read(0xe2, 2), 0x1234);
  out(0xe8, 0x5a);
  equal(read(0xe8), 0x5a);
  out(0xe4, 0x12_3456, 4);
  deepEqual(flushed, [0x12_3000]);
  lines.take();
  out(0x2000 + 14, 1);
  out(0x2000 + 14, 1);
  out(0x2000 + 20, 1);
  out(0x2000 + 14, 0);
  deepEqual(lines.take(), ['isaAssert 14 14', 'ioapicAssert 20', 'isaDeassert 14 14']);
  machine.handleMmioWrite(0, 0xff00_fff8, 8, 0x1111_2222, 0x3333_4444);
  equal(machine.handleMmioRead(0, 0xff00_fffc, 4), 0x3333_4444);
  equal(machine.handleMmioRead(0, 0xff00_fffa, 2), 0x1111);
  equal(machine.handleMmioRead(0, 0xff01_0000, 4), 0xffff_ffff);
});

test("without -l pctestdev the ports are nobody's", () => {
  const { out, exits, in: read } = bench({ pcTestDev: false });
  out(0xf4, 1);
  deepEqual([exits, read(0xe8)], [[], 0xff]);
});

test('fw_cfg gives the CPU count under key 5, zeroes under unknown keys, and lists its files', () => {
  const { in: read, out } = bench();
  const item = (key: number, sizeBytes: number): number[] => {
    out(0x510, key, 2);
    return Array.from({ length: sizeBytes }, () => read(0x511));
  };
  deepEqual(item(5, 3), [2, 0, 0]);
  deepEqual(item(0x7777, 4), [0, 0, 0, 0]);
  equal(String.fromCharCode(...item(0, 4)), 'QEMU');
  const directory = Buffer.from(item(0x19, 4 + 5 * 64));
  equal(directory.readUInt32BE(0), 5);
  const entries = [0, 1, 2, 3, 4].map((index) => directory.subarray(4 + index * 64, 68 + index * 64));
  const names = entries.map((entry) => entry.subarray(8, entry.indexOf(0, 8)).toString());
  deepEqual(names, ['etc/acpi/rsdp', 'etc/acpi/tables', 'etc/e820', 'etc/table-loader', 'opt/bhyve/hw.ncpu']);
  const key = entries[2]?.readUInt16BE(4) ?? 0;
  deepEqual(item(key, 20), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
});

test('tables are where guests look for them, the RTC knows time and memory', () => {
  const { ram, cmos, machine } = bench();
  const at = (gpa: number, sizeBytes: number): string => Buffer.from(ram.subarray(gpa, gpa + sizeBytes)).toString('latin1');
  deepEqual([at(0xf0000, 4), at(0xf1000, 4), at(0xf2400, 8)], ['_MP_', '_SM_', 'RSD PTR ']);
  deepEqual([cmos.get(-1), cmos.get(0x34), cmos.get(0x35)], [1_000_000, 0, 1]);
  deepEqual(
    machine.e820.map(({ start, sizeBytes }) => [start, sizeBytes]),
    [
      [0, 0xa0000],
      [0x100000, 31 * MIB],
    ],
  );
  const bare = bench({}, { acpi_tables: 'no', 'x86.mptable': 'false' });
  deepEqual([bare.ram[0xf0000], bare.ram[0xf2400]], [0, 0]);
});

test('bad configuration is refused by name', () => {
  throws(() => bench({}, {}, MIB), /-m: 1048576 bytes of memory: expected at least 2M/);
  throws(() => bench({}, { 'lpc.pcireg.vendor': 'xyz' }), /lpc.pcireg.vendor=xyz: expected a hexadecimal number up to 0xffff/);
  throws(() => bench({}, { acpi_tables: 'maybe' }), /acpi_tables=maybe: expected true/);
  throws(() => bench({ pci: [{ bus: 0, slot: 3, func: 0, device: 'nvme' }] }), /device "nvme" is not in this version/);
  throws(() => bench({ pci: [SETTINGS.pci[1]!, { bus: 0, slot: 30, func: 0, device: 'lpc' }] }), /Only one LPC bridge/);
  equal(bench({}, { 'lpc.pcireg.device': '0x1c4b' }).machine.pci.readConfig(0, 31, 0, 2, 2), 0x1c4b);
});

test("save and restore carry every device; another machine's file is refused", () => {
  const first = bench();
  first.out(0x3ff, 0x77);
  first.out(0xb2, 0xa0);
  first.out(0xcf8, 0x8000_f860, 4);
  first.out(0xcfc, 0x0a);
  const saved = JSON.parse(JSON.stringify(first.machine.save()));
  const second = bench();
  second.machine.restore(saved);
  deepEqual(second.machine.save(), saved);
  deepEqual([second.in(0x3ff), second.in(0x404, 2), second.in(0xcfc)], [0x77, 1, 0x0a]);
  throws(() => bench({ pcTestDev: false }).machine.restore(saved), /device 'pc-testdev' is not part/);
  match(first.machine.describe().join('\n'), /com1: scr 0x77/);
  first.machine.reset();
  deepEqual(first.machine.save(), bench().machine.save());
});

test('no access of any width anywhere makes the machine throw', () => {
  const { machine } = bench();
  let seed = 7;
  const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0);
  for (let round = 0; round < 50_000; round++) {
    const sizeBytes = [1, 2, 4, 8][(random() >>> 9) & 3] ?? 1;
    const value = sizeBytes >= 4 ? random() : random() % 2 ** (8 * sizeBytes);
    const gpa = [0xe000_0000, 0xff00_0000, 0xc000_0000, 0xfffe_0000][(random() >>> 9) & 3] ?? 0;
    const offset = random() % 0x1_0010;
    machine.handleMmioWrite(0, gpa + offset, sizeBytes, value, random());
    ok(Number.isInteger(machine.handleMmioRead(0, gpa + offset, sizeBytes)));
    const port = (random() >>> 8) & 0xffff,
      width = Math.min(sizeBytes, 4);
    machine.handlePortWrite(
      0,
      round % 2 === 0 ? port : ([0xcf8, 0xcfc, 0x3f8, 0x60, 0x64, 0x510, 0xe0, 0x400][(random() >>> 9) & 7] ?? 0),
      width,
      value,
    );
    const answer = machine.handlePortRead(0, port, width);
    ok(answer >= 0 && answer < 2 ** (8 * width));
  }
});
