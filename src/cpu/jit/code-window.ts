/**
 * Guest code around an entry, by offset from the entry's page: copies of pages of memory 1, taken when they are first asked for. Which page of
 * memory 1 is mapped beside which was true when the entry was reported; a region proves it before it goes there.
 * Runs on: where regions are compiled.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';
import type { CompileEntry } from './compilation.ts';

/** Pages on each side of the entry's. */
export const WINDOW_REACH = 4;
export const WINDOW_PAGES = 2 * WINDOW_REACH + 1;
const PAGE_WORDS = PAGE_BYTES / 4;

/** Page of an offset, the entry's being 0. */
export const pageOf = (offset: number): number => Math.floor(offset / PAGE_BYTES);

/** Pages of a window that knows the entry's only. */
export const onlyPage = (hvaPage: number): readonly number[] =>
  Array.from({ length: WINDOW_PAGES }, (_, i) => (i === WINDOW_REACH ? hvaPage : -1));

export class CodeWindow {
  /** Offset 0 of the entry's page is at `base`. */
  readonly bytes = new Uint8Array(WINDOW_PAGES * PAGE_BYTES);
  readonly base = WINDOW_REACH * PAGE_BYTES;
  readonly #memory1: Uint8Array;
  readonly #words = new Int32Array(this.bytes.buffer);
  #pages: readonly number[] = [];
  #decoded: CompileEntry['decoded'];
  #patched: CompileEntry['patched'];
  /** Bit by bit. */
  #copied = 0;

  constructor(memory1: Uint8Array) {
    this.#memory1 = memory1;
  }

  /**
   * @param pages in memory 1, in the order of their linear addresses, the entry's in the middle; -1 unknown
   * @param decoded of each the offsets that tier 0 has decoded
   * @param patched of each the bytes that change
   */
  open(pages: readonly number[], decoded?: CompileEntry['decoded'], patched?: CompileEntry['patched']): this {
    this.#pages = pages;
    this.#decoded = decoded;
    this.#patched = patched;
    this.#copied = 0;
    return this;
  }
  /** Where a page lies in memory 1. @param page 0 is the entry's */
  hvaOf(page: number): number {
    return this.#pages[page + WINDOW_REACH] ?? -1;
  }
  /** Is its code here? */
  has(page: number): boolean {
    const index = page + WINDOW_REACH,
      hva = this.hvaOf(page);
    if (hva < 0) return false;
    if ((this.#copied >> index) & 1) return true;
    this.#copied |= 1 << index;
    this.bytes.set(this.#memory1.subarray(hva, hva + PAGE_BYTES), index * PAGE_BYTES);
    return true;
  }
  /** May the instruction at this offset have been executed before? */
  isWarm(offset: number): boolean {
    if (this.#decoded === undefined) return true;
    const bits = this.#decoded[pageOf(offset) + WINDOW_REACH],
      at = offset & (PAGE_BYTES - 1);
    return bits !== undefined && ((bits[at >> 5]! >> (at & 31)) & 1) !== 0;
  }
  /** Has a byte of [start, end) been patched while code was compiled from it? */
  isPatched(start: number, end: number): boolean {
    if (this.#patched === undefined) return false;
    for (let offset = start; offset < end; offset++) {
      const bits = this.#patched[pageOf(offset) + WINDOW_REACH],
        at = offset & (PAGE_BYTES - 1);
      if (bits !== undefined && ((bits[at >> 5]! >> (at & 31)) & 1) !== 0) return true;
    }
    return false;
  }
  wordsOf(page: number): Int32Array {
    const index = page + WINDOW_REACH;
    return this.#words.subarray(index * PAGE_WORDS, (index + 1) * PAGE_WORDS);
  }
}
