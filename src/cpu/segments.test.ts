import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { CpuWasm, descriptor } from './testing/cpu-wasm.ts';

const RAM_BYTES = 0x10_0000;
const ES = 0,
  CS = 1,
  SS = 2,
  DS = 3,
  FS = 4,
  GS = 5,
  LDTR = 6,
  TR = 7;
const GDT = 0x5000,
  TSS = 0x7000,
  UNUSABLE = 0x10000n;

/** The GDT of all tests: selector, base, limit, access. */
const TABLE: readonly (readonly [number, number, number, number])[] = [
  [0x08, 0, 0xffff_ffff, 0xc09a],
  [0x10, 0, 0xffff_ffff, 0xc092],
  [0x18, 0, 0xffff_ffff, 0xc0fa],
  [0x20, 0, 0xffff_ffff, 0xc0f2],
  [0x28, 0x1234_5678, 0xfff, 0x4092 & ~2],
  [0x30, 0, 0xffff_ffff, 0xc012] /* absent data */,
  [0x38, 0, 0xff, 0x409e] /* conforming */,
  [0x40, TSS, 0x67, 0x89],
  [0x48, 0x9000, 0x1f, 0x82] /* LDT */,
  [0x50, 0, 0xffff_ffff, 0x4098] /* execute only */,
  [0x58, 0, 0xffff_ffff, 0xc0b2] /* DPL 1 */,
  [0x60, 0, 0xffff_ffff, 0xa09a] /* 64-bit code */,
  [0x68, 0, 0xffff_ffff, 0xa0fa] /* 64-bit user code */,
  [0x70, 0, 0xffff_ffff, 0xe09a] /* L and D */,
  [0x78, 0, 0xffff_ffff, 0xc01a] /* absent code */,
];

function machine(cpl: 0 | 3, mode: 'protected' | '64-bit' = 'protected'): CpuWasm {
  const cpu = new CpuWasm(RAM_BYTES),
    wide = mode === '64-bit';
  for (const [selector, base, limit, access] of TABLE) cpu.write64(GDT + selector, descriptor(base, limit, access));
  cpu.write64(GDT + 0x88, 0n);
  cpu.set('gdtrBase', GDT);
  cpu.set('gdtrLimit', 0xff);
  cpu.set('cr0', 0x31n);
  if (wide) {
    cpu.write64(0x1000, 0x2007n);
    cpu.write64(0x2000, 0x87n);
    cpu.set('cr0', 0x8000_0031n);
    cpu.set('cr3', 0x1000n);
    cpu.set('cr4', 0x106a0n);
    cpu.set('efer', 0xd01n);
  }
  cpu.setSegment(TR, 0x40, BigInt(TSS), 0x67, 0x8b);
  cpu.write32(TSS + 4, 0x9_0000);
  cpu.write16(TSS + 8, 0x10);
  cpu.setSegment(LDTR, 0, 0n, 0, 0x10000);
  const dpl = cpl << 5;
  cpu.setSegment(CS, (wide ? (cpl === 0 ? 0x60 : 0x68) : cpl === 0 ? 8 : 0x18) | cpl, 0n, 0xffff_ffff, (wide ? 0xa09b : 0xc09b) | dpl);
  for (const segment of [ES, SS, DS, FS, GS]) cpu.setSegment(segment, (cpl === 0 ? 0x10 : 0x20) | cpl, 0n, 0xffff_ffff, 0xc093 | dpl);
  cpu.set('cpl', cpl);
  cpu.set('rip', 0x1000n);
  cpu.set('nextRip', 0x1007n);
  cpu.set('gpr', 0x8_0000n, 4);
  cpu.set('rflags', 0x202n);
  cpu.call('refreshState');
  return cpu;
}

/** Call a helper that must fault, and see that nothing changed. */
function refused(cpu: CpuWasm, name: string, ...values: (number | bigint)[]): string {
  const before = cpu.architecturalState();
  cpu.call(name, ...values);
  const fault = cpu.fault();
  if (fault !== '') equal(cpu.architecturalState(), before, `${name} ${values.join(' ')} changed something before ${fault}`);
  return fault;
}

