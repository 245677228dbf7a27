/** Pages that a loop remembers, and what makes it forget them. Each program runs in both tiers. */
import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import type { CpuTier } from '../processor.ts';
import { VCPUS } from '../../base/memory-map.ts';
import { RUN_BUDGET, RUN_HALTED } from '../state.ts';
import { CODE64, SmallMachine } from '../testing/small-machine.ts';

const RAM_BYTES = 0x10_0000,
  PML4 = 0x1000,
  PDPT = 0x2000,
  PD = 0x3000,
  PT = 0x4000,
  CODE = 0x8000,
  ONE = 0x1_0000,
  OTHER = 0x2_0000,
  DEVICE = 0x11_0000;
const PRESENT = 0x67;
const RAX = 0,
  RCX = 1,
  RDX = 2,
  RSI = 6;
const TIERS: readonly CpuTier[] = ['interpreter', 'always'];

/** 64-bit code at CPL 0 up to a HLT; pages of RAM are mapped to themselves, and one of a device behind them. */
class Machine extends SmallMachine {
  constructor(tier: CpuTier, code: string, deviceRead: (machine: Machine) => void) {
    super({
      ramBytes: RAM_BYTES,
      tier,
      bus: {
        mmioRead: () => {
          deviceRead(this);
          return 0n;
        },
      },
    });
    for (const [table, next] of [
      [PML4, PDPT],
      [PDPT, PD],
      [PD, PT],
    ] as const)
      this.ram.writeUInt32LE(next | PRESENT, table);
    for (let at = 0; at <= DEVICE; at += 4096) this.map(at, at);
    this.ram.write(`${code}f4`, CODE, 'hex');
    this.set('cr0', 0x8005_0033);
    this.set('cr3', PML4);
    this.set('cr4', 0x620);
    this.set('efer', 0xd01);
    this.set('rflags', 2);
    this.set('dr', 0x400, 7);
    this.setFlatSegments(CODE64);
    this.refresh();
  }
  map(linear: number, physical: number): void {
    this.ram.writeUInt32LE(physical | PRESENT, PT + (linear / 4096) * 8);
    this.processor.cpu.tlbFlushAll(VCPUS);
  }
  run(registers: Readonly<Record<number, number>>): void {
    this.set('rip', CODE);
    this.set('halted', 0);
    for (const [register, value] of Object.entries(registers)) this.set('gpr', value, Number(register));
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
    machine.run({ [RAX]: 0, [RCX]: 6, [RDX]: DEVICE, [RSI]: ONE });
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
    machine.run({ [RAX]: 0, [RCX]: 2, [RSI]: ONE });
    equal(machine.get('gpr', RAX), 1n + 2n + (1n << 32n));
  });

  test(`${tier}: non-canonical addresses fault, whatever is remembered`, () => {
    // mov rbx, [rsi]; inc rax; or rsi, rdx; dec ecx; jnz
    const machine = new Machine(tier, '488b1e48ffc04809d6ffc975f3', () => {});
    machine.set('gpr', 1n << 63n, RDX);
    machine.set('rip', CODE);
    for (const [register, value] of [
      [RAX, 0],
      [RCX, 5],
      [RSI, ONE],
    ] as const)
      machine.set('gpr', value, register);
    machine.processor.run(1000); // no descriptor table: the fault ends in a triple fault
    equal(machine.get('gpr', RAX), 1n);
  });
}
