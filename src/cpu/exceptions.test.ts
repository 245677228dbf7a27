import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { EVENT_EXCEPTION, EVENT_EXTERNAL, EVENT_ICEBP, EVENT_NMI, EVENT_SOFTWARE, EVENT_SOFTWARE_EXCEPTION } from './helpers.ts';
import { CpuWasm, descriptor } from './testing/cpu-wasm.ts';

const RAM_BYTES = 0x40_0000;
const CS = 1,
  SS = 2,
  TR = 7;
const GDT = 0x5000,
  IDT = 0x6000,
  TSS = 0x7000,
  HANDLER = 0x12_3000n;
const FLAGS = { TF: 0x100n, IF: 0x200n, NT: 0x4000n, RF: 0x10000n } as const;

/** Selectors of the GDT below. */
const CODE0 = 0x08,
  DATA0 = 0x10,
  CODE3 = 0x1b,
  DATA3 = 0x23,
  CONFORMING = 0x28,
  CODE_ABSENT = 0x30,
  TASK = 0x40;

interface Gate {
  readonly selector?: number;
  readonly offset?: bigint;
  readonly type?: number;
  readonly dpl?: number;
  readonly present?: boolean;
  readonly ist?: number;
}

/** 64-bit mode over identity tables in 2 MiB pages; user pages from 2 MiB up. */
function long(cpl: 0 | 3): CpuWasm {
  const cpu = new CpuWasm(RAM_BYTES);
  cpu.write64(0x1000, 0x2007n);
  cpu.write64(0x2000, 0x3007n);
  cpu.write64(0x3000, 0x83n);
  cpu.write64(0x3008, 0x20_0087n);
  cpu.set('cr0', 0x8001_0031n);
  cpu.set('cr3', 0x1000n);
  cpu.set('cr4', 0x6a0n);
  cpu.set('efer', 0xd01n);
  [
    0n,
    descriptor(0, 0xffff_ffff, 0xa09a),
    descriptor(0, 0xffff_ffff, 0xc092),
    descriptor(0, 0xffff_ffff, 0xa0fa),
    descriptor(0, 0xffff_ffff, 0xc0f2),
    descriptor(0, 0xffff_ffff, 0xa09e),
    descriptor(0, 0xffff_ffff, 0xa01a),
    descriptor(0, 0xffff_ffff, 0xc09a),
  ].forEach((entry, i) => cpu.write64(GDT + i * 8, entry));
  cpu.set('gdtrBase', GDT);
  cpu.set('gdtrLimit', 0x4f);
  cpu.set('idtrBase', IDT);
  cpu.set('idtrLimit', 0xfff);
  cpu.setSegment(TR, TASK, BigInt(TSS), 0x67, 0x8b);
  cpu.write64(TSS + 4, 0x10_0008n); // RSP0, misaligned on purpose
  cpu.write64(TSS + 0x24, 0x11_0000n); // IST1
  cpu.setSegment(CS, cpl === 0 ? CODE0 : CODE3, 0n, 0xffff_ffff, cpl === 0 ? 0xa09b : 0xa0fb);
  cpu.setSegment(SS, cpl === 0 ? DATA0 : DATA3, 0n, 0xffff_ffff, cpl === 0 ? 0xc093 : 0xc0f3);
  cpu.set('cpl', cpl);
  cpu.set('rip', 0x40_1234n);
  cpu.set('nextRip', 0x40_1236n);
  cpu.set('gpr', 0x30_0020n, 4);
  cpu.set('rflags', 0x202n);
  cpu.call('refreshState');
  return cpu;
}

function gate(
  cpu: CpuWasm,
  vector: number,
  { selector = CODE0, offset = HANDLER, type = 14, dpl = 0, present = true, ist = 0 }: Gate = {},
): void {
  cpu.write64(
    IDT + vector * 16,
    (offset & 0xffffn) |
      (BigInt(selector) << 16n) |
      (BigInt(ist) << 32n) |
      (BigInt(type | (dpl << 5) | (present ? 0x80 : 0)) << 40n) |
      ((offset & 0xffff_0000n) << 32n),
  );
  cpu.write64(IDT + vector * 16 + 8, offset >> 32n);
}

/** The words of the frame from the stack pointer up. */
function frame(cpu: CpuWasm, words: number): string[] {
  const top = Number(cpu.get('gpr', 4));
  return Array.from({ length: words }, (_, i) => cpu.read64(top + i * 8).toString(16));
}

