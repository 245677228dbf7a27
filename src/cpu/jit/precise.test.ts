/**
 * Each memory instruction of a region faults, in each iteration; an interrupt, a single step or a breakpoint comes at each place. The state is
 * that of single steps in tier 0.
 * Implements: SDM vol. 3A 6.6 Program or Task Restart, 6.9 Priority Among Concurrent Events, 18.3.1 Debug Exception. Runs on: the test runner.
 */
import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { CAPABILITY_STEP, RUN_BUDGET, RUN_HALTED } from '../../base/vcpu-words.ts';
import { ProgramAssembler, RAX, RCX, RDX, RSI, RSP } from '../testing/program-assembler.ts';
import type { Program } from '../testing/program-assembler.ts';
import { CODE, CODE_BYTES, ENTRY, PAGE, WINDOW, WINDOW_PAGES } from '../testing/program-map.ts';
import { ProgramMachine } from '../testing/program-machine.ts';
import { Random } from '../testing/random.ts';
import { catchUp } from '../testing/lockstep.ts';

const ITERATIONS = 3;
const RDI = 7,
  R9 = 9;
const PRESENT = 1n,
  WRITABLE = 2n;
const TF = 0x100n;

/** Code around instructions of which each has a page of its own in each iteration. */
class Shape {
  readonly a = new ProgramAssembler('long', new Random(1));
  slots = 0;
  /** From the end of its page so many bytes: an access may reach into the next page. */
  readonly #offset: number;

  constructor(offset: number) {
    this.#offset = offset;
    this.a.piece();
  }
  code(...bytes: number[]): void {
    this.a.instruction(...bytes);
  }
  /** An instruction whose memory operand is the next page of the iteration: [rsi + slot]. @param bytes up to the opcode */
  at(reg: number, ...bytes: number[]): void {
    this.a.instruction(...bytes, 0x80 | ((reg & 7) << 3) | RSI);
    this.a.i32(this.place());
  }
  place(): number {
    return this.slots++ * 2 * PAGE + this.#offset;
  }
  /** lea reg, [rsi + slot] */
  point(reg: number): void {
    this.at(reg, 0x48, 0x8d);
  }
  /** The loop around all, and the end. */
  program(body: (shape: Shape) => void): Program {
    const { a } = this,
      head = ProgramAssembler.label();
    a.instruction(0xbe); // mov esi, WINDOW
    a.i32(WINDOW);
    a.instruction(0xbd); // mov ebp, ITERATIONS
    a.i32(ITERATIONS);
    a.place(head);
    body(this);
    a.instruction(0x48, 0x81, 0xc6); // add rsi, ...
    a.i32(this.slots * 2 * PAGE);
    a.instruction(0xff, 0xcd); // dec ebp
    a.jump([0x0f, 0x85], head);
    a.instruction(0xf4);
    a.instruction(0xeb, 0xfd);
    ok(this.slots * 2 * ITERATIONS <= WINDOW_PAGES, 'a page for each access');
    return a.assemble();
  }
}

