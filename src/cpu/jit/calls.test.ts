import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import type { CpuTier } from '../processor.ts';
import { RUN_BUDGET, RUN_HALTED } from '../state.ts';
import { CODE64, SmallMachine } from '../testing/small-machine.ts';

const RAM_BYTES = 0x10_0000,
  PML4 = 0x1000,
  PDPT = 0x2000,
  PD = 0x3000,
  PT = 0x4000,
  CODE = 0x8000,
  FAR = 0x9000,
  OTHER = 0xa000,
  STACK = 0x8_0000;
const PRESENT = 0x67;
const RAX = 0,
  RSP = 4,
  RDI = 7;
const TIERS: readonly CpuTier[] = ['interpreter', 'always'];
const HLT = 0xf4,
  NOP = 0x90,
  RET = 0xc3,
  INC_RAX = [0x48, 0xff, 0xc0],
  DEC_RDI = [0x48, 0xff, 0xcf],
  ADD_RAX_2 = [0x48, 0x83, 0xc0, 2];

const distance = (from: number, to: number): number[] => [0, 8, 16, 24].map((shift) => ((to - from) >> shift) & 0xff);
/** CALL rel32 that stands at `at`. */
const call = (at: number, to: number): number[] => [0xe8, ...distance(at + 5, to)];

/** 64-bit code at CPL 0, 4 KiB pages mapped to themselves. */
class Machine extends SmallMachine {
  constructor(tier: CpuTier, code: Readonly<Record<number, readonly number[]>>) {
    super({ ramBytes: RAM_BYTES, tier });
    for (const [table, next] of [
      [PML4, PDPT],
      [PDPT, PD],
      [PD, PT],
    ] as const)
      this.ram.writeUInt32LE(next | PRESENT, table);
    for (let page = 0; page < RAM_BYTES / 4096; page++) this.ram.writeUInt32LE((page * 4096) | PRESENT, PT + page * 8);
    for (const [at, bytes] of Object.entries(code)) this.ram.set(bytes, Number(at));
    this.set('cr0', 0x8005_0033);
    this.set('cr3', PML4);
    this.set('cr4', 0x620);
    this.set('efer', 0xd01);
    this.set('rflags', 2);
    this.set('dr', 0x400, 7);
    this.set('mxcsr', 0x1f80);
    this.setFlatSegments(CODE64);
    this.refresh();
  }

  /** From CODE to HLT. @param slice instructions in a slice */
  run(slice: number, rdi = 0): { readonly rax: bigint; readonly rsp: bigint; readonly retired: bigint } {
    const before = this.get('retired');
    this.set('rip', CODE);
    this.set('halted', 0);
    this.set('gpr', 0, RAX);
    this.set('gpr', rdi, RDI);
    this.set('gpr', STACK, RSP);
    let reason: number;
    do reason = this.processor.run(slice);
    while (reason === RUN_BUDGET);
    deepEqual(reason, RUN_HALTED);
    return { rax: this.get('gpr', RAX), rsp: this.get('gpr', RSP) - BigInt(STACK), retired: this.get('retired') - before };
  }
}

/** Often enough for every entry to be compiled, in slices of several lengths. */
function eachRun(code: Readonly<Record<number, readonly number[]>>, check: (machine: Machine, slice: number) => void): void {
  for (const tier of TIERS)
    for (const slice of [1, 2, 5, 1000]) {
      const machine = new Machine(tier, code);
      for (let i = 0; i < 3; i++) check(machine, slice);
    }
}

test('a recursion deeper than calls are nested comes back', () => {
  // f: dec rdi; jz out; call f; inc rax; out: ret
  const f = CODE + 0x100;
  const code = {
    [CODE]: [...call(CODE, f), HLT],
    [f]: [...DEC_RDI, 0x74, 8, ...call(f + 5, f), ...INC_RAX, RET],
  };
  const depth = 9000;
  eachRun(code, (machine, slice) => {
    const length = BigInt(2 + 5 * (depth - 1) + 3);
    deepEqual(machine.run(slice, depth), { rax: BigInt(depth - 1), rsp: 0n, retired: length });
  });
});

test('a RET that goes elsewhere than its CALL came from', () => {
  // f: add qword [rsp], 3; ret. After the call: inc rax (skipped); add rax, 2
  const f = CODE + 0x100;
  const code = {
    [CODE]: [...call(CODE, f), ...INC_RAX, ...ADD_RAX_2, HLT],
    [f]: [0x48, 0x83, 0x04, 0x24, 3, RET],
  };
  eachRun(code, (machine, slice) => deepEqual(machine.run(slice), { rax: 2n, rsp: 0n, retired: 5n }));
});

test('a callee that returns to its caller’s caller', () => {
  // g: add rsp, 8; ret
  const f = CODE + 0x100,
    g = CODE + 0x200;
  const code = {
    [CODE]: [...call(CODE, f), ...ADD_RAX_2, HLT],
    [f]: [...call(f, g), ...INC_RAX, RET],
    [g]: [0x48, 0x83, 0xc4, 8, RET],
  };
  eachRun(code, (machine, slice) => deepEqual(machine.run(slice), { rax: 2n, rsp: 0n, retired: 6n }));
});

test('what a callee writes into its caller’s code is executed after its RET', () => {
  // f: xor byte [rip + ...], 2 ^ 7; ret: the immediate of the caller's next instruction
  const f = FAR + 0x100,
    patched = CODE + 5 + 3;
  const code = {
    [CODE]: [...call(CODE, f), ...ADD_RAX_2, HLT],
    [f]: [0x80, 0x35, ...distance(f + 7, patched), 2 ^ 7, RET],
  };
  for (const tier of TIERS) {
    const machine = new Machine(tier, code);
    for (const rax of [7n, 2n, 7n, 2n]) deepEqual(machine.run(1000), { rax, rsp: 0n, retired: 5n });
  }
});

/** mov dword [PT + page * 8], frame | PRESENT; invlpg [page] */
const remap = (page: number, frame: number): number[] => [
  ...[0xc7, 0x04, 0x25, ...distance(0, PT + (page >> 12) * 8), ...distance(0, frame | PRESENT)],
  ...[0x0f, 0x01, 0x3c, 0x25, ...distance(0, page)],
];

test('a callee’s page is mapped elsewhere between two calls', () => {
  const first = call(CODE, FAR),
    change = remap(FAR, OTHER),
    second = CODE + first.length + change.length;
  const code = {
    [CODE]: [...first, ...change, ...call(second, FAR), ...remap(FAR, FAR), HLT],
    [FAR]: [...INC_RAX, RET],
    [OTHER]: [...ADD_RAX_2, RET],
  };
  eachRun(code, (machine, slice) => deepEqual(machine.run(slice), { rax: 3n, rsp: 0n, retired: 11n }));
});

test('a callee maps its caller’s page elsewhere', () => {
  const there = call(CODE, FAR),
    back = [...ADD_RAX_2, ...remap(CODE, CODE)];
  const code = {
    [CODE]: [...there, ...INC_RAX, ...back.map(() => NOP), HLT],
    [OTHER]: [...there, ...back], // and on in CODE
    [FAR]: [...remap(CODE, OTHER), RET],
  };
  for (const tier of TIERS) {
    const machine = new Machine(tier, code);
    for (let i = 0; i < 3; i++) deepEqual(machine.run(1000).rax, 2n);
  }
});