test('loads of data segments: null, limits, type, privilege, presence', () => {
  const load = (cpl: 0 | 3, selector: number): string => refused(machine(cpl), 'moveToSegment', DS, selector);
  deepEqual(
    [load(0, 0x10), load(0, 0x13), load(3, 0x23), load(3, 0x20), load(3, 0x10), load(0, 0x0), load(0, 3)],
    ['', '#13(10)', '', '', '#13(10)', '', ''],
  );
  deepEqual(
    [load(0, 0x30), load(0, 0x50), load(0, 0x38), load(3, 0x3b), load(0, 0x40), load(0, 0x100), load(0, 0x0c)],
    ['#11(30)', '#13(50)', '', '', '#13(40)', '#13(100)', '#13(c)'],
  );
});

test('a loaded segment has base, limit and rights of its descriptor, which becomes accessed', () => {
  const cpu = machine(0);
  cpu.call('moveToSegment', ES, 0x28);
  equal(cpu.fault(), '');
  deepEqual(
    [cpu.get('segSelector', ES), cpu.get('segBase', ES), cpu.get('segLimit', ES), cpu.get('segAccess', ES)],
    [0x28n, 0x1234_5678n, 0xfffn, 0x4091n],
  );
  equal(cpu.read8(GDT + 0x28 + 5) & 1, 1);
  cpu.call('moveToSegment', ES, 0);
  equal(cpu.get('segAccess', ES) & UNUSABLE, UNUSABLE);
});

test('SS must be writable data of this very ring; a null one is for 64-bit code below ring 3', () => {
  const load = (cpl: 0 | 3, selector: number, mode: 'protected' | '64-bit' = 'protected'): string =>
    refused(machine(cpl, mode), 'moveToSegment', SS, selector);
  deepEqual(
    [load(0, 0x10), load(0, 0x13), load(0, 0x20), load(0, 0x28), load(0, 0x30), load(0, 8), load(0, 0)],
    ['', '#13(10)', '#13(20)', '#13(28)', '#12(30)', '#13(8)', '#13(0)'],
  );
  deepEqual(
    [load(3, 0x23), load(3, 0x20), load(0, 0, '64-bit'), load(3, 3, '64-bit'), load(0, 3, '64-bit')],
    ['', '#13(20)', '', '#13(0)', '#13(0)'],
  );
  const cpu = machine(0);
  cpu.call('moveToSegment', SS, 0x10);
  equal(cpu.get('shadow'), 2n);
  cpu.set('shadow', 0);
  cpu.call('loadSegment', SS, 0x10); // LSS holds nothing off
  equal(cpu.get('shadow'), 0n);
});

test('LLDT and LTR: ring 0, GDT, type and presence; LTR marks the TSS busy', () => {
  const run = (name: string, selector: number, cpl: 0 | 3 = 0): string => refused(machine(cpl), name, selector);
  deepEqual(
    [run('lldt', 0x48), run('lldt', 0), run('lldt', 0x4c), run('lldt', 0x40), run('lldt', 0x48, 3)],
    ['', '', '#13(4c)', '#13(40)', '#13(0)'],
  );
  deepEqual([run('ltr', 0x40), run('ltr', 0), run('ltr', 0x48), run('ltr', 0x40, 3)], ['', '#13(0)', '#13(48)', '#13(0)']);
  const cpu = machine(0);
  cpu.call('ltr', 0x40);
  equal(cpu.read8(GDT + 0x45), 0x8b);
  equal(refused(cpu, 'ltr', 0x40), '#13(40)'); // busy
  cpu.call('lldt', 0x48);
  cpu.write64(0x9008, descriptor(0, 0xffff_ffff, 0xc092));
  equal(refused(cpu, 'moveToSegment', DS, 0x0c), '');
  equal(refused(cpu, 'moveToSegment', DS, 0x24), '#13(24)');
});

test('IA-32e system descriptors are 16 bytes long', () => {
  const cpu = machine(0, '64-bit');
  cpu.write64(GDT + 0x80, descriptor(0x1000, 0x67, 0x89));
  cpu.write64(GDT + 0x88, 0xffff_8000n);
  cpu.call('ltr', 0x80);
  equal(cpu.fault(), '');
  equal(cpu.get('segBase', TR), 0xffff_8000_0000_1000n);
  cpu.write64(GDT + 0x90, descriptor(0, 0xf, 0x82));
  cpu.write64(GDT + 0x98, 1n << 40n); // a type in the second half
  equal(refused(cpu, 'lldt', 0x90), '#13(90)');
  cpu.set('gdtrLimit', 0x9e);
  equal(refused(cpu, 'lldt', 0x90), '#13(90)');
});

