/** Immediates and displacements that are patched: after the first patch a region reads them, and outlives the next ones. */
import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { HVA_RAM, UOP_HANDLER, VCPUS } from '../../base/memory-map.ts';
import { FIRST_PAIR, FIRST_REGION } from '../decode/pseudo.ts';
import { RUN_BUDGET, RUN_HALTED } from '../state.ts';
import { CODE32, SmallMachine } from '../testing/small-machine.ts';

const CODE = 0x1000,
  DATA = 0x3000,
  COUNT = 3000,
  ROUNDS = 60;

/** Code that is run to its HLT in each round, after a patch; tier 1 compiles it at once where it is hot. */
class Machine extends SmallMachine {
  constructor(code: readonly number[]) {
    let nowNs = 0;
    super({ ramBytes: 0x40000, tier: 'jit', nowNs: () => (nowNs += 1e6) });
    this.set('cr0', 0x31);
    this.set('rflags', 2);
    this.setFlatSegments(CODE32);
    this.ram.set(code, CODE);
    for (let i = 0; i < 256; i++) this.ram[DATA + i] = i;
    this.refresh();
  }
  get regions() {
    return this.processor.jit!.stats;
  }
  run(): number {
    this.set('halted', 0);
    this.set('rip', CODE);
    let reason = RUN_BUDGET as number;
    while (reason === RUN_BUDGET) reason = this.processor.run(1000);
    equal(reason, RUN_HALTED);
    return Number(this.get('gpr') & 0xffff_ffffn);
  }
  patch(at: number, bytes: readonly number[]): void {
    this.ram.set(bytes, CODE + at);
    this.processor.code.written(HVA_RAM + CODE, 1 << (at >> 6), 0);
  }
}

const low = (value: number): readonly number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255];
/** mov ecx, COUNT; xor eax, eax; l: BODY; dec ecx; jnz l; hlt. BODY begins at 7. */
const loop = (...body: readonly number[]): readonly number[] => [
  ...[0xb9, ...low(COUNT), 0x31, 0xc0],
  ...body,
  ...[0x49, 0x75, 256 - body.length - 3, 0xf4],
];

/** What a loop with one patched field gives: value by value. */
const CASES: Readonly<
  Record<string, { body: readonly number[]; at: number; bytes: (round: number) => readonly number[]; eax: (round: number) => number }>
> = {
  'a sign-extended byte: add eax, i8': {
    body: [0x83, 0xc0, 0],
    at: 2,
    bytes: (round) => [(round * 37) & 255],
    eax: (round) => (((round * 37) << 24) >> 24) * COUNT,
  },
  'a word: add ax, i16': {
    body: [0x66, 0x05, 0, 0],
    at: 2,
    bytes: (round) => [round & 255, round * 5],
    eax: (round) => ((round | ((round * 5) << 8)) * COUNT) & 0xffff,
  },
  'a byte register: add ah, i8': {
    body: [0x80, 0xc4, 0],
    at: 2,
    bytes: (round) => [round],
    eax: (round) => ((round * COUNT) & 255) << 8,
  },
  'a double word: mov eax, i32': {
    body: [0xb8, 0, 0, 0, 0],
    at: 1,
    bytes: (round) => low(round * 0x1234567),
    eax: (round) => round * 0x1234567,
  },
  'a displacement of a byte: movzx eax, byte ptr [ebx + d8]': {
    body: [0x0f, 0xb6, 0x43, 0],
    at: 3,
    bytes: (round) => [round],
    eax: (round) => round,
  },
  'a displacement below the base: movzx eax, byte ptr [ebx + ecx * 4 + d32]': {
    body: [0x0f, 0xb6, 0x84, 0x8b, 0, 0, 0, 0],
    at: 4,
    bytes: (round) => low(round - 4),
    eax: (round) => round,
  },
  'both: mov dword ptr [ebx + d8], i32; mov eax, [ebx + d8]': {
    body: [0xc7, 0x43, 16, 0, 0, 0, 0, 0x8b, 0x43, 16],
    at: 2,
    bytes: (round) => [16 + round, ...low(round * 77), 0x8b, 0x43, 16 + round],
    eax: (round) => round * 77,
  },
};

