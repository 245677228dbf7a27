import { deepEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { UOP_HANDLER, VCPUS, VCPU_UOPS } from '../../base/memory-map.ts';
import { FIRST_PAIR, pairsOf } from '../decode/variants.ts';
import { CAPABILITY_STEP, RUN_HALTED, RUN_STEPPED } from '../state.ts';
import { CODE64, SmallMachine } from '../testing/small-machine.ts';

const RAM_BYTES = 0x10_0000,
  PML4 = 0x1000,
  PDPT = 0x2000,
  PD = 0x3000,
  CODE = 0x8000,
  DATA = 0x2_0000,
  DATA_BYTES = 0x100,
  STACK = 0x3_0000;
const PROGRAMS = 400,
  INSTRUCTIONS = 40;
/** 64-bit code at CPL 0 on one identity-mapped page of 2 MiB. */
class Machine extends SmallMachine {
  constructor() {
    super({ ramBytes: RAM_BYTES });
    this.ram.writeBigUInt64LE(BigInt(PDPT) | 7n, PML4);
    this.ram.writeBigUInt64LE(BigInt(PD) | 7n, PDPT);
    this.ram.writeBigUInt64LE(0x87n, PD);
  }

  /** Run `code` from given registers; what it leaves behind. */
  run(code: readonly number[], registers: readonly bigint[], step: boolean): unknown {
    const { ram, processor } = this;
    ram.fill(0, CODE, CODE + 0x1000);
    ram.set(code, CODE);
    for (let i = 0; i < DATA_BYTES; i++) ram[DATA + i] = i * 37;
    ram.fill(0x5a, STACK - 0x400, STACK + 0x400);
    this.set('cr0', 0x8001_0033n);
    this.set('cr3', PML4);
    this.set('cr4', 0x620n);
    this.set('efer', 0xd00n);
    this.setFlatSegments(CODE64);
    this.set('rip', CODE);
    this.set('rflags', 2n);
    this.set('halted', 0);
    this.set('retired', 0n);
    this.set('capabilities', step ? CAPABILITY_STEP : 0);
    registers.forEach((value, i) => this.set('gpr', value, i));
    this.refresh();
    this.flags = 0;
    let reason = processor.run(10_000);
    for (let steps = 0; reason === RUN_STEPPED && steps < 10_000; steps++) reason = processor.run(1);
    return {
      halted: reason === RUN_HALTED,
      registers: registers.map((_, i) => this.get('gpr', i).toString(16)),
      flags: this.flags,
      retired: this.get('retired'),
      rip: this.get('rip'),
      data: Buffer.from(ram.slice(DATA, DATA + DATA_BYTES)).toString('hex'),
      stack: Buffer.from(ram.slice(STACK - 0x200, STACK + 0x200)).toString('hex'),
    };
  }
}

/** A small generator that repeats: xorshift32. */
function createRandom(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Instructions of the forms that pairs.ts names: rSP and rBP are never changed but by PUSH and POP. */
function randomInstruction(random: (below: number) => number): number[] {
  const free = [0, 1, 2, 3, 6, 7],
    dst = free[random(6)]!,
    src = free[random(6)]!,
    byte = random(256),
    place = random(DATA_BYTES - 8);
  const registers = 0xc0 | (src << 3) | dst,
    memory = 0x85 | (src << 3),
    at = [place, 0, 0, 0];
  const forms: readonly (readonly number[])[] = [
    [0x48, 0x89, registers],
    [0x89, registers],
    [0x48, 0x01, registers],
    [0x01, registers],
    [0x48, 0x29, registers],
    [0x31, registers],
    [0x48, 0x21, registers],
    [0x21, registers],
    [0x48, 0x09, registers],
    [0x48, 0x63, registers],
    [0x40, 0x0f, 0xb6, registers],
    [0x48, 0x83, 0xc0 | dst, byte],
    [0x83, 0xc0 | dst, byte],
    [0x48, 0x83, 0xe8 | dst, byte],
    [0x48, 0x83, 0xe0 | dst, byte],
    [0x83, 0xe0 | dst, byte],
    [0x48, 0xc1, 0xe0 | dst, byte],
    [0x48, 0xc1, 0xe8 | dst, byte],
    [0xc1, 0xe8 | dst, byte],
    [0xff, 0xc8 | dst],
    [0xb8 | dst, byte, src, 0, 0x80],
    [0x48, 0x39, registers],
    [0x39, registers],
    [0x40, 0x38, registers],
    [0x48, 0x83, 0xf8 | dst, byte],
    [0x83, 0xf8 | dst, byte],
    [0x48, 0x85, registers],
    [0x85, registers],
    [0x40, 0x84, registers],
    [0x48, 0x3b, memory, ...at],
    [0x48, 0x39, memory, ...at],
    [0x48, 0x83, 0xbd, ...at, byte],
    [0x83, 0xbd, ...at, byte],
    [0x80, 0xbd, ...at, byte],
    [0xf6, 0x85, ...at, byte],
    [0x48, 0x8b, memory, ...at],
    [0x8b, memory, ...at],
    [0x0f, 0xb6, memory, ...at],
    [0x48, 0x8d, memory, ...at],
    [0x48, 0x03, memory, ...at],
    [0x48, 0x89, memory, ...at],
    [0x89, memory, ...at],
    [0x50 | src],
    [0x58 | dst],
    // A conditional jump over an INC, or not; RCL and INC beside them, which read the flags of what came before.
    [0x70 | random(16), 2, 0xff, 0xc0 | dst],
    [0x70 | random(16), 2, 0xff, 0xc0 | dst],
    [0x48, 0xd1, 0xd0 | dst],
    [0x48, 0xff, 0xc0 | dst],
  ];
  return [...forms[random(forms.length)]!];
}

const machine = new Machine();

test('pairs of instructions do what their instructions do one by one', () => {
  const pairs = [...pairsOf(machine.manifest)],
    seed = Number(process.env['PAIR_SEED'] ?? 20_261_121),
    seen = new Set<number>();
  ok(pairs.length > 150, 'the manifest holds pairs');
  for (let program = 0; program < PROGRAMS; program++) {
    const random = createRandom(seed + program * 7919),
      code: number[] = [];
    for (let i = 0; i < INSTRUCTIONS; i++) code.push(...randomInstruction(random));
    code.push(0xf4);
    const registers = Array.from({ length: 16 }, (_, i) =>
      i === 4 ? BigInt(STACK) : i === 5 ? BigInt(DATA) : BigInt(random(2 ** 32)) << BigInt(random(33)),
    );
    const together = machine.run(code, registers, false);
    for (let at = VCPUS + VCPU_UOPS, uops = 0; uops < INSTRUCTIONS * 2; at += 32, uops++) {
      const handler = machine.record.getUint16(at + UOP_HANDLER - VCPUS, true);
      if (handler >= FIRST_PAIR) seen.add(handler);
    }
    deepEqual(together, machine.run(code, registers, true), `PAIR_SEED=${seed}, program ${program}`);
  }
  ok(seen.size > pairs.length / 3, `${seen.size} of ${pairs.length} pairs were met`);
});

test('the second of a pair may be overwritten', () => {
  // PAIR: mov rax, rbx; mov rax, rcx; inc rsi; cmp rsi, 108; je END; jmp PATCH. PATCH makes the second MOV a SUB and goes to PAIR. END: hlt.
  const pairAt = 0x40,
    second = CODE + pairAt + 4;
  const patch = [0xc6, 0x04, 0x25, second & 0xff, second >> 8, 0, 0, 0x29, 0xeb, pairAt - 12];
  const head = [0xeb, pairAt - 2, ...patch];
  const pair = [
    0x48,
    0x89,
    0xd8,
    0x48,
    0x89,
    0xc8,
    0x48,
    0xff,
    0xc6,
    0x48,
    0x83,
    0xfe,
    108,
    0x74,
    0x02,
    0xeb,
    0x100 + 2 - pairAt - 17,
    0xf4,
  ];
  const code = [...head, ...Array<number>(pairAt - head.length).fill(0x90), ...pair];
  const registers = Array.from({ length: 16 }, (_, i) => BigInt(i === 4 ? STACK : i === 5 ? DATA : i + 100));
  const result = machine.run(code, registers, false) as { halted: boolean; registers: string[] };
  ok(result.halted);
  deepEqual(result.registers[0], (103n - 101n).toString(16), 'RBX - RCX: the patched instruction ran');
  deepEqual(machine.run(code, registers, true), result);
});