test('64-bit: from user code to ring 0, with an error code', () => {
  const cpu = long(3);
  gate(cpu, 14);
  cpu.set('faultAddress', 0xdead_beefn);
  equal(cpu.call('deliver', 14, EVENT_EXCEPTION, 1, 6), 0n);
  equal(cpu.get('rip'), HANDLER);
  equal(cpu.get('cr2'), 0xdead_beefn);
  equal(cpu.get('gpr', 4), 0x10_0000n - 0x30n);
  deepEqual(frame(cpu, 6), ['6', '401234', CODE3.toString(16), (0x202n | FLAGS.RF).toString(16), '300020', DATA3.toString(16)]);
  deepEqual([cpu.get('cpl'), cpu.get('segSelector', CS), cpu.get('segSelector', SS), cpu.get('rflags')], [0n, BigInt(CODE0), 0n, 2n]);
});

test('64-bit: a trap gate keeps IF; TF, NT and RF go off; interrupts and traps push RF as it was', () => {
  const cpu = long(0);
  gate(cpu, 0x20, { type: 15 });
  cpu.set('rflags', 2n | FLAGS.TF | FLAGS.IF | FLAGS.NT);
  cpu.call('writeFlags', 0x841);
  equal(cpu.call('deliver', 0x20, EVENT_EXTERNAL, 0, 0), 0n);
  equal(cpu.get('rflags'), 2n | FLAGS.IF);
  deepEqual(frame(cpu, 5), ['401234', '8', (0x4302n | 0x841n).toString(16), '300020', '10']);
  equal(cpu.get('gpr', 4), 0x30_0020n - 0x28n); // aligned to 16 before the first push
  equal(cpu.get('segSelector', SS), 0x10n); // same ring: SS stays
});

test('64-bit: IST is used without a change of ring, and NMIs are blocked afterwards', () => {
  const cpu = long(0);
  gate(cpu, 2, { ist: 1 });
  equal(cpu.call('deliver', 2, EVENT_NMI, 0, 0), 0n);
  equal(cpu.get('gpr', 4), 0x11_0000n - 0x28n);
  equal(cpu.get('nmiBlocked'), 1n);
  cpu.call('iret', 8);
  equal(cpu.fault(), '');
  deepEqual([cpu.get('nmiBlocked'), cpu.get('rip'), cpu.get('gpr', 4)], [0n, 0x40_1234n, 0x30_0020n]);
});

test('INT n returns behind itself and asks for a gate of its ring', () => {
  const cpu = long(3);
  gate(cpu, 0x80, { dpl: 3 });
  gate(cpu, 0x81);
  gate(cpu, 3, { dpl: 3 });
  gate(cpu, 1);
  const before = cpu.architecturalState();
  cpu.call('softwareInterrupt', 0x81, EVENT_SOFTWARE);
  equal(cpu.fault(), `#13(${(0x81 * 8 + 2).toString(16)})`);
  equal(cpu.architecturalState(), before);
  cpu.call('softwareInterrupt', 0x80, EVENT_SOFTWARE);
  equal(cpu.fault(), '');
  deepEqual(frame(cpu, 1), ['401236']);
  const trap = long(3);
  gate(trap, 1);
  trap.call('softwareInterrupt', 1, EVENT_ICEBP); // INT1 asks for no DPL
  equal(trap.fault(), '');
  equal(trap.get('cpl'), 0n);
  const breakpoint = long(3);
  gate(breakpoint, 3);
  breakpoint.call('softwareInterrupt', 3, EVENT_SOFTWARE_EXCEPTION);
  equal(breakpoint.fault(), '#13(1a)');
});

