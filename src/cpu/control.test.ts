import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { CPUID_ROWS, CPUID_TABLE } from '../base/memory-map.ts';
import { cpuidRows, signatureOf, writeCpuidTable } from './cpuid.ts';
import type { CpuidConfig } from './cpuid.ts';
import { CONSTANT_MSRS, writeMsrTable } from './msr.ts';
import { CpuWasm } from './testing/cpu-wasm.ts';

const RAM_BYTES = 0x10_0000;
const CS = 1,
  DS = 3;
const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3;

/** 32-bit protected mode, ring 0. */
function machine(): CpuWasm {
  const cpu = new CpuWasm(RAM_BYTES);
  cpu.set('cr0', 0x11n);
  cpu.setSegment(CS, 8, 0n, 0xffff_ffff, 0xc09b);
  cpu.call('refreshState');
  writeMsrTable(cpu.record);
  return cpu;
}

function longMode(): CpuWasm {
  const cpu = machine();
  cpu.write64(0x1000, 0x2007n);
  cpu.write64(0x2000, 0x87n);
  cpu.set('cr0', 0x8001_0031n);
  cpu.set('cr3', 0x1000n);
  cpu.set('cr4', 0x6a0n);
  cpu.set('efer', 0xd00n);
  cpu.setSegment(CS, 8, 0n, 0xffff_ffff, 0xa09b);
  cpu.call('refreshState');
  return cpu;
}

function write(cpu: CpuWasm, register: number, value: bigint): string {
  const before = cpu.architecturalState();
  cpu.call('writeControl', register, value);
  const fault = cpu.fault();
  if (fault !== '') equal(cpu.architecturalState(), before);
  return fault;
}

function writeMsr(cpu: CpuWasm, msr: number, value: bigint): string {
  cpu.set('gpr', msr, RCX);
  cpu.set('gpr', value & 0xffff_ffffn, RAX);
  cpu.set('gpr', value >> 32n, RDX);
  cpu.call('wrmsr');
  return cpu.fault();
}

function readMsr(cpu: CpuWasm, msr: number): bigint | string {
  cpu.set('gpr', 0xffff_ffff_0000_0000n | BigInt(msr), RCX);
  cpu.call('rdmsr');
  const fault = cpu.fault();
  return fault === '' ? cpu.get('gpr', RAX) | (cpu.get('gpr', RDX) << 32n) : fault;
}

test('the way into long mode and back sets LMA, mode and stack mask', () => {
  const cpu = machine();
  equal(write(cpu, 4, 0x20n), '');
  equal(writeMsr(cpu, 0xc000_0080, 0x100n), '');
  equal(write(cpu, 0, 0x8000_0011n), '');
  deepEqual([cpu.get('efer'), cpu.get('mode') & 3n, cpu.get('stackMask')], [0x500n, 1n, 0xffffn]); // compatibility mode; SS.B is clear
  cpu.setSegment(CS, 8, 0n, 0xffff_ffff, 0xa09b);
  cpu.call('refreshState');
  deepEqual([cpu.get('mode') & 3n, cpu.get('stackMask')], [2n, 0xffff_ffff_ffff_ffffn]);
  equal(write(cpu, 0, 0x11n), '#13(0)'); // not from 64-bit code
  equal(write(cpu, 4, 0n), '#13(0)'); // PAE stays
  equal(writeMsr(cpu, 0xc000_0080, 0n), '#13(0)'); // LME stays
  cpu.setSegment(CS, 8, 0n, 0xffff_ffff, 0xc09b);
  cpu.call('refreshState');
  equal(write(cpu, 0, 0x11n), '');
  equal(cpu.get('efer'), 0x100n);
});

test('CR0: PG without PE, NW without CD, LME without PAE, CS.L and reserved bits', () => {
  const cpu = machine();
  deepEqual([write(cpu, 0, 0x8000_0010n), write(cpu, 0, 0x2000_0011n), write(cpu, 0, 0x6000_0011n)], ['#13(0)', '#13(0)', '']);
  equal(write(cpu, 0, 0x1_0000_01c1n & 0xffff_ffffn), '');
  equal(cpu.get('cr0'), 0x11n); // unknown bits are dropped, ET stays
  cpu.set('efer', 0x100n);
  equal(write(cpu, 0, 0x8000_0011n), '#13(0)');
  cpu.set('cr4', 0x20n);
  cpu.set('segAccess', 0x83, 7); // a 16-bit TSS
  equal(write(cpu, 0, 0x8000_0011n), '#13(0)');
  equal(write(longMode(), 0, 0x1_8001_0031n), '#13(0)');
});