test('LAR, LSL, VERR, VERW and ARPL answer by ZF', () => {
  const cpu = machine(0),
    zero = (): bigint => (cpu.call('readFlags') >> 6n) & 1n;
  const ask = (name: string, selector: number, ...rest: (number | bigint)[]): readonly [string, bigint] => [
    cpu.call(name, selector, ...rest).toString(16),
    zero(),
  ];
  deepEqual(
    [
      ask('lar', 8, 7n, 4),
      ask('lar', 8, 7n, 2),
      ask('lar', 0x28, 7n, 4),
      ask('lar', 0x48, 7n, 4),
      ask('lar', 0, 7n, 4),
      ask('lar', 0x13, 7n, 4),
    ],
    [
      ['cf9a00', 1n],
      ['9a00', 1n],
      ['409000', 1n],
      ['8200', 1n],
      ['7', 0n],
      ['7', 0n],
    ],
  );
  deepEqual(
    [ask('lsl', 8, 7n, 4), ask('lsl', 0x28, 7n, 4), ask('lsl', 0x48, 7n, 4), ask('lsl', 0x200, 7n, 4)],
    [
      ['ffffffff', 1n],
      ['fff', 1n],
      ['1f', 1n],
      ['7', 0n],
    ],
  );
  const verify = (name: string, selector: number): bigint => ask(name, selector)[1];
  deepEqual(
    [
      verify('verr', 8),
      verify('verr', 0x50),
      verify('verw', 8),
      verify('verw', 0x10),
      verify('verw', 0x28),
      verify('verr', 0x28),
      verify('verr', 0x40),
    ],
    [1n, 0n, 0n, 1n, 0n, 1n, 0n],
  );
  deepEqual([ask('arpl', 0x10, 0x13)[0], ask('arpl', 0x13, 0x11)[0]], ['13', '13']);
  const real = new CpuWasm(RAM_BYTES);
  deepEqual(
    ['lldt', 'ltr', 'sldt', 'str', 'verr', 'verw'].map((name) => refused(real, name, 8)),
    Array.from({ length: 6 }, () => '#6'),
  );
});

test('UMIP keeps the addresses of system tables from user code', () => {
  const cpu = machine(3);
  const all = (): string[] => [
    refused(cpu, 'sldt'),
    refused(cpu, 'str'),
    refused(cpu, 'smsw'),
    refused(cpu, 'sgdt', 0x3000n, DS, 4),
    refused(cpu, 'sidt', 0x3000n, DS, 4),
  ];
  deepEqual(all(), ['', '', '', '', '']);
  equal(cpu.read16(0x3000), 0xffff);
  cpu.set('cr4', 0x800n);
  deepEqual(all(), ['#13(0)', '#13(0)', '#13(0)', '#13(0)', '#13(0)']);
});

test('LGDT takes 24, 32 or 64 bits of base, only in ring 0, only canonical', () => {
  const cpu = machine(0);
  cpu.write16(0x3000, 0x1234);
  cpu.write32(0x3002, 0x89ab_cdef);
  const load = (sizeBytes: number): bigint => {
    cpu.call('lidt', 0x3000n, DS, sizeBytes);
    return cpu.get('idtrBase');
  };
  deepEqual([load(2), load(4), cpu.get('idtrLimit')], [0xab_cdefn, 0x89ab_cdefn, 0x1234n]);
  equal(refused(machine(3), 'lgdt', 0x3000n, DS, 4), '#13(0)');
  const wide = machine(0, '64-bit');
  wide.write64(0x3002, 0x8000_0000_0000n);
  equal(refused(wide, 'lgdt', 0x3000n, DS, 8), '#13(0)');
});

test('far jumps: conforming and other code, privilege, presence, limits', () => {
  const jump = (cpl: 0 | 3, selector: number, offset = 0x50n, mode: 'protected' | '64-bit' = 'protected'): string =>
    refused(machine(cpl, mode), 'farJump', selector, offset, 4);
  deepEqual(
    [jump(0, 8), jump(0, 0), jump(0, 0x18), jump(3, 0x1b), jump(3, 8), jump(0, 0x0b), jump(0, 0x10), jump(0, 0x78), jump(0, 0x200)],
    ['', '#13(0)', '#13(18)', '', '#13(8)', '#13(8)', '#13(10)', '#11(78)', '#13(200)'],
  );
  deepEqual(
    [jump(3, 0x38), jump(3, 0x38, 0x100n), jump(0, 0x70, 0n, '64-bit'), jump(0, 0x40), jump(0, 8, 0x50n, '64-bit')],
    ['', '#13(0)', '#13(70)', '#10(40)', ''],
  );
  const cpu = machine(3);
  cpu.call('farJump', 0x38, 0x50n, 4);
  deepEqual([cpu.get('segSelector', CS), cpu.get('cpl'), cpu.get('rip')], [0x3bn, 3n, 0x50n]);
});

