/**
 * Memory 1, guest RAM and ROM, has 32-bit addresses while it is small enough: the engine lays guard pages behind all that such an address can
 * name, so that an access needs no check. A larger one has 64-bit addresses. What reaches into it is built for both (RAM_INDEXES).
 * Implements: WebAssembly core specification 4.5.4 (import matching). Runs on: any thread; wherever modules are built.
 */
import { WASM_PAGE_BYTES } from '../base/memory-map.ts';

/** Type of an address in memory 1. */
export type RamIndex = 'i32' | 'i64';
export const RAM_INDEXES: readonly RamIndex[] = ['i32', 'i64'];
/** As a part of a file's name: modules and templates for the one or the other. */
export const RAM_INDEX_BITS: Readonly<Record<RamIndex, number>> = { i32: 32, i64: 64 };

/** What emitted modules declare of the memory they import, in pages of 64 KiB: 4 GiB, and 16 GiB, the largest memory64 that V8 makes. */
export const RAM_MAX_PAGES: Readonly<Record<RamIndex, number>> = { i32: 65536, i64: 262144 };

/** The one rule: everyone who has a memory knows it by its size. */
export const ramIndexOf = (sizeBytes: number): RamIndex => (sizeBytes <= RAM_MAX_PAGES.i32 * WASM_PAGE_BYTES ? 'i32' : 'i64');

/** @throws RangeError where the engine or the machine cannot give so many pages. */
export function createRam(pages: number): WebAssembly.Memory {
  if (ramIndexOf(pages * WASM_PAGE_BYTES) === 'i32') return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  // TypeScript's own declaration lacks 64-bit addresses.
  const descriptor = { address: 'i64', initial: BigInt(pages), maximum: BigInt(pages), shared: true };
  return new WebAssembly.Memory(descriptor as unknown as WebAssembly.MemoryDescriptor);
}
