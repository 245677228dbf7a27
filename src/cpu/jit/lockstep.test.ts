/**
 * Random programs through both tiers: at each fault and at the end, registers, flags, memory and the count of instructions are the same.
 * `LOCKSTEP=first,count` runs other seeds.
 */
import { deepEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';
import type { CpuTier } from '../processor.ts';
import { CAPABILITY_EXIT_ON_EXCEPTION, GPR_NAMES, RUN_BUDGET, RUN_EXCEPTION, RUN_HALTED } from '../state.ts';
import { CODE_START, DATA_PAGES, DATA_START, Random, STACK_TOP, randomProgram } from '../testing/random-program.ts';
import type { Program } from '../testing/random-program.ts';
import { CODE64, SmallMachine } from '../testing/small-machine.ts';

const RAM_BYTES = 0x40000;
const PML4 = 0x1000,
  PDPT = 0x2000,
  PD = 0x3000,
  PT = 0x4000;
const PRESENT = 0x67n,
  READ_ONLY = 0x65n;
/** More of them, and a program has made itself one that never ends: where it is stopped then differs. */
const MAX_INSTRUCTIONS = 200_000;
const MAX_FAULTS = 12;

interface Snapshot {
  readonly reason: number;
  readonly registers: Record<string, string>;
  readonly memory: string;
}

/** A machine in 64-bit mode at CPL 0 with pages that are present, read-only and missing. */
class Machine extends SmallMachine {
  constructor(tier: CpuTier) {
    super({ ramBytes: RAM_BYTES, tier });
  }

  load(program: Program, seed: number): void {
    const { ram } = this,
      random = new Random(seed ^ 0x5bd1e995);
    ram.fill(0);
    ram.writeBigUInt64LE(BigInt(PDPT) | PRESENT, PML4);
    ram.writeBigUInt64LE(BigInt(PD) | PRESENT, PDPT);
    ram.writeBigUInt64LE(BigInt(PT) | PRESENT, PD);
    for (let page = 0; page < RAM_BYTES / 4096; page++) {
      // Of the data pages the third is missing and the fourth read-only.
      const data = page - DATA_START / 4096,
        bits = data === 2 || data === DATA_PAGES ? 0n : data === 3 ? READ_ONLY : PRESENT;
      ram.writeBigUInt64LE(bits === 0n ? 0n : BigInt(page * 4096) | bits, PT + page * 8);
    }
    ram.set(program.code, CODE_START);
    for (let at = 0; at < DATA_PAGES * 4096; at += 4) ram.writeUInt32LE(random.next(), DATA_START + at);
    this.set('cr0', 0x80050033n);
    this.set('cr3', BigInt(PML4));
    this.set('cr4', 0x620n);
    this.set('efer', 0xd01n);
    this.set('rflags', 2n);
    this.setFlatSegments(CODE64);
    for (let segment = 0; segment < 6; segment++) this.set('segSelector', 8 * (segment + 1), segment);
    this.set('dr', 0x400n, 7);
    this.set('mxcsr', random.below(2) ? 0x1f80 : 0x1fa0);
    this.set('capabilities', CAPABILITY_EXIT_ON_EXCEPTION);
    this.set('halted', 0);
    this.set('fault', 0);
    this.set('retired', 0n);
    for (let register = 0; register < 16; register++) this.set('gpr', BigInt(random.next()) | (BigInt(random.below(4)) << 60n), register);
    for (let lane = 0; lane < 32; lane++) this.set('vector', BigInt(random.next()) << 16n, lane * 2);
    this.set('gpr', BigInt(2 + random.below(40)), 1);
    this.set('gpr', BigInt(STACK_TOP - 8 * random.below(4)), 4);
    for (const base of [6, 7, 13, 14]) this.set('gpr', BigInt(DATA_START + random.below(DATA_PAGES) * 4096 + random.below(96) - 48), base);
    this.set('rip', BigInt(CODE_START));
    this.flags = random.next() & 0x8d5;
    this.refresh();
  }

  /** @param slice instructions in a slice: more of them, or fewer, make no difference */
  run(slice: number): Snapshot {
    let reason = RUN_BUDGET as number;
    const retired = (): number => Number(this.get('retired')),
      end = retired() + MAX_INSTRUCTIONS;
    while (reason === RUN_BUDGET && retired() < end) reason = this.processor.run(slice);
    return this.#snapshot(reason);
  }
  goTo(rip: number): void {
    this.set('rip', BigInt(rip));
    this.set('gpr', BigInt(STACK_TOP), 4);
    this.set('fault', 0);
    this.processor.refreshState();
  }

  #snapshot(reason: number): Snapshot {
    const registers: Record<string, string> = {};
    GPR_NAMES.forEach((name, index) => (registers[name] = this.get('gpr', index).toString(16)));
    for (let lane = 0; lane < 16; lane++) registers[`xmm${lane}`] = this.get('vector', lane * 2).toString(16);
    registers['rip'] = this.get('rip').toString(16);
    registers['retired'] = this.get('retired').toString(16);
    registers['rflags'] = (this.get('rflags') | BigInt(this.flags)).toString(16);
    registers['mxcsr'] = this.get('mxcsr').toString(16);
    if (reason === RUN_EXCEPTION) {
      registers['fault'] = `${this.get('fault')} ${this.get('faultError')}`;
      if (this.get('fault') === 15n) registers['cr2'] = this.get('faultAddress').toString(16);
    }
    return { reason, registers, memory: this.ram.toString('latin1') };
  }
}

function compare(interpreter: Machine, jit: Machine, seed: number): number {
  const program = randomProgram(seed),
    random = new Random(seed ^ 0x1234567);
  interpreter.load(program, seed);
  jit.load(program, seed);
  for (let fault = 0; ; fault++) {
    const expected = interpreter.run(1000),
      actual = jit.run(random.pick([1, 3, 17, 1000]));
    if (expected.reason === RUN_BUDGET && actual.reason === RUN_BUDGET) return RUN_BUDGET;
    deepEqual({ seed, fault, reason: actual.reason, ...actual.registers }, { seed, fault, reason: expected.reason, ...expected.registers });
    if (actual.memory !== expected.memory) {
      const at = [...actual.memory].findIndex((byte, i) => byte !== expected.memory[i]);
      ok(false, `seed ${seed}, fault ${fault}: memory differs at 0x${at.toString(16)}`);
    }
    if (expected.reason !== RUN_EXCEPTION || fault === MAX_FAULTS) return expected.reason;
    const rip = random.pick(program.blocks);
    interpreter.goTo(rip);
    jit.goTo(rip);
  }
}

const [first = 1, count = 500] = (process.env['LOCKSTEP'] ?? '').split(',').filter(Boolean).map(Number);

test(`${count} random programs run alike in both tiers`, (t) => {
  const interpreter = new Machine('interpreter'),
    jit = new Machine('always');
  let ended = 0;
  for (let seed = first; seed < first + count; seed++) if (compare(interpreter, jit, seed) === RUN_HALTED) ended++;
  ok(count < 50 || ended > count / 10, `only ${ended} of ${count} programs reached their end`);
  ok(jit.processor.jit!.stats.regions > count, 'regions were made');
  t.diagnostic(JSON.stringify({ ended, ...jit.processor.jit!.stats }));
});
