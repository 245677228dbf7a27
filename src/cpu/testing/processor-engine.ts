/**
 * Our own processor behind the engine interface of the one-instruction runner: a small machine with the two regions of the format
 * mapped, no device and no interrupt, stopped after one instruction or at the exception it raises.
 * Implements: "Surroundings of the instruction" of the runner's format; page tables of SDM vol. 3A 4.4 (mode 32) and 4.5 (mode 64).
 * Runs on: any thread of Node; needs the built modules in src/generated.
 */
import { HVA_RAM, PAGE_BYTES, VCPU_STATE_BYTES, VCPUS } from '../../base/memory-map.ts';
import type { RamIndex } from '../guest-ram.ts';
import type { Processor } from '../processor.ts';
import { CAPABILITY_EXIT_ON_EXCEPTION, CAPABILITY_STEP, GPR_NAMES, RUN_BUDGET, RUN_EXCEPTION, RUN_STEPPED, SEG, VCPU } from '../state.ts';
import { SmallMachine } from './small-machine.ts';
import { isRepeatedString } from './step-engine.ts';
import type { StepEngine } from './step-engine.ts';
import type { FpuState, StepAnswer, StepInput, Unsupported } from './vectors.ts';

const REGION_BYTES = 0x10000;
/** Linear start, guest-physical start, page table entry bits (P RW US A D, and NX). */
const REGIONS = [
  { start: 0x10000000n, gpa: 0x100000, bits: 0x67n | (1n << 63n), table: 0x4000 },
  { start: 0x20000000n, gpa: 0x110000, bits: 0x67n, table: 0x5000 },
] as const;
const RAM_BYTES = 0x120000;
const ZEROS = new Uint8Array(2 * REGION_BYTES);
/** Decoded code is thrown away page by page; this often, all of it. */
const FLUSH_LINES = 500;
const PML4 = 0x1000,
  PDPT = 0x2000,
  PD = 0x3000,
  PAE_PDPT = 0x6000;
const TABLE_BITS = 0x27n;
/** The descriptor table: where no line reaches by accident, for the supervisor alone, and as Linux has it on the CPUs of the vectors. */
const GDT = 0x3a5b7000n,
  GDT_GPA = 0x7000,
  GDT_TABLE = 0x8000;
const GDT_BITS = 0x163n;
const DESCRIPTORS = [
  0n,
  0x00cf9b000000ffffn, // 08 kernel, 32-bit code
  0x00af9b000000ffffn, // 10 kernel, 64-bit code
  0x00cf93000000ffffn, // 18 kernel, data
  0x00cffb000000ffffn, // 20 user, 32-bit code
  0x00cff3000000ffffn, // 28 user, data
  0x00affb000000ffffn, // 30 user, 64-bit code
] as const;

/** PE MP ET NE WP AM PG. */
const CR0 = 0x80050033n;
/** PAE OSFXSR OSXMMEXCPT OSXSAVE. */
const CR4 = 0x40620n;
const EFER_NXE_SCE = 0x801n,
  EFER_LONG = 0x500n;
const XCR0_X87_SSE = 3n;
const FULL_LIMIT = 0xffffffff;
/** A repeated string instruction yields between slices; more than this many of them would be one that never ends. */
const MAX_SLICES = 1 << 20;
/** CF PF AF ZF SF OF, which the record keeps apart. */
const STATUS_FLAGS = 0x8d5n;
const TF_RF = 0x10100n;

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;
const { offset } = VCPU;

export class ProcessorEngine implements StepEngine {
  readonly name: string;
  readonly #jit: boolean;
  readonly #processor: Processor;
  readonly #view: DataView;
  readonly #memory0: Uint8Array;
  readonly #ram: Buffer;
  readonly #bases: Readonly<Record<32 | 64, Uint8Array>>;
  #mode: 32 | 64 | 0 = 0;
  #lines = 0;
  /** Page of memory 1 where the last line's code was, -1 before the first line. */
  #codePage = -1;

