import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import { VCPUS } from '../base/memory-map.ts';
import type { CpuTier } from './processor.ts';
import { REQUEST_INTERRUPT, RUN_BUDGET, RUN_HALTED, VCPU } from './state.ts';
import { CODE64, SmallMachine } from './testing/small-machine.ts';

const RAM_BYTES = 0x10_0000,
  PML4 = 0x1000,
  PDPT = 0x2000,
  PD = 0x3000,
  GDT = 0x5000,
  IDT = 0x6000,
  CODE = 0x8000,
  HANDLER = 0x9000,
  STACK = 0x3_0000;
const CODE_SELECTOR = 8,
  STACK_SELECTOR = 16;
const VECTOR = 0x20,
  VECTOR_DB = 1,
  PORT = 0x80;
const RF = 0x10000n,
  IF = 0x200n;
const RAX = 0,
  RCX = 1,
  RSP = 4;
const CLI = 0xfa,
  STI = 0xfb,
  NOP = 0x90,
  HLT = 0xf4,
  OUT = [0xe6, PORT],
  INC_RAX = [0x48, 0xff, 0xc0],
  POPF = 0x9d,
  IRETQ = [0x48, 0xcf];
/** mov rcx, [rsp]; iretq: RCX tells what was interrupted. */
const TELL_AND_RETURN = [0x48, 0x8b, 0x0c, 0x24, ...IRETQ];
const TIERS: readonly CpuTier[] = ['interpreter', 'always'];

/** 64-bit code at CPL 0 on one identity-mapped page of 2 MiB, with gates for #DB and one interrupt, which a write to a port raises. */
class Machine extends SmallMachine {
  pending: boolean;

  constructor(tier: CpuTier, pending: boolean, code: readonly number[], stack: readonly bigint[] = []) {
    super({
      ramBytes: RAM_BYTES,
      tier,
      bus: {
        interruptVector: () => (this.pending ? VECTOR : -1),
        interruptAck: () => {
          this.pending = false;
          return VECTOR;
        },
        portWrite: () => {
          this.pending = true;
          const words = new Int32Array(this.memory0.buffer);
          Atomics.or(words, (VCPUS + VCPU.offset.requests) >> 2, REQUEST_INTERRUPT);
        },
      },
    });
    this.pending = pending;
    const { ram } = this;
    ram.writeBigUInt64LE(BigInt(PDPT) | 7n, PML4);
    ram.writeBigUInt64LE(BigInt(PD) | 7n, PDPT);
    ram.writeBigUInt64LE(0x87n, PD);
    ram.writeBigUInt64LE(0xaf9b000000ffffn, GDT + CODE_SELECTOR);
    ram.writeBigUInt64LE(0xcf93000000ffffn, GDT + STACK_SELECTOR);
    for (const vector of [VECTOR, VECTOR_DB])
      ram.writeBigUInt64LE(BigInt(HANDLER) | (BigInt(CODE_SELECTOR) << 16n) | (0x8en << 40n), IDT + vector * 16);
    ram.set(code, CODE);
    ram.set(TELL_AND_RETURN, HANDLER);
    stack.forEach((word, i) => ram.writeBigUInt64LE(word, STACK + i * 8));
    this.set('cr0', 0x8001_0033n);
    this.set('cr3', PML4);
    this.set('cr4', 0x620n);
    this.set('efer', 0xd00n);
    this.setFlatSegments(CODE64);
    this.set('segSelector', CODE_SELECTOR, 1);
    this.set('segSelector', STACK_SELECTOR, 2);
    this.set('gdtrBase', GDT);
    this.set('gdtrLimit', 0x17);
    this.set('idtrBase', IDT);
    this.set('idtrLimit', 0xfff);
    this.set('gpr', STACK, RSP);
    this.set('rip', CODE);
    this.set('rflags', 2n);
    this.refresh();
    this.flags = 0;
  }

  /** To the HLT, so many instructions a slice. */
  halt(slice: number): void {
    for (let slices = 0; slices < 100; slices++) {
      const reason = this.processor.run(slice);
      if (reason === RUN_HALTED) return;
      if (reason !== RUN_BUDGET) throw new Error(`the run ended with ${reason}`);
    }
    throw new Error('no HLT');
  }
}