test('64-bit: what is wrong with the gate, the code or the stack decides the error code', () => {
  const at = 0x30 * 16;
  const cases: readonly [string, (cpu: CpuWasm) => void, string][] = [
    ['beyond the IDT', (cpu) => cpu.set('idtrLimit', at + 14), '#13(183)'],
    ['no gate', (cpu) => gate(cpu, 0x30, { type: 12 }), '#13(183)'],
    ['a task gate', (cpu) => gate(cpu, 0x30, { type: 5 }), '#13(183)'],
    ['not present', (cpu) => gate(cpu, 0x30, { present: false }), '#11(183)'],
    ['null selector', (cpu) => gate(cpu, 0x30, { selector: 3 }), '#13(1)'],
    ['beyond the GDT', (cpu) => gate(cpu, 0x30, { selector: 0x50 }), '#13(51)'],
    ['LDT without one', (cpu) => gate(cpu, 0x30, { selector: 0x0c }), '#13(d)'],
    ['data', (cpu) => gate(cpu, 0x30, { selector: DATA0 }), '#13(11)'],
    ['32-bit code', (cpu) => gate(cpu, 0x30, { selector: 0x38 }), '#13(39)'],
    ['absent code', (cpu) => gate(cpu, 0x30, { selector: CODE_ABSENT }), '#11(31)'],
    ['TSS too short', (cpu) => cpu.setSegment(TR, TASK, BigInt(TSS), 10, 0x8b), '#10(41)'],
    ['stack not canonical', (cpu) => cpu.write64(TSS + 4, 1n << 60n), '#12(1)'],
    ['handler not canonical', (cpu) => gate(cpu, 0x30, { offset: 1n << 60n }), '#13(1)'],
    ['stack not present', (cpu) => cpu.write64(TSS + 4, 0x80_0000n), '#14(2)'],
  ];
  for (const [name, breakIt, expected] of cases) {
    const cpu = long(3);
    gate(cpu, 0x30);
    for (const vector of [8, 10, 11, 12, 13, 14]) gate(cpu, vector, { offset: 0x1000n * BigInt(vector), selector: CONFORMING });
    breakIt(cpu);
    equal(cpu.call('deliver', 0x30, EVENT_EXTERNAL, 0, 0), 0n, name);
    const vector = Number(cpu.get('rip') / 0x1000n);
    equal(`#${vector}(${frame(cpu, 1)[0]})`, expected, name);
    equal(frame(cpu, 2)[1], '401234', name);
  }
});

test('a conforming handler runs at the ring of the interrupted code', () => {
  const cpu = long(3);
  gate(cpu, 0x30, { selector: CONFORMING });
  equal(cpu.call('deliver', 0x30, EVENT_EXTERNAL, 0, 0), 0n);
  deepEqual([cpu.get('cpl'), cpu.get('segSelector', CS), cpu.get('gpr', 4)], [3n, BigInt(CONFORMING | 3), 0x30_0020n - 0x28n]);
});

test('the matrix of benign, contributory and page faults (SDM table 6-5)', () => {
  /** Deliver `first` while its handler's gate is absent (#NP) or its stack is unmapped (#PF), and see what arrives. */
  const arrives = (first: number, second: 11 | 14, kind: number = EVENT_EXCEPTION): number => {
    const cpu = long(3);
    for (let vector = 0; vector < 32; vector++) gate(cpu, vector, { offset: 0x1000n * BigInt(vector + 1), ist: 1 });
    cpu.write64(TSS + 0x2c, 0x80_0000n); // IST2: unmapped
    gate(cpu, first, second === 11 ? { present: false, dpl: 3 } : { ist: 2 });
    equal(cpu.call('deliver', first, kind, 0, 0), 0n);
    return Number(cpu.get('rip') / 0x1000n) - 1;
  };
  for (const first of [0, 10, 12, 13]) deepEqual([arrives(first, 11), arrives(first, 14)], [8, 14], `contributory ${first}`);
  deepEqual([arrives(14, 11)], [8]);
  for (const first of [1, 3, 5, 6, 7, 16, 17, 19]) deepEqual([arrives(first, 11), arrives(first, 14)], [11, 14], `benign ${first}`);
  deepEqual([arrives(13, 11, EVENT_SOFTWARE), arrives(0x1f, 14, EVENT_EXTERNAL)], [11, 14]);
});

test('a page fault during a page fault is a double fault with CR2 of the second, and a fault during that shuts down', () => {
  const cpu = long(3);
  gate(cpu, 14, { ist: 2 });
  gate(cpu, 8, { ist: 1 });
  cpu.write64(TSS + 0x2c, 0x80_0000n);
  cpu.set('faultAddress', 0x1234n);
  equal(cpu.call('deliver', 14, EVENT_EXCEPTION, 1, 4), 0n);
  deepEqual(frame(cpu, 2), ['0', '401234']);
  equal(cpu.get('cr2'), 0x80_0000n - 0x30n);
  const dead = long(3);
  gate(dead, 14, { ist: 2 });
  dead.write64(TSS + 0x2c, 0x80_0000n);
  gate(dead, 8, { present: false });
  equal(dead.call('deliver', 14, EVENT_EXCEPTION, 1, 4), 1n);
  const noIdt = long(3);
  noIdt.set('idtrLimit', 0);
  equal(noIdt.call('deliver', 6, EVENT_EXCEPTION, 0, 0), 1n);
});

