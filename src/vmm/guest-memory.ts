/**
 * Guest RAM as the owner and its devices see it, and what has to follow a write: dropping decoded code.
 * Implements: bhyve-map 3.2 map_gpa; memory-map.ts CODE_LINES. Runs on: the VM's owner. Bounds: `len <= size && off <= size - len`, never a sum.
 */
import { CODE_LINES, CODE_LINES_BYTES, HVA_RAM, PAGE_BYTES, WASM_PAGE_BYTES } from '../base/memory-map.ts';
import { VmError } from '../base/errors.ts';
import { RAM_MAX_PAGES, RAM_START, createRam, ramIndexOf, type RamIndex } from '../cpu/index.ts';
import type { SharedWords } from './host-state.ts';
import { HIGHMEM_GPA } from './layout.ts';
import { splitMemory, sysmemEndHva, type MemoryMap } from './memory-map.ts';
import type { EntryMemory } from './paging.ts';

const MEMORY1_MAX_BYTES = RAM_MAX_PAGES * WASM_PAGE_BYTES;
const CODE_LINE_BYTES = 64;

export class GuestMemory {
  readonly memory1: WebAssembly.Memory;
  readonly ramIndex: RamIndex;
  readonly sizeBytes: number;
  readonly lowmemBytes: number;
  readonly highmemBytes: number;
  /** Where devices' segments lie in memory 1, half open. */
  readonly arena: { readonly start: number; readonly end: number };
  /** Of hva 0 in memory 1. */
  readonly #start: number;
  readonly #words: SharedWords;

  /**
   * @param devmemBytes room for named segments; like RAM, resident only where touched.
   * @throws VmError EINVAL, ENOMEM (more than this engine or machine can give).
   */
  constructor(memory0: WebAssembly.Memory, words: SharedWords, sizeBytes: number, devmemBytes: number) {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % PAGE_BYTES !== 0) {
      throw new VmError('EINVAL', `memory size ${sizeBytes}: expected a multiple of ${PAGE_BYTES}, not 0`);
    }
    const start = Math.ceil(sysmemEndHva(sizeBytes) / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
    const end = Math.ceil((start + devmemBytes) / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
    if (end > MEMORY1_MAX_BYTES)
      throw new VmError('ENOMEM', `memory size ${sizeBytes}: expected at most ${maxMemoryBytes(devmemBytes)} bytes`);
    try {
      this.memory1 = createRam(memory0, end / WASM_PAGE_BYTES);
    } catch (cause) {
      throw new VmError('ENOMEM', `memory size ${sizeBytes}: this machine cannot give so much`, { cause });
    }
    this.ramIndex = ramIndexOf(this.memory1.buffer.byteLength);
    this.#start = RAM_START[this.ramIndex];
    this.sizeBytes = sizeBytes;
    ({ lowmemBytes: this.lowmemBytes, highmemBytes: this.highmemBytes } = splitMemory(sizeBytes));
    this.arena = { start, end };
    this.#words = words;
  }

  /** Is [gpa, gpa + sizeBytes) wholly inside lowmem or wholly inside highmem? */
  isRam(gpa: number, sizeBytes: number): boolean {
    if (!Number.isSafeInteger(gpa) || !Number.isSafeInteger(sizeBytes) || gpa < 0 || sizeBytes < 0) return false;
    if (gpa < this.lowmemBytes) return sizeBytes <= this.lowmemBytes - gpa;
    return gpa >= HIGHMEM_GPA && gpa - HIGHMEM_GPA < this.highmemBytes && sizeBytes <= this.highmemBytes - (gpa - HIGHMEM_GPA);
  }

  /** @returns bytes shared with running vCPUs, or undefined where not all is RAM. */
  view(gpa: number, sizeBytes: number): Uint8Array | undefined {
    return this.isRam(gpa, sizeBytes) ? this.bytes(gpa + HVA_RAM, sizeBytes) : undefined;
  }

  /** Bytes of memory 1; the caller has checked the bounds. */
  bytes(hva: number, sizeBytes: number): Uint8Array {
    return new Uint8Array(this.memory1.buffer, this.#start + hva, sizeBytes);
  }

  /**
   * Tell the vCPUs that [hva, hva + sizeBytes) was written by someone who is none of them.
   * @param vcpus whom to tell.
   */
  wroteCode(hva: number, sizeBytes: number, vcpus: readonly number[]): void {
    if (sizeBytes <= 0) return;
    const end = hva + sizeBytes;
    for (let page = Math.floor(hva / PAGE_BYTES); page * PAGE_BYTES < end; page++) {
      if (page * 8 >= CODE_LINES_BYTES) return;
      const at = (CODE_LINES >>> 2) + page * 2;
      const low = Atomics.load(this.#words.i32, at),
        high = Atomics.load(this.#words.i32, at + 1);
      if ((low | high) === 0) continue;
      const first = Math.max(0, Math.floor((hva - page * PAGE_BYTES) / CODE_LINE_BYTES));
      const last = Math.min(PAGE_BYTES / CODE_LINE_BYTES - 1, Math.floor((end - 1 - page * PAGE_BYTES) / CODE_LINE_BYTES));
      if ((low & lineMask(first, last, 0)) === 0 && (high & lineMask(first, last, 32)) === 0) continue;
      for (const vcpu of vcpus) this.#words.mailWrittenPage(vcpu, page);
    }
  }

  /** Page-table entries, through the guest-physical map. */
  entries(map: MemoryMap): EntryMemory {
    const words32 = (hva: number): Uint32Array => new Uint32Array(this.memory1.buffer, this.#start + hva, 1);
    const words64 = (hva: number): BigUint64Array => new BigUint64Array(this.memory1.buffer, this.#start + hva, 1);
    const hvaOf = (gpa: number, sizeBytes: number): number | undefined => {
      const mapping = map.find(gpa, sizeBytes);
      return mapping === undefined ? undefined : map.hvaOf(mapping) + (gpa - mapping.gpa);
    };
    return {
      load(gpa, sizeBytes) {
        const hva = hvaOf(gpa, sizeBytes);
        if (hva === undefined) return undefined;
        return sizeBytes === 8 ? Atomics.load(words64(hva), 0) : BigInt(Atomics.load(words32(hva), 0));
      },
      exchange(gpa, sizeBytes, expected, value) {
        const hva = hvaOf(gpa, sizeBytes);
        if (hva === undefined) return true;
        return sizeBytes === 8
          ? Atomics.compareExchange(words64(hva), 0, expected, value) === expected
          : BigInt(Atomics.compareExchange(words32(hva), 0, Number(expected), Number(value))) === expected;
      },
    };
  }
}

/** Bits of lines first..last that fall into the 32 lines from `base`. */
function lineMask(first: number, last: number, base: number): number {
  const low = Math.max(first - base, 0),
    high = Math.min(last - base, 31);
  if (low > high) return 0;
  return (high === 31 ? -1 : (1 << (high + 1)) - 1) & -(2 ** low);
}

/** Largest guest that fits. */
export function maxMemoryBytes(devmemBytes: number): number {
  const room = Math.floor((MEMORY1_MAX_BYTES - devmemBytes - HVA_RAM) / WASM_PAGE_BYTES) * WASM_PAGE_BYTES;
  return room - HIGHMEM_GPA + splitMemory(HIGHMEM_GPA).lowmemBytes;
}
