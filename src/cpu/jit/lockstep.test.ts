/**
 * Random programs through both tiers: at each fault and at the end, registers, flags, memory and the count of instructions are the same.
 * `LOCKSTEP=first,count` runs other seeds.
 */
import { deepEqual, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { GUEST_MAP_COUNT, GUEST_MAP_RANGES, HVA_RAM, VCPUS, WASM_PAGE_BYTES } from '../../base/memory-map.ts';
import { Jit } from './compiler.ts';
import { Processor, memory0Pages } from '../processor.ts';
import type { CpuTier } from '../processor.ts';
import { CAPABILITY_EXIT_ON_EXCEPTION, GPR_NAMES, RUN_BUDGET, RUN_EXCEPTION, RUN_HALTED, VCPU } from '../state.ts';
import { CODE_START, DATA_PAGES, DATA_START, Random, STACK_TOP, randomProgram } from '../testing/random-program.ts';
import type { Program } from '../testing/random-program.ts';
import { MEMORY0_MAX_PAGES, MEMORY1_MAX_PAGES } from '../wasm/limits.ts';

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
const { offset } = VCPU;
const generated = (name: string): Buffer<ArrayBuffer> => readFileSync(new URL(`../../generated/${name}`, import.meta.url));
const manifest = generated('handlers.manifest');
const MODULES = {
  ram: new WebAssembly.Module(generated('ram.wasm')),
  cpu: new WebAssembly.Module(generated('cpu.wasm')),
  handlers: new WebAssembly.Module(generated('handlers.wasm')),
  manifest: new Uint16Array(manifest.buffer, manifest.byteOffset, manifest.byteLength / 2),
};

interface Snapshot {
  readonly reason: number;
  readonly registers: Record<string, string>;
  readonly memory: string;
}

/** A machine in 64-bit mode at CPL 0 with pages that are present, read-only and missing. */
class Machine {
  readonly processor: Processor;
  readonly #view: DataView;
  readonly #ram: Buffer;

  constructor(tier: CpuTier) {
    const memory0 = new WebAssembly.Memory({ initial: memory0Pages(1), maximum: MEMORY0_MAX_PAGES, shared: true });
    const memory1 = new WebAssembly.Memory({
      address: 'i64',
      initial: BigInt((HVA_RAM + RAM_BYTES) / WASM_PAGE_BYTES),
      maximum: BigInt(MEMORY1_MAX_PAGES),
      shared: true,
    } as unknown as WebAssembly.MemoryDescriptor);
    const view = new DataView(memory0.buffer);
    this.#view = view;
    this.#ram = Buffer.from(memory1.buffer as ArrayBuffer, HVA_RAM, RAM_BYTES);
    view.setUint32(GUEST_MAP_COUNT, 1, true);
    view.setBigUint64(GUEST_MAP_RANGES + 8, BigInt(RAM_BYTES), true);
    view.setBigUint64(GUEST_MAP_RANGES + 16, BigInt(HVA_RAM), true);
    view.setUint32(GUEST_MAP_RANGES + 24, 7, true);
    this.processor = new Processor({
      index: 0,
      memory0,
      memory1,
      modules: MODULES,
      nowNs: () => 0,
      exit: () => {},
      random: () => {},
      tier,
      compiler: Jit,
      bus: {
        mmioRead: () => 0n,
        mmioWrite: () => {},
        portRead: () => 0xffffffff,
        portWrite: () => {},
        msrRead: () => 0,
        msrWrite: () => 0,
        interruptVector: () => -1,
        interruptAck: () => -1,
        readTpr: () => 0,
        writeTpr: () => {},
        tsc: () => 0n,
      },
    });
  }

  #u64(name: keyof typeof offset, value: bigint, index = 0): void {
    this.#view.setBigUint64(VCPUS + offset[name] + index * VCPU.fields[name].strideBytes, value, true);
  }
  #u32(name: keyof typeof offset, value: number, index = 0): void {
    this.#view.setUint32(VCPUS + offset[name] + index * VCPU.fields[name].strideBytes, value, true);
  }

  load(program: Program, seed: number): void {
    const ram = this.#ram,
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
    this.#u64('cr0', 0x80050033n);
    this.#u64('cr3', BigInt(PML4));
    this.#u64('cr4', 0x620n);
    this.#u64('efer', 0xd01n);
    this.#u64('rflags', 2n);
    for (let segment = 0; segment < 6; segment++) {
      this.#u32('segAccess', segment === 1 ? 0xa09b : 0xc093, segment);
      this.#u32('segLimit', 0xffffffff, segment);
      this.#u32('segSelector', 8 * (segment + 1), segment);
    }
    this.#u64('dr', 0x400n, 7);
    this.#u32('mxcsr', random.below(2) ? 0x1f80 : 0x1fa0);
    this.#u32('capabilities', CAPABILITY_EXIT_ON_EXCEPTION);
    this.#u32('halted', 0);
    this.#u32('fault', 0);
    this.#u64('retired', 0n);
    for (let register = 0; register < 16; register++) this.#u64('gpr', BigInt(random.next()) | (BigInt(random.below(4)) << 60n), register);
    for (let lane = 0; lane < 32; lane++) this.#u64('vector', BigInt(random.next()) << 16n, lane * 2);
    this.#u64('gpr', BigInt(2 + random.below(40)), 1);
    this.#u64('gpr', BigInt(STACK_TOP - 8 * random.below(4)), 4);
    for (const base of [6, 7, 13, 14]) this.#u64('gpr', BigInt(DATA_START + random.below(DATA_PAGES) * 4096 + random.below(96) - 48), base);
    this.#u64('rip', BigInt(CODE_START));
    this.processor.code.flush();
    this.processor.cpu.writeFlags(VCPUS, random.next() & 0x8d5);
    this.processor.cpu.tlbFlushAll(VCPUS);
    this.processor.refreshState();
  }

  /** @param slice instructions in a slice: more of them, or fewer, make no difference */
  run(slice: number): Snapshot {
    let reason = RUN_BUDGET as number;
    const retired = (): number => Number(this.#view.getBigUint64(VCPUS + offset.retired, true)),
      end = retired() + MAX_INSTRUCTIONS;
    while (reason === RUN_BUDGET && retired() < end) reason = this.processor.run(slice);
    return this.#snapshot(reason);
  }
  goTo(rip: number): void {
    this.#u64('rip', BigInt(rip));
    this.#u64('gpr', BigInt(STACK_TOP), 4);
    this.#u32('fault', 0);
    this.processor.refreshState();
  }

  #snapshot(reason: number): Snapshot {
    const view = this.#view,
      registers: Record<string, string> = {};
    const u64 = (name: keyof typeof offset, index = 0): string =>
      view.getBigUint64(VCPUS + offset[name] + index * VCPU.fields[name].strideBytes, true).toString(16);
    GPR_NAMES.forEach((name, index) => (registers[name] = u64('gpr', index)));
    for (let lane = 0; lane < 16; lane++) registers[`xmm${lane}`] = `${u64('vector', lane * 2)}`;
    registers['rip'] = u64('rip');
    registers['retired'] = u64('retired');
    registers['rflags'] = (view.getUint32(VCPUS + offset.rflags, true) | this.processor.cpu.readFlags(VCPUS)).toString(16);
    registers['mxcsr'] = view.getUint32(VCPUS + offset.mxcsr, true).toString(16);
    if (reason === RUN_EXCEPTION) {
      registers['fault'] = `${view.getUint32(VCPUS + offset.fault, true)} ${view.getUint32(VCPUS + offset.faultError, true)}`;
      if (view.getUint32(VCPUS + offset.fault, true) === 15) registers['cr2'] = u64('faultAddress');
    }
    return { reason, registers, memory: this.#ram.toString('latin1') };
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