test('far calls and returns of one ring meet again', () => {
  for (const [mode, selector, sizeBytes] of [
    ['protected', 8, 4],
    ['protected', 8, 2],
    ['64-bit', 0x60, 8],
    ['64-bit', 0x60, 4],
  ] as const) {
    const cpu = machine(0, mode);
    cpu.call('farCall', selector, 0x2000n, sizeBytes);
    equal(cpu.fault(), '', `${mode} ${sizeBytes}`);
    deepEqual([cpu.get('rip'), cpu.get('gpr', 4)], [0x2000n, 0x8_0000n - BigInt(2 * sizeBytes)]);
    cpu.call('farReturn', sizeBytes, 6);
    deepEqual([cpu.fault(), cpu.get('rip'), cpu.get('gpr', 4)], ['', 0x1007n, 0x8_0006n]);
  }
});

test('a call gate to ring 0 switches stacks, copies its parameters, and RETF goes back out', () => {
  const cpu = machine(3);
  const gate = (selector: number, offset: number, type: number, count: number): bigint =>
    BigInt(offset & 0xffff) |
    (BigInt(selector) << 16n) |
    (BigInt(count) << 32n) |
    (BigInt(type | 0xe0) << 40n) |
    (BigInt(offset >>> 16) << 48n);
  cpu.write64(GDT + 0x80, gate(8, 0x12_3456, 12, 2));
  cpu.write32(0x8_0000, 0xaaaa);
  cpu.write32(0x8_0004, 0xbbbb);
  cpu.call('farCall', 0x83, 0n, 4);
  equal(cpu.fault(), '');
  const top = Number(cpu.get('gpr', 4));
  deepEqual(
    Array.from({ length: 6 }, (_, i) => cpu.read32(top + i * 4)),
    [0x1007, 0x1b, 0xaaaa, 0xbbbb, 0x8_0000, 0x23],
  );
  deepEqual([top, cpu.get('cpl'), cpu.get('rip'), cpu.get('segSelector', SS)], [0x9_0000 - 24, 0n, 0x12_3456n, 0x10n]);
  cpu.call('loadSegment', ES, 0x10);
  cpu.call('farReturn', 4, 8);
  equal(cpu.fault(), '');
  deepEqual([cpu.get('cpl'), cpu.get('rip'), cpu.get('gpr', 4), cpu.get('segSelector', SS)], [3n, 0x1007n, 0x8_0008n, 0x23n]);
  deepEqual([cpu.get('segSelector', ES), cpu.get('segAccess', ES), cpu.get('segSelector', DS)], [0n, UNUSABLE, 0x23n]); // ES was ring 0's
  cpu.write64(GDT + 0x80, gate(8, 0, 12, 0) & ~(0x60n << 40n)); // DPL 0
  equal(refused(cpu, 'farCall', 0x83, 0n, 4), '#13(80)');
  cpu.write64(GDT + 0x80, gate(8, 0, 12, 0) & ~(0x80n << 40n));
  equal(refused(cpu, 'farCall', 0x83, 0n, 4), '#11(80)');
  cpu.write64(GDT + 0x80, gate(0x10, 0, 12, 0));
  equal(refused(cpu, 'farCall', 0x83, 0n, 4), '#13(10)');
});