test('CR3 and CR4: reserved bits, PCIDs only from PCID 0 in long mode', () => {
  const cpu = longMode();
  deepEqual(
    [write(cpu, 3, 1n << 46n), write(cpu, 3, 1n << 63n), write(cpu, 4, 0x6a0n | 0x2000n), write(cpu, 4, 0x6a0n | 1n)],
    ['#13(0)', '#13(0)', '#13(0)', '#13(0)'],
  );
  equal(write(cpu, 4, 0x2_06a0n), '');
  equal(write(cpu, 3, (1n << 63n) | 0x1005n), '');
  equal(cpu.get('cr3'), 0x1005n);
  equal(write(cpu, 4, 0x6a0n), '');
  equal(write(cpu, 4, 0x2_06a0n), '#13(0)'); // CR3 now has a PCID
  equal(write(machine(), 4, 0x2_0020n), '#13(0)');
  deepEqual([write(cpu, 8, 15n), cpu.tpr, write(cpu, 8, 16n), write(cpu, 5, 0n)], ['', 15, '#13(0)', '#6']);
  cpu.set('cpl', 3);
  deepEqual([write(cpu, 0, 0x11n), write(cpu, 3, 0n), write(cpu, 8, 0n)], ['#13(0)', '#13(0)', '#13(0)']);
});

test('debug registers: DR4 and DR5, CR4.DE, general detect, reserved bits', () => {
  const cpu = longMode();
  cpu.call('writeDebug', 5, 0n);
  equal(cpu.get('dr', 7), 0x400n);
  cpu.call('writeDebug', 4, 0n);
  equal(cpu.get('dr', 6), 0xffff_0ff0n);
  cpu.call('writeDebug', 7, 1n << 32n);
  equal(cpu.fault(), '#13(0)');
  cpu.call('writeDebug', 7, 0x2000n);
  cpu.call('readDebug', 0);
  equal(cpu.fault(), '#1');
  equal(cpu.get('dr', 6), 0xffff_2ff0n);
  cpu.set('dr', 0x400n, 7);
  cpu.set('cr4', 0x6a8n);
  cpu.call('readDebug', 4);
  equal(cpu.fault(), '#6');
});

test('LMSW sets PE and cannot clear it; CLTS clears TS alone', () => {
  const cpu = new CpuWasm(RAM_BYTES);
  cpu.call('lmsw', 0xfff9);
  equal(cpu.get('cr0'), 0x6000_0019n);
  cpu.call('lmsw', 0);
  equal(cpu.get('cr0'), 0x6000_0011n);
  cpu.set('cr0', 0x1bn);
  cpu.call('clts');
  equal(cpu.get('cr0'), 0x13n);
});