  private constructor(jit: boolean, ramIndex: RamIndex) {
    this.name = jit ? 'jit' : 'interpreter';
    this.#jit = jit;
    const machine = new SmallMachine({
      ramBytes: RAM_BYTES,
      ramIndex,
      nowNs: () => performance.now() * 1e6,
      tier: jit ? 'always' : 'interpreter',
      limits: { cap: 1, minimum: 1 },
    });
    this.#processor = machine.processor;
    this.#view = new DataView(machine.memory0.buffer);
    this.#memory0 = machine.memory0;
    this.#ram = machine.ram;
    this.#buildPageTables();
    this.#buildDescriptorTable();
    this.#bases = { 64: this.#buildBase(64), 32: this.#buildBase(32) };
  }

  static async create(jit: boolean, ramIndex: RamIndex = 'i32'): Promise<ProcessorEngine> {
    return new ProcessorEngine(jit, ramIndex);
  }

  #buildPageTables(): void {
    const put = (gpa: number, value: bigint): void => {
      this.#ram.writeBigUInt64LE(value, gpa);
    };
    put(PML4, BigInt(PDPT) | TABLE_BITS);
    put(PDPT, BigInt(PD) | TABLE_BITS);
    put(PAE_PDPT, BigInt(PD) | 1n);
    for (const { start, gpa, bits, table } of REGIONS) {
      put(PD + Number(start >> 21n) * 8, BigInt(table) | TABLE_BITS);
      for (let page = 0; page < REGION_BYTES / 4096; page++) put(table + page * 8, BigInt(gpa + page * 4096) | bits);
    }
  }

  /** Written once: the accessed bits are set already, so no line changes it. */
  #buildDescriptorTable(): void {
    this.#ram.writeBigUInt64LE(BigInt(GDT_TABLE) | TABLE_BITS, PD + Number(GDT >> 21n) * 8);
    this.#ram.writeBigUInt64LE(BigInt(GDT_GPA) | GDT_BITS, GDT_TABLE + Number((GDT >> 12n) & 511n) * 8);
    for (const [index, descriptor] of DESCRIPTORS.entries()) this.#ram.writeBigUInt64LE(descriptor, GDT_GPA + index * 8);
  }

  /** The vCPU record of the surroundings, all registers 0. */
  #buildBase(mode: 32 | 64): Uint8Array {
    const at = VCPUS,
      view = this.#view;
    const u32 = (field: number, value: number): void => view.setUint32(at + field, value, true);
    const u64 = (field: number, value: bigint): void => view.setBigUint64(at + field, value, true);
    const access = [0xc0f3, mode === 64 ? 0xa0fb : 0xc0fb, 0xc0f3, 0xc0f3, 0xc0f3, 0xc0f3, 0x10082, 0x8b];
    const selectors = [0x2b, mode === 64 ? 0x33 : 0x23, 0x2b, 0x2b, 0x2b, 0x2b, 0, 0x40];
    for (let segment = 0; segment < 8; segment++) {
      u64(offset.segBase + segment * 8, 0n);
      u32(offset.segSelector + segment * 4, selectors[segment]!);
      u32(offset.segAccess + segment * 4, access[segment]!);
      u32(offset.segLimit + segment * 4, segment < SEG.LDTR ? FULL_LIMIT : 0);
    }
    u64(offset.gdtrBase, GDT);
    u32(offset.gdtrLimit, 0x7f);
    u32(offset.idtrLimit, 0xfff);
    u64(offset.cr0, CR0);
    u64(offset.cr3, BigInt(mode === 64 ? PML4 : PAE_PDPT));
    u64(offset.cr4, CR4);
    u64(offset.efer, EFER_NXE_SCE | (mode === 64 ? EFER_LONG : 0n));
    u64(offset.xcr0, XCR0_X87_SSE);
    u64(offset.pdpte, mode === 32 ? BigInt(PD) | 1n : 0n);
    for (let entry = 1; entry < 4; entry++) u64(offset.pdpte + entry * 8, 0n);
    u64(offset.dr + 6 * 8, 0xffff0ff0n);
    u64(offset.dr + 7 * 8, 0x400n);
    u32(offset.cpl, 3);
    u32(offset.capabilities, CAPABILITY_EXIT_ON_EXCEPTION | CAPABILITY_STEP);
    u32(offset.fcw, 0x37f);
    u32(offset.mxcsr, 0x1f80);
    u64(offset.rflags, 0x202n);
    return this.#memory0.slice(at, at + VCPU_STATE_BYTES);
  }

  run(input: StepInput): StepAnswer | Unsupported {
    const { mode, regs } = input;
    if (mode !== 32 && mode !== 64) return { id: input.id, unsupported: `mode ${String(mode)}` };
    if (input.ymm !== undefined) return { id: input.id, unsupported: 'ymm: the processor level has no AVX' };
    const processor = this.#processor,
      view = this.#view,
      at = VCPUS;
    this.#ram.set(ZEROS, REGIONS[0].gpa); // hot: several times as fast as fill
    this.#forgetCode();
    for (const { addr, data } of input.mem) this.#write(BigInt(addr), Buffer.from(data, 'hex'));
    this.#write(BigInt(regs['rip']!), Buffer.from(input.code, 'hex'));
    this.#memory0.set(this.#bases[mode], at);
    for (const [index, name] of GPR_NAMES.entries()) view.setBigUint64(at + offset.gpr + index * 8, BigInt(regs[name] ?? 0), true);
    const rip = BigInt(regs['rip']!),
      rflags = BigInt(regs['rflags']!);
    const codeOffset = Number(rip - REGIONS[1].start);
    if (codeOffset >= 0 && codeOffset < REGION_BYTES) this.#codePage = HVA_RAM + REGIONS[1].gpa + (codeOffset & ~(PAGE_BYTES - 1));
    view.setBigUint64(at + offset.rip, rip, true);
    view.setBigUint64(at + offset.rflags, (rflags & ~STATUS_FLAGS) | 2n, true);
    processor.cpu.writeFlags(at, Number(rflags & STATUS_FLAGS));
    this.#loadFloats(input);
    if (this.#mode !== mode) processor.cpu.tlbFlushAll(at);
    this.#mode = mode;
    processor.refreshState();

    const repeated = isRepeatedString(input);
    if (this.#jit && !repeated && (rflags & TF_RF) === 0n) this.#compile();
    let reason = processor.run(1),
      slices = 1;
    while (repeated && reason === RUN_STEPPED && view.getBigUint64(at + offset.rip, true) === rip && slices++ < MAX_SLICES)
      reason = processor.run(1);
    if (reason !== RUN_STEPPED && reason !== RUN_EXCEPTION && reason !== RUN_BUDGET)
      return { id: input.id, unsupported: `run ended with reason ${reason}` };
    return this.#answer(input, reason === RUN_EXCEPTION);
  }

  /** Where a region can hold the instruction, it runs in one instead of being stepped; the region ends after it. */
  #compile(): void {
    const { jit, code } = this.#processor,
      before = jit!.stats.regions,
      hva = code.hvaOfRip();
    if (hva === undefined || code.lookup(hva) === 0) {
      this.#view.setUint32(VCPUS + offset.fault, 0, true); // the run will meet it again
      return;
    }
    if (jit!.stats.regions > before) this.#view.setUint32(VCPUS + offset.capabilities, CAPABILITY_EXIT_ON_EXCEPTION, true);
  }

  #forgetCode(): void {
    const { code } = this.#processor;
    if (this.#lines++ % FLUSH_LINES === 0) code.flush();
    else if (this.#codePage >= 0) for (const page of [this.#codePage, this.#codePage + PAGE_BYTES]) code.forgetPage(page);
    this.#codePage = -1;
  }

  #write(address: bigint, bytes: Buffer): void {
    for (const { start, gpa } of REGIONS) {
      const distance = Number(address - start);
      const from = Math.max(0, -distance),
        end = Math.min(bytes.length, REGION_BYTES - distance);
      if (from < end) bytes.copy(this.#ram, gpa + distance + from, from, end);
    }
  }

  #read(address: bigint, sizeBytes: number): string {
    const bytes = Buffer.alloc(sizeBytes);
    for (const { start, gpa } of REGIONS) {
      const distance = Number(address - start);
      const from = Math.max(0, -distance),
        end = Math.min(sizeBytes, REGION_BYTES - distance);
      if (from < end) this.#ram.copy(bytes, from, gpa + distance + from, gpa + distance + end);
    }
    return bytes.toString('hex');
  }

  #loadFloats({ xmm, mxcsr, fpu }: StepInput): void {
    const at = VCPUS;
    xmm?.forEach((value, index) =>
      this.#memory0.set(Buffer.from(value, 'hex'), at + offset.vector + index * VCPU.fields.vector.strideBytes * 2),
    );
    if (mxcsr !== undefined) this.#view.setUint32(at + offset.mxcsr, Number(mxcsr), true);
    if (fpu === undefined) return;
    const top = (Number(fpu.fsw) >>> 11) & 7;
    fpu.st.forEach((value, index) => this.#memory0.set(Buffer.from(value, 'hex'), at + offset.fpr + ((top + index) & 7) * 16));
    this.#view.setUint32(at + offset.fcw, Number(fpu.fcw), true);
    this.#view.setUint32(at + offset.fsw, Number(fpu.fsw), true);
    this.#view.setUint32(at + offset.ftw, Number(fpu.ftw), true);
  }

  #hexOf(address: number, sizeBytes: number): string {
    return Buffer.from(this.#memory0.slice(address, address + sizeBytes)).toString('hex');
  }

  #answer(input: StepInput, faulted: boolean): StepAnswer {
    const view = this.#view,
      at = VCPUS;
    const mask = input.mode === 32 ? 0xffffffffn : 0xffffffffffffffffn;
    const u32 = (field: number): number => view.getUint32(at + field, true);
    const vector = u32(offset.fault) - 1;
    const regs: Record<string, string> = {};
    for (const [index, name] of GPR_NAMES.entries())
      if (name in input.regs) regs[name] = hex(view.getBigUint64(at + offset.gpr + index * 8, true) & mask);
    regs['rip'] = hex(view.getBigUint64(at + offset.rip, true) & mask);
    regs['rflags'] = hex(view.getBigUint64(at + offset.rflags, true) | BigInt(this.#processor.cpu.readFlags(at)) | 2n);
    return {
      id: input.id,
      exception: faulted ? vector : null,
      ...(faulted && u32(offset.faultHasError) !== 0 && { error: hex(u32(offset.faultError)) }),
      ...(faulted && vector === 14 && { cr2: hex(view.getBigUint64(at + offset.faultAddress, true)) }),
      regs,
      ...(input.xmm && {
        xmm: input.xmm.map((_, index) => this.#hexOf(at + offset.vector + index * VCPU.fields.vector.strideBytes * 2, 16)),
      }),
      ...((input.xmm || input.mxcsr !== undefined) && { mxcsr: hex(u32(offset.mxcsr)) }),
      ...(input.fpu && { fpu: this.#fpu() }),
      mem: input.mem.map(({ addr, data }) => ({ addr, data: this.#read(BigInt(addr), data.length / 2) })),
    };
  }

  #fpu(): FpuState {
    const view = this.#view,
      at = VCPUS;
    const fsw = view.getUint32(at + offset.fsw, true);
    const top = (fsw >>> 11) & 7;
    return {
      fcw: hex(view.getUint32(at + offset.fcw, true)),
      fsw: hex(fsw),
      ftw: hex(view.getUint32(at + offset.ftw, true)),
      st: Array.from({ length: 8 }, (_, index) => this.#hexOf(at + offset.fpr + ((top + index) & 7) * 16, 10)),
    };
  }

  [Symbol.dispose](): void {
    /* the memories go with the object */
  }
}