test('IRETQ checks what it loads and changes nothing when it refuses', () => {
  const frame = (values: Partial<{ rip: bigint; cs: number; flags: bigint; rsp: bigint; ss: number }>, cpl: 0 | 3 = 0): CpuWasm => {
    const cpu = machine(cpl, '64-bit'),
      { rip = 0x40_0000n, cs = 0x6b, flags = 0x202n, rsp = 0x7_0000n, ss = 0x23 } = values;
    [rip, BigInt(cs), flags, rsp, BigInt(ss)].forEach((value, i) => cpu.write64(0x8_0000 + i * 8, value));
    return cpu;
  };
  const run = (values: Parameters<typeof frame>[0], cpl: 0 | 3 = 0): string => refused(frame(values, cpl), 'iret', 8);
  deepEqual(
    [
      run({}),
      run({ cs: 0 }),
      run({ cs: 0x23 }),
      run({ cs: 0x60 | 3 }),
      run({ cs: 0x78 }),
      run({ rip: 1n << 60n }),
      run({ ss: 0x20 }),
      run({ ss: 0 }),
      run({ ss: 0x30 | 3 }),
    ],
    ['', '#13(0)', '#13(20)', '#13(60)', '#11(78)', '#13(0)', '#13(20)', '#13(0)', '#13(30)'],
  );
  deepEqual([run({ cs: 0x60, ss: 0 }), run({ cs: 0x60, ss: 0x10 }), run({ cs: 0x60, ss: 0x10 }, 3)], ['', '', '#13(60)']);
  const cpu = frame({ flags: 0x3_7fd7n | 0x20_0000n });
  cpu.call('iret', 8);
  deepEqual([cpu.get('cpl'), cpu.get('rip'), cpu.get('gpr', 4), cpu.call('readRflags')], [3n, 0x40_0000n, 0x7_0000n, 0x21_7fd7n]); // VM is ignored in IA-32e mode
  const user = frame({ flags: 0x3202n }, 3);
  user.set('rflags', 2n);
  user.call('iret', 8);
  equal(user.call('readRflags'), 2n); // neither IF nor IOPL from ring 3
  const nested = frame({});
  nested.set('rflags', 0x4202n);
  equal(refused(nested, 'iret', 8), '#13(0)');
});

test('SYSCALL and SYSRET', () => {
  const cpu = machine(3, '64-bit');
  cpu.set('star', (0x18n << 48n) | (0x60n << 32n));
  cpu.set('lstar', 0xffff_8000_0000_1234n);
  cpu.set('sfmask', 0x4_7700n);
  cpu.set('rflags', 0x5_0302n);
  cpu.call('writeFlags', 1);
  cpu.call('syscall');
  equal(cpu.fault(), '');
  deepEqual(
    [
      cpu.get('rip'),
      cpu.get('cpl'),
      cpu.get('segSelector', CS),
      cpu.get('segSelector', SS),
      cpu.get('gpr', 1),
      cpu.get('gpr', 11),
      cpu.call('readRflags'),
    ],
    [0xffff_8000_0000_1234n, 0n, 0x60n, 0x68n, 0x1007n, 0x4_0303n, 3n],
  );
  cpu.call('sysret', 8);
  deepEqual(
    [
      cpu.fault(),
      cpu.get('rip'),
      cpu.get('cpl'),
      cpu.get('segSelector', CS),
      cpu.get('segSelector', SS),
      cpu.call('readRflags'),
      cpu.get('mode') & 3n,
    ],
    ['', 0x1007n, 3n, 0x2bn, 0x23n, 0x4_0303n, 2n],
  );
  equal(refused(cpu, 'sysret', 8), '#13(0)');
  const kernel = machine(0, '64-bit');
  kernel.set('gpr', 1n << 50n, 1);
  equal(refused(kernel, 'sysret', 8), '#13(0)');
  kernel.call('sysret', 4);
  equal(kernel.get('mode') & 3n, 1n); // compatibility mode
  kernel.set('efer', 0xd00n);
  equal(refused(kernel, 'syscall'), '#6');
});

test('SYSENTER and SYSEXIT', () => {
  const cpu = machine(3);
  equal(refused(cpu, 'sysenter'), '#13(0)');
  cpu.set('sysenterCs', 8n);
  cpu.set('sysenterEsp', 0x1_2345_6789n);
  cpu.set('sysenterEip', 0xaaaan);
  cpu.call('sysenter');
  deepEqual(
    [cpu.fault(), cpu.get('rip'), cpu.get('gpr', 4), cpu.get('cpl'), cpu.get('segSelector', SS), cpu.get('rflags')],
    ['', 0xaaaan, 0x2345_6789n, 0n, 0x10n, 2n],
  );
  cpu.set('gpr', 0x7000n, 1);
  cpu.set('gpr', 0x4444n, 2);
  cpu.call('sysexit', 4);
  deepEqual(
    [cpu.fault(), cpu.get('rip'), cpu.get('gpr', 4), cpu.get('segSelector', CS), cpu.get('segSelector', SS)],
    ['', 0x4444n, 0x7000n, 0x1bn, 0x23n],
  );
  equal(refused(cpu, 'sysexit', 4), '#13(0)');
});