const SHAPES: Readonly<Record<string, (s: Shape) => void>> = {
  'loads, stores and what does both': (s) => {
    s.at(RAX, 0x8b); // mov eax, m
    s.at(RDX, 0x48, 0x03); // add rdx, m
    s.at(RAX, 0x48, 0x01); // add m, rax
    s.at(RDX, 0x48, 0x11); // adc m, rdx
    s.at(RDX, 0x66, 0x89); // mov m16, dx
    s.at(0, 0xfe); // inc m8
    s.at(RAX, 0x48, 0x39); // cmp m, rax
    s.at(RAX, 0x0f, 0x92); // setc m8
    s.at(RDX, 0x48, 0x0f, 0x42); // cmovc rdx, m
    s.at(4, 0xd1); // shl m32, 1
    s.at(3, 0xf7); // neg m32
    s.at(RAX, 0x0f, 0xaf); // imul eax, m
  },
  stack: (s) => {
    for (const push of [[0x50], [0x9c], [0x6a, 0x55]]) {
      s.point(RSP);
      s.code(...push);
    }
    for (const pop of [[0x58], [0x5a], [0x9d]]) {
      s.point(RSP);
      s.code(...pop);
    }
    s.point(RSP);
    s.at(6, 0xff); // push m
    s.point(RSP);
    s.at(0, 0x8f); // pop m
  },
  'calls and returns': (s) => {
    const { a } = s,
      over = ProgramAssembler.label(),
      callee = ProgramAssembler.label(),
      wide = ProgramAssembler.label();
    s.point(RSP);
    a.jump([0xe8], callee);
    s.point(RSP);
    a.codePointer(RAX, callee);
    s.code(0xff, 0xd0); // call rax
    a.codePointer(R9, wide);
    s.at(R9, 0x4c, 0x89); // mov m, r9
    s.point(RSP);
    s.code(0x6a, 1); // push, for RET 8 to drop
    s.slots--;
    s.at(2, 0xff); // call m
    a.jump([0xe9], over);
    a.place(callee);
    s.code(0xff, 0xc2); // inc edx
    s.code(0xc3);
    a.place(wide);
    s.at(RAX, 0x03);
    s.code(0xc2, 8, 0);
    a.place(over);
  },
  'branches whose flags live over accesses': (s) => {
    const { a } = s,
      end = ProgramAssembler.label();
    s.code(0x83, 0xfd, 2); // cmp ebp, 2
    s.at(RAX, 0x8b);
    const first = ProgramAssembler.label();
    a.jump([0x0f, 0x84], first);
    s.at(RAX, 0x89);
    s.code(0x83, 0xc0, 0x7f); // add eax, 127
    s.at(RDX, 0x8a);
    a.jump([0x0f, 0x8c], end);
    s.at(RDX, 0x00);
    a.place(first);
    s.at(RDX, 0x85); // test m, edx
    a.place(end);
    s.at(RAX, 0x1b); // sbb eax, m
  },
  'a loop in the loop': (s) => {
    const { a } = s,
      head = ProgramAssembler.label();
    s.code(0xb9, 2, 0, 0, 0); // mov ecx, 2
    s.point(RDI);
    s.slots += 2;
    a.place(head);
    s.code(0x03, 0x07); // add eax, [rdi]
    s.code(0x01, 0x87, 0, 0x20, 0, 0); // add [rdi + 2000h], eax
    s.code(0x48, 0x81, 0xc7, 0, 0x20, 0, 0); // add rdi, 2000h
    s.code(0xff, 0xc9);
    a.jump([0x0f, 0x85], head);
  },
  SSE: (s) => {
    s.at(1, 0x0f, 0x10); // movups xmm1, m
    s.at(1, 0xf2, 0x0f, 0x58); // addsd xmm1, m
    s.at(2, 0xf3, 0x0f, 0x6f); // movdqu xmm2, m
    s.at(2, 0xf3, 0x0f, 0x7f); // movdqu m, xmm2
    s.at(1, 0x66, 0x0f, 0xd6); // movq m, xmm1
    s.at(3, 0x0f, 0x2e); // ucomiss xmm3, m
    s.at(1, 0xf2, 0x48, 0x0f, 0x2d); // cvtsd2si rcx, m
    s.at(3, 0x66, 0x0f, 0x6e); // movd xmm3, m
  },
  'SSE registers that calls and rare ways find in locals': (s) => {
    const { a } = s,
      over = ProgramAssembler.label(),
      callee = ProgramAssembler.label();
    s.code(0x66, 0x0f, 0x6e, 0xc5); // movd xmm0, ebp
    s.code(0xf3, 0x0f, 0xe6, 0xc8); // cvtdq2pd xmm1, xmm0
    s.code(0xf2, 0x0f, 0x5e, 0xc8); // divsd xmm1, xmm0: by a denormal
    s.at(1, 0x66, 0x0f, 0x58); // addpd xmm1, m
    s.point(RSP);
    a.jump([0xe8], callee);
    s.code(0x66, 0x0f, 0xef, 0xd9); // pxor xmm3, xmm1
    s.at(3, 0x0f, 0xae); // stmxcsr m
    a.jump([0xe9], over);
    a.place(callee);
    s.code(0x66, 0x0f, 0xfe, 0xc8); // paddd xmm1, xmm0
    s.code(0xf2, 0x0f, 0x59, 0xd1); // mulsd xmm2, xmm1
    s.at(2, 0xf2, 0x0f, 0x10); // movsd xmm2, m
    s.code(0xc3);
    a.place(over);
    s.code(0x66, 0x0f, 0x38, 0x15, 0xca); // blendvpd xmm1, xmm2
    s.at(1, 0x66, 0x0f, 0x11); // movupd m, xmm1
  },
  x87: (s) => {
    s.at(0, 0xdd); // fld m64
    s.at(0, 0xdc); // fadd m64
    s.at(5, 0xdb); // fld m80
    s.at(7, 0xdb); // fstp m80
    s.at(3, 0xd9); // fstp m32
    s.at(0, 0xdf); // fild m16
    s.at(3, 0xdb); // fistp m32
    s.at(7, 0xd9); // fnstcw
    s.at(5, 0xd9); // fldcw
    s.code(0xdb, 0xe3);
  },
  strings: (s) => {
    const moved = (...string: number[]): void => {
      s.point(RDI);
      s.code(0x56); // push rsi; lea rsi, ...; string; pop rsi
      s.point(RSI);
      s.code(...string);
      s.code(0x5e);
    };
    s.code(0xbc); // mov esp, some stack
    s.a.i32(0x61000);
    moved(0xa4);
    moved(0x48, 0xa5);
    moved(0xa6);
    s.code(0xb9, 40, 0, 0, 0);
    moved(0xf3, 0xa4);
    s.code(0xb9, 9, 0, 0, 0);
    moved(0xf3, 0x48, 0xab);
    s.code(0xb9, 9, 0, 0, 0);
    moved(0xf2, 0xae);
  },
  LOCK: (s) => {
    s.at(RAX, 0xf0, 0x48, 0x01); // add
    s.at(RDX, 0xf0, 0x0f, 0xc1); // xadd
    s.at(RDX, 0xf0, 0x0f, 0xb1); // cmpxchg
    s.at(RAX, 0x87); // xchg
    s.at(1, 0xf0, 0x0f, 0xc7); // cmpxchg8b
    s.at(RCX, 0xf0, 0x0f, 0xab); // bts
  },
};
const nothing = (): void => {};
/** Slices of every length only in the full run. */
const FULL = process.env['TSHYVE_TEST_FULL'] === '1';
const OFFSETS = [0x100, PAGE - 3];
const SEED = 3;