for (const [name, { body, at, bytes, eax }] of Object.entries(CASES))
  test(`a region outlives patches of ${name}`, () => {
    const machine = new Machine(loop(...body));
    machine.set('gpr', DATA, 3);
    for (let round = 1; round <= ROUNDS; round++) {
      machine.patch(7 + at, bytes(round));
      equal(machine.run(), eax(round) >>> 0, `round ${round}`);
    }
    const { regions, changed, dropped } = machine.regions;
    ok(regions >= 1 && regions <= 4 && changed + dropped <= 3, `${regions} regions, ${changed} changed, ${dropped} dropped`);
  });

test('a region outlives a patch though other code of its page is decoded anew before its own', () => {
  // As `loop`, with a jump in front of it: mov ecx, COUNT; xor eax, eax; jmp l; l: add eax, i8; dec ecx; jnz l; hlt
  const machine = new Machine([0xb9, ...low(COUNT), 0x31, 0xc0, 0xeb, 0, 0x83, 0xc0, 0, 0x49, 0x75, 256 - 6, 0xf4]),
    entry = 9;
  for (let round = 1; round <= ROUNDS; round++) {
    machine.patch(entry + 2, [round]);
    equal(machine.run(), round * COUNT, `round ${round}`);
  }
  const uop = machine.processor.code.uopAt(HVA_RAM + CODE, entry | (Number(machine.get('mode')) << 12)),
    handler = machine.record.getUint16(uop + UOP_HANDLER - VCPUS, true);
  ok(handler >= FIRST_REGION && handler < FIRST_PAIR, `handler ${handler}`);
});

test('where the code depends on the value it is compiled anew, and right: shl eax, i8', () => {
  // or eax, 1; shl eax, i8
  const machine = new Machine(loop(0x83, 0xc8, 1, 0xc1, 0xe0, 0));
  for (let round = 0; round < 24; round++) {
    machine.patch(7 + 5, [round & 7]);
    let eax = 0;
    for (let i = 0; i < COUNT; i++) eax = ((eax | 1) << (round & 7)) >>> 0;
    equal(machine.run(), eax, `round ${round}`);
  }
});

test('other code in place of the old, and a patched operation, are no patches of a field', () => {
  const machine = new Machine(loop(0x83, 0xc0, 3));
  equal(machine.run(), 3 * COUNT);
  machine.patch(7, [0x83, 0xc8, 5]); // or eax, 5
  equal(machine.run(), 5);
  machine.patch(7, [0x83, 0xc0, 7]);
  equal(machine.run(), 7 * COUNT);
});

test('a region that patches its own next instruction goes on with what is there now', () => {
  // l: inc byte ptr [CODE + 15] (the i8 of the add behind it); add eax, i8 (0); dec ecx; jnz l
  const machine = new Machine(loop(0xfe, 0x05, ...low(CODE + 15), 0x83, 0xc0, 0)),
    sum = (from: number): number => {
      let eax = 0;
      for (let i = 1; i <= COUNT; i++) eax += ((from + i) << 24) >> 24;
      return eax >>> 0;
    };
  for (let round = 0; round < 4; round++) equal(machine.run(), sum(round * COUNT), `round ${round}`);
});

test('single steps see the patched instruction that a region begins with', () => {
  const machine = new Machine(loop(0x83, 0xc0, 3));
  for (const addend of [3, 4, 5]) {
    machine.patch(9, [addend]);
    equal(machine.run(), addend * COUNT);
  }
  machine.patch(9, [9]);
  machine.set('halted', 0);
  machine.set('rip', CODE + 7);
  machine.set('gpr', 1);
  machine.set('rflags', 0x102); // TF: a step, then #DB finds no handler
  machine.processor.run(1);
  equal(machine.get('gpr') & 0xffff_ffffn, 10n);
});
