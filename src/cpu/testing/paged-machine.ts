/**
 * A small machine for code in several pages: 64-bit at CPL 0, pages of 4 KiB mapped to themselves, and the few instructions that change that.
 * Runs on: any thread of Node.
 */
import { equal } from 'node:assert/strict';
import { VCPUS } from '../../base/memory-map.ts';
import type { Bus, CpuTier } from '../processor.ts';
import { RUN_BUDGET, RUN_HALTED } from '../state.ts';
import { CODE64, SmallMachine } from './small-machine.ts';
import type { SmallMachineOptions } from './small-machine.ts';

/** Of RAM, unless a test says otherwise. */
export const RAM_BYTES = 0x10_0000;
const PML4 = 0x1000,
  PDPT = 0x2000,
  PD = 0x3000,
  PT = 0x4000,
  STACK = 0x8_0000;
const PRESENT = 0x67,
  USER = 4;
const CR4 = 0x620,
  CR4_SMAP = 0x20_0000;
const RAX = 0,
  RSP = 4,
  RDI = 7;
/** Each program runs in both. */
export const TIERS: readonly CpuTier[] = ['interpreter', 'always'];

/** Where a program begins. */
export const CODE = 0x8000;
export const HLT = 0xf4,
  NOP = 0x90,
  RET = 0xc3,
  INC_RAX = [0x48, 0xff, 0xc0],
  DEC_RDI = [0x48, 0xff, 0xcf],
  ADD_RAX_2 = [0x48, 0x83, 0xc0, 2];
export const distance = (from: number, to: number): number[] => [0, 8, 16, 24].map((shift) => ((to - from) >> shift) & 0xff);
/** CALL rel32 that stands at `at`. */
export const call = (at: number, to: number): number[] => [0xe8, ...distance(at + 5, to)];
/** JNZ rel32 that stands at `at`. */
export const jumpIfNotZero = (at: number, to: number): number[] => [0x0f, 0x85, ...distance(at + 6, to)];
/** mov dword [its entry], frame | PRESENT; invlpg [page] */
export const remap = (page: number, frame: number): number[] => [
  ...[0xc7, 0x04, 0x25, ...distance(0, PT + (page >> 12) * 8), ...distance(0, frame | PRESENT)],
  ...[0x0f, 0x01, 0x3c, 0x25, ...distance(0, page)],
];

export type Code = Readonly<Record<number, readonly number[]>>;

export class PagedMachine extends SmallMachine {
  constructor(tier: CpuTier, code: Code, bus: Partial<Bus> = {}, more: Partial<SmallMachineOptions> = {}) {
    super({ ramBytes: RAM_BYTES, tier, bus, ...more });
    for (const [table, next] of [
      [PML4, PDPT],
      [PDPT, PD],
      [PD, PT],
    ] as const)
      this.ram.writeUInt32LE(next | PRESENT, table);
    for (let at = 0; at < RAM_BYTES; at += 4096) this.map(at, at);
    for (const [at, bytes] of Object.entries(code)) this.ram.set(bytes, Number(at));
    this.set('cr0', 0x8005_0033);
    this.set('cr3', PML4);
    this.set('cr4', CR4);
    this.set('efer', 0xd01);
    this.set('rflags', 2);
    this.set('dr', 0x400, 7);
    this.set('mxcsr', 0x1f80);
    this.setFlatSegments(CODE64);
    this.refresh();
  }

  /** @param linear below 2 MiB. @param physical from the end of RAM on it is a device's */
  map(linear: number, physical: number): void {
    this.ram.writeBigUInt64LE(BigInt(physical) | BigInt(PRESENT), PT + (linear / 4096) * 8);
    this.processor.cpu.tlbFlushAll(VCPUS);
  }

  /** SMAP, with all pages but one the supervisor's. */
  enableSmap(userPage: number): void {
    for (let page = 0; page < RAM_BYTES; page += 4096) if (page !== userPage) this.ram[PT + (page / 4096) * 8]! &= ~USER;
    this.set('cr4', CR4 | CR4_SMAP);
    this.refresh();
  }

  /** From CODE on. @param slice instructions in a slice @returns RUN_*, when the budget is not why it ended */
  runOn(slice: number, rdi: number): number {
    this.set('rip', CODE);
    this.set('halted', 0);
    this.set('gpr', 0, RAX);
    this.set('gpr', rdi, RDI);
    this.set('gpr', STACK, RSP);
    let reason: number;
    do reason = this.processor.run(slice);
    while (reason === RUN_BUDGET);
    return reason;
  }
  /** From CODE to HLT. @param slice instructions in a slice */
  run(slice: number, rdi = 0): { readonly rax: bigint; readonly rsp: bigint; readonly retired: bigint } {
    const before = this.get('retired');
    equal(this.runOn(slice, rdi), RUN_HALTED);
    return { rax: this.get('gpr', RAX), rsp: this.get('gpr', RSP) - BigInt(STACK), retired: this.get('retired') - before };
  }
}

/** Often enough for every entry to be compiled, in both tiers and slices of several lengths. */
export function eachRun(code: Code, check: (machine: PagedMachine, slice: number) => void): void {
  for (const tier of TIERS)
    for (const slice of [1, 2, 5, 1000]) {
      const machine = new PagedMachine(tier, code);
      for (let i = 0; i < 3; i++) check(machine, slice);
    }
}
