/**
 * What the region cache of a vCPU and whoever compiles for it say to each other: plain data, so that it can be cloned to another thread.
 * Runs on: any thread; types, and the limits that both know.
 */

import type { KeptRegions } from './kept-regions.ts';

/** Compile a region from here. */
export interface CompileEntry {
  /** Place in the table that the region will have. */
  readonly slot: number;
  /** Record of the vCPU that will run it, and no other: an address in memory 0. */
  readonly vcpu: number;
  /** TLB of the access class that it is for. */
  readonly tlb: number;
  /** Page of memory 1, and the entry's offset in it. */
  readonly hvaPage: number;
  readonly offset: number;
  /** Pages around it by linear address, as they were mapped when it was reported: see code-window.ts. */
  readonly pages: readonly number[];
  /** Of each of them the offsets of instructions that have been decoded, a bit each; absent: whatever can be reached is worth compiling. */
  readonly decoded?: readonly (Int32Array | undefined)[];
  /** Of each of them the bytes that were patched while regions were made from them, a bit each; absent: none. */
  readonly patched?: readonly (Int32Array | undefined)[] | undefined;
  /** `mode` of the vCPU record. */
  readonly mode: number;
  /** Its linear address. */
  readonly rip?: bigint;
  /** Pages of memory 1 whose changes have ended regions of other pages, with the bytes that were patched as in `patched`; undefined: no region far away has a copy of them. */
  readonly changing?: ReadonlyMap<number, Int32Array | undefined>;
  /** Places in memory 1 that have become hot besides, and have regions of an earlier run. */
  readonly alsoHot?: readonly number[];
  /** For a trace: how often it was reported again while it waited. */
  readonly reports?: number;
}

/** What becomes of a region once it is compiled; without a slot, of all of them. */
export interface RegionEvent {
  readonly what: 'installed' | 'dropped' | 'changed' | 'evicted' | 'flushed';
  readonly slot?: number;
  /** 64-byte lines of a page of memory 1 that were written. */
  readonly hvaPage?: number;
  readonly linesLow?: number;
  readonly linesHigh?: number;
}

/** Code that a region was made from: 64-byte lines of a page of memory 1, as they were when it was. */
export interface SourceLines {
  readonly hvaPage: number;
  readonly linesLow: number;
  readonly linesHigh: number;
  /** The marked lines, one after the other. */
  readonly bytes: Int32Array;
  /** Bits of them that the region reads when it runs; absent: none. */
  readonly open?: Int32Array | undefined;
}

export interface CompiledRegion {
  readonly slot: number;
  /** Guest instructions. */
  readonly size: number;
  readonly source: readonly SourceLines[];
}

export interface CompiledModule {
  /** Puts its functions into the slots of its regions when it is instantiated; absent where nothing could be compiled. */
  readonly module?: WebAssembly.Module;
  readonly sizeBytes: number;
  readonly regions: readonly CompiledRegion[];
  /** Slots of entries where there is no region worth having. */
  readonly refused: readonly number[];
  /** Slots of entries that another region holds already: worth a region of their own only if they stay hot. */
  readonly covered: readonly number[];
  /** Times in ns: finding regions, emitting them, V8's compilation. */
  readonly formNs: number;
  readonly emitNs: number;
  readonly compileNs: number;
}

/** Who compiles: on this thread at once, or on another one later. */
export interface Compiler {
  submit(entries: readonly CompileEntry[]): void;
  /** Is there something to take? Hot. */
  readonly hasAnswer: boolean;
  /** The next finished module, if there is one. */
  take(): CompiledModule | undefined;
  /** Regions of earlier runs, from when they are known. */
  readonly kept?: KeptRegions | undefined;
  /** Where regions are traced. */
  tell?: ((event: RegionEvent) => void) | undefined;
}

export const LINE_BYTES = 64;
export const LINE_WORDS = LINE_BYTES / 4;

/** @param words memory 1. Do the lines still hold what the region was made from? */
export const sameSource = (words: Int32Array, lines: SourceLines): boolean => sameLines(words, lines.hvaPage / 4, lines, lines.open);

/** @param start of the page among the words @param free bits of the lines that do not count. Hot */
export function sameLines(
  words: Int32Array,
  start: number,
  { linesLow, linesHigh, bytes }: Pick<SourceLines, 'linesLow' | 'linesHigh' | 'bytes'>,
  free: Int32Array | undefined,
): boolean {
  let at = 0;
  for (let line = 0; line < 64; line++) {
    if ((((line < 32 ? linesLow : linesHigh) >>> (line & 31)) & 1) === 0) continue;
    const from = start + line * LINE_WORDS;
    for (let i = 0; i < LINE_WORDS; i++, at++)
      if (((words[from + i]! ^ bytes[at]!) & ~(free === undefined ? 0 : free[at]!)) !== 0) return false;
  }
  return true;
}

export function eachLine(linesLow: number, linesHigh: number, each: (line: number) => void): void {
  for (let line = 0; line < 64; line++) if (((line < 32 ? linesLow : linesHigh) >>> (line & 31)) & 1) each(line);
}

/** @param words a page. @returns the marked lines of it */
export function linesOf(words: Int32Array, linesLow: number, linesHigh: number): Int32Array {
  const bytes = new Int32Array((bitsIn(linesLow) + bitsIn(linesHigh)) * LINE_WORDS);
  let at = 0;
  for (let line = 0; line < 64; line++) {
    if ((((line < 32 ? linesLow : linesHigh) >>> (line & 31)) & 1) === 0) continue;
    for (let i = 0; i < LINE_WORDS; i++) bytes[at++] = words[line * LINE_WORDS + i]!;
  }
  return bytes;
}

export function bitsIn(word: number): number {
  let count = 0;
  for (let left = word; left !== 0; left &= left - 1) count++;
  return count;
}