test('#DB brings what was noted to DR6 and turns DR7.GD off', () => {
  const cpu = long(0);
  gate(cpu, 1);
  cpu.set('dr', 0x2400n, 7);
  cpu.set('pendingDebug', 0x4001);
  equal(cpu.call('deliver', 1, EVENT_EXCEPTION, 0, 0), 0n);
  deepEqual([cpu.get('dr', 6), cpu.get('dr', 7), cpu.get('pendingDebug')], [0xffff_4ff1n, 0x400n, 0n]);
  equal(frame(cpu, 3)[2], '202'); // no RF
});

// --- protected mode, 32 and 16 bits ---

function protectedMode(cpl: 0 | 3): CpuWasm {
  const cpu = new CpuWasm(RAM_BYTES);
  cpu.set('cr0', 0x31n);
  [
    0n,
    descriptor(0, 0xffff_ffff, 0xc09a),
    descriptor(0, 0xffff_ffff, 0xc092),
    descriptor(0, 0xffff_ffff, 0xc0fa),
    descriptor(0, 0xffff_ffff, 0xc0f2),
    0n,
    descriptor(0x1_0000, 0xfff, 0x92),
    descriptor(0, 0xff, 0x409a),
  ].forEach((entry, i) => cpu.write64(GDT + i * 8, entry));
  cpu.set('gdtrBase', GDT);
  cpu.set('gdtrLimit', 0x3f);
  cpu.set('idtrBase', IDT);
  cpu.set('idtrLimit', 0x7ff);
  cpu.setSegment(TR, TASK, BigInt(TSS), 0x67, 0x8b);
  cpu.write32(TSS + 4, 0x9_0000);
  cpu.write16(TSS + 8, DATA0);
  cpu.setSegment(CS, cpl === 0 ? CODE0 : CODE3, 0n, 0xffff_ffff, cpl === 0 ? 0xc09b : 0xc0fb);
  for (const segment of [0, 2, 3]) cpu.setSegment(segment, cpl === 0 ? DATA0 : DATA3, 0n, 0xffff_ffff, cpl === 0 ? 0xc093 : 0xc0f3);
  cpu.set('cpl', cpl);
  cpu.set('rip', 0x1234n);
  cpu.set('nextRip', 0x1236n);
  cpu.set('gpr', 0x8_0000n, 4);
  cpu.set('rflags', 0x202n);
  cpu.call('refreshState');
  return cpu;
}

function gate32(cpu: CpuWasm, vector: number, selector: number, offset: number, type: number, dpl = 0): void {
  cpu.write64(
    IDT + vector * 8,
    BigInt(offset & 0xffff) | (BigInt(selector) << 16n) | (BigInt(type | (dpl << 5) | 0x80) << 40n) | (BigInt(offset >>> 16) << 48n),
  );
}

const frame32 = (cpu: CpuWasm, words: number): number[] =>
  Array.from({ length: words }, (_, i) => cpu.read32(Number(cpu.get('gpr', 4)) + i * 4));

test('32-bit: stack switch by the TSS, and IRETD back to the outer ring', () => {
  const cpu = protectedMode(3);
  gate32(cpu, 13, CODE0, 0x5_6789, 14);
  equal(cpu.call('deliver', 13, EVENT_EXCEPTION, 1, 0x18), 0n);
  deepEqual(frame32(cpu, 6), [0x18, 0x1234, CODE3, 0x10202, 0x8_0000, DATA3]);
  deepEqual(
    [cpu.get('rip'), cpu.get('cpl'), cpu.get('segSelector', SS), cpu.get('gpr', 4)],
    [0x5_6789n, 0n, BigInt(DATA0), 0x9_0000n - 24n],
  );
  cpu.set('gpr', cpu.get('gpr', 4) + 4n, 4);
  cpu.call('iret', 4);
  equal(cpu.fault(), '');
  deepEqual(
    [cpu.get('rip'), cpu.get('cpl'), cpu.get('segSelector', SS), cpu.get('gpr', 4), cpu.get('rflags')],
    [0x1234n, 3n, BigInt(DATA3), 0x8_0000n, 0x10202n],
  );
});

