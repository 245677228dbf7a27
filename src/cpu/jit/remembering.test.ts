/** Pages that a loop remembers, and what makes it forget them. Each program runs in both tiers. */
import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import type { CpuTier } from '../processor.ts';
import { RUN_BUDGET, RUN_HALTED, RUN_TRIPLE_FAULT } from '../state.ts';
import { CODE, PagedMachine, RAM_BYTES, TIERS } from '../testing/paged-machine.ts';

const ONE = 0x1_0000,
  OTHER = 0x2_0000,
  DEVICE = 0x11_0000;
const RAX = 0,
  RCX = 1,
  RDX = 2,
  RSI = 6;

type Registers = Readonly<Record<number, number | bigint>>;

/** 64-bit code up to a HLT, and behind RAM a page of a device. */
class Machine extends PagedMachine {
  constructor(tier: CpuTier, code: string, deviceRead: (machine: Machine) => void) {
    super(
      tier,
      { [CODE]: [...Buffer.from(`${code}f4`, 'hex')] },
      {
        mmioRead: () => {
          deviceRead(this);
          return 0n;
        },
      },
    );
    for (let at = RAM_BYTES; at <= DEVICE; at += 4096) this.map(at, at);
  }
  #set(registers: Registers): void {
    this.set('rip', CODE);
    this.set('halted', 0);
    for (const [register, value] of Object.entries(registers)) this.set('gpr', value, Number(register));
  }
  /** Up to a fault: no descriptor table is there, so it ends in a triple fault. */
  fault(registers: Registers): void {
    this.#set(registers);
    equal(this.processor.run(1000), RUN_TRIPLE_FAULT);
  }
  start(registers: Registers): void {
    this.#set(registers);
    let reason: number;
    do reason = this.processor.run(1000);
    while (reason === RUN_BUDGET);
    equal(reason, RUN_HALTED);
  }
}

for (const tier of TIERS) {
  test(`${tier}: a mapping that changes behind a slow access counts from then on`, () => {
    let reads = 0;
    // add rax, [rsi]; mov [rsi + 8], rcx; mov rbx, [rdx]; dec ecx; jnz
    const machine = new Machine(tier, '48030648894e08488b1affc975f2', (it) => {
      if (++reads === 3) it.map(ONE, OTHER);
    });
    machine.ram.writeUInt32LE(1, ONE);
    machine.ram.writeUInt32LE(100, OTHER);
    machine.start({ [RAX]: 0, [RCX]: 6, [RDX]: DEVICE, [RSI]: ONE });
    equal(machine.get('gpr', RAX), 303n);
    equal(machine.ram.readUInt32LE(ONE + 8), 4);
    equal(machine.ram.readUInt32LE(OTHER + 8), 1);
  });

  test(`${tier}: an access that reaches into the remembered page from the one before it reads both`, () => {
    // mov rbx, [rsi]; add rax, rbx; sub rsi, 4; dec ecx; jnz
    const machine = new Machine(tier, '488b1e4801d84883ee04ffc975f2', () => {});
    machine.map(ONE, OTHER);
    machine.ram.writeUInt32LE(1, OTHER);
    machine.ram.writeUInt32LE(2, ONE - 4);
    machine.start({ [RAX]: 0, [RCX]: 2, [RSI]: ONE });
    equal(machine.get('gpr', RAX), 1n + 2n + (1n << 32n));
  });

  test(`${tier}: a misaligned operand of SSE faults, whatever is remembered`, () => {
    // movaps xmm0, [rsi]; movaps [rsi + 16], xmm0; inc rax; add rsi, rdx; dec ecx; jnz
    const machine = new Machine(tier, '0f28060f29461048ffc04801d6ffc975f0', () => {});
    machine.fault({ [RAX]: 0, [RCX]: 5, [RDX]: 8, [RSI]: ONE });
    equal(machine.get('gpr', RAX), 1n);
  });

  test(`${tier}: non-canonical addresses fault, whatever is remembered`, () => {
    // mov rbx, [rsi]; inc rax; or rsi, rdx; dec ecx; jnz
    const machine = new Machine(tier, '488b1e48ffc04809d6ffc975f3', () => {});
    machine.fault({ [RAX]: 0, [RCX]: 5, [RDX]: 1n << 63n, [RSI]: ONE });
    equal(machine.get('gpr', RAX), 1n);
  });
}
