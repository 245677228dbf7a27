/**
 * One virtual CPU in one thread: its wasm instances, its decoded code, and the door through which the vmm and tests drive it.
 * Implements: docs/internals.md "Wasm modules". Runs on: the vCPU's thread (tests: the main thread).
 */
import { VCPUS, VCPU_STRIDE, WASM_PAGE_BYTES } from '../base/memory-map.ts';
import { checkBuild } from './build-id.ts';
import { CodeStore } from './decode/code-store.ts';
import type { CodeExports } from './decode/code-store.ts';
import type { Compiler } from './jit/compilation.ts';
import { RegionCache } from './jit/region-cache.ts';
import { RandomPool } from './random-pool.ts';
import { VCPU } from './state.ts';

export interface ProcessorModules {
  readonly ram: WebAssembly.Module;
  readonly vmm?: WebAssembly.Module;
  readonly cpu: WebAssembly.Module;
  readonly handlers: WebAssembly.Module;
  /** Handler numbers by line and variant: `manifestOf` the handlers. */
  readonly manifest: Uint16Array;
}

/** What vmm.wasm exports for the processor; a test passes functions of its own. `vcpu` is an address in memory 0. */
export interface Bus {
  mmioRead(vcpu: number, gpa: bigint, sizeBytes: number): bigint;
  mmioWrite(vcpu: number, gpa: bigint, sizeBytes: number, value: bigint): void;
  portRead(vcpu: number, port: number, sizeBytes: number): number;
  portWrite(vcpu: number, port: number, sizeBytes: number, value: number): void;
  msrRead(vcpu: number, msr: number): number;
  msrWrite(vcpu: number, msr: number, value: bigint): number;
  interruptVector(vcpu: number): number;
  interruptAck(vcpu: number): number;
  readTpr(vcpu: number): number;
  writeTpr(vcpu: number, value: number): void;
  tsc(vcpu: number): bigint;
  /** The same for RDTSC, by a vCPU that has executed so many instructions. */
  tscAt(vcpu: number, retired: bigint): bigint;
}

/** `jit`, which is the default: what is hot is compiled. `always`: everything that can be, at its first execution. */
export type CpuTier = 'interpreter' | 'default' | 'jit' | 'always';
export const compiles = (tier: CpuTier | undefined): boolean => tier !== 'interpreter';
/** Jumps to a place before it is compiled. */
const HOT = 2048;
/** Entries that are given to the compiler together. */
const BATCH = 32;
/** Memory of the host that compiled code may take unless the options say otherwise, in bytes. */
const CODE_CACHE_BYTES = 256 * 2 ** 20;

export interface ProcessorOptions {
  readonly index: number;
  readonly memory0: WebAssembly.Memory;
  readonly memory1: WebAssembly.Memory;
  readonly modules: ProcessorModules;
  /** Absent: vmm.wasm is instantiated. */
  readonly bus?: Bus;
  /** Monotonic. */
  readonly nowNs: () => number;
  /** A synchronous VM exit; the payload lies in the record. */
  readonly exit: (reason: number) => void;
  /** Pages of memory 1 that someone else has written; undefined: any. Called on REQUEST_CODE. */
  readonly takeWrittenPages?: () => readonly number[] | undefined;
  /** Fills a block of any size (RDRAND, RDSEED). */
  readonly random: (bytes: Uint8Array) => void;
  readonly tier?: CpuTier;
  /** Who compiles, where the tier does. */
  readonly compiler?: Compiler | undefined;
  /** Bound on the memory of compiled code, in bytes. */
  readonly codeCacheBytes?: number | undefined;
  /** For tests: jumps to a place before tier 'jit' compiles it, and entries that are given to the compiler together. */
  readonly hot?: number;
  readonly batch?: number;
}

interface CpuExports extends CodeExports {
  run(vcpu: number, instructions: number): number;
  refreshState(vcpu: number): void;
  settleFlags(vcpu: number): void;
  tlbInitialize(vcpu: number): void;
  tlbFlushAll(vcpu: number): void;
  fetchTranslate(vcpu: number, linear: bigint): bigint;
  fetchPeek(vcpu: number, linear: bigint): bigint;
  readFlags(vcpu: number): number;
  writeFlags(vcpu: number, bits: number): void;
}

interface VmmExports extends Bus {
  poll(vcpu: number): void;
  sleepNs(vcpu: number): number;
  nextDeadlineNs(vcpu: number): number;
  announcePosted(): void;
}

const NO_TRANSLATION = -1n;
const PAGE_BYTES = 4096;

export class Processor {
  /** Address of the vCPU in memory 0. */
  readonly vcpu: number;
  readonly code: CodeStore;
  readonly cpu: CpuExports;
  readonly vmm: VmmExports | undefined;
  readonly jit: RegionCache | undefined;
  readonly #view: DataView;