test('MSRs keep what they may and refuse the rest', () => {
  const cpu = longMode();
  const bad = 1n << 50n;
  for (const msr of [0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x175, 0x176]) {
    deepEqual(
      [writeMsr(cpu, msr, bad), writeMsr(cpu, msr, 0xffff_8000_0000_1000n), readMsr(cpu, msr)],
      ['#13(0)', '', 0xffff_8000_0000_1000n],
      msr.toString(16),
    );
  }
  equal(cpu.get('segBase', 5), 0xffff_8000_0000_1000n);
  deepEqual(
    [writeMsr(cpu, 0x277, 0x0007_0406_0007_0406n), writeMsr(cpu, 0x277, 2n), readMsr(cpu, 0x277)],
    ['', '#13(0)', 0x0007_0406_0007_0406n],
  );
  deepEqual([readMsr(cpu, 0xfe), writeMsr(cpu, 0xfe, 0n)], [0x50an, '#13(0)']);
  deepEqual(
    [writeMsr(cpu, 0x2ff, 0xc06n), writeMsr(cpu, 0x2ff, 0x1000n), writeMsr(cpu, 0x2ff, 2n), readMsr(cpu, 0x2ff)],
    ['', '#13(0)', '#13(0)', 0xc06n],
  );
  for (const msr of [0x250, 0x258, 0x259, 0x268, 0x26f])
    deepEqual([writeMsr(cpu, msr, 0x0606_0606_0606_0600n + BigInt(msr & 1)), writeMsr(cpu, msr, 3n)], ['', '#13(0)']);
  equal(readMsr(cpu, 0x259), 0x0606_0606_0606_0601n);
  deepEqual(
    [
      writeMsr(cpu, 0x213, 0x3fff_f000_0800n),
      writeMsr(cpu, 0x213, 1n << 46n),
      writeMsr(cpu, 0x212, 0x8000_0006n),
      writeMsr(cpu, 0x214, 0n),
    ],
    ['', '#13(0)', '', '#13(0)'],
  );
  deepEqual(
    [writeMsr(cpu, 0xc000_0084, 1n << 32n), writeMsr(cpu, 0xc000_0103, 1n << 32n), writeMsr(cpu, 0xc000_0080, 0x1000n)],
    ['#13(0)', '#13(0)', '#13(0)'],
  );
  deepEqual([readMsr(cpu, 0x8b), writeMsr(cpu, 0x8b, 5n), readMsr(cpu, 0x3a), writeMsr(cpu, 0x3a, 5n)], [0n, '', 1n, '#13(0)']);
  deepEqual([readMsr(cpu, 0x1234), writeMsr(cpu, 0x1234, 0n)], ['#13(0)', '#13(0)']);
  cpu.msrs.set(0x1b, 0xfee0_0900n);
  deepEqual([readMsr(cpu, 0x1b), writeMsr(cpu, 0x1b, 0xfee0_0800n), cpu.msrs.get(0x1b)], [0xfee0_0900n, '', 0xfee0_0800n]);
  cpu.set('cpl', 3);
  deepEqual([readMsr(cpu, 0x277), writeMsr(cpu, 0x277, 0n)], ['#13(0)', '#13(0)']);
});

test('the time-stamp counter: writes move TSC_ADJUST, TSD keeps user code out', () => {
  const cpu = longMode();
  cpu.tsc = 1000n;
  equal(writeMsr(cpu, 0x10, 5000n), '');
  deepEqual([readMsr(cpu, 0x10), readMsr(cpu, 0x3b)], [5000n, 4000n]);
  equal(writeMsr(cpu, 0x3b, 0n), '');
  equal(readMsr(cpu, 0x10), 1000n);
  equal(writeMsr(cpu, 0xc000_0103, 7n), '');
  equal(cpu.call('readTsc', 1), 1000n);
  cpu.set('cr4', 0x6a4n);
  cpu.set('cpl', 3);
  cpu.call('readTsc', 1);
  equal(cpu.fault(), '#13(0)');
});

test('XCR0 is x87 and SSE, and asks for CR4.OSXSAVE', () => {
  const cpu = longMode();
  const set = (value: bigint, index = 0): string => {
    cpu.set('gpr', index, RCX);
    cpu.set('gpr', value, RAX);
    cpu.set('gpr', 0n, RDX);
    cpu.call('xsetbv');
    return cpu.fault();
  };
  equal(set(3n), '#6');
  cpu.set('cr4', 0x4_06a0n);
  deepEqual([set(3n), set(7n), set(2n), set(1n), set(3n), set(3n, 1)], ['', '#13(0)', '#13(0)', '', '', '#13(0)']);
});

function ask(cpu: CpuWasm, leaf: number, subleaf = 0): number[] {
  cpu.set('gpr', leaf, RAX);
  cpu.set('gpr', subleaf, RCX);
  cpu.call('cpuid');
  return [RAX, RBX, RCX, RDX].map((register) => Number(cpu.get('gpr', register)));
}

function identified(config: CpuidConfig): CpuWasm {
  const cpu = longMode();
  writeCpuidTable(cpu.record, cpuidRows(config));
  cpu.set('apicBase', 0xfee0_0900n);
  return cpu;
}

