/**
 * Memory 1, guest RAM and ROM, where an hva is an offset. While it is small enough it is the part of memory 0 from RAM_START on: with one memory of
 * 32-bit addresses an access needs no check (guard pages lie behind all that it can name), and its start is in a register of the host already. A
 * larger one is a memory of its own with 64-bit addresses. What reaches into it is built for both (RAM_INDEXES).
 * Runs on: any thread; wherever modules are built.
 */
import { VCPUS, VCPU_STRIDE, WASM_PAGE_BYTES } from '../base/memory-map.ts';
import { MEMORY0_MAX_PAGES } from './wasm/limits.ts';
import type { ModuleBuilder } from './wasm/module.ts';

/** Type of an address in memory 1. */
export type RamIndex = 'i32' | 'i64';
export const RAM_INDEXES: readonly RamIndex[] = ['i32', 'i64'];
/** As a part of a file's name: modules and templates for the one or the other. */
export const RAM_INDEX_BITS: Readonly<Record<RamIndex, number>> = { i32: 32, i64: 64 };

/** The memory that an access names, and what is added to an hva in it: behind the records of so many vCPUs. */
export const RAM_MEMORY: Readonly<Record<RamIndex, number>> = { i32: 0, i64: 1 };
export const RAM_START: Readonly<Record<RamIndex, number>> = { i32: VCPUS + 7 * VCPU_STRIDE, i64: 0 };

/** Of a memory of its own, in pages of 64 KiB: 16 GiB is the largest memory64 that V8 makes. */
export const RAM_MAX_PAGES = 262144;
const MEMORY0_MAX_BYTES = MEMORY0_MAX_PAGES * WASM_PAGE_BYTES;

/** Memory 1 has so many bytes (with what lies before it): everyone who has it knows its kind by that. */
export const ramIndexOf = (sizeBytes: number): RamIndex => (sizeBytes <= MEMORY0_MAX_BYTES ? 'i32' : 'i64');

/** All of memory 1 by hva. */
export function ramBytes({ buffer }: Pick<WebAssembly.Memory, 'buffer'>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer, RAM_START[ramIndexOf(buffer.byteLength)]);
}

/**
 * @param memory0 not grown yet. @param pages of guest memory.
 * @returns memory 1: memory 0 where it has room, else one of its own. @throws RangeError where the engine or the machine cannot give so many.
 */
export function createRam(memory0: WebAssembly.Memory, pages: number): WebAssembly.Memory {
  const stateBytes = memory0.buffer.byteLength,
    endBytes = RAM_START.i32 + pages * WASM_PAGE_BYTES;
  if (stateBytes > RAM_START.i32 || endBytes > MEMORY0_MAX_BYTES) return createOwnRam(pages);
  memory0.grow((endBytes - stateBytes) / WASM_PAGE_BYTES);
  return memory0;
}

/** Never so small that it could be taken for the other kind; what is not touched takes addresses only. */
export function createOwnRam(pages: number): WebAssembly.Memory {
  const size = BigInt(Math.max(pages, MEMORY0_MAX_PAGES + 1));
  // TypeScript's own declaration lacks 64-bit addresses.
  const descriptor = { address: 'i64', initial: size, maximum: size, shared: true };
  return new WebAssembly.Memory(descriptor as unknown as WebAssembly.MemoryDescriptor);
}

/** For a module that has imported memory 0. */
export function importRam(module: ModuleBuilder, ramIndex: RamIndex): void {
  if (ramIndex === 'i64') module.importMemory('env', 'ram', 'i64', 1, RAM_MAX_PAGES);
}