test('a 16-bit gate pushes 16-bit words', () => {
  const cpu = protectedMode(0);
  gate32(cpu, 0x21, CODE0, 0x9999_5678 | 0, 6);
  equal(cpu.call('deliver', 0x21, EVENT_EXTERNAL, 0, 0), 0n);
  const top = Number(cpu.get('gpr', 4));
  deepEqual(
    [top, cpu.read16(top), cpu.read16(top + 2), cpu.read16(top + 4), cpu.get('rip')],
    [0x8_0000 - 6, 0x1234, CODE0, 0x202, 0x5678n],
  );
});

test('32-bit: what is wrong with the inner stack is #TS or #SS', () => {
  const cases: readonly [string, (cpu: CpuWasm) => void, string][] = [
    ['null', (cpu) => cpu.write16(TSS + 8, 0), '#10(1)'],
    ['wrong RPL', (cpu) => cpu.write16(TSS + 8, DATA0 | 3), '#10(11)'],
    ['wrong DPL', (cpu) => cpu.write16(TSS + 8, 0x20), '#10(21)'],
    ['code', (cpu) => cpu.write16(TSS + 8, CODE0), '#10(9)'],
    ['beyond the GDT', (cpu) => cpu.write16(TSS + 8, 0x48), '#10(49)'],
    [
      'not present',
      (cpu) => {
        cpu.write16(TSS + 8, 0x28);
        cpu.write64(GDT + 0x28, descriptor(0, 0xffff_ffff, 0xc012));
      },
      '#12(29)',
    ],
    [
      'no room',
      (cpu) => {
        cpu.write16(TSS + 8, 0x30);
        cpu.write32(TSS + 4, 0x8);
      },
      '#12(31)',
    ],
    ['TSS too short', (cpu) => cpu.setSegment(TR, TASK, BigInt(TSS), 8, 0x8b), '#10(41)'],
    ['handler beyond its segment', (cpu) => gate32(cpu, 0x30, 0x38, 0x100, 14), '#13(1)'],
    ['a task gate', (cpu) => gate32(cpu, 0x30, 0x18, 0, 5), '#10(19)'],
  ];
  for (const [name, breakIt, expected] of cases) {
    const cpu = protectedMode(3);
    gate32(cpu, 0x30, CODE0, 0x5000, 14);
    // The conforming handlers stay on the outer stack, so that the fault itself can be delivered.
    cpu.write64(GDT + 0x18, descriptor(0, 0xffff_ffff, 0xc0fa));
    for (const vector of [10, 11, 12, 13]) gate32(cpu, vector, CODE3, 0x1000 * vector, 14);
    breakIt(cpu);
    equal(cpu.call('deliver', 0x30, EVENT_EXTERNAL, 0, 0), 0n, name);
    equal(`#${Number(cpu.get('rip') / 0x1000n)}(${frame32(cpu, 1)[0]!.toString(16)})`, expected, name);
  }
});

test('real mode: the vector table, 16-bit frame, and IRET', () => {
  const cpu = new CpuWasm(RAM_BYTES);
  cpu.write32(0x21 * 4, 0x1234_5678);
  cpu.setSegment(CS, 0x100, 0x1000n, 0xffff, 0x9b);
  cpu.set('rip', 0x42n);
  cpu.set('gpr', 0xabcd_0000_0004n, 4);
  cpu.set('rflags', 0x302n);
  cpu.set('idtrLimit', 0x3ff);
  equal(cpu.call('deliver', 0x21, EVENT_EXTERNAL, 0, 0), 0n);
  // The stack wraps within its 64 KiB.
  deepEqual([cpu.read16(2), cpu.read16(0), cpu.read16(0xfffe), cpu.get('gpr', 4)], [0x302, 0x100, 0x42, 0xabcd_0000_fffen]);
  deepEqual([cpu.get('segSelector', CS), cpu.get('segBase', CS), cpu.get('rip'), cpu.get('rflags')], [0x1234n, 0x12340n, 0x5678n, 2n]);
  cpu.call('iret', 2);
  deepEqual(
    [cpu.fault(), cpu.get('segBase', CS), cpu.get('rip'), cpu.get('rflags'), cpu.get('gpr', 4)],
    ['', 0x1000n, 0x42n, 0x302n, 0xabcd_0000_0004n],
  );
  cpu.set('idtrLimit', 0x80);
  equal(cpu.call('deliver', 0x21, EVENT_EXTERNAL, 0, 0), 0n); // #GP through vector 13
  equal(cpu.get('rip'), 0n);
  cpu.set('idtrLimit', 0);
  equal(cpu.call('deliver', 0x21, EVENT_EXTERNAL, 0, 0), 1n);
});