const text = (...words: number[]): string =>
  words.map((word) => String.fromCharCode(word & 0xff, (word >>> 8) & 0xff, (word >>> 16) & 0xff, word >>> 24)).join('');

test('CPUID: vendor, brand and hypervisor', () => {
  const cpu = identified({ vendor: 'AuthenticAMD', brand: 'A processor' });
  const [highest = 0, b = 0, c = 0, d = 0] = ask(cpu, 0);
  deepEqual([highest, text(b, d, c)], [0x16, 'AuthenticAMD']);
  equal(text(...ask(cpu, 0x8000_0002), ...ask(cpu, 0x8000_0003), ...ask(cpu, 0x8000_0004)).replace(/\0+$/, ''), 'A processor');
  const [top = 0, ...words] = ask(cpu, 0x4000_0000);
  deepEqual([top, text(...words)], [0x4000_0001, 'bhyve bhyve ']);
  throws(() => cpuidRows({ vendor: 'short' }), { code: 'EINVAL' });
  throws(() => cpuidRows({ brand: 'x'.repeat(48) }), { code: 'EINVAL' });
});

test('CPUID: bits that follow the state of the vCPU', () => {
  const cpu = identified({ x2apic: true, cores: 4, threads: 2 });
  cpu.set('apicId', 5);
  const [, , withoutXsave = 0] = ask(cpu, 1);
  equal((withoutXsave >>> 27) & 1, 0);
  cpu.set('cr4', 0x4_06a0n);
  const [signature, b = 0, c = 0, d = 0] = ask(cpu, 1);
  deepEqual(
    [signature, b >>> 24, (b >>> 16) & 0xff, (c >>> 27) & 1, (c >>> 21) & 1, (d >>> 9) & 1, (d >>> 28) & 1],
    [signatureOf(), 5, 8, 1, 1, 1, 1],
  );
  cpu.set('apicBase', 0xfee0_0100n);
  equal(((ask(cpu, 1)[3] ?? 0) >>> 9) & 1, 0);
  deepEqual(
    [ask(cpu, 0xb, 0), ask(cpu, 0xb, 1), ask(cpu, 0xb, 2)],
    [
      [1, 2, 0x100, 5],
      [3, 8, 0x201, 5],
      [0, 0, 2, 5],
    ],
  );
});

test('CPUID: no AVX, no VMX, no MONITOR; out-of-range leaves answer as the highest', () => {
  const cpu = identified({});
  const [, , c = 0] = ask(cpu, 1),
    [, b7 = 0] = ask(cpu, 7);
  deepEqual([(c >>> 28) & 1, (c >>> 5) & 1, (c >>> 3) & 1, (c >>> 12) & 1, (b7 >>> 5) & 1, (b7 >>> 3) & 1], [0, 0, 0, 0, 0, 0]);
  deepEqual(ask(cpu, 7, 1), [0, 0, 0, 0]);
  deepEqual(ask(cpu, 0x1000), ask(cpu, 0x16));
  deepEqual(ask(cpu, 0x9000_0000), ask(cpu, 0x16));
  deepEqual(ask(cpu, 0xd, 0), [3, 576, 576, 0]);
});

test('CPUID 15h gives the frequency of the counter exactly, where 32 bits can compute it', () => {
  const [denominator = 0, numerator = 0, crystal = 0] = ask(identified({ tscHz: 1_073_741_824 }), 0x15);
  equal((crystal * numerator) / denominator, 1_073_741_824);
  equal(crystal, 134_217_728);
  for (const tscHz of [2_593_906_000, 3_000_000_001]) deepEqual(ask(identified({ tscHz }), 0x15), [0, 0, 0, 0]);
});

test('the CPUID table is sorted and fits its place', () => {
  const rows = cpuidRows();
  const keys = rows.map(({ leaf, subleaf }) => leaf * 1000 + (subleaf === 'any' ? 0 : subleaf));
  deepEqual(
    keys,
    keys.toSorted((x, y) => x - y),
  );
  equal(CPUID_ROWS - CPUID_TABLE + rows.length * 24 < 0x1_0000, true);
  equal(CONSTANT_MSRS.length < 64, true);
});