/** One machine that is right, one whose regions are kept from run to run. */
const right = new ProgramMachine({ tier: 'interpreter' }),
  tested = new ProgramMachine({ tier: 'always' });

/** @returns '' or what differs, after `prepare` and a run to the end in slices. */
function run(program: Program, slice: number, prepare: (machine: ProgramMachine) => void): string {
  for (const machine of [right, tested]) {
    machine.load(program, SEED, machine === tested ? 'keep code' : undefined);
    prepare(machine);
  }
  right.set('capabilities', CAPABILITY_STEP);
  return finish(slice);
}
function finish(slice: number): string {
  for (let slices = 0; slices < 100; slices++) {
    const reason = tested.processor.run(slice),
      different = catchUp(tested, right, reason);
    if (different || reason === RUN_HALTED) return different;
    if (reason !== RUN_BUDGET) return `ended with ${reason}`;
  }
  return ''; // with the interrupt or the trap it goes on for ever, in both alike
}
/** So that the first run has no regions of another program. */
function begin(program: Program): number {
  tested.processor.code.flush();
  equal(run(program, 1000, nothing), '');
  return Number(tested.get('retired'));
}

for (const [name, body] of Object.entries(SHAPES)) {
  test(`${name}: each access may fault`, () => {
    for (const offset of OFFSETS) {
      const shape = new Shape(offset),
        program = shape.program(body);
      begin(program);
      for (let page = 0; page < shape.slots * 2 * ITERATIONS; page++)
        for (const bit of [PRESENT, WRITABLE]) {
          const different = run(program, 1000, (machine) => {
            machine.remap(WINDOW / PAGE + page, bit);
          });
          equal(different, '', `offset ${offset.toString(16)}, page ${page}, bit ${bit} off`);
        }
    }
  });

  test(`${name}: interrupts and single steps come at each count of instructions`, () => {
    const shape = new Shape(0x100),
      program = shape.program(body),
      count = begin(program);
    for (let k = 1; k <= count; k++) {
      if (FULL || k <= 12) equal(run(program, k, nothing), '', `slices of ${k}`);
      for (const machine of [right, tested]) machine.load(program, SEED, machine === tested ? 'keep code' : undefined);
      right.set('capabilities', CAPABILITY_STEP);
      const reason = tested.processor.run(k);
      equal(catchUp(tested, right, reason), '', `the first ${k}`);
      if (reason === RUN_HALTED) continue;
      for (const machine of [right, tested])
        if (k % 2) machine.interrupt = true;
        else {
          machine.set('rflags', machine.get('rflags') | TF);
          machine.processor.refreshState();
        }
      equal(finish(1000), '', `${k % 2 ? 'an interrupt' : 'single steps'} after ${k}`);
    }
  });

  test(`${name}: breakpoints hit each instruction and each access`, () => {
    const shape = new Shape(0x100),
      program = shape.program(body);
    begin(program);
    const watch = (enables: bigint, linear: number): string =>
      run(program, 1000, (machine) => {
        machine.set('dr', linear, 0);
        machine.set('dr', 0x400n | enables, 7);
        machine.processor.refreshState();
      });
    for (const start of program.next.keys()) equal(watch(2n, CODE + start), '', `DR0 on ${(CODE + start).toString(16)}`);
    for (let slot = 0; slot < shape.slots; slot++)
      for (const kind of [0x10002n, 0x30002n]) {
        const linear = WINDOW + (shape.slots + slot) * 2 * PAGE + 0x100;
        equal(watch(kind, linear), '', `DR0 on ${linear.toString(16)}, kind ${kind.toString(16)}`);
      }
  });
}