test('POPF, CLI and STI obey IOPL', () => {
  const cpu = machine(3);
  cpu.call('popFlags', 0x24_7fd7n, 4);
  equal(cpu.call('readRflags'), 0x24_4fd7n); // IF stays set, IOPL 0
  cpu.call('popFlags', 0n, 2);
  equal(cpu.call('readRflags'), 0x24_0202n);
  deepEqual([refused(cpu, 'cli'), refused(cpu, 'sti'), refused(cpu, 'stac')], ['#13(0)', '#13(0)', '#6']);
  const kernel = machine(0);
  kernel.call('popFlags', 0x1_3000n, 4);
  equal(kernel.call('readRflags'), 0x3002n);
  kernel.call('sti');
  deepEqual([kernel.get('rflags'), kernel.get('shadow')], [0x3202n, 1n]);
  kernel.set('shadow', 0);
  kernel.call('sti');
  equal(kernel.get('shadow'), 0n);
  kernel.call('stac');
  equal(kernel.get('rflags'), 0x4_3202n);
});

test('ports: IOPL, then the bitmap of the TSS', () => {
  const cpu = machine(3);
  cpu.set('segLimit', 0x68 + 0x10, TR);
  cpu.write16(TSS + 0x66, 0x68);
  cpu.write8(TSS + 0x68 + 1, 0x81); // ports 8 and 15
  const check = (port: number, sizeBytes: number): string => refused(cpu, 'portCheck', port, sizeBytes);
  deepEqual(
    [
      check(7, 1),
      check(8, 1),
      check(7, 2),
      check(9, 4),
      check(12, 4),
      check(15, 1),
      check(14, 2),
      check(16, 1),
      check(0x7f, 1),
      check(0x80, 1),
    ],
    ['', '#13(0)', '#13(0)', '', '#13(0)', '#13(0)', '#13(0)', '', '', '#13(0)'],
  );
  cpu.set('rflags', 0x3202n);
  equal(check(8, 1), '');
  equal(cpu.call('portRead', 8, 2), 0x7788n);
});

test('FS and GS bases by instruction and SWAPGS', () => {
  const cpu = machine(0, '64-bit');
  cpu.call('writeSegmentBase', GS, 0x1234n);
  cpu.set('kernelGsBase', 0x5678n);
  cpu.call('swapgs');
  deepEqual([cpu.call('readSegmentBase', GS), cpu.get('kernelGsBase')], [0x5678n, 0x1234n]);
  equal(refused(cpu, 'writeSegmentBase', FS, 1n << 50n), '#13(0)');
  equal(refused(machine(3, '64-bit'), 'swapgs'), '#13(0)');
  cpu.set('cr4', 0x20n);
  equal(refused(cpu, 'readSegmentBase', FS), '#6');
});

test('real mode: far transfers and segment loads only move bases', () => {
  const cpu = new CpuWasm(RAM_BYTES);
  cpu.setSegment(CS, 0x100, 0x1000n, 0xffff, 0x9b);
  cpu.set('gpr', 0x1_0100n, 4);
  cpu.set('nextRip', 0x25n);
  cpu.call('farCall', 0x200, 0x30n, 2);
  deepEqual(
    [cpu.get('segBase', CS), cpu.get('rip'), cpu.get('gpr', 4), cpu.read16(0xfc), cpu.read16(0xfe)],
    [0x2000n, 0x30n, 0x1_00fcn, 0x25, 0x100],
  );
  cpu.call('farReturn', 2, 0);
  deepEqual([cpu.get('segBase', CS), cpu.get('rip'), cpu.get('gpr', 4)], [0x1000n, 0x25n, 0x1_0100n]);
  cpu.set('segLimit', 0xffff_ffff, DS); // unreal mode keeps its limit
  cpu.call('moveToSegment', DS, 0x1234);
  deepEqual([cpu.get('segBase', DS), cpu.get('segLimit', DS)], [0x12340n, 0xffff_ffffn]);
  equal(refused(cpu, 'farJump', 0, 0x1_0000n, 4), '#13(0)');
});