// --- extended state ---

test('FXSAVE and FXRSTOR carry x87, MXCSR and XMM; a reserved MXCSR bit or a misaligned area is #GP(0)', () => {
  const cpu = longMode();
  cpu.set('fcw', 0x27f);
  cpu.set('fsw', 0x3800); // TOP 7
  cpu.set('ftw', 0x81);
  cpu.set('mxcsr', 0x1fa0);
  cpu.record.setBigUint64(cpu.vcpu + 0x400 + 7 * 16, 0x8000_0000_0000_0001n, true);
  cpu.record.setUint16(cpu.vcpu + 0x400 + 7 * 16 + 8, 0x3fff, true);
  cpu.record.setBigUint64(cpu.vcpu + 0x200 + 15 * 32 + 8, 0xfeedn, true);
  cpu.call('fxsave', 0x4000n, DS, 1);
  equal(cpu.fault(), '');
  deepEqual(
    [cpu.read16(0x4000), cpu.read16(0x4002), cpu.read8(0x4004), cpu.read32(0x4018), cpu.read32(0x401c)],
    [0x27f, 0x3800, 0x81, 0x1fa0, 0xffff],
  );
  deepEqual([cpu.read64(0x4020), cpu.read16(0x4028), cpu.read64(0x4000 + 160 + 15 * 16 + 8)], [0x8000_0000_0000_0001n, 0x3fff, 0xfeedn]);
  const back = longMode();
  for (let at = 0; at < 512; at += 8) back.write64(0x4000 + at, cpu.read64(0x4000 + at));
  back.call('fxrstor', 0x4000n, DS, 1);
  deepEqual([back.fault(), back.get('fcw'), back.get('fsw'), back.get('ftw'), back.get('mxcsr')], ['', 0x27fn, 0x3800n, 0x81n, 0x1fa0n]);
  equal(back.record.getBigUint64(back.vcpu + 0x200 + 15 * 32 + 8, true), 0xfeedn);
  back.write32(0x4018, 0x1_0000);
  back.call('fxrstor', 0x4000n, DS, 1);
  equal(back.fault(), '#13(0)');
  back.call('fxsave', 0x4008n, DS, 0);
  equal(back.fault(), '#13(0)');
  back.set('cr0', back.get('cr0') | 8n);
  back.call('fxsave', 0x4000n, DS, 0);
  equal(back.fault(), '#7');
});

test('XSAVE marks what is in use, XRSTOR brings the rest to its initial state', () => {
  const cpu = longMode();
  cpu.call('xsave', 0x4000n, DS, 1);
  equal(cpu.fault(), '#6');
  cpu.set('cr4', 0x4_06a0n);
  cpu.set('xcr0', 3n);
  cpu.set('gpr', 3n, RAX);
  cpu.set('fcw', 0x37f);
  cpu.set('ftw', 0);
  cpu.call('xsave', 0x4000n, DS, 1);
  equal(cpu.fault(), '');
  equal(cpu.read64(0x4200), 0n);
  cpu.record.setBigUint64(cpu.vcpu + 0x200, 5n, true);
  cpu.call('xsaveopt', 0x4000n, DS, 1);
  equal(cpu.read64(0x4200), 2n);
  cpu.record.setBigUint64(cpu.vcpu + 0x200, 9n, true);
  cpu.set('fcw', 0);
  cpu.call('xrstor', 0x4000n, DS, 1);
  deepEqual([cpu.fault(), cpu.record.getBigUint64(cpu.vcpu + 0x200, true), cpu.get('fcw')], ['', 5n, 0x37fn]);
  for (const [at, value] of [
    [0x4200, 4n],
    [0x4208, 1n << 63n],
    [0x4210, 1n],
  ] as const) {
    const old = cpu.read64(at);
    cpu.write64(at, value);
    cpu.call('xrstor', 0x4000n, DS, 1);
    equal(cpu.fault(), '#13(0)');
    cpu.write64(at, old);
  }
  cpu.call('xsave', 0x4010n, DS, 1);
  equal(cpu.fault(), '#13(0)');
});