test('code is changed from outside at each count of instructions', () => {
  const a = new ProgramAssembler('long', new Random(1)),
    head = ProgramAssembler.label(),
    callee = ProgramAssembler.label();
  a.piece();
  a.instruction(0xb9, 4, 0, 0, 0); // mov ecx, 4
  a.place(head);
  const immediate = ENTRY + 5 + 1;
  a.instruction(0x05, 1, 0, 0, 0); // add eax, 1
  a.jump([0xe8], callee);
  a.instruction(0xff, 0xc9);
  a.jump([0x0f, 0x85], head);
  a.instruction(0xf4);
  a.instruction(0xeb, 0xfd);
  const rest = a.piece();
  while (rest.bytes.length < PAGE) rest.bytes.push(0xcc);
  a.place(callee); // in another page
  a.instruction(0x81, 0xc2, 1, 0, 0, 0); // add edx, 1
  a.instruction(0xc3);
  const program = a.assemble(),
    calleeAt = ENTRY + program.code.length - 7;
  ok(calleeAt < CODE_BYTES);
  const count = begin(program);
  for (let k = 1; k <= count; k++)
    for (const [name, change] of Object.entries({
      'DMA into the loop': (machine: ProgramMachine) => machine.dma(machine.codeGpa(immediate), 7),
      'DMA into the function': (machine: ProgramMachine) => machine.dma(machine.codeGpa(calleeAt + 2), 7),
      'DMA of the same byte': (machine: ProgramMachine) => machine.dma(machine.codeGpa(immediate), 1),
      'another page of the loop': (machine: ProgramMachine) => {
        machine.dma(machine.codeGpa(immediate) ^ 0x8000, 9);
        machine.remap(CODE / PAGE, 0x8000n);
      },
      'another page of the function': (machine: ProgramMachine) => {
        machine.dma(machine.codeGpa(calleeAt + 2) ^ 0x8000, 9);
        machine.remap((CODE + calleeAt - (calleeAt % PAGE)) / PAGE, 0x8000n);
      },
    })) {
      for (const machine of [right, tested]) machine.load(program, SEED);
      right.set('capabilities', CAPABILITY_STEP);
      const reason = tested.processor.run(k);
      equal(catchUp(tested, right, reason), '', `${name}: the first ${k}`);
      if (reason === RUN_HALTED) continue;
      for (const machine of [right, tested]) change(machine);
      equal(finish(1000), '', `${name} after ${k}`);
    }
});
