import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { HVA_RAM, PROTECTION_EXEC, PROTECTION_READ, TLB_ENTRIES, TLB_ENTRY_BYTES, TLB_WRITE } from '../base/memory-map.ts';
import { VCPU } from './state.ts';
import { ALL_ONES, CpuWasm } from './testing/cpu-wasm.ts';

const RAM_BYTES = 0x10_0000;
const DS = 3,
  SS = 2;
const DEVICE = 0x20_0000n,
  ROM = 0x30_0000n;

/** Flat 32-bit code without paging: RAM at 0, ROM at 3 MiB, nothing (a device) elsewhere. */
function flat(): CpuWasm {
  const cpu = new CpuWasm(RAM_BYTES + 0x1000, [
    { gpa: 0n, end: BigInt(RAM_BYTES) },
    { gpa: ROM, end: ROM + 0x1000n, hva: BigInt(HVA_RAM + RAM_BYTES), protection: PROTECTION_READ | PROTECTION_EXEC },
  ]);
  cpu.set('cr0', 1n);
  for (let segment = 0; segment < 6; segment++) cpu.setSegment(segment, 8, 0n, 0xffff_ffff, segment === 1 ? 0xc09b : 0xc093);
  cpu.call('refreshState');
  return cpu;
}

/** The tag which lets stores to this page hit the inline TLB. */
function writeTag(cpu: CpuWasm, linear: bigint): bigint {
  return cpu.record.getBigUint64(Number(cpu.get('tlb')) + (Number(linear >> 12n) & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES + TLB_WRITE, true);
}

test('an access across two pages of RAM is one value', () => {
  const cpu = flat();
  cpu.call('slowStore64', 0x1ffdn, 0x1122_3344_5566_7788n, DS);
  equal(cpu.call('slowLoad64', 0x1ffdn, DS), 0x1122_3344_5566_7788n);
  equal(cpu.read8(0x1fff), 0x66);
  equal(cpu.read8(0x2000), 0x55);
  cpu.call('slowStore16', 0x2fffn, 0xabcd, DS);
  equal(cpu.call('slowLoad16', 0x2fffn, DS), 0xabcdn);
});

test('16 bytes go through the scratch words, across pages as well', () => {
  const cpu = flat();
  cpu.set('scratch', 0x1111n, 0);
  cpu.set('scratch', 0x2222n, 1);
  cpu.call('slowStore128', 0x1ff5n, DS);
  cpu.set('scratch', 0n, 0);
  cpu.set('scratch', 0n, 1);
  cpu.call('slowLoad128', 0x1ff5n, DS);
  deepEqual([cpu.get('scratch', 0), cpu.get('scratch', 1)], [0x1111n, 0x2222n]);
});

test('what is no RAM goes to the bus, in the width of the access', () => {
  const cpu = flat();
  equal(cpu.call('slowLoad32', DEVICE + 4n, DS), 0x5566_7788n);
  cpu.call('slowStore16', DEVICE + 8n, 0xbeef, DS);
  cpu.call('slowLoad128', DEVICE, DS);
  deepEqual(
    cpu.accesses.map(({ kind, at, sizeBytes }) => [kind, at, sizeBytes]),
    [
      ['read', DEVICE + 4n, 4],
      ['write', DEVICE + 8n, 2],
      ['read', DEVICE, 8],
      ['read', DEVICE + 8n, 8],
    ],
  );
});

test('an access from RAM into a device is split at the page', () => {
  const cpu = flat();
  const edge = BigInt(RAM_BYTES);
  cpu.call('slowStore64', edge - 3n, 0x8877_6655_4433_2211n, DS);
  deepEqual([cpu.read8(RAM_BYTES - 3), cpu.read8(RAM_BYTES - 2), cpu.read8(RAM_BYTES - 1)], [0x11, 0x22, 0x33]);
  deepEqual(cpu.accesses, [
    { kind: 'write', at: edge, sizeBytes: 4, value: 0x7766_5544n },
    { kind: 'write', at: edge + 4n, sizeBytes: 1, value: 0x88n },
  ]);
});

test('ROM reads as memory and its writes go to the bus', () => {
  const cpu = flat();
  cpu.ram.setUint32(HVA_RAM + RAM_BYTES, 0xfeed_f00d, true);
  equal(cpu.call('slowLoad32', ROM, DS), 0xfeed_f00dn);
  cpu.call('slowStore32', ROM, 1, DS);
  equal(cpu.call('slowLoad32', ROM, DS), 0xfeed_f00dn);
  const place = cpu.call('slowProbe', ROM, 4, DS);
  equal(cpu.ram.getUint32(Number(place), true), 0xfeed_f00d);
  cpu.ram.setUint32(Number(place), 7, true);
  cpu.call('commitBounce');
  deepEqual(
    cpu.accesses.map(({ kind, at, value }) => [kind, at, value]),
    [
      ['write', ROM, 1n],
      ['write', ROM, 7n],
    ],
  );
  equal(cpu.call('fetchTranslate', ROM + 5n), BigInt(HVA_RAM + RAM_BYTES + 5));
});

test('a page that holds code takes no inline stores, and a store into a decoded line is told', () => {
  const cpu = flat();
  cpu.call('slowStore32', 0x5000n, 1, DS);
  equal(writeTag(cpu, 0x5000n), 0x5000n);
  cpu.setCodeLines(HVA_RAM + 0x5000, 0b100n); // bytes 0x80..0xbf
  cpu.call('tlbProtectPage', BigInt(HVA_RAM + 0x5000));
  equal(writeTag(cpu, 0x5000n), ALL_ONES);
  cpu.call('slowStore32', 0x5000n, 2, DS);
  cpu.call('slowStore32', 0x507cn, 3, DS);
  cpu.call('slowStore32', 0x50c0n, 4, DS);
  deepEqual(cpu.codeWritten, []);
  equal(writeTag(cpu, 0x5000n), ALL_ONES);
  cpu.call('slowStore32', 0x507en, 5, DS);
  deepEqual(cpu.codeWritten, [{ page: HVA_RAM + 0x5000, lines: 0b100n }]);
  cpu.setCodeLines(HVA_RAM + 0x5000, 0n);
  cpu.call('slowStore32', 0x5000n, 6, DS);
  equal(writeTag(cpu, 0x5000n), 0x5000n);
});

test('FXSAVE and FXRSTOR move the area page by page, to devices by quadwords, and tell of decoded lines', () => {
  const cpu = flat();
  cpu.set('cr4', 0x200); // OSFXSR
  const fill = (byte: number): void => {
    for (let i = 0; i < 8; i++)
      for (const half of [0, 8]) cpu.record.setBigUint64(cpu.vcpu + VCPU.offset.vector + i * 32 + half, BigInt(byte + i), true);
  };
  fill(1);
  cpu.setCodeLines(HVA_RAM + 0x6000, 0b1n);
  cpu.call('fxsave', 0x5f30n, DS, 0);
  deepEqual(cpu.codeWritten, [{ page: HVA_RAM + 0x6000, lines: 0b1n }]);
  fill(0x40);
  cpu.call('fxrstor', 0x5f30n, DS, 0);
  deepEqual([cpu.get('vector', 0) & 0xffn, cpu.get('vector', 14) & 0xffn], [1n, 8n]);
  equal(cpu.fault(), '');
  cpu.call('fxsave', BigInt(RAM_BYTES) - 0xc0n, DS, 0); // 160 bytes and two registers in RAM
  deepEqual(
    cpu.accesses.map(({ kind, at, sizeBytes, value }) => [kind, at, sizeBytes, value]),
    Array.from({ length: 12 }, (_, i) => ['write', BigInt(RAM_BYTES + i * 8), 8, BigInt(3 + (i >> 1))]),
  );
});

test('a read-modify-write works in place in RAM and through the bounce elsewhere', () => {
  const cpu = flat();
  equal(cpu.call('slowProbe', 0x6008n, 8, DS), BigInt(HVA_RAM + 0x6008));
  // Across pages.
  cpu.call('slowStore64', 0x6ffcn, 0x1122_3344_5566_7788n, DS);
  const place = Number(cpu.call('slowProbe', 0x6ffcn, 8, DS));
  equal(place < HVA_RAM, true);
  equal(cpu.ram.getBigUint64(place, true), 0x1122_3344_5566_7788n);
  cpu.ram.setBigUint64(place, 0x99n, true);
  cpu.call('commitBounce');
  equal(cpu.call('slowLoad64', 0x6ffcn, DS), 0x99n);
  // On a decoded line: still told.
  cpu.setCodeLines(HVA_RAM + 0x8000, 1n);
  const code = Number(cpu.call('slowProbe', 0x8000n, 4, DS));
  cpu.ram.setUint32(code, 0x77, true);
  cpu.call('commitBounce');
  equal(cpu.read32(0x8000), 0x77);
  equal(cpu.codeWritten.length, 1);
  // On a device.
  const device = Number(cpu.call('slowProbe', DEVICE, 4, DS));
  cpu.ram.setUint32(device, 0x55, true);
  cpu.call('commitBounce');
  deepEqual(
    cpu.accesses.map(({ kind, sizeBytes, value }) => [kind, sizeBytes, value]),
    [
      ['read', 4, 0x5566_7788n],
      ['write', 4, 0x55n],
    ],
  );
});

test('#AC at CPL 3 with CR0.AM and RFLAGS.AC, after the page has been found', () => {
  const cpu = flat();
  cpu.set('cr0', 0x4_0001n);
  cpu.set('cpl', 3);
  cpu.set('rflags', 0x4_0002n);
  cpu.call('updateAccessClass');
  cpu.call('slowLoad32', 0x5002n, DS);
  equal(cpu.fault(), '#17(0)');
  cpu.call('slowStore32', 0x5001n, 7, DS);
  equal(cpu.fault(), '#17(0)');
  equal(cpu.read32(0x5000), 0);
  cpu.call('slowProbe', 0x5001n, 2, DS);
  equal(cpu.fault(), '#17(0)');
  cpu.call('slowLoad8', 0x5001n, DS);
  cpu.call('slowLoad32', 0x5004n, DS);
  equal(cpu.fault(), '');
  cpu.set('cpl', 0);
  cpu.call('slowLoad32', 0x5002n, DS);
  equal(cpu.fault(), '');
});

test('data breakpoints are noted for the trap after the instruction', () => {
  const cpu = flat();
  cpu.call('writeDebug', 0, 0x5004n);
  cpu.call('writeDebug', 1, 0x6000n);
  cpu.call('writeDebug', 7, 0x1n | 0x8n | (0b1101n << 16n) | (0b0011n << 20n)); // L0: write 4 bytes; G1: read or write 1 byte
  const hit = (name: string, ...values: (number | bigint)[]): bigint => {
    cpu.call(name, ...values);
    const bits = cpu.get('pendingDebug');
    cpu.set('pendingDebug', 0);
    return bits;
  };
  deepEqual(
    [
      hit('slowStore8', 0x5007n, 1, DS),
      hit('slowStore8', 0x5008n, 1, DS),
      hit('slowLoad32', 0x5004n, DS),
      hit('slowStore64', 0x4ffdn, 1n, DS),
      hit('slowLoad8', 0x6000n, DS),
      hit('slowLoad8', 0x6001n, DS),
      hit('slowProbe', 0x5ffdn, 4, DS),
    ],
    [1n, 0n, 0n, 1n, 2n, 0n, 2n],
  );
  cpu.call('writeDebug', 7, 0x2n); // G0: execute
  cpu.call('writeDebug', 0, 0x1234n);
  deepEqual([cpu.call('instructionBreakpoint', 0x1234n), cpu.call('instructionBreakpoint', 0x1235n)], [1n, 0n]);
});

test('with breakpoints or alignment checks on, no access may hit the inline TLB', () => {
  const cpu = flat();
  cpu.call('slowLoad32', 0x5000n, DS);
  const usual = cpu.get('tlb');
  cpu.call('writeDebug', 7, 0x1n | (1n << 16n));
  equal(cpu.get('tlb') === usual, false);
  cpu.call('slowLoad32', 0x5000n, DS);
  const entry = Number(cpu.get('tlb')) + 5 * TLB_ENTRY_BYTES;
  equal(cpu.record.getBigUint64(entry, true), ALL_ONES);
  cpu.call('writeDebug', 7, 0n);
  equal(cpu.get('tlb'), usual);
});

test('legacyAddress checks limits, rights and the unusable register', () => {
  const cpu = flat();
  cpu.setSegment(0, 0x10, 0x1000n, 0xff, 0x93); // ES: data, writable, 256 bytes
  cpu.setSegment(4, 0x18, 0x1000n, 0xff, 0x91); // FS: data, read only
  cpu.setSegment(5, 0x20, 0x1000n, 0xfff, 0x4097); // GS: expand down, 32-bit: 0x1000..ffffffff
  cpu.setSegment(1, 0x28, 0n, 0xffff_ffff, 0xc099); // CS: execute only
  const at = (segment: number, offset: bigint, sizeBytes: number, write: number): string => {
    const linear = cpu.call('legacyAddress', segment, offset, sizeBytes, write);
    const fault = cpu.fault();
    return fault === '' ? linear.toString(16) : fault;
  };
  deepEqual(
    [at(0, 0xf8n, 8, 1), at(0, 0xf9n, 8, 1), at(0, 0xffff_ffffn, 2, 0), at(4, 0n, 4, 0), at(4, 0n, 4, 1)],
    ['10f8', '#13(0)', '#13(0)', '1000', '#13(0)'],
  );
  deepEqual(
    [at(5, 0x1000n, 4, 1), at(5, 0xfffn, 1, 1), at(5, 0xffff_fffdn, 4, 1), at(1, 0n, 1, 0)],
    ['2000', '#13(0)', '#13(0)', '#13(0)'],
  );
  cpu.setSegment(SS, 0x30, 0n, 0xfff, 0x93);
  equal(at(SS, 0x1000n, 1, 1), '#12(0)');
  cpu.setSegment(0, 0, 0n, 0, 0x10000);
  equal(at(0, 0n, 1, 0), '#13(0)');
});

test('strings move and fill in bulk up to the end of the page', () => {
  const cpu = flat();
  for (let i = 0; i < 64; i++) cpu.write8(0x1000 + i, i);
  equal(cpu.call('stringMove', 0x2000n, 0x1000n, 64n, 0), 0n); // not in the TLB yet
  cpu.call('slowLoad8', 0x1000n, DS);
  cpu.call('slowStore8', 0x2000n, 0, DS);
  equal(cpu.call('stringMove', 0x2ff0n, 0x1000n, 64n, 2), 4n);
  equal(cpu.read8(0x2fff), 15);
  equal(cpu.call('stringMove', 0x1001n, 0x1000n, 8n, 0), 0n); // each byte is read after it was written: not a block copy
  equal(cpu.call('stringMove', 0x1000n, 0x1001n, 8n, 0), 8n); // downwards an overlap is a plain move
  equal(cpu.call('stringFill', 0x2ffcn, 0x0102_0304n, 100n, 2), 1n);
  equal(cpu.read32(0x2ffc), 0x0102_0304);
  equal(cpu.call('stringFill', 0x2000n, 0n, 100n, 3), 100n);
  equal(cpu.call('stringFill', 0x2ffen, 0n, 1n, 2), 0n); // crosses
});