  constructor(options: ProcessorOptions) {
    const { memory0, memory1, modules, index } = options;
    const vcpu = VCPUS + index * VCPU_STRIDE,
      memory0Buffer = memory0.buffer as unknown as SharedArrayBuffer;
    checkBuild({ ram: modules.ram, ...(modules.vmm && { vmm: modules.vmm }), cpu: modules.cpu, handlers: modules.handlers });
    this.vcpu = vcpu;
    this.#view = new DataView(memory0Buffer);
    const random = new RandomPool(options.random),
      bytes0 = new Uint8Array(memory0Buffer),
      scratch = vcpu + VCPU.offset.scratch;
    const host = {
      nowNs: options.nowNs,
      exit: (_vcpu: number, reason: number) => options.exit(reason),
      random: () => {
        random.take(bytes0, scratch);
      },
      hot: () => this.code.hot(),
      codeFirst: (_vcpu: number, hva: number) => this.code.first(hva),
      codeDecoded: (_vcpu: number, hvaPage: number, from: number, end: number) => this.code.decoded(hvaPage, from, end),
      codeFlushed: () => this.code.flushed(),
      codeWritten: (_vcpu: number, hvaPage: number) => {
        const kept = this.code.told(hvaPage, this.#view.getInt32(scratch, true), this.#view.getInt32(scratch + 4, true));
        this.#view.setInt32(scratch, kept.low, true);
        this.#view.setInt32(scratch + 4, kept.high, true);
      },
      codeRequest: () => this.#codeRequest(options.takeWrittenPages?.()),
    };
    const instantiate = (module: WebAssembly.Module, imports: WebAssembly.Imports): WebAssembly.Exports =>
      new WebAssembly.Instance(module, imports).exports;
    const memories = { memory: memory0, ram: memory1 },
      ram = instantiate(modules.ram, { env: memories }),
      table = ram['table'] as WebAssembly.Table,
      env = { ...memories, table };
    if (!options.bus && modules.vmm) this.vmm = instantiate(modules.vmm, { env, ram, host }) as unknown as VmmExports;
    const bus = options.bus ?? this.vmm;
    if (!bus) throw new Error('a processor needs a bus');
    this.cpu = instantiate(modules.cpu, { env, ram, host, bus: bus as unknown as WebAssembly.ModuleImports }) as unknown as CpuExports;
    const handlers = instantiate(modules.handlers, { env, cpu: this.cpu as unknown as WebAssembly.ModuleImports });
    const { cpu } = this,
      tier = options.tier ?? 'default';
    const known = (hva: bigint): number | undefined => (hva === NO_TRANSLATION ? undefined : Number(hva));
    this.code = new CodeStore({
      memory0: memory0Buffer,
      vcpu,
      cpu,
      manifest: modules.manifest,
      fetchTranslate: (linear) => known(cpu.fetchTranslate(vcpu, BigInt.asIntN(64, linear))),
      threshold: !compiles(tier) ? 0 : tier === 'always' ? 1 : (options.hot ?? HOT),
    });
    if (compiles(tier)) {
      if (!options.compiler) throw new Error(`tier ${tier} needs a compiler`);
      this.jit = new RegionCache({
        memory0: memory0Buffer,
        memory1,
        vcpu,
        table,
        imports: { env, cpu: this.cpu as unknown as WebAssembly.ModuleImports, tier0: handlers as unknown as WebAssembly.ModuleImports },
        code: this.code,
        compiler: options.compiler,
        fetchPeek: (linear) => known(cpu.fetchPeek(vcpu, BigInt.asIntN(64, linear))),
        nowNs: options.nowNs,
        limitBytes: options.codeCacheBytes ?? CODE_CACHE_BYTES,
        onlyDecoded: tier !== 'always',
        batch: tier === 'always' ? 1 : (options.batch ?? BATCH),
      });
      this.code.jit = this.jit;
    }
    cpu.tlbInitialize(vcpu);
    cpu.refreshState(vcpu);
  }

  /** Execute about `instructions` guest instructions. @returns RUN_* of base/vcpu-words.ts */
  run(instructions: number): number {
    const reason = this.cpu.run(this.vcpu, instructions);
    this.vmm?.poll(this.vcpu);
    this.jit?.turn();
    return reason;
  }
  poll(): void {
    this.vmm?.poll(this.vcpu);
  }
  announcePosted(): void {
    this.vmm?.announcePosted();
  }
  nextDeadlineNs(): number {
    return this.vmm?.nextDeadlineNs(this.vcpu) ?? Infinity;
  }
  /** Recompute what is derived from registers: they were written from outside. */
  refreshState(): void {
    this.cpu.refreshState(this.vcpu);
  }
  /** Leave the lazy flags as plain bits, so that others can read them. */
  settleFlags(): void {
    this.cpu.settleFlags(this.vcpu);
  }

  #codeRequest(pages: readonly number[] | undefined): void {
    if (!pages) this.code.flush();
    else for (const page of pages) this.code.forgetPage(page * PAGE_BYTES);
  }
}

/** Pages of memory 0 (64 KiB each) that a machine with so many vCPUs needs. */
export function memory0Pages(vcpus: number): number {
  return (VCPUS + vcpus * VCPU_STRIDE) / WASM_PAGE_BYTES;
}
