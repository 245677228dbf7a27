/**
 * The one small machine of the tests: a vCPU with guest RAM from address 0 on, no device unless the test brings one, and its record by field.
 * Implements: docs/internals.md "Memories". Runs on: any thread of Node; needs the built modules in src/generated.
 */
import { readFileSync } from 'node:fs';
import { GUEST_MAP_COUNT, GUEST_MAP_RANGES, HVA_RAM, VCPUS, WASM_PAGE_BYTES } from '../../base/memory-map.ts';
import { manifestOf } from '../build-id.ts';
import type { KeptRegions } from '../jit/kept-regions.ts';
import { LocalCompiler } from '../jit/region-compiler.ts';
import type { RegionLimits } from '../jit/region-compiler.ts';
import { Processor, compiles, memory0Pages } from '../processor.ts';
import type { Bus, ProcessorModules, ProcessorOptions } from '../processor.ts';
import { RAM_INDEX_BITS, createOwnRam, createRam, ramBytes as bytesOf } from '../guest-ram.ts';
import type { RamIndex } from '../guest-ram.ts';
import { SEG, VCPU } from '../state.ts';
import { MEMORY0_MAX_PAGES } from '../wasm/limits.ts';

export type Field = keyof typeof VCPU.fields;

/** Access words of flat segments at CPL 0, as in the record's `segAccess`. */
export const CODE32 = 0xc09b,
  CODE64 = 0xa09b,
  DATA = 0xc093;
const FULL_LIMIT = 0xffff_ffff;

/** Nobody answers: reads give all ones. */
export const NO_DEVICES: Bus = {
  mmioRead: () => 0xffff_ffff_ffff_ffffn,
  mmioWrite: () => {},
  portRead: () => 0xffff_ffff,
  portWrite: () => {},
  msrRead: () => 0,
  msrWrite: () => 0,
  interruptVector: () => -1,
  interruptAck: () => -1,
  readTpr: () => 0,
  writeTpr: () => {},
  tsc: () => 0n,
  tscAt: () => 0n,
};

/** The built modules, each compiled once in a thread. */
const compiled = new Map<string, WebAssembly.Module>();
function generated(name: string): WebAssembly.Module {
  const module = compiled.get(name) ?? new WebAssembly.Module(readFileSync(new URL(`../../generated/${name}.wasm`, import.meta.url)));
  compiled.set(name, module);
  return module;
}
function modulesFor(ramIndex: RamIndex): ProcessorModules {
  const bits = RAM_INDEX_BITS[ramIndex],
    handlers = generated(`handlers${bits}`);
  return { ram: generated(`ram${bits}`), cpu: generated('cpu'), handlers, manifest: manifestOf(handlers) };
}

/** What a test may say of its machine; `ramBytes` is a multiple of 64 KiB. A memory 1 with 64-bit addresses is larger than what is used of it. */
export type SmallMachineOptions = {
  readonly ramBytes: number;
  readonly ramIndex?: RamIndex;
  readonly bus?: Partial<Bus>;
  readonly limits?: RegionLimits;
  /** Regions that it has made are used again where the same code becomes hot. */
  readonly kept?: KeptRegions | undefined;
} & Partial<Omit<ProcessorOptions, 'bus'>>;

export class SmallMachine {
  readonly processor: Processor;
  /** Handler numbers by line and variant. */
  readonly manifest: Uint16Array;
  /** The vCPU's record, and all of memory 0. */
  readonly record: DataView;
  readonly memory0: Uint8Array;
  /** Guest-physical memory. */
  readonly ram: Buffer;

  constructor({
    ramBytes,
    ramIndex = 'i32',
    bus,
    tier = 'interpreter',
    limits = { cap: 250, minimum: 1 },
    kept,
    ...options
  }: SmallMachineOptions) {
    const memory0 = new WebAssembly.Memory({ initial: memory0Pages(1), maximum: MEMORY0_MAX_PAGES, shared: true });
    const pages = (HVA_RAM + ramBytes) / WASM_PAGE_BYTES,
      memory1 = ramIndex === 'i64' ? createOwnRam(pages) : createRam(memory0, pages),
      modules = modulesFor(ramIndex);
    this.manifest = modules.manifest;
    const map = new DataView(memory0.buffer);
    map.setUint32(GUEST_MAP_COUNT, 1, true);
    [0n, BigInt(ramBytes), BigInt(HVA_RAM)].forEach((value, index) => map.setBigUint64(GUEST_MAP_RANGES + index * 8, value, true));
    map.setUint32(GUEST_MAP_RANGES + 24, 7, true);
    this.record = new DataView(memory0.buffer, VCPUS);
    this.memory0 = new Uint8Array(memory0.buffer);
    const all = bytesOf(memory1);
    this.ram = Buffer.from(all.buffer, all.byteOffset + HVA_RAM, ramBytes);
    this.processor = new Processor({
      index: 0,
      memory0,
      memory1,
      modules,
      bus: { ...NO_DEVICES, ...bus },
      nowNs: () => 0,
      exit: () => {},
      random: (bytes) => bytes.fill(0x5a),
      tier,
      compiler: compiles(tier) ? new LocalCompiler(memory0.buffer, memory1, limits, undefined, kept) : undefined,
      ...options,
    });
  }

  get(name: Field, index = 0): bigint {
    const at = VCPU.offset[name] + index * VCPU.fields[name].strideBytes;
    return isWide(name) ? this.record.getBigUint64(at, true) : BigInt(this.record.getUint32(at, true));
  }
  set(name: Field, value: bigint | number, index = 0): void {
    const at = VCPU.offset[name] + index * VCPU.fields[name].strideBytes;
    if (isWide(name)) this.record.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
    else this.record.setUint32(at, Number(value) >>> 0, true);
  }
  /** ES CS SS DS FS GS from 0 to 4 GiB. @param code CODE32 or CODE64, or such a word with another DPL; so for `data`. */
  setFlatSegments(code: number, data = DATA): void {
    for (let segment: number = SEG.ES; segment <= SEG.GS; segment++) {
      this.set('segAccess', segment === SEG.CS ? code : data, segment);
      this.set('segLimit', FULL_LIMIT, segment);
    }
  }
  /** CF PF AF ZF SF OF. */
  get flags(): number {
    return this.processor.cpu.readFlags(VCPUS);
  }
  set flags(bits: number) {
    this.processor.cpu.writeFlags(VCPUS, bits);
  }
  /** After registers, tables or code were written from outside. */
  refresh(): void {
    this.processor.code.flush();
    this.processor.cpu.tlbFlushAll(VCPUS);
    this.processor.refreshState();
  }
}

const isWide = (name: Field): boolean => VCPU.fields[name].type !== 'u32' && VCPU.fields[name].type !== 'i32';