/** What RCX says at the HLT: the address that the handler returned to, in every tier and with slices of every size. */
function interruptedAt(pending: boolean, code: readonly number[], stack: readonly bigint[] = []): readonly number[] {
  const places = new Set<number>();
  for (const tier of TIERS)
    for (let slice = 1; slice <= 12; slice++) {
      const machine = new Machine(tier, pending, code, stack);
      machine.halt(slice);
      places.add(Number(machine.get('gpr', RCX)) - CODE);
    }
  return [...places];
}

test('an interrupt that waits is delivered one instruction after STI', () => {
  deepEqual(interruptedAt(true, [CLI, NOP, STI, ...INC_RAX, ...INC_RAX, HLT]), [6]);
});

test('an interrupt that comes later is delivered behind the instruction after STI, wherever a block ends', () => {
  // sti; jmp +0: a jump's target is where a region's block begins. An interrupt that waits is seen behind the jump.
  deepEqual(interruptedAt(true, [CLI, STI, 0xeb, 0, ...INC_RAX, HLT]), [4]);
  deepEqual(interruptedAt(true, [CLI, STI, STI, ...INC_RAX, ...INC_RAX, HLT]), [3]);
  // test eax, eax; jz to behind STI: what follows STI is a block of its own.
  deepEqual(interruptedAt(true, [CLI, 0x31, 0xc0, 0x75, 1, STI, ...INC_RAX, ...INC_RAX, HLT]), [9]);
});

test('STI in a loop: the shadow is over, the flags and registers are right, and the interrupt comes', () => {
  // mov edx, 5; l: cli; inc rax; sti; inc rax; dec edx; jnz l; hlt
  const code = [CLI, 0xba, 5, 0, 0, 0, CLI, ...INC_RAX, STI, ...INC_RAX, 0xff, 0xca, 0x75, 256 - 12, HLT];
  for (const tier of TIERS)
    for (let slice = 1; slice <= 12; slice++) {
      const machine = new Machine(tier, false, code);
      machine.halt(slice);
      deepEqual([machine.get('gpr', RAX), machine.get('rflags') & IF, machine.get('shadow')], [10n, IF, 0n], `${tier} ${slice}`);
    }
  deepEqual(interruptedAt(true, code), [14]);
});

test('an interrupt that waits is delivered after HLT in the shadow of STI', () => {
  deepEqual(interruptedAt(true, [STI, HLT, HLT]), [2]);
});

test('an interrupt that the instruction after STI raises is delivered right after it', () => {
  deepEqual(interruptedAt(false, [STI, ...OUT, ...INC_RAX, HLT]), [3]);
});

test('an interrupt that waits is delivered right after POPF sets IF, and after IRETQ', () => {
  deepEqual(interruptedAt(true, [NOP, POPF, ...INC_RAX, HLT], [IF | 2n]), [2]);
  const frame = [BigInt(CODE + 3), BigInt(CODE_SELECTOR), IF | 2n, BigInt(STACK), BigInt(STACK_SELECTOR)];
  deepEqual(interruptedAt(true, [NOP, ...IRETQ, ...INC_RAX, HLT], frame), [3]);
});

test('TF set by POPF traps after the instruction that follows', () => {
  for (const tier of TIERS) {
    const machine = new Machine(tier, false, [POPF, ...INC_RAX, ...INC_RAX, HLT], [0x102n]);
    machine.processor.run(3);
    deepEqual([Number(machine.get('gpr', RCX)) - CODE, machine.get('gpr', RAX)], [4, 1n]);
  }
});

test('RF loaded by IRETQ is there before the next instruction and gone after it', () => {
  for (const tier of TIERS)
    for (const [slices, flag] of [
      [[1], RF],
      [[1, 1], 0n],
      [[2], 0n],
    ] as const) {
      const frame = [BigInt(CODE + 2), BigInt(CODE_SELECTOR), RF | 2n, BigInt(STACK), BigInt(STACK_SELECTOR)];
      const machine = new Machine(tier, false, [...IRETQ, ...INC_RAX, ...INC_RAX, 0xeb, 0xfe], frame);
      for (const slice of slices) machine.processor.run(slice);
      deepEqual([machine.get('rflags') & RF, machine.get('gpr', RAX) > 0n], [flag, flag === 0n]);
    }
});
